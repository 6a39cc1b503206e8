import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import process from "node:process";
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { RealizarError } from "../src/errors.ts";
import { runtime } from "../src/platform/env.ts";
import { type RunningServer, serve } from "../src/server/mod.ts";
import { open, rest } from "./server_connection.ts";
import { closeTinyModel, events, GREEDY, NAME, QUESTION, tinyHandler } from "./server_support.ts";
import { inRoot, leakCheck, tempFolder, test } from "./support.ts";
import { tinyGguf } from "./tiny_gguf.ts";

const CHAT = "/v1/chat/completions";
const body = { model: NAME, messages: QUESTION, ...GREEDY };
const json = { "content-type": "application/json", connection: "close" };

function send(url: string, data: unknown, init: RequestInit = {}): Promise<Response> {
  return fetch(`${url}${CHAT}`, { method: "POST", headers: json, body: JSON.stringify(data), ...init });
}

async function running(url: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`, { headers: { connection: "close" } })).text();
  return Number(/^vllm:num_requests_running\{[^}]*\} (\d+)$/m.exec(text)![1]);
}

async function until(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  for (let i = 0; !(await isTrue()); i++) {
    if (i > 1000) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function withServer(run: (server: RunningServer) => Promise<void>): Promise<void> {
  const server = await serve(await tinyHandler(), { port: 0, shutdownMs: 5000 });
  try {
    await run(server);
  } finally {
    await server.shutdown();
  }
}

/** What a server answers to raw bytes until it closes the connection, or says nothing more for a while. */
function raw(url: string, bytes: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    let got = "";
    const socket = connect(Number(port), hostname, () => socket.write(bytes));
    socket.setEncoding("utf8");
    socket.setTimeout(500, () => socket.destroy());
    socket.on("data", (chunk: string) => got += chunk);
    socket.on("error", () => {});
    socket.on("close", () => resolve(got));
  });
}

test("server on a port: an answer, a stream, many at once, and errors in the API's shape", () =>
  withServer(async ({ url }) => {
    const whole = await (await send(url, { ...body, max_tokens: 20 })).json() as {
      choices: [{ message: { content: string } }];
    };
    const streams = await Promise.all(Array.from({ length: 12 }, async () => {
      const response = await send(url, { ...body, max_tokens: 20, stream: true });
      return events(await response.text()).map(({ choices: [choice] }) => choice.delta.content ?? "").join("");
    }));
    assertEquals(new Set(streams), new Set([whole.choices[0].message.content]));
    const wrong = await send(url, { ...body, temperature: -1 });
    const { error } = await wrong.json() as { error: { param: string } };
    assertEquals([wrong.status, error.param], [400, "temperature"]);
    const head = await fetch(`${url}/v1/models`, { method: "HEAD", headers: { connection: "close" } });
    assertEquals([head.status, await head.text()], [200, ""]);
    const large = await send(url, { ...body, user: "x".repeat(9 << 20) });
    assertEquals([large.status, (await large.json() as { error: { code: string } }).error.code], [
      413,
      "request_too_large",
    ]);
  }));

test("server on a port: a client that hangs up ends its generation", () =>
  withServer(async ({ url }) => {
    for (const stream of [true, false]) {
      const stop = new AbortController();
      const answer = send(url, { ...body, stream }, { signal: stop.signal });
      answer.then((response) => response.body?.getReader().read()).catch(() => {});
      await until("it runs", async () => await running(url) === 1);
      stop.abort();
      await until("it is gone", async () => await running(url) === 0);
    }
  }));

test("server on a port: shutdown lets a stream end, takes nothing new, and closes the port", async () => {
  const server = await serve(await tinyHandler(), { port: 0, shutdownMs: 60_000 });
  const stream = await send(server.url, { ...body, max_tokens: 400, stream: true });
  const ended = server.shutdown();
  const finish = events(await stream.text()).at(-1).choices[0].finish_reason;
  assertEquals(finish, "length");
  await ended;
  await assertRejects(() => fetch(`${server.url}/livez`));
  const taken = await serve(await tinyHandler(), { port: 0 });
  const port = Number(new URL(taken.url).port);
  const error = await assertRejects(async () => await serve(await tinyHandler(), { port }), RealizarError);
  assertEquals(error.code, "IO");
  await taken.shutdown();
});

test("the model is closed", closeTinyModel);

/** `realizar serve` as a process, with what it writes to stderr. */
function start(args: string[]): { child: ChildProcess; log: () => string; ended: Promise<number | string> } {
  const main = inRoot("src/cli/main.ts");
  const own = { bun: [main], deno: ["run", "-A", "--no-check", main], node: ["--no-warnings", main] }[runtime()];
  const child = spawn(process.execPath, [...own, "serve", ...args], {
    cwd: inRoot(),
    stdio: ["ignore", "pipe", "pipe"],
  });
  let log = "";
  child.stdout!.setEncoding("utf8").on("data", (chunk: string) => log += chunk);
  child.stderr!.setEncoding("utf8").on("data", (chunk: string) => log += chunk);
  const ended = new Promise<number | string>((resolve) =>
    child.on("close", (code, signal) => resolve(code ?? signal!))
  );
  return { child, log: () => log, ended };
}

test("realizar serve: listens, loads, answers with a key, drains at SIGTERM; logs hold no prompt", async () => {
  using folder = tempFolder();
  const path = folder.file("tiny.gguf");
  writeFileSync(path, tinyGguf({ seed: 3, contextLength: 2048 }));
  writeFileSync(folder.file("keys"), "# mine\nsecret-key\n");
  const args = [path, "--port", "0", "--device", "ref", "--api-key-file", folder.file("keys")];
  const { child, log, ended } = start(args);
  try {
    await until("it listens", () => Promise.resolve(log().includes(`"url":`)));
    const url = /"url":"([^"]+)"/.exec(log())![1]!;
    await until("it is ready", async () => (await fetch(`${url}/readyz`)).status === 200);
    assertEquals((await send(url, body)).status, 401);
    const rebound = await raw(url, "GET /health HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
    assert(rebound.startsWith("HTTP/1.1 403 "), rebound);
    const headers = { ...json, authorization: "Bearer secret-key" };
    const stream = await send(url, { ...body, max_tokens: 300, stream: true }, { headers });
    process.kill(child.pid!, "SIGTERM");
    assertEquals(events(await stream.text()).at(-1).choices[0].finish_reason, "length");
    assertEquals(await ended, 0, log());
    assert(!log().includes("the rain") && !log().includes("secret-key"), log());
    // Deno adds a line of its own about the signals of requests.
    const own = log().split("\n").filter((line) => line.startsWith("{"));
    const lines = own.map((line) => (JSON.parse(line) as { event: string }).event);
    assertEquals([lines[0], lines.includes("ready"), lines.at(-1)], ["listening", true, "shutdown"]);
  } finally {
    child.kill("SIGKILL");
  }
});

test("realizar serve: a second signal cuts; wrong use is 2, a file that is no model is 1", async () => {
  using folder = tempFolder();
  const path = folder.file("tiny.gguf");
  writeFileSync(path, tinyGguf({ seed: 3, contextLength: 2048 }));
  const { child, log, ended } = start([path, "--port", "0", "--device", "ref", "--shutdown-timeout", "60"]);
  try {
    await until("it is ready", () => Promise.resolve(log().includes(`"ready"`)));
    const url = /"url":"([^"]+)"/.exec(log())![1]!;
    const stream = await send(url, { ...body, stream: true });
    const reader = stream.body!.getReader();
    await reader.read(); // and no more: the stream is parked, and would stay for the whole time
    process.kill(child.pid!, "SIGTERM");
    await until("it has heard", () => Promise.resolve(log().includes(`"shutdown"`)));
    process.kill(child.pid!, "SIGTERM");
    assertEquals(await ended, 0, log());
    await reader.cancel().catch(() => {});
  } finally {
    child.kill("SIGKILL");
  }
  assertEquals(await start(["--help"]).ended, 0);
  for (const flags of [["--port", "99999"], ["--shutdown-timeout", "soon"], ["--nothing"]]) {
    assertEquals(await start([path, ...flags]).ended, 2, flags.join(" "));
  }
  writeFileSync(path, "GGUX");
  const broken = start([path, "--port", "0", "--device", "ref"]);
  assertEquals(await broken.ended, 1, broken.log());
  assertStringIncludes(broken.log(), "MAGIC");
});

test("realizar serve: after the time for shutting down streams end with an event, and exit is 0", async () => {
  using folder = tempFolder();
  const path = folder.file("tiny.gguf");
  writeFileSync(path, tinyGguf({ seed: 3, contextLength: 2048 }));
  const { child, log, ended } = start([
    path,
    "--port",
    "0",
    "--name",
    NAME,
    "--device",
    "ref",
    "--shutdown-timeout",
    "1",
  ]);
  try {
    await until("it is ready", () => Promise.resolve(log().includes(`"ready"`)));
    const url = /"url":"([^"]+)"/.exec(log())![1]!;
    // More than the buffers of a connection hold, and not read: it can't end by itself.
    const large = { ...body, stream: true, n: 3, max_tokens: 1900, logprobs: true, top_logprobs: 20 };
    const socket = open(url, large), stuck = open(url, large);
    stuck.on("error", () => {}); // it is never read, and cut in the end
    for (const one of [socket, stuck]) await new Promise<void>((resolve) => one.once("readable", resolve));
    process.kill(child.pid!, "SIGTERM");
    await until("it has heard", () => Promise.resolve(log().includes(`"shutdown"`)));
    const statuses = await Promise.all(
      ["/readyz", "/health", "/livez"].map(async (probe) =>
        (await fetch(`${url}${probe}`, { headers: { connection: "close" } })).status
      ),
    );
    assertEquals(statuses, [503, 503, 200]);
    const refused = await send(url, { ...body, max_tokens: 1 });
    assertEquals([refused.status, refused.headers.get("retry-after")], [503, "1"]);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const text = (await rest(socket)).trimEnd();
    assert(text.endsWith(`"code":"shutdown"}}`), text.slice(-200));
    assertEquals(await ended, 0, log());
    stuck.destroy();
  } finally {
    child.kill("SIGKILL");
  }
});

leakCheck();
