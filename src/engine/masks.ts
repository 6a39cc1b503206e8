/** Masks of the constrained rows of a step, in one reused buffer: what `rz_step_sample` copies. */
import type { Constraint } from "../grammar/wire.ts";

const ALL = 0xffffffff;

/** Fills the masks of one step after another. */
export class MaskBuffer {
  readonly #maskWords: number;
  #words = new Uint32Array(0);

  /** `vocabSize`: of the plan's logits. */
  constructor(vocabSize: number) {
    this.#maskWords = Math.ceil(vocabSize / 32);
  }

  /**
   * [constraints.length x ceil(vocabulary / 32)] words, valid until the next call. A row without a constraint may
   * sample anything; one whose constraint throws as well, and `failed` hears of it.
   */
  fill(constraints: readonly (Constraint | undefined)[], failed: (row: number, error: unknown) => void): Uint32Array {
    const n = this.#maskWords;
    if (this.#words.length < constraints.length * n) this.#words = new Uint32Array(2 * constraints.length * n);
    const words = this.#words.subarray(0, constraints.length * n).fill(0);
    for (const [row, constraint] of constraints.entries()) {
      const mask = words.subarray(row * n, (row + 1) * n);
      let isFree = true;
      try {
        isFree = !(constraint?.fill(mask) ?? false);
      } catch (error) {
        failed(row, error);
      }
      if (isFree) mask.fill(ALL);
    }
    return words;
  }
}
