/** What the routes of one server share: its models, limits, metrics, and the requests that are being answered. */
import type { ChatMessage, GenerateOptions, Generation, ModelInfo, TokenizeOptions } from "../types.ts";
import { ApiError, invalid, overloaded, unavailable } from "./errors.ts";
import type { Fields } from "./fields.ts";
import { Job } from "./job.ts";
import type { Limits } from "./limits.ts";
import { METRIC, type Metrics, serverMetrics } from "./metrics.ts";

/** What the server needs of a model; a `Model` of this library is one. */
export interface ServedModel {
  /** Its sizes. */
  readonly info: ModelInfo;
  /** Continues tokens. */
  generate(tokens: Int32Array, options: GenerateOptions): Generation;
  /** Token ids of a text, or of a conversation as the chat template writes it. */
  tokenize(text: string | readonly ChatMessage[], options: TokenizeOptions): Promise<Int32Array>;
  /** Text of token ids. */
  detokenize(tokens: ArrayLike<number>): Promise<string>;
  /** Bytes of one token's text. */
  tokenBytes(token: number): Uint8Array;
}

/** Where a server stands; its owner changes it, the handler reads it at each request. */
export interface ServerStatus {
  /** Requests for generations are taken in `ready` only. */
  state: "loading" | "ready" | "draining" | "failed";
  /** Progress of loading: bytes in place. */
  loadedBytes: number;
  /** Bytes to bring. */
  totalBytes: number;
}

/** Generations in one engine, running and waiting: below what the engine's own queue takes. */
const GENERATIONS_MAX = 1024;

/** A model under its public name. */
export interface NamedModel {
  /** What clients call it. */
  name: string;
  /** The model. */
  model: ServedModel;
}

/** The state of one server. */
export class Service {
  readonly limits: Limits;
  readonly status: ServerStatus;
  readonly metrics: Metrics = serverMetrics();
  /** Seconds since 1970 when the server was made. */
  readonly createdAt: number = Math.floor(Date.now() / 1000);
  readonly #models: Readonly<Record<string, ServedModel>>;
  readonly #jobs = new Set<Job>();
  readonly #onError: ((error: unknown) => void) | undefined;
  #idle: (() => void)[] = [];

  constructor(
    models: Readonly<Record<string, ServedModel>>,
    limits: Limits,
    status: ServerStatus,
    onError: ((error: unknown) => void) | undefined,
  ) {
    this.#onError = onError;
    this.#models = models;
    this.limits = limits;
    this.status = status;
  }

  /** Every model, by name. */
  models(): NamedModel[] {
    return Object.entries(this.#models).map(([name, model]) => ({ name, model }));
  }

  /** The model of that name. A name is looked up, never opened as a path. */
  model(name: string): NamedModel {
    if (Object.hasOwn(this.#models, name)) return { name, model: this.#models[name]! };
    this.checkReady();
    const message = `the model ${JSON.stringify(name.slice(0, 100))} is not served here`;
    throw new ApiError(404, "invalid_request_error", "model_not_found", message, { param: "model" });
  }

  /** The model that a body names. */
  modelOf(fields: Fields): NamedModel {
    const name = fields.required("model", fields.string("model"), "a model's name");
    if (name === "") throw invalid("model", "model: got an empty string, expected a model's name");
    return this.model(name);
  }

  /** 503 unless the server is ready. */
  checkReady(): void {
    const { state, loadedBytes, totalBytes } = this.status;
    if (state === "ready") return;
    const share = totalBytes === 0 ? "" : ` (${Math.floor(100 * loadedBytes / totalBytes)} %)`;
    const message = state === "loading" ? `the model is being loaded${share}` : `the server is ${state}`;
    throw unavailable("server_error", state === "loading" ? "loading" : "unavailable", message);
  }

  /** Takes a request in, or answers 503. Close the job in the end. */
  admit(named: NamedModel, nChoices: number, signal: AbortSignal, startedAt: number): Job {
    this.checkReady();
    const { maxSequences } = named.model.info;
    const places = maxSequences + (this.limits.queuedRequests ?? 4 * maxSequences);
    const jobs = [...this.#jobs].filter(({ name }) => name === named.name);
    if (jobs.length >= places) throw overloaded(`${jobs.length} requests are being answered or waiting already`);
    const nGenerations = jobs.reduce((sum, job) => sum + job.nChoices, 0);
    if (nGenerations + nChoices > GENERATIONS_MAX) {
      throw overloaded(`${nGenerations} generations are running or waiting`);
    }
    const job = new Job({
      ...named,
      nChoices,
      signal,
      startedAt,
      metrics: this.metrics,
      onClose: () => this.#leave(job),
    });
    this.#jobs.add(job);
    return job;
  }

  /** Resolves when no request is being answered. */
  async idle(): Promise<void> {
    if (this.#jobs.size > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Ends every generation; streams tell their readers why. */
  cutAll(): void {
    for (const job of this.#jobs) job.cut(unavailable("server_error", "shutdown", "the server is shutting down"));
  }

  /** Tells the owner of a failure that clients are not told about in full. */
  report(error: unknown): void {
    this.#onError?.(error);
  }

  /** The metrics' text, gauges as they are now. */
  metricsText(): string {
    for (const { name } of this.models()) {
      const states = [...this.#jobs].filter((job) => job.name === name).flatMap((job) => job.states());
      const labels = { model_name: name };
      this.metrics.set(METRIC.running, labels, states.filter((state) => state === "running").length);
      this.metrics.set(METRIC.waiting, labels, states.filter((state) => state === "waiting").length);
    }
    return this.metrics.text();
  }

  #leave(job: Job): void {
    this.#jobs.delete(job);
    if (this.#jobs.size > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
