/**
 * A feed-forward part with experts on the CUDA executor: from the norm to the residual, fused for few rows and for
 * many, against F64 references. Odd numbers of experts, experts without rows, one with all of them.
 */
import { assertEquals } from "@std/assert";
import type { DTypeName } from "../src/dtype.ts";
import { USE_MATMUL, USE_MOE } from "../src/weights/roles.ts";
import { noGpu } from "./gpu.ts";
import { normals, rowsOf } from "./op_case.ts";
import { OpEngine, type Part } from "./op_engine.ts";
import { OpPlan } from "./op_plan.ts";
import { ACTIVATIONS, product, rmsNorm, route } from "./op_reference.ts";
import { Random, randomWeights } from "./random_blocks.ts";
import { leakCheck, testUnless } from "./support.ts";

const missing = noGpu();
const VOCAB = 40;
const EPS = 1e-6;

/** 1, 3 and 4 rows; then 9, 100, and 77 of two sequences. */
const FEW: readonly (readonly Part[])[] = [1, 3, 4].map((n) => [{ slot: 0, nPast: 0, tokens: tokens(n, n) }]);
const MANY: readonly (readonly Part[])[] = [
  [{ slot: 0, nPast: 0, tokens: tokens(4, 9) }],
  [{ slot: 1, nPast: 0, tokens: tokens(1, 100) }],
  [{ slot: 2, nPast: 0, tokens: tokens(9, 60) }, { slot: 3, nPast: 0, tokens: tokens(2, 17) }],
];

function tokens(first: number, n: number): number[] {
  return Array.from({ length: n }, (_, i) => (first + 7 * i) % VOCAB);
}

interface ExpertsCase {
  gate: DTypeName;
  down: DTypeName;
  experts: number;
  k: number;
  hidden: number;
  inner: number;
  /** How unevenly tokens choose: 0 = by chance; large: all the same experts. */
  uneven?: number;
  gating?: 0 | 1;
  normalize?: boolean;
  /** A residual follows. */
  add?: boolean;
}

const CASES: readonly ExpertsCase[] = [
  { gate: "Q4_K", down: "Q6_K", experts: 65, k: 8, hidden: 256, inner: 256, add: true, normalize: true },
  { gate: "Q4_K", down: "Q4_K", experts: 7, k: 3, hidden: 256, inner: 256, add: true, uneven: 100 },
  { gate: "Q8_0", down: "Q8_0", experts: 1, k: 1, hidden: 96, inner: 32, add: true },
  { gate: "Q5_0", down: "Q8_0", experts: 33, k: 6, hidden: 576, inner: 160, gating: 1, normalize: true },
  { gate: "Q5_K", down: "Q6_K", experts: 5, k: 5, hidden: 512, inner: 512, add: true },
  { gate: "Q3_K", down: "Q5_K", experts: 9, k: 2, hidden: 256, inner: 512, add: true, gating: 1 },
  { gate: "Q2_K", down: "Q3_K", experts: 9, k: 2, hidden: 256, inner: 256, add: true, normalize: true },
  { gate: "IQ4_XS", down: "IQ4_NL", experts: 4, k: 2, hidden: 256, inner: 288, add: true },
  { gate: "Q4_0", down: "Q4_1", experts: 40, k: 4, hidden: 320, inner: 96, add: true, uneven: 100 },
  { gate: "Q5_1", down: "Q5_0", experts: 3, k: 1, hidden: 64, inner: 64, add: true },
];

interface Made {
  plan: OpPlan;
  want: (weight: (id: number) => Float32Array, token: number) => Float64Array;
}

function make(of: ExpertsCase): Made {
  const { experts, k, hidden, inner, uneven = 0, gating = 0, normalize = false, add = false } = of;
  const plan = new OpPlan(VOCAB, [normals(hidden, VOCAB * hidden)]), x = plan.inputs[0]!;
  const norm = plan.vector(normals(5, hidden).map((v) => 1 + 0.1 * v));
  const scores = normals(6, experts * hidden, 0.1);
  const router = plan.weight(USE_MATMUL, "F32", experts, hidden, new Uint8Array(scores.buffer));
  const bias = plan.vector(Float32Array.from({ length: experts }, (_, e) => -uneven * ((e * 3) % experts)));
  const moe = (dtype: DTypeName, rows: number, cols: number, seed: number) =>
    plan.weight(USE_MOE, dtype, rows, cols, randomWeights(new Random(seed), dtype, experts * rows, cols, 0.1), experts);
  const w = [moe(of.gate, inner, hidden, 1), moe(of.gate, inner, hidden, 2), moe(of.down, hidden, inner, 3)] as const;
  const [normed] = plan.op("rmsNorm", { in: [x], w: [norm], n: [0], f: [EPS] }, ["T", hidden]);
  const [logits] = plan.op("matmul", { in: [normed!], w: [router, bias] }, ["T", experts]);
  const n = [k, gating, Number(normalize)];
  const [weights, ids] = plan.op("moeRoute", { in: [logits!], n, f: [1.5] }, ["Tk", 1], ["Tk", 1, "I32"]);
  const [gate, up] = [0, 1].map((i) =>
    plan.op("moeMatmul", { in: [normed!, ids!], w: [w[i]!], n: [k] }, ["Tk", inner])[0]!
  );
  const [mixed] = plan.op("glu", { in: [gate!, up!], n: [0] }, ["Tk", inner]);
  const [down] = plan.op("moeMatmul", { in: [mixed!, ids!], w: [w[2]], n: [k] }, ["Tk", hidden]);
  const [sum] = plan.op("moeCombine", { in: [down!, weights!], n: [k] }, ["T", hidden]);
  plan.output(add ? plan.op("add", { in: [x, sum!] }, ["T", hidden])[0]! : sum!);
  const want: Made["want"] = (weight, token) => {
    const from = plan.input(0, token), y = rmsNorm(from, weight(norm), EPS, hidden);
    const chosen = route(product(scores, y, weight(bias)), { k, gating, normalize, scale: 1.5 });
    const of = (id: number, e: number, v: Float64Array) => {
      const size = weight(id).length / experts;
      return product(weight(id).subarray(e * size, (e + 1) * size), v);
    };
    const out = Float64Array.from(from, (v) => add ? v : 0);
    chosen.ids.forEach((e, j) => {
      const a = of(w[0], e, y), b = of(w[1], e, y);
      of(w[2], e, a.map((v, i) => ACTIVATIONS[0]!(v) * b[i]!)).forEach((v, i) => out[i]! += chosen.weights[j]! * v);
    });
    return out;
  };
  return { plan, want };
}

for (const [rows, steps, bound] of [["few", FEW, 1e-8], ["many", MANY, 1e-5]] as const) {
  testUnless(missing, `cuda, experts: ${CASES.length} kinds, ${rows} rows`, () => {
    using engine = new OpEngine("cuda", "auto", false);
    const problems = CASES.flatMap((of) => {
      const { plan, want } = make(of), run = plan.run(engine, steps, () => true), got = run.outputs[0]!;
      const known = new Map<number, Float64Array>();
      const whole = rowsOf(run, (token) => {
        if (!known.has(token)) known.set(token, want(run.weight, token));
        return known.get(token)!;
      });
      assertEquals(got.length, whole.length);
      let error = 0, square = 0;
      got.forEach((x, i) => (error += (x - whole[i]!) ** 2, square += whole[i]! ** 2));
      return error / square <= bound ? [] : [`${JSON.stringify(of)}: error ${error / square}`];
    });
    assertEquals(problems, []);
  });
}

leakCheck();
