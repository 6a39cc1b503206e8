/** Recorded calls of the library (bin/replay) under NVIDIA's compute-sanitizer. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { inRoot, ROOT, TOOLS } from "./paths.mjs";
import { step } from "./step.mjs";

/** What is looked for: accesses out of bounds and leaks; races in shared memory; barriers that not all reach. */
const CHECKS = {
  memcheck: ["--leak-check", "full"],
  racecheck: ["--racecheck-report", "all"],
  synccheck: [],
};
const TIMEOUT_MS = 1_800_000;

/** The program, or undefined. */
export function findSanitizer() {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const cuda = [process.env.CUDA_HOME, "/usr/local/cuda"].filter((path) => path !== undefined);
  const places = [...folders, ...cuda.map((path) => join(path, "bin"))];
  return places.map((path) => join(path, "compute-sanitizer")).find((path) => existsSync(path));
}

/** Writes everything there is to replay. */
export function recordTrace(path) {
  return step({
    title: "recording what is replayed",
    command: TOOLS.bun,
    args: [inRoot("tests", "record_trace.ts"), path],
    cwd: ROOT,
    remedy: "Fix tests/trace_cases.ts, or what it runs on ref.",
  });
}

/** Runs one process; resolves with its status and output. */
function run(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: ROOT, stdio: ["ignore", "pipe", "pipe"], timeout: TIMEOUT_MS });
    let output = "";
    const take = (chunk) => output = (output + chunk).slice(-256 * 1024);
    child.stdout.setEncoding("utf8").on("data", take);
    child.stderr.setEncoding("utf8").on("data", take);
    child.on("error", (error) => resolve({ status: error.message, output }));
    child.on("close", (code, signal) => resolve({ status: code ?? signal, output }));
  });
}

/** Replays a trace under one of the checks, in parts side by side; returns cases, values and what is wrong. */
export async function checkTrace(sanitizer, check, trace) {
  const parts = Math.max(1, Math.min(8, availableParallelism() >> 1));
  const replay = [inRoot("zig-out", "bin", "replay"), inRoot("zig-out", "lib", "librealizar.so"), trace];
  const results = await Promise.all(Array.from({ length: parts }, (_, i) => {
    const tool = ["--tool", check, ...CHECKS[check], "--error-exitcode", "9", "--print-limit", "20"];
    return run(sanitizer, [...tool, ...replay, "--on", "cuda", "--part", `${i}/${parts}`]);
  }));
  const cases = results.map(({ output }) => Number(/replay on cuda: (\d+) cases/.exec(output)?.[1] ?? 0));
  const wrong = results.filter(({ status }, i) => status !== 0 || cases[i] === 0).map(({ status, output }) =>
    `status ${status}\n${output.slice(-6000)}`
  );
  return { cases: cases.reduce((sum, n) => sum + n, 0), wrong };
}

/** Every check's name. */
export const SANITIZER_CHECKS = Object.keys(CHECKS);
