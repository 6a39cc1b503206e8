/** What decoder-only models have in common: the frame around the layers, and the pre-normed layer of the Llama form. */
import { PlanBuilder, type Value } from "../plan/ops.ts";
import type { Plan } from "../plan/plan.ts";
import type { ModelConfig } from "../weights/config.ts";
import { type RoleSpec, USE_MATMUL, USE_ROWS, USE_VECTOR } from "../weights/roles.ts";
import type { ValidatedLayer, ValidatedWeights } from "../weights/validate.ts";

/** One layer being built. */
export interface DecoderLayer {
  readonly p: PlanBuilder;
  readonly config: ModelConfig;
  readonly w: ValidatedLayer;
  /**
   * Cuts to the rows whose logits are wanted, in the last layer; elsewhere x itself. To be applied to everything that
   * goes on after attention: what follows then runs on R rows instead of T.
   */
  tail(x: Value<"T">): Value<"T" | "R">;
}

/** Emits one layer: from the residual stream [T x hidden] before it to the one after it. */
export type EmitLayer = (layer: DecoderLayer, x: Value<"T">) => Value<"T" | "R">;

/** Embedding, the layers that `begin` gives an emitter for, final norm, logits. */
export function buildDecoder(
  config: ModelConfig,
  weights: ValidatedWeights,
  begin: (p: PlanBuilder) => EmitLayer,
): Plan {
  const p = new PlanBuilder(config, weights);
  const emit = begin(p);
  const last = config.nLayers - 1;
  let x = p.embed(weights.global.get("token_embd"));
  for (let i = 0; i < last; i++) {
    p.layer(i);
    x = emit({ p, config, w: weights.layer(i), tail: (v) => v }, x) as Value<"T">;
  }
  p.layer(last);
  const y = emit({ p, config, w: weights.layer(last), tail: (v) => p.selectRows(v) }, x) as Value<"R">;
  p.layer();
  const hidden = p.rmsNorm(y, weights.global.get("output_norm"), config.rmsEps);
  p.logits(hidden, weights.global.get("output"));
  return p.finish(hidden);
}

/** x times the weight of this role, plus its bias when the file has one. */
export function linear<R extends "T" | "R">({ p, w }: DecoderLayer, x: Value<R>, role: string): Value<R> {
  return p.matmul(x, w.get(role), w.optional(`${role}.bias`));
}

/**
 * The layer of the Llama form: x + attention(norm(x)), then h + SwiGLU(norm(h)). `place` gives queries and keys
 * [T x heads * headDim] their positions (and whatever comes before that in a model).
 */
export function preNormLayer(
  layer: DecoderLayer,
  x: Value<"T">,
  place: (heads: Value<"T">, role: "attn_q" | "attn_k") => Value<"T">,
): Value<"T" | "R"> {
  const { p, config, w, tail } = layer;
  const a = p.rmsNorm(x, w.get("attn_norm"), config.rmsEps);
  const q = place(linear(layer, a, "attn_q"), "attn_q");
  const k = place(linear(layer, a, "attn_k"), "attn_k");
  const kv = p.kvWrite(k, linear(layer, a, "attn_v"), config.slidingWindow);
  const { nHeads, nKvHeads, headDim } = config;
  const mixed = p.attention(q, kv, { nHeads, nKvHeads, scale: 1 / Math.sqrt(headDim) });
  const h = p.add(tail(x), linear(layer, tail(mixed), "attn_output"));
  const f = p.rmsNorm(h, w.get("ffn_norm"), config.rmsEps);
  const g = p.glu("silu", linear(layer, f, "ffn_gate"), linear(layer, f, "ffn_up"));
  return p.add(h, linear(layer, g, "ffn_down"));
}

/** A matrix [rows x cols] of a layer, named after its role. */
export function matrixRole(layer: number, role: string, rows: number, cols: number): RoleSpec {
  return { role, layer, tensor: `blk.${layer}.${role}.weight`, rows, cols, use: USE_MATMUL };
}

/** A vector of a layer, named after its role. */
export function vectorRole(layer: number, role: string, cols: number): RoleSpec {
  return { role, layer, tensor: `blk.${layer}.${role}.weight`, rows: 1, cols, use: USE_VECTOR };
}

/** The bias that belongs to the matrix of this role: role `<role>.bias`. */
export function biasRole({ role, layer, rows }: RoleSpec, optional: boolean): RoleSpec {
  return { role: `${role}.bias`, layer, tensor: `blk.${layer}.${role}.bias`, rows: 1, cols: rows, use: USE_VECTOR, optional };
}
