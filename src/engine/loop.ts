/**
 * The token loop: drain messages, schedule, submit step n + 1, deliver step n, wait in short slices. It blocks its
 * thread while there is work and returns when there is none. Everything native is behind {@linkcode StepRunner}.
 */
import { errorToWire, RealizarError } from "../errors.ts";
import type { Constraint, WireGrammar } from "../grammar/wire.ts";
import type { FinishReason } from "../types.ts";
import { RESULT_FLAGS, type ResultReader } from "./batch.ts";
import { ChunkSize, companyOf } from "./chunk_size.ts";
import { Flights, isLive, type Landing, type StepRunner } from "./flights.ts";
import { Outbox } from "./outbox.ts";
import { Output, type TextPieces } from "./output.ts";
import { type FromEngine, type GenerationRequest, QUEUE_MAX, type ToEngine } from "./protocol.ts";
import type { PlannedStep } from "./planned_step.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Sequence } from "./sequence.ts";
import { writeStats } from "./stats.ts";
import { Stream } from "./stream.ts";

const WAIT_SLICE_MS = 5;
const STEPS_IN_FLIGHT = 2;

/** What the loop needs to know and do. */
export interface LoopOptions {
  runner: StepRunner;
  scheduler: Scheduler;
  /** Tokens of a sequence, at most. */
  contextSize: number;
  /** Tokens of a step, at most. */
  maxStepTokens: number;
  /** Tokens of the vocabulary, as the plan's logits have them. */
  vocabSize: number;
  isEog(token: number): boolean;
  /** Walks a generation through its grammar. Throws what is wrong with it. */
  constrain(grammar: WireGrammar): Constraint;
  pieces(request: GenerationRequest): TextPieces;
  post(message: FromEngine): void;
  /** The next message that came meanwhile. */
  poll(): ToEngine | undefined;
  /** Milliseconds of a clock that never goes back. */
  now(): number;
  /** Memory for counters: stats.ts. */
  stats: Float64Array;
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
  readonly #flights: Flights;
  readonly #chunk: ChunkSize;
  readonly #outbox: Outbox;
  #closing = false;
  #nSteps = 0;
  #nTokensComputed = 0;
  #nTokensGenerated = 0;

  constructor(options: LoopOptions) {
    this.#options = options;
    this.#chunk = new ChunkSize(options.maxStepTokens);
    this.#flights = new Flights(options.runner, options.vocabSize, {
      constraintOf: ({ id }) => this.#streams.get(id)!.constraint,
      failed: ({ id }, error) => this.#fail(this.#streams.get(id)!, error),
    });
    this.#outbox = new Outbox(options.post);
    this.#count();
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
      this.#tell();
      if (this.#flights.length === 0) return;
      this.#land();
    }
  }

  /** Posts what there is to say; the counters say it before. */
  #tell(): void {
    this.#count();
    this.#outbox.flush();
  }

  #count(): void {
    const { scheduler: { pages, counts, nRunning, nWaiting }, stats } = this.#options;
    writeStats(stats, {
      kvPagesUsed: pages.used,
      kvPagesCached: pages.cached,
      kvPagesTotal: pages.total,
      nRunning,
      nWaiting,
      nPreemptions: counts.nPreemptions,
      nPromptTokens: counts.nLookedUp,
      nCachedTokens: counts.nFound,
      nSteps: this.#nSteps,
      nTokensComputed: this.#nTokensComputed,
      nTokensGenerated: this.#nTokensGenerated,
    });
  }

  #drain(): void {
    for (let message = this.#options.poll(); message !== undefined; message = this.#options.poll()) {
      this.handle(message);
    }
    this.#expire();
    this.#count();
  }

  /** Refuses generations that waited for their first place as long as they may. */
  #expire(): void {
    const { scheduler, now } = this.#options;
    for (const { id } of scheduler.expire(now())) {
      const { nRunning, nWaiting } = scheduler;
      const waitedMs = Math.round(now() - this.#streams.get(id)!.submittedAt);
      const message = `no place was free for ${waitedMs} ms: ${nRunning} running, ${nWaiting} more waiting`;
      this.#fail(this.#streams.get(id)!, new RealizarError("BUSY", message));
      this.#tell();
    }
  }

  #submit(request: GenerationRequest): void {
    const { scheduler, pieces, constrain, now } = this.#options;
    try {
      const contextSize = this.#check(request);
      const constraint = request.grammar === undefined ? undefined : constrain(request.grammar);
      const room = contextSize - request.tokens.length;
      // Where no token is wanted the one after the prompt is sampled all the same, and not told.
      const maxTokens = Math.max(1, Math.min(request.maxTokens ?? room, room));
      const sequence = scheduler.add({ ...request, maxTokens, constrained: constraint !== undefined }, now());
      const output = new Output(pieces(request), request.stops);
      this.#streams.set(request.id, new Stream(request, sequence, output, constraint, now()));
      this.#flights.giveWay((nTokens) => this.#chunk.yields(nTokens));
    } catch (error) {
      this.#options.post({ type: "failed", id: request.id, error: errorToWire(error) });
    }
  }

  /** Refuses what cannot run; returns the tokens that the sequence may have. */
  #check({ tokens, sampling }: GenerationRequest): number {
    const { scheduler, contextSize } = this.#options;
    const nBias = sampling.bias.length, biasMax = scheduler.room.biases;
    if (this.#closing) throw new RealizarError("CLOSED", "the model was closed");
    if (scheduler.nWaiting >= QUEUE_MAX) {
      throw new RealizarError("BUSY", `${QUEUE_MAX} generations are waiting already`);
    }
    if (tokens.length === 0) throw new RealizarError("ARG", "the prompt has no tokens");
    if (nBias > biasMax) throw new RealizarError("LIMIT", `logitBias: ${nBias} tokens, a step has room for ${biasMax}`);
    const max = Math.min(contextSize, scheduler.pages.lengthMax);
    if (tokens.length < max) return max;
    const holder = max === contextSize ? "the context" : "the KV cache (kvTokens)";
    throw new RealizarError(
      "LIMIT",
      `the prompt has ${tokens.length} tokens, ${holder} holds ${max} and needs room for one more`,
    );
  }

  #cancel(id: number): void {
    const stream = this.#streams.get(id);
    if (stream !== undefined) this.#end(stream, "abort", stream.output.finish());
    this.#flights.dropIdle();
    this.#tell();
  }

  /** Keeps the native queue filled, one step ahead. */
  #fill(): void {
    const { scheduler, maxStepTokens } = this.#options;
    while (this.#flights.length < STEPS_IN_FLIGHT && this.#flights.mayFollow) {
      const started: Sequence[] = [];
      const company = companyOf([...this.#streams.values()].map(({ sequence }) => sequence.nGenerated));
      const step = scheduler.next(maxStepTokens, this.#chunk.next(company), started);
      for (const { id, nCached } of started) {
        const stream = this.#streams.get(id)!;
        if (stream.startedAt !== 0) continue;
        stream.startedAt = this.#options.now();
        this.#options.post({ type: "started", id, cachedTokens: nCached });
      }
      if (step === undefined) return;
      try {
        this.#flights.submit(step);
      } catch (error) {
        this.#failStep(step, error);
      }
    }
  }

  /** Waits for the oldest step, hearing messages meanwhile, and takes its tokens in. */
  #land(): void {
    let landing: Landing | undefined;
    while ((landing = this.#flights.land(WAIT_SLICE_MS)) === undefined) this.#drain();
    const { scheduler } = this.#options;
    const { step, result } = landing;
    if (result === undefined) {
      if (landing.error !== undefined) this.#failStep(step, landing.error);
      for (const undone of [step, ...landing.lost]) scheduler.undo(undone);
      return;
    }
    // Steps that score a prompt are short, whatever the speed.
    if (!step.entries.some(({ scores }) => scores !== undefined)) this.#chunk.observe(step.nTokens, result.deviceUs);
    this.#nSteps++;
    this.#nTokensComputed += step.nTokens;
    scheduler.finished(
      step,
      (sequence, out) => this.#accept(this.#streams.get(sequence.id)!, result, out),
      ({ id }, first, n) => this.#outbox.score(id, Array.from({ length: n }, (_, i) => result.scored(first + i))),
    );
    this.#flights.release();
  }

  #failStep(step: PlannedStep, error: unknown): void {
    for (const entry of step.entries) {
      if (isLive(entry)) this.#fail(this.#streams.get(entry.sequence.id)!, error);
    }
  }

  #fail(stream: Stream, error: unknown): void {
    this.#options.scheduler.end(stream.sequence);
    this.#streams.delete(stream.request.id);
    this.#outbox.end({ type: "failed", id: stream.request.id, error: errorToWire(error) });
  }

  /** One sampled token of a stream. */
  #accept(stream: Stream, result: ResultReader, out: number): void {
    const { sequence, request, output, constraint } = stream;
    const token = result.token(out);
    if (token < 0) {
      this.#fail(stream, whyNoToken(result.flags(out), sequence.tokens.length));
      return;
    }
    stream.clock(this.#options.now());
    if (request.maxTokens === 0) return this.#end(stream, "length", "");
    const isEog = this.#options.isEog(token);
    try {
      // What ends a text leads on to nothing: one that is to be ignored leaves the constraint where it is.
      if (!isEog) constraint?.accept(token);
    } catch (error) {
      this.#fail(stream, error);
      return;
    }
    sequence.tokens.push(token);
    sequence.credit--;
    this.#nTokensGenerated++;
    const eog = isEog && !request.ignoreEos;
    let text = eog ? output.finish() : output.push(token);
    const full = sequence.tokens.length >= sequence.lengthMax;
    const ended = eog || output.stop !== undefined || full;
    if (ended && !eog && output.stop === undefined) text += output.finish();
    const logprob = request.logprobs ? result.scored(out) : undefined;
    // The token that ends a generation stands for no text and is not shown.
    this.#outbox.tell(request.id, text, eog ? [] : [token], eog ? undefined : logprob);
    if (!eog) stream.nShown++;
    if (ended) this.#end(stream, eog || output.stop !== undefined ? "stop" : "length", "");
  }

  #end(stream: Stream, finishReason: FinishReason, text: string): void {
    const { sequence, request, output } = stream;
    if (text !== "") this.#outbox.tell(request.id, text, []);
    this.#options.scheduler.end(sequence);
    this.#streams.delete(request.id);
    this.#outbox.end({
      type: "ended",
      id: request.id,
      finishReason,
      ...(output.stop === undefined ? {} : { stop: output.stop }),
      usage: stream.usage,
      timings: stream.timings(this.#options.now()),
    });
  }
}
