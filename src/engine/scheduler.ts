/**
 * Which sequences and tokens make the next step. Pure: no clock, no native call, no message. The loop asks for a step,
 * submits it, and says how it went; it may ask for the next one before that (one step ahead of the host).
 *
 * A step holds one token of every sequence that decodes, and with what is left of its token budget chunks of prompts in
 * order of arrival. Every running sequence can have pages for the whole context, so a step never lacks memory.
 */
import { type BatchOut, type BatchSeq, LAST_SAMPLE, OUT_MODES } from "./batch.ts";
import { PagePool } from "./pages.ts";
import { PrefixIndex } from "./prefix_index.ts";
import { Sequence, type SequenceRequest } from "./sequence.ts";

/** A cache group as the scheduler sees it. */
export interface SchedulerGroup {
  pageTokens: number;
  /** With the null page. */
  nPages: number;
  /** 0 = all tokens. */
  window: number;
}

/** Sizes of the cache and of a step. */
export interface SchedulerOptions {
  maxSequences: number;
  groups: readonly SchedulerGroup[];
}

/** A sequence's part in a step. */
export interface StepEntry {
  sequence: Sequence;
  epoch: number;
  /** Tokens submitted after this step. */
  nPastAfter: number;
  /** Index of its out; -1 = none, a prompt chunk that is not the last. */
  out: number;
}

/** A step to submit. */
export interface PlannedStep {
  seqs: BatchSeq[];
  outs: BatchOut[];
  entries: StepEntry[];
  nTokens: number;
}

/** The scheduler of one model. */
export class Scheduler {
  readonly #options: SchedulerOptions;
  readonly #pools: PagePool[];
  readonly #index: PrefixIndex | undefined;
  readonly #freeSlots: number[];
  readonly #running: Sequence[] = [];
  readonly #waiting: Sequence[] = [];

  constructor(options: SchedulerOptions) {
    this.#options = options;
    this.#pools = options.groups.map((group) => new PagePool(group.nPages));
    // Windows free pages, and several groups would have to agree: prefixes are kept for one full group only.
    const [group] = options.groups;
    if (options.groups.length === 1 && group!.window === 0) {
      this.#index = new PrefixIndex(this.#pools[0]!, group!.pageTokens);
    }
    this.#freeSlots = Array.from({ length: options.maxSequences }, (_, i) => options.maxSequences - 1 - i);
  }

  /** Sequences waiting for a place. */
  get nWaiting(): number {
    return this.#waiting.length;
  }

  /** Every sequence that has not ended. */
  get sequences(): Sequence[] {
    return [...this.#running, ...this.#waiting];
  }

  /** Takes a new sequence in; it waits for a place. */
  add(request: SequenceRequest): Sequence {
    const sequence = new Sequence(request);
    this.#waiting.push(sequence);
    return sequence;
  }

  /**
   * The next step of at most `nTokensMax` tokens, prompts taking at most `nPromptMax` of them; undefined when nothing
   * can run now. Sequences that got a place are added to `started`.
   */
  next(nTokensMax: number, nPromptMax: number, started: Sequence[]): PlannedStep | undefined {
    this.#admit(started);
    const step: PlannedStep = { seqs: [], outs: [], entries: [], nTokens: 0 };
    for (const sequence of this.#running) {
      const decodes = sequence.nKnownLeft === 0 ? sequence.nPending > 0 : sequence.nKnownLeft === 1;
      if (decodes && sequence.maySample && step.nTokens < nTokensMax) this.#take(step, sequence, 1);
    }
    let nPrompt = Math.min(nPromptMax, nTokensMax - step.nTokens);
    for (const sequence of this.#running) {
      if (sequence.nKnownLeft <= 1 || nPrompt <= 0) continue;
      const n = Math.min(sequence.nKnownLeft, nPrompt);
      if (n === sequence.nKnownLeft && !sequence.maySample) continue;
      this.#take(step, sequence, n);
      nPrompt -= n;
    }
    return step.nTokens === 0 ? undefined : step;
  }

  /** A step succeeded: for each entry still of interest with an out, `accept` gets its sequence and the out's index. */
  finished(step: PlannedStep, accept: (sequence: Sequence, out: number) => void): void {
    for (const { sequence, epoch, nPastAfter, out } of step.entries) {
      if (sequence.epoch !== epoch || sequence.state !== "running") continue;
      sequence.nDone = nPastAfter;
      if (nPastAfter === sequence.nPrompt) this.#remember(sequence);
      if (out < 0) continue;
      sequence.nPending--;
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

  /** Ends a sequence; its place and pages are free for the next step, its full pages stay findable. */
  end(sequence: Sequence): void {
    if (sequence.state === "running") this.#release(sequence);
    const at = this.#waiting.indexOf(sequence);
    if (at >= 0) this.#waiting.splice(at, 1);
    sequence.state = "ended";
  }

  #admit(started: Sequence[]): void {
    for (const sequence of this.#waiting.filter((one) => one.credit > 0)) {
      if (this.#freeSlots.length === 0 && !this.#preemptParked()) return;
      this.#waiting.splice(this.#waiting.indexOf(sequence), 1);
      this.#place(sequence);
      started.push(sequence);
    }
  }

  #place(sequence: Sequence): void {
    sequence.slot = this.#freeSlots.pop()!;
    sequence.pages = this.#options.groups.map(() => []);
    sequence.nPast = 0;
    if (this.#index !== undefined) {
      const { pageTokens } = this.#options.groups[0]!;
      // The last token is always computed: its logits are wanted.
      const pages = this.#index.take(sequence.tokens, Math.floor((sequence.tokens.length - 1) / pageTokens));
      sequence.pages[0] = pages;
      sequence.nPast = pages.length * pageTokens;
    }
    if (sequence.epoch === 0) sequence.nCached = sequence.nPast;
    sequence.nDone = sequence.nPast;
    sequence.nPending = 0;
    sequence.epoch++;
    sequence.state = "running";
    this.#running.push(sequence);
  }

  /** A reader that does not keep up gives its place to one that waits; it goes on later from its tokens. */
  #preemptParked(): boolean {
    const parked = this.#running.find((sequence) => sequence.isParked);
    if (parked === undefined) return false;
    this.#release(parked);
    parked.state = "waiting";
    this.#waiting.push(parked);
    return true;
  }

  #release(sequence: Sequence): void {
    this.#remember(sequence);
    for (const [g, pages] of sequence.pages.entries()) for (const page of pages) this.#pools[g]!.release(page);
    sequence.pages = [];
    this.#freeSlots.push(sequence.slot);
    sequence.slot = -1;
    this.#running.splice(this.#running.indexOf(sequence), 1);
  }

  #remember(sequence: Sequence): void {
    if (this.#index === undefined) return;
    const nPages = Math.floor(Math.min(sequence.nDone, sequence.tokens.length) / this.#options.groups[0]!.pageTokens);
    this.#index.put(sequence.tokens, sequence.pages[0]!, nPages);
  }

  /** Adds n tokens of a sequence to the step. */
  #take(step: PlannedStep, sequence: Sequence, n: number): void {
    const { nPast } = sequence;
    const known = sequence.nKnownLeft > 0;
    const nPastAfter = nPast + n;
    const tokens = known ? sequence.tokens.slice(nPast, nPastAfter) : [LAST_SAMPLE];
    this.#growPages(sequence, nPastAfter);
    const { groups } = this.#options;
    // A table may be longer than this step needs: a step that was undone had grown it.
    const pages = sequence.pages.map((table, g) => table.slice(0, Math.ceil(nPastAfter / groups[g]!.pageTokens)));
    step.seqs.push({ slot: sequence.slot, nPast, tokens, pages });
    step.nTokens += n;
    sequence.nPast = nPastAfter;
    const isLast = nPastAfter >= sequence.tokens.length;
    const out = isLast ? step.outs.length : -1;
    if (isLast) {
      const { sampling, penaltyWindow } = sequence;
      const penaltyFrom = penaltyWindow === 0 ? 0 : Math.max(0, nPastAfter - penaltyWindow);
      step.outs.push({
        row: step.nTokens - 1,
        mode: OUT_MODES.sample,
        sampling,
        penaltyFrom,
        drawPosition: nPastAfter,
      });
      sequence.nPending++;
    }
    step.entries.push({ sequence, epoch: sequence.epoch, nPastAfter, out });
  }

  /** Pages for positions below `length`; pages that a window has passed are given back. */
  #growPages(sequence: Sequence, length: number): void {
    for (const [g, group] of this.#options.groups.entries()) {
      const table = sequence.pages[g]!;
      while (table.length * group.pageTokens < length) table.push(this.#allocate(g));
      if (group.window === 0) continue;
      const firstSeen = sequence.nPast - group.window + 1;
      for (let i = 0; (i + 1) * group.pageTokens <= firstSeen; i++) {
        this.#pools[g]!.release(table[i]!);
        table[i] = 0;
      }
    }
  }

  #allocate(group: number): number {
    const pool = this.#pools[group]!;
    while (pool.free === 0 && this.#index?.evict()) { /* until a page is free */ }
    return pool.allocate();
  }
}
