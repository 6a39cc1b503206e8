/**
 * The masks of one grammar over one vocabulary. Only the top of a stack matters for most tokens: masks are kept by what
 * is above the topmost rule's frame, with counters as far from their bounds as any token can reach all alike. Tokens
 * that return from that rule are kept as places of the trie from which the rest of the real stack goes on.
 */
import { RealizarError } from "../errors.ts";
import { STATE } from "./automaton.ts";
import { Escapes } from "./escapes.ts";
import { ESCAPED, Follower, type Leaves } from "./follow.ts";
import { Frames } from "./frames.ts";
import { plainMask, splitByBytes, type SplitTokens } from "./token_split.ts";
import type { TokenIndex, Trie } from "./token_trie.ts";

/** Sets of leaves and bytes of masks that are kept; above them all are forgotten. */
const MAX_KEPT_SETS = 8192;
const MAX_MASK_BYTES = 8 << 20;
/** Sets that one mask may add. */
const MAX_NEW_SETS = 50_000;
/** Bytes that keep a set of free text where it is: so many that it is worth to know the tokens made of them. */
const MIN_LOOP_BYTES = 128;

/** The tokens allowed after one set of leaves. */
export interface SetMask {
  /** Ids, or the bits of all tokens. */
  readonly tokens: Int32Array | undefined;
  readonly bits: Uint32Array | undefined;
  readonly trie: Trie;
  /** Where the stack under a bottom decides. */
  readonly escapes: Escapes;
}

/** A set of leaves over bottoms, and the real frames that its bottoms stand for: bottom -1 - i is `bottoms[i]`. */
export interface LocalSet {
  readonly set: number;
  readonly bottoms: readonly number[];
}

/** Sets, their transitions and masks: shared by all constraints of one grammar in one thread. */
export class MaskCache {
  readonly words: Int32Array;
  readonly index: TokenIndex;
  readonly #frames = new Frames();
  readonly #follower: Follower;
  readonly #ids = new Map<string, number>();
  #leaves: Leaves[] = [];
  /** Set after each byte, + 1; 0 = unknown, -1 = none. */
  #rows: (Int32Array | undefined)[] = [];
  /** Bottoms of each set that escaped, -1 ... ; undefined for most. */
  #escaped: (Int32Array | undefined)[] = [];
  #masks: (SetMask | undefined)[] = [];
  #maskBytes = 0;
  #nAllowed = 0;
  #setsBefore = 0;
  /** Sets along the current way into a trie. */
  #way = new Int32Array(256);

  constructor(words: Int32Array, index: TokenIndex) {
    this.words = words;
    this.index = index;
    this.#follower = new Follower(words, this.#frames);
  }

  /** Begins a mask: what was kept may be forgotten, its work is counted from 0. */
  begin(): void {
    if (this.#leaves.length > MAX_KEPT_SETS || this.#maskBytes > MAX_MASK_BYTES) {
      this.#ids.clear();
      this.#frames.clear();
      this.#leaves = [];
      this.#rows = [];
      this.#escaped = [];
      this.#masks = [];
      this.#maskBytes = 0;
    }
    this.#setsBefore = this.#leaves.length;
    this.#follower.restart();
  }

  /** The set that leaves over real frames are an instance of. */
  localOf(leaves: Leaves, real: Frames): LocalSet {
    const bottoms: number[] = [];
    const local = new Int32Array(leaves.length);
    for (let i = 0; i < leaves.length; i += 2) {
      local[i] = leaves[i]!;
      local[i + 1] = this.#localFrame(leaves[i + 1]!, real, bottoms);
    }
    return { set: this.#idOf(local), bottoms };
  }

  /** Counters on top of a stack, over the bottom for what is below them. */
  #localFrame(frame: number, real: Frames, bottoms: number[]): number {
    const counters: number[] = [];
    while (frame >= 0 && this.words[real.state[frame]!] === STATE.head) {
      counters.push(frame);
      frame = real.below[frame]!;
    }
    let at = bottoms.indexOf(frame);
    if (at < 0) at = bottoms.push(frame) - 1;
    let local = -1 - at;
    for (let i = counters.length - 1; i >= 0; i--) {
      const head = real.state[counters[i]!]!;
      local = this.#frames.push(head, this.#nearCount(head, real.count[counters[i]!]!), local);
    }
    return local;
  }

  /** The smallest count that no token can tell from this one. */
  #nearCount(head: number, count: number): number {
    const reach = this.index.all.maxDepth;
    const min = this.words[head + 1]!, max = this.words[head + 2]!;
    if (min - count > reach) return min - reach - 1;
    if (max < 0 || count < min || max - count <= reach) return count;
    return Math.max(min, max - reach - 1);
  }

  #idOf(leaves: Leaves): number {
    const key = leaves.join();
    let id = this.#ids.get(key);
    if (id !== undefined) return id;
    id = this.#leaves.push(leaves) - 1;
    if (id - this.#setsBefore > MAX_NEW_SETS) {
      throw new RealizarError("LIMIT", "the grammar is too ambiguous: a mask needs too many states");
    }
    this.#ids.set(key, id);
    const escaped: number[] = [];
    for (let i = 0; i < leaves.length && leaves[i] === ESCAPED; i += 2) escaped.push(leaves[i + 1]!);
    this.#escaped[id] = escaped.length === 0 ? undefined : Int32Array.from(escaped);
    return id;
  }

  /** The set after a byte, or -1. */
  next(set: number, byte: number): number {
    const row = this.#rows[set] ??= new Int32Array(256);
    const known = row[byte]!;
    if (known !== 0) return known < 0 ? -1 : known - 1;
    const leaves = this.#follower.advance(this.#leaves[set]!, byte);
    const next = leaves.length === 0 ? -1 : this.#idOf(leaves);
    row[byte] = next < 0 ? -1 : next + 1;
    return next;
  }

  /** The mask of a set; made at the first call. */
  maskOf(set: number): SetMask {
    return this.#masks[set] ??= this.#makeMask(set);
  }

  #makeMask(set: number): SetMask {
    const { index } = this;
    const bits = new Uint32Array(index.maskWords);
    const escapes = new Escapes();
    const leaves = this.#leaves[set]!;
    const isFree = hasLeaf(this.words, leaves, STATE.free);
    const { mask, trie } = (isFree ? this.#loopTokens(set) : this.#plainTokens(set)) ??
      { mask: undefined, trie: index.all };
    this.#nAllowed = 0;
    if (mask !== undefined) {
      bits.set(mask);
      this.#nAllowed = Infinity;
    }
    this.walk(trie, 1, trie.nNodes, set, bits, escapes);
    if (isFree || hasLeaf(this.words, leaves, STATE.control)) this.#addSilent(set, bits);
    // A mask of few tokens is kept as a list.
    const list = this.#nAllowed < index.maskWords ? listOf(bits, this.#nAllowed) : undefined;
    this.#maskBytes += 4 * (list ?? bits).length + 8 * escapes.count;
    return { tokens: list, bits: list === undefined ? bits : undefined, trie, escapes };
  }

  /**
   * Allows the tokens at nodes `from ... to - 1` of a trie that fit when the set is at the parent of `from`, and adds
   * to `escapes` where ways left the known stack.
   */
  walk(trie: Trie, from: number, to: number, set: number, bits: Uint32Array, escapes: Escapes): void {
    if (from >= to) return;
    const { byte, depth, end, token } = trie;
    const { same } = this.index;
    if (this.#way.length <= trie.maxDepth) this.#way = new Int32Array(trie.maxDepth + 1);
    const way = this.#way;
    way[depth[from]! - 1] = set;
    for (let at = from; at < to;) {
      const next = this.next(way[depth[at]! - 1]!, byte[at]!);
      if (next < 0) {
        at = end[at]!;
        continue;
      }
      way[depth[at]!] = next;
      for (let id = token[at]!; id >= 0; id = same[id]!) {
        bits[id >> 5]! |= 1 << (id & 31);
        this.#nAllowed++;
      }
      const escaped = this.#escaped[next];
      if (escaped !== undefined) { for (const bottom of escaped) escapes.add(trie, at, bottom); }
      at++;
    }
  }

  /** Tokens without text go through the automaton by their names: a trigger may be one of them, or a mark. */
  #addSilent(set: number, bits: Uint32Array): void {
    const { pieceBytes, pieceOffsets } = this.index.tables;
    for (const id of this.index.silent) {
      let at = set;
      for (let i = pieceOffsets[id]!; i < pieceOffsets[id + 1]! && at >= 0; i++) at = this.next(at, pieceBytes[i]!);
      if (at < 0) continue;
      bits[id >> 5]! |= 1 << (id & 31);
      this.#nAllowed++;
    }
  }

  /** The tokens of free text that cannot begin a trigger, and the others. */
  #loopTokens(set: number): SplitTokens | undefined {
    const loops = Array.from({ length: 256 }, (_, byte) => this.next(set, byte) === set);
    return loops.filter((loop) => loop).length < MIN_LOOP_BYTES ? undefined : splitByBytes(this.index, loops);
  }

  /** The tokens of plain characters that fit into the rest of a string, and the others, when that is all about them. */
  #plainTokens(set: number): SplitTokens | undefined {
    const leaves = this.#leaves[set]!;
    const { words } = this;
    const { maxPlainLength, rest } = this.index;
    let room = -1, only = true;
    for (let i = 0; i < leaves.length; i += 2) {
      const state = leaves[i]!, frame = leaves[i + 1]!;
      if (state < 0 || words[state] !== STATE.plain) {
        only &&= state >= 0 && !takesPlain(words, state);
        continue;
      }
      const head = frame < 0 ? -1 : this.#frames.state[frame]!;
      const counted = head >= 0 && words[head] === STATE.head && words[head + 3] === state;
      const max = counted ? words[head + 2]! : -1;
      room = Math.max(room, max < 0 ? maxPlainLength : Math.min(maxPlainLength, max - this.#frames.count[frame]!));
    }
    const usable = room >= 0 && (only || room === maxPlainLength);
    return usable ? { mask: plainMask(this.index, room), trie: rest } : undefined;
  }
}

/** Whether a state takes a byte that begins a plain character of a JSON string. */
function takesPlain(words: Int32Array, state: number): boolean {
  if (words[state]! > STATE.plain) return false;
  for (let i = 0; i < words[state + 1]!; i++) {
    const low = words[state + 2 + 2 * i]! & 0xff, high = words[state + 2 + 2 * i]! >> 8;
    if (high >= 0x20 && !(low === high && (low === 0x22 || low === 0x5c))) return true;
  }
  return false;
}

/** Whether a leaf is of this kind. */
export function hasLeaf(words: Int32Array, leaves: Leaves, kind: number): boolean {
  for (let i = 0; i < leaves.length; i += 2) if (leaves[i]! >= 0 && words[leaves[i]!] === kind) return true;
  return false;
}

function listOf(bits: Uint32Array, n: number): Int32Array {
  const list = new Int32Array(n);
  let at = 0;
  for (let word = 0; word < bits.length; word++) {
    for (let rest = bits[word]!; rest !== 0; rest &= rest - 1) list[at++] = word * 32 + 31 - Math.clz32(rest & -rest);
  }
  return list;
}
