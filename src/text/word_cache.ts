/** Words already tokenized, as flat arrays: most words of a text are a few thousand that come again and again. */
import { hashBytes, slotOf } from "./flat_tables.ts";
import type { TokenBuffer } from "./token_buffer.ts";

const SLOTS = 1 << 15;
const MAX_WORDS = SLOTS / 2;
const KEY_BYTES = 1 << 20;
const MAX_IDS = 1 << 18;
/** Longer words are not worth their place. */
const MAX_WORD_BYTES = 48;
/** Fields of a slot: hash, start of the key, its length (0 = free), start of the ids, their number. */
const FIELDS = 5;

/** A cache from the bytes of a word to its tokens; when full it starts anew. One per thread. */
export class WordCache {
  readonly #slots = new Int32Array(SLOTS * FIELDS);
  readonly #keys = new Uint8Array(KEY_BYTES);
  readonly #ids = new Int32Array(MAX_IDS);
  #words = 0;
  #keyEnd = 0;
  #idEnd = 0;
  /** Hash of the word that the last `find` did not find. */
  #hash = 0;

  /** Appends the tokens of a word to `out`; false when the cache does not have it. */
  find(bytes: Uint8Array, start: number, end: number, out: TokenBuffer): boolean {
    const length = end - start;
    if (length > MAX_WORD_BYTES) return false;
    const hash = hashBytes(bytes, start, end);
    const slots = this.#slots;
    const keys = this.#keys;
    for (let slot = slotOf(hash, SLOTS - 1);; slot = (slot + 1) & (SLOTS - 1)) {
      const at = slot * FIELDS;
      const keyLength = slots[at + 2]!;
      if (keyLength === 0) {
        this.#hash = hash;
        return false;
      }
      if (slots[at] !== hash || keyLength !== length) continue;
      const key = slots[at + 1]!;
      let i = 0;
      while (i < length && keys[key + i] === bytes[start + i]) i++;
      if (i < length) continue;
      const ids = slots[at + 3]!;
      out.append(this.#ids, ids, ids + slots[at + 4]!);
      return true;
    }
  }

  /** Keeps the tokens `out[from ...]` of the word that the last `find` did not find. */
  keep(bytes: Uint8Array, start: number, end: number, out: TokenBuffer, from: number): void {
    const length = end - start;
    if (length > MAX_WORD_BYTES || length === 0) return;
    const nIds = out.length - from;
    const full = this.#words >= MAX_WORDS || this.#keyEnd + length > KEY_BYTES || this.#idEnd + nIds > MAX_IDS;
    if (full) this.#clear();
    let slot = slotOf(this.#hash, SLOTS - 1);
    while (this.#slots[slot * FIELDS + 2] !== 0) slot = (slot + 1) & (SLOTS - 1);
    this.#slots.set([this.#hash, this.#keyEnd, length, this.#idEnd, nIds], slot * FIELDS);
    for (let i = start; i < end; i++) this.#keys[this.#keyEnd++] = bytes[i]!;
    for (let i = from; i < out.length; i++) this.#ids[this.#idEnd++] = out.at(i);
    this.#words++;
  }

  #clear(): void {
    this.#slots.fill(0);
    this.#words = this.#keyEnd = this.#idEnd = 0;
  }
}
