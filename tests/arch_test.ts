import { readdirSync, readFileSync } from "node:fs";
import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { architectureNames, architectureOf } from "../src/arch/mod.ts";
import { ropeAngles } from "../src/arch/rope.ts";
import { checkPlan, openEngine } from "../src/engine/native_model.ts";
import { RealizarError } from "../src/errors.ts";
import { listPlan } from "../src/plan/listing.ts";
import { OPS } from "../src/plan/op_table.ts";
import { NO_LAYER, type Plan, readPlan } from "../src/plan/plan.ts";
import { ISAS } from "../src/platform/abi.ts";
import { openLibrary } from "../src/platform/library.ts";
import type { ModelConfig, RopeConfig } from "../src/weights/config.ts";
import { PLAN_SHAPES, planOfShape } from "./plan_shapes.ts";
import { shapePlan, SMALL, tinyPlan } from "./plan_support.ts";
import { inRoot, leakCheck, test } from "./support.ts";

for (const shape of PLAN_SHAPES) {
  test(`arch: the plan of ${shape.name} is the one in tests/golden/plans`, async () => {
    const golden = readFileSync(inRoot("tests/golden/plans", `${shape.name}.txt`), "utf8");
    assertEquals(listPlan(await planOfShape(shape)), golden);
  });

  test(`arch: C accepts the plan of ${shape.name}`, async () => {
    const { bytes } = await planOfShape(shape);
    const library = openLibrary();
    for (const backend of ["ref", "cpu"] as const) {
      const engine = openEngine(library, backend, 0, 1, ISAS.auto);
      try {
        const sizes = { maxTokens: 32, maxSequences: 4, maxOuts: 4, deterministic: true };
        assert(checkPlan(library, engine, bytes, sizes).weightsBytes > 0);
      } finally {
        library.native.rz_engine_close(engine);
      }
    }
  });
}

test("arch: every architecture has a golden listing, and every listing a model", () => {
  assertEquals(new Set(PLAN_SHAPES.map((shape) => shape.config.architecture)), new Set(architectureNames()));
  const files = readdirSync(inRoot("tests/golden/plans")).sort();
  assertEquals(files, PLAN_SHAPES.map((shape) => `${shape.name}.txt`).sort());
});

test("arch: an architecture that is not known is UNSUPPORTED, by name and never by guess", () => {
  for (const name of ["llama4", "LLAMA", "", "qwen", "toString"]) {
    const error = assertThrows(() => architectureOf(name), RealizarError);
    assertEquals(error.code, "UNSUPPORTED");
    assert(error.message.includes(`"${name}"`), error.message);
    assert(error.message.endsWith("known are llama, qwen2, qwen3, qwen3moe"), error.message);
  }
});

/** Names of the ops of a layer. */
function opsOf(plan: Plan, layer: number): string[] {
  const names = new Map<number, string>(Object.entries(OPS).map(([name, row]) => [row.code, name]));
  return readPlan(plan.bytes).ops.filter((op) => op.layer === layer).map((op) => names.get(op.code)!);
}

test("arch: only the rows that are asked for go through the last layer's tail and the head", async () => {
  for (const arch of ["llama", "qwen2", "qwen3"] as const) {
    const { ops, values } = readPlan((await tinyPlan({ arch, nLayers: 3 })).bytes);
    const rowsOf = (layer: number) =>
      ops.filter((op) => op.layer === layer && op.out[0] !== 0).map((op) => values[op.out[0]! - 1]!.rows);
    assertEquals(new Set(rowsOf(0)), new Set([0]));
    const last = rowsOf(2);
    const first = last.indexOf(1);
    assert(first > 0 && last.slice(first).every((rows) => rows === 1), "R after the first selectRows");
    const seen = opsOf(await tinyPlan({ arch, nLayers: 3 }), 2);
    assertEquals(seen.slice(seen.indexOf("attention"), seen.indexOf("attention") + 3), [
      "attention",
      "selectRows",
      "selectRows",
    ]);
    assertEquals(opsOf(await tinyPlan({ arch, nLayers: 3 }), NO_LAYER), ["embed", "rmsNorm", "logits"]);
  }
});

test("arch: a model of one layer is its own last", async () => {
  assertEquals(opsOf(await tinyPlan({ nLayers: 1 }), 0).filter((name) => name === "selectRows").length, 2);
});

test("arch: what only some files have is used where it is", async () => {
  const bare = await shapePlan(SMALL);
  const biased = await shapePlan(SMALL, { has: (role) => role.endsWith(".bias") });
  assertEquals(biased.weightNames.length - bare.weightNames.length, 2 * 7, "q, k, v, output, gate, up, down");
  assert(listPlan(biased).includes("blk.0.ffn_down F32, blk.0.ffn_down.bias F32"));
  const tied = await tinyPlan({ tied: true });
  assert(listPlan(tied).includes("token_embd F32") && !tied.weightNames.includes("output.weight"));
});

test("arch: a window is attention's and the cache's; Qwen files that ask for one are refused", async () => {
  const plan = await shapePlan({ ...SMALL, slidingWindow: 128 });
  assertEquals(plan.groups, [{ nLayers: 2, window: 128, kCols: 32, vCols: 32 }]);
  assert(listPlan(plan).includes("window=128"));
  for (const architecture of ["qwen2", "qwen3"]) {
    const error = await assertRejects(() => shapePlan({ ...SMALL, architecture, slidingWindow: 128 }), RealizarError);
    assertEquals(error.code, "UNSUPPORTED");
  }
});

test("arch: heads and sizes may differ from layer to layer", async () => {
  const layers = [{ nHeads: 4, nKvHeads: 2, intermediateSize: 96 }, { nHeads: 8, nKvHeads: 4, intermediateSize: 160 }];
  const plan = await shapePlan({ ...SMALL, layers, nHeads: 8, nKvHeads: 4, intermediateSize: 160 });
  assertEquals(plan.groups.map((group) => [group.nLayers, group.kCols]), [[1, 32], [1, 64]]);
  const text = listPlan(plan);
  assert(text.includes("heads=4 kvHeads=2") && text.includes("heads=8 kvHeads=4") && text.includes("x 160]"));
});

test("arch: a head may be of another size than hidden / heads, and values of another than keys", async () => {
  const plan = await shapePlan({ ...SMALL, headDim: 32, valueDim: 24 });
  assertEquals(plan.groups, [{ nLayers: 2, window: 0, kCols: 64, vCols: 48 }]);
  assert(listPlan(plan).includes("nRot=16"), "part of the head turns");
});

test("arch: experts are routed in every layer, and the last one is cut after them", async () => {
  const plan = await tinyPlan({ arch: "qwen3moe", nLayers: 2 });
  for (const layer of [0, 1]) {
    const seen = opsOf(plan, layer);
    const expected = ["moeRoute", "moeMatmul", "moeMatmul", "glu", "moeMatmul", "moeCombine", "add"];
    assertEquals(seen.slice(seen.indexOf("moeRoute")), layer === 0 ? expected : [...expected, "selectRows"]);
  }
  const error = await assertRejects(() => shapePlan({ ...SMALL, architecture: "qwen3moe" }), RealizarError);
  assertEquals(error.code, "KEY_MISSING");
});

interface RopeCase {
  readonly name: string;
  readonly rope: Partial<RopeConfig>;
  readonly divisors?: readonly number[];
  readonly inv_freq: readonly number[];
  readonly magnitude: number;
}

for (const one of JSON.parse(readFileSync(inRoot("tests/golden/rope.json"), "utf8")) as RopeCase[]) {
  test(`arch: RoPE of ${one.name} equals transformers'`, () => {
    const divisors = one.divisors === undefined ? undefined : Float32Array.from(one.divisors);
    const { invFreq, magnitude } = ropeAngles({ ...SMALL.rope, ...one.rope }, divisors);
    assertEquals(invFreq.length, one.inv_freq.length);
    // Their functions compute in F32.
    invFreq.forEach((f, i) => assertAlmostEquals(f / one.inv_freq[i]!, 1, 2e-6, `pair ${i}`));
    assertAlmostEquals(magnitude, one.magnitude, 1e-7);
  });
}

test("arch: plain RoPE is base^(-2i/n) to the last bits of F64", () => {
  const { invFreq, magnitude } = ropeAngles({ ...SMALL.rope, freqBase: 10000, nRot: 8 });
  assertEquals(magnitude, 1);
  [1, 0.1, 0.01, 0.001].forEach((expected, i) => assertAlmostEquals(invFreq[i]! / expected, 1, 1e-15));
  const llama3 = ropeAngles({ ...SMALL.rope, freqBase: 500000, nRot: 128 }).invFreq;
  llama3.forEach((f, i) => assertAlmostEquals(f * Math.exp(i / 64 * Math.log(500000)), 1, 1e-14));
});

test("arch: without extrapolation YaRN is linear scaling with its magnitude", () => {
  const rope: RopeConfig = { ...SMALL.rope, factor: 4, origContext: 4096 };
  const linear = ropeAngles({ ...rope, scaling: "linear" });
  const yarn = ropeAngles({ ...rope, scaling: "yarn", extFactor: 0, attnFactor: 2 });
  yarn.invFreq.forEach((f, i) => assertAlmostEquals(f / linear.invFreq[i]!, 1, 1e-15));
  assertAlmostEquals(yarn.magnitude, 2 * (0.1 * Math.log(4) + 1), 1e-15);
});

test("arch: RoPE metadata that gives no frequencies is a typed error", () => {
  const code = (rope: Partial<RopeConfig>, divisors?: Float32Array) =>
    assertThrows(() => ropeAngles({ ...SMALL.rope, ...rope }, divisors), RealizarError).code;
  assertEquals(code({}, new Float32Array(8)), "LIMIT");
  assertEquals(code({}, new Float32Array(8).fill(NaN)), "LIMIT");
  assertEquals(code({}, new Float32Array(8).fill(-1)), "LIMIT");
  assertEquals(code({ scaling: "yarn", logMultiplier: 0.1 }), "UNSUPPORTED");
});

test("arch: rope_freqs of a file turn up in the plan's constant", async () => {
  const plain = readPlan((await tinyPlan({ seed: 3 })).bytes).constants[0]!.numbers;
  const host = { rope_freqs: Float32Array.of(1, 1, 2, 2, 4, 4, 8, 8) };
  const config: ModelConfig = { ...SMALL, rope: { ...SMALL.rope, freqBase: 10000 } };
  const stretched = readPlan((await shapePlan(config, { host })).bytes).constants[0]!.numbers;
  assertEquals([...stretched].map((f, i) => plain[i]! / f), [1, 1, 2, 2, 4, 4, 8, 8, 1]);
});

leakCheck();
