/** What scheduler_world.ts checks of turns and of scores. */
import type { PlannedStep } from "../src/engine/planned_step.ts";
import type { Sequence } from "../src/engine/sequence.ts";
import { OVERTAKES_MAX, PASSES_MAX } from "../src/engine/waiting.ts";
import { must } from "./dice.ts";

/** Clients with one request each, who see few others get a place before them, however much those ask for. */
export class Guests {
  /** How many others may still get a place before a guest. */
  readonly #patience = new Map<Sequence, number>();

  /** A guest came; the others were here. Each of their clients may go first, and some who fit where it does not. */
  came(guest: Sequence, others: readonly Sequence[]): void {
    this.#patience.set(guest, new Set(others.map(({ client }) => client)).size + PASSES_MAX);
  }

  /** Sequences got a place; returns how many guests are among them. */
  placed(started: readonly Sequence[]): number {
    let nGuests = 0;
    for (const sequence of started) {
      if (this.#patience.delete(sequence)) nGuests++;
      const { nPlaced, nPassed, nOvertaken } = sequence;
      if (nPlaced > 1 || nPassed >= PASSES_MAX || nOvertaken >= OVERTAKES_MAX) continue; // it was due
      for (const [guest, patience] of this.#patience) {
        if (guest.credit <= 0) continue;
        must(patience > 0, () => `guest ${guest.id} waits, and sequence ${sequence.id} has a place`);
        this.#patience.set(guest, patience - 1);
      }
    }
    return nGuests;
  }

  /** A sequence ended, wherever it was. */
  ended(sequence: Sequence): void {
    this.#patience.delete(sequence);
  }
}

/** Scores of a prompt are of the tokens that follow those known, each from the row before it. */
export function checkScores({ seqs, outs, entries }: PlannedStep, sequence: Sequence, first: number, n: number): void {
  must(sequence.promptTop !== undefined, () => `nobody asked for scores of ${sequence.id}`);
  const s = entries.findIndex((entry) => entry.sequence === sequence);
  const firstRow = seqs.slice(0, s).reduce((sum, { tokens }) => sum + tokens.length, 0);
  for (let i = 0; i < n; i++) {
    const { row, target, drawPosition } = outs[first + i]!;
    const token = sequence.nScored - n + i;
    const position = seqs[s]!.nPast + row - firstRow;
    must(
      position === token - 1 && target === sequence.tokens[token] && drawPosition === token,
      () => `sequence ${sequence.id}: token ${token} is scored by row ${row}, position ${position}`,
    );
  }
}
