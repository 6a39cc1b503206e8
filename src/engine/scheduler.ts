/**
 * Which sequences and tokens make the next step. Pure: its clock is an argument, no native call, no message. The loop
 * asks for a step, submits it, and says how it went; it may ask for the next one before that (one step ahead).
 *
 * A step holds one token of every sequence that decodes, oldest first, and with what is left of its token budget chunks
 * of prompts (chunk_size.ts). Where log-probabilities of a prompt are wanted a chunk has at most as many rows as the
 * step has outs. Clients take turns (waiting.ts, ledger.ts). A sequence gets a place when there are pages for all its
 * known tokens. Decoding takes pages as it grows; when there are none, the youngest loses its place and its pages and
 * is computed again later: the oldest that has a place always goes on.
 */
import { shareChunk } from "./chunk_size.ts";
import { GENERATED_COST, Ledger } from "./ledger.ts";
import { PageTables, type SchedulerGroup } from "./page_tables.ts";
import { addTokens, emptyStep, hasRoom, type PlannedStep, type StepRoom } from "./planned_step.ts";
import { type Lead, Sequence, type SequenceRequest } from "./sequence.ts";
import { Waiting } from "./waiting.ts";

/** Sizes of the cache and of a step. */
export interface SchedulerOptions {
  maxSequences: number;
  groups: readonly SchedulerGroup[];
  /** Default: as much as there is. A sequence alone always fits. */
  room?: StepRoom;
}

/** What a scheduler has counted since it began. */
export interface SchedulerCounts {
  /** Sequences that lost their place: for their pages, or because their reader stopped. */
  nPreemptions: number;
  /** Prompt tokens looked up in the prefix index, and of those the ones found. */
  nLookedUp: number;
  nFound: number;
}

/** The scheduler of one model. */
export class Scheduler {
  readonly pages: PageTables;
  readonly counts: SchedulerCounts = { nPreemptions: 0, nLookedUp: 0, nFound: 0 };
  readonly room: StepRoom;
  readonly #freeSlots: number[];
  /** Oldest first. */
  readonly #running: Sequence[] = [];
  readonly #ledger = new Ledger();
  readonly #waiting = new Waiting(this.#ledger);
  #nAdded = 0;

  constructor({ maxSequences, groups, room }: SchedulerOptions) {
    this.pages = new PageTables(groups);
    this.room = room ?? { tableEntries: Infinity, biases: Infinity, outs: Infinity };
    this.#freeSlots = Array.from({ length: maxSequences }, (_, i) => maxSequences - 1 - i);
  }

  /** Sequences waiting for a place. */
  get nWaiting(): number {
    return this.#waiting.length;
  }

  /** Sequences that have one. */
  get nRunning(): number {
    return this.#running.length;
  }

  /** Every sequence that has not ended. */
  get sequences(): Sequence[] {
    return [...this.#running, ...this.#waiting];
  }

  /**
   * Takes a new sequence in; it waits for a place. `request.tokens` and the tokens to come must fit
   * `pages.lengthMax`. `now`: milliseconds of a clock that never goes back.
   */
  add(request: SequenceRequest, now: number): Sequence {
    const sequence = new Sequence(request, this.#nAdded++, now);
    this.#ledger.enter(sequence.client);
    this.#waiting.add(sequence);
    return sequence;
  }

  /** Ends those that waited too long for their first place; the caller says so. */
  expire(now: number): Sequence[] {
    const late = this.#waiting.expired(now);
    for (const sequence of late) this.#ended(sequence);
    return late;
  }

  /**
   * The next step of at most `nTokensMax` tokens, prompts taking at most `nPromptMax` of them; undefined when nothing
   * can run now. Sequences that got a place are added to `started`.
   */
  next(nTokensMax: number, nPromptMax: number, started: Sequence[]): PlannedStep | undefined {
    this.#admit(started);
    for (const sequence of this.#running) if (sequence.lead !== undefined) this.#follow(sequence, sequence.lead);
    const step = emptyStep();
    // Oldest first: who loses its pages on the way is not in the step yet.
    for (const sequence of this.#running.filter(({ isDecoding }) => isDecoding)) {
      if (step.nTokens >= nTokensMax) break;
      if (sequence.state !== "running" || !hasRoom(step, sequence, this.room)) continue;
      if (this.#makeRoom(sequence, sequence.nPast + 1)) addTokens(step, sequence, 1, this.pages);
    }
    this.#takePrompts(step, Math.min(nPromptMax, nTokensMax - step.nTokens));
    return step.nTokens === 0 ? undefined : step;
  }

  /** Adds chunks of prompts. */
  #takePrompts(step: PlannedStep, nTokensMax: number): void {
    const prompts = this.#running.filter((sequence) => sequence.isPrefilling && sequence.lead === undefined);
    if (prompts.length === 0) return;
    // Every other prompt may end in this step, and then has an out.
    const outsMax = this.room.outs - step.outs.length - prompts.length + 1;
    const chunks = shareChunk(
      prompts.map(({ nKnownLeft, isScoring }) => isScoring ? Math.min(nKnownLeft, outsMax) : nKnownLeft),
      prompts.map(({ client }) => this.#ledger.given(client)),
      nTokensMax,
    );
    for (const [i, sequence] of prompts.entries()) {
      const nOuts = this.room.outs - step.outs.length - (prompts.length - 1 - i);
      const n = sequence.isScoring ? Math.min(chunks[i]!, nOuts) : chunks[i]!;
      if (n > 0 && hasRoom(step, sequence, this.room)) addTokens(step, sequence, n, this.pages);
    }
  }

  /**
   * A step succeeded: for each entry still of interest, `score` gets the sequence and the outs of its prompt's tokens,
   * if any, and `accept` the sequence and the index of its out.
   */
  finished(
    step: PlannedStep,
    accept: (sequence: Sequence, out: number) => void,
    score?: (sequence: Sequence, firstOut: number, n: number) => void,
  ): void {
    for (const { sequence, epoch, nPastAfter, out, scores } of step.entries) {
      if (sequence.epoch !== epoch || sequence.state !== "running") continue;
      sequence.nDone = nPastAfter;
      if (nPastAfter === sequence.nPrompt) this.pages.remember(sequence);
      if (scores !== undefined) {
        sequence.nScored = scores.token + scores.n;
        score?.(sequence, scores.out, scores.n);
      }
      if (out < 0) continue;
      sequence.nPending--;
      this.#ledger.charge(sequence.client, GENERATED_COST);
      accept(sequence, out);
    }
  }

  /** A step did not happen: its sequences go back to where their finished steps left them. */
  undo(step: PlannedStep): void {
    for (const { sequence, epoch } of step.entries) {
      if (sequence.epoch !== epoch || sequence.state !== "running") continue;
      sequence.nPast = sequence.nDone;
      sequence.nPending = 0;
      sequence.epoch++;
    }
  }

  /**
   * Ends a sequence; its place and pages are free for the next step, its full pages stay findable. One that has ended
   * is left alone.
   */
  end(sequence: Sequence): void {
    if (sequence.state === "ended") return;
    if (sequence.state === "running") this.#leave(sequence);
    else this.#waiting.remove(sequence);
    this.#ended(sequence);
  }

  #ended(sequence: Sequence): void {
    this.#ledger.leave(sequence.client);
    sequence.state = "ended";
  }

  #admit(started: Sequence[]): void {
    while (this.#waiting.length > 0) {
      const sequence = this.#waiting.take((one) => this.#place(one));
      if (sequence !== undefined) started.push(sequence);
      // A reader that does not keep up gives its place to one that waits; it goes on later from its tokens.
      else if (!this.#waiting.hasReader || !this.#preempt(this.#running.findLast(({ isParked }) => isParked))) return;
    }
  }

  #place(sequence: Sequence): boolean {
    if (this.#freeSlots.length === 0) return false;
    // Each that runs may need a page soon: who comes in must not be the first to go.
    const spare = this.#running.filter((one) => this.pages.mayGrow(one)).length;
    const nFound = this.pages.start(sequence, spare);
    if (nFound < 0) return false;
    if (sequence.nPlaced === 0) {
      this.counts.nLookedUp += sequence.nPrompt;
      this.#ledger.charge(sequence.client, sequence.nPrompt);
    }
    sequence.slot = this.#freeSlots.pop()!;
    sequence.nPast = sequence.nDone = nFound;
    sequence.nPending = 0;
    sequence.nPlaced++;
    this.#found(sequence, nFound);
    sequence.epoch++;
    sequence.state = "running";
    let at = this.#running.length;
    while (at > 0 && this.#running[at - 1]!.age > sequence.age) at--;
    this.#running.splice(at, 0, sequence);
    this.#findLead(sequence);
    return true;
  }

  /** An older one that computes the same beginning: it is computed once, and the younger one waits for it. */
  #findLead(sequence: Sequence): void {
    sequence.lead = undefined;
    for (const leader of this.#running) {
      if (leader.age >= sequence.age) return;
      // One that waits itself may have more in common, and can lead when it goes on: the search is made again then.
      if (!leader.isPrefilling || leader.lead !== undefined) continue;
      const nTokens = this.pages.alike(leader, sequence);
      if (nTokens <= Math.max(sequence.nDone, sequence.lead?.nTokens ?? 0)) continue;
      sequence.lead = { leader, nPlaced: leader.nPlaced, nTokens };
    }
  }

  /** When the one that computes a sequence's beginning has done so, or has left, the sequence goes on from there. */
  #follow(sequence: Sequence, { leader, nPlaced, nTokens }: Lead): void {
    const isThere = leader.state === "running" && leader.nPlaced === nPlaced;
    if (isThere && leader.nDone < nTokens && leader.credit > 0) return;
    if (isThere) this.pages.remember(leader);
    const nThere = this.pages.catchUp(sequence);
    this.#found(sequence, nThere - sequence.nDone);
    sequence.nPast = sequence.nDone = nThere;
    this.#findLead(sequence);
  }

  #found(sequence: Sequence, nTokens: number): void {
    if (sequence.nPlaced > 1) return;
    sequence.nCached += nTokens;
    this.#ledger.charge(sequence.client, -nTokens);
    this.counts.nFound += nTokens;
  }

  /** Pages for a sequence's next token. False when it was itself the one to lose its place. */
  #makeRoom(sequence: Sequence, length: number): boolean {
    while (!this.pages.grow(sequence, length)) {
      const victim = this.#running.findLast(({ isParked }) => isParked) ?? this.#running.at(-1);
      this.#preempt(victim);
      if (victim === sequence) return false;
    }
    return true;
  }

  #preempt(victim: Sequence | undefined): boolean {
    if (victim === undefined) return false;
    this.counts.nPreemptions++;
    this.#leave(victim);
    victim.state = "waiting";
    this.#waiting.add(victim);
    return true;
  }

  #leave(sequence: Sequence): void {
    this.pages.end(sequence);
    this.#freeSlots.push(sequence.slot);
    sequence.slot = -1;
    this.#running.splice(this.#running.indexOf(sequence), 1);
  }
}
