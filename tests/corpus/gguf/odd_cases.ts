/** Files that are strange, as real ones are, and must load. */
import { type DTypeName, DTYPES } from "../../../src/dtype.ts";
import {
  ByteWriter,
  encodeGguf,
  entryOf,
  type GgufEntry,
  type GgufImage,
  removeEntry,
  setEntry,
  tensorOf,
} from "../../gguf_writer.ts";
import { Random, randomWeights } from "../../random_blocks.ts";
import { TINY_MERGES, type TinyOptions, tinyTokens } from "../../tiny_gguf.ts";
import { changed, small } from "./base.ts";
import type { CorpusCase } from "./make_corpus.ts";

function ok(name: string, change: (image: GgufImage) => void, options?: TinyOptions): CorpusCase {
  return changed(name, "OK", change, undefined, options);
}

function set(name: string, ...entries: GgufEntry[]): CorpusCase {
  return ok(name, (image) => entries.forEach((entry) => setEntry(image, entry)));
}

/** Every odd file. */
export function oddCases(): CorpusCase[] {
  return [...layoutCases(), ...metadataCases(), ...configCases(), ...vocabCases(), ...dtypeCases()];
}

function layoutCases(): CorpusCase[] {
  const aligned = (alignment: number) =>
    ok(`alignment ${alignment}`, (image) => {
      image.alignment = alignment;
      setEntry(image, { key: "general.alignment", type: "u32", value: alignment });
    });
  return [
    ok("version 2", (image) => image.version = 2),
    ok("bytes after the last tensor", (image) => image.trailer = new Uint8Array(1000).fill(0xab)),
    ok("no padding after the last tensor", (image) => image.noFinalPadding = true),
    ...[8, 16, 64, 4096, 2 ** 20].map(aligned),
    ok("tensors in reverse order", (image) => image.tensors.reverse()),
    ok("directory not in the order of the data", (image) => {
      let at = 0;
      for (const tensor of image.tensors) {
        tensor.offset = at;
        at += Math.ceil(tensor.data.length / 32) * 32;
      }
      // Still encoded in this order: only the directory is shuffled.
      const bytes = image.tensors.map((tensor) => tensor.data);
      image.tensors.reverse();
      image.tensors.forEach((tensor, i) => tensor.data = bytes[i]!);
    }),
    ok("gaps between tensors", (image) => {
      image.tensors.forEach((tensor, i) => tensor.offset = i * 65536);
      image.trailer = new Uint8Array(image.tensors.length * 65536);
    }),
    ok("dimensions of 1 at the end", (image) => {
      tensorOf(image, "blk.0.attn_q.weight").dims = [32, 32, 1, 1];
      tensorOf(image, "output_norm.weight").dims = [32, 1];
    }),
    ok("RoPE divisors", () => {}, { ropeFreqs: true }),
    ok("embedding is the output too", () => {}, { tied: true }),
    ok("a qwen2", () => {}, { arch: "qwen2" }),
    ok("a qwen3 with heads of their own size", () => {}, { arch: "qwen3", headDim: 64 }),
  ];
}

function metadataCases(): CorpusCase[] {
  const nested = new ByteWriter().u32(9).u32(9).u64(2).u32(4).u64(2).u32(1).u32(2).u32(8).u64(1).string("deep")
    .finish();
  const scalars = ["u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "u64", "i64", "f64"] as const;
  return [
    set(
      "keys that nobody knows",
      { key: "quantize.imatrix.file", type: "string", value: "x.dat" },
      { key: "general.tags", type: "array", of: "string", values: ["a", "b"] },
      { key: "llama.tensor_data_layout", type: "string", value: "Meta AI original pth" },
      { key: "Ключ with spaces", type: "u8", value: 1 },
      ...scalars.map((type): GgufEntry => ({ key: `x.${type}`, type, value: 1 })),
      ...scalars.map((of): GgufEntry => ({ key: `x.array.${of}`, type: "array", of, values: [0, 1, 1] })),
    ),
    set(
      "empty arrays",
      ...[...scalars, "string" as const].map((of): GgufEntry => ({ key: `x.${of}`, type: "array", of, values: [] })),
    ),
    set("nested arrays", { key: "x", type: "raw", raw: nested }),
    set("an empty string", { key: "general.name", type: "string", value: "" }),
    set("a name that is not UTF-8", { key: "general.name", type: "string", value: Uint8Array.of(0xff, 0xfe, 0x41) }),
    set("a long key", { key: "k".repeat(65535), type: "bool", value: true }),
    set("a long string", { key: "x", type: "string", value: "é".repeat(500000) }),
    set("floats that are not numbers, unread", { key: "x", type: "array", of: "f32", values: [NaN, Infinity, -0] }),
    set("a split of one", { key: "split.no", type: "u16", value: 0 }, { key: "split.count", type: "u16", value: 1 }, {
      key: "split.tensors.count",
      type: "i32",
      value: 12,
    }),
  ];
}

function configCases(): CorpusCase[] {
  const ints = (suffix: string, value: number): GgufEntry => ({
    key: `llama.${suffix}`,
    type: "array",
    of: "i32",
    values: [value],
  });
  const one = (suffix: string, type: "u8" | "u16" | "i32" | "u64" | "f64" | "f32", value: number): GgufEntry => ({
    key: `llama.${suffix}`,
    type,
    value,
  });
  return [
    set(
      "per-layer arrays",
      ints("attention.head_count", 2),
      ints("attention.head_count_kv", 1),
      ints("feed_forward_length", 32),
    ),
    set(
      "integers of other types",
      one("block_count", "u8", 1),
      one("embedding_length", "u64", 32),
      one("context_length", "i32", 64),
      one("attention.head_count", "u16", 2),
    ),
    set("an epsilon in double precision", one("attention.layer_norm_rms_epsilon", "f64", 1e-6)),
    ok("as many KV heads as heads, not told", (image) => removeEntry(image, "llama.attention.head_count_kv"), {
      nKvHeads: 2,
    }),
    ok("no RoPE keys", (image) => {
      removeEntry(image, "llama.rope.freq_base");
      removeEntry(image, "llama.rope.dimension_count");
    }),
    set("half of a head turns", one("rope.dimension_count", "i32", 8)),
    set("linear scaling", one("rope.scaling.factor", "f32", 4), {
      key: "llama.rope.scaling.type",
      type: "string",
      value: "linear",
    }),
    set("linear scaling by its old name", one("rope.scale_linear", "f32", 2)),
    set(
      "YaRN",
      one("rope.scaling.factor", "f32", 4),
      { key: "llama.rope.scaling.type", type: "string", value: "yarn" },
      one("rope.scaling.original_context_length", "i32", 16),
    ),
    set(
      "no scaling, said so",
      { key: "llama.rope.scaling.type", type: "string", value: "none" },
      one("rope.scaling.factor", "f32", 1),
    ),
    set("variants at their neutral values", one("expert_count", "i32", 0), one("logit_scale", "f32", 1), {
      key: "llama.attention.causal",
      type: "bool",
      value: true,
    }),
    set("a vocabulary size that is not true", one("vocab_size", "i32", 32000)),
    set("a sliding window", one("attention.sliding_window", "i32", 16)),
    ok("sampling settings", (image) => {
      setEntry(image, { key: "general.sampling.temp", type: "f32", value: 0.6 });
      setEntry(image, { key: "general.sampling.top_k", type: "i32", value: -1 });
      setEntry(image, { key: "general.sampling.penalty_last_n", type: "i32", value: 64 });
    }),
  ];
}

function vocabCases(): CorpusCase[] {
  const tokens = (change: (tokens: (string | Uint8Array)[]) => void): GgufEntry => {
    const values: (string | Uint8Array)[] = tinyTokens(282);
    change(values);
    return { key: "tokenizer.ggml.tokens", type: "array", of: "string", values };
  };
  const u32 = (name: string, value: number): GgufEntry => ({ key: `tokenizer.ggml.${name}`, type: "u32", value });
  return [
    set("tokens twice", tokens((values) => values[277] = values[276]!)),
    set("token bytes that are not UTF-8", tokens((values) => values[276] = Uint8Array.of(0xff, 0xfe, 0xc3))),
    set("an empty token", tokens((values) => values[276] = "")),
    set(
      "ids of 2^32 - 1",
      u32("bos_token_id", 2 ** 32 - 1),
      u32("padding_token_id", 2 ** 32 - 1),
      u32("eom_token_id", 2 ** 32 - 1),
    ),
    set("merges twice", {
      key: "tokenizer.ggml.merges",
      type: "array",
      of: "string",
      values: [...TINY_MERGES, "h e", "Ġ t"],
    }),
    set("no merges in the array", { key: "tokenizer.ggml.merges", type: "array", of: "string", values: [] }),
    set("scores that byte-level BPE does not use", {
      key: "tokenizer.ggml.scores",
      type: "array",
      of: "f32",
      values: new Array<number>(282).fill(0),
    }),
    set("token types out of the list", {
      key: "tokenizer.ggml.token_type",
      type: "array",
      of: "i32",
      values: new Array<number>(282).fill(77),
    }),
    ok("token types as u32", (image) => {
      const entry = entryOf(image, "tokenizer.ggml.token_type");
      if (entry.type === "array") entry.of = "u32";
    }),
    ok("no token types", (image) => removeEntry(image, "tokenizer.ggml.token_type")),
    ok("no special ids", (image) => {
      for (const name of ["bos", "eos", "padding"]) removeEntry(image, `tokenizer.ggml.${name}_token_id`);
    }),
    ok("no chat template", () => {}, { chatTemplate: false }),
    ok("a chat template that does not parse", () => {}, { chatTemplate: "{% for x in %}{{ unclosed" }),
  ];
}

/** A model in each type, and norms in the types that norms may have. */
function dtypeCases(): CorpusCase[] {
  const all = DTYPES.map(({ name, blockSize }) =>
    ok(`all matrices in ${name}`, () => {}, {
      dtype: name,
      ...(blockSize === 256 ? { hiddenSize: 256, intermediateSize: 256 } : {}),
    })
  );
  const norms = (["F16", "BF16"] as const).map((name: DTypeName) => {
    const image = small();
    for (const tensor of image.tensors) {
      if (!String(tensor.name).includes("norm")) continue;
      tensor.data = randomWeights(new Random(7), name, 1, 32, 1);
      tensor.dtype = name === "F16" ? 1 : 30;
    }
    return { name: `norms in ${name}`, expect: "OK" as const, bytes: encodeGguf(image) };
  });
  return [...all, ...norms];
}
