/** Tries over the bytes of a vocabulary's tokens, flat and in preorder, and what else masks need of the tokens. */
import { TOKEN_TYPE, type VocabTables } from "../text/vocab.ts";

/**
 * Tokens of more bytes (runs of spaces and signs) are allowed in free text only: without them a mask need not look
 * further ahead than this, and what they write can be written by shorter ones.
 */
const MAX_TOKEN_BYTES = 32;

/** A trie in preorder: the nodes below node i are i + 1 ... end[i] - 1. Node 0 is the root. */
export interface Trie {
  readonly nNodes: number;
  /** Byte that leads to each node. */
  readonly byte: Uint8Array;
  /** Bytes from the root. */
  readonly depth: Uint16Array;
  /** Where the next node that is not below this one lies. */
  readonly end: Int32Array;
  /** First token that ends here, or -1. */
  readonly token: Int32Array;
  /** Longest token, in bytes. */
  readonly maxDepth: number;
}

/** What masks know of a vocabulary's tokens; cloneable, and the large arrays lie on shared memory. */
export interface TokenData {
  /** Words of a mask that has a bit for each token. */
  readonly maskWords: number;
  /** All tokens that stand for text, but the long ones. */
  readonly all: Trie;
  /** Tokens of more bytes than any of `all`. */
  readonly long: Int32Array;
  /** Those of them that are not whole characters which a JSON string has unescaped. */
  readonly rest: Trie;
  /** The next token with the same bytes, or -1; [size]. */
  readonly same: Int32Array;
  /** Characters of each token of `all` that is not in `rest`; 0 for all others; [size]. */
  readonly plainLength: Uint16Array;
  readonly maxPlainLength: number;
  /** Tokens that end a text. */
  readonly ends: Int32Array;
  /** Tokens that stand for no text and don't end it. */
  readonly silent: Int32Array;
}

/** The data together with the tables that it was made from. */
export interface TokenIndex extends TokenData {
  readonly tables: VocabTables;
}

const indexes = new WeakMap<VocabTables, TokenIndex>();

/**
 * The index of a vocabulary, kept with its tables in this thread. Its data are made here at the first call (some 50 ms
 * for 128,000 tokens) unless another thread made them.
 */
export function tokenIndexOf(tables: VocabTables, data?: TokenData): TokenIndex {
  let index = indexes.get(tables);
  if (index === undefined) {
    index = { ...(data ?? tokenDataOf(tables)), tables };
    indexes.set(tables, index);
  }
  return index;
}

function sharedInt32(length: number): Int32Array {
  return new Int32Array(new SharedArrayBuffer(4 * length));
}

function sharedUint16(length: number): Uint16Array {
  return new Uint16Array(new SharedArrayBuffer(2 * length));
}

/** What masks need to know of a vocabulary. */
export function tokenDataOf(tables: VocabTables): TokenData {
  const { size, pieceBytes, pieceOffsets, types } = tables;
  const isEnd = new Uint8Array(size);
  for (const id of tables.eogIds) isEnd[id] = 1;
  const plainLength = sharedUint16(size);
  const all: number[] = [], long: number[] = [], rest: number[] = [], silent: number[] = [];
  let maxPlainLength = 0;
  for (let id = 0; id < size; id++) {
    const start = pieceOffsets[id]!, end = pieceOffsets[id + 1]!;
    if (isEnd[id] === 1) continue;
    if (start === end || types[id] === TOKEN_TYPE.control || types[id] === TOKEN_TYPE.unknown) {
      silent.push(id);
      continue;
    }
    if (end - start > MAX_TOKEN_BYTES) {
      long.push(id);
      continue;
    }
    all.push(id);
    const length = plainCharacters(pieceBytes, start, end);
    if (length < 0) rest.push(id);
    else plainLength[id] = length;
    maxPlainLength = Math.max(maxPlainLength, length);
  }
  const same = sharedInt32(size).fill(-1);
  return {
    maskWords: Math.ceil(size / 32),
    all: buildTrie(tables, all, same),
    long: Int32Array.from(long),
    rest: buildTrie(tables, rest, new Int32Array(size)),
    same,
    plainLength,
    maxPlainLength,
    ends: tables.eogIds,
    silent: Int32Array.from(silent),
  };
}

/** How many characters these bytes are, if they are whole characters that a JSON string has unescaped; else -1. */
function plainCharacters(bytes: Uint8Array, start: number, end: number): number {
  let n = 0;
  for (let i = start; i < end; n++) {
    const lead = bytes[i]!;
    if (lead < 0x20 || lead === 0x22 || lead === 0x5c) return -1;
    const length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (length === 0 || i + length > end) return -1;
    for (let k = 1; k < length; k++) if ((bytes[i + k]! & 0xc0) !== 0x80) return -1;
    const second = length > 1 ? bytes[i + 1]! : 0;
    if ((lead === 0xe0 && second < 0xa0) || (lead === 0xed && second > 0x9f)) return -1;
    if ((lead === 0xf0 && second < 0x90) || (lead === 0xf4 && second > 0x8f)) return -1;
    i += length;
  }
  return n;
}

/** Nodes in the order of insertion, with their children as lists, and a hash table to find a child. */
class TrieBuilder {
  #n = 1;
  readonly byte: Uint8Array;
  readonly token: Int32Array;
  readonly firstChild: Int32Array;
  readonly sibling: Int32Array;
  readonly #parent: Int32Array;
  readonly #slots: Int32Array;

  constructor(maxNodes: number) {
    this.byte = new Uint8Array(maxNodes);
    this.token = new Int32Array(maxNodes).fill(-1);
    this.firstChild = new Int32Array(maxNodes);
    this.sibling = new Int32Array(maxNodes);
    this.#parent = new Int32Array(maxNodes);
    this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(maxNodes * 2)));
  }

  get nNodes(): number {
    return this.#n;
  }

  child(parent: number, byte: number): number {
    const mask = this.#slots.length - 1;
    const mixed = Math.imul(parent * 256 + byte, 0x9e3779b1);
    let slot = (mixed ^ (mixed >>> 15)) & mask;
    for (let node; (node = this.#slots[slot]!) !== 0; slot = (slot + 1) & mask) {
      if (this.#parent[node] === parent && this.byte[node] === byte) return node;
    }
    const node = this.#n++;
    this.#slots[slot] = node;
    this.#parent[node] = parent;
    this.byte[node] = byte;
    this.sibling[node] = this.firstChild[parent]!;
    this.firstChild[parent] = node;
    return node;
  }
}

/** The trie of some tokens; `same` gets the next token of the same bytes. */
export function buildTrie(
  { pieceBytes, pieceOffsets }: VocabTables,
  tokens: readonly number[],
  same: Int32Array,
): Trie {
  let total = 1;
  for (const id of tokens) total += pieceOffsets[id + 1]! - pieceOffsets[id]!;
  const builder = new TrieBuilder(total);
  for (const id of tokens) {
    let node = 0;
    for (let i = pieceOffsets[id]!; i < pieceOffsets[id + 1]!; i++) node = builder.child(node, pieceBytes[i]!);
    same[id] = builder.token[node]!;
    builder.token[node] = id;
  }
  return flatten(builder);
}

function flatten({ nNodes, byte, token, firstChild, sibling }: TrieBuilder): Trie {
  const trie = {
    nNodes,
    byte: new Uint8Array(new SharedArrayBuffer(nNodes)),
    depth: sharedUint16(nNodes),
    end: sharedInt32(nNodes),
    token: sharedInt32(nNodes),
    maxDepth: 0,
  };
  /** Nodes on the way to the current one, where each landed, and which child comes next. */
  const way = [{ node: 0, at: 0, next: firstChild[0]! }];
  trie.token[0] = -1;
  let n = 1;
  while (way.length > 0) {
    const top = way.at(-1)!;
    if (top.next === 0) {
      trie.end[top.at] = n;
      way.pop();
      continue;
    }
    const node = top.next;
    top.next = sibling[node]!;
    trie.byte[n] = byte[node]!;
    trie.depth[n] = way.length;
    trie.token[n] = token[node]!;
    trie.maxDepth = Math.max(trie.maxDepth, way.length);
    way.push({ node, at: n++, next: firstChild[node]! });
  }
  return trie;
}
