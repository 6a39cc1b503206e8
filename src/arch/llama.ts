/**
 * Llama 1 to 3.x, Mistral, SmolLM2 and the many models that share their form: pre-normed attention with grouped keys,
 * RMSNorm, SwiGLU. Their GGUF files order the rows of attn_q and attn_k so that neighbouring columns turn together.
 * Llama 3.1 and later bring rope_freqs, which slows the slow frequencies further; some of the family have biases.
 */
import { buildDecoder, preNormLayer } from "./decoder.ts";
import type { Architecture } from "./architecture.ts";
import { attentionOutputRole, biasRoles, decoderRoles, preNormRoles, qkvRoles, swiGluRoles } from "./roles.ts";
import { ropeFreqsRole, ropeTable } from "./rope.ts";

/** The Llama family. */
export const llama: Architecture = {
  name: "llama",

  roles: (config) => [
    ropeFreqsRole(config),
    ...decoderRoles(config, (shape, layer) => {
      const attention = [...qkvRoles(config, shape, layer), attentionOutputRole(config, shape, layer)];
      const ffn = swiGluRoles(config, shape, layer);
      return [
        ...preNormRoles(config, layer),
        ...attention,
        ...biasRoles(attention, true),
        ...ffn,
        ...biasRoles(ffn, true),
      ];
    }),
  ],

  build: (config, weights) =>
    buildDecoder(config, weights, (p) => {
      const rope = ropeTable(p, config, "pairs", weights.host("rope_freqs"));
      return (layer, x) => preNormLayer(layer, x, (heads) => p.rope(heads, rope, config.headDim));
    }),
};
