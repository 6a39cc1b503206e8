/** From the arrays of a model file to {@linkcode VocabTables}: every check of a vocabulary, and its flat tables. */
import { RealizarError } from "../errors.ts";
import type { StringTable } from "../string_table.ts";
import { decodeByteLevel } from "./byte_level.ts";
import { type EndTokens, findEndTokens } from "./eog.ts";
import { addPiece, findPiece, hashBytes, sharedBytes, sharedInt32, sharedUint32, slotsFor } from "./flat_tables.ts";
import { buildMerges, spaceOfMerge } from "./merge_table.ts";
import { preTokenizerRow } from "./pretokenizer_table.ts";
import { buildTrie } from "./special_trie.ts";
import { TOKEN_TYPE } from "./token_type.ts";
import type { VocabSource, VocabTables } from "./vocab.ts";

/** More problems than this are counted, not listed. */
const MAX_LISTED = 50;
/** Ids are kept as int32 with one added, and the trie has 256 keys a node. */
const MAX_TOKENS = 1 << 22;

/** A growing list of pieces with their hash table. */
export interface Pieces {
  bytes: Uint8Array;
  offsets: Uint32Array;
  count: number;
  table: Int32Array;
  /** 1 for the pieces that the table leads to. */
  indexed: Uint8Array;
}

/** Collects problems, so that all are told at once. */
export class Problems {
  readonly #listed: string[] = [];
  #count = 0;

  add(problem: string): void {
    if (this.#count++ < MAX_LISTED) this.#listed.push(problem);
  }

  /** Throws `VOCAB` when there was a problem. */
  throwIfAny(): void {
    if (this.#count === 0) return;
    const listed = [...this.#listed];
    if (this.#count > listed.length) listed.push(`... and ${this.#count - listed.length} more`);
    const more = this.#count > 1 ? ` (and ${this.#count - 1} more)` : "";
    throw new RealizarError("VOCAB", `the vocabulary is not usable: ${listed[0]}${more}`, { problems: listed });
  }
}

/** Checks a source and builds its tables; see {@linkcode Vocab.build}. */
export function buildTables(source: VocabSource): VocabTables {
  const row = source.model === "gpt2" ? preTokenizerRow(source.pre) : undefined;
  checkSource(source);
  const types = tokenTypes(source);
  const endTokens = findEndTokens(source.tokens, types);
  for (const id of endTokens.control) types[id] = TOKEN_TYPE.control;
  const pieces = decodePieces(source, types);
  indexPieces(pieces, types, source.tokens.length);
  const merges = source.model === "gpt2" ? buildMerges(source.merges!, pieces) : sharedInt32(0);
  const special: number[] = [];
  for (const [id, type] of types.entries()) {
    const isSpecial = type === TOKEN_TYPE.control || type === TOKEN_TYPE.unknown || type === TOKEN_TYPE.userDefined;
    if (isSpecial) special.push(id);
  }
  const pieceOffsets = sharedUint32(pieces.offsets.subarray(0, pieces.count + 1));
  const pieceBytes = sharedBytes(pieces.bytes.subarray(0, pieceOffsets[pieces.count]!));
  return {
    model: source.model,
    pre: row?.name ?? "",
    size: source.tokens.length,
    pieceBytes,
    pieceOffsets,
    types,
    ranks: source.model === "llama" ? ranksOf(source.scores!) : new Uint32Array(new SharedArrayBuffer(0)),
    byteIds: byteTokens(source, pieces, types),
    pieceTable: pieces.table,
    mergeTable: merges,
    ...buildTrie(special, pieceBytes, pieceOffsets),
    maxPieceBytes: longestPiece(pieceOffsets),
    beforeSpace: bytesBeforeSpace(pieces, types),
    ...specialIds(source),
    eogIds: endIds(source, endTokens),
    addBos: source.addBos ?? row?.addBos ?? source.model === "llama",
    addEos: source.addEos ?? false,
    addSpacePrefix: source.model === "llama" && (source.addSpacePrefix ?? true),
    removeExtraWhitespaces: source.model === "llama" && (source.removeExtraWhitespaces ?? false),
    chatTemplate: source.chatTemplate,
  };
}

/** An id as given, or undefined for the converters' "none". */
function givenId(id: number | undefined): number | undefined {
  return id === undefined || id === 0xffffffff || id === -1 ? undefined : id;
}

function specialIds(source: VocabSource) {
  return {
    bosId: givenId(source.bosId),
    eosId: givenId(source.eosId),
    eotId: givenId(source.eotId),
    unkId: givenId(source.unkId),
    padId: givenId(source.padId),
  };
}

function checkSource(source: VocabSource): void {
  const problems = new Problems();
  const n = source.tokens.length;
  if (n === 0) problems.add("tokenizer.ggml.tokens is empty");
  if (n > MAX_TOKENS) problems.add(`tokenizer.ggml.tokens has ${n} elements, more than ${MAX_TOKENS}`);
  if (source.tokenTypes !== undefined && source.tokenTypes.length !== n) {
    problems.add(`tokenizer.ggml.token_type has ${source.tokenTypes.length} elements for ${n} tokens`);
  }
  if (source.scores !== undefined && source.scores.length !== n) {
    problems.add(`tokenizer.ggml.scores has ${source.scores.length} elements for ${n} tokens`);
  }
  if (source.model === "llama") {
    if (source.scores === undefined) problems.add("tokenizer.ggml.scores is missing; model `llama` needs it");
    for (const [id, score] of (source.scores ?? []).entries()) {
      if (Number.isNaN(score)) problems.add(`tokenizer.ggml.scores[${id}] is not a number`);
    }
  } else {
    checkMerges(source.merges, problems);
  }
  for (const [name, id] of Object.entries(specialIds(source))) {
    if (id !== undefined && !(id >= 0 && id < n)) problems.add(`${name} is ${id}, outside the ${n} tokens`);
  }
  for (const id of source.eogIds) {
    if (!(id >= 0 && id < n)) problems.add(`an end-of-generation id is ${id}, outside the ${n} tokens`);
  }
  problems.throwIfAny();
}

function checkMerges(merges: StringTable | undefined, problems: Problems): void {
  if (merges === undefined) {
    problems.add("tokenizer.ggml.merges is missing; model `gpt2` needs it");
    return;
  }
  for (let i = 0; i < merges.length; i++) {
    if (spaceOfMerge(merges, i) < 0) problems.add(`tokenizer.ggml.merges[${i}] is not two pieces with a space between`);
  }
}

/** Types as bytes; numbers without a meaning count as undefined. */
function tokenTypes(source: VocabSource): Uint8Array {
  const types = new Uint8Array(new SharedArrayBuffer(source.tokens.length)).fill(TOKEN_TYPE.normal);
  for (const [id, type] of (source.tokenTypes ?? []).entries()) {
    types[id] = type >= 0 && type <= TOKEN_TYPE.byte ? type : TOKEN_TYPE.undefined;
  }
  return types;
}

/** The bytes that each token decodes to. */
function decodePieces(source: VocabSource, types: Uint8Array): Pieces {
  const { tokens } = source;
  let total = 0;
  for (let i = 0; i < tokens.length; i++) total += tokens.lengths[i]!;
  const bytes = new Uint8Array(total);
  const offsets = new Uint32Array(tokens.length + 1);
  let at = 0;
  for (let id = 0; id < tokens.length; id++) {
    const start = tokens.offsets[id]!;
    const end = start + tokens.lengths[id]!;
    const type = types[id]!;
    const plain = type !== TOKEN_TYPE.control && type !== TOKEN_TYPE.unknown && type !== TOKEN_TYPE.userDefined;
    let next = -1;
    if (plain && source.model === "gpt2") next = decodeByteLevel(tokens.bytes, start, end, bytes, at);
    else if (type === TOKEN_TYPE.byte) next = decodeByteToken(tokens.bytes, start, end, bytes, at);
    else if (plain) next = decodeSpaces(tokens.bytes, start, end, bytes, at);
    if (next < 0) {
      bytes.set(tokens.bytes.subarray(start, end), at);
      next = at + end - start;
    }
    at = next;
    offsets[id + 1] = at;
  }
  return { bytes, offsets, count: tokens.length, table: sharedInt32(0), indexed: new Uint8Array(tokens.length + 1) };
}

/** `<0xNN>`, the name of a byte token, as that byte; -1 when it is something else. */
function decodeByteToken(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): number {
  if (end - start !== 6) return -1;
  const name = String.fromCharCode(...from.subarray(start, end));
  if (!/^<0x[0-9A-Fa-f]{2}>$/.test(name)) return -1;
  to[at] = parseInt(name.slice(3, 5), 16);
  return at + 1;
}

/** SentencePiece writes a space as U+2581 (E2 96 81). */
function decodeSpaces(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): number {
  for (let i = start; i < end; i++) {
    if (from[i] === 0xe2 && i + 2 < end && from[i + 1] === 0x96 && from[i + 2] === 0x81) {
      to[at++] = 0x20;
      i += 2;
    } else {
      to[at++] = from[i]!;
    }
  }
  return at;
}

/**
 * Fills the table from bytes to piece with what text can be made of: neither control and unknown tokens, which no
 * plain text may produce, nor byte tokens, which stand for bytes that have no piece. Duplicates are allowed: the first
 * id wins, and an ordinary token wins over a user-defined one.
 */
function indexPieces(pieces: Pieces, types: Uint8Array, n: number): void {
  pieces.table = sharedInt32(slotsFor(n) * 2);
  for (const userDefined of [false, true]) {
    for (let id = 0; id < n; id++) {
      const type = types[id]!;
      if (type === TOKEN_TYPE.control || type === TOKEN_TYPE.unknown || type === TOKEN_TYPE.byte) continue;
      if ((type === TOKEN_TYPE.userDefined) !== userDefined) continue;
      const start = pieces.offsets[id]!;
      const end = pieces.offsets[id + 1]!;
      if (start === end) continue;
      const hash = hashBytes(pieces.bytes, start, end);
      const known = findPiece(pieces.table, pieces.bytes, pieces.offsets, pieces.bytes, start, end, hash);
      if (known >= 0) continue;
      addPiece(pieces.table, hash, id);
      pieces.indexed[id] = 1;
    }
  }
}

function byteTokens(source: VocabSource, pieces: Pieces, types: Uint8Array): Int32Array {
  const ids = sharedInt32(256).fill(-1);
  if (source.model === "gpt2") {
    const one = new Uint8Array(1);
    for (let byte = 0; byte < 256; byte++) {
      one[0] = byte;
      const id = findPiece(pieces.table, pieces.bytes, pieces.offsets, one, 0, 1, hashBytes(one, 0, 1));
      if (id < types.length) ids[byte] = id;
    }
    return ids;
  }
  for (let id = types.length - 1; id >= 0; id--) {
    if (types[id] !== TOKEN_TYPE.byte || pieces.offsets[id + 1]! - pieces.offsets[id]! !== 1) continue;
    ids[pieces.bytes[pieces.offsets[id]!]!] = id;
  }
  return ids;
}

/** Place of each score in descending order; equal scores share a place. */
function ranksOf(scores: Float32Array): Uint32Array {
  const sorted = scores.slice().sort();
  const place = new Map<number, number>();
  for (let i = sorted.length - 1; i >= 0; i--) {
    if (!place.has(sorted[i]!)) place.set(sorted[i]!, place.size);
  }
  const ranks = new Uint32Array(new SharedArrayBuffer(scores.length * 4));
  for (const [id, score] of scores.entries()) ranks[id] = place.get(score)!;
  return ranks;
}

function longestPiece(offsets: Uint32Array): number {
  let longest = 0;
  for (let i = 0; i + 1 < offsets.length; i++) longest = Math.max(longest, offsets[i + 1]! - offsets[i]!);
  return longest;
}

function bytesBeforeSpace(pieces: Pieces, types: Uint8Array): Uint8Array {
  const before = new Uint8Array(new SharedArrayBuffer(256));
  for (const [id, type] of types.entries()) {
    if (type === TOKEN_TYPE.control || type === TOKEN_TYPE.unknown || type === TOKEN_TYPE.byte) continue;
    for (let i = pieces.offsets[id]! + 1; i < pieces.offsets[id + 1]!; i++) {
      if (pieces.bytes[i] === 0x20 && pieces.bytes[i - 1] !== 0x20) before[pieces.bytes[i - 1]!] = 1;
    }
  }
  return before;
}

function endIds(source: VocabSource, endTokens: EndTokens): Int32Array {
  const ids = new Set<number>(source.eogIds);
  for (const id of endTokens.ends) ids.add(id);
  const { eosId, eotId } = specialIds(source);
  if (eosId !== undefined) ids.add(eosId);
  if (eotId !== undefined) ids.add(eotId);
  const sorted = Int32Array.from(ids).sort();
  const shared = sharedInt32(sorted.length);
  shared.set(sorted);
  return shared;
}
