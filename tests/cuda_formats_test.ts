/**
 * Products of few rows on the CUDA executor, every weight type: the kernels for records, against F64 references, alone
 * and with the norms and gates that join them. Columns that fill whole records and columns that don't.
 */
import { assertEquals } from "@std/assert";
import { type DTypeName, DTYPES } from "../src/dtype.ts";
import { USE_MATMUL } from "../src/weights/roles.ts";
import { noGpu } from "./gpu.ts";
import { normals, rowsOf } from "./op_case.ts";
import { OpEngine, type Part } from "./op_engine.ts";
import { OpPlan } from "./op_plan.ts";
import { ACTIVATIONS, product, rmsNorm } from "./op_reference.ts";
import { Random, randomWeights } from "./random_blocks.ts";
import { leakCheck, testUnless } from "./support.ts";

const missing = noGpu();
const VOCAB = 24;
const EPS = 1e-5;

/** Steps of 1 to 4 rows: every width of the kernels. */
const STEPS: readonly (readonly Part[])[] = [1, 2, 3, 4].map((n) => [
  { slot: 0, nPast: 0, tokens: Array.from({ length: n }, (_, i) => (5 * n + 7 * i) % VOCAB) },
]);

/** Rows of x are rounded to 16 bits; weights are exact. */
const BOUND = 1e-8;

type Weights = (id: number) => Float32Array;

interface Case {
  name: string;
  plan: OpPlan;
  /** The matrices: every value of theirs is compared. */
  weights: readonly number[];
  want: (weight: Weights, token: number) => ArrayLike<number>[];
}

/** What is wrong with the outputs of plans, and with their weights as the executor holds them. */
function problems(cases: readonly Case[]): string[] {
  using engine = new OpEngine("cuda", "auto", false);
  using ref = new OpEngine("ref");
  return cases.flatMap(({ name, plan, weights, want }) => {
    const run = plan.run(engine, STEPS, () => true), expected = plan.run(ref, STEPS.slice(0, 1), () => true);
    const wrong = run.outputs.flatMap((got, k) => {
      const whole = rowsOf(run, (token) => want(expected.weight, token)[k]!);
      let error = 0, square = 0;
      got.forEach((x, i) => (error += (x - whole[i]!) ** 2, square += whole[i]! ** 2));
      const good = got.length === whole.length && error / square <= BOUND;
      return good ? [] : [`${name}: output ${k}: error ${error / square}`];
    });
    for (const id of weights) {
      const got = run.weight(id), truth = expected.weight(id);
      const at = truth.findIndex((x, i) => !Object.is(x + 0, got[i]! + 0));
      if (at >= 0) wrong.push(`${name}: weight ${id}: value ${at} is ${got[at]}, expected ${truth[at]}`);
    }
    return wrong;
  });
}

function matmulCase(dtype: DTypeName, rows: number, cols: number): Case {
  const plan = new OpPlan(VOCAB, [normals(rows, VOCAB * cols), normals(2, VOCAB * rows)]);
  const w = plan.weight(USE_MATMUL, dtype, rows, cols, randomWeights(new Random(cols), dtype, rows, cols, 0.1));
  const bias = plan.vector(normals(7, rows, 1e-1));
  const [y] = plan.op("matmul", { in: [plan.inputs[0]!], w: [w, bias] }, ["T", rows]);
  const [z] = plan.op("matmul", { in: [plan.inputs[0]!], w: [w] }, ["T", rows]);
  plan.output(y!, ...plan.op("add", { in: [plan.inputs[1]!, z!] }, ["T", rows]));
  const want = (weight: Weights, token: number) => {
    const x = product(weight(w), plan.input(0, token));
    return [x.map((v, i) => v + weight(bias)[i]!), x.map((v, i) => v + plan.input(1, token)[i]!)];
  };
  return { name: `${rows} x ${cols}`, plan, weights: [w], want };
}

for (const { name: dtype, blockSize } of DTYPES) {
  testUnless(missing, `cuda, few rows: ${dtype}, with a bias and with a residual`, () => {
    const shapes = [[48, 512], [144, 1280], [80, blockSize === 256 ? 256 : 576], [33, blockSize * 3]] as const;
    assertEquals(problems(shapes.map(([rows, cols]) => matmulCase(dtype, rows, cols))), []);
  });
}

/** Types that real files mix, in one layer. */
const MIXES: readonly (readonly [DTypeName, DTypeName, number])[] = [
  ["Q4_K", "Q6_K", 512],
  ["Q5_K", "Q6_K", 512],
  ["Q3_K", "Q5_K", 256],
  ["Q2_K", "Q3_K", 512],
  ["IQ4_XS", "Q5_K", 512],
  ["Q5_0", "Q8_0", 576],
  ["Q5_1", "Q8_0", 96],
  ["IQ4_NL", "Q5_1", 576],
  ["Q4_0", "Q4_1", 1536],
  ["F16", "F16", 576],
];

/** Norm, gate and up, which are fused. */
function gluCase([first, second, cols]: typeof MIXES[number]): Case {
  const rows = 176, plan = new OpPlan(VOCAB, [normals(3, VOCAB * cols)]);
  const norm = plan.vector(normals(5, cols).map((x) => 1 + 0.1 * x));
  const w = [first, second].map((dtype, i) =>
    plan.weight(USE_MATMUL, dtype, rows, cols, randomWeights(new Random(i), dtype, rows, cols, 0.1))
  );
  const [x] = plan.op("rmsNorm", { in: [plan.inputs[0]!], w: [norm], n: [0], f: [EPS] }, ["T", cols]);
  const [gate, up] = w.map((id) => plan.op("matmul", { in: [x!], w: [id] }, ["T", rows])[0]!);
  plan.output(...plan.op("glu", { in: [gate!, up!], n: [0] }, ["T", rows]));
  const want = (weight: Weights, token: number) => {
    const normed = rmsNorm(plan.input(0, token), weight(norm), EPS, cols);
    const [a, b] = w.map((id) => product(weight(id), normed));
    return [a!.map((v, i) => ACTIVATIONS[0]!(v) * b![i]!)];
  };
  return { name: `${first} and ${second}, ${cols} columns`, plan, weights: w, want };
}

testUnless(missing, `cuda, few rows: norm, gate and up of ${MIXES.length} pairs of types`, () => {
  assertEquals(problems(MIXES.map(gluCase)), []);
});

leakCheck();
