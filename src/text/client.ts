/** The main thread's end of the text Worker: one request at a time, each with a limit of wall time. */
import type { GrammarSource } from "../conversation.ts";
import { errorFromWire, RealizarError } from "../errors.ts";
import type { WireGrammar } from "../grammar/wire.ts";
import type { ChatMessage } from "../types.ts";
import type { WorkerLike } from "../worker_like.ts";
import type { FromText, RenderOptions, TextPrompt, TextRequest } from "./messages.ts";
import { textsOf } from "./texts_of.ts";
import type { VocabTables } from "./vocab.ts";

/** Wall time of a chat template, which may do anything; a longer one is ended together with the Worker. */
const TEMPLATE_LIMIT_MS = 1000;
/** The same for plain text, whose encoding takes linear time whatever the text: only a starved machine gets here. */
const TEXT_LIMIT_MS = 10_000;
/** The same for grammars, which have a budget of their own (grammar/budget.ts) that ends earlier. */
const COMPILE_LIMIT_MS = 5000;
/** Templates and texts get a further millisecond for so many characters: a tenth of the speed of encoding. */
const CHARACTERS_PER_MS = 1000;
/** A Worker that ends this often before it was ready is not started again. */
const MAX_FAILED_STARTS = 3;

/** Bundlers and `deno cache` find the Worker's modules by this import; it is never called. */
export const workerModule = (): Promise<unknown> => import("./worker.ts");

/** Starts a Worker from a module; `platform/spawn.ts` has it. */
export type Spawn = (url: URL) => WorkerLike;

/** Like `Omit`, for each member of a union. */
type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;

interface Pending {
  readonly request: TextRequest;
  readonly limitMs: number;
  resolve(answer: FromText): void;
  reject(error: RealizarError): void;
}

/**
 * Renders templates and encodes text in a Worker. Requests wait for the vocabulary. A request that takes too long fails
 * (`TEMPLATE` for messages, `LIMIT` for text), its Worker is ended and a new one goes on with the others. The process
 * is kept alive only while a request waits for its answer.
 */
export class TextClient {
  readonly #spawn: Spawn;
  readonly #waiting: Pending[] = [];
  #tables: VocabTables | undefined;
  #worker: WorkerLike | undefined;
  #ready = false;
  #current: Pending | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failedStarts = 0;
  #nextId = 1;
  #ended: RealizarError | undefined;

  constructor(spawn: Spawn) {
    this.#spawn = spawn;
  }

  /** Sets the vocabulary and starts the Worker. */
  setVocab(tables: VocabTables): void {
    this.#tables = tables;
    this.#advance();
    if (this.#worker === undefined && this.#ended === undefined) this.#start();
  }

  /** Tokens of a prompt. Rejects with `TEMPLATE`, `LIMIT`, `CLOSED`, or `CANCELLED` (cause: the signal's reason). */
  async encode(prompt: TextPrompt, signal?: AbortSignal): Promise<Int32Array<ArrayBuffer>> {
    const limitMs = prompt.kind === "text"
      ? TEXT_LIMIT_MS + prompt.text.length / CHARACTERS_PER_MS
      : templateLimit(prompt.messages, prompt.options);
    const answer = await this.#ask({ type: "encode", prompt }, limitMs, signal);
    if (answer.type !== "encoded") throw unexpected(answer);
    return answer.tokens;
  }

  /** What the chat template makes of messages. Rejects like {@linkcode TextClient.encode}. */
  async render(messages: readonly ChatMessage[], options: RenderOptions = {}, signal?: AbortSignal): Promise<string> {
    const answer = await this.#ask({ type: "render", messages, options }, templateLimit(messages, options), signal);
    if (answer.type !== "rendered") throw unexpected(answer);
    return answer.text;
  }

  /** A grammar, compiled. Rejects with `ARG`, `UNSUPPORTED`, `LIMIT`, `CLOSED`, or `CANCELLED`. */
  async compile(source: GrammarSource, signal?: AbortSignal): Promise<WireGrammar> {
    const answer = await this.#ask({ type: "compile", source }, COMPILE_LIMIT_MS, signal);
    if (answer.type !== "compiled") throw unexpected(answer);
    return answer.grammar;
  }

  /** Ends the Worker; what waits rejects with `CLOSED`. May be called again. */
  async close(): Promise<void> {
    await this.#end(new RealizarError("CLOSED", "the model was closed"));
  }

  #ask(request: WithoutId<TextRequest>, limitMs: number, signal: AbortSignal | undefined): Promise<FromText> {
    const { promise, resolve, reject } = Promise.withResolvers<FromText>();
    if (this.#ended !== undefined) {
      reject(this.#ended);
      return promise;
    }
    const pending: Pending = { request: { ...request, id: this.#nextId++ } as TextRequest, limitMs, resolve, reject };
    const onAbort = (): void => this.#abort(pending, signal?.reason);
    if (signal?.aborted === true) {
      onAbort();
      return promise;
    }
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#waiting.push(pending);
    this.#advance();
    return promise.finally(() => signal?.removeEventListener("abort", onAbort));
  }

  /** The caller is told at once; a request that is already running goes on unheard until it ends or is ended. */
  #abort(pending: Pending, reason: unknown): void {
    const at = this.#waiting.indexOf(pending);
    if (at >= 0) this.#waiting.splice(at, 1);
    pending.reject(new RealizarError("CANCELLED", "aborted by its signal", { cause: reason }));
    this.#advance();
  }

  /** Hands the next request to the Worker when it is free, and lets the process end when there is none. */
  #advance(): void {
    if (this.#tables === undefined || this.#ended !== undefined) return;
    if (this.#waiting.length > 0 && this.#worker === undefined) this.#start();
    if (this.#ready && this.#current === undefined && this.#waiting.length > 0) {
      const pending = this.#waiting.shift()!;
      this.#current = pending;
      this.#timer = setTimeout(() => this.#overrun(pending), pending.limitMs);
      try {
        this.#worker!.postMessage(pending.request);
      } catch (error) {
        this.#forgetCurrent();
        pending.reject(cannotPost(error));
        this.#advance();
        return;
      }
    }
    if (this.#current === undefined && this.#waiting.length === 0) this.#worker?.unref();
    else this.#worker?.ref();
  }

  #start(): void {
    const file = import.meta.url.endsWith(".ts") ? "./worker.ts" : "./worker.js";
    let worker: WorkerLike;
    try {
      worker = this.#spawn(new URL(file, import.meta.url));
    } catch (error) {
      void this.#end(cannotStart(error));
      return;
    }
    this.#worker = worker;
    this.#ready = false;
    worker.on("message", (message) => {
      if (worker === this.#worker) this.#hear(message as FromText);
    });
    worker.on("error", (error) => this.#gone(worker, error));
    worker.on("exit", () => this.#gone(worker, undefined));
    worker.postMessage({ type: "vocab", tables: this.#tables! });
    this.#advance();
  }

  #hear(message: FromText): void {
    if (message.type === "ready") {
      this.#ready = true;
      this.#failedStarts = 0;
    } else {
      const pending = this.#current;
      if (pending === undefined || pending.request.id !== message.id) return;
      this.#forgetCurrent();
      if (message.type === "failed") pending.reject(errorFromWire(message.error));
      else pending.resolve(message);
    }
    this.#advance();
  }

  #forgetCurrent(): void {
    clearTimeout(this.#timer);
    this.#current = undefined;
  }

  #overrun(pending: Pending): void {
    if (this.#current !== pending) return;
    const { request, limitMs } = pending;
    const isText = request.type === "encode" && request.prompt.kind === "text";
    const what = isText ? "encoding the text" : request.type === "compile" ? "compiling" : "the chat template";
    const code = isText || request.type === "compile" ? "LIMIT" : "TEMPLATE";
    this.#forgetCurrent();
    pending.reject(new RealizarError(code, `${what} took more than ${Math.ceil(limitMs)} ms`));
    this.#drop();
    this.#advance();
  }

  /** Ends the Worker; its late news are not heard. */
  #drop(): Promise<unknown> {
    const worker = this.#worker;
    this.#worker = undefined;
    this.#ready = false;
    worker?.unref();
    return worker === undefined ? Promise.resolve() : worker.terminate();
  }

  /** The Worker ended unasked. */
  #gone(worker: WorkerLike, error: unknown): void {
    if (worker !== this.#worker) return;
    if (!this.#ready && ++this.#failedStarts >= MAX_FAILED_STARTS) {
      void this.#end(cannotStart(error));
      return;
    }
    const why = error instanceof Error ? `: ${error.message}` : "";
    const pending = this.#current;
    this.#forgetCurrent();
    pending?.reject(new RealizarError("INTERNAL", `the text Worker ended in the middle of a request${why}`));
    void this.#drop();
    this.#advance();
  }

  async #end(reason: RealizarError): Promise<void> {
    this.#ended ??= reason;
    const pending = this.#current === undefined ? this.#waiting : [this.#current, ...this.#waiting];
    const rejected = pending.splice(0);
    this.#forgetCurrent();
    this.#waiting.length = 0;
    for (const each of rejected) each.reject(this.#ended);
    await this.#drop();
  }
}

function templateLimit(messages: readonly ChatMessage[], { tools }: RenderOptions = {}): number {
  const lengthOf = ({ content, reasoning = "", toolCalls = [] }: ChatMessage): number =>
    (content?.length ?? 0) + reasoning.length + toolCalls.reduce((sum, call) => sum + call.arguments.length, 0);
  const ofTools = textsOf(tools).reduce((sum, text) => sum + text.length, 0);
  const length = messages.reduce((sum, message) => sum + lengthOf(message), ofTools);
  return TEMPLATE_LIMIT_MS + length / CHARACTERS_PER_MS;
}

function cannotStart(error: unknown): RealizarError {
  const why = error instanceof Error ? `: ${error.message}` : "";
  return new RealizarError("CLOSED", `the text Worker cannot be started${why}`, { cause: error });
}

function cannotPost(error: unknown): RealizarError {
  const why = error instanceof Error ? error.message : String(error);
  return new RealizarError("ARG", `messages, tools and grammars must be data that can be cloned: ${why}`, {
    cause: error,
  });
}

function unexpected(answer: FromText): RealizarError {
  return new RealizarError("INTERNAL", `the text Worker answered with ${answer.type}`);
}
