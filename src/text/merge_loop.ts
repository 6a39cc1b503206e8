/**
 * The merge loop that both kinds of BPE share: of all neighbouring pairs that can merge, the one of lowest rank merges,
 * the leftmost of equals, until none can. Short words by plain search, long ones with a heap: n log n.
 */

/** Words of more symbols than this use the heap. */
const SEARCH_MAX = 24;
/** Keys of the heap are rank * 2^30 + position: both fit a double exactly. */
const POSITIONS = 2 ** 30;
/** Rank of a pair that cannot merge. */
export const NO_MERGE = -1;

/**
 * A word under merging: symbols in order, each with what the subclass needs to know of it. `load` fills the arrays,
 * `run` merges, then symbols `0 ... count - 1` are the result. One per thread.
 */
export abstract class MergeLoop {
  /** Piece of each symbol, -1 where it has none. */
  protected ids = new Int32Array(SEARCH_MAX * 4);
  /** Bytes of each symbol in the text, where the subclass uses them. */
  protected starts = new Uint32Array(SEARCH_MAX * 4);
  protected ends = new Uint32Array(SEARCH_MAX * 4);
  protected count = 0;
  /** Result of the pair that `pairRank` found. */
  protected pairId = -1;
  #ranks = new Int32Array(SEARCH_MAX * 4);
  #results = new Int32Array(SEARCH_MAX * 4);
  #previous = new Int32Array(0);
  #next = new Int32Array(0);
  #heap = new Float64Array(0);
  #heapSize = 0;

  /** Rank of merging two symbols, leaving the resulting piece in `pairId`; {@linkcode NO_MERGE} if they can't. */
  protected abstract pairRank(left: number, right: number): number;

  /** Makes room for `n` symbols. */
  protected reserve(n: number): void {
    if (n <= this.ids.length) return;
    const size = Math.max(n, this.ids.length * 2);
    this.ids = new Int32Array(size);
    this.starts = new Uint32Array(size);
    this.ends = new Uint32Array(size);
    this.#ranks = new Int32Array(size);
    this.#results = new Int32Array(size);
  }

  /** Merges symbols `0 ... count - 1`. */
  protected run(): void {
    for (let i = 0; i + 1 < this.count; i++) this.#rankPair(i, i + 1);
    if (this.count <= SEARCH_MAX) this.#runBySearch();
    else this.#runByHeap();
  }

  #rankPair(left: number, right: number): void {
    this.#ranks[left] = this.pairRank(left, right);
    this.#results[left] = this.pairId;
  }

  #runBySearch(): void {
    const ranks = this.#ranks;
    while (this.count > 1) {
      let best = -1;
      let bestRank = 0x7fffffff;
      const last = this.count - 1;
      for (let i = 0; i < last; i++) {
        const rank = ranks[i]!;
        if (rank !== NO_MERGE && rank < bestRank) {
          best = i;
          bestRank = rank;
        }
      }
      if (best < 0) return;
      this.ids[best] = this.#results[best]!;
      this.ends[best] = this.ends[best + 1]!;
      for (let i = best + 1; i < last; i++) {
        this.ids[i] = this.ids[i + 1]!;
        this.starts[i] = this.starts[i + 1]!;
        this.ends[i] = this.ends[i + 1]!;
        ranks[i] = ranks[i + 1]!;
        this.#results[i] = this.#results[i + 1]!;
      }
      this.count = last;
      if (best + 1 < last) this.#rankPair(best, best + 1);
      if (best > 0) this.#rankPair(best - 1, best);
    }
  }

  #runByHeap(): void {
    const n = this.count;
    const ranks = this.#ranks;
    if (this.#next.length < n) {
      this.#previous = new Int32Array(this.ids.length);
      this.#next = new Int32Array(this.ids.length);
      // Every merge takes one pair out and puts at most two in, so 2 n are never exceeded.
      this.#heap = new Float64Array(this.ids.length * 2 + 2);
    }
    this.#heapSize = 0;
    for (let i = 0; i < n; i++) {
      this.#previous[i] = i - 1;
      this.#next[i] = i + 1 < n ? i + 1 : -1;
      if (i + 1 < n && ranks[i] !== NO_MERGE) this.#push(ranks[i]! * POSITIONS + i);
    }
    ranks[n - 1] = NO_MERGE;
    while (this.#heapSize > 0) {
      const key = this.#pop();
      const rank = Math.floor(key / POSITIONS);
      const left = key - rank * POSITIONS;
      // A pair whose neighbourhood has changed since has another rank by now, or none.
      if (ranks[left] === rank) this.#mergeAt(left);
    }
    let count = 0;
    for (let i = 0; i >= 0; i = this.#next[i]!) {
      this.ids[count] = this.ids[i]!;
      this.starts[count] = this.starts[i]!;
      this.ends[count++] = this.ends[i]!;
    }
    this.count = count;
  }

  #mergeAt(left: number): void {
    const right = this.#next[left]!;
    const after = this.#next[right]!;
    this.ids[left] = this.#results[left]!;
    this.ends[left] = this.ends[right]!;
    this.#next[left] = after;
    this.#ranks[right] = NO_MERGE;
    if (after >= 0) {
      this.#previous[after] = left;
      this.#rankAndPush(left, after);
    } else {
      this.#ranks[left] = NO_MERGE;
    }
    const before = this.#previous[left]!;
    if (before >= 0) this.#rankAndPush(before, left);
  }

  #rankAndPush(left: number, right: number): void {
    this.#rankPair(left, right);
    if (this.#ranks[left] !== NO_MERGE) this.#push(this.#ranks[left]! * POSITIONS + left);
  }

  #push(key: number): void {
    const heap = this.#heap;
    let at = this.#heapSize++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (heap[parent]! <= key) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = key;
  }

  #pop(): number {
    const heap = this.#heap;
    const top = heap[0]!;
    const size = --this.#heapSize;
    const key = heap[size]!;
    let at = 0;
    for (let child = 1; child < size; child = at * 2 + 1) {
      if (child + 1 < size && heap[child + 1]! < heap[child]!) child++;
      if (heap[child]! >= key) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = key;
    return top;
  }
}
