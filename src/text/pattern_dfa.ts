/**
 * A pattern as a deterministic automaton over code points: the match that a backtracking engine would find first
 * (leftmost alternative, greedy repetition), in one pass over the text, with a fixed version of Unicode.
 */
import { RealizarError } from "../errors.ts";
import { CODE_POINTS, type CodePointSet } from "./code_points.ts";
import { parsePattern, type PatternNode } from "./pattern_parse.ts";

/** More states than any pattern in use has (jais-2, the largest, has about a thousand). */
const MAX_STATES = 4096;
const BLOCK = 128;

/**
 * State of the nondeterministic automaton: consume a code point of a set, or check that the next one is in a set
 * (or the text ends, when `end`), or go on in both places, the first preferred, or accept.
 */
type Step =
  | { kind: "consume" | "check"; set: number; end: boolean; next: number }
  | { kind: "fork"; first: number; second: number }
  | { kind: "accept" };

/** Builds the steps of a pattern back to front: each node is compiled knowing where to go on. */
function compileSteps(root: PatternNode): { steps: Step[]; sets: CodePointSet[]; start: number } {
  const steps: Step[] = [{ kind: "accept" }];
  const sets: CodePointSet[] = [];
  const add = (step: Step): number => steps.push(step) - 1;
  const indexOf = (set: CodePointSet): number => {
    const known = sets.findIndex((other) => other === set || other.join() === set.join());
    return known >= 0 ? known : sets.push(set) - 1;
  };
  const compile = (node: PatternNode, next: number): number => {
    if (node.kind === "set") return add({ kind: "consume", set: indexOf(node.set), end: false, next });
    if (node.kind === "next") return add({ kind: "check", set: indexOf(node.set), end: node.end, next });
    if (node.kind === "sequence") return node.items.reduceRight((after, item) => compile(item, after), next);
    if (node.kind === "choice") {
      return node.items.map((item) => compile(item, next)).reduceRight((second, first) =>
        add({ kind: "fork", first, second })
      );
    }
    let after = next;
    if (node.max === Infinity) {
      const loop: Step = { kind: "fork", first: 0, second: next };
      after = add(loop);
      loop.first = compile(node.item, after);
    } else {
      for (let i = node.min; i < node.max; i++) {
        after = add({ kind: "fork", first: compile(node.item, after), second: next });
      }
    }
    for (let i = 0; i < node.min; i++) after = compile(node.item, after);
    return after;
  };
  return { start: compile(root, 0), steps, sets };
}

/** Classes of code points that no set of the pattern tells apart. */
interface Classes {
  /** Which sets hold the code points of each class: [classes][sets]. */
  readonly members: readonly (readonly boolean[])[];
  /** Block of every 128 code points, and the class of every code point of each block. */
  readonly blocks: Uint16Array;
  readonly classes: Uint8Array;
}

function buildClasses(sets: readonly CodePointSet[]): Classes {
  const edges = new Set<number>([0]);
  for (const set of sets) {
    for (let i = 0; i < set.length; i += 2) edges.add(set[i]!).add(set[i + 1]! + 1);
  }
  edges.add(CODE_POINTS);
  const starts = Float64Array.from(edges).sort();
  const byMembership = new Map<string, number>();
  const members: boolean[][] = [];
  const cursors = sets.map(() => 0);
  const classOf = new Uint8Array(starts.length - 1);
  for (let i = 0; i < classOf.length; i++) {
    const start = starts[i]!;
    const member = sets.map((set, s) => {
      while (cursors[s]! < set.length && set[cursors[s]! + 1]! < start) cursors[s]! += 2;
      return cursors[s]! < set.length && set[cursors[s]!]! <= start;
    });
    const key = member.join();
    const known = byMembership.get(key);
    classOf[i] = known ?? members.push(member) - 1;
    if (known === undefined) byMembership.set(key, classOf[i]!);
  }
  return { members, ...buildBlocks(starts, classOf) };
}

/** The class of every code point, given where runs start and their classes; equal blocks of 128 are kept once. */
function buildBlocks(starts: Float64Array, classOf: Uint8Array): { blocks: Uint16Array; classes: Uint8Array } {
  const blocks = new Uint16Array(CODE_POINTS / BLOCK);
  const known = new Map<string, number>();
  const kept: Uint8Array[] = [];
  /** Block of 128 code points of one class, by class: most blocks are of this kind. */
  const uniformBlocks: (number | undefined)[] = [];
  let run = 0;
  for (let block = 0; block < blocks.length; block++) {
    const from = block * BLOCK;
    const uniform = uniformBlocks[classOf[run]!];
    if (uniform !== undefined && starts[run + 1]! > from + BLOCK) {
      blocks[block] = uniform;
      continue;
    }
    const codes = new Uint8Array(BLOCK);
    let at = from;
    while (at < from + BLOCK) {
      const end = Math.min(starts[run + 1]!, from + BLOCK);
      codes.fill(classOf[run]!, at - from, end - from);
      at = end;
      if (end === starts[run + 1]) run++;
    }
    const key = String.fromCharCode(...codes);
    const id = known.get(key) ?? kept.push(codes) - 1;
    known.set(key, id);
    blocks[block] = id;
    if (codes.every((code) => code === codes[0])) uniformBlocks[codes[0]!] = id;
  }
  const classes = new Uint8Array(kept.length * BLOCK);
  for (const [i, codes] of kept.entries()) classes.set(codes, i * BLOCK);
  return { blocks, classes };
}

/**
 * Where a state (steps to go on from, in order of preference) leads when the next code point is in the sets that
 * `member` says (undefined = the text ends): the steps after it, and whether the pattern may end before it. Steps less
 * preferred than an end are given up.
 */
function advance(
  steps: readonly Step[],
  state: readonly number[],
  member: readonly boolean[] | undefined,
): { next: number[]; ends: boolean } {
  const next: number[] = [];
  const seen = new Set<number>();
  const stack = [...state].reverse();
  while (stack.length > 0) {
    const at = stack.pop()!;
    if (seen.has(at)) continue;
    seen.add(at);
    const step = steps[at]!;
    if (step.kind === "accept") return { next, ends: true };
    if (step.kind === "fork") stack.push(step.second, step.first);
    else if (step.kind === "check") {
      if (member === undefined ? step.end : member[step.set]!) stack.push(step.next);
    } else if (member?.[step.set] === true && !next.includes(step.next)) next.push(step.next);
  }
  return { next, ends: false };
}

/** The automaton of one pattern; immutable, usable by any number of scanners of its thread. */
export interface PatternDfa {
  /** Columns of the table: the classes, then the end of the text. */
  readonly width: number;
  /** [states * width] next state * 2, plus 1 when the pattern may end before this code point; state 0 is dead. */
  readonly table: Uint16Array;
  /** Block of every 128 code points. */
  readonly blocks: Uint16Array;
  /** Class of every code point of every block. */
  readonly classes: Uint8Array;
}

/** Compiles a pattern; throws `UNSUPPORTED` when it needs more than {@linkcode MAX_STATES} states. */
export function compilePattern(pattern: string): PatternDfa {
  const { steps, sets, start } = compileSteps(parsePattern(pattern));
  const { members, blocks, classes } = buildClasses(sets);
  const columns = [...members, undefined];
  const ids = new Map<string, number>([["", 0], [String(start), 1]]);
  const states: number[][] = [[], [start]];
  const rows: number[] = columns.map(() => 0);
  for (let id = 1; id < states.length; id++) {
    for (const member of columns) {
      const { next, ends } = advance(steps, states[id]!, member);
      const key = next.join();
      let target = ids.get(key);
      if (target === undefined) {
        target = states.push(next) - 1;
        ids.set(key, target);
        if (target >= MAX_STATES) {
          throw new RealizarError(
            "UNSUPPORTED",
            `a pre-tokenizer pattern needs more than ${MAX_STATES} states: ${pattern}`,
          );
        }
      }
      rows.push(target * 2 + (ends ? 1 : 0));
    }
  }
  return { width: columns.length, table: Uint16Array.from(rows), blocks, classes };
}
