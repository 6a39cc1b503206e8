/**
 * The tiny models whose logits are committed in tests/golden/logits, and on which executors are compared: every
 * architecture with every weight type, and what only some files have.
 */
import { type DTypeName, DTYPES } from "../src/dtype.ts";
import { encodeGguf } from "./gguf_writer.ts";
import { Random } from "./random_blocks.ts";
import { tinyImage, type TinyOptions } from "./tiny_gguf.ts";

/** One tiny model. */
export interface GoldenCase {
  /** Also the name of its golden file. */
  readonly name: string;
  readonly options: TinyOptions;
  /**
   * Llama 3.1's RoPE scaling: the file carries rope_freqs.weight with the factors that the published rule gives for
   * factor 8, low_freq_factor 1, high_freq_factor 4 and this original context length.
   */
  readonly llama3OriginalContext?: number;
}

const ARCHS = ["llama", "qwen2", "qwen3"] as const;

/** As Q4_K_M files mix them: the matrices that matter most have six bits. */
function mixed(tensor: string): DTypeName {
  return /token_embd|attn_v|ffn_down/.test(tensor) ? "Q6_K" : "Q4_K";
}

/** A head size of its own: Qwen3's is not hiddenSize / nHeads. */
function headDim(arch: typeof ARCHS[number], dtype: DTypeName): Pick<TinyOptions, "headDim"> {
  if (arch !== "qwen3") return {};
  return { headDim: DTYPES.some((row) => row.name === dtype && row.blockSize === 256) ? 128 : 32 };
}

/** All of them. */
export const GOLDEN_CASES: readonly GoldenCase[] = [
  ...ARCHS.flatMap((arch, a) =>
    DTYPES.map((dtype, d) => ({
      name: `${arch}-${dtype.name.toLowerCase()}`,
      options: { arch, dtype: dtype.name, seed: 100 * a + d, ...headDim(arch, dtype.name) },
    }))
  ),
  {
    name: "llama-rope-llama3",
    options: { ropeFreqs: true, ropeFreqBase: 500000, seed: 400 },
    llama3OriginalContext: 64,
  },
  { name: "llama-tied", options: { dtype: "Q8_0", tied: true, seed: 401 } },
  { name: "llama-mixed", options: { dtype: mixed, tied: true, seed: 402 } },
  { name: "llama-many-heads", options: { nHeads: 8, nKvHeads: 1, hiddenSize: 128, nLayers: 3, seed: 403 } },
  { name: "qwen3moe-f32", options: { arch: "qwen3moe", headDim: 32, seed: 500 } },
  { name: "qwen3moe-q8_0", options: { arch: "qwen3moe", dtype: "Q8_0", headDim: 32, nExperts: 9, seed: 501 } },
  { name: "qwen3moe-mixed", options: { arch: "qwen3moe", dtype: mixed, headDim: 64, seed: 502 } },
  { name: "qwen2-tied", options: { arch: "qwen2", dtype: "Q5_0", tied: true, ropeFreqBase: 1e6, seed: 404 } },
];

/** The file of a case. The same bytes in every runtime. */
export function goldenModel(of: GoldenCase): Uint8Array {
  const image = tinyImage(of.options);
  if (of.llama3OriginalContext !== undefined) {
    const tensor = image.tensors.find((candidate) => candidate.name === "rope_freqs.weight")!;
    const factors = llama3Factors(tensor.data.length / 4, of.options.ropeFreqBase ?? 10000, of.llama3OriginalContext);
    tensor.data = new Uint8Array(factors.buffer);
  }
  return encodeGguf(image);
}

/** What each inverse frequency is divided by: 1 for short wavelengths, 8 for long ones, smooth between. */
function llama3Factors(n: number, base: number, originalContext: number): Float32Array<ArrayBuffer> {
  return Float32Array.from({ length: n }, (_, i) => {
    const wavelength = 2 * Math.PI * base ** (i / n);
    const turns = originalContext / wavelength;
    if (turns > 4) return 1;
    if (turns < 1) return 8;
    const smooth = (turns - 1) / (4 - 1);
    return 1 / ((1 - smooth) / 8 + smooth);
  });
}

/** Prompts for a tiny vocabulary: token ids, of lengths around the sizes at which executors change their ways. */
export function tinyPrompts(vocabSize = 320): number[][] {
  const random = new Random(2026);
  return [1, 2, 3, 7, 9, 16, 17, 40].map((length) => Array.from({ length }, () => random.below(vocabSize)));
}
