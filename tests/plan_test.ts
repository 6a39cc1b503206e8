import { readFileSync } from "node:fs";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { type ErrorCode, RealizarError } from "../src/errors.ts";
import { checkPlan, openEngine } from "../src/engine/native_model.ts";
import { exportPlan } from "../src/plan/export.ts";
import { listPlan } from "../src/plan/listing.ts";
import { GLU_ACTIVATIONS, OPS, UNARY_FUNCTIONS } from "../src/plan/op_table.ts";
import { PlanBuilder, type Value } from "../src/plan/ops.ts";
import { NO_LAYER, type Plan, readPlan, weightTableOf, writePlan } from "../src/plan/plan.ts";
import { ISAS } from "../src/platform/abi.ts";
import { openLibrary } from "../src/platform/library.ts";
import { type RoleSpec, USE_MATMUL, USE_MOE, USE_ROWS, USE_VECTOR } from "../src/weights/roles.ts";
import { builderOf, SMALL, tinyPlan, weightsOf } from "./plan_support.ts";
import { inRoot, leakCheck, test } from "./support.ts";

function role(name: string, use: number, rows: number, cols: number, nExperts = 1): RoleSpec {
  return { role: name, layer: null, tensor: `${name}.weight`, rows, cols, use, ...(nExperts > 1 ? { nExperts } : {}) };
}

/** Weights that fit together in a plan with every op; hidden 64, vocabulary 320 as in SMALL. */
const EVERY: readonly RoleSpec[] = [
  role("embd", USE_ROWS, 320, 64),
  role("norm", USE_VECTOR, 1, 64),
  role("norm_bias", USE_VECTOR, 1, 64),
  role("head_norm", USE_VECTOR, 1, 16),
  role("square", USE_MATMUL, 64, 64),
  role("narrow", USE_MATMUL, 32, 64),
  role("heads", USE_MATMUL, 64, 16),
  role("sinks", USE_VECTOR, 1, 4),
  role("router", USE_MATMUL, 6, 64),
  role("router_bias", USE_VECTOR, 1, 6),
  role("experts_up", USE_MOE, 32, 64, 6),
  role("experts_down", USE_MOE, 64, 32, 6),
  role("output", USE_MATMUL, 320, 64),
  role("output_bias", USE_VECTOR, 1, 320),
];

const ROTATION = Float64Array.from({ length: 8 }, (_, i) => 10000 ** (-i / 8));

/** A plan that emits every op and every enumerated choice at least once. */
async function everyOp(): Promise<Plan> {
  const { p, id } = await builderOf(EVERY);
  const rope = p.ropeTable("pairs", ROTATION, 1);
  const halves = p.ropeTable("halves", ROTATION, 1);
  assertEquals(halves.constant, rope.constant, "equal tables are one constant");
  let x = p.embed(id("embd"), 2);
  p.layer(0);
  const normed = p.layerNorm(x, id("norm"), id("norm_bias"), 1e-5);
  const q = p.rope(p.rmsNorm(p.matmul(normed, id("square"), id("norm")), id("head_norm"), 1e-6, 16), rope, 16);
  const k = p.rope(p.matmul(normed, id("narrow")), halves, 16);
  const kv = p.kvWrite(k, p.matmul(normed, id("narrow")), 128);
  const shape = { nHeads: 4, nKvHeads: 2, scale: 0.25 };
  const seen = p.attention(q, kv, { ...shape, softcap: 30, sinks: id("sinks") });
  x = p.add(x, p.headMatmul(seen, id("heads"), 4));
  x = p.add(x, p.batchAttention(q, k, p.matmul(normed, id("narrow")), shape));
  p.layer(1);
  for (const fn of UNARY_FUNCTIONS) x = p.unary(fn, x);
  for (const act of GLU_ACTIVATIONS) x = act === "clamped" ? p.glu(act, x, x, 1.7, 7) : p.glu(act, x, x);
  x = p.mul(p.mul(p.add(p.scale(x, 0.5), id("norm")), id("norm")), x);
  const routed = p.matmul(x, id("router"));
  const route = p.moeRoute(routed, { k: 2, gating: "sigmoid", bias: id("router_bias"), normalize: true, scale: 2.5 });
  const down = p.moeMatmul(p.moeMatmul(x, route, id("experts_up")), route, id("experts_down"));
  x = p.allReduce(p.softcap(p.moeCombine(down, route), 50));
  p.layer();
  const pooled = p.pool(x, "last");
  p.logits(p.selectRows(x), id("output"), { bias: id("output_bias"), scale: 0.1, softcap: 30 });
  return p.finish(pooled);
}

test("plan: the op table equals csrc/op.h", () => {
  const header = readFileSync(inRoot("csrc/op.h"), "utf8");
  const rows = [...header.matchAll(/X\([A-Z_]+, (\d+), "(\w+)"\)/g)].map(([, code, name]) => [name!, Number(code)]);
  assert(rows.length > 20);
  assertEquals(Object.entries(OPS).map(([name, { code }]) => [name, code]), rows);
});

test("plan: what a builder emits is a plan by the rules of realizar.h, read byte by byte", async () => {
  for (const plan of [await everyOp(), await tinyPlan({ arch: "qwen3", headDim: 32 })]) {
    const view = new DataView(plan.bytes.buffer, plan.bytes.byteOffset, plan.bytes.byteLength);
    const u32 = (at: number) => view.getUint32(at, true);
    assertEquals([u32(0), u32(4)], [0x31505a52, plan.bytes.length]);
    const [nWeights, nConstants, nNumbers, nValues, nOps] = [8, 12, 16, 20, 24].map(u32) as [number, ...number[]];
    const firstValue = 64 + 80 * nWeights + 64 * nConstants! + 8 * nNumbers!;
    const firstOp = firstValue + 16 * nValues!;
    assertEquals(firstOp + 128 * nOps!, plan.bytes.length);
    const defined = new Set<number>();
    for (let i = 0, at = firstOp; i < nOps!; i++, at += 128) {
      const ids = (from: number, n: number) =>
        Array.from({ length: n }, (_, j) => u32(at + from + 4 * j)).filter(Boolean);
      for (const id of ids(16, 4)) assert(defined.has(id), `op ${i} uses value ${id} before it is defined`);
      for (const id of ids(32, 4)) assert(id <= nWeights, `op ${i} uses weight ${id} of ${nWeights}`);
      for (const id of ids(8, 2)) assert(!defined.has(id) && id <= nValues!, `op ${i} defines value ${id}`);
      for (const id of ids(8, 2)) defined.add(id);
      assertEquals(Array.from({ length: 6 }, (_, j) => u32(at + 104 + 4 * j)), [0, 0, 0, 0, 0, 0]);
    }
    assertEquals(defined.size, nValues);
    assertEquals(u32(firstValue + 16 * (plan.logitsValue - 1) + 8), 1, "the logits are an OUTPUT");
    assertEquals(plan.weightTable.byteOffset - plan.bytes.byteOffset, 64);
  }
});

test("plan: reading back gives what was written, and writing that the same bytes", async () => {
  const plan = await everyOp();
  const records = readPlan(plan.bytes);
  assertEquals(writePlan(records), plan.bytes);
  assertEquals(records.constants, [{ name: "rope1", numbers: Float64Array.of(...ROTATION, 1) }]);
  assertEquals(new Set(records.ops.map((op) => op.code)), new Set(Object.values(OPS).map((row) => row.code)));
  assertEquals(records.ops.filter((op) => op.layer === NO_LAYER).length, 4, "embed, pool, selectRows, logits");
  assertEquals(weightTableOf(plan.bytes, records.weights.length), plan.weightTable);
  assertEquals(plan.groups, [{ nLayers: 1, window: 128, kCols: 32, vCols: 32 }]);
});

test("plan: C accepts every op as TypeScript emits it", async () => {
  const library = openLibrary();
  const engine = openEngine(library, "ref", 0, 1, ISAS.auto);
  try {
    const plan = await everyOp();
    const sizes = { maxTokens: 32, maxSequences: 4, maxOuts: 4, deterministic: true };
    assert(checkPlan(library, engine, plan.bytes, sizes).weightsBytes > 0);
  } finally {
    library.native.rz_engine_close(engine);
  }
});

test("plan: the listing names every op, operand, type and choice", async () => {
  const lines = listPlan(await everyOp()).split("\n");
  for (const name of Object.keys(OPS)) assert(lines.some((line) => line.includes(` ${name} `)), name);
  const find = (text: string) => lines.find((line) => line.includes(text))!.replace(/^ *\d+ +\S+ +/, "");
  assertEquals(
    find("attention v"),
    "v9 [T x 64] = attention v5, sinks F32; group=0 kvLayer=0 heads=4 kvHeads=2 " +
      "keyDim=16 valueDim=16 span=causal window=128 scale=0.25 softcap=30",
  );
  assertEquals(
    find("moeRoute"),
    "v31 [Tk x 1], v32 [Tk x 1] = moeRoute v30, router_bias F32; k=2 gating=sigmoid " +
      "normalize=1 scale=2.5",
  );
  assertEquals(find("act=clamped"), "v25 [T x 64] = glu v24, v24; act=clamped alpha=1.7 limit=7");
});

/** Everything `emit` may want, once. */
interface Bench {
  readonly p: PlanBuilder;
  readonly id: (role: string) => number;
  readonly x: Value<"T">;
  readonly r: Value<"R">;
}

const WRONG: readonly [string, (bench: Bench) => unknown, RegExp][] = [
  [
    "a matrix of other columns",
    ({ p, id, x }) => p.matmul(x, id("heads")),
    /matmul: w0 \(heads\.weight\) is \[64 x 16\]/,
  ],
  ["a vector as matrix", ({ p, id, x }) => p.matmul(x, id("norm")), /matmul: w0 .* bound for use 8, this op needs 2/],
  ["no weight", ({ p, x }) => p.matmul(x, 0), /matmul: w0 is weight 0 of 14/],
  ["a bias of other length", ({ p, id, x }) => p.matmul(x, id("square"), id("sinks")), /matmul: w1 \(sinks/],
  ["a value of another plan", ({ p, id }) => p.matmul({ ...p.embed(id("embd")) }, id("square")), /in0 is not a value/],
  [
    "rows that differ",
    ({ p, x, r }) => p.add<"T" | "R">(x, r),
    /add: in1 \(value 2\) is \[R x 64\], expected \[T x 64\]/,
  ],
  ["nothing to add", ({ p, x }) => p.add(x, 0), /add: neither in1 nor w0/],
  ["a norm of other length", ({ p, id, x }) => p.rmsNorm(x, id("head_norm"), 1e-5), /rmsNorm: w0 .* \[1 x 16\]/],
  ["a group that does not divide", ({ p, x }) => p.rmsNorm(x, 0, 1e-5, 24), /rmsNorm: in0 .* multiple of .* 24/],
  ["an epsilon that is no number", ({ p, x }) => p.rmsNorm(x, 0, NaN), /rmsNorm: parameter NaN/],
  [
    "more turning columns than a head",
    ({ p, x }) => p.rope(x, p.ropeTable("pairs", ROTATION, 1), 8),
    /rope: 16 columns/,
  ],
  ["heads that don't divide", ({ p, x }) => attend(p, x, 4, 3), /attention: 4 heads over 3 key heads/],
  [
    "keys of another head size",
    ({ p, x }) => attend(p, x, 4, 1),
    /attention: in0 has 64 columns in 4 heads, keys 64 in 1/,
  ],
  ["a cap of zero", ({ p, x }) => p.softcap(x, 0), /softcap: cap 0 is not positive/],
  ["more experts than there are", ({ p, x }) => p.moeRoute(x, { k: 65, gating: "sigmoid" }), /moeRoute: 65 experts/],
  [
    "experts of another router",
    ({ p, id, x }) => p.moeMatmul(x, p.moeRoute(x, { k: 2, gating: "sigmoid" }), id("experts_up")),
    /moeMatmul: w0 has 6 experts, the router 64/,
  ],
  ["an embedding that is no table", ({ p, id }) => p.embed(id("output")), /embed: w0 \(output\.weight\)/],
  ["two logits", ({ p, id, r }) => [p.logits(r, id("output")), p.logits(r, id("output"))], /logits: there are logits/],
  ["an output that is not the vocabulary", ({ p, id, r }) => p.logits(r, id("square")), /logits: w0 has 64 rows/],
  ["a weight not used", ({ p, r }) => p.finish(p.scale(r, 2)), /norm\.weight is bound, but no op uses it/],
  ["a value not used", ({ p, x, r }) => [p.scale(x, 2), p.finish(r)], /value 3 is never used/],
];

function attend(p: PlanBuilder, x: Value<"T">, nHeads: number, nKvHeads: number): unknown {
  return p.attention(x, p.kvWrite(x, x), { nHeads, nKvHeads, scale: 1 });
}

for (const [what, emit, message] of WRONG) {
  test(`plan: emitting ${what} is an INTERNAL error that says where`, async () => {
    const { p, id } = await builderOf(EVERY);
    const x = p.embed(id("embd"));
    const error = assertThrows(() => emit({ p, id, x, r: p.selectRows(x) }), RealizarError);
    assertEquals(error.code, "INTERNAL");
    assert(message.test(error.message), error.message);
  });
}

/** Bytes of a good plan with one u32 changed. */
async function broken(at: number, value: number): Promise<Uint8Array> {
  const bytes = (await tinyPlan()).bytes.slice();
  new DataView(bytes.buffer).setUint32(at, value, true);
  return bytes;
}

test("plan: bytes that are no plan, or cut short, are typed errors", async () => {
  const code = (bytes: Uint8Array): ErrorCode => assertThrows(() => readPlan(bytes), RealizarError).code;
  const { bytes } = await tinyPlan();
  assertEquals(code(new Uint8Array(0)), "TRUNCATED");
  assertEquals(code(bytes.subarray(0, 63)), "TRUNCATED");
  assertEquals(code(bytes.subarray(0, bytes.length - 1)), "TRUNCATED");
  assertEquals(code(await broken(0, 0x46554747)), "MAGIC");
  assertEquals(code(await broken(24, 0xffffffff)), "TRUNCATED");
  const firstConstant = 64 + 80 * new DataView(bytes.buffer).getUint32(8, true);
  assertEquals(code(await broken(firstConstant + 48, 0xffffffff)), "TRUNCATED");
});

test("plan: more kinds of attention cache than C has groups is UNSUPPORTED", async () => {
  const { p, id } = await builderOf(EVERY);
  const x = p.embed(id("embd"));
  for (let window = 0; window < 8; window++) p.kvWrite(x, x, window);
  assertEquals(assertThrows(() => p.kvWrite(x, x, 8), RealizarError).code, "UNSUPPORTED");
});

test("plan: an export is the plan's bytes with where its weights lie; without files it is UNSUPPORTED", async () => {
  const weights = await weightsOf(EVERY.filter((spec) => ["embd", "output"].includes(spec.role)));
  const p = new PlanBuilder(SMALL, weights);
  const hidden = p.selectRows(p.embed(1));
  p.logits(hidden, 2);
  const plan = p.finish(hidden);
  const bytes = exportPlan(plan);
  assertEquals(bytes, plan.bytes);
  assert(bytes.buffer !== plan.bytes.buffer, "a copy: the plan's own bytes stay as they are");
  assertEquals(readPlan(bytes).weights.map((w) => [w.file, w.offset, w.bytes]), [[0, 4096, 81920], [0, 86016, 81920]]);
  const fromMemory = await tinyPlan();
  assertEquals(assertThrows(() => exportPlan(fromMemory), RealizarError).code, "UNSUPPORTED");
});

leakCheck();
