/** The main thread's end of an engine Worker: starts it, sends requests, hands its news to listeners, ends it. */
import { MessageChannel, type MessagePort } from "node:worker_threads";
import { errorFromWire, RealizarError } from "../errors.ts";
import { openLibrary } from "../platform/library.ts";
import { spawnWorker } from "../platform/spawn.ts";
import type { VocabTables } from "../text/vocab.ts";
import type { FinishReason, LoadProgress, MemoryEstimate, ModelStats, Timings, Usage } from "../types.ts";
import type { WorkerLike } from "../worker_like.ts";
import { createStats, readStats } from "./stats.ts";
import type {
  FromEngine,
  GenerationRequest,
  OpenedModel,
  Placement,
  StepMessage,
  ToEngine,
  WireLogprob,
  WireSource,
} from "./protocol.ts";

const CLOSE_DEADLINE_MS = 5000;

/** What a generation hears. After `ended` or `failed` nothing more comes. */
export interface StreamListener {
  started(cachedTokens: number): void;
  /** Log-probabilities of the next tokens of the prompt, from its second token on. */
  scored(scores: WireLogprob[]): void;
  step(text: string, tokens: number[], logprobs: (WireLogprob | undefined)[] | undefined): void;
  ended(finishReason: FinishReason, stop: string | undefined, usage: Usage, timings: Timings): void;
  failed(error: RealizarError): void;
}

/** Callbacks while a model opens. */
export interface OpenListener {
  vocab(tables: VocabTables): void;
  progress(progress: LoadProgress): void;
}

/** The question that the Worker has not answered yet. */
interface Opening {
  resolve(message: FromEngine): void;
  reject(error: unknown): void;
  listener?: OpenListener;
}

/** Bundlers and `deno cache` find the Worker's modules by this import; it is never called. */
export const workerModule = (): Promise<unknown> => import("./worker.ts");

function startWorker(port: MessagePort): WorkerLike {
  const file = import.meta.url.endsWith(".ts") ? "./worker.ts" : "./worker.js";
  return spawnWorker(new URL(file, import.meta.url), { port }, [port]);
}

/** One engine Worker. */
export class EngineClient {
  readonly #worker: WorkerLike;
  readonly #port: MessagePort;
  readonly #streams = new Map<number, StreamListener>();
  #stats = new Float64Array(createStats());
  #opening: Opening | undefined;
  /** What the Worker has open, told as soon as it is: closed from here when the Worker does not. */
  #native: { engine: number; libraryPath: string } | undefined;
  #ended: RealizarError | undefined;
  #closing: { promise: Promise<void>; resolve: () => void } | undefined;
  #nextId = 1;

  constructor() {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#worker = startWorker(port2);
    port1.on("message", (message: FromEngine) => this.#hear(message));
    this.#worker.on("error", (error) => this.#gone(error));
    this.#worker.on("exit", () => this.#gone(undefined));
  }

  /** Opens the model. Rejects with what is wrong; the Worker is then ended. */
  async open(source: WireSource, placement: Placement, listener: OpenListener): Promise<OpenedModel> {
    const message = await this.#ask({ type: "open", source, placement }, listener);
    if (message.type !== "opened") throw new RealizarError("INTERNAL", `engine answered open with ${message.type}`);
    this.#rest();
    this.#stats = new Float64Array(message.model.stats);
    return message.model;
  }

  /** Measures what the model would take, without loading it. */
  async estimate(source: WireSource, placement: Placement): Promise<MemoryEstimate> {
    const message = await this.#ask({ type: "estimate", source, placement });
    if (message.type !== "estimated") {
      throw new RealizarError("INTERNAL", `engine answered estimate with ${message.type}`);
    }
    return message.estimate;
  }

  /** Counters of the open model as they are now; all 0 before it is open. */
  stats(): ModelStats {
    return readStats(this.#stats);
  }

  /** Starts a generation; returns its id. The listener may hear a failure before this returns to the event loop. */
  submit(request: Omit<GenerationRequest, "id">, listener: StreamListener): number {
    const id = this.#nextId++;
    if (this.#ended !== undefined || this.#closing !== undefined) {
      queueMicrotask(() => listener.failed(this.#ended ?? new RealizarError("CLOSED", "the model was closed")));
      return id;
    }
    this.#streams.set(id, listener);
    this.#work();
    this.#send({ type: "submit", request: { ...request, id } });
    return id;
  }

  /** Lets a generation run `n` tokens further ahead. */
  credit(id: number, n: number): void {
    if (this.#streams.has(id)) this.#send({ type: "credit", id, n });
  }

  /** Ends a generation; its `ended` comes with what was made. Unknown ids are ignored. */
  cancel(id: number): void {
    if (this.#streams.has(id)) this.#send({ type: "cancel", id });
  }

  /** Ends the Worker and everything native; running generations are ended first. May be called again. */
  close(): Promise<void> {
    if (this.#closing !== undefined) return this.#closing.promise;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#closing = { promise, resolve };
    if (this.#ended !== undefined) {
      resolve();
      return promise;
    }
    this.#work();
    this.#send({ type: "close" });
    const late = new RealizarError("CLOSED", `the model's engine did not end within ${CLOSE_DEADLINE_MS} ms`);
    const deadline = setTimeout(() => void this.kill(late), CLOSE_DEADLINE_MS);
    return promise.finally(() => clearTimeout(deadline));
  }

  /** Ends the Worker at once, wherever it is, and closes what it had open. */
  async kill(reason: RealizarError): Promise<void> {
    this.#gone(reason);
    await this.#worker.terminate();
  }

  #ask(message: ToEngine, listener?: OpenListener): Promise<FromEngine> {
    const { promise, resolve, reject } = Promise.withResolvers<FromEngine>();
    if (this.#ended !== undefined) reject(this.#ended);
    else {
      this.#opening = { resolve, reject, ...(listener === undefined ? {} : { listener }) };
      this.#send(message);
    }
    return promise;
  }

  #send(message: ToEngine): void {
    this.#port.postMessage(message);
  }

  #hear(message: FromEngine): void {
    switch (message.type) {
      case "step":
        return this.#hearStep(message);
      case "started":
        return this.#streams.get(message.id)?.started(message.cachedTokens);
      case "scored":
        return this.#streams.get(message.id)?.scored(message.scores);
      case "ended":
        this.#take(message.id)?.ended(message.finishReason, message.stop, message.usage, message.timings);
        return this.#rest();
      case "failed":
        this.#take(message.id)?.failed(errorFromWire(message.error));
        return this.#rest();
      case "engine":
        this.#native = message;
        return;
      case "vocab":
        return this.#opening?.listener?.vocab(message.tables);
      case "progress":
        return this.#opening?.listener?.progress(message);
      case "refused":
        return this.#settle()?.reject(errorFromWire(message.error));
      case "opened":
      case "estimated":
        return this.#settle()?.resolve(message);
      case "closed":
        return this.#gone(undefined);
    }
  }

  #hearStep(message: StepMessage): void {
    let first = 0;
    for (const [i, id] of message.ids.entries()) {
      const end = message.tokenEnds[i]!;
      const logprobs = message.logprobs?.slice(first, end);
      this.#streams.get(id)?.step(message.texts[i]!, message.tokens.slice(first, end), logprobs);
      first = end;
    }
  }

  #settle(): Opening | undefined {
    const opening = this.#opening;
    this.#opening = undefined;
    return opening;
  }

  #take(id: number): StreamListener | undefined {
    const listener = this.#streams.get(id);
    this.#streams.delete(id);
    return listener;
  }

  /** Something is pending: the process stays alive. */
  #work(): void {
    this.#worker.ref();
    this.#port.ref();
  }

  /** Nothing is pending: the process may end. */
  #rest(): void {
    if (this.#streams.size > 0 || this.#opening !== undefined || this.#closing !== undefined) return;
    this.#worker.unref();
    this.#port.unref();
  }

  /** The Worker has ended, asked or not: everything that waits is told, and native objects are closed from here. */
  #gone(reason: unknown): void {
    if (this.#ended !== undefined) return;
    const why = reason instanceof Error ? `: ${reason.message}` : "";
    this.#ended = reason instanceof RealizarError
      ? reason
      : new RealizarError("CLOSED", `the model's engine has ended${why}`);
    // After an orderly close the handle is stale already, and this does nothing.
    if (this.#native !== undefined) openLibrary(this.#native.libraryPath).native.rz_engine_close(this.#native.engine);
    this.#port.close();
    this.#worker.unref();
    this.#settle()?.reject(this.#ended);
    for (const id of [...this.#streams.keys()]) this.#take(id)?.failed(this.#ended);
    this.#closing?.resolve();
  }
}
