/**
 * The token loop: drain messages, schedule, submit step n + 1, deliver step n, wait in short slices. It blocks its
 * thread while there is work and returns when there is none. Everything native is behind {@linkcode StepRunner}.
 */
import { errorToWire, RealizarError } from "../errors.ts";
import type { FinishReason, TokenLogprob } from "../types.ts";
import { BatchWriter, RESULT_FLAGS, type ResultReader } from "./batch.ts";
import { ChunkSize } from "./chunk_size.ts";
import { Output, type TextPieces } from "./output.ts";
import { type FromEngine, type GenerationRequest, QUEUE_MAX, type StepMessage, type ToEngine } from "./protocol.ts";
import type { PlannedStep, Scheduler } from "./scheduler.ts";
import type { Sequence } from "./sequence.ts";

const WAIT_SLICE_MS = 5;
const STEPS_IN_FLIGHT = 2;

/** The native half of a step. */
export interface StepRunner {
  /** Queues a batch; returns its ticket. Throws what C refuses. */
  submit(batch: Uint8Array): number;
  /** The result, or undefined when it is not there after `timeoutMs`. Throws the step's failure. */
  wait(ticket: number, timeoutMs: number): ResultReader | undefined;
  cancel(ticket: number): void;
}

/** What the loop needs to know and do. */
export interface LoopOptions {
  runner: StepRunner;
  scheduler: Scheduler;
  /** Tokens of a sequence, at most. */
  contextSize: number;
  /** Tokens of a step, at most. */
  maxStepTokens: number;
  isEog(token: number): boolean;
  pieces(): TextPieces;
  post(message: FromEngine): void;
  /** The next message that came meanwhile. */
  poll(): ToEngine | undefined;
}

interface Stream {
  sequence: Sequence;
  request: GenerationRequest;
  output: Output;
  /** Tokens told. */
  nShown: number;
  submittedAt: number;
  startedAt: number;
  firstAt: number;
  lastAt: number;
}

interface Flight {
  ticket: number;
  step: PlannedStep;
  cancelled: boolean;
}

/** Why a row has no token; `position` is the one it would have got. */
function whyNoToken(flags: number, position: number): RealizarError {
  if ((flags & RESULT_FLAGS.nonFinite) !== 0) {
    return new RealizarError("DEVICE", `the logits at position ${position - 1} are not finite`);
  }
  if ((flags & RESULT_FLAGS.emptyMask) !== 0) {
    return new RealizarError("ARG", `no token is allowed at position ${position}`);
  }
  return new RealizarError("INTERNAL", `no token was sampled at position ${position} (flags ${flags})`);
}

/** Runs the generations of one model. */
export class EngineLoop {
  readonly #options: LoopOptions;
  readonly #streams = new Map<number, Stream>();
  readonly #flights: Flight[] = [];
  readonly #writer = new BatchWriter();
  readonly #chunk: ChunkSize;
  #news: StepMessage = { type: "step", ids: [], texts: [], tokenEnds: [], tokens: [] };
  #endings: FromEngine[] = [];
  #closing = false;

  constructor(options: LoopOptions) {
    this.#options = options;
    this.#chunk = new ChunkSize(options.maxStepTokens);
  }

  /** True after `close`: no more messages are of interest. */
  get closing(): boolean {
    return this.#closing;
  }

  /** Takes one message in. */
  handle(message: ToEngine): void {
    if (message.type === "submit") this.#submit(message.request);
    else if (message.type === "cancel") this.#cancel(message.id);
    else if (message.type === "credit") {
      const stream = this.#streams.get(message.id);
      if (stream !== undefined) stream.sequence.credit += message.n;
    } else if (message.type === "close") {
      this.#closing = true;
      for (const id of [...this.#streams.keys()]) this.#cancel(id);
    }
  }

  /** Works until nothing is left to do now. */
  run(): void {
    for (;;) {
      this.#drain();
      this.#fill();
      this.#deliver();
      const [flight] = this.#flights;
      if (flight === undefined) return;
      this.#land(flight);
    }
  }

  #drain(): void {
    for (let message = this.#options.poll(); message !== undefined; message = this.#options.poll()) {
      this.handle(message);
    }
  }

  #submit(request: GenerationRequest): void {
    const { scheduler, contextSize } = this.#options;
    const nPrompt = request.tokens.length;
    try {
      if (this.#closing) throw new RealizarError("CLOSED", "the model was closed");
      if (scheduler.nWaiting >= QUEUE_MAX) {
        throw new RealizarError("BUSY", `${QUEUE_MAX} generations are waiting already`);
      }
      if (nPrompt === 0) throw new RealizarError("ARG", "the prompt has no tokens");
      if (nPrompt >= contextSize) {
        throw new RealizarError(
          "LIMIT",
          `the prompt has ${nPrompt} tokens, the context holds ${contextSize} and needs room for one more`,
        );
      }
    } catch (error) {
      this.#options.post({ type: "failed", id: request.id, error: errorToWire(error) });
      return;
    }
    const room = contextSize - nPrompt;
    const maxTokens = request.maxTokens === 0 ? room : Math.min(request.maxTokens, room);
    const sequence = scheduler.add({ ...request, maxTokens, credit: request.credit });
    const output = new Output(this.#options.pieces(), request.stops);
    const times = { submittedAt: performance.now(), startedAt: 0, firstAt: 0, lastAt: 0 };
    this.#streams.set(request.id, { sequence, request, output, nShown: 0, ...times });
  }

  #cancel(id: number): void {
    const stream = this.#streams.get(id);
    if (stream !== undefined) this.#end(stream, "abort", stream.output.finish());
    for (const flight of this.#flights) {
      if (flight.cancelled || flight.step.entries.some(({ sequence }) => sequence.state === "running")) continue;
      flight.cancelled = true;
      this.#options.runner.cancel(flight.ticket);
    }
    this.#deliver();
  }

  /** Keeps the native queue filled, one step ahead. */
  #fill(): void {
    const { scheduler, runner, maxStepTokens } = this.#options;
    // A step that comes after one being cancelled would be lost with it, and the next with that: wait for its end.
    while (this.#flights.length < STEPS_IN_FLIGHT && !this.#flights.some(({ cancelled }) => cancelled)) {
      const started: Sequence[] = [];
      const shared = [...this.#streams.values()].some(({ sequence }) => sequence.nGenerated > 0);
      const step = scheduler.next(maxStepTokens, this.#chunk.next(shared), started);
      for (const { id, nCached } of started) {
        const stream = this.#streams.get(id)!;
        if (stream.startedAt !== 0) continue;
        stream.startedAt = performance.now();
        this.#options.post({ type: "started", id, cachedTokens: nCached });
      }
      if (step === undefined) return;
      const after = this.#flights.at(-1)?.ticket ?? 0;
      try {
        const ticket = runner.submit(
          this.#writer.write({ flags: 0, after, copies: [], seqs: step.seqs, outs: step.outs }),
        );
        this.#flights.push({ ticket, step, cancelled: false });
      } catch (error) {
        this.#failStep(step, error);
      }
    }
  }

  /** Waits for the oldest step, hearing messages meanwhile, and takes its tokens in. */
  #land(flight: Flight): void {
    const { runner, scheduler } = this.#options;
    let result: ResultReader | undefined;
    try {
      while ((result = runner.wait(flight.ticket, WAIT_SLICE_MS)) === undefined) this.#drain();
    } catch (error) {
      this.#flights.shift();
      this.#landFailed(flight, error);
      return;
    }
    this.#flights.shift();
    this.#chunk.observe(flight.step.nTokens, result.deviceUs);
    const reader = result;
    scheduler.finished(flight.step, (sequence, out) => this.#accept(this.#streams.get(sequence.id)!, reader, out));
  }

  #landFailed(flight: Flight, error: unknown): void {
    const cancelled = error instanceof RealizarError && error.code === "CANCELLED";
    if (!cancelled || !flight.cancelled) this.#failStep(flight.step, error);
    this.#options.scheduler.undo(flight.step);
    // The next step was to run after this one only: it fails as well, and is no news.
    for (const next of this.#flights) {
      next.cancelled = true;
      this.#options.scheduler.undo(next.step);
    }
  }

  #failStep(step: PlannedStep, error: unknown): void {
    for (const { sequence, epoch } of step.entries) {
      const stream = this.#streams.get(sequence.id);
      if (stream !== undefined && sequence.epoch === epoch) this.#fail(stream, error);
    }
  }

  #fail(stream: Stream, error: unknown): void {
    this.#options.scheduler.end(stream.sequence);
    this.#streams.delete(stream.request.id);
    this.#endings.push({ type: "failed", id: stream.request.id, error: errorToWire(error) });
  }

  /** One sampled token of a stream. */
  #accept(stream: Stream, result: ResultReader, out: number): void {
    const { sequence, request, output } = stream;
    const token = result.token(out);
    if (token < 0) {
      this.#fail(stream, whyNoToken(result.flags(out), sequence.tokens.length));
      return;
    }
    stream.lastAt = performance.now();
    if (stream.firstAt === 0) stream.firstAt = stream.lastAt;
    sequence.tokens.push(token);
    sequence.credit--;
    const eog = !request.ignoreEos && this.#options.isEog(token);
    let text = eog ? output.finish() : output.push(token);
    const full = sequence.tokens.length >= sequence.lengthMax;
    const ended = eog || output.stop !== undefined || full;
    if (ended && !eog && output.stop === undefined) text += output.finish();
    const logprob = request.logprobs ? { logprob: result.logprob(out), top: result.top(out) } : undefined;
    // The token that ends a generation stands for no text and is not shown.
    this.#tell(request.id, text, eog ? [] : [token], eog ? undefined : logprob);
    if (!eog) stream.nShown++;
    if (ended) this.#end(stream, eog || output.stop !== undefined ? "stop" : "length", "");
  }

  #tell(id: number, text: string, tokens: number[], logprob?: { logprob: number; top: TokenLogprob[] }): void {
    const news = this.#news;
    news.ids.push(id);
    news.texts.push(text);
    news.tokens.push(...tokens);
    news.tokenEnds.push(news.tokens.length);
    if (logprob !== undefined) (news.logprobs ??= [])[news.tokens.length - 1] = logprob;
  }

  #end(stream: Stream, finishReason: FinishReason, text: string): void {
    const { sequence, request, output } = stream;
    if (text !== "") this.#tell(request.id, text, []);
    const now = performance.now();
    const startedAt = stream.startedAt || now, firstAt = stream.firstAt || now, lastAt = stream.lastAt || now;
    const ttftMs = firstAt - startedAt, decodeMs = lastAt - firstAt;
    const perSecond = (n: number, ms: number) => n > 0 && ms > 0 ? n / (ms / 1000) : 0;
    this.#options.scheduler.end(sequence);
    this.#streams.delete(request.id);
    this.#endings.push({
      type: "ended",
      id: request.id,
      finishReason,
      ...(output.stop === undefined ? {} : { stop: output.stop }),
      usage: { promptTokens: sequence.nPrompt, cachedTokens: sequence.nCached, completionTokens: stream.nShown },
      timings: {
        queueMs: startedAt - stream.submittedAt,
        ttftMs,
        decodeMs,
        promptTokensPerSecond: stream.firstAt === 0 ? 0 : perSecond(sequence.nPrompt - sequence.nCached, ttftMs),
        tokensPerSecond: perSecond(sequence.nGenerated - 1, decodeMs),
      },
    });
  }

  /** One message for the step's text and tokens, then what ended. */
  #deliver(): void {
    if (this.#news.ids.length > 0) {
      this.#options.post(this.#news);
      this.#news = { type: "step", ids: [], texts: [], tokenEnds: [], tokens: [] };
    }
    for (const ending of this.#endings.splice(0)) this.#options.post(ending);
  }
}
