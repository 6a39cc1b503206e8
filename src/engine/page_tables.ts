/**
 * The pages that sequences hold, of all cache groups, and those whose tokens the prefix index remembers. Nothing here
 * decides who runs: it grants pages or says that there are not enough.
 */
import { PagePool } from "./pages.ts";
import { PrefixIndex } from "./prefix_index.ts";
import type { Sequence } from "./sequence.ts";

/** A cache group as the scheduler sees it. */
export interface SchedulerGroup {
  pageTokens: number;
  /** With the null page. */
  nPages: number;
  /** 0 = all tokens. */
  window: number;
}

/** Page tables of the sequences of one cache. */
export class PageTables {
  readonly #groups: readonly SchedulerGroup[];
  readonly #pools: PagePool[];
  readonly #index: PrefixIndex | undefined;

  constructor(groups: readonly SchedulerGroup[]) {
    this.#groups = groups;
    this.#pools = groups.map((group) => new PagePool(group.nPages));
    // Windows free pages, and several groups would have to agree: prefixes are kept for one full group only.
    const [group] = groups;
    if (groups.length === 1 && group!.window === 0) this.#index = new PrefixIndex(this.#pools[0]!, group!.pageTokens);
  }

  /** Usable pages of all groups. */
  get total(): number {
    return this.#pools.reduce((sum, pool) => sum + pool.total, 0);
  }

  /** Pages that sequences hold. */
  get used(): number {
    return this.#pools.reduce((sum, pool) => sum + pool.total - pool.free - pool.idle, 0);
  }

  /** Pages that only the prefix index holds. */
  get cached(): number {
    return this.#pools.reduce((sum, pool) => sum + pool.idle, 0);
  }

  /** Tokens that one sequence can have when it is alone. */
  get lengthMax(): number {
    return Math.min(...this.#groups.map(({ pageTokens }, g) => this.#pools[g]!.total * pageTokens));
  }

  /**
   * Starts the tables of a sequence: pages that hold its beginning, and new ones for the rest of its known tokens and
   * one more. At least `spare` pages stay free in each group. Returns the tokens whose keys and values are there, or -1
   * when there are not enough pages; nothing has changed then.
   */
  start(sequence: Sequence, spare: number): number {
    const { tokens } = sequence;
    sequence.pages = this.#groups.map(() => []);
    let nFound = 0;
    if (this.#index !== undefined) {
      const { pageTokens } = this.#groups[0]!;
      const nPages = Math.floor(sequence.nFindable / pageTokens);
      sequence.pages[0] = this.#index.take(sequence.salt, tokens, nPages);
      nFound = sequence.pages[0].length * pageTokens;
    }
    // The keys and values of the token that ends it are never wanted.
    if (this.grow(sequence, Math.min(tokens.length + 1, sequence.lengthMax - 1), spare)) return nFound;
    this.#giveBack(sequence);
    return -1;
  }

  /**
   * Puts pages that the index has by now in the place of a sequence's own, of which nothing is in flight. Returns the
   * tokens whose keys and values are there.
   */
  catchUp(sequence: Sequence): number {
    const { pageTokens } = this.#groups[0]!;
    const { tokens, salt } = sequence, own = sequence.pages[0]!;
    const found = this.#index?.take(salt, tokens, Math.floor(sequence.nFindable / pageTokens)) ?? [];
    for (const [i, page] of found.entries()) {
      this.#pools[0]!.release(own[i]!);
      own[i] = page;
    }
    return Math.max(sequence.nDone, found.length * pageTokens);
  }

  /** Tokens of the whole pages that a sequence can have from another one's beginning; 0 where pages are not shared. */
  alike(leader: Sequence, sequence: Sequence): number {
    if (this.#index === undefined || leader.salt !== sequence.salt) return 0;
    const { pageTokens } = this.#groups[0]!;
    const n = Math.min(leader.tokens.length - 1, sequence.nFindable);
    let same = 0;
    while (same < n && leader.tokens[same] === sequence.tokens[same]) same++;
    return same - same % pageTokens;
  }

  /** Pages for positions below `length`; false, and nothing has changed, when there are not enough. */
  grow(sequence: Sequence, length: number, spare = 0): boolean {
    for (const [g, { pageTokens }] of this.#groups.entries()) {
      const nMissing = Math.ceil(length / pageTokens) - sequence.pages[g]!.length;
      const pool = this.#pools[g]!;
      if (nMissing > 0 && nMissing + spare > pool.free + pool.idle) return false;
    }
    for (const [g, { pageTokens }] of this.#groups.entries()) {
      const table = sequence.pages[g]!;
      while (table.length * pageTokens < length) table.push(this.#allocate(g));
    }
    return true;
  }

  /** Whether a sequence may need more pages than it has. */
  mayGrow({ pages, lengthMax }: Sequence): boolean {
    return pages.some((table, g) => table.length * this.#groups[g]!.pageTokens < lengthMax - 1);
  }

  /**
   * Gives back pages that the window of a sequence's next token does not reach. What is in flight does not count: it
   * may be lost, and is then computed again.
   */
  trim(sequence: Sequence): void {
    for (const [g, { window, pageTokens }] of this.#groups.entries()) {
      if (window === 0) continue;
      const table = sequence.pages[g]!;
      const firstSeen = sequence.nDone - window + 1;
      for (let i = sequence.nTrimmed[g] ?? 0; (i + 1) * pageTokens <= firstSeen; i++) {
        this.#pools[g]!.release(table[i]!);
        table[i] = 0;
        sequence.nTrimmed[g] = i + 1;
      }
    }
  }

  /** The tables that a step needs which ends at `length`: after an undone step a sequence has more. */
  upTo(sequence: Sequence, length: number): number[][] {
    return sequence.pages.map((table, g) => table.slice(0, Math.ceil(length / this.#groups[g]!.pageTokens)));
  }

  /** Makes the full pages of finished steps findable. */
  remember(sequence: Sequence): void {
    if (this.#index === undefined) return;
    const nPages = Math.floor(Math.min(sequence.nDone, sequence.tokens.length) / this.#groups[0]!.pageTokens);
    this.#index.put(sequence.salt, sequence.tokens, sequence.pages[0]!, nPages);
  }

  /** Takes all pages of a sequence; what was computed stays findable until the pages are needed. */
  end(sequence: Sequence): void {
    this.remember(sequence);
    this.#giveBack(sequence);
  }

  #giveBack(sequence: Sequence): void {
    for (const [g, pages] of sequence.pages.entries()) for (const page of pages) this.#pools[g]!.release(page);
    sequence.pages = [];
    sequence.nTrimmed = [];
  }

  #allocate(group: number): number {
    const pool = this.#pools[group]!;
    while (pool.free === 0 && this.#index?.evict()) { /* until a page is free */ }
    return pool.allocate();
  }
}
