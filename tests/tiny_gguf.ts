/** Tiny models with random weights and a real vocabulary, written in memory: what most tests run on. */
import { type DTypeName, dtypeOfName } from "../src/dtype.ts";
import { encodeGguf, type GgufEntry, type GgufImage, type GgufTensor } from "./gguf_writer.ts";
import { Random, randomWeights } from "./random_blocks.ts";

/** What a tiny model is; everything has a default. */
export interface TinyOptions {
  /** Default "llama". */
  arch?: "llama" | "qwen2" | "qwen3" | "qwen3moe";
  /**
   * Type of the matrices: one for all, or a function of the tensor's file name. Default F32. Norms and biases are
   * always F32. Row lengths (hiddenSize, intermediateSize, nHeads x headDim) must be multiples of its block.
   */
  dtype?: DTypeName | ((tensor: string) => DTypeName);
  /** Default 2. */
  nLayers?: number;
  /** Default 64, or 256 when a type in use has blocks of 256. */
  hiddenSize?: number;
  /** Default 2 x hiddenSize. */
  intermediateSize?: number;
  /** Default 4. */
  nHeads?: number;
  /** Default 2. */
  nKvHeads?: number;
  /** Experts of a layer, with qwen3moe; two are used for a token. Default 6. */
  nExperts?: number;
  /** Default hiddenSize / nHeads; other values are written as attention.key_length and value_length. */
  headDim?: number;
  /** Default 320, at least 290. */
  vocabSize?: number;
  /** Default 256. */
  contextLength?: number;
  /** Default 10000. */
  ropeFreqBase?: number;
  /** Writes rope_freqs.weight with factors between 1 and 8, as Llama 3.1 files have it. */
  ropeFreqs?: boolean;
  /** No output.weight: the embedding is the output matrix too. */
  tied?: boolean;
  /** Default 1. */
  seed?: number;
  /** Deviation of the weights is gain / sqrt(row length). Default 1. */
  gain?: number;
  /** false leaves out tokenizer.chat_template; a string replaces the ChatML default. */
  chatTemplate?: string | false;
  /** More metadata, or replacements of the entries with the same key. */
  metadata?: readonly GgufEntry[];
}

/** Characters that stand for the 256 bytes in byte-level BPE vocabularies, by byte. */
export const BYTE_CHARS: readonly string[] = byteChars();

function byteChars(): string[] {
  const chars: string[] = [];
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    chars.push(String.fromCharCode(printable ? byte : next++));
  }
  return chars;
}

/** Merges of the tiny vocabulary, best first; Ġ is the space. */
export const TINY_MERGES: readonly string[] =
  "Ġ t|h e|Ġt he|i n|e r|a n|o n|r e|Ġ a|i s|o r|e n|an d|Ġa nd|in g|e d|Ġ s|o u|l l|Ġ w".split("|");

/** Special tokens of the tiny vocabulary; they are its last ones. */
export const TINY_SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] as const;

/** The ChatML template the tiny models carry. */
export const TINY_TEMPLATE = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + " +
  "message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}" +
  "{{ '<|im_start|>assistant\n' }}{% endif %}";

/** The tiny model's file. The same options always give the same bytes. */
export function tinyGguf(options: TinyOptions = {}): Uint8Array {
  return encodeGguf(tinyImage(options));
}

/** The tiny model's file as data, to be changed before {@linkcode encodeGguf}. */
export function tinyImage(options: TinyOptions = {}): GgufImage {
  const shape = shapeOf(options);
  const metadata = [...architectureEntries(shape), ...vocabularyEntries(shape)];
  for (const entry of options.metadata ?? []) {
    const i = metadata.findIndex((candidate) => candidate.key === entry.key);
    if (i < 0) metadata.push(entry);
    else metadata[i] = entry;
  }
  return { metadata, tensors: tensorsOf(shape) };
}

type Shape = Required<Omit<TinyOptions, "metadata" | "dtype">> & { dtypeOf: (tensor: string) => DTypeName };

function shapeOf(options: TinyOptions): Shape {
  const dtype = options.dtype ?? "F32";
  const dtypeOf = typeof dtype === "function" ? dtype : () => dtype;
  const probes = ["token_embd.weight", "output.weight"];
  const ffn = options.arch === "qwen3moe" ? "_exps" : "";
  const roles = ["attn_q", "attn_k", "attn_v", "attn_output", `ffn_gate${ffn}`, `ffn_up${ffn}`, `ffn_down${ffn}`];
  for (const role of roles) {
    for (let layer = 0; layer < (options.nLayers ?? 2); layer++) probes.push(`blk.${layer}.${role}.weight`);
  }
  const wide = probes.some((probe) => dtypeOfName(dtypeOf(probe)).blockSize === 256);
  const hiddenSize = options.hiddenSize ?? (wide ? 256 : 64);
  const nHeads = options.nHeads ?? 4;
  return {
    arch: options.arch ?? "llama",
    dtypeOf,
    nLayers: options.nLayers ?? 2,
    hiddenSize,
    intermediateSize: options.intermediateSize ?? 2 * hiddenSize,
    nHeads,
    nKvHeads: options.nKvHeads ?? 2,
    nExperts: options.nExperts ?? 6,
    headDim: options.headDim ?? hiddenSize / nHeads,
    vocabSize: options.vocabSize ?? 320,
    contextLength: options.contextLength ?? 256,
    ropeFreqBase: options.ropeFreqBase ?? 10000,
    ropeFreqs: options.ropeFreqs ?? false,
    tied: options.tied ?? false,
    seed: options.seed ?? 1,
    gain: options.gain ?? 1,
    chatTemplate: options.chatTemplate ?? TINY_TEMPLATE,
  };
}

function architectureEntries(s: Shape): GgufEntry[] {
  const u32 = (key: string, value: number): GgufEntry => ({ key: `${s.arch}.${key}`, type: "u32", value });
  const f32 = (key: string, value: number): GgufEntry => ({ key: `${s.arch}.${key}`, type: "f32", value });
  const entries: GgufEntry[] = [
    { key: "general.architecture", type: "string", value: s.arch },
    { key: "general.name", type: "string", value: `tiny ${s.arch}` },
    u32("block_count", s.nLayers),
    u32("context_length", s.contextLength),
    u32("embedding_length", s.hiddenSize),
    u32("feed_forward_length", s.intermediateSize),
    u32("attention.head_count", s.nHeads),
    u32("attention.head_count_kv", s.nKvHeads),
    f32("attention.layer_norm_rms_epsilon", 1e-5),
    f32("rope.freq_base", s.ropeFreqBase),
  ];
  if (s.headDim * s.nHeads !== s.hiddenSize) {
    entries.push(u32("attention.key_length", s.headDim), u32("attention.value_length", s.headDim));
  }
  if (s.arch === "qwen3moe") {
    entries.push(u32("expert_count", s.nExperts), u32("expert_used_count", 2));
    entries.push(u32("expert_feed_forward_length", s.intermediateSize));
  }
  if (s.arch === "llama") entries.push(u32("rope.dimension_count", s.headDim), u32("vocab_size", s.vocabSize));
  return entries;
}

/** Token texts of the tiny vocabulary: bytes, merged pieces, fillers, specials. */
export function tinyTokens(vocabSize: number): string[] {
  const tokens = [...BYTE_CHARS, ...TINY_MERGES.map((merge) => merge.replace(" ", ""))];
  const nFillers = vocabSize - tokens.length - TINY_SPECIALS.length;
  if (nFillers < 0) throw new Error(`vocabSize ${vocabSize}: at least ${tokens.length + TINY_SPECIALS.length} needed`);
  for (let i = 0; i < nFillers; i++) tokens.push(`[UNUSED${i}]`);
  return [...tokens, ...TINY_SPECIALS];
}

function vocabularyEntries(s: Shape): GgufEntry[] {
  const tokens = tinyTokens(s.vocabSize);
  const firstSpecial = s.vocabSize - TINY_SPECIALS.length;
  const types = tokens.map((token, id) => id >= firstSpecial ? 3 : token.startsWith("[UNUSED") ? 5 : 1);
  const entries: GgufEntry[] = [
    { key: "tokenizer.ggml.model", type: "string", value: "gpt2" },
    { key: "tokenizer.ggml.pre", type: "string", value: s.arch === "llama" ? "llama-bpe" : "qwen2" },
    { key: "tokenizer.ggml.tokens", type: "array", of: "string", values: tokens },
    { key: "tokenizer.ggml.token_type", type: "array", of: "i32", values: types },
    { key: "tokenizer.ggml.merges", type: "array", of: "string", values: TINY_MERGES },
    { key: "tokenizer.ggml.bos_token_id", type: "u32", value: firstSpecial },
    { key: "tokenizer.ggml.eos_token_id", type: "u32", value: firstSpecial + 2 },
    { key: "tokenizer.ggml.padding_token_id", type: "u32", value: firstSpecial },
    { key: "tokenizer.ggml.add_bos_token", type: "bool", value: false },
  ];
  if (s.chatTemplate !== false) {
    entries.push({ key: "tokenizer.chat_template", type: "string", value: s.chatTemplate });
  }
  return entries;
}

function tensorsOf(s: Shape): GgufTensor[] {
  const random = new Random(s.seed);
  const tensors: GgufTensor[] = [];
  const matrix = (name: string, rows: number, cols: number): void => {
    const dtype = s.dtypeOf(name);
    const data = randomWeights(random, dtype, rows, cols, s.gain / Math.sqrt(cols));
    tensors.push({ name, dims: [cols, rows], dtype: dtypeOfName(dtype).id, data });
  };
  const experts = (name: string, rows: number, cols: number): void => {
    matrix(name, rows * s.nExperts, cols);
    tensors.at(-1)!.dims = [cols, rows, s.nExperts];
  };
  const vector = (name: string, n: number, value: () => number): void => {
    const data = new Uint8Array(Float32Array.from({ length: n }, value).buffer);
    tensors.push({ name, dims: [n], dtype: 0, data });
  };
  const norm = () => 1 + 0.1 * random.normal();
  const bias = () => 0.1 * random.normal();
  const qSize = s.nHeads * s.headDim;
  const kvSize = s.nKvHeads * s.headDim;

  matrix("token_embd.weight", s.vocabSize, s.hiddenSize);
  for (let layer = 0; layer < s.nLayers; layer++) {
    const p = `blk.${layer}.`;
    vector(p + "attn_norm.weight", s.hiddenSize, norm);
    matrix(p + "attn_q.weight", qSize, s.hiddenSize);
    matrix(p + "attn_k.weight", kvSize, s.hiddenSize);
    matrix(p + "attn_v.weight", kvSize, s.hiddenSize);
    if (s.arch === "qwen2") {
      vector(p + "attn_q.bias", qSize, bias);
      vector(p + "attn_k.bias", kvSize, bias);
      vector(p + "attn_v.bias", kvSize, bias);
    } else if (s.arch === "qwen3" || s.arch === "qwen3moe") {
      vector(p + "attn_q_norm.weight", s.headDim, norm);
      vector(p + "attn_k_norm.weight", s.headDim, norm);
    }
    matrix(p + "attn_output.weight", s.hiddenSize, qSize);
    vector(p + "ffn_norm.weight", s.hiddenSize, norm);
    if (s.arch === "qwen3moe") {
      vector(p + "ffn_gate_inp.weight", s.nExperts * s.hiddenSize, () => random.normal() / Math.sqrt(s.hiddenSize));
      tensors.at(-1)!.dims = [s.hiddenSize, s.nExperts];
      experts(p + "ffn_gate_exps.weight", s.intermediateSize, s.hiddenSize);
      experts(p + "ffn_up_exps.weight", s.intermediateSize, s.hiddenSize);
      experts(p + "ffn_down_exps.weight", s.hiddenSize, s.intermediateSize);
      continue;
    }
    matrix(p + "ffn_gate.weight", s.intermediateSize, s.hiddenSize);
    matrix(p + "ffn_up.weight", s.intermediateSize, s.hiddenSize);
    matrix(p + "ffn_down.weight", s.hiddenSize, s.intermediateSize);
  }
  vector("output_norm.weight", s.hiddenSize, norm);
  if (!s.tied) matrix("output.weight", s.vocabSize, s.hiddenSize);
  if (s.ropeFreqs) vector("rope_freqs.weight", s.headDim / 2, () => 1 + 7 * random.unit());
  return tensors;
}
