/** One generation as the scheduler sees it: its tokens, its place in the cache, and how far it was computed. */
import type { OutSampling } from "./batch.ts";

/** What the scheduler needs to know of a generation. */
export interface SequenceRequest {
  readonly id: number;
  /** The prompt; at least one token, shorter than the context. */
  readonly tokens: ArrayLike<number>;
  readonly sampling: OutSampling;
  /** Likeliest tokens wanted beside the log-probability of each of the prompt's tokens; undefined = not even that. */
  readonly promptTop?: number | undefined;
  /** Tokens that penalties look back; 0 = all. */
  readonly penaltyWindow: number;
  /** New tokens at most, at least 1; prompt and these fit the context. */
  readonly maxTokens: number;
  /** Tokens that may be sampled before its reader asks for more. */
  readonly credit: number;
  /** Its samples wait for masks. */
  readonly constrained: boolean;
  /** Pages are shared with sequences of the same salt only. */
  readonly salt: string;
  /** Who asks: places and prompts are shared among clients. */
  readonly client: string;
  /** Milliseconds it waits for its first place; 0 = as long as it takes. */
  readonly queueTimeoutMs: number;
}

/** Who computes the beginning that a younger sequence shares, in which of its placements, and how many tokens of it. */
export interface Lead {
  leader: Sequence;
  nPlaced: number;
  nTokens: number;
}

/** Where a sequence is. Waiting ones have no slot and no pages. */
export type SequenceState = "waiting" | "running" | "ended";

/** A generation in the scheduler. */
export class Sequence {
  readonly id: number;
  readonly sampling: OutSampling;
  readonly penaltyWindow: number;
  readonly constrained: boolean;
  readonly salt: string;
  readonly client: string;
  readonly promptTop: number | undefined;
  /** Order of arrival. */
  readonly age: number;
  /** When its time to wait is over. */
  readonly deadline: number;
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
  /** Of each group: leading entries of its table that were freed. */
  nTrimmed: number[] = [];
  /** Sequences that got a place because it did not fit. */
  nPassed = 0;
  /** Younger ones of clients with less that got a place while it was the oldest of its client that waited. */
  nOvertaken = 0;
  lead: Lead | undefined;
  /** Prompt tokens that were found in the cache, or computed for another, since it started first. */
  nCached = 0;
  /** Leading tokens of the prompt whose log-probabilities are known; the first has none. */
  nScored = 1;
  /** Tokens whose keys and values are submitted, and of those the ones of finished steps. */
  nPast = 0;
  nDone = 0;
  /** Samples submitted whose token is not known yet. */
  nPending = 0;
  /** Times it got a place. */
  nPlaced = 0;
  /** Counts placements and lost steps: a step planned before one is none of its business. */
  epoch = 0;

  /** `now`: milliseconds of the caller's clock. */
  constructor(request: SequenceRequest, age: number, now: number) {
    this.id = request.id;
    this.sampling = request.sampling;
    this.penaltyWindow = request.penaltyWindow;
    this.constrained = request.constrained;
    this.salt = request.salt;
    this.client = request.client;
    this.promptTop = request.promptTop;
    this.age = age;
    this.deadline = request.queueTimeoutMs === 0 ? Infinity : now + request.queueTimeoutMs;
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

  /** Its next step is one token. */
  get isDecoding(): boolean {
    return this.maySample && (this.nKnownLeft === 0 ? this.nPending > 0 : this.nKnownLeft === 1);
  }

  /** Its next step is a run of known tokens. */
  get isPrefilling(): boolean {
    return this.maySample && this.nKnownLeft > 1;
  }

  /** Whether log-probabilities of its prompt are still to be computed. */
  get isScoring(): boolean {
    return this.promptTop !== undefined && this.nScored < this.nPrompt;
  }

  /**
   * Known tokens whose keys and values may come out of the cache: the others' rows are wanted. The last token is always
   * computed.
   */
  get nFindable(): number {
    return (this.isScoring ? this.nScored : this.tokens.length) - 1;
  }

  /** Nothing in flight, and its reader does not ask for more. */
  get isParked(): boolean {
    return this.state === "running" && this.nPending === 0 && this.credit <= 0;
  }
}
