/** A look at JSON as its bytes come, before anything is parsed: how deep it nests, how much is in it, what is large. */

const QUOTE = 0x22, BACKSLASH = 0x5c, COMMA = 0x2c;
const BRACKET = 0x5b, BRACE = 0x7b;
/** From an opening bracket or brace to its closing one. */
const TO_CLOSING = 2;

/** Bytes that are parsed in one go: about a millisecond at the worst. */
export const PIECE_BYTES = 1 << 16;

/** Whether byte `at` of a string that begins at `first` is escaped: after an odd number of backslashes. */
export function isEscaped(bytes: Uint8Array, at: number, first: number): boolean {
  let n = 0;
  while (at - n > first && bytes[at - n - 1] === BACKSLASH) n++;
  return n % 2 === 1;
}

/** Reads JSON in chunks of any size. What is no JSON gives numbers of no meaning: the parser is to refuse it. */
export class JsonScan {
  /** Arrays and objects inside each other, at most. */
  depth = 0;
  /** Strings (names of members too), arrays and objects. */
  nValues = 0;
  /** Commas outside of strings: elements and members, but one of each array and object. */
  nCommas = 0;
  /** Where arrays and objects of more than {@linkcode PIECE_BYTES} begin and where their closing signs are. */
  readonly large: Map<number, number> = new Map();
  /** Where those that are open began. */
  readonly #open: number[] = [];
  #depthMax: number;
  #inString = false;
  /** The next byte is escaped. */
  #escaped = false;
  /** Bytes of earlier chunks. */
  #before = 0;

  /** What nests deeper than `depthMax` is not followed any more: the caller refuses it. */
  constructor(depthMax: number) {
    this.#depthMax = depthMax;
  }

  /** Whether everything that was opened is closed. */
  get isClosed(): boolean {
    return this.#open.length === 0 && !this.#inString;
  }

  /** Takes the next chunk in. */
  push(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) at = this.#inString ? this.#pastString(bytes, at) : this.#pastStructure(bytes, at);
    this.#before += bytes.length;
  }

  /** Goes on in a string; returns where it ends, or the end. Long strings are most of a long body. */
  #pastString(bytes: Uint8Array, start: number): number {
    const first = this.#escaped ? start + 1 : start;
    this.#escaped = false;
    const quote = bytes.indexOf(QUOTE, first);
    const end = quote < 0 ? bytes.length : quote;
    const escapes = isEscaped(bytes, end, first);
    if (quote < 0) this.#escaped = escapes;
    else if (!escapes) this.#inString = false;
    return end + 1;
  }

  /** Goes on outside of strings; returns where the next one begins, or the end. */
  #pastStructure(bytes: Uint8Array, start: number): number {
    for (let i = start; i < bytes.length; i++) {
      const byte = bytes[i];
      if (byte === QUOTE) {
        this.#inString = true;
        this.nValues++;
        return i + 1;
      }
      if (byte === COMMA) this.nCommas++;
      else if (byte === BRACKET || byte === BRACE) this.#opens(i);
      else if (byte === BRACKET + TO_CLOSING || byte === BRACE + TO_CLOSING) this.#closes(i);
    }
    return bytes.length;
  }

  #opens(i: number): void {
    this.nValues++;
    if (this.depth > this.#depthMax) return;
    this.#open.push(this.#before + i);
    this.depth = Math.max(this.depth, this.#open.length);
  }

  #closes(i: number): void {
    const start = this.#open.pop();
    const end = this.#before + i;
    if (start !== undefined && end - start > PIECE_BYTES) this.large.set(start, end);
  }
}
