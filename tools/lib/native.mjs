/** Builds the native half with zig, unless a stamp says that it is built. */
import process from "node:process";
import { gpuArchitecture } from "./gpu.mjs";
import { installCuda } from "./install.mjs";
import { inRoot, ROOT, TOOLS, ZIG_PACKAGE } from "./paths.mjs";
import { filesBelow, observeInputs, upToDate, writeStamp } from "./stamp.mjs";
import { step } from "./step.mjs";

/** What each build makes, and of what. */
const BUILDS = {
  /** The library that programs load. */
  release: {
    steps: ["release"],
    inputs: ["csrc", "cuda", "build.zig", "tools/pins.json"],
    outputs: ["lib/librealizar.so"],
  },
  /** The same, the library with test hooks, and the program that prints struct layouts. */
  tests: {
    steps: ["install", "layout", "replay", "sources"],
    inputs: ["csrc", "cuda", "build.zig", "tools/pins.json", "tests/native"],
    outputs: ["lib/librealizar.so", "lib/librealizar_test.so", "bin/abi_layout", "bin/replay", "sources.json"],
  },
};

/** Runs `zig build` with these arguments in the checkout. */
export function zigBuild(title, args, { show = false, remedy = "Fix what the compiler says above." } = {}) {
  return step({
    title,
    command: TOOLS.python,
    args: ["-m", "ziglang", "build", "--summary", "none", "--error-style", "minimal", ...args],
    cwd: ROOT,
    // ZIG_DEBUG_CMD: zig compiles its own build runner unoptimized, which takes 5 s instead of 80 the first time.
    env: { PYTHONPATH: ZIG_PACKAGE, ZIG_DEBUG_CMD: process.env.ZIG_DEBUG_CMD ?? "1" },
    show,
    remedy,
  });
}

/** The GPU code of a build; with `ptx` also what a driver compiles for GPUs that are not here. */
function codeOf(ptx) {
  const architecture = gpuArchitecture();
  return ptx && architecture.startsWith("sm_") ? `${architecture},ptx` : architecture;
}

/** Libraries with other GPU code, or with none, are other builds. */
const stampOf = (which, ptx) => inRoot("zig-out", `${which}.${codeOf(ptx)}.stamp.json`);
const outputsOf = (which) => BUILDS[which].outputs.map((output) => inRoot("zig-out", output));

/** True when the stamp of a build is right: nothing to do. */
export function nativeIsBuilt(which, { ptx = false } = {}) {
  return upToDate(stampOf(which, ptx), BUILDS[which].inputs, outputsOf(which));
}

/** What zig is told of the GPU here; nvcc is fetched only where there is one. */
async function cudaOptions(ptx) {
  const code = codeOf(ptx);
  return code === "none" ? [] : [`-Dcuda=${code}`, `-Dnvcc=${await installCuda()}`];
}

/** Builds `release` or `tests` (which contains it); instant when nothing changed. */
export async function buildNative(which, { ptx = false } = {}) {
  if (nativeIsBuilt(which, { ptx })) return;
  const made = which === "tests" ? ["release", "tests"] : [which];
  const seen = made.map((build) => observeInputs(BUILDS[build].inputs));
  const options = await cudaOptions(ptx);
  const title = `setup: building the library (${filesBelow("csrc").length} files${options.length > 0 ? ", CUDA" : ""})`;
  await zigBuild(title, [...BUILDS[which].steps, ...options]);
  made.forEach((build, i) => writeStamp(stampOf(build, ptx), seen[i], outputsOf(build)));
}
