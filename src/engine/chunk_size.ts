/** How many prompt tokens a step may take, so that it lasts about as long as is fair. */

/** How long a step should last, and its fewest prompt tokens: products of few rows waste the reading of weights. */
const ALONE = { ms: 50, tokens: 32 };
/** The same while others decode, who wait for each step. */
const SHARED = { ms: 20, tokens: 16 };

/**
 * Shares a step's prompt tokens among prompts, given the tokens each has left, oldest first. The oldest gets half, so
 * that it ends whatever comes after it; the others share the rest, those with the fewest left first, so that a short
 * prompt does not wait for a long one. What nobody takes goes to the oldest.
 */
export function shareChunk(left: readonly number[], budget: number): number[] {
  const shares = left.map(() => 0);
  if (left.length === 0 || budget <= 0) return shares;
  const first = Math.min(left[0]!, Math.ceil(budget / 2));
  let rest = budget - first;
  const byLength = left.map((_, i) => i).slice(1).sort((a, b) => left[a]! - left[b]!);
  for (const i of byLength) {
    shares[i] = Math.min(left[i]!, rest);
    rest -= shares[i]!;
  }
  shares[0] = Math.min(left[0]!, first + rest);
  return shares;
}

/** Follows the measured speed of prompts. */
export class ChunkSize {
  readonly #max: number;
  #tokensPerMs: number;

  /** `max`: the plan's tokens a step. The first chunks are small until a speed is known. */
  constructor(max: number) {
    this.#max = max;
    this.#tokensPerMs = Math.min(max, 2 * ALONE.tokens) / ALONE.ms;
  }

  /** A step of `nTokens` rows ran for `us` microseconds. */
  observe(nTokens: number, us: number): void {
    if (nTokens < SHARED.tokens / 2 || us <= 0) return;
    const measured = nTokens / (us / 1000);
    this.#tokensPerMs += (measured - this.#tokensPerMs) / 2;
  }

  /** Prompt tokens for the next step; `shared` when others decode in it. */
  next(shared: boolean): number {
    const { ms, tokens } = shared ? SHARED : ALONE;
    const rounded = Math.round(this.#tokensPerMs * ms / tokens) * tokens;
    return Math.min(this.#max, Math.max(tokens, rounded));
  }
}
