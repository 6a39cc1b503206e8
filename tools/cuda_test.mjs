/**
 * `npm run test:cuda`: everything that wants an NVIDIA GPU. Builds the library for the GPU of this machine, with PTX;
 * runs the tests of the CUDA executor under every runtime; once more with PTX alone (`REALIZAR_ISA=ptx`: the way of
 * GPUs that are not at hand); and replays recorded calls under compute-sanitizer. What this machine has not is a named,
 * counted skip.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { gpuArchitecture } from "./lib/gpu.mjs";
import { checkMachine, installNpmPackages, installZig } from "./lib/install.mjs";
import { fetchModel } from "./lib/model.mjs";
import { buildNative } from "./lib/native.mjs";
import { checkTrace, findSanitizer, recordTrace, SANITIZER_CHECKS } from "./lib/sanitizer.mjs";
import { main } from "./lib/step.mjs";
import { runSuite, RUNTIMES, testFiles } from "./lib/suite.mjs";

/** Tests that look at a GPU when there is one. */
const ON_GPU = /^tests\/(cuda_.*|ffn|replay)_test\.ts$/;

async function setUp() {
  checkMachine();
  await installNpmPackages();
  await installZig();
  await buildNative("tests", { ptx: true });
  await fetchModel();
}

/** Returns the names of the checks that failed. */
async function sanitize(skipped) {
  const sanitizer = findSanitizer();
  if (sanitizer === undefined) {
    for (const check of SANITIZER_CHECKS) skipped.push(`${check}: no compute-sanitizer (it comes with a CUDA toolkit)`);
    return [];
  }
  const folder = mkdtempSync(join(tmpdir(), "realizar-trace-"));
  const failed = [];
  try {
    const trace = join(folder, "whole.rzt");
    await recordTrace(trace);
    for (const check of SANITIZER_CHECKS) {
      const { cases, wrong } = await checkTrace(sanitizer, check, trace);
      for (const text of wrong) console.log(`${check}: ${text}`);
      console.log(`${check}: ${cases} cases, ${wrong.length === 0 ? "clean" : "NOT clean"}`);
      if (wrong.length > 0) failed.push(check);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return failed;
}

await main(async () => {
  const files = testFiles().filter((path) => ON_GPU.test(path));
  const skipped = [];
  const failed = [];
  if (gpuArchitecture() === "none") {
    skipped.push(...files, "the same with PTX", ...SANITIZER_CHECKS);
    for (const name of skipped) console.log(`test:cuda: skipped ${name} (no NVIDIA GPU)`);
  } else {
    await setUp();
    for (const runtime of RUNTIMES) {
      if (!(await runSuite(runtime, files)).ok) failed.push(runtime);
    }
    process.env.REALIZAR_ISA = "ptx";
    if (!(await runSuite("bun", files)).ok) failed.push("PTX");
    delete process.env.REALIZAR_ISA;
    failed.push(...await sanitize(skipped));
    for (const why of skipped) console.log(`test:cuda: skipped ${why}`);
  }
  console.log(`test:cuda: ${failed.length} parts failed, ${skipped.length} skipped`);
  if (failed.length > 0) console.error(`FAILED: ${failed.join(", ")}`);
  return failed.length === 0 ? 0 : 1;
});
