/**
 * Parsing long JSON with a turn for others now and then. The runtime's own parser does the work, on pieces: runs of
 * elements or members, and runs of characters of long strings. What it makes of the whole is what `JSON.parse` makes,
 * but that more than 64 KiB of a number, or of white space around a colon, are refused.
 */
import { Turns } from "../turns.ts";
import { isEscaped, type JsonScan, PIECE_BYTES } from "./json_scan.ts";

const QUOTE = 0x22, BACKSLASH = 0x5c, COMMA = 0x2c, COLON = 0x3a, U = 0x75;
const BRACKET = 0x5b, BRACE = 0x7b;
const TO_CLOSING = 2;
/** Bytes of `\uXXXX` but the last. */
const ESCAPE_BYTES = 5;
/** Bytes of white space between a name and its value. */
const SPACES_MAX = 1 << 16;

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** Parses the bytes of a JSON text that `scan` has seen whole. Throws what `JSON.parse` and `TextDecoder` throw. */
export async function parsePieces(bytes: Uint8Array, scan: JsonScan): Promise<unknown> {
  if (!scan.isClosed) throw new SyntaxError("unexpected end");
  const hasMark = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  const reader = new PieceReader(bytes, scan.large, hasMark ? 3 : 0);
  const value = await reader.value();
  await reader.end();
  return value;
}

class PieceReader {
  readonly #bytes: Uint8Array;
  readonly #large: ReadonlyMap<number, number>;
  readonly #utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  readonly #turns = new Turns();
  #at: number;

  constructor(bytes: Uint8Array, large: ReadonlyMap<number, number>, at: number) {
    this.#bytes = bytes;
    this.#large = large;
    this.#at = at;
  }

  /** Nothing but white space follows. */
  async end(): Promise<void> {
    await this.#pastSpace();
    if (this.#at < this.#bytes.length) this.#fail();
  }

  /** The value that begins at the next sign. */
  async value(): Promise<unknown> {
    await this.#pastSpace();
    const start = this.#at, byte = this.#bytes[start];
    const end = this.#large.get(start);
    if (end !== undefined) return byte === BRACKET ? await this.#array(end) : await this.#object(end);
    this.#skipValue();
    if (byte === QUOTE && this.#at - start > PIECE_BYTES) return await this.#string(start, this.#at);
    return this.#parse(start, this.#at);
  }

  #fail(): never {
    throw new SyntaxError(`unexpected end or sign at byte ${this.#at}`);
  }

  #parse(start: number, end: number, open = "", close = ""): unknown {
    return JSON.parse(open + this.#utf8.decode(this.#bytes.subarray(start, end)) + close) as unknown;
  }

  async #turn(): Promise<void> {
    if (this.#turns.isOver) await this.#turns.pass();
  }

  /** Past white space, of which there may be much. */
  async #pastSpace(): Promise<void> {
    while (this.#skipSpace()) await this.#turn();
  }

  /** Past white space; true when there may be more. */
  #skipSpace(): boolean {
    const max = this.#at + SPACES_MAX;
    while (this.#at < max && isSpace(this.#bytes[this.#at])) this.#at++;
    return this.#at === max;
  }

  /** Past a string, whose opening quote is next. */
  #skipString(): void {
    const bytes = this.#bytes;
    if (bytes[this.#at] !== QUOTE) this.#fail();
    for (let from = this.#at + 1;;) {
      const quote = bytes.indexOf(QUOTE, from);
      if (quote < 0) this.#fail();
      const isEnd = !isEscaped(bytes, quote, from);
      from = this.#at = quote + 1;
      if (isEnd) return;
    }
  }

  /** Past a value that is not large, or a string; it need not be a right one. */
  #skipValue(): void {
    const bytes = this.#bytes, first = bytes[this.#at];
    if (first === QUOTE) return this.#skipString();
    if (first === BRACKET || first === BRACE) {
      for (let depth = 0; this.#at < bytes.length;) {
        const byte = bytes[this.#at]!;
        if (byte === QUOTE) {
          this.#skipString();
          continue;
        }
        this.#at++;
        if (byte === BRACKET || byte === BRACE) depth++;
        else if ((byte === BRACKET + TO_CLOSING || byte === BRACE + TO_CLOSING) && --depth === 0) return;
      }
      this.#fail();
    }
    const start = this.#at;
    const max = Math.min(bytes.length, start + PIECE_BYTES + 1);
    while (this.#at < max && !this.#isSign(bytes[this.#at]!)) this.#at++;
    if (this.#at === start || this.#at - start > PIECE_BYTES) this.#fail();
  }

  #isSign(byte: number): boolean {
    return byte === COMMA || byte === BRACKET + TO_CLOSING || byte === BRACE + TO_CLOSING || byte === COLON ||
      byte === QUOTE || isSpace(byte);
  }

  /** An array up to its closing bracket at `end`. */
  async #array(end: number): Promise<unknown[]> {
    const all: unknown[] = [];
    await this.#members(end, BRACKET + TO_CLOSING, () => {}, {
      run: (from, to) => {
        for (const one of this.#parse(from, to, "[", "]") as unknown[]) all.push(one);
      },
      one: async () => void all.push(await this.value()),
    });
    return all;
  }

  /** An object up to its closing brace at `end`. */
  async #object(end: number): Promise<Record<string, unknown>> {
    const all: Record<string, unknown> = {};
    const set = (name: string, value: unknown): void => {
      // Assigned, this name would be the prototype.
      if (name === "__proto__") Object.defineProperty(all, name, { value, ...OWN });
      else all[name] = value;
    };
    const pastName = (): void => {
      this.#skipString();
      this.#skipSpace();
      if (this.#bytes[this.#at] !== COLON) this.#fail();
      this.#at++;
      if (this.#skipSpace()) this.#fail();
    };
    await this.#members(end, BRACE + TO_CLOSING, pastName, {
      run: (from, to) => {
        for (const [name, value] of Object.entries(this.#parse(from, to, "{", "}") as object)) set(name, value);
      },
      one: async (start) => {
        this.#at = start;
        this.#skipString();
        const name = await this.#string(start, this.#at);
        this.#at = start;
        pastName();
        set(name, await this.value());
      },
    });
    return all;
  }

  /**
   * Goes through the members of an array or object: `run` gets runs of them that can be parsed together, without the
   * commas around, `one` the place of each that is long by itself. `pastName` goes past the name of a member.
   */
  async #members(
    end: number,
    closing: number,
    pastName: () => void,
    take: { run: (from: number, to: number) => void; one: (start: number) => Promise<void> },
  ): Promise<void> {
    const bytes = this.#bytes;
    if (bytes[end] !== closing) this.#fail();
    this.#at++;
    let from = -1, to = -1;
    const flush = async (): Promise<void> => {
      if (from >= 0) take.run(from, to);
      from = -1;
      await this.#turn();
    };
    for (;;) {
      await this.#pastSpace();
      const start = this.#at;
      pastName();
      const isLarge = this.#large.has(this.#at);
      if (!isLarge) this.#skipValue();
      if (isLarge || this.#at - start > PIECE_BYTES) {
        await flush();
        this.#at = start;
        await take.one(start);
      } else {
        if (from < 0) from = start;
        to = this.#at;
        if (to - from > PIECE_BYTES) await flush();
      }
      await this.#pastSpace();
      if (this.#at === end) break;
      if (bytes[this.#at] !== COMMA) this.#fail();
      this.#at++;
    }
    await flush();
    this.#at = end + 1;
  }

  /** A string from its opening quote at `start` to `end`, behind the closing one. */
  async #string(start: number, end: number): Promise<string> {
    let text = "";
    for (let from = start + 1; from < end - 1;) {
      const to = end - 1 - from <= PIECE_BYTES ? end - 1 : this.#cut(from + PIECE_BYTES);
      text += this.#parse(from, to, '"', '"') as string;
      from = to;
      await this.#turn();
    }
    return text;
  }

  /** The last place up to `at` that is in the middle of neither a character nor an escape. */
  #cut(at: number): number {
    const bytes = this.#bytes;
    while ((bytes[at]! & 0xc0) === 0x80) at--;
    for (let back = 1; back <= ESCAPE_BYTES; back++) {
      if (bytes[at - back] !== BACKSLASH) continue;
      // A backslash that is escaped itself begins nothing.
      if (!isEscaped(bytes, at - back, 0) && (back === 1 || bytes[at - back + 1] === U)) return at - back;
    }
    return at;
  }
}

const OWN = { writable: true, enumerable: true, configurable: true };
