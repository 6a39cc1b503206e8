/** How many prompt tokens a step may take, so that it lasts about as long as is fair. */

const ALONE_MS = 50;
const SHARED_MS = 25;
const SMALLEST = 32;

/** Follows the measured speed of prompts. */
export class ChunkSize {
  readonly #max: number;
  #tokensPerMs: number;

  /** `max`: the plan's tokens a step. The first chunks are small until a speed is known. */
  constructor(max: number) {
    this.#max = max;
    this.#tokensPerMs = Math.min(max, 2 * SMALLEST) / ALONE_MS;
  }

  /** A step of `nTokens` rows ran for `us` microseconds. */
  observe(nTokens: number, us: number): void {
    if (nTokens < SMALLEST / 2 || us <= 0) return;
    const measured = nTokens / (us / 1000);
    this.#tokensPerMs += (measured - this.#tokensPerMs) / 2;
  }

  /** Prompt tokens for the next step; `shared` when others decode in it. */
  next(shared: boolean): number {
    const wanted = this.#tokensPerMs * (shared ? SHARED_MS : ALONE_MS);
    const rounded = Math.round(wanted / SMALLEST) * SMALLEST;
    return Math.min(this.#max, Math.max(SMALLEST, rounded));
  }
}
