/** Walks a generation through a grammar: which tokens may come next, and where a token leads. */
import { RealizarError } from "../errors.ts";
import type { VocabTables } from "../text/vocab.ts";
import { STATE } from "./automaton.ts";
import { Escapes } from "./escapes.ts";
import { Follower, type Leaves, sortPairs } from "./follow.ts";
import { Frames } from "./frames.ts";
import { hasLeaf, MaskCache } from "./masks.ts";
import { type TokenIndex, tokenIndexOf, type Trie } from "./token_trie.ts";
import type { Constraint, WireGrammar } from "./wire.ts";

/** Grammars whose masks a thread keeps for each vocabulary. */
const MAX_CACHES = 8;
/** Frames of a generation above which those that are not needed any more are looked for. */
const COMPACT_ABOVE = 16_384;

const caches = new WeakMap<TokenIndex, MaskCache[]>();

/** Masks of equal grammars are shared by all generations of this thread. */
function cacheOf(words: Int32Array, index: TokenIndex): MaskCache {
  let list = caches.get(index);
  if (list === undefined) caches.set(index, list = []);
  const known = list.findIndex((cache) => equal(cache.words, words));
  const cache = known < 0 ? new MaskCache(words, index) : list.splice(known, 1)[0]!;
  list.unshift(cache);
  list.length = Math.min(list.length, MAX_CACHES);
  return cache;
}

function equal(a: Int32Array, b: Int32Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/**
 * The constraint of one generation, from the grammar's start. `tables` are those of the vocabulary; what is built over
 * them (once a thread) and masks of equal grammars are shared.
 */
export function createConstraint(grammar: WireGrammar, tables: VocabTables): Constraint {
  return new GrammarConstraint(cacheOf(grammar.words, tokenIndexOf(tables, grammar.tokens)));
}

class GrammarConstraint implements Constraint {
  readonly #cache: MaskCache;
  #frames = new Frames();
  #follower: Follower;
  #leaves: Leaves;
  #compactAbove = COMPACT_ABOVE;

  constructor(cache: MaskCache) {
    this.#cache = cache;
    this.#follower = new Follower(cache.words, this.#frames);
    this.#leaves = this.#follower.start();
  }

  fill(mask: Uint32Array): boolean {
    const cache = this.#cache;
    const { index, words } = cache;
    cache.begin();
    this.#follower.restart();
    const { set, bottoms } = cache.localOf(this.#leaves, this.#frames);
    const known = cache.maskOf(set);
    if (known.bits !== undefined) mask.set(known.bits);
    for (const token of known.tokens ?? []) allow(mask, token);
    this.#fillEscapes(known.trie, known.escapes, bottoms, mask);
    if (hasLeaf(words, this.#leaves, STATE.accept)) { for (const token of index.ends) allow(mask, token); }
    return !(hasLeaf(words, this.#leaves, STATE.free) && isFull(mask, index.tables.size));
  }

  /** Goes on from where ways left the known part of the stack. */
  #fillEscapes(trie: Trie, escapes: Escapes, bottoms: readonly number[], mask: Uint32Array): void {
    const cache = this.#cache;
    for (const [bottom, byBytes] of escapes.nodes) {
      const frame = bottoms[-1 - bottom]!;
      if (frame < 0) continue; // the end of the text: nothing goes on
      const { set, bottoms: below } = cache.localOf(this.#follower.after(frame), this.#frames);
      const further = new Escapes();
      for (const [byte, nodes] of byBytes) {
        if (cache.next(set, byte) < 0) continue;
        for (const node of nodes) cache.walk(trie, node, trie.end[node]!, set, mask, further);
      }
      this.#fillEscapes(trie, further, below, mask);
    }
  }

  accept(token: number): void {
    const { index } = this.#cache;
    if (index.ends.includes(token)) return;
    const { pieceBytes, pieceOffsets } = index.tables;
    this.#follower.restart();
    if (this.#frames.size > this.#compactAbove) this.#compact();
    for (let i = pieceOffsets[token]!; i < pieceOffsets[token + 1]!; i++) {
      this.#leaves = this.#follower.advance(this.#leaves, pieceBytes[i]!);
    }
    if (this.#leaves.length === 0) throw new RealizarError("INTERNAL", `token ${token} does not fit the grammar`);
  }

  /** Forgets frames that nothing stands on any more. */
  #compact(): void {
    const tops = this.#leaves.filter((_, i) => i % 2 === 1);
    this.#frames = this.#frames.compacted(tops);
    this.#compactAbove = Math.max(COMPACT_ABOVE, 2 * this.#frames.size);
    this.#follower = new Follower(this.#cache.words, this.#frames);
    this.#leaves = sortPairs(this.#leaves.map((one, i) => i % 2 === 1 ? tops[i >> 1]! : one));
  }
}

function allow(mask: Uint32Array, token: number): void {
  mask[token >> 5]! |= 1 << (token & 31);
}

function isFull(mask: Uint32Array, size: number): boolean {
  const whole = size >> 5;
  for (let i = 0; i < whole; i++) if (mask[i] !== 0xffffffff) return false;
  return (size & 31) === 0 || mask[whole] === 2 ** (size & 31) - 1;
}
