/** Qwen2 and Qwen2.5: the Llama form with biases on queries, keys and values, and RoPE on the halves of a head. */
import { attentionRoles, buildDecoder, decoderRoles, preNormLayer } from "./decoder.ts";
import type { Architecture } from "./mod.ts";
import { ropeTable } from "./rope.ts";

export const qwen2: Architecture = {
  name: "qwen2",
  roles: (config) => decoderRoles(config, (layer) => attentionRoles(config, layer, { bias: "qkv" })),
  build: (config, weights) =>
    buildDecoder(config, weights, (p) => {
      const rope = ropeTable(p, config, "halves");
      return (layer, x) => preNormLayer(layer, x, (heads) => p.rope(heads, rope, config.headDim));
    }),
};
