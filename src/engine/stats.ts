/**
 * Counters of a running model: Float64 on shared memory, written by the engine Worker between steps, read by any thread
 * at any time without a message. Each is exact by itself; several read together may be of two steps.
 */
import type { ModelStats } from "../types.ts";

/** The counters, in their order in memory. */
const FIELDS = [
  "kvPagesUsed",
  "kvPagesCached",
  "kvPagesTotal",
  "nRunning",
  "nWaiting",
  "nPreemptions",
  "nPromptTokens",
  "nCachedTokens",
  "nSteps",
  "nTokensComputed",
  "nTokensGenerated",
] as const satisfies readonly (keyof ModelStats)[];

/** Memory for the counters of one model, all 0. */
export function createStats(): SharedArrayBuffer {
  return new SharedArrayBuffer(FIELDS.length * Float64Array.BYTES_PER_ELEMENT);
}

/** Writes all counters. */
export function writeStats(to: Float64Array, stats: Readonly<ModelStats>): void {
  for (let i = 0; i < FIELDS.length; i++) to[i] = stats[FIELDS[i]!];
}

/** All counters as they are now. */
export function readStats(from: Float64Array): ModelStats {
  return Object.fromEntries(FIELDS.map((name, i) => [name, from[i]!])) as unknown as ModelStats;
}
