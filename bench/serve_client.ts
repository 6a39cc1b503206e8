/** For the benchmarks of the server: a server as a process of its own, and streams that are read to their last byte. */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { type ClientRequest, request } from "node:http";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** A `realizar serve` in a process of its own. */
export interface Served extends AsyncDisposable {
  url: string;
  pid: number;
}

const MAIN = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));
const RUN: Record<string, string[]> = { bun: [], deno: ["run", "-A", "--no-check"], node: ["--no-warnings"] };

/** Starts one in a runtime (its program's path) and waits until it is ready. */
export async function startServer(program: string, model: string, flags: readonly string[]): Promise<Served> {
  const runtime = Object.keys(RUN).find((name) => program.endsWith(name)) ?? "bun";
  const args = [...RUN[runtime]!, MAIN, "serve", model, "--port", "0", "--name", "m", ...flags];
  const child: ChildProcess = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  const ended = new Promise<void>((resolve) => child.on("close", () => resolve()));
  const url = await new Promise<string>((resolve, reject) => {
    let log = "", found: string | undefined;
    child.stderr!.setEncoding("utf8").on("data", (chunk: string) => {
      if (found !== undefined) return;
      log += chunk;
      if (log.includes(`"ready"`)) resolve(found = /"url":"([^"]+)"/.exec(log)![1]!);
    });
    child.on("close", () => reject(new Error(log)));
  });
  return {
    url,
    pid: child.pid!,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await ended;
    },
  };
}

/** Resident memory of a process in MiB, and its open files. */
export function usageOf(pid: number): { rss_mib: number; fds: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kib = Number(/^VmRSS:\s+(\d+)/m.exec(status)![1]);
  return { rss_mib: Math.round(kib / 102.4) / 10, fds: readdirSync(`/proc/${pid}/fd`).length };
}

/** What came of one request. */
export interface Told {
  status: number;
  text: string;
  /** When the head and each piece came, on the clock of `performance.now()`. */
  headAt: number;
  at: number[];
  headers: Record<string, unknown>;
}

/** A request whose answer comes; `sent` can be destroyed. */
export interface Asked {
  sent: ClientRequest;
  told: Promise<Told>;
}

/** Asks on a connection of its own. */
export function ask(url: string, path: string, body?: unknown, onPiece?: () => void): Asked {
  const text = body === undefined ? "" : JSON.stringify(body);
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
  const settled = Promise.withResolvers<Told>();
  const sent = request(`${url}${path}`, { method: body === undefined ? "GET" : "POST", headers, agent: false });
  sent.on("response", (response) => {
    const told: Told = {
      status: response.statusCode!,
      text: "",
      headAt: performance.now(),
      at: [],
      headers: response.headers,
    };
    response.setEncoding("utf8");
    response.on("data", (chunk: string) => {
      told.text += chunk;
      told.at.push(performance.now());
      onPiece?.();
    });
    response.on("end", () => settled.resolve(told));
    response.on("error", settled.reject);
  });
  sent.on("error", settled.reject);
  settled.promise.catch(() => {});
  sent.end(text);
  return { sent, told: settled.promise };
}

/** Numbers of the metrics by their names, of the one model. */
export async function metricsOf(url: string): Promise<(name: string) => number> {
  const { text } = await ask(url, "/metrics").told;
  return (name) => Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, "m").exec(text)?.[1] ?? NaN);
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Waits until it is true; resolves with the milliseconds that took. */
export async function waitFor(isTrue: () => boolean | Promise<boolean>): Promise<number> {
  const startedAt = performance.now();
  while (!(await isTrue())) {
    if (performance.now() - startedAt > 60_000) throw new Error(`never: ${isTrue}`);
    await sleep(1);
  }
  return performance.now() - startedAt;
}

/** The value below which a share of the values lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return Math.round(1000 * (sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? NaN)) / 1000;
}

/** Prints a line of results. */
export function tell(line: Record<string, unknown>): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
