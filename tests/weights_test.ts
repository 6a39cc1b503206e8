/** The proof of weights: what is bound, every problem told at once, and proofs that can't be forged. */
import { writeFileSync } from "node:fs";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { architectureOf } from "../src/arch/mod.ts";
import { type DTypeName, dtypeOfId, dtypeOfName } from "../src/dtype.ts";
import { RealizarError } from "../src/errors.ts";
import type { TensorInfo } from "../src/format/directory.ts";
import { type GgufFile, openGgufSync } from "../src/format/gguf.ts";
import { readConfig } from "../src/weights/config.ts";
import { type RoleSpec, USE_HOST, USE_MATMUL, USE_MOE, USE_ROWS, USE_VECTOR } from "../src/weights/roles.ts";
import { validateWeights } from "../src/weights/validate.ts";
import { encodeGguf, type GgufTensor } from "./gguf_writer.ts";
import { realModel, tempFolder, test, testUnless } from "./support.ts";
import { tinyImage, type TinyOptions } from "./tiny_gguf.ts";

const FILE_NONE = 0xffffffff;

function planOf(file: GgufFile) {
  const { roles, build, variants } = architectureOf(file.metadata.string("general.architecture"));
  return { config: readConfig(file.metadata, variants), roles, build };
}

function specsOf(file: GgufFile): RoleSpec[] {
  const { config, roles } = planOf(file);
  return roles(config);
}

function tiny(
  options: TinyOptions = {},
): { file: GgufFile; specs: RoleSpec[]; bytes: Uint8Array; image: GgufTensor[] } {
  const image = tinyImage(options);
  const bytes = encodeGguf(image);
  const file = openGgufSync(bytes);
  return { file, specs: specsOf(file), bytes, image: image.tensors };
}

async function failureOf(promise: Promise<unknown>): Promise<RealizarError> {
  const error = await promise.then(() => undefined, (thrown) => thrown);
  assert(error instanceof RealizarError, `expected a RealizarError, got ${error}`);
  return error;
}

/** The file with some directory entries changed, as another reader could hand it on. */
function changed(file: GgufFile, changes: Record<string, Partial<TensorInfo>>) {
  const tensors = file.tensors.map((tensor) => ({ ...tensor, ...changes[tensor.name] }));
  return { tensors, files: file.files };
}

for (const arch of ["llama", "qwen2", "qwen3"] as const) {
  test(`weights: every tensor of a ${arch} is bound once, to its own bytes`, async () => {
    const dtype = (name: string): DTypeName => name.includes("attn") ? "Q4_K" : name.includes("down") ? "Q6_K" : "BF16";
    const { file, specs, bytes, image } = tiny({ arch, dtype, nLayers: 3 });
    const weights = await validateWeights(specs, file);
    const { table } = weights;
    assertEquals(table.map((binding) => binding.tensor).sort(), image.map((tensor) => String(tensor.name)).sort());
    for (const [i, binding] of table.entries()) {
      const tensor = image.find((candidate) => candidate.name === binding.tensor)!;
      assertEquals(binding.id, i + 1);
      assertEquals([binding.cols, binding.rows, 1, 1].slice(0, tensor.dims.length), tensor.dims.map(Number));
      assertEquals(binding.dtype, dtypeOfId(tensor.dtype));
      assertEquals(bytes.subarray(binding.offset, binding.offset + binding.bytes), tensor.data);
      assertEquals([binding.file, binding.source, binding.nExperts], [FILE_NONE, 0, 1]);
      const vector = tensor.dims.length === 1;
      const use = vector ? USE_VECTOR : binding.tensor === "token_embd.weight" ? USE_ROWS : USE_MATMUL;
      assertEquals(binding.use, use, binding.tensor);
    }
    assertEquals(weights.nLayers, 3);
    assertEquals(weights.layer(2).binding("attn_v").tensor, "blk.2.attn_v.weight");
    assertEquals(table[weights.layer(1).get("ffn_down") - 1]!.tensor, "blk.1.ffn_down.weight");
    assertEquals(weights.global.binding("output").tensor, "output.weight");
    assertEquals(weights.layer(0).optional("attn_q.bias") > 0, arch === "qwen2");
    assertEquals(weights.layer(0).optional("attn_q_norm") > 0, arch === "qwen3");
  });
}

test("weights: without an output, the embedding serves as one weight with both uses and its own type", async () => {
  const { file, specs } = tiny({ tied: true, dtype: (name) => name === "token_embd.weight" ? "Q6_K" : "Q4_K" });
  const { table, global } = await validateWeights(specs, file);
  const output = global.binding("output");
  assertEquals(output, global.binding("token_embd"));
  assertEquals([output.use, output.dtype.name, output.tensor], [USE_ROWS | USE_MATMUL, "Q6_K", "token_embd.weight"]);
  assertEquals(table.filter((binding) => binding.tensor === "token_embd.weight").length, 1);
});

test("weights: files by path have their numbers, and host tensors are read, not bound", async () => {
  using folder = tempFolder();
  const image = tinyImage({ ropeFreqs: true });
  writeFileSync(folder.file("m.gguf"), encodeGguf(image));
  const file = openGgufSync(folder.file("m.gguf"));
  const weights = await validateWeights(specsOf(file), file);
  assertEquals(new Set(weights.table.map((binding) => binding.file)), new Set([0]));
  const written = image.tensors.find((tensor) => tensor.name === "rope_freqs.weight")!;
  assertEquals(weights.host("rope_freqs"), new Float32Array(written.data.buffer as ArrayBuffer));
  assertEquals(weights.table.some((binding) => binding.tensor === "rope_freqs.weight"), false);
  assertEquals(weights.host("nothing"), undefined);
  weights.host("rope_freqs")!.fill(0);
  assert(weights.host("rope_freqs")!.every((value) => value > 0), "a copy is handed out");
});

test("weights: host tensors in F16 and BF16", async () => {
  const spec = { role: "h", layer: null, tensor: "h", rows: 1, cols: 6, use: USE_HOST };
  for (
    const [name, halves] of [["F16", [0x3c00, 0xc000, 1, 0x8000, 0x7bff, 0x3555]], ["BF16", [
      0x3f80,
      0xc000,
      1,
      0x8000,
      0x7f7f,
      0x3eab,
    ]]] as const
  ) {
    const data = new Uint8Array(Uint16Array.from(halves).buffer);
    const tensors = [{ name: "h", dims: [6], dtype: dtypeOfName(name).id, data }];
    const weights = await validateWeights([spec], openGgufSync(encodeGguf({ metadata: [], tensors })));
    const expected = name === "F16"
      ? [1, -2, 2 ** -24, -0, 65504, 0.333251953125]
      : [1, -2, 2 ** -133, -0, (2 - 2 ** -7) * 2 ** 127, 0.333984375];
    assertEquals([...weights.host("h")!], expected);
  }
});

test("weights: all problems are told at once", async () => {
  const { file, specs } = tiny({ dtype: (name) => name.includes("ffn") ? "Q4_K" : "F32" });
  const at = (name: string) => file.tensors.find((tensor) => tensor.name === name)!;
  const gone = "blk.0.attn_k.weight";
  const broken = changed(file, {
    "blk.0.attn_q.weight": { dims: [256, 255] },
    "blk.0.attn_v.weight": { dims: [128, 256] },
    "blk.0.ffn_up.weight": { dtypeId: 39, dtype: undefined, bytes: undefined },
    "blk.0.ffn_gate.weight": { bytes: 2 * 256 * 210 * 2 },
    "blk.1.ffn_norm.weight": { dtypeId: 8, dtype: dtypeOfName("Q8_0"), bytes: 272 },
    "blk.1.attn_norm.weight": { offset: at("blk.1.attn_norm.weight").offset + 8 },
    "blk.1.attn_k.weight": { offset: 2 ** 40 },
    "output.weight": { offset: file.files[0]!.size - 32 },
    "output_norm.weight": { offset: at("token_embd.weight").offset },
  });
  const tensors = [...broken.tensors.filter((tensor) => tensor.name !== gone), {
    ...at(gone),
    name: "blk.0.what.weight",
  }];
  const error = await failureOf(validateWeights(specs, { tensors, files: broken.files }));
  const told = [
    [`"${gone}" \\[256, 128\\] is missing`, "missing"],
    [`"blk.0.attn_q.weight".* shape \\[256, 255\\], expected \\[256, 256\\]`, "shape"],
    [`"blk.0.attn_v.weight".* shape \\[128, 256\\], expected \\[256, 128\\]; it is transposed`, "transposed"],
    [`"blk.0.ffn_up.weight".* type 39 \\(MXFP4\\), supported are F32`, "type not supported"],
    [`"blk.0.ffn_gate.weight".* has 215040 bytes, but \\[256, 512\\] of Q4_K takes 73728`, "length"],
    [`"blk.1.ffn_norm.weight".* type Q8_0, expected F32 or F16 or BF16`, "type not allowed"],
    [`"blk.1.attn_norm.weight".* expected a multiple of 32`, "misaligned"],
    [`"blk.1.attn_k.weight".* begins at byte 1099511627776, outside`, "outside"],
    [`"output.weight".* ends at byte .* download complete`, "cut off"],
    [`"token_embd.weight".* inside "output_norm.weight"|"output_norm.weight".* inside "token_embd.weight"`, "overlap"],
    [`"blk.0.what.weight".* not known`, "unexpected"],
  ] as const;
  for (const [pattern, what] of told) {
    assert(
      error.problems.some((problem) => new RegExp(pattern).test(problem)),
      `${what}:\n${error.problems.join("\n")}`,
    );
  }
  assert(error.problems.every((problem) => /^tensor "/.test(problem)));
});

test("weights: a length that fits another type is a diagnosis, not a choice", async () => {
  const { file, specs } = tiny({ dtype: "Q4_K" });
  const bytes = 512 * 256 / 256 * 210;
  const one = await failureOf(validateWeights(specs, changed(file, { "blk.1.ffn_up.weight": { bytes } })));
  assertEquals(one.code, "SHAPE");
  assert(one.problems.some((problem) => /would fit Q6_K$/.test(problem)), one.problems.join("\n"));
  const same = changed(file, { "blk.1.ffn_up.weight": { dtypeId: 2, dtype: dtypeOfName("Q4_0") } });
  const { table } = await validateWeights(specs, same);
  assertEquals(table.find((binding) => binding.tensor === "blk.1.ffn_up.weight")!.dtype.name, "Q4_0");
});

test("weights: experts, optional and ignored tensors", async () => {
  const tensors: GgufTensor[] = [
    { name: "exps", dims: [32, 4, 3], dtype: 8, data: new Uint8Array(34 * 12) },
    { name: "old", dims: [5, 5, 5, 5], dtype: 39, data: new Uint8Array(32) },
  ];
  const file = openGgufSync(encodeGguf({ metadata: [], tensors }));
  const experts = { role: "e", layer: 0, tensor: "exps", rows: 4, cols: 32, nExperts: 3, use: USE_MOE };
  const old = { role: "old", layer: null, tensor: "old", rows: 1, cols: 1, use: USE_VECTOR, ignored: true };
  const more = { role: "more", layer: 0, tensor: "more", rows: 1, cols: 9, use: USE_VECTOR, optional: true };
  const weights = await validateWeights([experts, old, more], file);
  assertEquals(weights.table.length, 1);
  const { rows, cols, nExperts, bytes, use } = weights.layer(0).binding("e");
  assertEquals({ rows, cols, nExperts, bytes, use }, { rows: 4, cols: 32, nExperts: 3, bytes: 408, use: USE_MOE });
  assertEquals(weights.layer(0).optional("more"), 0);
  assertEquals(weights.global.optional("old"), 0);
  const wrong = await failureOf(validateWeights([{ ...experts, nExperts: 4 }, old], file));
  assert(/\[32, 4, 3\], expected \[32, 4, 4\]/.test(wrong.message), wrong.message);
  assertEquals((await failureOf(validateWeights([experts], file))).code, "UNSUPPORTED");
  const quantized = { ...experts, dtypes: ["F16"] as const };
  assertEquals((await failureOf(validateWeights([quantized, old], file))).code, "TYPE");
});

test("weights: mistakes of an architecture file are INTERNAL", async () => {
  const { file, specs } = tiny();
  const [embd] = specs;
  const wrong: RoleSpec[][] = [
    [...specs, { ...embd!, tensor: "other.weight" }],
    [...specs, { ...embd!, role: "other" }],
    [...specs, { ...embd!, role: "x", tensor: "x", rows: 0 }],
    [...specs, { ...embd!, role: "x", tensor: "x", cols: 2 ** 32 }],
    [...specs, { ...embd!, role: "x", tensor: "x", tiedTo: "nothing" }],
    [...specs, { ...embd!, role: "x", tensor: "x", layer: 0, use: USE_HOST }],
  ];
  for (const one of wrong) assertEquals((await failureOf(validateWeights(one, file))).code, "INTERNAL");
});

test("weights: what is not there is told by name", async () => {
  const { file, specs } = tiny();
  const weights = await validateWeights(specs, file);
  for (const call of [() => weights.layer(0).get("attn_z"), () => weights.layer(0).binding("toString")]) {
    assertEquals(assertThrows(call, RealizarError).code, "KEY_MISSING");
  }
  for (const i of [2, -1, 0.5, NaN]) assertEquals(assertThrows(() => weights.layer(i), RealizarError).code, "ARG");
});

const real = realModel();

testUnless("missing" in real ? real.missing : undefined, "weights: the demo's model", async () => {
  const file = openGgufSync((real as { path: string }).path);
  const { config, roles } = planOf(file);
  const { nLayers, hiddenSize, intermediateSize, nHeads, nKvHeads, headDim, vocabSize, contextLength } = config;
  // As the model's makers publish it.
  assertEquals(
    { nLayers, hiddenSize, intermediateSize, nHeads, nKvHeads, headDim, vocabSize, contextLength },
    {
      nLayers: 30,
      hiddenSize: 576,
      intermediateSize: 1536,
      nHeads: 9,
      nKvHeads: 3,
      headDim: 64,
      vocabSize: 49152,
      contextLength: 8192,
    },
  );
  assertEquals([config.rope.freqBase, Math.fround(1e-5)], [100000, config.rmsEps]);
  const { table, global } = await validateWeights(roles(config), file);
  assertEquals(table.length, 2 + 30 * 9);
  assertEquals(global.get("output"), global.get("token_embd"));
  const nWeights = table.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  assertEquals(nWeights, 134_515_008);
});
