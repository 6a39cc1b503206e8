/** Files whose hyper-parameters are out of range, contradict each other, or ask for what is not computed. */
import type { ErrorCode } from "../../../src/errors.ts";
import type { GgufEntry } from "../../gguf_writer.ts";
import { changed, withEntry, without } from "./base.ts";
import type { CorpusCase } from "./make_corpus.ts";

function int(suffix: string, value: number, expect: ErrorCode): CorpusCase {
  const key = `llama.${suffix}`;
  const entry: GgufEntry = { key, type: value < 0 ? "i32" : "u32", value };
  return withEntry(`${suffix} ${value}`, expect, entry, new RegExp(key));
}

function float(suffix: string, value: number, expect: ErrorCode): CorpusCase {
  const key = `llama.${suffix}`;
  return withEntry(`${suffix} ${value}`, expect, { key, type: "f32", value }, new RegExp(key));
}

function ints(suffix: string, values: readonly number[], expect: ErrorCode): CorpusCase {
  const key = `llama.${suffix}`;
  return withEntry(`${suffix} [${values}]`, expect, { key, type: "array", of: "i32", values }, new RegExp(key));
}

function text(key: string, value: string, expect: ErrorCode): CorpusCase {
  return withEntry(`${key} "${value}"`, expect, { key, type: "string", value });
}

/** Each key at and beyond the ends of its range. */
export function configCases(): CorpusCase[] {
  const eps = "attention.layer_norm_rms_epsilon";
  const required = [
    "block_count",
    "context_length",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    eps,
  ];
  return [
    without("general.architecture", "KEY_MISSING"),
    ...required.map((suffix) => without(`llama.${suffix}`, "KEY_MISSING")),
    ...["nonesuch", "", "Llama", "llama2", "clip", "__proto__", "constructor"].map((name) =>
      text("general.architecture", name, "UNSUPPORTED")
    ),
    ...["adapter", "imatrix", "mmproj", "vocab"].map((type) => text("general.type", type, "UNSUPPORTED")),
    withEntry("quantization version 1", "UNSUPPORTED", { key: "general.quantization_version", type: "u32", value: 1 }),
    ...[0, 1025, 2 ** 31, 2 ** 32 - 1, -1].map((n) => int("block_count", n, "LIMIT")),
    withEntry("block_count 2^64 - 1", "OVERFLOW", { key: "llama.block_count", type: "u64", value: 2n ** 64n - 1n }),
    layersMissing(),
    ...[0, 2 ** 23, -32].map((n) => int("embedding_length", n, "LIMIT")),
    int("embedding_length", 33, "SHAPE"),
    ...[0, 2 ** 23].map((n) => int("feed_forward_length", n, "LIMIT")),
    ...[0, 2 ** 29, -1].map((n) => int("context_length", n, "LIMIT")),
    ...[0, 4097, -2].map((n) => int("attention.head_count", n, "LIMIT")),
    ...[0, 4097].map((n) => int("attention.head_count_kv", n, "LIMIT")),
    kvHeads(3),
    kvHeads(4),
    ints("attention.head_count", [2, 2], "SHAPE"),
    ints("attention.head_count", [], "SHAPE"),
    ints("attention.head_count_kv", [0], "LIMIT"),
    ints("feed_forward_length", [32, 32, 32], "SHAPE"),
    ...[0, 4097].map((n) => int("attention.key_length", n, "LIMIT")),
    int("attention.value_length", 0, "LIMIT"),
    ...[0, 1, 4098].map((n) => int("rope.dimension_count", n, "LIMIT")),
    ...[15, 18].map((n) => int("rope.dimension_count", n, "SHAPE")),
    ...[0, -1, NaN, Infinity, 0.5, 1e13].map((x) => float("rope.freq_base", x, "LIMIT")),
    ...[0, -1e-5, NaN, Infinity, 1.5].map((x) => float(eps, x, "LIMIT")),
    ...["longrope", "su", "llama3", "dynamic", "", "LINEAR"].map((type) =>
      text("llama.rope.scaling.type", type, "UNSUPPORTED")
    ),
    ...[0, -1, NaN, Infinity].map((x) => float("rope.scaling.factor", x, "LIMIT")),
    int("rope.scaling.original_context_length", 0, "LIMIT"),
    int("attention.sliding_window", -1, "LIMIT"),
    int("expert_count", 8, "UNSUPPORTED"),
    int("expert_count", 5000, "LIMIT"),
    int("expert_used_count", 2, "SHAPE"),
    float("final_logit_softcapping", 30, "UNSUPPORTED"),
    float("attn_logit_softcapping", 50, "UNSUPPORTED"),
    float("attention.max_alibi_bias", 8, "UNSUPPORTED"),
    float("attention.clamp_kqv", 8, "UNSUPPORTED"),
    float("attention.scale", 0.5, "UNSUPPORTED"),
    float("logit_scale", 0.125, "UNSUPPORTED"),
    float("residual_scale", 0.22, "UNSUPPORTED"),
    float("embedding_scale", 12, "UNSUPPORTED"),
    int("pooling_type", 1, "UNSUPPORTED"),
    withEntry("not causal", "UNSUPPORTED", { key: "llama.attention.causal", type: "bool", value: false }),
    ints("rope.dimension_sections", [16, 24, 24, 0], "UNSUPPORTED"),
    ...splitCases(),
    withEntry("sampling temperature -1", "LIMIT", { key: "general.sampling.temp", type: "f32", value: -1 }),
    withEntry("sampling top_p NaN", "LIMIT", { key: "general.sampling.top_p", type: "f32", value: NaN }),
  ];
}

/** Two layers by metadata, one in the directory. */
function layersMissing(): CorpusCase {
  const entry: GgufEntry = { key: "llama.block_count", type: "u32", value: 2 };
  return withEntry("a layer without tensors", "KEY_MISSING", entry, /blk\.1\.attn_norm/);
}

function kvHeads(n: number): CorpusCase {
  const entry: GgufEntry = { key: "llama.attention.head_count_kv", type: "u32", value: n };
  return withEntry(`2 heads for ${n} KV heads`, "SHAPE", entry, /head_count/);
}

function splitCases(): CorpusCase[] {
  const split = (no: number, count: number): GgufEntry[] => [
    { key: "split.no", type: "u16", value: no },
    { key: "split.count", type: "u16", value: count },
    { key: "split.tensors.count", type: "i32", value: 12 },
  ];
  const name = (no: number, count: number) => `part ${no} of ${count}`;
  return [
    changed(name(0, 3), "UNSUPPORTED", (image) => image.metadata.push(...split(0, 3)), /split\.count/),
    changed(name(3, 3), "LIMIT", (image) => image.metadata.push(...split(3, 3)), /split\.no/),
    changed(name(0, 65535), "LIMIT", (image) => image.metadata.push(...split(0, 65535)), /split\.count/),
    changed("a part without a number", "KEY_MISSING", (image) => image.metadata.push(split(0, 3)[1]!), /split\.no/),
  ];
}
