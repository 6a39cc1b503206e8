/** The merges of byte-level BPE, from `left right` strings to a hash table over pairs of pieces. */
import type { StringTable } from "../string_table.ts";
import { decodeByteLevel } from "./byte_level.ts";
import { addMerge, addPiece, findPiece, hashBytes, sharedInt32, slotsFor } from "./flat_tables.ts";
import type { Pieces } from "./vocab_build.ts";

/**
 * Where the two pieces of merge `i` part: the first space after the first byte (a piece may itself begin with a space
 * where it is not written in the byte-level alphabet). -1 when there are no two pieces.
 */
export function spaceOfMerge(merges: StringTable, i: number): number {
  const start = merges.offsets[i]!;
  const last = start + merges.lengths[i]! - 1;
  for (let at = start + 1; at < last; at++) {
    if (merges.bytes[at] === 0x20) return at;
  }
  return -1;
}

/**
 * Builds the merge table. Merges may name pieces that are no tokens: like llama.cpp, which merges texts and looks at
 * the vocabulary only at the end, such pieces are added to `pieces` beyond the tokens; text that ends as one of them
 * is written with its byte tokens. Control tokens are not pieces, so no merge can produce one.
 */
export function buildMerges(merges: StringTable, pieces: Pieces): Int32Array {
  const table = sharedInt32(slotsFor(merges.length) * 4);
  let longest = 0;
  for (let i = 0; i < merges.length; i++) longest = Math.max(longest, merges.lengths[i]!);
  const scratch = new Uint8Array(longest);
  let result = 0;
  for (let rank = 0; rank < merges.length; rank++) {
    const start = merges.offsets[rank]!;
    const end = start + merges.lengths[rank]!;
    const space = spaceOfMerge(merges, rank);
    const middle = decodePart(merges.bytes, start, space, scratch, 0);
    const last = decodePart(merges.bytes, space + 1, end, scratch, middle);
    const leftHash = hashBytes(scratch, 0, middle);
    const left = pieceOf(pieces, scratch, 0, middle, leftHash);
    const right = pieceOf(pieces, scratch, middle, last, hashBytes(scratch, middle, last));
    // Vocabularies list results in the order of their merges, so it is most often the last result or the next token.
    if (!hasBytes(pieces, result, scratch, last) && !hasBytes(pieces, ++result, scratch, last)) {
      result = pieceOf(pieces, scratch, 0, last, hashBytes(scratch, middle, last, leftHash));
    }
    addMerge(table, left, right, rank, result);
  }
  return table;
}

function decodePart(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): number {
  const next = decodeByteLevel(from, start, end, to, at);
  if (next >= 0) return next;
  to.set(from.subarray(start, end), at);
  return at + end - start;
}

/** Whether a piece that text can be made of has the first `end` bytes. */
function hasBytes(pieces: Pieces, piece: number, bytes: Uint8Array, end: number): boolean {
  const at = pieces.offsets[piece]!;
  if (piece >= pieces.count || pieces.offsets[piece + 1]! - at !== end) return false;
  for (let i = 0; i < end; i++) {
    if (pieces.bytes[at + i] !== bytes[i]) return false;
  }
  return pieces.indexed[piece] === 1;
}

/** The piece with these bytes, whose hash is given; a new one when there is none. */
function pieceOf(pieces: Pieces, bytes: Uint8Array, start: number, end: number, hash: number): number {
  const known = findPiece(pieces.table, pieces.bytes, pieces.offsets, bytes, start, end, hash);
  if (known >= 0) return known;
  const piece = pieces.count++;
  const at = pieces.offsets[piece]!;
  reserve(pieces, at + end - start);
  pieces.bytes.set(bytes.subarray(start, end), at);
  pieces.offsets[piece + 1] = at + end - start;
  pieces.indexed[piece] = 1;
  if (slotsFor(pieces.count) * 2 > pieces.table.length) growTable(pieces);
  else addPiece(pieces.table, hash, piece);
  return piece;
}

function reserve(pieces: Pieces, nBytes: number): void {
  if (nBytes > pieces.bytes.length) {
    const grown = new Uint8Array(Math.max(1024, pieces.bytes.length * 2, nBytes));
    grown.set(pieces.bytes);
    pieces.bytes = grown;
  }
  if (pieces.count + 1 > pieces.offsets.length) {
    const grown = new Uint32Array(pieces.offsets.length * 2 + 2);
    grown.set(pieces.offsets);
    pieces.offsets = grown;
    const indexed = new Uint8Array(grown.length);
    indexed.set(pieces.indexed);
    pieces.indexed = indexed;
  }
}

/** A larger table with the same pieces, and with the newest one, which is in no table yet. */
function growTable(pieces: Pieces): void {
  const old = pieces.table;
  pieces.table = sharedInt32(slotsFor(pieces.count) * 2);
  for (let slot = 0; slot < old.length; slot += 2) {
    if (old[slot + 1] !== 0) addPiece(pieces.table, old[slot]!, old[slot + 1]! - 1);
  }
  const newest = pieces.count - 1;
  addPiece(pieces.table, hashBytes(pieces.bytes, pieces.offsets[newest]!, pieces.offsets[newest + 1]!), newest);
}
