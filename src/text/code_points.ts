/** Sets of Unicode code points, and the named sets of Unicode 16 that pre-tokenizer patterns use. */
import { CLASS_NAMES, CLASS_RUNS, HAN_RUNS } from "./unicode_data.ts";

/** A set of code points: inclusive ranges `lo, hi, lo, hi, ...`, ascending, neither touching nor overlapping. */
export type CodePointSet = readonly number[];

/** One more than the last code point. */
export const CODE_POINTS = 0x110000;

// deno-fmt-ignore
const WHITE_SPACE: CodePointSet = [
  0x09, 0x0d, 0x20, 0x20, 0x85, 0x85, 0xa0, 0xa0, 0x1680, 0x1680, 0x2000, 0x200a, 0x2028, 0x2029, 0x202f, 0x202f,
  0x205f, 0x205f, 0x3000, 0x3000,
];

/** Every code point that is in one of the sets. */
export function unionOf(sets: readonly CodePointSet[]): CodePointSet {
  const ranges: [number, number][] = [];
  for (const set of sets) {
    for (let i = 0; i < set.length; i += 2) ranges.push([set[i]!, set[i + 1]!]);
  }
  ranges.sort((a, b) => a[0] - b[0]);
  const result: number[] = [];
  for (const [lo, hi] of ranges) {
    const last = result.length - 1;
    if (last >= 0 && lo <= result[last]! + 1) result[last] = Math.max(result[last]!, hi);
    else result.push(lo, hi);
  }
  return result;
}

/** Every code point that is not in the set. */
export function complementOf(set: CodePointSet): CodePointSet {
  const result: number[] = [];
  let next = 0;
  for (let i = 0; i < set.length; i += 2) {
    if (set[i]! > next) result.push(next, set[i]! - 1);
    next = set[i + 1]! + 1;
  }
  if (next < CODE_POINTS) result.push(next, CODE_POINTS - 1);
  return result;
}

/** Every code point that is in both sets. */
export function intersectionOf(a: CodePointSet, b: CodePointSet): CodePointSet {
  return complementOf(unionOf([complementOf(a), complementOf(b)]));
}

/** Runs of a text of letters and base-36 lengths, as sets by letter. */
function decodeRuns(text: string): Map<string, number[]> {
  const sets = new Map<string, number[]>();
  let start = 0;
  for (const [, letter, length] of text.matchAll(/([A-Z])([0-9a-z]*)/g)) {
    const end = start + (length === "" ? 1 : parseInt(length!, 36));
    const set = sets.get(letter!);
    if (set === undefined) sets.set(letter!, [start, end - 1]);
    else set.push(start, end - 1);
    start = end;
  }
  return sets;
}

let namedSets: Map<string, CodePointSet> | undefined;

function buildNamedSets(): Map<string, CodePointSet> {
  const named = new Map<string, CodePointSet>();
  const byLetter = decodeRuns(CLASS_RUNS);
  for (const [i, name] of CLASS_NAMES.entries()) {
    named.set(name, byLetter.get(String.fromCharCode(65 + i)) ?? []);
  }
  for (const major of ["L", "N"]) {
    named.set(major, unionOf(CLASS_NAMES.filter((name) => name.startsWith(major)).map((name) => named.get(name)!)));
  }
  named.set("Han", decodeRuns(HAN_RUNS).get("B")!);
  named.set("s", WHITE_SPACE);
  named.set("d", named.get("Nd")!);
  return named;
}

/**
 * A set by the name that patterns use: a general category (`L`, `Lu`, `N`, `P`, ...), `Han`, `s` or `d`; undefined for
 * other names. The sets are built at the first call.
 */
export function namedSet(name: string): CodePointSet | undefined {
  namedSets ??= buildNamedSets();
  return namedSets.get(name);
}
