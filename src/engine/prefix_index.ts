/**
 * Full pages of finished or running sequences, by the tokens they hold: a trie with one node a page. A new prompt takes
 * the longest run of pages it finds. The index holds each page once; pages that only the index holds can be evicted,
 * least recently used first.
 */
import type { PagePool } from "./pages.ts";

interface Node {
  parent: Node | undefined;
  tokens: Int32Array;
  page: number;
  children: Map<number, Node[]>;
  nChildren: number;
  usedAt: number;
}

function hashOf(tokens: ArrayLike<number>, first: number, n: number): number {
  let hash = 0x811c9dc5;
  for (let i = first; i < first + n; i++) hash = Math.imul(hash ^ tokens[i]!, 0x01000193);
  return hash >>> 0;
}

/** The index of one cache group. */
export class PrefixIndex {
  readonly #pool: PagePool;
  readonly #pageTokens: number;
  readonly #root: Node = {
    parent: undefined,
    tokens: new Int32Array(0),
    page: 0,
    children: new Map(),
    nChildren: 0,
    usedAt: 0,
  };
  readonly #nodes = new Set<Node>();
  #clock = 0;

  constructor(pool: PagePool, pageTokens: number) {
    this.#pool = pool;
    this.#pageTokens = pageTokens;
  }

  /** Pages in the index. */
  get size(): number {
    return this.#nodes.size;
  }

  /** The pages that hold a prefix of `tokens`, at most `maxPages`; each gets one more holder. */
  take(tokens: ArrayLike<number>, maxPages: number): number[] {
    const pages: number[] = [];
    let node = this.#root;
    while (pages.length < maxPages) {
      const next = this.#child(node, tokens, pages.length * this.#pageTokens);
      if (next === undefined) break;
      next.usedAt = ++this.#clock;
      this.#pool.retain(next.page);
      pages.push(next.page);
      node = next;
    }
    return pages;
  }

  /** Remembers that pages[i] holds tokens [i * pageTokens, (i + 1) * pageTokens), for the first `nPages` pages. */
  put(tokens: ArrayLike<number>, pages: readonly number[], nPages: number): void {
    let node = this.#root;
    for (let i = 0; i < nPages; i++) {
      const first = i * this.#pageTokens;
      let next = this.#child(node, tokens, first);
      if (next === undefined) {
        next = this.#insert(
          node,
          Int32Array.from({ length: this.#pageTokens }, (_, k) => tokens[first + k]!),
          pages[i]!,
        );
      }
      next.usedAt = ++this.#clock;
      node = next;
    }
  }

  /** Gives up the least recently used page that nothing else holds; false when there is none. */
  evict(): boolean {
    let oldest: Node | undefined;
    for (const node of this.#nodes) {
      const evictable = node.nChildren === 0 && this.#pool.holders(node.page) === 1;
      if (evictable && (oldest === undefined || node.usedAt < oldest.usedAt)) oldest = node;
    }
    if (oldest === undefined) return false;
    this.#remove(oldest);
    return true;
  }

  #child(node: Node, tokens: ArrayLike<number>, first: number): Node | undefined {
    if (first + this.#pageTokens > tokens.length) return undefined;
    const same = node.children.get(hashOf(tokens, first, this.#pageTokens));
    return same?.find((child) => child.tokens.every((token, k) => token === tokens[first + k]));
  }

  #insert(parent: Node, tokens: Int32Array, page: number): Node {
    const node: Node = { parent, tokens, page, children: new Map(), nChildren: 0, usedAt: 0 };
    const hash = hashOf(tokens, 0, tokens.length);
    const bucket = parent.children.get(hash);
    if (bucket === undefined) parent.children.set(hash, [node]);
    else bucket.push(node);
    parent.nChildren++;
    this.#nodes.add(node);
    this.#pool.retain(page);
    return node;
  }

  #remove(node: Node): void {
    const parent = node.parent!;
    const hash = hashOf(node.tokens, 0, node.tokens.length);
    const bucket = parent.children.get(hash)!.filter((other) => other !== node);
    if (bucket.length === 0) parent.children.delete(hash);
    else parent.children.set(hash, bucket);
    parent.nChildren--;
    this.#nodes.delete(node);
    this.#pool.release(node.page);
  }
}
