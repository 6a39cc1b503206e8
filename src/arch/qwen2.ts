/** Qwen2 and Qwen2.5: the Llama form with biases on queries, keys and values, and RoPE on the halves of a head. */
import { buildDecoder, preNormLayer, refuseWindow } from "./decoder.ts";
import type { Architecture } from "./architecture.ts";
import { attentionOutputRole, biasRoles, decoderRoles, preNormRoles, qkvRoles, swiGluRoles } from "./roles.ts";
import { ropeTable } from "./rope.ts";

/** Qwen2 and Qwen2.5. */
export const qwen2: Architecture = {
  name: "qwen2",

  roles(config) {
    refuseWindow(config);
    return decoderRoles(config, (shape, layer) => {
      const qkv = qkvRoles(config, shape, layer);
      return [
        ...preNormRoles(config, layer),
        ...qkv,
        ...biasRoles(qkv, false),
        attentionOutputRole(config, shape, layer),
        ...swiGluRoles(config, shape, layer),
      ];
    });
  },

  build: (config, weights) =>
    buildDecoder(config, weights, (p) => {
      const rope = ropeTable(p, config, "halves");
      return (layer, x) => preNormLayer(layer, x, (heads) => p.rope(heads, rope, config.headDim));
    }),
};
