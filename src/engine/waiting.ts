/**
 * Sequences without a place. Places go to the client that was given least, to its oldest sequence first. Nobody waits
 * for ever: a sequence that does not fit is passed a few times only, and so is a client's oldest by others that are
 * younger; then it is due, as one that lost its place is, and nobody is placed before those that are due.
 */
import type { Ledger } from "./ledger.ts";
import type { Sequence } from "./sequence.ts";

/** How often a sequence that does not fit may be passed. */
export const PASSES_MAX = 8;
/** How often a client's oldest sequence may be overtaken by younger ones of clients that were given less. */
export const OVERTAKES_MAX = 64;
/** How many sequences are tried for a place at a time. */
const TRIES_MAX = 4;

/** Whether a sequence goes before all that are not due. */
export function isDue({ nPlaced, nPassed, nOvertaken }: Sequence): boolean {
  return nPlaced > 0 || nPassed >= PASSES_MAX || nOvertaken >= OVERTAKES_MAX;
}

/** Puts a sequence in its place by age. */
function insert(list: Sequence[], sequence: Sequence): void {
  let at = list.length;
  while (at > 0 && list[at - 1]!.age > sequence.age) at--;
  list.splice(at, 0, sequence);
}

/** The first that somebody reads. */
function firstRead(list: readonly Sequence[]): Sequence | undefined {
  return list.find(({ credit }) => credit > 0);
}

/** The queue. */
export class Waiting {
  readonly #ledger: Ledger;
  /** Those that are due, oldest first. */
  readonly #due: Sequence[] = [];
  /** The others by client, oldest first; no list is empty. */
  readonly #byClient = new Map<string, Sequence[]>();
  #length = 0;
  /** No sequence's time to wait ends before this. */
  #nextDeadline = Infinity;

  /** The ledger knows the clients of all sequences that come. */
  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Sequences in it. */
  get length(): number {
    return this.#length;
  }

  /** Whether anybody in it could go on. */
  get hasReader(): boolean {
    return this.#lists().some((list) => firstRead(list) !== undefined);
  }

  /** Oldest first. */
  [Symbol.iterator](): Iterator<Sequence> {
    return this.#lists().flat().sort((a, b) => a.age - b.age)[Symbol.iterator]();
  }

  /** Takes a sequence in. */
  add(sequence: Sequence): void {
    this.#length++;
    const { client } = sequence;
    if (!isDue(sequence) && !this.#byClient.has(client)) this.#byClient.set(client, []);
    insert(this.#listWith(sequence), sequence);
    if (sequence.nPlaced === 0) this.#nextDeadline = Math.min(this.#nextDeadline, sequence.deadline);
  }

  /** Removes a sequence, if it is there. */
  remove(sequence: Sequence): void {
    this.#removeFrom(this.#listWith(sequence), sequence);
  }

  /** Takes out the next sequence for which `place` finds a place. */
  take(place: (sequence: Sequence) => boolean): Sequence | undefined {
    const due = firstRead(this.#due);
    if (due !== undefined) return this.#try(due, place) ? due : undefined;
    const passed: Sequence[] = [];
    for (const sequence of this.#inTurn()) {
      if (this.#try(sequence, place)) {
        this.#overtake(sequence, passed);
        return sequence;
      }
      passed.push(sequence);
      if (passed.length >= TRIES_MAX) return undefined;
    }
    return undefined;
  }

  /** Takes out those that never had a place and whose time to wait is over. */
  expired(now: number): Sequence[] {
    if (now < this.#nextDeadline) return [];
    const waiting = [...this].filter(({ nPlaced }) => nPlaced === 0);
    const late = waiting.filter(({ deadline }) => deadline <= now);
    for (const sequence of late) this.remove(sequence);
    this.#nextDeadline = waiting.reduce(
      (min, { deadline }) => deadline <= now ? min : Math.min(min, deadline),
      Infinity,
    );
    return late;
  }

  #lists(): Sequence[][] {
    return [this.#due, ...this.#byClient.values()];
  }

  /** Where a sequence is, if it is there; a list for that moment when its client has none. */
  #listWith(sequence: Sequence): Sequence[] {
    return isDue(sequence) ? this.#due : this.#byClient.get(sequence.client) ?? [];
  }

  #removeFrom(list: Sequence[], sequence: Sequence): void {
    const at = list.indexOf(sequence);
    if (at < 0) return;
    list.splice(at, 1);
    this.#length--;
    if (list.length === 0 && list !== this.#due) this.#byClient.delete(sequence.client);
  }

  #try(sequence: Sequence, place: (sequence: Sequence) => boolean): boolean {
    const list = this.#listWith(sequence); // having a place, it is due
    if (!place(sequence)) return false;
    this.#removeFrom(list, sequence);
    return true;
  }

  /** Those that are not due in the order in which they are tried: clients by what they were given, then by age. */
  *#inTurn(): Generator<Sequence, void, undefined> {
    const queues = [...this.#byClient].map(([client, list]) => ({
      given: this.#ledger.given(client),
      list: list.filter(({ credit }) => credit > 0),
      at: 0,
    }));
    for (;;) {
      let next: (typeof queues)[number] | undefined;
      for (const queue of queues) {
        if (queue.at === queue.list.length) continue;
        const isFirst = next === undefined || queue.given < next.given ||
          (queue.given === next.given && queue.list[queue.at]!.age < next.list[next.at]!.age);
        if (isFirst) next = queue;
      }
      if (next === undefined) return;
      yield next.list[next.at++]!;
    }
  }

  /** Counts at those that a placed sequence went before; who had enough of that is due. */
  #overtake(placed: Sequence, passed: readonly Sequence[]): void {
    const behind = [...this.#byClient.values()].map(firstRead).filter((one) =>
      one !== undefined && one.age < placed.age
    );
    for (const [list, counter] of [[passed, "nPassed"], [behind as Sequence[], "nOvertaken"]] as const) {
      for (const sequence of list) {
        if (isDue(sequence)) continue;
        this.remove(sequence);
        sequence[counter]++;
        this.add(sequence);
      }
    }
  }
}
