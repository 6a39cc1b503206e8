/** Files whose tensor directory is wrong, or does not fit the architecture. */
import type { ErrorCode } from "../../../src/errors.ts";
import { type GgufImage, type GgufTensor, tensorOf } from "../../gguf_writer.ts";
import type { TinyOptions } from "../../tiny_gguf.ts";
import { changed, withEntry } from "./base.ts";
import type { CorpusCase } from "./make_corpus.ts";

const Q = "blk.0.attn_q.weight";

function tensorCase(
  name: string,
  expect: ErrorCode,
  tensor: string,
  change: (tensor: GgufTensor) => void,
  message?: RegExp,
  options?: TinyOptions,
): CorpusCase {
  return changed(name, expect, (image) => change(tensorOf(image, tensor)), message, options);
}

/** Bad directory entries, bad ranges, and tensors that the architecture does not expect. */
export function tensorCases(): CorpusCase[] {
  return [...entryCases(), ...rangeCases(), ...roleCases()];
}

function entryCases(): CorpusCase[] {
  const cases: CorpusCase[] = [
    tensorCase("a tensor without a name", "LIMIT", Q, (t) => t.name = "", /0 bytes/),
    tensorCase("a tensor name of 65 bytes", "LIMIT", Q, (t) => t.name = "n".repeat(65), /65 bytes/),
    tensorCase("a tensor name that is not UTF-8", "TYPE", Q, (t) => t.name = Uint8Array.of(0x62, 0xc0, 0xaf), /UTF-8/),
    tensorCase("a tensor name twice", "DUPLICATE", Q, (t) => t.name = "blk.0.attn_k.weight", /attn_k/),
    tensorCase("no dimensions", "SHAPE", Q, (t) => t.nDims = 0, /0 dimensions/),
    tensorCase("5 dimensions", "SHAPE", Q, (t) => t.dims = [32, 32, 1, 1, 1], /5 dimensions/),
    tensorCase("2^32 - 1 dimensions", "SHAPE", Q, (t) => t.nDims = 2 ** 32 - 1, /dimensions/),
    tensorCase("a dimension of 0", "SHAPE", Q, (t) => t.dims = [32, 0], /is 0/),
    tensorCase("2^32 x 2^32", "OVERFLOW", Q, (t) => t.dims = [2 ** 32, 2 ** 32], /2\^53/),
    tensorCase("2^63 x 2", "OVERFLOW", Q, (t) => t.dims = [2n ** 63n, 2]),
    tensorCase("2^64 - 1 four times", "OVERFLOW", Q, (t) => t.dims = new Array<bigint>(4).fill(2n ** 64n - 1n)),
    tensorCase("2^52 floats", "OVERFLOW", Q, (t) => t.dims = [2n ** 52n], /2\^53/),
  ];
  for (
    const [type, name] of [[4, "removed"], [16, "IQ2_XXS"], [26, "I32"], [39, "MXFP4"], [200, ""], [
      2 ** 32 - 1,
      "",
    ]] as const
  ) {
    cases.push(
      tensorCase(`tensor type ${type} ${name}`, "UNSUPPORTED", Q, (t) => t.dtype = type, new RegExp(`type ${type}`)),
    );
  }
  for (const alignment of [0, 1, 4, 12, 33, 48, 2 ** 21, 2 ** 31]) {
    cases.push(
      withEntry(`alignment ${alignment}`, "ALIGN", { key: "general.alignment", type: "u32", value: alignment }),
    );
  }
  cases.push(
    withEntry("alignment -32", "ALIGN", { key: "general.alignment", type: "i32", value: -32 }),
    withEntry("alignment of the writer not told", "ALIGN", { key: "general.alignment", type: "u32", value: 4096 }),
  );
  return cases;
}

function rangeCases(): CorpusCase[] {
  const last = "output.weight";
  const first = (image: GgufImage) => image.tensors[0]!;
  return [
    tensorCase("an offset of 1", "ALIGN", "token_embd.weight", (t) => t.offset = 1, /multiple of 32/),
    tensorCase("an offset not at a multiple of 32", "ALIGN", last, (t) => t.offset = 48, /multiple of 32/),
    tensorCase("an offset behind the file", "OFFSET", last, (t) => t.offset = 2 ** 40, /outside/),
    tensorCase("an offset of 2^52", "OFFSET", last, (t) => t.offset = 2 ** 52, /outside/),
    tensorCase("an offset of 2^53", "OVERFLOW", last, (t) => t.offset = 2 ** 53),
    tensorCase("an offset of 2^63", "OVERFLOW", last, (t) => t.offset = 2n ** 63n),
    tensorCase("an offset of 2^64 - 32", "OVERFLOW", last, (t) => t.offset = 2n ** 64n - 32n),
    tensorCase("two tensors in one place", "OFFSET", last, (t) => t.offset = 0, /inside "token_embd/),
    tensorCase("a tensor inside another", "OFFSET", "output_norm.weight", (t) => t.offset = 320, /inside "token_embd/),
    changed("every tensor in one place", "OFFSET", (image) => image.tensors.forEach((tensor) => tensor.offset = 0)),
    changed(
      "tensors of another type than their bytes",
      "OFFSET",
      (image) => {
        first(image).dtype = 0;
      },
      /would fit Q8_0/,
      { dtype: (name) => name === "token_embd.weight" ? "Q8_0" : "F32" },
    ),
    tensorCase("a last tensor longer than the file", "TRUNCATED", last, (t) => t.dims = [32, 283], /download/),
    changed("no tensor bytes at all", "TRUNCATED", (image) => {
      image.tensors.forEach((tensor) => tensor.data = new Uint8Array(0));
    }),
    tensorCase("Q8_0 rows of 33", "SHAPE", last, (t) => [t.dtype, t.dims] = [8, [33, 32]], /blocks of 32/),
    tensorCase("Q4_K rows of 32", "SHAPE", last, (t) => t.dtype = 12, /blocks of 256/),
  ];
}

function roleCases(): CorpusCase[] {
  const cases: CorpusCase[] = [];
  const needed = ["token_embd", "output_norm", "blk.0.attn_norm", "blk.0.attn_q", "blk.0.attn_k", "blk.0.attn_v"];
  for (
    const role of [...needed, "blk.0.attn_output", "blk.0.ffn_norm", "blk.0.ffn_gate", "blk.0.ffn_up", "blk.0.ffn_down"]
  ) {
    const name = `${role}.weight`;
    const drop = (image: GgufImage) => image.tensors.splice(image.tensors.indexOf(tensorOf(image, name)), 1);
    cases.push(changed(`${name} is missing`, "KEY_MISSING", drop, new RegExp(`"${name}" .* is missing`)));
  }
  const extra = (name: string) => (image: GgufImage) =>
    void image.tensors.push({ name, dims: [32], dtype: 0, data: new Uint8Array(128) });
  const qwen2 = { arch: "qwen2" } as const;
  const qwen3 = { arch: "qwen3" } as const;
  const dropped = (name: string) => (image: GgufImage) =>
    void image.tensors.splice(image.tensors.indexOf(tensorOf(image, name)), 1);
  return [
    ...cases,
    changed("no tensors", "KEY_MISSING", (image) => image.tensors = []),
    changed("an unknown tensor", "UNSUPPORTED", extra("blk.0.mystery.weight"), /not known/),
    changed("a layer too many", "UNSUPPORTED", extra("blk.1.attn_norm.weight"), /not known/),
    changed("a norm of the heads in a llama model", "UNSUPPORTED", extra("blk.0.attn_q_norm.weight"), /not known/),
    changed("a qwen2 without a bias", "KEY_MISSING", dropped("blk.0.attn_k.bias"), /attn_k.bias/, qwen2),
    changed(
      "a qwen3 without a norm of the heads",
      "KEY_MISSING",
      dropped("blk.0.attn_q_norm.weight"),
      undefined,
      qwen3,
    ),
    changed("a qwen3 with a bias", "UNSUPPORTED", extra("blk.0.attn_q.bias"), /not known/, qwen3),
    changed("two problems", "KEY_MISSING", (image) => {
      dropped(Q)(image);
      extra("stranger")(image);
    }),
    tensorCase("a matrix of the wrong height", "SHAPE", Q, (t) => t.dims = [32, 31], /expected \[32, 32\]/),
    tensorCase("a transposed matrix", "SHAPE", "blk.0.attn_k.weight", (t) => t.dims = [16, 32], /transposed/),
    tensorCase("a matrix as a vector", "SHAPE", Q, (t) => t.dims = [1024], /expected \[32, 32\]/),
    tensorCase("a vector too short", "SHAPE", "output_norm.weight", (t) => t.dims = [31]),
    tensorCase("a matrix with a third dimension", "SHAPE", Q, (t) => t.dims = [32, 16, 2]),
    tensorCase("an embedding of one token too few", "SHAPE", "token_embd.weight", (t) => t.dims = [32, 281]),
    tensorCase("an output of one token too few", "SHAPE", "output.weight", (t) => t.dims = [32, 281]),
    changed("a norm in Q8_0", "TYPE", (image) => {
      Object.assign(tensorOf(image, "output_norm.weight"), { dtype: 8, data: new Uint8Array(34) });
    }, /expected F32/),
    tensorCase("divisors of RoPE too few", "SHAPE", "rope_freqs.weight", (t) => t.dims = [7], undefined, {
      ropeFreqs: true,
    }),
    ...[0, -1, NaN, Infinity].map((value) =>
      tensorCase(
        `a divisor of RoPE of ${value}`,
        "LIMIT",
        "rope_freqs.weight",
        (t) => {
          t.data = t.data.slice();
          new DataView(t.data.buffer).setFloat32(4, value, true);
        },
        /RoPE/,
        { ropeFreqs: true },
      )
    ),
  ];
}
