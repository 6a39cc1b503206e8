/** SentencePiece BPE (`tokenizer.ggml.model` = llama): characters merge to the piece of best score. */
import { findPiece, HASH_BASE } from "./flat_tables.ts";
import { MergeLoop, NO_MERGE } from "./merge_loop.ts";
import type { TokenBuffer } from "./token_buffer.ts";
import type { VocabTables } from "./vocab.ts";
import { WordCache } from "./word_cache.ts";

const SPACE = 0x20;

/** Tokenizes text without special tokens. One per thread. */
export class SpmEncoder extends MergeLoop {
  readonly #tables: VocabTables;
  readonly #cache = new WordCache();
  /** `HASH_BASE ** i`. */
  readonly #powers: Int32Array;
  /** Hash of the word's first `i` bytes: the hash of any part follows from two of them. */
  #prefixes = new Int32Array(256);
  #bytes: Uint8Array = new Uint8Array(0);
  #wordStart = 0;

  constructor(tables: VocabTables) {
    super();
    this.#tables = tables;
    this.#powers = new Int32Array(tables.maxPieceBytes + 1).fill(1);
    for (let i = 1; i < this.#powers.length; i++) this.#powers[i] = Math.imul(this.#powers[i - 1]!, HASH_BASE);
  }

  /**
   * Appends the tokens of `bytes[start ... end)`, which must be UTF-8; `first` says that it begins the text or follows
   * a special token, where `addSpacePrefix` puts a space in front.
   */
  encode(bytes: Uint8Array, start: number, end: number, first: boolean, out: TokenBuffer): void {
    if (start === end) return;
    const text = this.#normalize(bytes, start, end, first);
    const { beforeSpace } = this.#tables;
    let from = 0;
    for (let i = 1; i <= text.length; i++) {
      // No piece reaches from a word into the space before the next, but for the few bytes that `beforeSpace` has.
      const cut = i === text.length || (text[i] === SPACE && text[i - 1] !== SPACE && beforeSpace[text[i - 1]!] === 0);
      if (!cut) continue;
      if (!this.#cache.find(text, from, i, out)) {
        const before = out.length;
        this.#encodeWord(text, from, i, out);
        this.#cache.keep(text, from, i, out, before);
      }
      from = i;
    }
  }

  /** Spaces as the pieces have them: U+2581 counts as a space, and the space rules of the vocabulary apply. */
  #normalize(bytes: Uint8Array, start: number, end: number, first: boolean): Uint8Array {
    const { addSpacePrefix, removeExtraWhitespaces } = this.#tables;
    const text = new Uint8Array(end - start + 1);
    let n = 0;
    if (addSpacePrefix && first) text[n++] = SPACE;
    const prefix = n;
    for (let i = start; i < end; i++) {
      let byte = bytes[i]!;
      if (byte === 0xe2 && i + 2 < end && bytes[i + 1] === 0x96 && bytes[i + 2] === 0x81) {
        byte = SPACE;
        i += 2;
      }
      if (byte === SPACE && removeExtraWhitespaces && (n === prefix || text[n - 1] === SPACE)) continue;
      text[n++] = byte;
    }
    if (removeExtraWhitespaces && n > prefix && text[n - 1] === SPACE) n--;
    return text.subarray(0, n);
  }

  #encodeWord(bytes: Uint8Array, start: number, end: number, out: TokenBuffer): void {
    this.#bytes = bytes;
    this.#wordStart = start;
    this.#hashPrefixes(bytes, start, end);
    this.reserve(end - start);
    this.count = 0;
    for (let i = start; i < end;) {
      const at = this.count++;
      this.starts[at] = i;
      i++;
      while (i < end && (bytes[i]! & 0xc0) === 0x80) i++;
      this.ends[at] = i;
      this.ids[at] = this.#find(this.starts[at]!, i);
    }
    this.run();
    for (let i = 0; i < this.count; i++) {
      const id = this.ids[i]!;
      if (id >= 0) out.push(id);
      else this.#pushBytes(this.starts[i]!, this.ends[i]!, out);
    }
  }

  /** A character that is no piece: its bytes' tokens, or the unknown token where the vocabulary lacks one of them. */
  #pushBytes(start: number, end: number, out: TokenBuffer): void {
    const { byteIds, unkId } = this.#tables;
    const before = out.length;
    let complete = true;
    for (let i = start; i < end; i++) complete &&= byteIds[this.#bytes[i]!]! >= 0;
    if (complete) {
      for (let i = start; i < end; i++) out.push(byteIds[this.#bytes[i]!]!);
    } else if (unkId !== undefined && (before === 0 || out.at(before - 1) !== unkId)) {
      // Unknown characters in a row are one unknown token.
      out.push(unkId);
    }
  }

  #hashPrefixes(bytes: Uint8Array, start: number, end: number): void {
    if (this.#prefixes.length <= end - start) this.#prefixes = new Int32Array((end - start) * 2);
    let hash = 0;
    this.#prefixes[0] = 0;
    for (let i = start; i < end; i++) {
      hash = (Math.imul(hash, HASH_BASE) + bytes[i]! + 1) | 0;
      this.#prefixes[i - start + 1] = hash;
    }
  }

  #find(start: number, end: number): number {
    const length = end - start;
    const { pieceTable, pieceBytes, pieceOffsets, maxPieceBytes } = this.#tables;
    if (length > maxPieceBytes) return -1;
    const before = Math.imul(this.#prefixes[start - this.#wordStart]!, this.#powers[length]!);
    const hash = (this.#prefixes[end - this.#wordStart]! - before) | 0;
    return findPiece(pieceTable, pieceBytes, pieceOffsets, this.#bytes, start, end, hash);
  }

  protected override pairRank(left: number, right: number): number {
    const piece = this.#find(this.starts[left]!, this.ends[right]!);
    if (piece < 0) return NO_MERGE;
    this.pairId = piece;
    return this.#tables.ranks[piece]!;
  }
}
