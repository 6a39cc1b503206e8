/**
 * `npm run fuzz [-- --seconds=60 NAME...]`: each tests/fuzz/NAME_fuzz.c, built with libFuzzer, AddressSanitizer and
 * UBSan together with the whole engine, runs from the seeds in tests/corpus/fuzz/NAME. What it finds stays in
 * .tools/fuzz/NAME. It needs Debian's clang-19: zig's clang comes without these sanitizers.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { checkMachine, installZig } from "./lib/install.mjs";
import { zigBuild } from "./lib/native.mjs";
import { inRoot, ROOT } from "./lib/paths.mjs";
import { main, step, StepError } from "./lib/step.mjs";

const CLANG = "clang-19";
// Warnings are zig's clang's business: another version has others.
const FLAGS = ["-g", "-O1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", "-Icsrc", "-w"];
const INPUT_BYTES = 1 << 16;

function checkClang() {
  const args = ["-fsanitize=fuzzer,address", "-x", "c", "-", "-o", "/dev/null"];
  const input =
    "#include <stddef.h>\nint LLVMFuzzerTestOneInput(const unsigned char *d, size_t n) { (void)d; return !n; }";
  if (spawnSync(CLANG, args, { input }).status === 0) return;
  throw new StepError(`fuzz: needs ${CLANG} with its sanitizers: apt install clang-19 libclang-rt-19-dev llvm-19`);
}

/** Runs `work` on every item, as many at a time as there are cores. */
async function eachInParallel(items, work) {
  const queue = [...items];
  const worker = async () => {
    for (let item = queue.shift(); item !== undefined; item = queue.shift()) await work(item);
  };
  await Promise.all(Array.from({ length: availableParallelism() }, worker));
}

/** Compiles every source once, instrumented; returns the objects. */
async function compileEngine(folder) {
  await zigBuild("fuzz: listing the sources", ["sources"]);
  const sources = JSON.parse(readFileSync(inRoot("zig-out", "sources.json"), "utf8"));
  console.error(`fuzz: compiling ${sources.length} objects`);
  const objects = sources.map((source, i) => ({ ...source, object: join(folder, `${i}.o`) }));
  await eachInParallel(objects, ({ file, flags, object }) =>
    step({
      title: `fuzz: ${file}`,
      command: CLANG,
      args: [...FLAGS, "-fsanitize=fuzzer-no-link,address,undefined", ...flags, "-c", file, "-o", object],
      cwd: ROOT,
      quiet: true,
      remedy: "Fix what the compiler says above.",
    }));
  return objects.map(({ object }) => object);
}

async function fuzz(name, objects, seconds) {
  const folder = inRoot(".tools", "fuzz", name);
  const corpus = join(folder, "corpus");
  mkdirSync(corpus, { recursive: true });
  const program = join(folder, "fuzzer");
  await step({
    title: `fuzz: linking ${name}`,
    command: CLANG,
    args: [...FLAGS, "-std=c23", "-DRZ_TEST=1", "-fsanitize=fuzzer,address,undefined", `tests/fuzz/${name}_fuzz.c`]
      .concat(objects, ["-o", program, "-lm", "-lpthread", "-ldl"]),
    cwd: ROOT,
    remedy: "Fix what the compiler says above.",
  });
  const seeds = inRoot("tests", "corpus", "fuzz", name);
  const output = await step({
    title: `fuzz: ${name}, ${seconds} s`,
    command: program,
    args: [`-max_total_time=${seconds}`, `-max_len=${INPUT_BYTES}`, "-timeout=10", "-print_final_stats=1"]
      .concat([`-artifact_prefix=${folder}/`, corpus], existsSync(seeds) ? [seeds] : []),
    cwd: ROOT,
    remedy: `The input that does it is the newest file in ${folder}; run ${program} on it.`,
  });
  const executed = /stat::number_of_executed_units:\s*(\d+)/.exec(output)?.[1];
  if (executed === undefined) throw new StepError(`fuzz: ${name} ended without its statistics:\n${output}`);
  return Number(executed);
}

await main(async () => {
  const { values, positionals } = parseArgs({
    options: { seconds: { type: "string", default: "60" } },
    allowPositionals: true,
  });
  checkMachine();
  checkClang();
  await installZig();
  const all = readdirSync(inRoot("tests", "fuzz")).filter((file) => file.endsWith("_fuzz.c")).sort();
  const names = positionals.length > 0 ? positionals : all.map((file) => file.slice(0, -"_fuzz.c".length));
  const folder = inRoot(".tools", "fuzz", "objects");
  mkdirSync(folder, { recursive: true });
  const objects = await compileEngine(folder);
  const lines = [];
  for (const name of names) {
    lines.push(`fuzz: ${name}: ${await fuzz(name, objects, Number(values.seconds))} inputs, nothing found`);
  }
  console.log(lines.join("\n"));
});
