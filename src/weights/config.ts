/** Hyper-parameters of a model, from its metadata: every one in its range, none guessed. */
import type { Metadata } from "../format/metadata.ts";
import { Fields } from "./fields.ts";
import { checkVariants } from "./variants.ts";

/** RoPE, as metadata has it. Llama 3's stretching of slow frequencies is a tensor (`rope_freqs`), not metadata. */
export interface RopeConfig {
  readonly freqBase: number;
  /** Columns of a head that turn: even, at most headDim. */
  readonly nRot: number;
  /** How positions beyond the original context are scaled. */
  readonly scaling: "none" | "linear" | "yarn";
  /** Positions are divided by this (linear), or the context is longer by it (yarn). 1 without scaling. */
  readonly factor: number;
  /** Context before scaling. */
  readonly origContext: number;
  /** YaRN: multiplies the magnitude of cos and sin. */
  readonly attnFactor: number;
  /** YaRN: share of extrapolation, 0-1. */
  readonly extFactor: number;
  /** YaRN: frequencies with more rotations than this within the original context are left alone. */
  readonly betaFast: number;
  /** YaRN: frequencies with fewer rotations than this are scaled. */
  readonly betaSlow: number;
  /** YaRN: factor of ln(factor) in the magnitude (DeepSeek's form); 0 = the published 0.1 ln(factor) + 1. */
  readonly logMultiplier: number;
}

/** What may differ from layer to layer. */
export interface LayerConfig {
  readonly nHeads: number;
  readonly nKvHeads: number;
  readonly intermediateSize: number;
}

/** The shape of a model. Plain data; sizes are counts of elements. */
export interface ModelConfig {
  /** `general.architecture`. */
  readonly architecture: string;
  /** `general.name`. */
  readonly name: string | undefined;
  readonly nLayers: number;
  readonly hiddenSize: number;
  /** One for each layer. The scalars below are the largest of them. */
  readonly layers: readonly LayerConfig[];
  readonly intermediateSize: number;
  /** Query heads; a multiple of nKvHeads in every layer. */
  readonly nHeads: number;
  readonly nKvHeads: number;
  /** Columns of a query and key head. */
  readonly headDim: number;
  /** Columns of a value head. */
  readonly valueDim: number;
  /** Number of tokens: rows of the embedding. */
  readonly vocabSize: number;
  /** Context the model was trained for. */
  readonly contextLength: number;
  /** Epsilon of the norms, whichever kind they are. */
  readonly rmsEps: number;
  readonly rope: RopeConfig;
  /** Tokens each query sees; 0 = all. */
  readonly slidingWindow: number;
  /** Experts of a layer; 0 in dense models. */
  readonly nExperts: number;
  /** Experts a token is routed to. */
  readonly nExpertsUsed: number;
  /** Of one expert; 0 = intermediateSize. */
  readonly expertIntermediateSize: number;
}

const LAYERS_MAX = 1024;
const HEADS_MAX = 4096;
const HEAD_DIM_MAX = 4096;
const SIZE_MAX = 2 ** 22;
const VOCAB_MAX = 2 ** 22;
const CONTEXT_MAX = 2 ** 28;

/**
 * Reads and checks the configuration. `variants` names what of src/weights/variants.ts the architecture computes;
 * a file that asks for another is refused.
 *
 * Throws one error with all problems: `KEY_MISSING`, `TYPE`, `OVERFLOW`, `LIMIT` (a value out of its range), `SHAPE`
 * (values that contradict each other, per-layer arrays of the wrong length), `UNSUPPORTED`.
 */
export function readConfig(metadata: Metadata, variants: readonly string[] = []): ModelConfig {
  const architecture = metadata.string("general.architecture");
  checkGeneral(metadata);
  const f = new Fields(metadata, `${architecture}.`);
  const nLayers = f.int("block_count", 1, LAYERS_MAX);
  const hiddenSize = f.int("embedding_length", 1, SIZE_MAX);
  const heads = f.layers("attention.head_count", nLayers, 1, HEADS_MAX);
  const kvHeads = f.layers("attention.head_count_kv", nLayers, 1, HEADS_MAX, heads);
  const sizes = f.layers("feed_forward_length", nLayers, 1, SIZE_MAX);
  const headDim = f.int("attention.key_length", 1, HEAD_DIM_MAX, defaultHeadDim(f, hiddenSize, heads));
  const contextLength = f.int("context_length", 1, CONTEXT_MAX);
  const config: ModelConfig = {
    architecture,
    name: metadata.string("general.name", undefined),
    nLayers,
    hiddenSize,
    layers: heads.map((nHeads, i) => ({ nHeads, nKvHeads: kvHeads[i]!, intermediateSize: sizes[i]! })),
    intermediateSize: Math.max(...sizes),
    nHeads: Math.max(...heads),
    nKvHeads: Math.max(...kvHeads),
    headDim,
    valueDim: f.int("attention.value_length", 1, HEAD_DIM_MAX, headDim),
    vocabSize: f.vocabSize(VOCAB_MAX),
    contextLength,
    rmsEps: readEpsilon(f),
    rope: readRope(f, headDim, contextLength),
    slidingWindow: f.int("attention.sliding_window", 0, CONTEXT_MAX, 0),
    nExperts: f.int("expert_count", 0, 4096, 0),
    nExpertsUsed: f.int("expert_used_count", 0, 4096, 0),
    expertIntermediateSize: f.int("expert_feed_forward_length", 0, SIZE_MAX, 0),
  };
  for (const [i, layer] of config.layers.entries()) {
    const { nHeads, nKvHeads } = layer;
    f.check(
      nHeads % nKvHeads === 0,
      "SHAPE",
      "attention.head_count",
      `layer ${i}: ${nHeads} heads share ${nKvHeads} KV heads`,
    );
  }
  f.check(
    config.nExpertsUsed <= config.nExperts,
    "SHAPE",
    "expert_used_count",
    `${config.nExpertsUsed} of ${config.nExperts}`,
  );
  checkVariants(f, variants);
  f.throwProblems();
  return config;
}

/** hiddenSize / nHeads; only asked for when the file does not give the size of a head. */
function defaultHeadDim(f: Fields, hiddenSize: number, heads: readonly number[]): number {
  const nHeads = heads[0]!;
  if (f.has("attention.key_length")) return 1;
  f.check(hiddenSize % nHeads === 0, "SHAPE", "embedding_length", `${hiddenSize} is not a multiple of ${nHeads} heads`);
  return Math.max(1, Math.floor(hiddenSize / nHeads));
}

function readEpsilon(f: Fields): number {
  const key = either(f, "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon");
  return f.float(key, Number.MIN_VALUE, 1);
}

/** The first of two names of a key that the file has, else the first. */
function either(f: Fields, first: string, second: string): string {
  return f.has(second) && !f.has(first) ? second : first;
}

function readRope(f: Fields, headDim: number, contextLength: number): RopeConfig {
  const nRot = f.int("rope.dimension_count", 2, HEAD_DIM_MAX, headDim);
  f.check(
    nRot % 2 === 0 && nRot <= headDim,
    "SHAPE",
    "rope.dimension_count",
    `${nRot} of the ${headDim} columns of a head turn`,
  );
  const scaling = readScaling(f);
  const factor = f.float(either(f, "rope.scaling.factor", "rope.scale_linear"), 1e-3, 1e6, 1);
  const yarn = scaling === "yarn";
  return {
    freqBase: f.float("rope.freq_base", 1, 1e12, 10000),
    nRot,
    scaling: scaling === "linear" && factor === 1 ? "none" : scaling,
    factor: scaling === "none" ? 1 : factor,
    origContext: f.int("rope.scaling.original_context_length", 1, CONTEXT_MAX, contextLength),
    attnFactor: f.float(either(f, "rope.scaling.yarn_attn_factor", "rope.scaling.attn_factor"), 1e-3, 1e3, 1),
    extFactor: f.float("rope.scaling.yarn_ext_factor", 0, 1, yarn ? 1 : 0),
    betaFast: f.float("rope.scaling.yarn_beta_fast", 1e-3, 1e6, 32),
    betaSlow: f.float("rope.scaling.yarn_beta_slow", 1e-3, 1e6, 1),
    logMultiplier: f.float("rope.scaling.yarn_log_multiplier", 0, 10, 0),
  };
}

/** A factor without a type has always meant linear scaling. */
function readScaling(f: Fields): RopeConfig["scaling"] {
  const type = f.string("rope.scaling.type", "linear");
  const known = type === "none" || type === "linear" || type === "yarn";
  f.check(known, "UNSUPPORTED", "rope.scaling.type", `"${type}", supported are none, linear, yarn`);
  return known ? type : "none";
}

/** Kinds of GGUF file that hold no model, and a quantization layout that is no longer read. */
function checkGeneral(metadata: Metadata): void {
  const type = metadata.string("general.type", "model");
  if (type !== "model") throw metadata.errorAt("UNSUPPORTED", "general.type", `"${type}", expected "model"`);
  const version = metadata.int("general.quantization_version", 2);
  if (version !== 2) throw metadata.errorAt("UNSUPPORTED", "general.quantization_version", `${version}, expected 2`);
}
