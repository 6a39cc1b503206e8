/**
 * `npm run test:arm [-- NAME...]`: the CPU executor's native tests for arm64, optimized as the library is, under
 * Debian's qemu-user. All kernels run there: NEON, its dot products, i8mm. Without qemu-aarch64 this says so and ends
 * well: what could not run is told, not failed.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { checkMachine, installZig } from "./lib/install.mjs";
import { zigBuild } from "./lib/native.mjs";
import { inRoot, ROOT, TOOLS, ZIG_PACKAGE } from "./lib/paths.mjs";
import { main, step } from "./lib/step.mjs";

const QEMU = "qemu-aarch64";
const TARGET = "aarch64-linux-musl";
const TESTS = ["dtype", "cpu_kernels", "cpu_pool", "cpu_program"];

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

/** Objects of the whole engine, with the flags that build.zig gives them. */
async function compileEngine(folder) {
  await zigBuild("arm: listing the sources", ["sources", `-Dtarget=${TARGET}`, "--prefix", folder]);
  const sources = JSON.parse(readFileSync(join(folder, "sources.json"), "utf8"));
  console.error(`arm: compiling ${sources.length} objects`);
  const objects = sources.map((source, i) => ({ ...source, object: join(folder, `${i}.o`) }));
  await eachInParallel(objects, ({ file, flags, object }) =>
    // The last -O wins, and tests are built with -O2 there.
    compile(`arm: ${file}`, [...flags.filter((flag) => flag !== "-O2"), "-c", file, "-o", object]));
  return objects.map(({ object }) => object);
}

await main(async () => {
  if (spawnSync(QEMU, ["--version"]).status !== 0) {
    console.log(`arm: skipped, there is no ${QEMU}: apt install qemu-user`);
    return;
  }
  checkMachine();
  await installZig();
  const folder = inRoot(".tools", "arm");
  mkdirSync(folder, { recursive: true });
  const objects = await compileEngine(folder);
  const names = process.argv.length > 2 ? process.argv.slice(2) : TESTS;
  for (const name of names) {
    const program = join(folder, name);
    await compile(`arm: linking ${name}`, [
      "-std=gnu23",
      "-static",
      "-DRZ_TEST=1",
      "-Itests/native",
      `tests/native/${name}_test.c`,
      ...objects,
      "-lm",
      "-lpthread",
      "-o",
      program,
    ]);
    const remedy = `Fix the test or the code; again: ${QEMU} ${program}`;
    await step({ title: `arm: ${name} under ${QEMU}`, command: QEMU, args: [program], cwd: ROOT, show: true, remedy });
  }
});
