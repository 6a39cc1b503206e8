/** Chance that can be repeated, and what must hold whatever it brings. */
import { mix } from "./fake_device.ts";

/** A generator of the small kind; the same seed gives the same numbers. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = mix(seed, 1) || 1;
  }

  /** 0 ... n - 1. */
  roll(n: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) % n;
  }

  /** True once in n times. */
  once(n: number): boolean {
    return this.roll(n) === 0;
  }
}

/** Throws what is wrong. Cheap when nothing is. */
export function must(condition: boolean, what: () => string): void {
  if (!condition) throw new Error(what());
}
