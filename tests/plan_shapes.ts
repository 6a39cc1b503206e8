/** Real models by their shapes: what the golden listings in tests/golden/plans are made of. */
import type { DTypeName } from "../src/dtype.ts";
import type { Plan } from "../src/plan/plan.ts";
import type { ModelConfig } from "../src/weights/config.ts";
import type { RoleSpec } from "../src/weights/roles.ts";
import { type MadeUp, shapePlan, SMALL } from "./plan_support.ts";

/** One model whose plan listing is committed as tests/golden/plans/<name>.txt. */
export interface PlanShape {
  readonly name: string;
  readonly config: ModelConfig;
  readonly made: MadeUp;
}

type Sizes =
  & Pick<ModelConfig, "architecture" | "nLayers" | "hiddenSize" | "intermediateSize" | "nHeads" | "nKvHeads">
  & Pick<ModelConfig, "headDim" | "vocabSize" | "contextLength">
  & { readonly freqBase: number };

function configOf(sizes: Sizes, more: Partial<ModelConfig> = {}): ModelConfig {
  const { freqBase, ...rest } = sizes;
  const { nLayers, nHeads, nKvHeads, intermediateSize, headDim, contextLength } = rest;
  const rope = { ...SMALL.rope, freqBase, nRot: headDim, origContext: contextLength };
  const layers = Array.from({ length: nLayers }, () => ({ nHeads, nKvHeads, intermediateSize }));
  return { ...SMALL, ...rest, valueDim: headDim, layers, rope, ...more };
}

/** llama.cpp's mix of 4 and 6 bits: the first and last eighth of the layers, and every third between, get more. */
function q4KM(nLayers: number): (spec: RoleSpec) => DTypeName {
  const eighth = Math.floor(nLayers / 8);
  return ({ role, layer }) => {
    if (role === "token_embd") return "Q4_K";
    if (role === "output") return "Q6_K";
    const i = layer ?? 0;
    const more = i < eighth || i >= Math.floor(7 * nLayers / 8) || (i - eighth) % 3 === 2;
    return more && ["attn_v", "ffn_down", "ffn_down_exps"].includes(role) ? "Q6_K" : "Q4_K";
  };
}

/** Factors of Llama 3.1's rope_freqs look like this: 1, then a smooth rise to 8. */
function ropeFreqs(n: number): Float32Array {
  return Float32Array.from({ length: n }, (_, i) => Math.min(8, Math.max(1, i - n / 2)));
}

const smolLm2: PlanShape = {
  name: "llama_smollm2_135m_q4_1",
  config: configOf({
    architecture: "llama",
    nLayers: 30,
    hiddenSize: 576,
    intermediateSize: 1536,
    nHeads: 9,
    nKvHeads: 3,
    headDim: 64,
    vocabSize: 49152,
    contextLength: 8192,
    freqBase: 100000,
  }),
  made: { dtypeOf: ({ role }) => role === "token_embd" ? "Q8_0" : "Q4_1" },
};

const llama31: PlanShape = {
  name: "llama_3.1_8b_q4_k_m",
  config: configOf({
    architecture: "llama",
    nLayers: 32,
    hiddenSize: 4096,
    intermediateSize: 14336,
    nHeads: 32,
    nKvHeads: 8,
    headDim: 128,
    vocabSize: 128256,
    contextLength: 131072,
    freqBase: 500000,
  }),
  made: { dtypeOf: q4KM(32), host: { rope_freqs: ropeFreqs(64) }, has: (role) => role === "output" },
};

const mistral: PlanShape = {
  name: "llama_mistral_7b_window_q8_0",
  config: configOf({
    architecture: "llama",
    nLayers: 32,
    hiddenSize: 4096,
    intermediateSize: 14336,
    nHeads: 32,
    nKvHeads: 8,
    headDim: 128,
    vocabSize: 32000,
    contextLength: 32768,
    freqBase: 10000,
  }, { slidingWindow: 4096 }),
  made: { dtypeOf: () => "Q8_0", has: (role) => role === "output" },
};

const qwen25: PlanShape = {
  name: "qwen2_2.5_1.5b_q4_k_m",
  config: configOf({
    architecture: "qwen2",
    nLayers: 28,
    hiddenSize: 1536,
    intermediateSize: 8960,
    nHeads: 12,
    nKvHeads: 2,
    headDim: 128,
    vocabSize: 151936,
    contextLength: 32768,
    freqBase: 1e6,
  }, { rmsEps: 1e-6 }),
  made: { dtypeOf: q4KM(28) },
};

const qwen306: PlanShape = {
  name: "qwen3_0.6b_q8_0",
  config: configOf({
    architecture: "qwen3",
    nLayers: 28,
    hiddenSize: 1024,
    intermediateSize: 3072,
    nHeads: 16,
    nKvHeads: 8,
    headDim: 128,
    vocabSize: 151936,
    contextLength: 40960,
    freqBase: 1e6,
  }, { rmsEps: 1e-6 }),
  made: { dtypeOf: () => "Q8_0" },
};

const qwen330b: PlanShape = {
  name: "qwen3moe_30b_a3b_q4_k_m",
  config: configOf({
    architecture: "qwen3moe",
    nLayers: 48,
    hiddenSize: 2048,
    intermediateSize: 6144,
    nHeads: 32,
    nKvHeads: 4,
    headDim: 128,
    vocabSize: 151936,
    contextLength: 40960,
    freqBase: 1e6,
  }, { rmsEps: 1e-6, nExperts: 128, nExpertsUsed: 8, expertIntermediateSize: 768 }),
  made: { dtypeOf: (spec) => spec.role === "ffn_gate_inp" ? "F32" : q4KM(48)(spec), has: (role) => role === "output" },
};

/** All of them: every registered architecture is among them. */
export const PLAN_SHAPES: readonly PlanShape[] = [smolLm2, llama31, mistral, qwen25, qwen306, qwen330b];

/** The plan of one. */
export function planOfShape({ config, made }: PlanShape): Promise<Plan> {
  return shapePlan(config, made);
}
