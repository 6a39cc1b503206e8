/** Watching values: names, findings in a model that is broken on purpose, and two devices compared value by value. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { prepareModel } from "../src/engine/prepare.ts";
import { RealizarError } from "../src/errors.ts";
import { Model } from "../src/mod.ts";
import { GOLDEN_CASES, goldenModel } from "./golden_cases.ts";
import { leakCheck, test } from "./support.ts";
import { tinyGguf } from "./tiny_gguf.ts";

const TOKENS = [3, 50, 7, 120, 9];

function golden(name: string): Uint8Array {
  return goldenModel(GOLDEN_CASES.find((of) => of.name === name)!);
}

/** A copy whose F32 tensor has `value` at a row and column. */
async function broken(bytes: Uint8Array, tensor: string, row: number, col: number, value: number): Promise<Uint8Array> {
  const { table } = await prepareModel({ kind: "bytes", bytes });
  const { offset, cols, dtype } = table.find((one) => one.tensor === tensor)!;
  assertEquals(dtype.name, "F32");
  const copy = bytes.slice();
  new DataView(copy.buffer).setFloat32(offset + 4 * (row * cols + col), value, true);
  return copy;
}

for (const device of ["ref", "cpu"] as const) {
  test(`watch: a weight that is no number or too large is found where it acts, on ${device}`, async () => {
    const bytes = golden("llama-f32");
    for (const [value, what] of [[NaN, "not finite"], [3e6, "range"]] as const) {
      const bad = await broken(bytes, "blk.1.ffn_down.weight", 5, 2, value);
      await using model = await Model.load(bad, { device });
      const finding = model.watch(TOKENS, { range: 1e4 })!;
      assertEquals([finding.name, finding.what, finding.col], ["layers.1.ffn_down", what, 5]);
      assertEquals(model.watch(TOKENS, { range: 1e4, names: [".attn_output", "layers.0.ffn_down"] }), undefined);
    }
    await using model = await Model.load(bytes, { device });
    assertEquals(model.watch(TOKENS, { range: 1e4 }), undefined);
  });
}

test("watch: a model whose one weight differs is unlike the other from that product on", async () => {
  const bytes = golden("llama-f32");
  await using model = await Model.load(await broken(bytes, "blk.0.attn_v.weight", 1, 1, 40), { device: "ref" });
  await using other = await Model.load(bytes, { device: "ref" });
  const finding = model.watch(TOKENS, { compare: other })!;
  assertEquals([finding.name, finding.what, finding.col], ["layers.0.attn_v", "differs", undefined]);
  assert(finding.value > finding.limit);
  assertEquals(other.watch(TOKENS, { compare: other, tolerance: 0 }), undefined);
});

test("watch: cpu agrees with ref on every value of every architecture", async () => {
  for (const name of ["llama-f32", "qwen2-q8_0", "qwen3-q5_0", "qwen3moe-mixed"]) {
    await using cpu = await Model.load(golden(name), { device: "cpu", kvDtype: "f32" });
    await using ref = await Model.load(golden(name), { device: "ref" });
    assertEquals(cpu.valueNames(), ref.valueNames());
    // int8 activations: a few hundredths; experts may change places where the router's logits are near
    const names = name.includes("moe") ? cpu.valueNames().filter((one) => /^layers\.0\.attn/.test(one)) : undefined;
    assertEquals(cpu.watch(TOKENS, { compare: ref, tolerance: 0.1, names }), undefined, name);
  }
});

test("watch: names are those of weights and ops, once each; sizes are the step's", async () => {
  await using model = await Model.load(golden("qwen3moe-mixed"), { device: "ref" });
  const names = model.valueNames();
  assertEquals(new Set(names).size, names.length);
  for (const name of ["embed", "layers.0.attn_q", "layers.0.attention", "layers.1.moeRoute", "output_norm", "logits"]) {
    assert(names.includes(name), name);
  }
  using session = model.session({ watch: ["embed", "logits", "layers.0.moeRoute.1"] });
  assertEquals(assertThrows(() => session.watched("embed"), RealizarError).code, "ARG");
  const logits = session.evaluate(TOKENS);
  assertEquals([session.watched("embed").rows, session.watched("embed").cols], [TOKENS.length, model.info.hiddenSize]);
  assertEquals(session.watched("logits").data, logits);
  const experts = session.watched("layers.0.moeRoute.1");
  assert(experts.rows * experts.cols % TOKENS.length === 0 && experts.data.every((id) => Number.isInteger(id)));
  assertEquals(assertThrows(() => session.watched("output_norm"), RealizarError).code, "ARG");
  assertEquals(assertThrows(() => model.session({ watch: ["nothing"] }), RealizarError).code, "ARG");
  assertEquals(assertThrows(() => model.session({ watch: names.slice(0, 17) }), RealizarError).code, "ARG");
  assertEquals(assertThrows(() => model.watch(TOKENS, { names: [".nothing"] }), RealizarError).code, "ARG");
});

test("watch: sessions stay independent of what runs meanwhile", async () => {
  await using model = await Model.load(tinyGguf({ seed: 3 }), { device: "ref" });
  const running = model.generate([1, 2, 3], { temperature: 0, maxTokens: 20, ignoreEos: true }).result();
  assertEquals(model.watch(TOKENS), undefined);
  assertEquals((await running).tokens.length, 20);
});

leakCheck();
