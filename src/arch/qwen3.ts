/**
 * Qwen3 (dense): the Llama form with an RMSNorm over each head of queries and keys before RoPE on the halves of a head.
 * The size of a head is the file's (attention.key_length), not hidden_size / n_heads.
 */
import type { RopeTable } from "../plan/ops.ts";
import type { LayerConfig, ModelConfig } from "../weights/config.ts";
import type { RoleSpec } from "../weights/roles.ts";
import { buildDecoder, type DecoderLayer, type PlaceHeads, preNormLayer, refuseWindow } from "./decoder.ts";
import type { Architecture } from "./architecture.ts";
import { attentionOutputRole, decoderRoles, preNormRoles, qkvRoles, swiGluRoles, vectorRole } from "./roles.ts";
import { ropeTable } from "./rope.ts";

/** Dense Qwen3. */
export const qwen3: Architecture = {
  name: "qwen3",

  roles(config) {
    refuseWindow(config);
    return decoderRoles(config, (shape, layer) => [
      ...preNormRoles(config, layer),
      ...qwen3AttentionRoles(config, shape, layer),
      ...swiGluRoles(config, shape, layer),
    ]);
  },

  build: (config, weights) =>
    buildDecoder(config, weights, (p) => {
      const rope = ropeTable(p, config, "halves");
      return (layer, x) => preNormLayer(layer, x, placeNormed(layer, rope));
    }),
};

/** Weights of Qwen3's attention. */
export function qwen3AttentionRoles(config: ModelConfig, shape: LayerConfig, layer: number): RoleSpec[] {
  return [
    ...qkvRoles(config, shape, layer),
    vectorRole(layer, "attn_q_norm", config.headDim),
    vectorRole(layer, "attn_k_norm", config.headDim),
    attentionOutputRole(config, shape, layer),
  ];
}

/** Each head normed, then turned. */
export function placeNormed({ p, config, w }: DecoderLayer, rope: RopeTable): PlaceHeads {
  const { headDim, rmsEps } = config;
  return (heads, role) => p.rope(p.rmsNorm(heads, w.get(`${role}_norm`), rmsEps, headDim), rope, headDim);
}
