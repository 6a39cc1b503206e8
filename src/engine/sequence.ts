/** One generation as the scheduler sees it: its tokens, its place in the cache, and how far it was computed. */
import type { OutSampling } from "./batch.ts";

/** What the scheduler needs to know of a generation. */
export interface SequenceRequest {
  readonly id: number;
  /** The prompt; at least one token, shorter than the context. */
  readonly tokens: ArrayLike<number>;
  readonly sampling: OutSampling;
  /** Tokens that penalties look back; 0 = all. */
  readonly penaltyWindow: number;
  /** New tokens at most, at least 1; prompt and these fit the context. */
  readonly maxTokens: number;
  /** Tokens that may be sampled before its reader asks for more. */
  readonly credit: number;
}

/** Where a sequence is. Waiting ones have no slot and no pages. */
export type SequenceState = "waiting" | "running" | "ended";

/** A generation in the scheduler. */
export class Sequence {
  readonly id: number;
  readonly sampling: OutSampling;
  readonly penaltyWindow: number;
  readonly nPrompt: number;
  /** Length at which it ends by itself. */
  readonly lengthMax: number;
  /** Known tokens: the prompt and what was accepted so far. */
  readonly tokens: number[];
  state: SequenceState = "waiting";
  credit: number;
  slot = -1;
  /** Page table of each cache group; 0 = freed because the window has passed. */
  pages: number[][] = [];
  /** Prompt tokens found in the cache when it started first. */
  nCached = 0;
  /** Tokens whose keys and values are submitted, and of those the ones of finished steps. */
  nPast = 0;
  nDone = 0;
  /** Samples submitted whose token is not known yet. */
  nPending = 0;
  /** Counts placements: a step of an earlier one is none of its business. */
  epoch = 0;

  constructor(request: SequenceRequest) {
    this.id = request.id;
    this.sampling = request.sampling;
    this.penaltyWindow = request.penaltyWindow;
    this.tokens = Array.from(request.tokens);
    this.nPrompt = this.tokens.length;
    this.lengthMax = this.nPrompt + request.maxTokens;
    this.credit = request.credit;
  }

  /** New tokens accepted so far. */
  get nGenerated(): number {
    return this.tokens.length - this.nPrompt;
  }

  /** Whether another token may be sampled: room is left and its reader keeps up. */
  get maySample(): boolean {
    return this.tokens.length + this.nPending < this.lengthMax && this.credit > this.nPending;
  }

  /** Known tokens that are not submitted yet. */
  get nKnownLeft(): number {
    return this.tokens.length - this.nPast;
  }

  /** Nothing in flight, and its reader does not ask for more. */
  get isParked(): boolean {
    return this.state === "running" && this.nPending === 0 && this.credit <= 0;
  }
}
