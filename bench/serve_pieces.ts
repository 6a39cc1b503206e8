/**
 * The longest synchronous piece of the server's own work for requests at their limits: the handler runs in this thread,
 * over a model that tokenizes in its Worker and has its answers ready, and a timer that is due all the time looks how
 * much this thread has computed since the last time. Each case runs several times; of each run's longest piece the
 * least and the median are told: the collector of the runtime makes some longer.
 *
 *     node_modules/.bin/bun bench/serve_pieces.ts [CASE ...]       also with deno run -A, and with node
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { setImmediate } from "node:timers";
import { runtime, runtimeVersion } from "../src/platform/env.ts";
import {
  type GenerateOptions,
  type Generation,
  type GenerationPart,
  type GenerationResult,
  Model,
} from "../src/mod.ts";
import { createHandler, type ServedModel } from "../src/server/mod.ts";
import { tinyGguf } from "../tests/tiny_gguf.ts";

const RUNS = 7;
const MIB = 2 ** 20;
const CONTEXT = 131_072;

const chat = (content: unknown, more = "") =>
  `{"model":"m","max_tokens":1,${more}"messages":${JSON.stringify(content)}}`;
const user = (content: unknown) => [{ role: "user", content }];
/** A body of about `bytes` with `unit` in the middle as often as it fits. */
const filled = (head: string, unit: string, tail: string, bytes: number): string =>
  head + Array<string>(Math.floor((bytes - head.length - tail.length) / (unit.length + 1))).fill(unit).join(",") + tail;
const escapes = (bytes: number): string =>
  `{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"${"\\u00e9".repeat(bytes / 6)}"}]}`;
const largest = 8 * MIB - 1024;

/** Requests at the limits, by what is large in them. */
const CASES: Readonly<Record<string, { path: string; body: () => string }>> = {
  "1 MiB of text": { path: "/v1/chat/completions", body: () => chat(user("the rain ".repeat(MIB / 9))) },
  "4 MiB of text": { path: "/v1/chat/completions", body: () => chat(user("the rain ".repeat(4 * MIB / 9))) },
  "4 MiB of other scripts": { path: "/v1/chat/completions", body: () => chat(user("дождь ".repeat(4 * MIB / 11))) },
  "1 MiB of escapes": { path: "/v1/chat/completions", body: () => escapes(MIB) },
  "8 MiB of escapes": { path: "/v1/chat/completions", body: () => escapes(largest) },
  "8 MiB of token ids": {
    path: "/v1/completions",
    body: () => filled('{"model":"m","prompt":[', "1", "]}", largest),
  },
  "131,071 token ids": {
    path: "/v1/completions",
    body: () => `{"model":"m","max_tokens":1,"prompt":[${Array(CONTEXT - 1).fill(7).join(",")}]}`,
  },
  "8 MiB of arrays": { path: "/v1/completions", body: () => filled('{"model":"m","prompt":[', "[]", "]}", largest) },
  "8 MiB of keys": {
    path: "/v1/completions",
    body: () =>
      `{"model":"m","prompt":"a",${
        Array.from({ length: 600_000 }, (_, i) => `"k${i}":1`).join(",").slice(0, largest).replace(/,[^,]*$/, "")
      }}`,
  },
  "8 MiB of messages": {
    path: "/v1/chat/completions",
    body: () => filled('{"model":"m","messages":[', '{"role":"user","content":"a"}', "]}", largest),
  },
  "5,000 messages": {
    path: "/v1/chat/completions",
    body: () => filled('{"model":"m","messages":[', '{"role":"user","content":"a"}', "]}", 5000 * 30),
  },
  "8 MiB of parts": {
    path: "/v1/chat/completions",
    body: () =>
      filled('{"model":"m","messages":[{"role":"user","content":[', '{"type":"text","text":""}', "]}]}", largest),
  },
  "5,000 blocks": {
    path: "/v1/messages",
    body: () =>
      filled(
        '{"model":"m","max_tokens":1,"messages":[{"role":"user","content":[',
        '{"type":"text","text":"a"}',
        "]}]}",
        5000 * 27,
      ),
  },
  "5,000 items": {
    path: "/v1/responses",
    body: () => filled('{"model":"m","input":[', '{"role":"user","content":"a"}', "]}", 5000 * 30),
  },
  "4 MiB of tools": {
    path: "/v1/chat/completions",
    body: () => {
      const tools = Array.from({ length: 120 }, (_, i) => ({
        type: "function",
        function: { name: `f${i}`, description: "d".repeat(4 * MIB / 130), parameters: { type: "object" } },
      }));
      return chat(user("a"), `"tools":${JSON.stringify(tools)},`);
    },
  },
  "128 tools": {
    path: "/v1/chat/completions",
    body: () => {
      const properties = Object.fromEntries(
        Array.from({ length: 40 }, (_, i) => [`p${i}`, { type: "string", description: "what it is" }]),
      );
      const tools = Array.from({ length: 128 }, (_, i) => ({
        type: "function",
        function: { name: `f${i}`, parameters: { type: "object", properties } },
      }));
      return chat(user("a"), `"tools":${JSON.stringify(tools)},`);
    },
  },
  "a bias for every token": {
    path: "/v1/chat/completions",
    body: () => chat(user("a"), `"logit_bias":{${Array.from({ length: 320 }, (_, i) => `"${i}":1`).join()}},`),
  },
  "4 MiB tokenized": { path: "/tokenize", body: () => JSON.stringify({ prompt: "the rain ".repeat(4 * MIB / 9) }) },
  "250,000 tokens detokenized": {
    path: "/detokenize",
    body: () => `{"tokens":[${Array(250_000).fill(99).join()}]}`,
  },
  "an answer of 100,000 tokens": { path: "/v1/chat/completions", body: () => chat(user("long")) },
  "its log-probabilities, 20 each": {
    path: "/v1/chat/completions",
    body: () => chat(user("long"), '"logprobs":true,"top_logprobs":20,'),
  },
  "the same of a text": {
    path: "/v1/completions",
    body: () => '{"model":"m","prompt":"long","max_tokens":1,"echo":true,"logprobs":20}',
  },
};

const LONG = 100_000;
const IDS = Array.from({ length: LONG }, (_, i) => 40 + i % 200);
const TOP = Array.from({ length: 20 }, (_, i) => ({ token: 40 + i, logprob: -i - 0.123456 }));
const LOGPROBS = IDS.map((token) => ({ token, logprob: -1.5, top: TOP }));
const TEXT = "the rain ".repeat(LONG / 3);

/** A generation that has ended, with an answer as long as it can be. */
function ended(tokens: Int32Array, options: GenerateOptions): Generation {
  const result: GenerationResult = {
    text: TEXT,
    tokens: IDS,
    finishReason: "length",
    seed: 1,
    answer: { text: TEXT, reasoning: "", toolCalls: [] },
    usage: { promptTokens: tokens.length, cachedTokens: 0, completionTokens: LONG },
    timings: { queueMs: 0, ttftMs: 1, decodeMs: 1, promptTokensPerSecond: 1, tokensPerSecond: 1 },
  };
  if (options.logprobs !== undefined) result.logprobs = LOGPROBS;
  const generation: Partial<Generation> = {
    state: "running",
    result: () => Promise.resolve(result),
    cancel() {},
    async *[Symbol.asyncIterator]() {
      for (let i = 0; i < LONG; i += 10) {
        const part: GenerationPart = { text: "the rain ", tokens: IDS.slice(i, i + 10) };
        if (options.logprobs !== undefined) part.logprobs = LOGPROBS.slice(i, i + 10);
        yield part;
        if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
    },
  };
  return generation as Generation;
}

/** The C library's clock of this thread, where the runtime's FFI is known here: no ticks of the kernel. */
async function preciseClock(): Promise<(() => number) | undefined> {
  if (runtime() !== "bun") return undefined;
  const name = "bun:ffi";
  const { dlopen } = await import(name) as { dlopen(path: string, functions: object): { symbols: Clock } };
  const { symbols } = dlopen("libc.so.6", { clock_gettime: { args: ["i32", "ptr"], returns: "i32" } });
  const time = new BigInt64Array(2);
  return () => {
    symbols.clock_gettime(THREAD_CPUTIME, time);
    return Number(time[0]) * 1e3 + Number(time[1]) / 1e6;
  };
}

interface Clock {
  clock_gettime(clock: number, time: BigInt64Array): number;
}

const THREAD_CPUTIME = 3;

/** Milliseconds that this thread has computed; what others do on the machine does not count. Linux only. */
let computed = (): number => Number(readFileSync("/proc/thread-self/schedstat", "latin1").split(" ")[0]) / 1e6;

/** The longest that the event loop computed without a turn for others while `run` ran, in milliseconds. */
async function longestPiece(run: () => Promise<unknown>): Promise<number> {
  let longest = 0, last = computed(), isOver = false;
  const tick = (): void => {
    const now = computed();
    longest = Math.max(longest, now - last);
    if (!isOver) setImmediate(tick);
    last = computed();
  };
  setImmediate(tick);
  await new Promise((resolve) => setTimeout(resolve, 20));
  longest = 0;
  await run();
  await new Promise((resolve) => setTimeout(resolve, 0));
  isOver = true;
  return longest;
}

async function main(): Promise<void> {
  computed = await preciseClock() ?? computed;
  await using model = await Model.load(tinyGguf({ contextLength: CONTEXT }), {
    device: "ref",
    contextSize: CONTEXT,
    maxSequences: 1,
  });
  const served: ServedModel = {
    info: model.info,
    tokenBytes: (token) => model.tokenBytes(token),
    tokenize: (text, options) => model.tokenize(text, options),
    detokenize: (tokens) => model.detokenize(tokens),
    generate: ended,
  };
  const handler = createHandler({ models: { m: served }, limits: { queuedRequests: 100 } });
  const asked = process.argv.slice(2);
  for (const [name, { path, body }] of Object.entries(CASES)) {
    if (asked.length > 0 && !asked.includes(name)) continue;
    const text = new TextEncoder().encode(body());
    const longest: number[] = [];
    let status = 0;
    for (let i = 0; i < RUNS; i++) {
      const chunks = Array.from(
        { length: Math.ceil(text.length / 65_536) },
        (_, k) => text.slice(k * 65_536, (k + 1) * 65_536),
      );
      const stream = new ReadableStream<Uint8Array>({
        pull(controller) {
          const piece = chunks.shift();
          if (piece === undefined) controller.close();
          else controller.enqueue(piece);
        },
      });
      const init = { method: "POST", headers: { "content-type": "application/json" }, body: stream, duplex: "half" };
      const request = new Request(`http://localhost${path}`, init as RequestInit);
      longest.push(
        await longestPiece(async () => {
          const response = await handler(request);
          status = response.status;
          const reader = response.body!.getReader();
          while (!(await reader.read()).done) { /* as a client takes it */ }
        }),
      );
    }
    longest.sort((a, b) => a - b);
    const [least, median] = [longest[0]!, longest[RUNS >> 1]!].map((ms) => ms.toFixed(1).padStart(7));
    console.log(`${runtimeVersion().padEnd(14)} ${name.padEnd(32)} ${status} ${least} ms, median ${median}`);
  }
}

await main();
