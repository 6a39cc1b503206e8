/** Roles of the Llama form: the tensors that its architectures share, and the words to name others with. */
import type { LayerConfig, ModelConfig } from "../weights/config.ts";
import { type RoleSpec, USE_MATMUL, USE_MOE, USE_ROWS, USE_VECTOR } from "../weights/roles.ts";

/** A matrix [rows x cols] of a layer, named after its role. */
export function matrixRole(layer: number, role: string, rows: number, cols: number): RoleSpec {
  return { role, layer, tensor: `blk.${layer}.${role}.weight`, rows, cols, use: USE_MATMUL };
}

/** A matrix [rows x cols] of each expert of a layer, one after another, named after its role. */
export function expertRole(layer: number, role: string, nExperts: number, rows: number, cols: number): RoleSpec {
  return { role, layer, tensor: `blk.${layer}.${role}.weight`, rows, cols, nExperts, use: USE_MOE };
}

/** A vector of a layer, named after its role. */
export function vectorRole(layer: number, role: string, cols: number): RoleSpec {
  return { role, layer, tensor: `blk.${layer}.${role}.weight`, rows: 1, cols, use: USE_VECTOR };
}

/** The bias of each of these matrices: role `<role>.bias`. */
export function biasRoles(matrices: readonly RoleSpec[], optional: boolean): RoleSpec[] {
  return matrices.map(({ role, layer, rows }) => {
    const tensor = `blk.${layer}.${role}.bias`;
    return { role: `${role}.bias`, layer, tensor, rows: 1, cols: rows, use: USE_VECTOR, optional };
  });
}

/** Embedding, final norm and output (which may be the embedding), then the roles of every layer. */
export function decoderRoles(
  config: ModelConfig,
  layerRoles: (shape: LayerConfig, layer: number) => RoleSpec[],
): RoleSpec[] {
  const { hiddenSize, vocabSize } = config;
  const table = { layer: null, rows: vocabSize, cols: hiddenSize };
  return [
    { ...table, role: "token_embd", tensor: "token_embd.weight", use: USE_ROWS },
    { role: "output_norm", layer: null, tensor: "output_norm.weight", rows: 1, cols: hiddenSize, use: USE_VECTOR },
    { ...table, role: "output", tensor: "output.weight", use: USE_MATMUL, tiedTo: "token_embd" },
    ...config.layers.flatMap(layerRoles),
  ];
}

/** attn_q, attn_k and attn_v. */
export function qkvRoles(config: ModelConfig, { nHeads, nKvHeads }: LayerConfig, layer: number): RoleSpec[] {
  const { hiddenSize, headDim, valueDim } = config;
  return [
    matrixRole(layer, "attn_q", nHeads * headDim, hiddenSize),
    matrixRole(layer, "attn_k", nKvHeads * headDim, hiddenSize),
    matrixRole(layer, "attn_v", nKvHeads * valueDim, hiddenSize),
  ];
}

/** attn_output. */
export function attentionOutputRole(config: ModelConfig, { nHeads }: LayerConfig, layer: number): RoleSpec {
  return matrixRole(layer, "attn_output", config.hiddenSize, nHeads * config.valueDim);
}

/** ffn_gate, ffn_up and ffn_down. */
export function swiGluRoles(config: ModelConfig, { intermediateSize }: LayerConfig, layer: number): RoleSpec[] {
  const { hiddenSize } = config;
  return [
    matrixRole(layer, "ffn_gate", intermediateSize, hiddenSize),
    matrixRole(layer, "ffn_up", intermediateSize, hiddenSize),
    matrixRole(layer, "ffn_down", hiddenSize, intermediateSize),
  ];
}

/** attn_norm and ffn_norm. */
export function preNormRoles(config: ModelConfig, layer: number): RoleSpec[] {
  return [vectorRole(layer, "attn_norm", config.hiddenSize), vectorRole(layer, "ffn_norm", config.hiddenSize)];
}
