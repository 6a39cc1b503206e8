/** `realizar serve`: a model behind the OpenAI API. It listens before the model is loaded. */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { Model } from "../api/model.ts";
import { createHandler } from "../server/handler.ts";
import { LOOPBACK_HOSTS } from "../server/access.ts";
import { type RunningServer, serve, untilSignal } from "../server/listen.ts";
import type { ServedModel, ServerStatus } from "../server/service.ts";
import { type Command, describe, type Flags, HELP_FLAG, note, numberFlag, textFlag, UsageError } from "./command.ts";
import { PLACEMENT_FLAGS, placementOf } from "./model_flags.ts";

/** Keys of a file: one a line; lines that begin with # are comments. */
function readKeys(path: string): string[] {
  const lines = readFileSync(path, "utf8").split("\n").map((line) => line.trim());
  const keys = lines.filter((line) => line !== "" && !line.startsWith("#"));
  if (keys.length === 0) throw new UsageError(`--api-key-file: ${path} has no key in it`);
  if (keys.some((key) => /\s/.test(key))) throw new UsageError(`--api-key-file: a key in ${path} has spaces in it`);
  return keys;
}

/** A whole number of a flag, or undefined. */
function wholeFlag(flags: Flags, name: string, max: number): number | undefined {
  const value = numberFlag(flags, name);
  if (value === undefined || (Number.isInteger(value) && value >= 0 && value <= max)) return value;
  throw new UsageError(`--${name}: got ${value}, expected a whole number from 0 to ${max}`);
}

/** Hosts under which the server may be asked: on loopback its own names only, elsewhere what the user says. */
function allowedHosts(hostname: string, given: string | undefined): string[] | undefined {
  const more = given?.split(",").map((name) => name.trim().toLowerCase()).filter((name) => name !== "") ?? [];
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
  const handler = createHandler({
    models,
    status,
    apiKeys: keyFile === undefined ? [] : readKeys(keyFile),
    allowedHosts: allowedHosts(hostname, textFlag(flags, "allowed-hosts")),
    limits: { queuedRequests: wholeFlag(flags, "max-queued-requests", 100_000) },
    onAnswer: (entry) => logLine("answer", entry),
    onError: (error) => logLine("error", { message: describe(error) }),
  });
  const server: RunningServer = await serve(handler, { hostname, port, shutdownMs: shutdownS * 1000 });
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
    "max-queued-requests": {
      type: "string",
      value: "N",
      help: "requests that wait; more are 503 (default 4 x parallel)",
    },
    "shutdown-timeout": { type: "string", value: "S", help: "seconds for running requests after SIGTERM (default 30)" },
    ...PLACEMENT_FLAGS,
    help: HELP_FLAG,
  },
  run: serveCommandLine,
};
