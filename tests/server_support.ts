/** What the server's tests share: a tiny model behind a handler, and requests to it without a socket. */
import { Model } from "../src/mod.ts";
import { createHandler, type Handler, type HandlerOptions } from "../src/server/mod.ts";
import { tinyGguf } from "./tiny_gguf.ts";

/** The name under which the tests serve the tiny model. */
export const NAME = "tiny";
/** Same tokens at each run. */
export const GREEDY = { temperature: 0, ignore_eos: true } as const;
export const QUESTION = [{ role: "user", content: "the rain in the end" }] as const;

let loaded: Promise<Model> | undefined;

/** The tiny model, one for a whole file; its last test is {@linkcode closeTinyModel}. */
export function tinyModel(): Promise<Model> {
  loaded ??= Model.load(tinyGguf({ seed: 3, contextLength: 2048 }), { device: "ref", maxSequences: 4 });
  return loaded;
}

/** Closes it; the next file, which Bun runs in the same process, gets another one. */
export async function closeTinyModel(): Promise<void> {
  await (await loaded)?.close();
  loaded = undefined;
}

export async function tinyHandler(options: Partial<HandlerOptions> = {}): Promise<Handler> {
  return createHandler({ models: { [NAME]: await tinyModel() }, ...options });
}

export interface Answer {
  status: number;
  headers: Headers;
  text: string;
  /** The body as JSON; undefined when it is none. */
  // deno-lint-ignore no-explicit-any
  json: any;
}

export function post(path: string, body: unknown, init: RequestInit = {}): Request {
  const headers = { "content-type": "application/json", ...init.headers as Record<string, string> };
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return new Request(`http://localhost${path}`, { method: "POST", body: text, ...init, headers });
}

export async function read(response: Response): Promise<Answer> {
  const text = await response.text();
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  return { status: response.status, headers: response.headers, text, json };
}

export async function ask(handler: Handler, path: string, body?: unknown): Promise<Answer> {
  return await read(await handler(body === undefined ? new Request(`http://localhost${path}`) : post(path, body)));
}

/** The data of a stream's events; the last must be [DONE], which is left out. */
// deno-lint-ignore no-explicit-any
export function events(text: string): any[] {
  const blocks = text.split("\n\n").filter((block) => block !== "" && !block.startsWith(":"));
  const last = blocks.pop();
  if (last !== "data: [DONE]") throw new Error(`the stream ends with ${last}`);
  return blocks.map((block) => JSON.parse(block.replace(/^data: /, "")));
}
