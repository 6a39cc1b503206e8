/** Tokens to text, one token at a time: what is returned is always whole characters. */
import { RealizarError } from "../errors.ts";
import type { Vocab } from "./vocab.ts";

/** How to detokenize. */
export interface DetokenizerOptions {
  /** Write control and unknown tokens as their texts; by default they are left out. */
  readonly special?: boolean | undefined;
  /** Control tokens that are written all the same. */
  readonly shown?: readonly number[] | undefined;
  /**
   * The tokens go on from earlier text, so a space in front is text. By default they begin a text, and the space that
   * SentencePiece vocabularies put in front of every text (`addSpacePrefix`) is taken off again.
   */
  readonly continues?: boolean | undefined;
}

/**
 * Turns tokens into text as they come. Bytes that may be the beginning of a character wait for the rest (at most 3);
 * bytes that cannot be part of one become U+FFFD exactly as the standard's UTF-8 decoder has it, so the text of a
 * sequence does not depend on how it was split. Holds the state of one sequence.
 */
export class Detokenizer {
  readonly #vocab: Vocab;
  readonly #special: boolean;
  readonly #shown: readonly number[];
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  #bytes = new Uint8Array(256);
  /** Number of waiting bytes, at the front of `#bytes`. */
  #waiting = 0;
  #stripSpace: boolean;

  constructor(vocab: Vocab, options: DetokenizerOptions = {}) {
    this.#vocab = vocab;
    this.#special = options.special === true;
    this.#shown = options.shown ?? [];
    this.#stripSpace = vocab.tables.addSpacePrefix && options.continues !== true;
  }

  /** The text that this token completes; often empty. Throws `ARG` for an id outside the vocabulary. */
  push(id: number): string {
    if (!this.#special && this.#vocab.isSpecial(id) && !this.#shown.includes(id)) return "";
    const text = this.#waiting === 0 ? this.#vocab.texts.get(id) : undefined;
    if (text !== undefined) return this.#stripSpace ? this.#strip(text) : text;
    const { size, pieceBytes, pieceOffsets } = this.#vocab.tables;
    if (!Number.isInteger(id) || id < 0 || id >= size) {
      throw new RealizarError("ARG", `token ${id} is outside the vocabulary of ${size} tokens`);
    }
    const start = pieceOffsets[id]!;
    const length = pieceOffsets[id + 1]! - start;
    const alone = this.#waiting === 0;
    const total = this.#waiting + length;
    if (total > this.#bytes.length) {
      const grown = new Uint8Array(total * 2);
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    for (let i = 0; i < length; i++) this.#bytes[this.#waiting + i] = pieceBytes[start + i]!;
    const whole = wholeCharacters(this.#bytes, total);
    const result = this.#decoder.decode(this.#bytes.subarray(0, whole));
    this.#bytes.copyWithin(0, whole, total);
    this.#waiting = total - whole;
    if (alone && this.#waiting === 0) this.#vocab.texts.set(id, result);
    return this.#stripSpace ? this.#strip(result) : result;
  }

  /** The text of what is still waiting, at the end of the sequence: U+FFFD or nothing. */
  flush(): string {
    const text = this.#decoder.decode(this.#bytes.subarray(0, this.#waiting));
    this.#waiting = 0;
    return text;
  }

  #strip(text: string): string {
    if (text === "") return text;
    this.#stripSpace = false;
    return text.startsWith(" ") ? text.slice(1) : text;
  }
}

/**
 * How many of the first `end` bytes can be decoded without knowing what follows: all but a last sequence that is
 * cut short and valid so far.
 */
function wholeCharacters(bytes: Uint8Array, end: number): number {
  for (let back = 1; back <= 3 && back <= end; back++) {
    const lead = bytes[end - back]!;
    if ((lead & 0xc0) === 0x80) continue;
    const needed = lead >= 0xf0 && lead <= 0xf4
      ? 4
      : lead >= 0xe0 && lead < 0xf0
      ? 3
      : lead >= 0xc2 && lead < 0xe0
      ? 2
      : 1;
    if (needed <= back) return end;
    if (back > 1 && !validSecond(lead, bytes[end - back + 1]!)) return end;
    return end - back;
  }
  return end;
}

/** Whether a second byte can follow this lead byte: no overlong form, no surrogate, nothing above U+10FFFF. */
function validSecond(lead: number, second: number): boolean {
  const low = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const high = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  return second >= low && second <= high;
}
