/**
 * The server under load, from outside: what a full queue costs, how soon a place is free when a client has gone, a
 * thousand streams at once, memory over many requests, others' tokens while a long prompt comes, the event loop.
 *
 *     node bench/serve.ts [--program=node_modules/.bin/bun] [--model=FILE] [--tiny=FILE] [SCENARIO ...]
 *
 * Prints a JSON object a scenario. `--program` runs the server (bun, deno or node); the load comes from this process.
 * `--tiny` is a small model for scenarios that are about the server and not about the model: default, one that is made
 * here. Linux only: memory and files of the server are read from /proc.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { tinyGguf } from "../tests/tiny_gguf.ts";
import { measureLoop } from "./serve_loop.ts";
import {
  ask,
  type Asked,
  metricsOf,
  quantile,
  type Served,
  sleep,
  startServer,
  tell,
  usageOf,
  waitFor,
} from "./serve_client.ts";

const CHAT = "/v1/chat/completions";
const question = (text: string) => [{ role: "user", content: text }];
const base = { model: "m", messages: question("the rain"), temperature: 0, ignore_eos: true };

interface Setting {
  program: string;
  model: string;
  tiny: string;
}

const isWhole = (text: string, nTokens: number): boolean =>
  text.endsWith("data: [DONE]\n\n") && text.includes(`"completion_tokens":${nTokens},`);

function stream(url: string, nTokens: number, more: object = {}): Asked {
  return ask(url, CHAT, {
    ...base,
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: nTokens,
    ...more,
  });
}

/** A full queue is answered at once, however busy the engine is. */
async function fullQueue({ program, model }: Setting): Promise<void> {
  await using server = await startServer(program, model, ["--parallel", "2", "--max-queued-requests", "4"]);
  const kept = Array.from({ length: 6 }, (_, i) => stream(server.url, 3000, { messages: question(`count to ${i}`) }));
  await waitFor(async () => (await metricsOf(server.url))("vllm:num_requests_running") === 2);
  const times: number[] = [];
  for (let i = 0; i < 200; i++) {
    const startedAt = performance.now();
    const { status, headers } = await ask(server.url, CHAT, base).told;
    if (status !== 503 || headers["retry-after-ms"] === undefined) throw new Error(`status ${status}`);
    times.push(performance.now() - startedAt);
  }
  for (const { sent } of kept) sent.destroy();
  tell({
    test: "full_queue",
    n: times.length,
    p50_ms: quantile(times, 0.5),
    p99_ms: quantile(times, 0.99),
    max_ms: quantile(times, 1),
  });
}

/** A client that goes frees its place, and one that waits never starts. */
async function gone({ program, model }: Setting): Promise<void> {
  await using server = await startServer(program, model, ["--parallel", "1"]);
  const times: number[] = [];
  for (let i = 0; i < 20; i++) {
    let nPieces = 0;
    const running = ask(server.url, CHAT, { ...base, stream: true, messages: question(`tell ${i}`) }, () => nPieces++);
    await waitFor(() => nPieces > 3);
    const waiting = stream(server.url, 5, { messages: question(`never ${i}`) });
    await waitFor(async () => (await metricsOf(server.url))("vllm:num_requests_waiting") === 1);
    waiting.sent.destroy();
    await waitFor(async () => (await metricsOf(server.url))("vllm:num_requests_waiting") === 0);
    const startedAt = performance.now();
    running.sent.destroy();
    await waitFor(async () => (await metricsOf(server.url))("vllm:num_requests_running") === 0);
    times.push(performance.now() - startedAt);
  }
  const get = await metricsOf(server.url);
  tell({
    test: "gone",
    n: times.length,
    p50_ms: quantile(times, 0.5),
    max_ms: quantile(times, 1),
    started_of_those_that_waited: get("vllm:request_prompt_tokens_count") - times.length,
    kv_pages_used: get("realizar:kv_pages_used"),
  });
}

/** So many streams at once, each on a connection of its own. */
async function manyStreams(
  server: Served,
  n: number,
  nTokens: number,
): Promise<{ whole: number; seconds: number; peak: number }> {
  const startedAt = performance.now();
  let peak = 0;
  const timer = setInterval(() => peak = Math.max(peak, usageOf(server.pid).rss_mib), 50);
  const told = await Promise.all(
    Array.from({ length: n }, () => stream(server.url, nTokens).told.catch(() => undefined)),
  );
  clearInterval(timer);
  const whole = told.filter((one) => one?.status === 200 && isWhole(one.text, nTokens)).length;
  return { whole, seconds: (performance.now() - startedAt) / 1000, peak };
}

async function thousand({ program, tiny }: Setting): Promise<void> {
  const flags = [
    "--device",
    "ref",
    "--parallel",
    "16",
    "--max-queued-requests",
    "2000",
    "--max-queued-tokens",
    "1000000",
  ];
  await using server = await startServer(program, tiny, flags);
  for (let i = 0; i < 2; i++) await manyStreams(server, 1000, 32); // code is compiled, heaps have grown
  await sleep(5000);
  const before = usageOf(server.pid);
  const { whole, seconds, peak } = await manyStreams(server, 1000, 32);
  await sleep(5000);
  const after = usageOf(server.pid), get = await metricsOf(server.url);
  tell({
    test: "thousand_streams",
    whole,
    seconds: Math.round(seconds * 100) / 100,
    rss_before_mib: before.rss_mib,
    rss_peak_mib: peak,
    rss_after_mib: after.rss_mib,
    fds_before: before.fds,
    fds_after: after.fds,
    kv_pages_used: get("realizar:kv_pages_used"),
    answering: get("realizar:requests_answering"),
  });
}

/** Resident memory over many short requests, 16 at a time. */
async function memory({ program, tiny }: Setting): Promise<void> {
  await using server = await startServer(program, tiny, ["--device", "ref", "--parallel", "8"]);
  const rss: number[] = [];
  for (let block = 0; block <= 10; block++) {
    let left = block === 0 ? 1 : 1000;
    await Promise.all(Array.from({ length: 16 }, async () => {
      while (left-- > 0) {
        const { text } = await stream(server.url, 8).told;
        if (!isWhole(text, 8)) throw new Error(text);
      }
    }));
    await sleep(1000);
    rss.push(usageOf(server.pid).rss_mib);
  }
  tell({ test: "memory", requests: 10_000, rss_mib_by_1000: rss, fds: usageOf(server.pid).fds });
}

/** Times between tokens of two streams, with and without a prompt of about 3,500 tokens that comes meanwhile. */
async function longPrompt({ program, model }: Setting): Promise<void> {
  await using server = await startServer(program, model, ["--parallel", "4", "--ctx", "4096"]);
  const gaps = async (salt: string, withPrompt: boolean): Promise<number[]> => {
    const streams = ["a", "b"].map((name) => stream(server.url, 160, { messages: question(`${salt} ${name}`) }));
    await sleep(300);
    const text = Array.from({ length: 3400 }, (_, i) => `${salt[i % salt.length]}${i % 7}`).join(" ").slice(0, 5200);
    const prompt = withPrompt ? stream(server.url, 1, { messages: question(text) }) : undefined;
    const told = await Promise.all(streams.map((one) => one.told));
    const long = await prompt?.told;
    if (long !== undefined) nPrompt = Number(/"prompt_tokens":(\d+)/.exec(long.text)?.[1]);
    return told.flatMap(({ at }) => at.slice(2).map((time, i) => time - at[i + 1]!));
  };
  let nPrompt = 0;
  await gaps("warm", false);
  const alone: number[] = [], beside: number[] = [];
  for (let round = 0; round < 3; round++) {
    alone.push(...await gaps(`alone${round}`, false));
    beside.push(...await gaps(`beside${round}`, true));
  }
  tell({
    test: "long_prompt",
    prompt_tokens: nPrompt,
    alone_p50_ms: quantile(alone, 0.5),
    alone_p99_ms: quantile(alone, 0.99),
    beside_p50_ms: quantile(beside, 0.5),
    beside_p99_ms: quantile(beside, 0.99),
  });
}

const SCENARIOS: Record<string, (setting: Setting) => Promise<void>> = {
  full_queue: fullQueue,
  gone,
  thousand,
  memory,
  long_prompt: longPrompt,
  loop: ({ tiny }) => measureLoop(tiny),
};

async function main(args: readonly string[]): Promise<void> {
  const option = (name: string): string | undefined =>
    args.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
  const folder = mkdtempSync(join(tmpdir(), "realizar-bench-"));
  try {
    const made = join(folder, "tiny.gguf");
    writeFileSync(made, tinyGguf({ seed: 3, contextLength: 2048 }));
    const cached = join(
      process.env["XDG_CACHE_HOME"] ?? join(process.env["HOME"] ?? "", ".cache"),
      "realizar",
      "models",
    );
    const setting: Setting = {
      program: option("program") ?? process.execPath,
      model: option("model") ?? join(cached, "SmolLM2-135M-Instruct.Q4_1.gguf"),
      tiny: option("tiny") ?? made,
    };
    const wanted = args.filter((arg) => !arg.startsWith("--"));
    for (const [name, run] of Object.entries(SCENARIOS)) {
      if (wanted.length === 0 || wanted.includes(name)) await run(setting);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

await main(process.argv.slice(2));
