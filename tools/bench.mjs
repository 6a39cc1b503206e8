/**
 * `npm run bench [-- --pp 128,512 --tg 128 --depth 0 --batch 8 --load --threads 2 --rounds 5 --record] [MODEL]`:
 * realizar against llama.cpp (node-llama-cpp) on the same file, by the method of bench/README.md: outputs compared
 * first, then pairs of runs, one after the other, and the medians. --record appends the lines to bench/results.
 */
import { execFileSync } from "node:child_process";
import { appendFileSync, mkdirSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { basename } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { checkMachine, installNpmPackages, installPeers, installZig } from "./lib/install.mjs";
import { fetchModel } from "./lib/model.mjs";
import { buildNative } from "./lib/native.mjs";
import { inRoot, ROOT, TOOLS } from "./lib/paths.mjs";
import { main, StepError } from "./lib/step.mjs";

/** Raw texts whose continuation is clear, so that two right implementations agree at least at first. */
const PROMPTS = [
  "The capital of France is",
  "1, 2, 3, 4, 5, 6, 7,",
  "def add(a, b):\n    return",
  "Monday, Tuesday, Wednesday,",
];
const GREEDY_TOKENS = 32;
const MAIN = inRoot("src", "cli", "main.ts");
const LOAD = inRoot("bench", "load.ts");
const PEER = inRoot("bench", "peers", "llama.mjs");

function lines(command, args) {
  const output = execFileSync(command, args, { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });
  return output.trim().split("\n").map((line) => JSON.parse(line));
}

/**
 * How many tokens both write alike, for each prompt. The first must be; with random weights, whose likeliest tokens are
 * nearly equal, that of some prompt.
 */
function compareOutputs(model, threads) {
  const { name } = lines(TOOLS.bun, [MAIN, "inspect", model, "--json"])[0];
  const isRandom = name?.includes("random weights") === true;
  const agreement = PROMPTS.map((prompt) => {
    const common = ["-n", String(GREEDY_TOKENS), "--threads", threads];
    const ours = lines(TOOLS.bun, [MAIN, "run", model, "--raw", "--json", "--temp", "0", "-p", prompt, ...common])[0];
    const theirs = lines(TOOLS.node, [PEER, "greedy", model, "--prompt", prompt, ...common])[0];
    const parted = ours.tokens.findIndex((token, i) => token !== theirs.tokens[i]);
    const same = parted < 0 ? ours.tokens.length : parted;
    console.error(`bench: ${JSON.stringify(prompt)}: ${same} of ${ours.tokens.length} tokens alike`);
    if (same === 0 && !isRandom) {
      const texts = [ours.text, theirs.text].map((text) => JSON.stringify(text)).join(" and ");
      throw new StepError(`bench: the outputs differ from the first token on: ${texts}. Speed means nothing then.`);
    }
    return same;
  });
  if (agreement.every((same) => same === 0)) throw new StepError("bench: no first token is alike");
  return agreement;
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Others' work on this machine ruins a measurement, of programs with spinning threads most of all. */
function checkIdle(record) {
  const [load] = loadavg();
  if (load < 0.5) return;
  const what = `bench: the load average of this machine is ${load.toFixed(1)}`;
  if (record) throw new StepError(`${what}; it must be below 0.5 to record a result.`);
  console.error(`${what}: take the numbers for a try`);
}

/** Milliseconds to a first token, in processes of their own, in turn. An untimed pair brings the file into memory. */
function measureLoads(model, threads, rounds) {
  const pairs = [];
  for (let round = 0; round <= rounds; round++) {
    const ours = lines(TOOLS.bun, [LOAD, model, threads])[0].ms;
    const theirs = lines(TOOLS.node, [PEER, "load", model, "--threads", threads])[0].ms;
    if (round > 0) pairs.push({ ours, theirs });
  }
  return pairs;
}

/** Interleaved runs: ours, theirs, ours, theirs ...; the rates of each test, by round. */
function measure(model, flags, rounds) {
  const rates = new Map();
  let details;
  for (let round = 0; round < rounds; round++) {
    const ours = lines(TOOLS.bun, [MAIN, "bench", model, "--json", "--reps", "1", ...flags]);
    const theirs = lines(TOOLS.node, [PEER, "bench", model, "--reps", "1", ...flags]);
    details = { ours: ours[0], theirs: theirs[0] };
    for (const { test, tok_s, share_of_bandwidth } of ours) {
      const peer = theirs.find((line) => line.test === test);
      const pairs = rates.get(test) ?? [];
      rates.set(test, [...pairs, { ours: tok_s, theirs: peer.tok_s, share: share_of_bandwidth }]);
    }
    console.error(`bench: round ${round + 1} of ${rounds} done`);
  }
  return { rates, details };
}

function summary(test, pairs, model, threads, details, agreement) {
  const round = (value) => Number(value.toPrecision(4));
  const [ours, theirs] = [pairs.map((pair) => pair.ours), pairs.map((pair) => pair.theirs)].map(median).map(round);
  const isLoad = test === "load";
  const shares = pairs.flatMap(({ share }) => share === undefined || share === null ? [] : [share]);
  return {
    test,
    ...isLoad ? { ms: ours, peer_ms: theirs } : { tok_s: ours, peer_tok_s: theirs },
    // Above 1 is faster, also where less is better.
    ratio: round(median(pairs.map((pair) => isLoad ? pair.theirs / pair.ours : pair.ours / pair.theirs))),
    ...shares.length > 0 ? { share_of_bandwidth: round(median(shares)) } : {},
    rounds: pairs.length,
    agreement,
    model: basename(model),
    threads: Number(threads),
    device: details.ours.device,
    dtype: details.ours.dtype,
    isa: process.env.REALIZAR_ISA ?? "auto",
    commit: details.ours.commit,
    peer: details.theirs.commit,
    machine: `${cpus()[0].model.trim()}, ${cpus().length} cores`,
    date: new Date().toISOString().slice(0, 10),
  };
}

await main(async () => {
  const { values, positionals } = parseArgs({
    options: {
      pp: { type: "string", default: "128,512" },
      tg: { type: "string", default: "128" },
      depth: { type: "string", default: "0" },
      batch: { type: "string" },
      load: { type: "boolean", default: false },
      threads: { type: "string", default: "2" },
      rounds: { type: "string", default: "5" },
      record: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  checkMachine();
  await installNpmPackages();
  await installZig();
  await installPeers();
  await buildNative("release");
  const model = positionals[0] ?? await fetchModel();
  checkIdle(values.record);
  const agreement = compareOutputs(model, values.threads);
  const flags = ["--pp", values.pp, "--tg", values.tg, "--depth", values.depth, "--threads", values.threads];
  if (values.batch !== undefined) flags.push("--batch", values.batch);
  const { rates, details } = measure(model, flags, Number(values.rounds));
  if (values.load) rates.set("load", measureLoads(model, values.threads, Number(values.rounds)));
  for (const [test, pairs] of rates) {
    const row = summary(test, pairs, model, values.threads, details, agreement);
    console.log(JSON.stringify(row));
    if (values.record) {
      const machine = row.machine.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
      mkdirSync(inRoot("bench", "results"), { recursive: true });
      appendFileSync(inRoot("bench", "results", `${machine}.jsonl`), `${JSON.stringify(row)}\n`);
    }
  }
});
