/** Byte-level BPE (`tokenizer.ggml.model` = gpt2): words become bytes, bytes merge in the order of the merge list. */
import { findMerge, findPiece, hashBytes } from "./flat_tables.ts";
import { MergeLoop, NO_MERGE } from "./merge_loop.ts";
import { PreTokenizer } from "./pretokenize.ts";
import { preTokenizerRow } from "./pretokenizer_table.ts";
import type { TokenBuffer } from "./token_buffer.ts";
import type { VocabTables } from "./vocab.ts";
import { WordCache } from "./word_cache.ts";

/** Tokenizes text without special tokens. One per thread. */
export class BpeEncoder extends MergeLoop {
  readonly #tables: VocabTables;
  readonly #preTokenizer: PreTokenizer;
  readonly #ignoreMerges: boolean;
  readonly #cache = new WordCache();

  constructor(tables: VocabTables) {
    super();
    const row = preTokenizerRow(tables.pre);
    this.#tables = tables;
    this.#preTokenizer = new PreTokenizer(row);
    this.#ignoreMerges = row.ignoreMerges;
  }

  /** Appends the tokens of `bytes[start ... end)`, which must be UTF-8. */
  encode(bytes: Uint8Array, start: number, end: number, out: TokenBuffer): void {
    const nWords = this.#preTokenizer.split(bytes, start, end);
    const ends = this.#preTokenizer.ends;
    for (let i = 0; i < nWords; i++) {
      const wordEnd = ends[i]!;
      if (!this.#cache.find(bytes, start, wordEnd, out)) {
        const before = out.length;
        this.#encodeWord(bytes, start, wordEnd, out);
        this.#cache.keep(bytes, start, wordEnd, out, before);
      }
      start = wordEnd;
    }
  }

  #encodeWord(bytes: Uint8Array, start: number, end: number, out: TokenBuffer): void {
    const { byteIds, pieceTable, pieceBytes, pieceOffsets, size } = this.#tables;
    if (this.#ignoreMerges && end - start <= this.#tables.maxPieceBytes) {
      const hash = hashBytes(bytes, start, end);
      const piece = findPiece(pieceTable, pieceBytes, pieceOffsets, bytes, start, end, hash);
      if (piece >= 0 && piece < size) {
        out.push(piece);
        return;
      }
    }
    this.reserve(end - start);
    this.count = 0;
    for (let i = start; i < end; i++) {
      // A byte without a token (SmolLM2 has some) is left out, as in every implementation: byte-level vocabularies name
      // an unknown token only because they must, and often it is a control token.
      const id = byteIds[bytes[i]!]!;
      if (id >= 0) this.ids[this.count++] = id;
    }
    this.run();
    for (let i = 0; i < this.count; i++) {
      const id = this.ids[i]!;
      if (id < size) out.push(id);
      else this.#pushBytes(id, out);
    }
  }

  /** A piece that is no token, byte by byte. */
  #pushBytes(piece: number, out: TokenBuffer): void {
    const { byteIds, pieceBytes, pieceOffsets } = this.#tables;
    for (let i = pieceOffsets[piece]!; i < pieceOffsets[piece + 1]!; i++) {
      const id = byteIds[pieceBytes[i]!]!;
      if (id >= 0) out.push(id);
    }
  }

  protected override pairRank(left: number, right: number): number {
    const { mergeTable } = this.#tables;
    const merge = findMerge(mergeTable, this.ids[left]!, this.ids[right]!);
    if (merge < 0) return NO_MERGE;
    this.pairId = mergeTable[merge + 3]!;
    return mergeTable[merge + 2]!;
  }
}
