/** Which pages of one cache group are free, and how many hold each of the others. Bookkeeping: C owns the memory. */

/** Pages 1 ... nPages - 1 of a group; page 0 is the null page and never handed out. */
export class PagePool {
  /** Usable pages. */
  readonly total: number;
  readonly #holders: Uint32Array;
  /** 1 = one of the holders is the prefix index. */
  readonly #kept: Uint8Array;
  readonly #free: number[];
  #nIdle = 0;

  /** `nPages` counts the null page. */
  constructor(nPages: number) {
    this.total = Math.max(nPages - 1, 0);
    this.#holders = new Uint32Array(nPages);
    this.#kept = new Uint8Array(nPages);
    this.#free = Array.from({ length: this.total }, (_, i) => nPages - 1 - i);
  }

  /** Pages nobody holds. */
  get free(): number {
    return this.#free.length;
  }

  /** Pages that only the prefix index holds: it gives them up when they are needed. */
  get idle(): number {
    return this.#nIdle;
  }

  /** A page with one holder, or 0 when none is free. */
  allocate(): number {
    const page = this.#free.pop() ?? 0;
    if (page !== 0) this.#holders[page] = 1;
    return page;
  }

  /** One more holder. */
  retain(page: number): void {
    if (page === 0) return;
    if (this.isIdle(page)) this.#nIdle--;
    this.#holders[page]!++;
  }

  /** One holder less; the last one frees it. */
  release(page: number): void {
    if (page === 0) return;
    const left = --this.#holders[page]!;
    if (left === 0) this.#free.push(page);
    else if (this.isIdle(page)) this.#nIdle++;
  }

  /** The prefix index becomes a holder of a page that somebody holds. */
  keep(page: number): void {
    this.retain(page);
    this.#kept[page] = 1;
  }

  /** The prefix index gives up a page. */
  drop(page: number): void {
    if (this.isIdle(page)) this.#nIdle--;
    this.#kept[page] = 0;
    this.release(page);
  }

  /** Whether the prefix index is the only holder. */
  isIdle(page: number): boolean {
    return this.#kept[page] === 1 && this.#holders[page] === 1;
  }
}
