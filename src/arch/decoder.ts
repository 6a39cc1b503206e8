/** What decoder-only models have in common: the frame around the layers, and the pre-normed layer of the Llama form. */
import { RealizarError } from "../errors.ts";
import { PlanBuilder, type Value } from "../plan/ops.ts";
import type { Plan } from "../plan/plan.ts";
import type { LayerConfig, ModelConfig } from "../weights/config.ts";
import type { ValidatedLayer, ValidatedWeights } from "../weights/validate.ts";

/** One layer being built. */
export interface DecoderLayer {
  readonly p: PlanBuilder;
  readonly config: ModelConfig;
  /** The sizes that may differ from layer to layer. */
  readonly shape: LayerConfig;
  readonly w: ValidatedLayer;
  /**
   * In the last layer, cuts to the rows whose logits are wanted; elsewhere x itself. To be applied to everything that
   * goes on after attention: what follows then runs on R rows instead of T.
   */
  tail(x: Value<"T">): Value<"T" | "R">;
}

/** Emits one layer: from the residual stream [T x hidden] before it to the one after it. */
export type EmitLayer = (layer: DecoderLayer, x: Value<"T">) => Value<"T" | "R">;

/** Embedding, the layers by the emitter that `begin` returns, final norm, logits. */
export function buildDecoder(
  config: ModelConfig,
  weights: ValidatedWeights,
  begin: (p: PlanBuilder) => EmitLayer,
): Plan {
  const p = new PlanBuilder(config, weights);
  const emit = begin(p);
  let x: Value<"T" | "R"> = p.embed(weights.global.get("token_embd"));
  config.layers.forEach((shape, i) => {
    p.layer(i);
    const last = i === config.nLayers - 1;
    const tail = (v: Value<"T">) => last ? p.selectRows(v) : v;
    x = emit({ p, config, shape, w: weights.layer(i), tail }, x as Value<"T">);
  });
  p.layer();
  const hidden = p.rmsNorm(x as Value<"R">, weights.global.get("output_norm"), config.rmsEps);
  p.logits(hidden, weights.global.get("output"));
  return p.finish(hidden);
}

/** x times the weight of this role, plus its bias when the file has one. */
export function linear<R extends "T" | "R">({ p, w }: DecoderLayer, x: Value<R>, role: string): Value<R> {
  return p.matmul(x, w.get(role), w.optional(`${role}.bias`));
}

/** What a model does to queries or keys [T x heads * headDim] before they meet: RoPE, and what comes before it. */
export type PlaceHeads = (heads: Value<"T">, role: "attn_q" | "attn_k") => Value<"T">;

/** Causal attention over x [T x hidden], up to attn_output: [T x nHeads * valueDim]. */
export function selfAttention(layer: DecoderLayer, x: Value<"T">, place: PlaceHeads): Value<"T"> {
  const { p, config } = layer;
  const q = linear(layer, x, "attn_q");
  const k = linear(layer, x, "attn_k");
  const v = linear(layer, x, "attn_v");
  const query = place(q, "attn_q");
  const kv = p.kvWrite(place(k, "attn_k"), v, config.slidingWindow);
  const { nHeads, nKvHeads } = layer.shape;
  return p.attention(query, kv, { nHeads, nKvHeads, scale: 1 / Math.sqrt(config.headDim) });
}

/** The layer of the Llama form: h = x + attention(norm(x)), then h + SwiGLU(norm(h)). */
export function preNormLayer(layer: DecoderLayer, x: Value<"T">, place: PlaceHeads): Value<"T" | "R"> {
  const { p, config, w, tail } = layer;
  const mixed = selfAttention(layer, p.rmsNorm(x, w.get("attn_norm"), config.rmsEps), place);
  const h = p.add(tail(x), linear(layer, tail(mixed), "attn_output"));
  return p.add(h, swiGlu(layer, p.rmsNorm(h, w.get("ffn_norm"), config.rmsEps)));
}

/** down(silu(gate(x)) * up(x)). */
export function swiGlu<R extends "T" | "R">(layer: DecoderLayer, x: Value<R>): Value<R> {
  const gate = linear(layer, x, "ffn_gate");
  const up = linear(layer, x, "ffn_up");
  return linear(layer, layer.p.glu("silu", gate, up), "ffn_down");
}

/** For architectures whose windowed layers the metadata does not name: a file that asks for a window is refused. */
export function refuseWindow({ architecture, slidingWindow }: ModelConfig): void {
  if (slidingWindow === 0) return;
  const message = `${architecture}.attention.sliding_window: ${slidingWindow} is not computed by this architecture`;
  throw new RealizarError("UNSUPPORTED", message);
}
