/**
 * Full pages of finished or running sequences, by the tokens they hold: for each salt a trie with one node a page. A
 * new prompt takes the longest run of pages it finds; tokens are compared, so that equal hashes do no harm. The index
 * holds each page once; pages that only the index holds are given up when they are needed, least recently used first.
 */
import type { PagePool } from "./pages.ts";

interface Node {
  parent: Node | undefined;
  salt: string;
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

function emptyNode(parent: Node | undefined, salt: string, tokens: Int32Array, page: number): Node {
  return { parent, salt, tokens, page, children: new Map(), nChildren: 0, usedAt: 0 };
}

/** The index of one cache group. */
export class PrefixIndex {
  readonly #pool: PagePool;
  readonly #pageTokens: number;
  readonly #roots = new Map<string, Node>();
  readonly #nodes = new Set<Node>();
  /** Leaves that nobody else held when this list was made, the least recently used last, with their use of then. */
  #oldest: { node: Node; usedAt: number }[] = [];
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
  take(salt: string, tokens: ArrayLike<number>, maxPages: number): number[] {
    const pages: number[] = [];
    let node = this.#roots.get(salt);
    while (node !== undefined && pages.length < maxPages) {
      node = this.#child(node, tokens, pages.length * this.#pageTokens);
      if (node === undefined) break;
      node.usedAt = ++this.#clock;
      this.#pool.retain(node.page);
      pages.push(node.page);
    }
    return pages;
  }

  /**
   * Remembers that pages[i] holds tokens [i * pageTokens, (i + 1) * pageTokens), for the first `nPages` pages. Where
   * the index has these tokens in another page, `pages` gets that one: equal prefixes are held once.
   */
  put(salt: string, tokens: ArrayLike<number>, pages: number[], nPages: number): void {
    if (nPages === 0) return;
    let node = this.#roots.get(salt);
    if (node === undefined) this.#roots.set(salt, node = emptyNode(undefined, salt, new Int32Array(0), 0));
    for (let i = 0; i < nPages; i++) {
      const first = i * this.#pageTokens;
      let next = this.#child(node, tokens, first);
      if (next === undefined) {
        const own = Int32Array.from({ length: this.#pageTokens }, (_, k) => tokens[first + k]!);
        next = this.#insert(node, own, pages[i]!);
      } else if (next.page !== pages[i]) {
        this.#pool.retain(next.page);
        this.#pool.release(pages[i]!);
        pages[i] = next.page;
      }
      next.usedAt = ++this.#clock;
      node = next;
    }
  }

  /** Gives up the least recently used page that nothing else holds; false when there is none. */
  evict(): boolean {
    for (let refilled = false;;) {
      const oldest = this.#oldest.pop();
      if (oldest === undefined) {
        if (refilled || this.#pool.idle === 0) return false;
        refilled = true;
        this.#findOldest();
        continue;
      }
      const { node, usedAt } = oldest;
      if (node.usedAt !== usedAt || !this.#isEvictable(node)) continue;
      this.#remove(node);
      // A run of pages goes from its end: the page before is not younger than this one was.
      const { parent } = node;
      if (parent?.parent !== undefined && this.#isEvictable(parent)) {
        this.#oldest.push({ node: parent, usedAt: parent.usedAt });
      }
      return true;
    }
  }

  #isEvictable(node: Node): boolean {
    return node.nChildren === 0 && this.#nodes.has(node) && this.#pool.isIdle(node.page);
  }

  #findOldest(): void {
    const leaves = [...this.#nodes].filter((node) => this.#isEvictable(node));
    this.#oldest = leaves.sort((a, b) => b.usedAt - a.usedAt).map((node) => ({ node, usedAt: node.usedAt }));
  }

  #child(node: Node, tokens: ArrayLike<number>, first: number): Node | undefined {
    if (node.nChildren === 0 || first + this.#pageTokens > tokens.length) return undefined;
    const same = node.children.get(hashOf(tokens, first, this.#pageTokens));
    return same?.find((child) => child.tokens.every((token, k) => token === tokens[first + k]));
  }

  #insert(parent: Node, tokens: Int32Array, page: number): Node {
    const node = emptyNode(parent, parent.salt, tokens, page);
    const hash = hashOf(tokens, 0, tokens.length);
    const bucket = parent.children.get(hash);
    if (bucket === undefined) parent.children.set(hash, [node]);
    else bucket.push(node);
    parent.nChildren++;
    this.#nodes.add(node);
    this.#pool.keep(page);
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
    this.#pool.drop(node.page);
    if (parent.parent === undefined && parent.nChildren === 0) this.#roots.delete(parent.salt);
  }
}
