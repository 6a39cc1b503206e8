/** One step of the automaton: which leaves are reached from where, with all ways followed at once. */
import { RealizarError } from "../errors.ts";
import { STATE } from "./automaton.ts";
import type { Frames } from "./frames.ts";

/**
 * Where all ways are: pairs (state, topmost frame), ascending, of the kinds that wait for something (`bytes`,
 * `plain`, `accept`, `free`), or (ESCAPED, bottom) for a way that returned below what is known.
 */
export type Leaves = Int32Array;

/** The state of a pair that returned below bottom -1 - i: its frame is that bottom. */
export const ESCAPED = -1;

/** Work of one mask or token: pairs looked at. A grammar that needs more is too ambiguous. */
const MAX_WORK = 1 << 20;
/** Pairs of one set of leaves. */
const MAX_LEAVES = 1 << 14;

/** Follows an automaton over a store of frames. */
export class Follower {
  readonly words: Int32Array;
  readonly frames: Frames;
  #work = 0;
  readonly #seen = new Set<number>();
  /** Pairs still to be looked at, and leaves found, both (state, frame). */
  readonly #open: number[] = [];
  readonly #found: number[] = [];

  constructor(words: Int32Array, frames: Frames) {
    this.words = words;
    this.frames = frames;
  }

  /** Begins the count of a mask's or token's work. */
  restart(): void {
    this.#work = 0;
  }

  /** The leaves that the start state leads to. */
  start(): Leaves {
    this.#open.push(this.words[0]!, -1);
    return this.#close();
  }

  /** The leaves after a rule, whose frame this is, returned. */
  after(frame: number): Leaves {
    this.#open.push(this.frames.state[frame]!, this.frames.below[frame]!);
    return this.#close();
  }

  /** The leaves after a byte; empty when it does not fit. */
  advance(leaves: Leaves, byte: number): Leaves {
    const { words } = this;
    for (let i = 0; i < leaves.length; i += 2) {
      const state = leaves[i]!;
      if (state < 0 || words[state]! > STATE.plain) continue;
      const end = state + 2 + 2 * words[state + 1]!;
      for (let at = state + 2; at < end; at += 2) {
        const range = words[at]!;
        if (byte < (range & 0xff) || byte > range >> 8) continue;
        const target = words[at + 1]!;
        // Most targets wait for a byte again: they are leaves as they are.
        if (words[target]! <= STATE.plain && target !== 0) this.#found.push(target, leaves[i + 1]!);
        else if (target !== 0) this.#open.push(target, leaves[i + 1]!);
        break;
      }
    }
    this.#work += leaves.length >> 1;
    return this.#close();
  }

  /** Follows everything in `#open` to its leaves; together with those in `#found` they are the result. */
  #close(): Leaves {
    const open = this.#open, found = this.#found, seen = this.#seen;
    if (open.length > 0) seen.clear();
    while (open.length > 0) {
      const frame = open.pop()!, state = open.pop()!;
      // States are below 2^27 and frames below 2^25: the budget of states and the work of a mask see to it.
      const key = state * 2 ** 26 + (frame + 2 ** 25);
      if (seen.has(key)) continue;
      seen.add(key);
      this.#work++;
      if (this.#work > MAX_WORK || found.length > 2 * MAX_LEAVES) this.#tooMuch();
      this.#follow(state, frame);
    }
    if (this.#work > MAX_WORK) this.#tooMuch();
    const leaves = sortPairs(Int32Array.from(found));
    found.length = 0;
    return leaves;
  }

  #follow(state: number, frame: number): void {
    const { words, frames } = this;
    const open = this.#open;
    switch (words[state]) {
      case STATE.split:
        for (let i = 0; i < words[state + 1]!; i++) {
          const target = words[state + 2 + i]!;
          if (target !== 0) open.push(target, frame);
        }
        return;
      case STATE.call: {
        const after = words[state + 2]!;
        // A call at the end of a rule needs no frame of its own: right recursion does not grow the stack.
        open.push(words[state + 1]!, words[after] === STATE.return ? frame : frames.push(after, 0, frame));
        return;
      }
      case STATE.return:
        if (frame < 0) this.#found.push(ESCAPED, frame);
        else open.push(frames.state[frame]!, frames.below[frame]!);
        return;
      case STATE.enter:
        open.push(words[state + 1]!, frames.push(words[state + 1]!, 0, frame));
        return;
      case STATE.step: {
        const head = frames.state[frame]!;
        const min = words[head + 1]!, max = words[head + 2]!;
        const next = frames.count[frame]! + 1;
        open.push(head, frames.push(head, max < 0 ? Math.min(next, min) : next, frames.below[frame]!));
        return;
      }
      case STATE.head: {
        const min = words[state + 1]!, max = words[state + 2]!, body = words[state + 3]!;
        const count = frames.count[frame]!;
        if ((max < 0 || count < max) && body !== 0) open.push(body, frame);
        if (count >= min) open.push(words[state + 4]!, frames.below[frame]!);
        return;
      }
      default:
        this.#found.push(state, frame);
    }
  }

  #tooMuch(): never {
    this.#open.length = 0;
    this.#found.length = 0;
    throw new RealizarError("LIMIT", "the grammar is too ambiguous: too many ways to read the text so far");
  }
}

/** Sorts pairs by their first, then their second number, each pair once. */
export function sortPairs(pairs: Int32Array): Int32Array {
  const n = pairs.length;
  let sorted = true;
  for (let i = 2; i < n && sorted; i += 2) {
    sorted = pairs[i - 2]! < pairs[i]! || (pairs[i - 2] === pairs[i] && pairs[i - 1]! < pairs[i + 1]!);
  }
  if (sorted) return pairs;
  const keys = new Float64Array(n / 2);
  for (let i = 0; i < keys.length; i++) keys[i] = pairs[2 * i]! * 2 ** 26 + (pairs[2 * i + 1]! + 2 ** 25);
  keys.sort();
  let end = 0;
  for (const [i, key] of keys.entries()) {
    if (i > 0 && key === keys[i - 1]) continue;
    const state = Math.floor(key / 2 ** 26);
    pairs[end++] = state;
    pairs[end++] = key - state * 2 ** 26 - 2 ** 25;
  }
  return pairs.slice(0, end);
}
