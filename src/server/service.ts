/** What the routes of one server share: its models, limits, metrics, and the requests that are being answered. */
import process from "node:process";
import { ApiError, invalid, overloaded, unavailable } from "./errors.ts";
import type { Fields } from "./fields.ts";
import { Job } from "./job.ts";
import type { Limits } from "./limits.ts";
import { defineModel, METRIC, serverMetrics } from "./metric_names.ts";
import type { Labels, Metrics } from "./metrics.ts";
import { runtimeVersion } from "../platform/env.ts";
import type { RouteContext } from "./route.ts";
import type { NamedModel, ServedModel, ServerStatus } from "./served_model.ts";
import { VERSION } from "./version.ts";

/** What a job needs of its request. */
export type Sent = Pick<RouteContext, "request" | "client" | "startedAt">;

/** Generations in one engine, running and waiting: below what the engine's own queue takes. */
const GENERATIONS_MAX = 1024;

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

  /**
   * Takes a request in, or answers 503. Close the job in the end. A client that has nothing here is taken beyond the
   * limit, up to as many as run at once: nobody shuts the others out by filling the queue.
   */
  admit(named: NamedModel, nChoices: number, { request: { signal }, client, startedAt }: Sent): Job {
    this.checkReady();
    const { maxSequences } = named.model.info;
    const isNew = client !== "" && this.#isNew(client);
    const places = maxSequences + (this.limits.queuedRequests ?? 4 * maxSequences) + (isNew ? maxSequences : 0);
    const { jobs, running, waiting } = this.#loadOf(named.name);
    if (jobs >= places) throw overloaded(`${jobs} requests are being answered or waiting already`);
    const nGenerations = running + waiting;
    if (nGenerations + nChoices > GENERATIONS_MAX) {
      throw overloaded(`${nGenerations} generations are running or waiting`);
    }
    const job = new Job({
      ...named,
      nChoices,
      signal,
      client,
      startedAt,
      metrics: this.metrics,
      queueTimeoutMs: this.limits.queueTimeoutMs,
      headMs: this.limits.pingMs,
      checkRoom: (nPrompts, nTokens) => this.#checkTokens(named, nPrompts, nTokens, isNew),
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
    const { metrics } = this;
    for (const { name, model } of this.models()) {
      const labels = { model_name: name };
      const { jobs, running, waiting, waitingTokens } = this.#loadOf(name);
      metrics.set(METRIC.answering, labels, jobs);
      metrics.set(METRIC.running, labels, running);
      metrics.set(METRIC.waiting, labels, waiting);
      metrics.set(METRIC.waitingTokens, labels, waitingTokens);
      defineModel(metrics, labels);
      this.#setEngine(labels, model);
    }
    metrics.set(METRIC.ready, {}, this.status.state === "ready" ? 1 : 0);
    metrics.set(METRIC.residentBytes, {}, process.memoryUsage.rss());
    metrics.set(METRIC.startTime, {}, this.createdAt);
    metrics.set(METRIC.build, { version: VERSION, runtime: runtimeVersion() }, 1);
    return metrics.text();
  }

  #setEngine(labels: Labels, model: ServedModel): void {
    const stats = model.stats?.();
    if (stats === undefined) return;
    const { metrics } = this, { kvPagesUsed, kvPagesCached, kvPagesTotal, nPreemptions } = stats;
    metrics.set(METRIC.kvPagesUsed, labels, kvPagesUsed);
    metrics.set(METRIC.kvPagesCached, labels, kvPagesCached);
    metrics.set(METRIC.kvPagesTotal, labels, kvPagesTotal);
    metrics.set(METRIC.kvUsage, labels, kvPagesTotal === 0 ? 0 : kvPagesUsed / kvPagesTotal);
    metrics.set(METRIC.preemptions, labels, nPreemptions);
    metrics.set(METRIC.steps, labels, stats.nSteps);
    metrics.set(METRIC.computedTokens, labels, stats.nTokensComputed);
    const sizes = { block_size: String(model.info.kvPageTokens), num_gpu_blocks: String(kvPagesTotal) };
    metrics.set(METRIC.cacheConfig, { ...labels, ...sizes, cache_dtype: model.info.kvDtype }, 1);
  }

  /** What one model has to do: requests, and their generations. */
  #loadOf(name: string): { jobs: number; running: number; waiting: number; waitingTokens: number } {
    const sum = { jobs: 0, running: 0, waiting: 0, waitingTokens: 0 };
    for (const job of this.#jobs) {
      if (job.name !== name) continue;
      const load = job.load();
      sum.jobs++;
      sum.running += load.running;
      sum.waiting += load.waiting;
      sum.waitingTokens += load.waitingTokens;
    }
    return sum;
  }

  /** Whether a client has no request here. */
  #isNew(client: string): boolean {
    for (const job of this.#jobs) if (job.client === client) return false;
    return true;
  }

  /** 503 when generations would have to wait and more tokens wait already than may; one prompt of a new client may. */
  #checkTokens({ name, model: { info } }: NamedModel, nPrompts: number, nTokens: number, isNew: boolean): void {
    if (isNew && nPrompts === 1) return;
    const { queuedTokens = 4 * info.maxSequences * info.contextSize } = this.limits;
    const { running, waiting, waitingTokens } = this.#loadOf(name);
    // The request's own generations are among the waiting.
    if (running + waiting <= info.maxSequences || waitingTokens + nTokens <= queuedTokens) return;
    throw overloaded(`${nPrompts} prompts of ${nTokens} tokens: ${waitingTokens} tokens of other prompts are waiting`);
  }

  #leave(job: Job): void {
    this.#jobs.delete(job);
    if (this.#jobs.size > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}
