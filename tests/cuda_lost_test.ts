/**
 * A GPU that is lost, by real faults that the test library provokes: a kernel that traps, and one that writes where no
 * memory is. Every handle answers DEVICE_LOST; the process lives, computes on the CPU, and ends as it should. Each
 * happens to a process of its own (lose_gpu.ts). The same over a made-up driver, on any machine:
 * tests/native/cuda_host_test.c.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import process from "node:process";
import { assert, assertEquals } from "@std/assert";
import { whyNoGpu } from "../src/engine/open_model.ts";
import { runtime } from "../src/platform/env.ts";
import { noGpu } from "./gpu.ts";
import type { LostReport } from "./lose_gpu.ts";
import { inRoot, leakCheck, TEST_LIBRARY_PATH, testLibrary, testUnless } from "./support.ts";

/** `rz_test_fail_after`. */
const FAULTS = [{ kind: 2, name: "a kernel that traps" }, { kind: 3, name: "a stray write" }];

function missing(): string | undefined {
  const found = noGpu();
  if (found !== undefined) return found;
  if (!existsSync(TEST_LIBRARY_PATH)) return "the test library is not built";
  const why = whyNoGpu(testLibrary());
  return why === undefined ? undefined : `the test library: ${why}`;
}

/** Runs the program under this runtime; its status and what it printed. */
function lose(kind: number): Promise<{ status: number | string; output: string }> {
  const path = inRoot("tests", "lose_gpu.ts");
  const args =
    { bun: ["run", path], deno: ["run", "-A", "--no-check", path], node: ["--no-warnings", path] }[runtime()];
  return new Promise((resolve) =>
    execFile(process.execPath, [...args, String(kind)], { timeout: 60_000 }, (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : error.code ?? error.signal ?? "?", output: stdout + stderr });
    })
  );
}

for (const { kind, name } of FAULTS) {
  testUnless(missing(), `cuda: after ${name} everything says DEVICE_LOST, and the process goes on`, async () => {
    const { status, output } = await lose(kind);
    assertEquals(status, 0, output);
    const told = JSON.parse(output) as LostReport;
    console.log(`cuda: after ${name}: an engine beside it: ${told.beside}, a new one: ${told.again}`);
    assertEquals(told.steps, ["none", "DEVICE_LOST", "DEVICE_LOST", "DEVICE_LOST"]);
    assert(/CUDA_ERROR_\w+ \(\d+\)/.test(told.message), told.message);
    assert(told.message.includes("only a new process can use the GPU"), told.message);
    // Drivers differ in whether the fault of one context ends the others of its process, and whether a new one opens.
    for (const code of [told.beside, told.again, told.generation]) assert(["none", "DEVICE_LOST"].includes(code), code);
    assert(told.hostIsRight, "the CPU goes on");
    assertEquals(told.auto.tokens, 6);
    assertEquals(told.left, {});
  });
}

leakCheck();
