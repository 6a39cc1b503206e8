/**
 * How long the server's own work keeps its event loop: the server runs in this thread, the load comes from another
 * process, and a third process measures an idle loop meanwhile, on the same busy machine.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { runtimeVersion } from "../src/platform/env.ts";
import { Model } from "../src/mod.ts";
import { createHandler, serve } from "../src/server/mod.ts";
import { quantile, sleep, tell } from "./serve_client.ts";

/** Measures how late timers are; plain JavaScript, since it also runs as the text of another process. */
const WATCH = `(ms, done) => {
  const late = [];
  let dueAt = performance.now() + 2;
  const step = () => {
    const now = performance.now();
    late.push(Math.max(0, now - dueAt));
    if (now > endAt) return done(late);
    dueAt = now + 2;
    setTimeout(step, 2);
  };
  const endAt = performance.now() + ms;
  setTimeout(step, 2);
}`;

/** Streams, short requests, and a prompt of 1 MB every half second, until it is ended. */
const LOAD = `
const url = process.env.SERVER_URL, headers = { "content-type": "application/json" };
const ask = async (body) => {
  const text = JSON.stringify({ model: "m", temperature: 0, ignore_eos: true, ...body });
  const response = await fetch(url + "/v1/chat/completions", { method: "POST", headers, body: text });
  await response.text();
};
const user = (content) => [{ role: "user", content }];
const forever = async (once) => { for (;;) await once(); };
for (let i = 0; i < 8; i++) forever(() => ask({ messages: user("the rain " + i), stream: true, max_tokens: 100 }));
const large = "the rain in the end ".repeat(50_000);
if (process.env.LARGE === "1") forever(async () => {
  await ask({ messages: user(large), max_tokens: 1 });
  await new Promise((resolve) => setTimeout(resolve, 500));
});
`;

function watchHere(ms: number): Promise<number[]> {
  const watch = new Function(`return ${WATCH}`)() as (ms: number, done: (late: number[]) => void) => void;
  return new Promise((resolve) => watch(ms, resolve));
}

const EVAL = { bun: "-e", node: "-e", deno: "eval" };
const flagOf = (): string => EVAL[runtimeVersion().split(" ")[0] as keyof typeof EVAL];

/** The same in another process that does nothing else. */
async function watchBeside(ms: number): Promise<number[]> {
  const code = `(${WATCH})(${ms}, (late) => console.log(JSON.stringify(late)))`;
  const child = spawn(process.execPath, [flagOf(), code], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => text += chunk);
  await once(child, "close");
  return JSON.parse(text) as number[];
}

async function under(url: string, large: boolean, ms: number): Promise<{ here: number[]; idle: number[] }> {
  const env = { ...process.env, SERVER_URL: url, LARGE: large ? "1" : "0" };
  const load = spawn(process.execPath, [flagOf(), LOAD], { env, stdio: ["ignore", "inherit", "inherit"] });
  await sleep(2000);
  const [here, idle] = await Promise.all([watchHere(ms), watchBeside(ms)]);
  load.kill("SIGKILL");
  await once(load, "close");
  return { here, idle };
}

/** Prints the lateness of the server's loop and of an idle one, with and without large prompts; and scrapes. */
export async function measureLoop(path: string): Promise<void> {
  await using model = await Model.load(path, { device: "ref", maxSequences: 8 });
  const handler = createHandler({ models: { m: model }, limits: { queuedRequests: 100 } });
  const server = await serve(handler, { port: 0, shutdownMs: 100 });
  await under(server.url, true, 2000);
  for (const large of [false, true]) {
    const { here, idle } = await under(server.url, large, 15_000);
    tell({
      test: large ? "loop_with_1mb_prompts" : "loop",
      runtime: runtimeVersion(),
      server_p50_ms: quantile(here, 0.5),
      server_p999_ms: quantile(here, 0.999),
      server_max_ms: quantile(here, 1),
      idle_p50_ms: quantile(idle, 0.5),
      idle_p999_ms: quantile(idle, 0.999),
      idle_max_ms: quantile(idle, 1),
    });
  }
  const stop = new AbortController();
  const body = { model: "m", messages: [{ role: "user", content: "the rain" }], stream: true, ignore_eos: true };
  const kept = await Promise.all(Array.from({ length: 8 }, () => {
    const headers = { "content-type": "application/json" };
    const init = { method: "POST", headers, body: JSON.stringify(body), signal: stop.signal };
    return handler(new Request(`${server.url}/v1/chat/completions`, init));
  }));
  for (const { body } of kept) void body!.pipeTo(new WritableStream()).catch(() => {});
  const times: number[] = [];
  for (let i = 0; i < 500; i++) {
    const startedAt = performance.now();
    const text = await (await handler(new Request(`${server.url}/metrics`))).text();
    times.push(performance.now() - startedAt);
    if (!text.includes("vllm:kv_cache_usage_perc")) throw new Error(text);
    await sleep(1);
  }
  stop.abort();
  tell({ test: "scrape", runtime: runtimeVersion(), p50_ms: quantile(times, 0.5), p99_ms: quantile(times, 0.99) });
  await server.shutdown();
}
