/** Finding the texts of special tokens inside a text: a byte trie in flat arrays that threads can share. */
import { sharedInt32, slotOf, slotsFor } from "./flat_tables.ts";
import type { VocabTables } from "./vocab.ts";

/** A trie under construction; node 0 is the root. */
export interface TrieTables {
  /** Slots of (node * 256 + byte + 1, child); 0 = free. */
  readonly trieTable: Int32Array;
  /** Token whose text ends at a node, or -1. */
  readonly trieTokens: Int32Array;
}

function keyOf(node: number, byte: number): number {
  return node * 256 + byte + 1;
}

/** Child of a trie node, or 0. */
function childOf(table: Int32Array, node: number, byte: number): number {
  const key = keyOf(node, byte);
  const mask = (table.length >> 1) - 1;
  for (let slot = slotOf(key, mask);; slot = (slot + 1) & mask) {
    const found = table[slot * 2]!;
    if (found === key) return table[slot * 2 + 1]!;
    if (found === 0) return 0;
  }
}

/**
 * A trie over the texts of `ids`, where the text of `id` is `bytes[offsets[id] ... offsets[id + 1])`. Empty texts are
 * left out; of equal texts the first id wins.
 */
export function buildTrie(ids: readonly number[], bytes: Uint8Array, offsets: Uint32Array): TrieTables {
  let bound = 1;
  for (const id of ids) bound += offsets[id + 1]! - offsets[id]!;
  const table = sharedInt32(slotsFor(bound) * 2);
  const mask = (table.length >> 1) - 1;
  const tokens = sharedInt32(bound).fill(-1);
  let nodes = 1;
  for (const id of ids) {
    let node = 0;
    for (let i = offsets[id]!; i < offsets[id + 1]!; i++) {
      const byte = bytes[i]!;
      let child = childOf(table, node, byte);
      if (child === 0) {
        child = nodes++;
        const key = keyOf(node, byte);
        let slot = slotOf(key, mask);
        while (table[slot * 2] !== 0) slot = (slot + 1) & mask;
        table[slot * 2] = key;
        table[slot * 2 + 1] = child;
      }
      node = child;
    }
    if (node !== 0 && tokens[node] === -1) tokens[node] = id;
  }
  return { trieTable: table, trieTokens: tokens };
}

/** Finds special tokens in UTF-8 bytes. Keeps no state between calls. */
export class SpecialMatcher {
  readonly #tables: VocabTables;
  /** 1 for each byte that starts the text of a special token. */
  readonly #starts = new Uint8Array(256);

  constructor(tables: VocabTables) {
    this.#tables = tables;
    for (let byte = 0; byte < 256; byte++) {
      this.#starts[byte] = childOf(tables.trieTable, 0, byte) === 0 ? 0 : 1;
    }
  }

  /**
   * The longest special token that starts at `bytes[at]`, or -1. `wanted[type]` says which types of tokens count
   * (by {@linkcode TOKEN_TYPE}).
   */
  match(bytes: Uint8Array, at: number, end: number, wanted: readonly boolean[]): number {
    if (this.#starts[bytes[at]!] === 0) return -1;
    const { trieTable, trieTokens, types } = this.#tables;
    let best = -1;
    let node = 0;
    for (let i = at; i < end; i++) {
      node = childOf(trieTable, node, bytes[i]!);
      if (node === 0) break;
      const token = trieTokens[node]!;
      if (token >= 0 && wanted[types[token]!] === true) best = token;
    }
    return best;
  }

  /** First position in `bytes[from ... end)` at which some special token may start; `end` when there is none. */
  nextStart(bytes: Uint8Array, from: number, end: number): number {
    const starts = this.#starts;
    while (from < end && starts[bytes[from]!] === 0) from++;
    return from;
  }
}

/** The special token with exactly this text, or -1. */
export function idOfSpecial(tables: VocabTables, text: string): number {
  const bytes = new TextEncoder().encode(text);
  let node = 0;
  for (const byte of bytes) {
    node = childOf(tables.trieTable, node, byte);
    if (node === 0) return -1;
  }
  return tables.trieTokens[node]!;
}
