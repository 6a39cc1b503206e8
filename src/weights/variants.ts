/**
 * Metadata that changes what a model computes. A file with one of these keys at another than its neutral value is
 * refused unless the architecture says that it computes it: ignoring it would give wrong text without a word.
 */
import type { Fields } from "./fields.ts";

/** Key, without prefix, and the value that changes nothing; undefined: every value changes something. */
const NEUTRAL: Readonly<Record<string, number | boolean | undefined>> = {
  "attention.causal": true,
  "attention.clamp_kqv": 0,
  "attention.max_alibi_bias": 0,
  "attention.output_scale": 1,
  "attention.scale": 0,
  "attention.sliding_window_pattern": undefined,
  "attention.temperature_length": 0,
  "attention.temperature_scale": 0,
  "attention.shared_kv_layers": 0,
  "attention.kv_lora_rank": 0,
  "attention.q_lora_rank": 0,
  "attn_logit_softcapping": 0,
  "final_logit_softcapping": 0,
  "embedding_scale": 1,
  "residual_scale": 1,
  "logit_scale": 1,
  "expert_count": 0,
  "expert_gating_func": 1, // softmax
  "expert_group_count": 0,
  "expert_shared_count": 0,
  "expert_weights_norm": true,
  "expert_weights_scale": 1,
  "leading_dense_block_count": 0,
  "nextn_predict_layers": 0,
  "pooling_type": 0,
  "rope.dimension_sections": undefined,
  "use_parallel_residual": false,
};

/** Notes `UNSUPPORTED` for every variant a file asks for that is not in `supported`. */
export function checkVariants(fields: Fields, supported: readonly string[]): void {
  for (const [suffix, neutral] of Object.entries(NEUTRAL)) {
    if (!fields.has(suffix) || supported.includes(suffix)) continue;
    const value = fields.metadata.preview(fields.key(suffix), 8);
    const isNeutral = value === neutral && neutral !== undefined;
    fields.check(isNeutral, "UNSUPPORTED", suffix, `${JSON.stringify(value)} is not computed by this architecture`);
  }
}
