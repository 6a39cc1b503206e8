/** Numbers between bounds, digit by digit: exactly the JSON writings whose value lies between them. */
import type { Graph, Part } from "./automaton.ts";
import { NEVER, part } from "./parts.ts";
import { between, DECIMAL, radixState } from "./radix.ts";

/** Decimals of a number with bounds, at most; together with its whole digits no more than a double tells apart. */
const MAX_DECIMALS = 10;
const DOUBLE_DIGITS = 15;
/** Bounds of numbers are drawn in to this. */
const MAX_NUMBER = 1e15 - 1;

/** A bound of a range; an open one does not belong to it. */
export interface Bound {
  readonly value: number;
  readonly open: boolean;
}

/**
 * Whole numbers from `min` to `max`, which are drawn in to +-(2^53 - 1), that `divisor` divides; `-0` and leading zeros
 * are not written.
 */
export function integerBetween(min: number, max: number, divisor = 1): Part {
  const lo = Math.max(min, -Number.MAX_SAFE_INTEGER), hi = Math.min(max, Number.MAX_SAFE_INTEGER);
  if (lo > hi) return NEVER;
  return part((graph, next) => {
    const multiples = new Multiples(graph, divisor, next);
    const digits = (range: SameLength): number =>
      divisor === 1 ? digitsState(graph, range, next) : multiples.between(range);
    const starts = lengthsOf(Math.max(lo, 0), hi).map(digits);
    const negative = lengthsOf(Math.max(1, -hi), -lo).map(digits);
    if (negative.length > 0) starts.push(graph.byte(0x2d, graph.split(negative)));
    return graph.split(starts);
  });
}

interface SameLength {
  readonly lo: number;
  readonly hi: number;
  readonly nDigits: number;
}

/** A range of numbers that are not negative, cut where the number of digits changes. */
function lengthsOf(lo: number, hi: number): SameLength[] {
  const result: SameLength[] = [];
  for (let nDigits = 1; nDigits <= 16; nDigits++) {
    const [from, to] = between([lo, hi], nDigits === 1 ? 0 : 10 ** (nDigits - 1), 10 ** nDigits - 1);
    if (from !== undefined) result.push({ lo: from, hi: to!, nDigits });
  }
  return result;
}

function digitsState(graph: Graph, { lo, hi, nDigits }: SameLength, next: number): number {
  return radixState(graph, DECIMAL, [lo, hi], nDigits, next);
}

/** Multiples of a number, digit by digit: a state for each remainder of what was written and number of digits left. */
class Multiples {
  readonly #graph: Graph;
  readonly #divisor: number;
  readonly #next: number;
  readonly #known = new Map<string, number>();

  constructor(graph: Graph, divisor: number, next: number) {
    this.#graph = graph;
    this.#divisor = divisor;
    this.#next = next;
  }

  between({ lo, hi, nDigits }: SameLength): number {
    return this.#state(0, nDigits, lo, hi);
  }

  /** `n` more digits, which as a number are from `lo` to `hi`, after digits that leave this remainder. */
  #state(remainder: number, n: number, lo: number, hi: number): number {
    if (n === 0) return remainder === 0 ? this.#next : 0;
    const key = `${remainder} ${n} ${lo} ${hi}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const unit = 10 ** (n - 1);
    const edges: [number, number, number][] = [];
    for (let digit = Math.floor(lo / unit); digit <= Math.floor(hi / unit); digit++) {
      const rest = (remainder * 10 + digit) % this.#divisor;
      const from = Math.max(0, lo - digit * unit), to = Math.min(unit - 1, hi - digit * unit);
      edges.push([0x30 + digit, 0x30 + digit, this.#state(rest, n - 1, from, to)]);
    }
    const state = this.#graph.bytes(edges);
    this.#known.set(key, state);
    return state;
  }
}

/** A bound's whole part and its decimals, as digits. */
interface Decimal {
  readonly whole: number;
  readonly digits: readonly number[];
  readonly open: boolean;
}

/** A bound of 0 or more, exactly as its shortest decimal has it. */
function decimalOf({ value, open }: Bound): Decimal {
  const whole = Math.floor(value);
  const [mantissa, exponent] = value.toExponential().split("e");
  const all = mantissa!.replace(".", "");
  const nWhole = Number(exponent) + 1;
  const digits = nWhole >= 0 ? all.slice(nWhole) : "0".repeat(-nWhole) + all;
  return { whole, digits: digits === "0" ? [] : Array.from(digits, Number), open };
}

/** Numbers between two bounds (drawn in to +-(10^15 - 1)), written without an exponent. */
export function numberBetween(min: Bound, max: Bound): Part {
  const lo: Bound = min.value < -MAX_NUMBER ? { value: -MAX_NUMBER, open: false } : min;
  const hi: Bound = max.value > MAX_NUMBER ? { value: MAX_NUMBER, open: false } : max;
  const zero: Bound = { value: 0, open: true };
  return part((graph, next) => {
    const starts: number[] = [];
    if (hi.value >= 0) {
      starts.push(...magnitudes(graph, lo.value >= 0 ? lo : { value: 0, open: false }, hi, next));
    }
    if (lo.value < 0) {
      const from = hi.value < 0 ? { value: -hi.value, open: hi.open } : zero;
      starts.push(graph.byte(0x2d, graph.split(magnitudes(graph, from, { value: -lo.value, open: lo.open }, next))));
    }
    return graph.split(starts);
  });
}

/** Starts of the numbers between two bounds that are not negative. */
function magnitudes(graph: Graph, min: Bound, max: Bound, next: number): number[] {
  const lo = decimalOf(min), hi = decimalOf(max);
  if (min.value > max.value) return [];
  const nDecimals = Math.max(0, Math.min(MAX_DECIMALS, DOUBLE_DIGITS - String(hi.whole).length));
  const decimals = new Decimals(graph, nDecimals, next);
  const ends = (low: Decimal | undefined, high: Decimal | undefined): number => decimals.state(low, high);
  const whole = (from: number, to: number, after: number): number[] =>
    from > to ? [] : lengthsOf(from, to).map((range) => digitsState(graph, range, after));
  if (lo.whole === hi.whole) return whole(lo.whole, lo.whole, ends(lo, hi));
  return [
    ...whole(lo.whole, lo.whole, ends(lo, undefined)),
    ...whole(lo.whole + 1, hi.whole - 1, ends(undefined, undefined)),
    ...whole(hi.whole, hi.whole, ends(undefined, hi)),
  ];
}

/** What may follow the whole digits of a number when its decimals have bounds. */
class Decimals {
  readonly #graph: Graph;
  readonly #n: number;
  readonly #next: number;

  constructor(graph: Graph, n: number, next: number) {
    this.#graph = graph;
    this.#n = n;
    this.#next = next;
  }

  /** No decimals, or a point and 1 to n of them; `low` and `high` bind while all digits so far equal theirs. */
  state(low: Decimal | undefined, high: Decimal | undefined): number {
    const graph = this.#graph;
    const targets = fits(low, high, 0) ? [this.#next] : [];
    if (this.#n > 0) targets.push(graph.byte(0x2e, this.#digit(low, high, 0)));
    return graph.split(targets);
  }

  /** The digit at place `at`. */
  #digit(low: Decimal | undefined, high: Decimal | undefined, at: number): number {
    const graph = this.#graph;
    const lowDigit = low?.digits[at] ?? 0;
    // Past its digits an upper bound goes on with zeros.
    const highDigit = high === undefined ? 9 : high.digits[at] ?? 0;
    const edges: [number, number, number][] = [];
    const add = (from: number, to: number, nextLow: Decimal | undefined, nextHigh: Decimal | undefined): void => {
      if (from <= to) edges.push([0x30 + from, 0x30 + to, this.#after(nextLow, nextHigh, at + 1)]);
    };
    if (lowDigit === highDigit) add(lowDigit, lowDigit, low, high);
    else if (lowDigit < highDigit) {
      const tightLow = low !== undefined, tightHigh = high !== undefined;
      if (tightLow) add(lowDigit, lowDigit, low, undefined);
      add(lowDigit + (tightLow ? 1 : 0), highDigit - (tightHigh ? 1 : 0), undefined, undefined);
      if (tightHigh) add(highDigit, highDigit, undefined, high);
    }
    return graph.bytes(edges);
  }

  /** After `at` digits: the end, or another digit. */
  #after(low: Decimal | undefined, high: Decimal | undefined, at: number): number {
    const targets = fits(low, high, at) ? [this.#next] : [];
    if (at < this.#n) targets.push(this.#digit(low, high, at));
    return this.#graph.split(targets);
  }
}

/** Whether a number may end after `at` decimals that all equal those of the bounds that still bind. */
function fits(low: Decimal | undefined, high: Decimal | undefined, at: number): boolean {
  const restIsZero = (bound: Decimal): boolean => bound.digits.slice(at).every((digit) => digit === 0);
  return (low === undefined || (restIsZero(low) && !low.open)) &&
    (high === undefined || !high.open || !restIsZero(high));
}
