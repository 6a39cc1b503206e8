/**
 * Recorded calls made again by a C program (native/replay.c), which knows nothing of JavaScript: on the reference and
 * on `cpu`, and where there is a GPU on `cuda`. Under compute-sanitizer: `npm run test:cuda`.
 */
import { execFile } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { assert, assertEquals } from "@std/assert";
import { openLibrary } from "../src/platform/library.ts";
import { gpuIsa, noGpu } from "./gpu.ts";
import { inRoot, leakCheck, tempFolder, test, testUnless } from "./support.ts";
import { QUICK_TRACE, writeTrace } from "./trace_cases.ts";

const REPLAY = inRoot("zig-out", "bin", "replay");
const missing = existsSync(REPLAY) ? undefined : "bin/replay is not built: zig build replay";

/** Runs it; resolves with its status and what it printed. */
function replay(...args: string[]): Promise<{ status: number | string; output: string }> {
  return new Promise((resolve) =>
    execFile(REPLAY, [openLibrary().path, ...args], { timeout: 100_000 }, (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : error.code ?? error.signal ?? "?", output: stdout + stderr });
    })
  );
}

testUnless(missing, "replay: recorded calls give on cpu what they give on ref", async () => {
  using folder = tempFolder();
  const path = folder.file("quick.rzt");
  const { nCases } = await writeTrace(path, QUICK_TRACE);
  const { status, output } = await replay(path, "--on", "cpu");
  assertEquals(status, 0, output);
  assert(output.includes(`${nCases} cases (0 not begun)`) && output.includes(" 0 failures"), output);
});

testUnless(
  missing,
  "replay: a plan that computes something else, and a file that is no trace, are failures",
  async () => {
    using folder = tempFolder();
    const path = folder.file("one.rzt");
    await writeTrace(path, { everyOp: 0, models: ["llama-f32"], ways: ["deterministic"] });
    const bytes = readFileSync(path);
    writeFileSync(path, bytes.subarray(0, 8));
    assertEquals((await replay(path)).status, 2);
    const bound = 16 + 16; // the first case's, a double
    bytes.writeDoubleLE(1e-30, bound);
    writeFileSync(path, bytes);
    const { status, output } = await replay(path, "--on", "cpu");
    assertEquals(status, 1, output);
    assert(/FAILED model llama-f32, cache type 1: value \d+: error .*, bound 1e-30/.test(output), output);
  },
);

testUnless(missing ?? noGpu(), "replay: recorded calls give on cuda what they give on ref", async () => {
  using folder = tempFolder();
  const path = folder.file("quick.rzt");
  await writeTrace(path, { ...QUICK_TRACE, ways: ["deterministic", "fast"] });
  const { status, output } = await replay(path, "--on", "cuda", "--isa", String(gpuIsa()));
  assertEquals(status, 0, output);
});

test("replay: a trace has no paths of files in it", async () => {
  using folder = tempFolder();
  const path = folder.file("one.rzt");
  const { nBytes } = await writeTrace(path, { everyOp: 0, models: ["llama-f32"], ways: ["deterministic"] });
  assertEquals(readFileSync(path).length, nBytes);
});

leakCheck();
