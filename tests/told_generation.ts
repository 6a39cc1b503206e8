/**
 * A generation of no model: it tells what a test says. All doubles of models are made of it: `ScriptedModel`
 * (scripted_model.ts, answers in pieces, for what stands above the engine), `scriptedModel` (server_scripted.ts, parts
 * and usage as they are, for the server's protocols), `fakeModel` (server_fake.ts, parts when the test wants them).
 */
import { RealizarError } from "../src/errors.ts";
import type { FinishReason, Generation, GenerationPart, GenerationResult } from "../src/types.ts";

/** What a generation tells. */
export interface Told {
  /** Its parts. The signal fires when it is cancelled; what is thrown fails it. */
  parts(cancelled: AbortSignal): AsyncGenerator<GenerationPart, void, undefined>;
  /** Its result, asked for once. */
  result(finishReason: FinishReason): GenerationResult;
  /** How it ends by itself; default stop. */
  finishReason?: FinishReason | undefined;
}

/** Ends once: by itself, when it is cancelled or left by its reader, or with what its parts throw. */
export class ToldGeneration implements Generation {
  state: Generation["state"] = "running";
  /** Whether somebody ended it before its time. */
  cancelled = false;
  readonly #told: Told;
  readonly #gate = new AbortController();
  readonly #result = Promise.withResolvers<GenerationResult>();

  constructor(told: Told, signal?: AbortSignal) {
    this.#told = told;
    this.#result.promise.catch(() => {});
    if (signal?.aborted === true) this.cancel();
    signal?.addEventListener("abort", () => this.cancel(), { once: true });
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GenerationPart, void, undefined> {
    try {
      for await (const part of this.#told.parts(this.#gate.signal)) {
        if (this.cancelled) return;
        yield part;
      }
      if (!this.cancelled) this.#settle(this.#told.finishReason ?? "stop");
    } catch (thrown) {
      this.state = "ended";
      this.#result.reject(thrown);
      throw thrown;
    } finally {
      this.cancel();
    }
  }

  result(): Promise<GenerationResult> {
    return this.#result.promise;
  }

  cancel(): void {
    if (this.state === "ended") return;
    this.cancelled = true;
    this.#gate.abort();
    this.#settle("abort");
  }

  stream(): ReadableStream<string> {
    throw new RealizarError("UNSUPPORTED", "a told generation has no stream");
  }

  toResponse(): Response {
    throw new RealizarError("UNSUPPORTED", "a told generation has no response");
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.cancel();
    return Promise.resolve();
  }

  #settle(finishReason: FinishReason): void {
    this.state = "ended";
    this.#result.resolve(this.#told.result(finishReason));
  }
}
