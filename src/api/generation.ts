/** A running generation: parts for one reader, backpressure by credit, and the whole result. */
import type { EngineClient, StreamListener } from "../engine/client.ts";
import { CREDIT, type GenerationRequest, type WireLogprob } from "../engine/protocol.ts";
import { RealizarError } from "../errors.ts";
import type { AnswerReader } from "./answer.ts";
import type {
  FinishReason,
  Generation,
  GenerationPart,
  GenerationResult,
  PartLogprob,
  PromptLogprob,
  Timings,
  Usage,
} from "../types.ts";

/** What is posted to the engine, and what stays here. */
export type PreparedGeneration = Omit<GenerationRequest, "id"> & {
  seed: number;
  /** Splits the answer. */
  reader: AnswerReader | undefined;
};

/** What a generation is made of; `prepare` may take its time (templates, encoding) and may fail. */
export interface GenerationSource {
  client: EngineClient;
  signal: AbortSignal | undefined;
  /** Options checked and prompt encoded. `signal` fires when the generation is cancelled before that is done. */
  prepare(signal: AbortSignal): Promise<PreparedGeneration>;
  /** Whether the text is JSON, once it is complete. */
  json?: boolean;
  /** Called once, before the result is settled. */
  onEnd?(result: GenerationResult | undefined): void;
}

const NO_TIMINGS: Timings = { queueMs: 0, ttftMs: 0, decodeMs: 0, promptTokensPerSecond: 0, tokensPerSecond: 0 };

/** What complete JSON text says; nothing for text that a stop string cut off. */
function jsonOf(text: string): { json?: unknown } {
  try {
    return { json: JSON.parse(text) as unknown };
  } catch {
    return {};
  }
}

/** The {@linkcode Generation} of this library. */
export class RunningGeneration implements Generation, StreamListener {
  readonly #source: GenerationSource;
  readonly #result = Promise.withResolvers<GenerationResult>();
  readonly #cancelled = new AbortController();
  readonly #onAbort = (): void => this.cancel();
  readonly #parts: GenerationPart[] = [];
  readonly #tokens: number[] = [];
  readonly #logprobs: PartLogprob[] = [];
  #text = "";
  #seed = 0;
  #wantsLogprobs = false;
  /** The prompt's tokens, as far as nothing was told of them; undefined = nobody asked. */
  #unscored: Int32Array | undefined;
  readonly #promptLogprobs: PromptLogprob[] = [];
  #reader: AnswerReader | undefined;
  /** The answer was complete before the engine knew. */
  #complete = false;
  #id: number | undefined;
  #cachedTokens = 0;
  #promptTokens = 0;
  /** The reader that waits for a part. */
  #waiting: (() => void) | undefined;
  #started = false;
  #ended = false;
  #error: RealizarError | undefined;
  #hasReader = false;
  /** Nobody reads, but the whole is wanted: parts count as read when they come. */
  #drains = false;
  #consumed = 0;

  constructor(source: GenerationSource) {
    this.#source = source;
    this.#result.promise.catch(() => {}); // never an unhandled rejection
    if (source.signal?.aborted) this.#cancelled.abort(source.signal.reason);
    source.signal?.addEventListener("abort", this.#onAbort, { once: true });
    void this.#start();
  }

  async #start(): Promise<void> {
    try {
      const { seed, reader, ...request } = await this.#source.prepare(this.#cancelled.signal);
      this.#seed = seed;
      this.#reader = reader;
      this.#promptTokens = request.tokens.length;
      this.#wantsLogprobs = request.logprobs;
      if (request.promptTop !== undefined) this.#unscored = request.tokens;
      if (this.#cancelled.signal.aborted) this.#finishEarly();
      else this.#id = this.#source.client.submit(request, this);
    } catch (error) {
      if (this.#cancelled.signal.aborted) this.#finishEarly();
      else {this.failed(
          error instanceof RealizarError ? error : new RealizarError("INTERNAL", String(error), { cause: error }),
        );}
    }
  }

  /** Cancelled before the engine heard of it. */
  #finishEarly(): void {
    this.ended(
      "abort",
      undefined,
      { promptTokens: this.#promptTokens, cachedTokens: 0, completionTokens: 0 },
      NO_TIMINGS,
    );
  }

  get state(): Generation["state"] {
    return this.#ended ? "ended" : this.#started ? "running" : "waiting";
  }

  started(cachedTokens: number): void {
    this.#started = true;
    this.#cachedTokens = cachedTokens;
  }

  scored(scores: readonly WireLogprob[]): void {
    const isFirst = this.#promptLogprobs.length === 0;
    const all = isFirst ? [{ logprob: undefined, top: [] }, ...scores] : scores;
    const tokens = this.#unscored!;
    const promptLogprobs = all.map((score, i) => ({ token: tokens[i]!, ...score }));
    this.#unscored = tokens.subarray(all.length);
    this.#promptLogprobs.push(...promptLogprobs);
    this.#parts.push({ text: "", tokens: [], promptLogprobs });
    this.#wake();
  }

  /** Of a prompt of one token the engine has nothing to say. */
  #scoreOnlyToken(): void {
    if (this.#promptLogprobs.length === 0 && this.#unscored?.length === 1) this.scored([]);
  }

  step(text: string, tokens: number[], logprobs: (WireLogprob | undefined)[] | undefined): void {
    if (this.#complete) return;
    this.#scoreOnlyToken();
    this.#text += text;
    this.#tokens.push(...tokens);
    const part: GenerationPart = { text, tokens };
    if (this.#wantsLogprobs) {
      part.logprobs = tokens.map((token, i) => ({ token, logprob: NaN, top: [], ...logprobs?.[i] }));
      this.#logprobs.push(...part.logprobs);
    }
    if (this.#reader !== undefined) part.answer = this.#reader.push(text, part.logprobs);
    this.#parts.push(part);
    if (this.#reader?.done === true) this.#finish();
    if (this.#drains && !this.#hasReader) this.#countRead(tokens.length);
    this.#wake();
  }

  /** Ends the generation where the reader has found its end; the engine may be some tokens ahead. */
  #finish(): void {
    this.#complete = true;
    if (this.#id !== undefined) this.#source.client.cancel(this.#id);
  }

  ended(reason: FinishReason, stop: string | undefined, usage: Usage, timings: Timings): void {
    const finishReason = this.#complete && reason === "abort" ? "stop" : reason;
    if (this.#complete) usage = { ...usage, completionTokens: this.#tokens.length };
    if (reason !== "abort") this.#scoreOnlyToken();
    const rest = this.#reader?.end() ?? [];
    if (rest.length > 0) this.#parts.push({ text: "", tokens: [], answer: rest });
    const result: GenerationResult = {
      text: this.#text,
      tokens: this.#tokens,
      ...(this.#reader === undefined ? {} : { answer: this.#reader.answer }),
      finishReason,
      ...(stop === undefined ? {} : { stop }),
      ...(this.#source.json === true && finishReason === "stop" ? jsonOf(this.#reader?.answer.text ?? this.#text) : {}),
      seed: this.#seed,
      ...(this.#wantsLogprobs ? { logprobs: this.#logprobs } : {}),
      ...(this.#unscored === undefined ? {} : { promptLogprobs: this.#promptLogprobs }),
      usage: { ...usage, cachedTokens: usage.cachedTokens || this.#cachedTokens },
      timings,
    };
    this.#settle();
    this.#source.onEnd?.(result);
    this.#result.resolve(result);
    this.#wake();
  }

  failed(error: RealizarError): void {
    this.#error = error;
    this.#settle();
    this.#source.onEnd?.(undefined);
    this.#result.reject(error);
    this.#wake();
  }

  result(): Promise<GenerationResult> {
    if (!this.#drains) {
      this.#drains = true;
      if (!this.#hasReader) this.#countRead(this.#tokens.length);
    }
    return this.#result.promise;
  }

  cancel(): void {
    if (this.#ended) return;
    this.#cancelled.abort(this.#source.signal?.reason);
    if (this.#id !== undefined) this.#source.client.cancel(this.#id);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GenerationPart, void, undefined> {
    if (this.#hasReader) throw new RealizarError("BUSY", "this generation has a reader already");
    this.#hasReader = true;
    try {
      for (;;) {
        const part = this.#parts.shift();
        if (part !== undefined) {
          this.#countRead(part.tokens.length);
          yield part;
        } else if (this.#error !== undefined) throw this.#error;
        else if (this.#ended) return;
        else await new Promise<void>((resolve) => this.#waiting = resolve);
      }
    } finally {
      this.cancel();
    }
  }

  stream(): ReadableStream<string> {
    const reader = this[Symbol.asyncIterator]();
    return new ReadableStream<string>({
      async pull(controller) {
        for (;;) {
          const { done, value } = await reader.next();
          if (done) return controller.close();
          if (value.text !== "") return controller.enqueue(value.text);
        }
      },
      cancel: async () => {
        this.cancel();
        await reader.return();
      },
    }, { highWaterMark: 0 });
  }

  toResponse(init: ResponseInit = {}): Response {
    const headers = new Headers(init.headers);
    if (!headers.has("content-type")) headers.set("content-type", "text/plain; charset=utf-8");
    return new Response(this.stream().pipeThrough(new TextEncoderStream()), { ...init, headers });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cancel();
    await this.#result.promise.catch(() => {});
  }

  /** The engine may run ahead again once half its credit was read. */
  #countRead(nTokens: number): void {
    this.#consumed += nTokens;
    if (this.#consumed < CREDIT / 2 || this.#id === undefined) return;
    this.#source.client.credit(this.#id, this.#consumed);
    this.#consumed = 0;
  }

  #settle(): void {
    this.#ended = true;
    this.#source.signal?.removeEventListener("abort", this.#onAbort);
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.();
  }
}
