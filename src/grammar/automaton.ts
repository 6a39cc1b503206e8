/**
 * A grammar as a pushdown automaton over bytes, in one Int32Array. A state is its offset in the array; word 0 is the
 * start state, and 0 as a target means "nowhere". The automaton is nondeterministic: machine.ts follows all ways at
 * once. Its stack holds frames: where a rule returns to, or the counter of a loop.
 */
import { RealizarError } from "../errors.ts";
import type { Budget } from "./budget.ts";
import type { WireGrammar } from "./wire.ts";

/** Kinds of states and the words that follow. Ranges of one state do not overlap. */
export const STATE = {
  /** n, then n times (low | high << 8, target): takes a byte in low ... high. */
  bytes: 0,
  /** The same; takes any character of a JSON string that needs no escape, and comes back for the next one. */
  plain: 1,
  /** n, then n targets: goes on at all of them. */
  split: 2,
  /** start, after: pushes a frame, goes to a rule's start; the rule returns to `after`. */
  call: 3,
  /** Pops a rule's frame and goes to its `after`. */
  return: 4,
  /** head: pushes a counter of 0 for a loop and goes to its head. */
  enter: 5,
  /** min, max (-1 = any number), body, exit: another round, or pop the counter and leave. The body is never empty. */
  head: 6,
  /** The end of a loop's body: counts one up and goes to the head of the topmost frame. */
  step: 7,
  /** The text may end here. */
  accept: 8,
  /** Text is free here: tokens without text may be generated. */
  free: 9,
  /** Tokens without text may be generated whose names are what may come here. */
  control: 10,
} as const;

/** A part of a grammar: builds states that match it and then go on at `next`, and returns the first of them. */
export interface Part {
  /** Whether it matches the empty text; of a rule only known once all rules are. */
  readonly nullable: boolean;
  /** Adds states to a graph. */
  build(graph: Graph, next: number): number;
}

/** A part with a name that several places use, and that may use itself. */
export class Rule implements Part {
  nullable = false;
  readonly #make: () => Part;

  /** `make` is called once, when some part that is built uses the rule. */
  constructor(make: () => Part) {
    this.#make = make;
  }

  build(graph: Graph, next: number): number {
    return graph.call(this, next);
  }

  /** What the rule matches. */
  part(): Part {
    return this.#make();
  }
}

/** An automaton being built, back to front: a state is added when its targets are known, or patched later. */
export class Graph {
  readonly budget: Budget;
  #words = new Int32Array(1024);
  #length = 1;
  readonly #states: number[] = [];
  readonly #rules = new Map<Rule, number>();
  readonly #queue: Rule[] = [];

  /** The state in which rules end. */
  readonly returned: number;

  constructor(budget: Budget) {
    this.budget = budget;
    this.returned = this.add(STATE.return);
  }

  /** Adds a state of these words and returns it. */
  add(...words: number[]): number {
    this.budget.charge();
    if (this.#length + words.length > this.#words.length) {
      const grown = new Int32Array(2 * (this.#length + words.length));
      grown.set(this.#words);
      this.#words = grown;
    }
    const state = this.#length;
    this.#words.set(words, state);
    this.#length += words.length;
    this.#states.push(state);
    return state;
  }

  /** Takes a byte of one of the ranges (low, high, target), in any order. */
  bytes(ranges: readonly (readonly [low: number, high: number, target: number])[], plain = false): number {
    this.budget.charge(ranges.length >> 3);
    const words: number[] = [plain ? STATE.plain : STATE.bytes, ranges.length];
    for (const [low, high, target] of ranges) words.push(low | (high << 8), target);
    return this.add(...words);
  }

  /** Takes one byte. */
  byte(byte: number, target: number): number {
    return this.add(STATE.bytes, 1, byte | (byte << 8), target);
  }

  /** Goes on at all targets; none at all is a dead end. */
  split(targets: readonly number[]): number {
    if (targets.length === 1) return targets[0]!;
    this.budget.charge(targets.length >> 3);
    return this.add(STATE.split, targets.length, ...targets);
  }

  /** A state that goes on where {@linkcode Graph.patch} says. */
  hole(): number {
    return this.add(STATE.split, 1, 0);
  }

  /** Sets the target of a hole. */
  patch(hole: number, target: number): void {
    this.#words[hole + 2] = target;
  }

  /** A rule, then `next`. */
  call(rule: Rule, next: number): number {
    let index = this.#rules.get(rule);
    if (index === undefined) {
      index = this.#rules.size;
      this.#rules.set(rule, index);
      this.#queue.push(rule);
    }
    return this.add(STATE.call, index, next);
  }

  /** `part` again and again, `min` to `max` (-1 = any number of) times, counted by a frame. It must not be nullable. */
  loop(body: (step: number) => number, min: number, max: number, next: number): number {
    const head = this.add(STATE.head, min, max, 0, next);
    const first = body(this.add(STATE.step));
    this.#words[head + 3] = first; // adding states may have moved the words
    return this.add(STATE.enter, head);
  }

  /** The finished automaton for `part` from the start to the end. Throws `ARG` when no text fits it. */
  static compile(part: Part, budget: Budget): WireGrammar {
    const graph = new Graph(budget);
    const start = part.build(graph, graph.add(STATE.accept));
    return graph.#finish(start);
  }

  #finish(start: number): WireGrammar {
    const starts: number[] = [];
    for (let rule = this.#queue.shift(); rule !== undefined; rule = this.#queue.shift()) {
      starts.push(rule.part().build(this, this.returned));
    }
    const words = new Int32Array(new SharedArrayBuffer(4 * this.#length));
    words.set(this.#words.subarray(0, this.#length));
    for (const state of this.#states) {
      if (words[state] === STATE.call) words[state + 1] = starts[words[state + 1]!]!;
    }
    const alive = this.#alive(words);
    if (alive[start] === 0) throw new RealizarError("ARG", "no text fits the grammar");
    for (const state of this.#states) cut(words, state, alive);
    words[0] = start;
    return { words };
  }

  /** 1 for each state from which an end can be reached; [words]. */
  #alive(words: Int32Array): Uint8Array {
    const alive = new Uint8Array(words.length);
    for (let changed = true; changed;) {
      this.budget.look();
      changed = false;
      for (const state of this.#states) {
        if (alive[state] === 1 || !reachesEnd(words, state, alive)) continue;
        alive[state] = 1;
        changed = true;
      }
    }
    return alive;
  }
}

function reachesEnd(words: Int32Array, state: number, alive: Uint8Array): boolean {
  const [a, b] = [words[state + 1]!, words[state + 2]!];
  switch (words[state]) {
    case STATE.bytes:
    case STATE.plain:
      for (let i = 0; i < a; i++) if (alive[words[state + 3 + 2 * i]!] === 1) return true;
      return false;
    case STATE.split:
      for (let i = 0; i < a; i++) if (alive[words[state + 2 + i]!] === 1) return true;
      return false;
    case STATE.call:
      return alive[a] === 1 && alive[b] === 1;
    case STATE.enter:
      return alive[a] === 1;
    case STATE.head:
      return (a === 0 || alive[words[state + 3]!] === 1) && alive[words[state + 4]!] === 1;
    case STATE.free:
    case STATE.control:
      return false;
    default:
      return true; // return, step, accept
  }
}

/** Takes away the targets from which no end can be reached, so that nobody is led there. */
function cut(words: Int32Array, state: number, alive: Uint8Array): void {
  const keep = (at: number): void => {
    const target = words[at]!;
    if (alive[target] !== 1 && words[target]! < STATE.free) words[at] = 0;
  };
  const kind = words[state];
  const n = words[state + 1]!;
  if (kind === STATE.bytes || kind === STATE.plain) {
    for (let i = 0; i < n; i++) keep(state + 3 + 2 * i);
  } else if (kind === STATE.split) {
    for (let i = 0; i < n; i++) keep(state + 2 + i);
  } else if (kind === STATE.head) keep(state + 3);
}
