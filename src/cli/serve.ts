/** `realizar serve`: a model behind the OpenAI API. It listens before the model is loaded. */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { Model } from "../api/model.ts";
import { createHandler } from "../server/handler.ts";
import { LOOPBACK_HOSTS } from "../server/access.ts";
import type { Limits } from "../server/limits.ts";
import { type RunningServer, serve, untilSignal } from "../server/listen.ts";
import { warmUp } from "../server/warm_up.ts";
import type { ServedModel, ServerStatus } from "../server/served_model.ts";
import {
  type Command,
  describe,
  type Flag,
  type Flags,
  HELP_FLAG,
  note,
  numberFlag,
  textFlag,
  UsageError,
} from "./command.ts";
import { PLACEMENT_FLAGS, placementOf } from "./model_flags.ts";

/** Keys of a file: one a line; lines that begin with # are comments. */
function readKeys(path: string): string[] {
  const lines = readFileSync(path, "utf8").split("\n").map((line) => line.trim());
  const keys = lines.filter((line) => line !== "" && !line.startsWith("#"));
  if (keys.length === 0) throw new UsageError(`--api-key-file: ${path} has no key in it`);
  if (keys.some((key) => /\s/.test(key))) throw new UsageError(`--api-key-file: a key in ${path} has spaces in it`);
  return keys;
}

/** Flags of limits: the limit, the largest value, what it means. */
const LIMITS: Readonly<Record<string, { limit: keyof Limits; max: number; help: string }>> = {
  "max-queued-requests": {
    limit: "queuedRequests",
    max: 100_000,
    help: "requests that wait; more are 503 (default 4 x parallel)",
  },
  "max-queued-tokens": {
    limit: "queuedTokens",
    max: 2 ** 40,
    help: "prompt tokens that wait, in all; more are 503 (default 4 x parallel x ctx)",
  },
  "max-body-bytes": { limit: "bodyBytes", max: 2 ** 30, help: "of a request; more are 413 (default 8 MiB)" },
  "max-prompt-bytes": { limit: "promptBytes", max: 2 ** 30, help: "of messages or prompts (default 4 MiB)" },
  "max-header-bytes": { limit: "headerBytes", max: 2 ** 20, help: "of a request; more are 431 (default 32 KiB)" },
  "max-json-depth": { limit: "jsonDepth", max: 1000, help: "arrays and objects inside each other (default 128)" },
  "max-json-values": {
    limit: "jsonValues",
    max: 2 ** 30,
    help: "strings, arrays and objects of a body; more are 413 (default 50000)",
  },
  "max-choices": { limit: "choices", max: 1024, help: "answers to one request: n x prompts (default 128)" },
};

/** Flags of times, in seconds. */
const TIMES: Readonly<Record<string, { limit: keyof Limits; help: string }>> = {
  "queue-timeout": { limit: "queueTimeoutMs", help: "seconds to wait for a place, then 503 (default: waits)" },
  "body-timeout": { limit: "bodyMs", help: "seconds for a whole body to come, then 408 (default 60)" },
};

function limitsOf(flags: Flags): Partial<Limits> {
  const limits: Partial<Limits> = {};
  for (const [name, { limit, max }] of Object.entries(LIMITS)) {
    const value = wholeFlag(flags, name, max);
    if (value !== undefined) limits[limit] = value;
  }
  for (const [name, { limit }] of Object.entries(TIMES)) {
    const seconds = numberFlag(flags, name);
    if (seconds === undefined) continue;
    if (!(seconds >= 0.001 && seconds <= 86_400)) {
      throw new UsageError(`--${name}: got ${seconds}, expected seconds from 0.001 to 86400`);
    }
    limits[limit] = Math.round(seconds * 1000);
  }
  return limits;
}

function flagsOf(table: Readonly<Record<string, { help: string }>>, value: string): Record<string, Flag> {
  return Object.fromEntries(Object.entries(table).map(([name, { help }]) => [name, { type: "string", value, help }]));
}

/** Parts of a flag that takes a list. */
function listOf(flags: Flags, name: string): string[] {
  return textFlag(flags, name)?.split(",").map((one) => one.trim()).filter((one) => one !== "") ?? [];
}

/** A whole number of a flag, or undefined. */
function wholeFlag(flags: Flags, name: string, max: number): number | undefined {
  const value = numberFlag(flags, name);
  if (value === undefined || (Number.isInteger(value) && value >= 0 && value <= max)) return value;
  throw new UsageError(`--${name}: got ${value}, expected a whole number from 0 to ${max}`);
}

/** Hosts under which the server may be asked: on loopback its own names only, elsewhere what the user says. */
function allowedHosts(hostname: string, given: readonly string[]): string[] | undefined {
  const more = given.map((name) => name.toLowerCase());
  const isLoopback = hostname === "localhost" || hostname === "::1" || /^127\./.test(hostname);
  if (!isLoopback) return more.length === 0 ? undefined : more;
  const own = hostname === "::1" ? "[::1]" : hostname;
  return [...LOOPBACK_HOSTS, own, ...more];
}

/** Loads the model into the server's table; rejects with what is wrong. */
async function load(
  path: string,
  name: string,
  flags: Flags,
  models: Record<string, ServedModel>,
  status: ServerStatus,
  signal: AbortSignal,
): Promise<Model> {
  const model = await Model.load(path, {
    ...placementOf(flags),
    maxSequences: numberFlag(flags, "parallel"),
    signal,
    onProgress: (progress) => Object.assign(status, progress),
  });
  // What can't answer under a grammar may answer without one.
  await warmUp(model).catch((error: unknown) => logLine("error", { message: `warming up: ${describe(error)}` }));
  models[name] = model;
  if (status.state === "loading") status.state = "ready";
  return model;
}

function logLine(event: string, fields: object): void {
  note(JSON.stringify({ time: new Date().toISOString(), event, ...fields }));
}

async function serveCommandLine([path]: string[], flags: Flags): Promise<number> {
  const hostname = textFlag(flags, "host") ?? "127.0.0.1";
  const shutdownS = wholeFlag(flags, "shutdown-timeout", 86_400) ?? 30;
  const port = wholeFlag(flags, "port", 65_535) ?? 8080;
  const keyFile = textFlag(flags, "api-key-file");
  const models: Record<string, ServedModel> = {};
  const status: ServerStatus = { state: "loading", loadedBytes: 0, totalBytes: 0 };
  const limits = limitsOf(flags);
  const handler = createHandler({
    models,
    status,
    apiKeys: keyFile === undefined ? [] : readKeys(keyFile),
    allowedHosts: allowedHosts(hostname, listOf(flags, "allowed-hosts")),
    corsOrigins: listOf(flags, "cors-origin"),
    clientHeader: textFlag(flags, "client-header"),
    limits,
    onAnswer: (entry) => logLine("answer", entry),
    onError: (error) => logLine("error", { message: describe(error) }),
  });
  const server: RunningServer = await serve(handler, {
    hostname,
    port,
    shutdownMs: shutdownS * 1000,
    bodyBytes: limits.bodyBytes,
    headerBytes: limits.headerBytes,
  });
  const name = textFlag(flags, "name") ?? basename(path!).replace(/\.gguf$/i, "");
  logLine("listening", { url: server.url, model: name });
  const stop = new AbortController();
  const startedAt = performance.now();
  const loading = load(path!, name, flags, models, status, stop.signal);
  loading.then(
    ({ info }) => logLine("ready", { model: name, device: info.device, ms: Math.round(performance.now() - startedAt) }),
    () => void server.cut(),
  );
  const ended = untilSignal(server, (signal) => {
    logLine("shutdown", { signal });
    stop.abort(new Error(`ended by ${signal}`)); // loading only: requests have their time
  });
  let model: Model;
  try {
    model = await loading;
  } catch (error) {
    await server.cut();
    if (!stop.signal.aborted) throw error;
    return 0;
  }
  await ended;
  await model.close();
  return 0;
}

export const serveCommand: Command = {
  usage: "serve MODEL",
  summary: "Answers the OpenAI API over HTTP; logs are JSON lines on stderr, without prompts.",
  nArguments: 1,
  flags: {
    host: { type: "string", value: "H", help: "address to listen on (default 127.0.0.1)" },
    port: { type: "string", value: "N", help: "port, 0 = any free one (default 8080)" },
    name: { type: "string", value: "NAME", help: "what clients call the model (default: the file's name)" },
    parallel: { type: "string", value: "N", help: "generations that run at once (default 8)" },
    "api-key-file": { type: "string", value: "F", help: "file of API keys, one a line (default: none is needed)" },
    "allowed-hosts": {
      type: "string",
      value: "A,B",
      help: "Host and Origin names to answer to, besides loopback's own",
    },
    "cors-origin": { type: "string", value: "A,B", help: "pages that may ask from elsewhere, * = all (default none)" },
    "client-header": {
      type: "string",
      value: "NAME",
      help: "header in which a proxy names who asks, to share among them (default: their keys, else addresses)",
    },
    ...flagsOf(LIMITS, "N"),
    ...flagsOf(TIMES, "S"),
    "shutdown-timeout": { type: "string", value: "S", help: "seconds for running requests after SIGTERM (default 30)" },
    ...PLACEMENT_FLAGS,
    help: HELP_FLAG,
  },
  run: serveCommandLine,
};
