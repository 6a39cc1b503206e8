/** Cutting text into words before merging, by the patterns of a row of the pre-tokenizer table. */
import { compilePattern, type PatternDfa } from "./pattern_dfa.ts";
import type { PreTokenizerRow } from "./pretokenizer_table.ts";

/** Code points after the last possible end of a match at which scanning starts to keep a trace. */
const TRACE_AFTER = 64;

/** A growing list of ends of pieces. */
interface Ends {
  values: Uint32Array;
  count: number;
}

function pushEnd(ends: Ends, end: number): void {
  if (ends.count === ends.values.length) {
    const grown = new Uint32Array(ends.values.length * 2);
    grown.set(ends.values);
    ends.values = grown;
  }
  ends.values[ends.count++] = end;
}

/** One pattern over UTF-8 bytes. */
class PatternScanner {
  readonly #dfa: PatternDfa;
  /** Class of every ASCII byte. */
  readonly #ascii = new Uint8Array(128);
  /** Length in bytes of the code point that the last `#classAt` read. */
  #width = 1;
  /**
   * States that the last long scan without a match went through, by position from `#traceFrom`: whoever comes to the
   * same state at the same position finds nothing ahead either. It makes scanning linear where a pattern looks far
   * ahead in vain, such as `\s+$` on spaces in the middle of a line.
   */
  #trace = new Uint16Array(256);
  #traceFrom = 0;
  #traceTo = 0;
  /** States of the scan that is going on, which become the trace when it ends without a match. */
  #pending = new Uint16Array(256);

  constructor(pattern: string) {
    this.#dfa = compilePattern(pattern);
    for (let code = 0; code < 128; code++) this.#ascii[code] = this.#dfa.classes[this.#dfa.blocks[0]! * 128 + code]!;
  }

  /** Cuts `bytes[start ... end)`, which must be UTF-8: pushes the end of every match and of what lies between. */
  split(bytes: Uint8Array, start: number, end: number, ends: Ends): void {
    let unmatched = start;
    let at = start;
    this.#traceTo = 0;
    while (at < end) {
      const match = this.#match(bytes, at, end);
      if (match < 0) {
        this.#classAt(bytes, at);
        at += this.#width;
        continue;
      }
      if (at > unmatched) pushEnd(ends, at);
      pushEnd(ends, match);
      at = unmatched = match;
    }
    if (end > unmatched) pushEnd(ends, end);
  }

  /** Class of the code point at `at`; leaves its length in `#width`. */
  #classAt(bytes: Uint8Array, at: number): number {
    const first = bytes[at]!;
    let code = first;
    if (first < 0x80) {
      this.#width = 1;
      return this.#ascii[first]!;
    }
    if (first < 0xe0) {
      this.#width = 2;
      code = ((first & 0x1f) << 6) | (bytes[at + 1]! & 0x3f);
    } else if (first < 0xf0) {
      this.#width = 3;
      code = ((first & 0x0f) << 12) | ((bytes[at + 1]! & 0x3f) << 6) | (bytes[at + 2]! & 0x3f);
    } else {
      this.#width = 4;
      code = ((first & 0x07) << 18) | ((bytes[at + 1]! & 0x3f) << 12) | ((bytes[at + 2]! & 0x3f) << 6) |
        (bytes[at + 3]! & 0x3f);
    }
    return this.#dfa.classes[this.#dfa.blocks[code >> 7]! * 128 + (code & 127)]!;
  }

  /** End of the match that begins at `at`, or -1. */
  #match(bytes: Uint8Array, at: number, end: number): number {
    const { table, width } = this.#dfa;
    const ascii = this.#ascii;
    let state = 1;
    let matched = -1;
    let limit = Math.min(end, at + TRACE_AFTER);
    let position = at;
    while (position < limit) {
      const byte = bytes[position]!;
      let step = 1;
      let kind: number;
      if (byte < 0x80) kind = ascii[byte]!;
      else {
        kind = this.#classAt(bytes, position);
        step = this.#width;
      }
      const target = table[state * width + kind]!;
      if ((target & 1) !== 0) {
        matched = position;
        limit = Math.min(end, position + TRACE_AFTER);
      }
      state = target >> 1;
      if (state === 0) return matched;
      position += step;
    }
    if (position < end) return this.#matchFar(bytes, position, end, state, matched);
    return (table[state * width + width - 1]! & 1) !== 0 ? end : matched;
  }

  /** The rest of a scan that has gone far without a match. */
  #matchFar(bytes: Uint8Array, at: number, end: number, state: number, matched: number): number {
    const { table, width } = this.#dfa;
    let from = at;
    let position = at;
    while (position < end) {
      const known = position - this.#traceFrom;
      if (known >= 0 && position < this.#traceTo && this.#trace[known] === state) return matched;
      const target = table[state * width + this.#classAt(bytes, position)]!;
      if ((target & 1) !== 0) {
        matched = position;
        from = position + this.#width;
      } else {
        this.#note(position - from, state);
      }
      position += this.#width;
      state = target >> 1;
      if (state === 0) break;
    }
    if (state !== 0 && (table[state * width + width - 1]! & 1) !== 0) return end;
    [this.#trace, this.#pending] = [this.#pending, this.#trace];
    this.#traceFrom = from;
    this.#traceTo = position;
    return matched;
  }

  #note(at: number, state: number): void {
    if (at >= this.#pending.length) {
      const grown = new Uint16Array(at * 2);
      grown.set(this.#pending);
      this.#pending = grown;
    }
    this.#pending[at] = state;
  }
}

/** Cuts text into words. Has buffers of its own: one per thread, not to be used re-entrantly. */
export class PreTokenizer {
  readonly #scanners: readonly PatternScanner[];
  #ends: Ends = { values: new Uint32Array(1024), count: 0 };
  #next: Ends = { values: new Uint32Array(1024), count: 0 };

  constructor(row: PreTokenizerRow) {
    this.#scanners = row.patterns.map((pattern) => new PatternScanner(pattern));
  }

  /**
   * Cuts `bytes[start ... end)`, which must be UTF-8, and returns the number of words. Word `i` ends at `ends[i]` and
   * begins where the one before ends; `ends` is valid until the next call.
   */
  split(bytes: Uint8Array, start: number, end: number): number {
    this.#ends.count = 0;
    if (end > start) pushEnd(this.#ends, end);
    for (const scanner of this.#scanners) {
      const { values, count } = this.#ends;
      this.#next.count = 0;
      let from = start;
      for (let i = 0; i < count; i++) {
        scanner.split(bytes, from, values[i]!, this.#next);
        from = values[i]!;
      }
      [this.#ends, this.#next] = [this.#next, this.#ends];
    }
    return this.#ends.count;
  }

  /** Ends of the words of the last {@linkcode split}, in bytes; a buffer that is longer than their number. */
  get ends(): Uint32Array {
    return this.#ends.values;
  }
}
