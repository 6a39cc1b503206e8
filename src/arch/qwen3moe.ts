/**
 * Qwen3 with experts (30B-A3B, 235B-A22B): attention as in dense Qwen3; in place of one FFN, the k experts that a
 * router chooses for each token, weighed by softmax over all experts and divided by the sum of the chosen.
 */
import { RealizarError } from "../errors.ts";
import type { Value } from "../plan/ops.ts";
import { buildDecoder, type DecoderLayer, linear, refuseWindow, selfAttention } from "./decoder.ts";
import type { Architecture } from "./architecture.ts";
import { placeNormed, qwen3AttentionRoles } from "./qwen3.ts";
import { decoderRoles, expertRole, matrixRole, preNormRoles } from "./roles.ts";
import { ropeTable } from "./rope.ts";

/** Qwen3 with experts. */
export const qwen3moe: Architecture = {
  name: "qwen3moe",
  variants: ["expert_count"],

  roles(config) {
    refuseWindow(config);
    const { hiddenSize, nExperts } = config;
    if (config.nExpertsUsed === 0) {
      throw new RealizarError("KEY_MISSING", "qwen3moe.expert_count and expert_used_count: expected 1 or more");
    }
    const size = config.expertIntermediateSize || config.intermediateSize;
    return decoderRoles(config, (shape, layer) => [
      ...preNormRoles(config, layer),
      ...qwen3AttentionRoles(config, shape, layer),
      matrixRole(layer, "ffn_gate_inp", nExperts, hiddenSize),
      expertRole(layer, "ffn_gate_exps", nExperts, size, hiddenSize),
      expertRole(layer, "ffn_up_exps", nExperts, size, hiddenSize),
      expertRole(layer, "ffn_down_exps", nExperts, hiddenSize, size),
    ]);
  },

  build: (config, weights) =>
    buildDecoder(config, weights, (p) => {
      const rope = ropeTable(p, config, "halves");
      return (layer, x) => {
        const { w, tail } = layer;
        const normed = p.rmsNorm(x, w.get("attn_norm"), config.rmsEps);
        const mixed = selfAttention(layer, normed, placeNormed(layer, rope));
        const h = p.add(x, linear(layer, mixed, "attn_output"));
        // Routing is for token rows, so the last layer is cut to the selected rows only here.
        return tail(p.add(h, experts(layer, p.rmsNorm(h, w.get("ffn_norm"), config.rmsEps))));
      };
    }),
};

/** The weighted sum of the chosen experts' SwiGLUs. */
function experts({ p, config, w }: DecoderLayer, x: Value<"T">): Value<"T"> {
  const scores = p.matmul(x, w.get("ffn_gate_inp"));
  const route = p.moeRoute(scores, { k: config.nExpertsUsed, gating: "softmax_all", normalize: true });
  const gate = p.moeMatmul(x, route, w.get("ffn_gate_exps"));
  const up = p.moeMatmul(x, route, w.get("ffn_up_exps"));
  return p.moeCombine(p.moeMatmul(p.glu("silu", gate, up), route, w.get("ffn_down_exps")), route);
}
