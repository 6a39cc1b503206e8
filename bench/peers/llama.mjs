/**
 * llama.cpp through node-llama-cpp, on the CPU, measured as `realizar bench --json` measures:
 *
 *     llama.mjs bench MODEL [--pp 128,512] [--tg 128] [--depth 0] [--batch 8] ...   a JSON line a test
 *     llama.mjs load MODEL [--threads 2]                              {"test": "load", "ms"}: to a first token
 *     llama.mjs greedy MODEL --prompt TEXT [-n 64] [--threads 2]                  {"prompt_tokens", "tokens", "text"}
 *
 * The prompt of `greedy` is raw text: no template, special tokens not parsed, BOS as the file says.
 */
import { basename } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

const BATCH_TOKENS = 512;

/** Opens a model with a context of one sequence; the caller disposes of `llama`. */
async function open(path, contextSize, threads, sequences = 1) {
  const llama = await getLlama({
    gpu: false,
    build: "never",
    skipDownload: true,
    maxThreads: threads,
    logLevel: LlamaLogLevel.error,
  });
  const model = await llama.loadModel({ modelPath: path });
  const context = await model.createContext({
    contextSize,
    sequences,
    batchSize: Math.min(BATCH_TOKENS, contextSize),
    threads: { ideal: threads, min: threads },
  });
  const [sequence, ...others] = Array.from({ length: sequences }, () => context.getSequence());
  return { llama, model, sequence, others };
}

/** Tokens that look like nothing; those of `realizar bench`. */
function randomTokens(n, vocabSize, salt) {
  let state = 0x9e3779b9 ^ salt;
  return Array.from({ length: n }, () => {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x6d2b79f5 | 0;
    return (state >>> 0) % vocabSize;
  });
}

let salt = 0;
const nextPrompt = (model, n) => randomTokens(n, model.fileInfo.metadata.tokenizer.ggml.tokens.length, salt++);

/** Tokens a second of a prompt up to its first token, as a user waits for it. */
async function prefill({ model, sequence }, n) {
  await sequence.clearHistory();
  const tokens = nextPrompt(model, n);
  const started = performance.now();
  for await (const _ of sequence.evaluate(tokens, { temperature: 0, yieldEogToken: true })) break;
  return n / ((performance.now() - started) / 1000);
}

/** Tokens a second after the first one, greedy, with `depth` tokens in the context. */
async function decode({ model, sequence }, n, depth) {
  await sequence.clearHistory();
  let count = -1; // the first token is the prompt's
  let started = 0;
  const options = { temperature: 0, yieldEogToken: true };
  for await (const _ of sequence.evaluate(nextPrompt(model, Math.max(depth, 1)), options)) {
    if (++count === 0) started = performance.now();
    if (count === n) break;
  }
  if (count < n) throw new Error(`generation ended after ${count} of ${n} tokens`);
  return n / ((performance.now() - started) / 1000);
}

/** Tokens a second of `width` sequences together, from the moment when all decode to the first one's end. */
async function batch({ model, sequence, others }, width, n) {
  const starts = [], ends = [];
  let startedAt = 0, counted = 0;
  await Promise.all(
    [sequence, ...others].slice(0, width).map(async (one) => {
      await one.clearHistory();
      let count = 0;
      for await (const _ of one.evaluate(nextPrompt(model, 16), { temperature: 0, yieldEogToken: true })) {
        if (startedAt !== 0 && ends.length === 0) counted++;
        if (count === 0 && starts.push(performance.now()) === width) startedAt = starts.at(-1);
        if (++count === n) break;
      }
      ends.push(performance.now());
    }),
  );
  return counted / ((ends[0] - startedAt) / 1000);
}

/** Milliseconds from nothing to a first token. */
async function load(path, options) {
  const started = performance.now();
  const { llama, sequence } = await open(path, 1024, Number(options.threads));
  for await (const _ of sequence.evaluate([1, 2, 3], { temperature: 0, yieldEogToken: true })) break;
  console.log(JSON.stringify({ test: "load", ms: performance.now() - started }));
  await llama.dispose();
}

/** One untimed run, then `reps` timed ones. */
async function repeat(test, reps, once) {
  await once();
  const rates = [];
  for (let i = 0; i < reps; i++) rates.push(await once());
  rates.sort((a, b) => a - b);
  return { test, tok_s: rates[rates.length >> 1], min: rates[0], max: rates.at(-1), reps };
}

const numbers = (text) => text === "" ? [] : text.split(",").map(Number);

async function bench(path, options) {
  const [pp, tg, depths] = [numbers(options.pp), numbers(options.tg), numbers(options.depth)];
  const widths = numbers(options.batch);
  const longest = Math.max(...pp, ...depths.map((depth) => depth + Math.max(...tg)), 128) + 16;
  const opened = await open(path, longest, Number(options.threads), Math.max(1, ...widths));
  const common = {
    gb_s: null,
    share_of_bandwidth: null,
    device: `cpu, ${options.threads} threads`,
    dtype: opened.model.typeDescription,
    model: basename(path),
    commit: `node-llama-cpp 3.22.1, llama.cpp ${opened.llama.llamaCppRelease.release}`,
  };
  const tell = (row) => console.log(JSON.stringify({ ...row, ...common }));
  const reps = Number(options.reps);
  for (const n of pp) tell(await repeat(`pp${n}`, reps, () => prefill(opened, n)));
  for (const depth of depths) {
    const at = depth === 0 ? "" : `@${depth}`;
    for (const n of tg) tell(await repeat(`tg${n}${at}`, reps, () => decode(opened, n, depth)));
  }
  for (const width of widths) tell(await repeat(`b${width}`, reps, () => batch(opened, width, 64)));
  await opened.llama.dispose();
}

async function greedy(path, options) {
  const n = Number(options.n);
  const { llama, model, sequence } = await open(path, Number(options.ctx), Number(options.threads));
  const prompt = model.tokenize(options.prompt, false);
  if (model.tokens.shouldPrependBosToken) prompt.unshift(model.tokens.bos);
  const tokens = [];
  for await (const token of sequence.evaluate(prompt, { temperature: 0 })) {
    tokens.push(token);
    if (tokens.length === n) break;
  }
  console.log(JSON.stringify({ prompt_tokens: prompt, tokens, text: model.detokenize(tokens) }));
  await llama.dispose();
}

const { positionals: [command, path], values } = parseArgs({
  options: {
    pp: { type: "string", default: "512" },
    tg: { type: "string", default: "128" },
    depth: { type: "string", default: "0" },
    batch: { type: "string", default: "" },
    reps: { type: "string", default: "5" },
    threads: { type: "string", default: "2" },
    ctx: { type: "string", default: "2048" },
    prompt: { type: "string", default: "" },
    n: { type: "string", short: "n", default: "64" },
  },
  allowPositionals: true,
});
const run = { bench, greedy, load }[command];
if (run === undefined || path === undefined) {
  console.error("usage: llama.mjs bench|greedy|load MODEL [options]");
  process.exit(2);
}
await run(path, values);
