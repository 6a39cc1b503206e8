/** The generations of one request: started together, read as one sequence of events, ended together. */
import { RealizarError } from "../errors.ts";
import type { GenerateOptions, Generation, GenerationPart, GenerationResult } from "../types.ts";
import type { ApiError } from "./errors.ts";
import { METRIC } from "./metric_names.ts";
import type { Metrics } from "./metrics.ts";
import type { ServedModel } from "./served_model.ts";

/** What a job is made of. */
export interface JobSource {
  /** The model's public name. */
  name: string;
  model: ServedModel;
  /** Generations it will have. */
  nChoices: number;
  /** The request's: aborting ends the generations. */
  signal: AbortSignal;
  /** Who asks; empty where it is not known. */
  client: string;
  /** When the request came, on the clock of `performance.now()`. */
  startedAt: number;
  metrics: Metrics;
  /** Time for its generations to get a place; undefined = they wait. */
  queueTimeoutMs: number | undefined;
  /** Time after that in which the head of an answer may wait for the first token. */
  headMs: number;
  /** Throws when so many more prompt tokens can't wait. */
  checkRoom(nPrompts: number, nTokens: number): void;
  /** Called once, when it is closed. */
  onClose(): void;
}

/** One generation to start. */
export interface JobPrompt {
  tokens: Int32Array;
  options: GenerateOptions;
}

/** News of a generation: parts, then its result. */
export type JobEvent =
  | { index: number; part: GenerationPart; result?: undefined }
  | { index: number; part?: undefined; result: GenerationResult };

type Reader = AsyncGenerator<JobEvent, void, undefined>;
/** The next event of a reader, with the reader. */
type Next = { reader: Reader; result: IteratorResult<JobEvent, void> };

function nextOf(reader: Reader): Promise<Next> {
  return reader.next().then((result) => ({ reader, result }));
}

/** A request that is being answered. */
export class Job {
  readonly name: string;
  readonly model: ServedModel;
  readonly nChoices: number;
  readonly signal: AbortSignal;
  readonly client: string;
  /** What the generations told in the end, by index. */
  readonly results: GenerationResult[] = [];
  readonly #source: JobSource;
  readonly #generations: Generation[] = [];
  readonly #promptTokens: number[] = [];
  readonly #onAbort = (): void => this.cancel();
  /** What each generation tells next; undefined until somebody wants to know. */
  #pending: Map<Reader, Promise<Next>> | undefined;
  #cutBy: ApiError | undefined;
  #closed = false;

  constructor(source: JobSource) {
    this.#source = source;
    this.name = source.name;
    this.model = source.model;
    this.nChoices = source.nChoices;
    this.signal = source.signal;
    this.client = source.client;
    this.signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** Its generations that run, and that wait with their prompts' tokens; those not started yet are waiting. */
  load(): { running: number; waiting: number; waitingTokens: number } {
    const load = { running: 0, waiting: this.nChoices - this.#generations.length, waitingTokens: 0 };
    for (const [index, { state }] of this.#generations.entries()) {
      if (state === "running") load.running++;
      if (state !== "waiting") continue;
      load.waiting++;
      load.waitingTokens += this.#promptTokens[index]!;
    }
    return load;
  }

  /**
   * Starts the generations. Where the time for a place is limited, resolves when one has told something: so a request
   * that gets none is still answered with a status. Throws `BUSY` then.
   */
  async start(prompts: readonly JobPrompt[]): Promise<void> {
    const { queueTimeoutMs } = this.#source;
    this.#source.checkRoom(prompts.length, prompts.reduce((sum, { tokens }) => sum + tokens.length, 0));
    const common = {
      ...(queueTimeoutMs === undefined ? {} : { queueTimeoutMs }),
      ...(this.client === "" ? {} : { client: this.client }),
    };
    for (const { tokens, options } of prompts) {
      this.#promptTokens.push(tokens.length);
      this.#generations.push(this.model.generate(tokens, { ...common, ...options }));
    }
    if (this.signal.aborted || this.#closed) this.cancel();
    if (queueTimeoutMs !== undefined) await this.#placed(queueTimeoutMs + this.#source.headMs);
  }

  /** Ends the generations; their readers come to an end. */
  cancel(): void {
    for (const generation of this.#generations) generation.cancel();
  }

  /** Ends the generations and makes the reader fail with `error`. */
  cut(error: ApiError): void {
    this.#cutBy ??= error;
    this.cancel();
  }

  /** The events of all generations as they come, in turn when several have news. Throws what one of them throws. */
  async *events(): AsyncGenerator<JobEvent, void, undefined> {
    const pending = this.#begin();
    try {
      while (pending.size > 0) {
        const { reader, result } = await Promise.race(pending.values());
        pending.delete(reader);
        if (this.#cutBy !== undefined) throw this.#cutBy;
        if (result.done === true) continue;
        yield result.value;
        pending.set(reader, nextOf(reader)); // to the end: the others come first
      }
    } finally {
      this.cancel();
      for (const promise of pending.values()) promise.catch(() => {});
    }
  }

  /** Ends what still runs, and counts. May be called again. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.signal.removeEventListener("abort", this.#onAbort);
    this.cancel();
    for (const promise of this.#pending?.values() ?? []) promise.catch(() => {});
    void Promise.allSettled(this.#generations.map((generation) => generation.result())).then((settled) => {
      for (const one of settled) this.#count(one);
      this.#source.onClose();
    });
  }

  #begin(): Map<Reader, Promise<Next>> {
    this.#pending ??= new Map(this.#generations.map((_, index) => {
      const reader = this.#read(index);
      return [reader, nextOf(reader)];
    }));
    return this.#pending;
  }

  async #placed(timeoutMs: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, timeoutMs));
    try {
      await Promise.race([...this.#begin().values(), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async *#read(index: number): Reader {
    const { metrics, startedAt } = this.#source;
    const labels = { model_name: this.name };
    const between = metrics.histogram(METRIC.itl, labels);
    const generation = this.#generations[index]!;
    let lastAt = 0;
    for await (const part of generation) {
      const now = performance.now(), nTokens = part.tokens.length;
      if (part.promptLogprobs !== undefined) {
        yield { index, part };
        continue;
      }
      if (lastAt === 0) metrics.observe(METRIC.ttft, labels, (now - startedAt) / 1000);
      else if (nTokens > 0) between.observe((now - lastAt) / 1000 / nTokens, nTokens);
      if (lastAt === 0 || nTokens > 0) lastAt = now;
      yield { index, part };
    }
    const result = await generation.result();
    if (result.finishReason === "abort") throw this.#cutBy ?? this.#whyAborted();
    this.results[index] = result;
    metrics.observe(METRIC.e2e, labels, (performance.now() - startedAt) / 1000);
    yield { index, result };
  }

  #whyAborted(): RealizarError {
    if (this.signal.aborted) return new RealizarError("CANCELLED", "the client went away");
    return new RealizarError("CLOSED", "the generation was ended by the server");
  }

  #count(settled: PromiseSettledResult<GenerationResult>): void {
    const { metrics } = this.#source;
    const labels = { model_name: this.name };
    if (settled.status === "rejected") return;
    const { usage, timings, finishReason } = settled.value;
    metrics.add(METRIC.success, { ...labels, finished_reason: finishReason });
    metrics.add(METRIC.generationTokens, labels, usage.completionTokens);
    // Who left before the first token may never have been looked at by the engine.
    if (finishReason === "abort" && usage.completionTokens === 0) return;
    metrics.add(METRIC.promptTokens, labels, usage.promptTokens);
    metrics.add(METRIC.prefixQueries, labels, usage.promptTokens);
    metrics.add(METRIC.prefixHits, labels, usage.cachedTokens);
    metrics.observe(METRIC.queueTime, labels, timings.queueMs / 1000);
    metrics.observe(METRIC.prefillTime, labels, timings.ttftMs / 1000);
    metrics.observe(METRIC.decodeTime, labels, timings.decodeMs / 1000);
    metrics.observe(METRIC.requestPromptTokens, labels, usage.promptTokens);
    metrics.observe(METRIC.requestGenerationTokens, labels, usage.completionTokens);
  }
}
