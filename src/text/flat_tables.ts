/** The two hash tables of a vocabulary, as flat arrays that threads can share: bytes to piece, pair to merge. */

/** Multiplier of the polynomial hash of bytes: `hash(ab) = hash(a) * HASH_BASE ** length(b) + hash(b)`, modulo 2^32. */
export const HASH_BASE = 0x01000193;

/**
 * Hash of `bytes[start ... end)`, or of more bytes before them whose hash is `hash`. A byte counts as itself + 1, so
 * that leading zeros matter.
 */
export function hashBytes(bytes: Uint8Array, start: number, end: number, hash = 0): number {
  for (let i = start; i < end; i++) hash = (Math.imul(hash, HASH_BASE) + bytes[i]! + 1) | 0;
  return hash;
}

/** First slot to look at for a hash in a table of `mask + 1` slots. */
export function slotOf(hash: number, mask: number): number {
  const mixed = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return (mixed ^ (mixed >>> 13)) & mask;
}

/** First slot to look at for a pair of pieces. */
export function pairSlot(left: number, right: number, mask: number): number {
  return slotOf(Math.imul(left, 0x9e3779b1) ^ Math.imul(right + 1, 0x85ebca77), mask);
}

/** Smallest power of two at which `n` entries fill at most 5/8 of a table. */
export function slotsFor(n: number): number {
  let slots = 16;
  while (slots * 5 < n * 8) slots *= 2;
  return slots;
}

/** A zeroed Int32Array in shared memory. */
export function sharedInt32(length: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(length * 4));
}

/** A copy of a typed array in shared memory. */
export function sharedBytes(bytes: Uint8Array): Uint8Array {
  const copy = new Uint8Array(new SharedArrayBuffer(bytes.length));
  copy.set(bytes);
  return copy;
}

/** A copy of offsets in shared memory. */
export function sharedUint32(values: Uint32Array): Uint32Array {
  const copy = new Uint32Array(new SharedArrayBuffer(values.length * 4));
  copy.set(values);
  return copy;
}

/**
 * The piece with exactly these bytes, or -1. A slot of the table is (hash, piece + 1); 0 = free.
 * `hash` must be `hashBytes(bytes, start, end)`.
 */
export function findPiece(
  table: Int32Array,
  pieceBytes: Uint8Array,
  pieceOffsets: Uint32Array,
  bytes: Uint8Array,
  start: number,
  end: number,
  hash: number,
): number {
  const mask = (table.length >> 1) - 1;
  const length = end - start;
  for (let slot = slotOf(hash, mask);; slot = (slot + 1) & mask) {
    const piece = table[slot * 2 + 1]! - 1;
    if (piece < 0) return -1;
    if (table[slot * 2] !== hash) continue;
    const at = pieceOffsets[piece]!;
    if (pieceOffsets[piece + 1]! - at !== length) continue;
    let i = 0;
    while (i < length && pieceBytes[at + i] === bytes[start + i]) i++;
    if (i === length) return piece;
  }
}

/** Puts a piece into a free slot; the caller knows that its bytes are not in the table and that there is room. */
export function addPiece(table: Int32Array, hash: number, piece: number): void {
  const mask = (table.length >> 1) - 1;
  let slot = slotOf(hash, mask);
  while (table[slot * 2 + 1] !== 0) slot = (slot + 1) & mask;
  table[slot * 2] = hash;
  table[slot * 2 + 1] = piece + 1;
}

/**
 * Index of the merge of a pair in the merge table, or -1: `table[i + 2]` is its rank, `table[i + 3]` the result.
 * A slot is (left + 1, right, rank, result); 0 = free.
 */
export function findMerge(table: Int32Array, left: number, right: number): number {
  const mask = (table.length >> 2) - 1;
  for (let slot = pairSlot(left, right, mask);; slot = (slot + 1) & mask) {
    const key = table[slot * 4]!;
    if (key === 0) return -1;
    if (key === left + 1 && table[slot * 4 + 1] === right) return slot * 4;
  }
}

/** Adds a merge; a pair that is already there keeps its first rank. The caller knows that there is room. */
export function addMerge(table: Int32Array, left: number, right: number, rank: number, result: number): void {
  const mask = (table.length >> 2) - 1;
  let slot = pairSlot(left, right, mask);
  while (table[slot * 4] !== 0) {
    if (table[slot * 4] === left + 1 && table[slot * 4 + 1] === right) return;
    slot = (slot + 1) & mask;
  }
  table[slot * 4] = left + 1;
  table[slot * 4 + 1] = right;
  table[slot * 4 + 2] = rank;
  table[slot * 4 + 3] = result;
}
