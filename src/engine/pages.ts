/** Which pages of one cache group are free, and how many hold each of the others. Bookkeeping: C owns the memory. */

/** Pages 1 ... nPages - 1 of a group; page 0 is the null page and never handed out. */
export class PagePool {
  readonly #holders: Uint32Array;
  readonly #free: number[];

  /** `nPages` counts the null page. */
  constructor(nPages: number) {
    this.#holders = new Uint32Array(nPages);
    this.#free = Array.from({ length: Math.max(nPages - 1, 0) }, (_, i) => nPages - 1 - i);
  }

  /** Pages nobody holds. */
  get free(): number {
    return this.#free.length;
  }

  /** A page with one holder, or 0 when none is free. */
  allocate(): number {
    const page = this.#free.pop() ?? 0;
    if (page !== 0) this.#holders[page] = 1;
    return page;
  }

  /** One more holder. */
  retain(page: number): void {
    if (page !== 0) this.#holders[page]!++;
  }

  /** One holder less; the last one frees it. */
  release(page: number): void {
    if (page === 0) return;
    const left = --this.#holders[page]!;
    if (left === 0) this.#free.push(page);
  }

  /** How many hold this page. */
  holders(page: number): number {
    return this.#holders[page]!;
  }
}
