/** Parts of a vocabulary that a mask can take over as they are, kept for each vocabulary. */
import { buildTrie, type TokenIndex, type Trie } from "./token_trie.ts";

/** Tokens that are decided at once, and a trie of all others. */
export interface SplitTokens {
  readonly mask: Uint32Array;
  readonly trie: Trie;
}

/** Splits by bytes that are kept for a vocabulary. */
const MAX_SPLITS = 8;

const plainMasks = new WeakMap<TokenIndex, Map<number, Uint32Array>>();
const splits = new WeakMap<TokenIndex, Map<string, SplitTokens>>();

function keptFor<Key, Value>(kept: WeakMap<TokenIndex, Map<Key, Value>>, index: TokenIndex): Map<Key, Value> {
  let map = kept.get(index);
  if (map === undefined) kept.set(index, map = new Map());
  return map;
}

/** The tokens of `index.all` that are at most so many characters, all of which a JSON string has unescaped. */
export function plainMask(index: TokenIndex, nCharacters: number): Uint32Array {
  const masks = keptFor(plainMasks, index);
  let mask = masks.get(nCharacters);
  if (mask !== undefined) return mask;
  mask = new Uint32Array(index.maskWords);
  for (const [id, length] of index.plainLength.entries()) {
    if (length > 0 && length <= nCharacters) mask[id >> 5]! |= 1 << (id & 31);
  }
  masks.set(nCharacters, mask);
  return mask;
}

/** The tokens that consist of these bytes (flags, [256]), and the others of `index.all`. */
export function splitByBytes(index: TokenIndex, bytes: readonly boolean[]): SplitTokens {
  const kept = keptFor(splits, index);
  const key = bytes.map(Number).join("");
  const known = kept.get(key);
  if (known !== undefined) return known;
  const { tables, maskWords, all, same } = index;
  const mask = new Uint32Array(maskWords);
  const others: number[] = [];
  /** Whether the way to the last node of each depth consists of these bytes. */
  const within = new Uint8Array(all.maxDepth + 1).fill(1);
  for (let node = 1; node < all.nNodes; node++) {
    const depth = all.depth[node]!;
    within[depth] = bytes[all.byte[node]!]! ? within[depth - 1]! : 0;
    for (let id = all.token[node]!; id >= 0; id = same[id]!) {
      if (within[depth] === 1) mask[id >> 5]! |= 1 << (id & 31);
      else others.push(id);
    }
  }
  for (const id of index.long) {
    const piece = tables.pieceBytes.subarray(tables.pieceOffsets[id]!, tables.pieceOffsets[id + 1]!);
    if (piece.every((byte) => bytes[byte])) mask[id >> 5]! |= 1 << (id & 31);
  }
  others.sort((a, b) => a - b); // the order in which tokens of the same bytes are chained
  const split = { mask, trie: buildTrie(tables, others, new Int32Array(tables.size)) };
  if (kept.size >= MAX_SPLITS) kept.delete(kept.keys().next().value!);
  kept.set(key, split);
  return split;
}
