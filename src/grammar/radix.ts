/** Sets of numbers written with a fixed number of digits, as states: UTF-8 tails, hexadecimal and decimal digits. */
import type { Graph } from "./automaton.ts";

/** Ranges `lo, hi, lo, hi, ...`, inclusive, ascending, not overlapping. */
export type Ranges = readonly number[];

/** Which bytes write a digit or a run of digits: ranges of bytes, each with the digits it stands for in order. */
export interface Digits {
  readonly base: number;
  /** Byte ranges that write the digits `low ... high`. */
  bytes(low: number, high: number): (readonly [low: number, high: number])[];
}

/** Bytes 80 ... BF of UTF-8. */
export const UTF8_TAIL: Digits = { base: 64, bytes: (low, high) => [[0x80 + low, 0x80 + high]] };
/** Decimal digits. */
export const DECIMAL: Digits = { base: 10, bytes: (low, high) => [[0x30 + low, 0x30 + high]] };
/** Hexadecimal digits in both cases. */
export const HEXADECIMAL: Digits = {
  base: 16,
  bytes(low, high) {
    const result: [number, number][] = [];
    if (low < 10) result.push([0x30 + low, 0x30 + Math.min(high, 9)]);
    if (high >= 10) {
      const from = Math.max(low, 10) - 10;
      result.push([0x41 + from, 0x41 + high - 10], [0x61 + from, 0x61 + high - 10]);
    }
    return result;
  },
};

/** The part of `ranges` inside `lo ... hi`. */
export function between(ranges: Ranges, lo: number, hi: number): number[] {
  const result: number[] = [];
  for (let i = 0; i < ranges.length; i += 2) {
    const from = Math.max(ranges[i]!, lo);
    const to = Math.min(ranges[i + 1]!, hi);
    if (from <= to) result.push(from, to);
  }
  return result;
}

/** Edges of a state of bytes. */
export type Edges = [low: number, high: number, target: number][];

/** Edges for numbers in `ranges` written with exactly n >= 1 digits, the first of them as `first` has it. */
export function radixEdges(
  graph: Graph,
  digits: Digits,
  ranges: Ranges,
  n: number,
  next: number,
  first: Digits = digits,
): Edges {
  const unit = digits.base ** (n - 1);
  const parts = new Map<number, number[]>();
  const edges: Edges = [];
  const whole = (low: number, high: number): void => {
    if (low > high) return;
    const target = radixState(graph, digits, [0, unit - 1], n - 1, next);
    for (const [from, to] of first.bytes(low, high)) edges.push([from, to, target]);
  };
  const part = (digit: number, lo: number, hi: number): void => {
    const known = parts.get(digit);
    if (known === undefined) parts.set(digit, [lo, hi]);
    else known.push(lo, hi);
  };
  for (let i = 0; i < ranges.length; i += 2) {
    const lo = ranges[i]!, hi = ranges[i + 1]!;
    const low = Math.floor(lo / unit), high = Math.floor(hi / unit);
    const lowRest = lo - low * unit, highRest = hi - high * unit;
    if (low === high && (lowRest > 0 || highRest < unit - 1)) part(low, lowRest, highRest);
    else {
      if (lowRest > 0) part(low, lowRest, unit - 1);
      if (highRest < unit - 1) part(high, 0, highRest);
      whole(lowRest > 0 ? low + 1 : low, highRest < unit - 1 ? high - 1 : high);
    }
  }
  for (const [digit, rest] of parts) {
    const target = radixState(graph, digits, rest, n - 1, next);
    for (const [from, to] of first.bytes(digit, digit)) edges.push([from, to, target]);
  }
  return edges;
}

/** A state for numbers in `ranges` written with exactly n digits; `next` itself when n = 0. */
export function radixState(graph: Graph, digits: Digits, ranges: Ranges, n: number, next: number): number {
  return n === 0 ? next : graph.bytes(radixEdges(graph, digits, ranges, n, next));
}

/** Bytes of a character, its first and last code point, and what its lead byte adds to the leading digit. */
const UTF8_LENGTHS = [[1, 0, 0x7f, 0], [2, 0x80, 0x7ff, 0xc0], [3, 0x800, 0xffff, 0xe0], [4, 0x10000, 0x10ffff, 0xf0]];

/** Edges for one character of a set of code points, in UTF-8. Surrogates are no characters. */
export function utf8Edges(graph: Graph, set: Ranges, next: number): Edges {
  return UTF8_LENGTHS.flatMap(([length, lo, hi, lead]) => {
    const ranges = [...between(set, lo!, Math.min(hi!, 0xd7ff)), ...between(set, Math.max(lo!, 0xe000), hi!)];
    const first: Digits = { base: 64, bytes: (low, high) => [[lead! + low, lead! + high]] };
    return radixEdges(graph, UTF8_TAIL, ranges, length!, next, first);
  });
}
