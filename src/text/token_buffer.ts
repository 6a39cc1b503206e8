/** A growing list of token ids. */

/** Ids are appended by number; the array is taken once at the end. */
export class TokenBuffer {
  #ids = new Int32Array(256);
  #count = 0;

  /** Number of ids. */
  get length(): number {
    return this.#count;
  }

  push(id: number): void {
    if (this.#count === this.#ids.length) this.#grow(this.#count + 1);
    this.#ids[this.#count++] = id;
  }

  /** Appends `from[start ... end)`. */
  append(from: Int32Array, start: number, end: number): void {
    const count = this.#count + end - start;
    if (count > this.#ids.length) this.#grow(count);
    for (let i = start; i < end; i++) this.#ids[this.#count++] = from[i]!;
  }

  /** Id at a place below `length`. */
  at(i: number): number {
    return this.#ids[i]!;
  }

  clear(): void {
    this.#count = 0;
  }

  /** The ids in an array of their own. */
  toArray(): Int32Array<ArrayBuffer> {
    return this.#ids.slice(0, this.#count);
  }

  #grow(atLeast: number): void {
    const grown = new Int32Array(Math.max(atLeast, this.#ids.length * 2));
    grown.set(this.#ids);
    this.#ids = grown;
  }
}
