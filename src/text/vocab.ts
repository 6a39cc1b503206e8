/**
 * A vocabulary as flat arrays in shared memory: built once from a model file's arrays, posted to other threads
 * without a copy, and read there by tokenizer, detokenizer and grammars.
 */
import type { StringTable } from "../string_table.ts";
import { TOKEN_TYPE } from "./token_type.ts";
import { buildTables } from "./vocab_build.ts";

export { TOKEN_TYPE } from "./token_type.ts";

/**
 * A vocabulary as its file has it: the `tokenizer.*` metadata, read in place. Ids that the file does not give are
 * undefined; an id of 2^32 - 1 (some converters' "none") counts as not given.
 */
export interface VocabSource {
  /** `tokenizer.ggml.model`: byte-level BPE ("gpt2") or SentencePiece BPE ("llama"). */
  readonly model: "gpt2" | "llama";
  /** `tokenizer.ggml.pre`; needed by "gpt2", ignored by "llama". */
  readonly pre: string | undefined;
  readonly tokens: StringTable;
  /** One of {@linkcode TOKEN_TYPE} for each token; all normal when absent. */
  readonly tokenTypes: Int32Array | undefined;
  /** One score for each token; needed by "llama". */
  readonly scores: Float32Array | undefined;
  /** `left right` in order of rank; needed by "gpt2". */
  readonly merges: StringTable | undefined;
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  readonly eotId: number | undefined;
  readonly unkId: number | undefined;
  readonly padId: number | undefined;
  /** Further ids that end a generation (the file's `eom`, a list of ids, ...); often empty. */
  readonly eogIds: readonly number[];
  readonly addBos: boolean | undefined;
  readonly addEos: boolean | undefined;
  readonly addSpacePrefix: boolean | undefined;
  readonly removeExtraWhitespaces: boolean | undefined;
  readonly chatTemplate: string | undefined;
}

/**
 * The arrays of a {@linkcode Vocab}: cloneable, every typed array over a SharedArrayBuffer, so posting it to a
 * Worker shares it. Pieces `size ... n_pieces` are no tokens: they are intermediate results of merges only.
 */
export interface VocabTables {
  readonly model: "gpt2" | "llama";
  /** Row of the pre-tokenizer table; "" for "llama". */
  readonly pre: string;
  /** Number of tokens. */
  readonly size: number;
  /** What every piece decodes to, one after the other. */
  readonly pieceBytes: Uint8Array;
  /** Start of piece `i` in `pieceBytes`, and the end of the last; [n_pieces + 1]. */
  readonly pieceOffsets: Uint32Array;
  /** {@linkcode TOKEN_TYPE} of every token; [size]. */
  readonly types: Uint8Array;
  /** Order in which pieces are made by merging, "llama" only: 0 first; equal scores share a rank; [size] or [0]. */
  readonly ranks: Uint32Array;
  /** Token of every byte, -1 where there is none; [256]. */
  readonly byteIds: Int32Array;
  /** Hash table from bytes to piece, see flat_tables.ts. */
  readonly pieceTable: Int32Array;
  /** Hash table from a pair of pieces to rank and result, see flat_tables.ts; "gpt2" only. */
  readonly mergeTable: Int32Array;
  /** Trie over the texts of special tokens, see special_trie.ts. */
  readonly trieTable: Int32Array;
  /** Token that ends at a node of the trie, or -1; [n_nodes]. */
  readonly trieTokens: Int32Array;
  /** Longest piece that text can be made of. */
  readonly maxPieceBytes: number;
  /** 1 for each byte that some piece of "llama" has directly before a space; elsewhere words can be cut; [256]. */
  readonly beforeSpace: Uint8Array;
  readonly bosId: number | undefined;
  readonly eosId: number | undefined;
  readonly eotId: number | undefined;
  readonly unkId: number | undefined;
  readonly padId: number | undefined;
  /** Ids that end a generation, ascending. */
  readonly eogIds: Int32Array;
  readonly addBos: boolean;
  readonly addEos: boolean;
  readonly addSpacePrefix: boolean;
  readonly removeExtraWhitespaces: boolean;
  readonly chatTemplate: string | undefined;
}

/** A vocabulary. Immutable; several threads may each hold one over the same tables. */
export class Vocab {
  readonly tables: VocabTables;
  /** Texts of tokens that are whole characters by themselves, as far as a detokenizer of this thread needed them. */
  readonly texts: Map<number, string> = new Map();
  readonly #eog: Set<number>;

  /** Over tables that {@linkcode Vocab.build} made, here or in another thread. */
  constructor(tables: VocabTables) {
    this.tables = tables;
    this.#eog = new Set(tables.eogIds);
  }

  /**
   * Checks the arrays of a file and builds the tables from them; the source is not needed afterwards.
   * Throws `VOCAB` with every problem found, `UNSUPPORTED` for an unknown pre-tokenizer, `KEY_MISSING` for none.
   */
  static build(source: VocabSource): Vocab {
    return new Vocab(buildTables(source));
  }

  /** Number of tokens; ids are `0 ... size - 1`. */
  get size(): number {
    return this.tables.size;
  }

  /** {@linkcode TOKEN_TYPE} of a token; `undefined` (0) for an id out of range. */
  typeOf(id: number): number {
    return this.tables.types[id] ?? TOKEN_TYPE.undefined;
  }

  /** True for tokens that stand for no text: control and unknown ones. */
  isSpecial(id: number): boolean {
    const type = this.typeOf(id);
    return type === TOKEN_TYPE.control || type === TOKEN_TYPE.unknown;
  }

  /** True when this token ends a generation. */
  isEog(id: number): boolean {
    return this.#eog.has(id);
  }

  /** What a token decodes to: a view of shared memory, maybe a part of a character; empty for an id out of range. */
  bytesOf(id: number): Uint8Array {
    const { pieceBytes, pieceOffsets, size } = this.tables;
    if (!(id >= 0 && id < size)) return pieceBytes.subarray(0, 0);
    return pieceBytes.subarray(pieceOffsets[id]!, pieceOffsets[id + 1]!);
  }

  /** What a token decodes to, as text; bytes that are no character alone become U+FFFD. */
  textOf(id: number): string {
    return new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.bytesOf(id).slice());
  }
}
