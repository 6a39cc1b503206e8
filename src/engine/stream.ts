/** A generation in the loop: its sequence, its text so far, what constrains it, and its times. */
import type { Constraint } from "../grammar/wire.ts";
import type { Timings, Usage } from "../types.ts";
import type { Output } from "./output.ts";
import type { GenerationRequest } from "./protocol.ts";
import type { Sequence } from "./sequence.ts";

function perSecond(n: number, ms: number): number {
  return n > 0 && ms > 0 ? n / (ms / 1000) : 0;
}

/** One generation from `submit` to its ending. Times are of the loop's clock, 0 = not yet. */
export class Stream {
  readonly request: GenerationRequest;
  readonly sequence: Sequence;
  readonly output: Output;
  /** Its state is that of the sequence's known tokens. */
  readonly constraint: Constraint | undefined;
  readonly submittedAt: number;
  /** Tokens told. */
  nShown = 0;
  startedAt = 0;
  #firstAt = 0;
  #lastAt = 0;

  constructor(
    request: GenerationRequest,
    sequence: Sequence,
    output: Output,
    constraint: Constraint | undefined,
    now: number,
  ) {
    this.request = request;
    this.sequence = sequence;
    this.output = output;
    this.constraint = constraint;
    this.submittedAt = now;
  }

  /** A token was accepted. */
  clock(now: number): void {
    this.#lastAt = now;
    if (this.#firstAt === 0) this.#firstAt = now;
  }

  /** Token counts so far. */
  get usage(): Usage {
    const { nPrompt, nCached } = this.sequence;
    return { promptTokens: nPrompt, cachedTokens: nCached, completionTokens: this.nShown };
  }

  /** Times of a generation that ends now. */
  timings(now: number): Timings {
    const { nPrompt, nCached, nGenerated } = this.sequence;
    const startedAt = this.startedAt || now, firstAt = this.#firstAt || now, lastAt = this.#lastAt || now;
    const ttftMs = firstAt - startedAt, decodeMs = lastAt - firstAt;
    return {
      queueMs: startedAt - this.submittedAt,
      ttftMs,
      decodeMs,
      promptTokensPerSecond: this.#firstAt === 0 ? 0 : perSecond(nPrompt - nCached, ttftMs),
      tokensPerSecond: perSecond(nGenerated - 1, decodeMs),
    };
  }
}
