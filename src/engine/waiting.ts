/**
 * Sequences without a place, oldest first. The oldest is placed first; when it does not fit, younger ones that do may
 * pass it, but each is passed a few times only: then nobody is placed before it. One that lost its place is not passed.
 */
import type { Sequence } from "./sequence.ts";

/** How often a sequence may be passed by younger ones. */
export const PASSES_MAX = 8;
/** How many sequences are tried for a place at a time. */
const TRIES_MAX = 4;

/** The queue. */
export class Waiting {
  readonly #sequences: Sequence[] = [];
  /** No sequence's time to wait ends before this. */
  #nextDeadline = Infinity;

  /** Sequences in it. */
  get length(): number {
    return this.#sequences.length;
  }

  /** Whether anybody in it could go on. */
  get hasReader(): boolean {
    return this.#sequences.some(({ credit }) => credit > 0);
  }

  /** Oldest first. */
  [Symbol.iterator](): Iterator<Sequence> {
    return this.#sequences[Symbol.iterator]();
  }

  /** Puts a sequence in its place by age. */
  add(sequence: Sequence): void {
    let at = this.#sequences.length;
    while (at > 0 && this.#sequences[at - 1]!.age > sequence.age) at--;
    this.#sequences.splice(at, 0, sequence);
    if (sequence.nPlaced === 0) this.#nextDeadline = Math.min(this.#nextDeadline, sequence.deadline);
  }

  /** Removes a sequence, if it is there. */
  remove(sequence: Sequence): void {
    const at = this.#sequences.indexOf(sequence);
    if (at >= 0) this.#sequences.splice(at, 1);
  }

  /** Takes out the next sequence for which `place` finds a place. */
  take(place: (sequence: Sequence) => boolean): Sequence | undefined {
    const passed: Sequence[] = [];
    for (const sequence of this.#sequences) {
      if (sequence.credit <= 0) continue; // nobody reads it
      if (place(sequence)) {
        for (const one of passed) one.nPassed++;
        sequence.nPassed = 0;
        this.remove(sequence);
        return sequence;
      }
      passed.push(sequence);
      if (sequence.nPlaced > 0 || sequence.nPassed >= PASSES_MAX || passed.length >= TRIES_MAX) return undefined;
    }
    return undefined;
  }

  /** Takes out those that never had a place and whose time to wait is over. */
  expired(now: number): Sequence[] {
    if (now < this.#nextDeadline) return [];
    const isLate = ({ nPlaced, deadline }: Sequence): boolean => nPlaced === 0 && deadline <= now;
    const late = this.#sequences.filter(isLate);
    for (const sequence of late) this.remove(sequence);
    const deadlines = this.#sequences.map(({ nPlaced, deadline }) => nPlaced === 0 ? deadline : Infinity);
    this.#nextDeadline = deadlines.reduce((a, b) => Math.min(a, b), Infinity);
    return late;
  }
}
