/**
 * What the way from the native step to the user's iterator costs, and whether the main thread stays free.
 *
 *     bun bench/stream.ts [THREADS] [MODEL]      also: deno run -A, node
 *
 * Computes on THREADS (default 1, so that on two cores the host has one of its own). Prints one JSON object.
 * `native_ms`: a decode step driven synchronously in this thread, per token; `stream_ms`: the same tokens through
 * `generate`, per token, told by the times at which its parts arrive; `overhead_ms`: the difference (medians of rounds
 * in turn). `longest_ms`: the longest time in which the event loop of the main thread was not heard while it streamed.
 */
import { env, runtimeVersion } from "../src/platform/env.ts";
import { BatchWriter, LAST_SAMPLE, NO_SAMPLING, OUT_MODES } from "../src/engine/batch.ts";
import { NativeRunner, openEngine, openWeights } from "../src/engine/native_model.ts";
import { prepareModel } from "../src/engine/prepare.ts";
import { Model } from "../src/mod.ts";
import { STRUCTS } from "../src/platform/abi.ts";
import { openLibrary } from "../src/platform/library.ts";

const PROMPT = Array.from({ length: 16 }, (_, i) => 100 + 7 * i);
const N_TOKENS = 256;
const ROUNDS = 7;
const PAGE_TOKENS = 64;

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

/** Decode steps without Workers, messages or text: milliseconds a token. */
async function openNative(path: string, threads: number): Promise<{ run(): number; close(): void }> {
  const { plan, files } = await prepareModel({ kind: "path", path });
  const library = openLibrary();
  const { native, check } = library;
  const engine = openEngine(library, "cpu", 0, threads, 0);
  const weights = openWeights(library, engine, plan.weightTable, files.map((f) => ({ ...f, path: f.path! })));
  const progress = new Uint8Array(STRUCTS.rz_progress.size);
  while (check(native.rz_weights_poll(weights, 1000, progress)) === 0) { /* it ends by itself */ }
  const { bytes, logitsValue: logits, weightNames } = plan;
  const facts = { bytes, logits, groups: [...plan.groups], weightNames };
  const sizes = { maxTokens: 64, maxSequences: 1, maxOuts: 1, deterministic: false };
  const contextSize = PROMPT.length + N_TOKENS + 1;
  const cache = { kvDtype: "f16", maxSequences: 1, contextSize, pageTokens: PAGE_TOKENS } as const;
  const runner = new NativeRunner(library, { engine, weights }, facts, sizes, cache);
  const writer = new BatchWriter();
  const submit = (nPast: number, tokens: number[], after: number): number => {
    const nAfter = nPast + tokens.length;
    const pages = [Array.from({ length: Math.ceil(nAfter / PAGE_TOKENS) }, (_, i) => i + 1)];
    const out = { mode: OUT_MODES.sample, sampling: NO_SAMPLING, penaltyFrom: 0 };
    const outs = [{ ...out, row: tokens.length - 1, drawPosition: nAfter }];
    return runner.submit(
      writer.write({ flags: 0, after, copies: [], seqs: [{ slot: 0, nPast, tokens, pages }], outs }),
    );
  };
  const run = (): number => {
    let ticket = submit(0, PROMPT, 0), start = 0;
    for (let i = 0; i < N_TOKENS; i++) {
      const next = i + 1 < N_TOKENS ? submit(PROMPT.length + i, [LAST_SAMPLE], ticket) : ticket;
      while (runner.wait(ticket, 1000) === undefined) { /* it ends by itself */ }
      if (i === 0) start = performance.now();
      ticket = next;
    }
    return (performance.now() - start) / (N_TOKENS - 1);
  };
  return { run, close: () => void native.rz_engine_close(engine) };
}

/** The same tokens through the public path: milliseconds a token. */
async function stream(model: Model): Promise<number> {
  let first = 0, last = 0;
  for await (const part of model.generate(PROMPT, { temperature: 0, maxTokens: N_TOKENS, ignoreEos: true })) {
    last = performance.now();
    if (first === 0 && part.tokens.length > 0) first = last;
  }
  return (last - first) / (N_TOKENS - 1);
}

async function main(threads: number, path: string): Promise<void> {
  const native = await openNative(path, threads);
  const model = await Model.load(path, { device: "cpu", maxSequences: 1, threads });
  const nativeMs: number[] = [], streamMs: number[] = [];
  let longestMs = 0, heardAt = 0;
  const timer = setInterval(() => {
    const now = performance.now();
    if (heardAt > 0) longestMs = Math.max(longestMs, now - heardAt);
    heardAt = now;
  }, 1);
  for (let round = -1; round < ROUNDS; round++) {
    const alone = native.run();
    // The longest prompt shares the pages of the round before: every round computes the same tokens.
    heardAt = 0;
    const streamed = await stream(model);
    heardAt = 0;
    if (round < 0) longestMs = 0; // compilation
    else nativeMs.push(alone), streamMs.push(streamed);
  }
  clearInterval(timer);
  const overheads = streamMs.map((ms, i) => ms - nativeMs[i]!);
  const round3 = (ms: number): number => Math.round(ms * 1000) / 1000;
  console.log(JSON.stringify({
    test: "stream",
    runtime: runtimeVersion(),
    native_ms: round3(median(nativeMs)),
    stream_ms: round3(median(streamMs)),
    overhead_ms: round3(median(overheads)),
    longest_ms: round3(longestMs),
    tokens: N_TOKENS,
    rounds: ROUNDS,
    threads,
    model: model.info.name,
  }));
  await model.close();
  native.close();
}

const cached = `${env("XDG_CACHE_HOME") ?? `${env("HOME") ?? ""}/.cache`}/realizar/models`;
await main(Number(process.argv[2] ?? 1), process.argv[3] ?? `${cached}/SmolLM2-135M-Instruct.Q4_1.gguf`);
