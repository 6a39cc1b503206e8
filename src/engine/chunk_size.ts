/** How many prompt tokens a step may take, so that it lasts about as long as is fair. */

/** Who has part in the steps. */
export type Company =
  /** One generation, and nobody who waits. */
  | "alone"
  /** Several, all with prompts. */
  | "prompts"
  /** Some decode, and wait for each step. */
  | "decodes";

/** `nGenerated`: of every generation that has not ended. */
export function companyOf(nGenerated: readonly number[]): Company {
  if (nGenerated.length <= 1) return "alone";
  return nGenerated.some((n) => n > 0) ? "decodes" : "prompts";
}

/** How long a step should last, and its fewest prompt tokens: products of few rows waste the reading of weights. */
const FAIR = {
  // A long step of one alone is given up when somebody comes.
  alone: { ms: 50, tokens: 32, least: 128 },
  prompts: { ms: 50, tokens: 32, least: 32 },
  decodes: { ms: 20, tokens: 16, least: 16 },
} as const;

/**
 * Shares a step's prompt tokens among prompts, given the tokens each has left, oldest first, and how much the client of
 * each was given so far. The oldest gets half, so that it ends whatever comes after it; the others share the rest:
 * first those whose clients had least, of one client those with the fewest left, so that a short prompt does not wait
 * for a long one. What nobody takes goes to the oldest.
 */
export function shareChunk(left: readonly number[], given: readonly number[], budget: number): number[] {
  const shares = left.map(() => 0);
  if (left.length === 0 || budget <= 0) return shares;
  const first = Math.min(left[0]!, Math.ceil(budget / 2));
  let rest = budget - first;
  const inTurn = left.map((_, i) => i).slice(1).sort((a, b) => given[a]! - given[b]! || left[a]! - left[b]!);
  for (const i of inTurn) {
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
  #alone: number = FAIR.alone.least;

  /** `max`: the plan's tokens a step. The first chunks are small until a speed is known. */
  constructor(max: number) {
    this.#max = max;
    this.#tokensPerMs = Math.min(max, 2 * FAIR.prompts.tokens) / FAIR.prompts.ms;
  }

  /** A step of `nTokens` rows ran for `us` microseconds. */
  observe(nTokens: number, us: number): void {
    if (nTokens < FAIR.decodes.tokens / 2 || us <= 0) return;
    const measured = nTokens / (us / 1000);
    this.#tokensPerMs += (measured - this.#tokensPerMs) / 2;
    if (nTokens >= this.#alone) this.#alone = Math.min(2 * this.#alone, FAIR.alone.least);
  }

  /** Prompt tokens for the next step. */
  next(company: Company): number {
    const { ms, tokens, least } = FAIR[company];
    const rounded = Math.round(this.#tokensPerMs * ms / tokens) * tokens;
    return Math.min(this.#max, Math.max(company === "alone" ? this.#alone : least, rounded));
  }

  /**
   * Whether steps of `nTokens` prompt tokens are too long for somebody who comes now. Then they are given up, and the
   * next ones of a generation alone begin small, so that what may be lost is never more than what was done.
   */
  yields(nTokens: number): boolean {
    if (nTokens <= 2 * this.next("prompts")) return false;
    this.#alone = FAIR.prompts.least;
    return true;
  }
}
