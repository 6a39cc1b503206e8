/** The CPU executor's native tests for arm64, under Debian's qemu-user: NEON, its dot products, i8mm. */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { zigBuild } from "./native.mjs";
import { inRoot, ROOT, TOOLS, ZIG_PACKAGE } from "./paths.mjs";
import { observeInputs, upToDate, writeStamp } from "./stamp.mjs";
import { step } from "./step.mjs";

const QEMU = "qemu-aarch64";
const TARGET = "aarch64-linux-musl";
const KERNELS = "csrc/cpu/isa/";

/** Whether there is an emulator; tells when there is none: what could not run is told, not failed. */
export function canRunArm() {
  if (spawnSync(QEMU, ["--version"]).status === 0) return true;
  console.log(`arm: skipped, there is no ${QEMU}: apt install qemu-user`);
  return false;
}

/** Runs `work` on every item, as many at a time as there are cores. */
async function eachInParallel(items, work) {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}

function compile(title, args) {
  return step({
    title,
    command: TOOLS.python,
    args: ["-m", "ziglang", "cc", "-target", TARGET, "-O3", "-Icsrc", ...args],
    cwd: ROOT,
    env: { PYTHONPATH: ZIG_PACKAGE },
    quiet: true,
    remedy: "Fix what the compiler says above.",
  });
}

/** Objects of the whole engine, with the flags that build.zig gives them; `quick`: only the kernels are optimized. */
async function compileEngine(folder, quick) {
  await zigBuild("arm: listing the sources", ["sources", `-Dtarget=${TARGET}`, "--prefix", folder]);
  const sources = JSON.parse(readFileSync(join(folder, "sources.json"), "utf8"));
  console.error(`arm: compiling ${sources.length} objects`);
  const objects = sources.map((source, i) => ({ ...source, object: join(folder, `${i}.o`) }));
  await eachInParallel(objects, ({ file, flags, object }) =>
    // The last -O wins, and tests are built with -O2 there.
    compile(`arm: ${file}`, [
      ...flags.filter((flag) => flag !== "-O2"),
      ...quick && !file.startsWith(KERNELS) ? ["-O1", "-fno-sanitize=undefined"] : [],
      "-c",
      file,
      "-o",
      object,
    ]));
  return objects.map(({ object }) => object);
}

async function link(folder, name, objects) {
  const program = join(folder, name);
  const libraries = ["-lm", "-lpthread", "-o", program];
  const flags = ["-std=gnu23", "-static", "-DRZ_TEST=1", "-Itests/native", `tests/native/${name}_test.c`];
  await compile(`arm: linking ${name}`, [...flags, ...objects, ...libraries]);
  return program;
}

function emulate(name, program, args) {
  const remedy = `Fix the test or the code; again: ${QEMU} ${program} ${args.join(" ")}`;
  const title = `arm: ${name} under ${QEMU}`;
  return step({ title, command: QEMU, args: [program, ...args], cwd: ROOT, show: true, remedy });
}

/** Runs whole native tests, optimized as the library is. */
export async function runArm(names) {
  const folder = inRoot(".tools", "arm");
  mkdirSync(folder, { recursive: true });
  const objects = await compileEngine(folder, false);
  for (const name of names) await emulate(name, await link(folder, name, objects), []);
}

/** Runs the tests of the kernels, in their short form; they are compiled only when something changed. */
export async function runArmKernels() {
  const names = ["cpu_kernels", "cpu_attention"], folder = inRoot(".tools", "arm_kernels");
  const programs = names.map((name) => join(folder, name));
  const stamp = join(folder, "stamp.json"), inputs = ["csrc", "tests/native", "build.zig"];
  mkdirSync(folder, { recursive: true });
  if (!upToDate(stamp, inputs, programs)) {
    const seen = observeInputs(inputs);
    const objects = await compileEngine(folder, true);
    await eachInParallel(names, (name) => link(folder, name, objects));
    writeStamp(stamp, seen, programs);
  }
  for (const [i, name] of names.entries()) await emulate(name, programs[i], ["short"]);
}
