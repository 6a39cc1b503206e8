/** The generations of one request: started together, read as one sequence of events, ended together. */
import { RealizarError } from "../errors.ts";
import type { GenerateOptions, Generation, GenerationPart, GenerationResult } from "../types.ts";
import type { ApiError } from "./errors.ts";
import { METRIC, type Metrics } from "./metrics.ts";
import type { ServedModel } from "./service.ts";

/** What a job is made of. */
export interface JobSource {
  /** The model's public name. */
  name: string;
  model: ServedModel;
  /** Generations it will have. */
  nChoices: number;
  /** The request's: aborting ends the generations. */
  signal: AbortSignal;
  /** When the request came, on the clock of `performance.now()`. */
  startedAt: number;
  metrics: Metrics;
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

/** A request that is being answered. */
export class Job {
  readonly name: string;
  readonly model: ServedModel;
  readonly nChoices: number;
  readonly signal: AbortSignal;
  /** What the generations told in the end, by index. */
  readonly results: GenerationResult[] = [];
  readonly #source: JobSource;
  readonly #generations: Generation[] = [];
  readonly #onAbort = (): void => this.cancel();
  #cutBy: ApiError | undefined;
  #closed = false;

  constructor(source: JobSource) {
    this.#source = source;
    this.name = source.name;
    this.model = source.model;
    this.nChoices = source.nChoices;
    this.signal = source.signal;
    this.signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  /** States of its generations; those not started yet are waiting. */
  states(): Generation["state"][] {
    const notStarted = Array.from({ length: this.nChoices - this.#generations.length }, () => "waiting" as const);
    return [...this.#generations.map(({ state }) => state), ...notStarted];
  }

  /** Starts the generations. */
  start(prompts: readonly JobPrompt[]): void {
    for (const { tokens, options } of prompts) this.#generations.push(this.model.generate(tokens, options));
    if (this.signal.aborted || this.#closed) this.cancel();
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
    type Next = { reader: AsyncGenerator<JobEvent>; result: IteratorResult<JobEvent> };
    const next = (reader: AsyncGenerator<JobEvent>): Promise<Next> =>
      reader.next().then((result) => ({ reader, result }));
    const pending = new Map(this.#generations.map((_, index) => {
      const reader = this.#read(index);
      return [reader, next(reader)];
    }));
    try {
      while (pending.size > 0) {
        const { reader, result } = await Promise.race(pending.values());
        pending.delete(reader);
        if (this.#cutBy !== undefined) throw this.#cutBy;
        if (result.done === true) continue;
        yield result.value;
        pending.set(reader, next(reader)); // to the end: the others come first
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
    void Promise.allSettled(this.#generations.map((generation) => generation.result())).then((settled) => {
      for (const one of settled) this.#count(one);
      this.#source.onClose();
    });
  }

  async *#read(index: number): AsyncGenerator<JobEvent, void, undefined> {
    const { metrics, startedAt } = this.#source;
    const seconds = (): number => (performance.now() - startedAt) / 1000;
    const labels = { model_name: this.name };
    const generation = this.#generations[index]!;
    let isFirst = true;
    for await (const part of generation) {
      if (isFirst) metrics.observe(METRIC.ttft, labels, seconds());
      isFirst = false;
      yield { index, part };
    }
    const result = await generation.result();
    if (result.finishReason === "abort") throw this.#cutBy ?? this.#whyAborted();
    this.results[index] = result;
    metrics.observe(METRIC.e2e, labels, seconds());
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
  }
}
