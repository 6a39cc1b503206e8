/** Hyper-parameters: from metadata to plain data, every value in its range. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { RealizarError } from "../src/errors.ts";
import { openGgufSync } from "../src/format/gguf.ts";
import type { Metadata } from "../src/format/metadata.ts";
import { type ModelConfig, readConfig } from "../src/weights/config.ts";
import { encodeGguf, type GgufEntry } from "./gguf_writer.ts";
import { test } from "./support.ts";

function metadataOf(...metadata: GgufEntry[]): Metadata {
  return openGgufSync(encodeGguf({ metadata, tensors: [] })).metadata;
}

function u32(key: string, value: number): GgufEntry {
  return { key, type: "u32", value };
}

function f32(key: string, value: number): GgufEntry {
  return { key, type: "f32", value };
}

function text(key: string, value: string): GgufEntry {
  return { key, type: "string", value };
}

/** What every model must say. */
const LEAST: readonly GgufEntry[] = [
  text("general.architecture", "a"),
  u32("a.block_count", 3),
  u32("a.embedding_length", 96),
  u32("a.feed_forward_length", 200),
  u32("a.attention.head_count", 4),
  u32("a.context_length", 1000),
  f32("a.attention.layer_norm_rms_epsilon", 0.5),
  u32("a.vocab_size", 77),
];

/** The least metadata with some entries replaced or added. */
function withEntries(...entries: GgufEntry[]): Metadata {
  const kept = LEAST.filter((old) => !entries.some((entry) => entry.key === old.key));
  return metadataOf(...kept, ...entries);
}

const config = (...entries: GgufEntry[]): ModelConfig => readConfig(withEntries(...entries));

function problems(...entries: GgufEntry[]): string[] {
  return [...assertThrows(() => config(...entries), RealizarError).problems];
}

test("config: the least that a file must say, and the defaults of the rest", () => {
  const layer = { nHeads: 4, nKvHeads: 4, intermediateSize: 200 };
  assertEquals(config(), {
    architecture: "a",
    name: undefined,
    nLayers: 3,
    hiddenSize: 96,
    layers: [layer, layer, layer],
    intermediateSize: 200,
    nHeads: 4,
    nKvHeads: 4,
    headDim: 24,
    valueDim: 24,
    vocabSize: 77,
    contextLength: 1000,
    rmsEps: 0.5,
    rope: {
      freqBase: 10000,
      nRot: 24,
      scaling: "none",
      factor: 1,
      origContext: 1000,
      attnFactor: 1,
      extFactor: 0,
      betaFast: 32,
      betaSlow: 1,
      logMultiplier: 0,
    },
    slidingWindow: 0,
    nExperts: 0,
    nExpertsUsed: 0,
    expertIntermediateSize: 0,
  });
});

test("config: everything a file can say", () => {
  const found = config(
    text("general.name", "A Model"),
    text("general.type", "model"),
    u32("general.quantization_version", 2),
    u32("a.attention.head_count_kv", 2),
    u32("a.attention.key_length", 48),
    u32("a.attention.value_length", 40),
    u32("a.rope.dimension_count", 32),
    f32("a.rope.freq_base", 500000),
    text("a.rope.scaling.type", "yarn"),
    f32("a.rope.scaling.factor", 8),
    u32("a.rope.scaling.original_context_length", 125),
    f32("a.rope.scaling.yarn_ext_factor", 0.5),
    f32("a.rope.scaling.yarn_attn_factor", 2),
    f32("a.rope.scaling.yarn_beta_fast", 16),
    f32("a.rope.scaling.yarn_beta_slow", 2),
    f32("a.rope.scaling.yarn_log_multiplier", 0.25),
    u32("a.attention.sliding_window", 128),
  );
  const { name, headDim, valueDim, nKvHeads, slidingWindow } = found;
  assertEquals({ name, headDim, valueDim, nKvHeads, slidingWindow }, {
    name: "A Model",
    headDim: 48,
    valueDim: 40,
    nKvHeads: 2,
    slidingWindow: 128,
  });
  assertEquals(found.rope, {
    freqBase: 500000,
    nRot: 32,
    scaling: "yarn",
    factor: 8,
    origContext: 125,
    attnFactor: 2,
    extFactor: 0.5,
    betaFast: 16,
    betaSlow: 2,
    logMultiplier: 0.25,
  });
});

test("config: layers that differ", () => {
  const per = (suffix: string, values: number[]): GgufEntry => ({
    key: `a.${suffix}`,
    type: "array",
    of: "i32",
    values,
  });
  const found = config(
    per("attention.head_count", [4, 8, 2]),
    per("attention.head_count_kv", [2, 1, 2]),
    per("feed_forward_length", [100, 200, 300]),
    u32("a.attention.key_length", 8),
  );
  assertEquals(found.layers, [
    { nHeads: 4, nKvHeads: 2, intermediateSize: 100 },
    { nHeads: 8, nKvHeads: 1, intermediateSize: 200 },
    { nHeads: 2, nKvHeads: 2, intermediateSize: 300 },
  ]);
  assertEquals([found.nHeads, found.nKvHeads, found.intermediateSize], [8, 2, 300]);
  assertEquals(config(per("attention.head_count", [4, 8, 2])).layers.map((layer) => layer.nKvHeads), [4, 8, 2]);
  const uneven = problems(per("attention.head_count", [4, 8, 3]), per("attention.head_count_kv", [2, 1, 2]));
  assertEquals(uneven.length, 1);
  assert(/layer 2: 3 heads share 2 KV heads/.test(uneven[0]!), uneven[0]);
});

test("config: how RoPE is scaled", () => {
  const scaled = (...entries: GgufEntry[]) => {
    const { scaling, factor } = config(...entries).rope;
    return [scaling, factor];
  };
  const type = (name: string) => text("a.rope.scaling.type", name);
  const factor = (value: number) => f32("a.rope.scaling.factor", value);
  assertEquals(scaled(type("linear"), factor(4)), ["linear", 4]);
  assertEquals(scaled(factor(4)), ["linear", 4]);
  assertEquals(scaled(f32("a.rope.scale_linear", 2)), ["linear", 2]);
  assertEquals(scaled(f32("a.rope.scale_linear", 2), factor(4)), ["linear", 4]);
  assertEquals(scaled(type("none"), factor(4)), ["none", 1]);
  assertEquals(scaled(type("linear")), ["none", 1]);
  assertEquals(scaled(type("yarn"), factor(4)), ["yarn", 4]);
  assertEquals(config(type("yarn")).rope.extFactor, 1);
  for (const name of ["longrope", "su", "llama3", ""]) {
    assertEquals(assertThrows(() => config(type(name)), RealizarError).code, "UNSUPPORTED", name);
  }
});

test("config: both ends of every range", () => {
  const ranges: [suffix: string, least: number, most: number][] = [
    ["block_count", 1, 1024],
    ["context_length", 1, 2 ** 28],
    ["embedding_length", 4, 2 ** 22],
    ["feed_forward_length", 1, 2 ** 22],
    ["attention.head_count", 1, 4096],
    ["attention.key_length", 24, 4096],
    ["attention.value_length", 1, 4096],
    ["vocab_size", 1, 2 ** 22],
    ["attention.sliding_window", 0, 2 ** 28],
  ];
  for (const [suffix, least, most] of ranges) {
    const others = [u32("a.attention.key_length", 24), u32("a.rope.dimension_count", 2)];
    const one = (value: number) => [...others.filter(({ key }) => key !== `a.${suffix}`), u32(`a.${suffix}`, value)];
    for (const value of [least, most]) config(...one(value));
    for (const value of [most + 1, 2 ** 32 - 1]) {
      assert(problems(...one(value))[0]!.includes(`key "a.${suffix}"`), `${suffix} ${value}`);
    }
  }
  for (const [suffix, values] of [["layer_norm_rms_epsilon", [1e-30, 1]]] as const) {
    for (const value of values) config(f32(`a.attention.${suffix}`, value));
  }
});

test("config: a norm's epsilon by either name", () => {
  const other = f32("a.attention.layer_norm_epsilon", 0.25);
  const without = LEAST.filter(({ key }) => key !== "a.attention.layer_norm_rms_epsilon");
  assertEquals(readConfig(metadataOf(...without, other)).rmsEps, 0.25);
  assertEquals(readConfig(metadataOf(...LEAST, other)).rmsEps, 0.5);
  assertEquals(assertThrows(() => readConfig(metadataOf(...without)), RealizarError).code, "KEY_MISSING");
});

test("config: all problems are told at once, with key, byte, value and range", () => {
  const found = problems(
    u32("a.block_count", 0),
    f32("a.attention.layer_norm_rms_epsilon", NaN),
    text("a.context_length", "8k"),
    u32("a.pooling_type", 2),
  );
  assertEquals(found.length, 4);
  assert(/key "a\.block_count" at byte \d+: 0, expected 1 to 1024$/.test(found[0]!), found[0]);
  assert(/key "a\.context_length" at byte \d+: the value is string, expected an integer/.test(found[1]!), found[1]);
  assert(/layer_norm_rms_epsilon" at byte \d+: NaN, expected /.test(found[2]!), found[2]);
  assert(/pooling_type" at byte \d+: 2 is not computed/.test(found[3]!), found[3]);
});

test("config: what changes the computation is refused unless the architecture computes it", () => {
  const softcap = withEntries(f32("a.final_logit_softcapping", 30));
  assertEquals(assertThrows(() => readConfig(softcap), RealizarError).code, "UNSUPPORTED");
  assertEquals(readConfig(softcap, ["final_logit_softcapping"]).nLayers, 3);
  assertEquals(config(f32("a.final_logit_softcapping", 0)).nLayers, 3);
});

test("config: the vocabulary's length is the number of tokens, whatever vocab_size says", () => {
  const tokens: GgufEntry = { key: "tokenizer.ggml.tokens", type: "array", of: "string", values: ["a", "b", "c"] };
  assertEquals(config(tokens).vocabSize, 3);
});
