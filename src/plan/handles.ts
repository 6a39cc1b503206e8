/** What passes between ops beside values: tables, cached keys, routes; and the shapes that ops are told. */
import type { Value, WeightId } from "./draft.ts";
import type { MOE_GATINGS, ROPE_STYLES } from "./op_table.ts";

/** A RoPE table of this plan: a constant, and how its angles are applied. */
export interface RopeTable {
  /** 1-based constant id. */
  readonly constant: number;
  /** Leading columns of each head that turn. */
  readonly nRot: number;
  readonly style: (typeof ROPE_STYLES)[number];
}

/** Keys and values of one layer, written to the cache by `kvWrite`. */
export interface KvLayer {
  readonly group: number;
  /** Index of the layer in its group. */
  readonly layer: number;
  readonly window: number;
  readonly kCols: number;
  readonly vCols: number;
}

/** How attention scores are made. */
export interface AttentionShape {
  readonly nHeads: number;
  /** Divides nHeads. */
  readonly nKvHeads: number;
  /** Multiplies q.k. */
  readonly scale: number;
  /** Scores become softcap * tanh(s / softcap); 0 = off. */
  readonly softcap?: number;
  /** VECTOR of nHeads sinks. */
  readonly sinks?: WeightId;
}

/** Chosen experts of each token: k rows a token, token-major. */
export interface Route {
  readonly weights: Value<"Tk">;
  readonly ids: Value<"Tk", "I32">;
  readonly k: number;
  readonly nExperts: number;
}

/** How `moeRoute` weighs experts. */
export interface RouteShape {
  /** Experts a token. */
  readonly k: number;
  readonly gating: (typeof MOE_GATINGS)[number];
  /** VECTOR of n_experts added for choosing only. */
  readonly bias?: WeightId;
  /** Divide the chosen weights by their sum. */
  readonly normalize?: boolean;
  readonly scale?: number;
}
