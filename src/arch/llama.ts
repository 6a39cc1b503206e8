/**
 * Llama 1 to 3.x, Mistral, SmolLM2 and the many models that share their form: pre-normed attention with grouped keys,
 * SwiGLU, RMSNorm. GGUF files hold the rows of attn_q and attn_k so ordered that neighbouring columns turn together
 * ("pairs"). Llama 3.1 and later bring rope_freqs, which stretches the slow frequencies.
 */
import { attentionRoles, buildDecoder, decoderRoles, preNormLayer } from "./decoder.ts";
import type { Architecture } from "./mod.ts";
import { ropeTable } from "./rope.ts";

export const llama: Architecture = {
  name: "llama",
  roles: (config) => decoderRoles(config, (layer) => attentionRoles(config, layer, { bias: "optional" })),
  build: (config, weights) =>
    buildDecoder(config, weights, (p) => {
      const rope = ropeTable(p, config, "pairs", weights.host("rope_freqs"));
      return (layer, x) => preNormLayer(layer, x, (heads) => p.rope(heads, rope, config.headDim));
    }),
};
