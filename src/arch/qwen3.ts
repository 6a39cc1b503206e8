/**
 * Qwen3 (dense): the Llama form with an RMSNorm over each head of queries and keys before RoPE on the halves of a head.
 * The size of a head is the file's (attention.key_length), not hidden_size / n_heads.
 */
import { buildDecoder, preNormLayer, refuseWindow } from "./decoder.ts";
import type { Architecture } from "./mod.ts";
import { attentionOutputRole, decoderRoles, preNormRoles, qkvRoles, swiGluRoles, vectorRole } from "./roles.ts";
import { ropeTable } from "./rope.ts";

export const qwen3: Architecture = {
  name: "qwen3",

  roles(config) {
    refuseWindow(config);
    return decoderRoles(config, (shape, layer) => [
      ...preNormRoles(config, layer),
      ...qkvRoles(config, shape, layer),
      vectorRole(layer, "attn_q_norm", config.headDim),
      vectorRole(layer, "attn_k_norm", config.headDim),
      attentionOutputRole(config, shape, layer),
      ...swiGluRoles(config, shape, layer),
    ]);
  },

  build: (config, weights) =>
    buildDecoder(config, weights, (p) => {
      const { headDim, rmsEps } = config;
      const rope = ropeTable(p, config, "halves");
      return (layer, x) =>
        preNormLayer(layer, x, (heads, role) => {
          const normed = p.rmsNorm(heads, layer.w.get(`${role}_norm`), rmsEps, headDim);
          return p.rope(normed, rope, headDim);
        });
    }),
};
