/**
 * Products of the CUDA executor's kernels for many rows, at row counts on both sides of every tile: alone, behind a
 * norm, of mixed weights in one launch, with a GLU, a residual, a cap; and what is not finite stays in its row. Against
 * F64 references. Without a GPU each is a named skip.
 */
import { assertEquals } from "@std/assert";
import type { DTypeName } from "../src/dtype.ts";
import { USE_MATMUL } from "../src/weights/roles.ts";
import { noGpu } from "./gpu.ts";
import { normals, rowsOf } from "./op_case.ts";
import { OpEngine, type OpRun, type Part } from "./op_engine.ts";
import { OpPlan } from "./op_plan.ts";
import { ACTIVATIONS, product, rmsNorm } from "./op_reference.ts";
import { Random, randomWeights } from "./random_blocks.ts";
import { leakCheck, testUnless } from "./support.ts";

const missing = noGpu();
const VOCAB = 48;
const ROWS = [5, 8, 9, 16, 17, 32, 33, 64, 65, 100];
const EPS = Math.fround(1e-5);

/** One sequence anew for each row count. */
function steps(counts: readonly number[] = ROWS): Part[][] {
  return counts.map((n) => [{ slot: 0, nPast: 0, tokens: Array.from({ length: n }, (_, i) => (n + 7 * i) % VOCAB) }]);
}

type Weight = (id: number) => Float32Array;

/** Outputs whose worst row has a larger squared error than `bound`, relative to its squares. */
function problems(
  plan: OpPlan,
  cols: readonly number[],
  bound: number,
  want: (weight: Weight, token: number) => ArrayLike<number>[],
): string[] {
  using engine = new OpEngine("cuda", "auto", false);
  const run: OpRun = plan.run(engine, steps(), () => true);
  return run.outputs.flatMap((got, k) => {
    const wanted = rowsOf(run, (token) => want(run.weight, token)[k]!), n = cols[k]!;
    let worst = 0;
    for (let first = 0; first < got.length; first += n) {
      let error = 0, square = 0;
      for (let i = first; i < first + n; i++) {
        error += (got[i]! - wanted[i]!) ** 2;
        square += wanted[i]! ** 2;
      }
      if (!(error / square <= worst)) worst = error / square;
    }
    return worst <= bound ? [] : [`output ${k}: error ${worst}, bound ${bound}`];
  });
}

/** Rows of very different sizes. */
function inputs(cols: number): Float32Array {
  return normals(cols, VOCAB * cols).map((x, i) => x * 2 ** (Math.floor(i / cols) % 9 * 3 - 12));
}

function weight(plan: OpPlan, dtype: DTypeName, rows: number, cols: number, seed: number): number {
  return plan.weight(USE_MATMUL, dtype, rows, cols, randomWeights(new Random(seed), dtype, rows, cols, 0.1));
}

/** Roundings to 16 bits of weights, activations and scales. */
const BOUNDS = { Q4_K: 2e-6, Q6_K: 2e-6, Q8_0: 2e-6, BF16: 3e-5 } as const;
const RECORDS = ["Q4_K", "Q6_K", "Q8_0", "BF16"] as const;

for (const dtype of RECORDS) {
  const third = dtype === "Q4_K" ? "Q6_K" : dtype; // values of a Q4_K_M model are Q6_K
  testUnless(missing, `cuda, 5 to 100 rows: three matmuls of ${dtype} and ${third} behind a norm`, () => {
    const cols = 768, sizes = [272, 144, 80], plan = new OpPlan(VOCAB, [inputs(cols)]);
    const scale = plan.vector(normals(8, cols)), bias = plan.vector(normals(7, sizes[0]!));
    const [norm] = plan.op("rmsNorm", { in: [plan.inputs[0]!], w: [scale], f: [EPS] }, ["T", cols]);
    const w = sizes.map((rows, i) => weight(plan, i === 2 ? third : dtype, rows, cols, rows));
    const outs = w.map((id, i) =>
      plan.op("matmul", { in: [norm!], w: [id, i === 0 ? bias : 0] }, ["T", sizes[i]!])[0]!
    );
    plan.output(...outs);
    const want = (of: Weight, token: number) => {
      const x = rmsNorm(plan.input(0, token), of(scale), EPS, cols);
      return w.map((id, i) => product(of(id), x, i === 0 ? of(bias) : undefined));
    };
    assertEquals(problems(plan, sizes, BOUNDS[dtype], want), []);
  });

  testUnless(missing, `cuda, 5 to 100 rows: a norm that others read too, GLU and residual of ${dtype}`, () => {
    const cols = 512, inner = 336, plan = new OpPlan(VOCAB, [normals(3, VOCAB * cols)]);
    const scale = plan.vector(normals(8, cols));
    const [norm] = plan.op("rmsNorm", { in: [plan.inputs[0]!], w: [scale], f: [EPS] }, ["T", cols]);
    const [gate, up] = [1, 2].map((seed) => weight(plan, dtype, inner, cols, seed));
    const [a, b] = [gate!, up!].map((id) => plan.op("matmul", { in: [norm!], w: [id] }, ["T", inner])[0]!);
    const [glu] = plan.op("glu", { in: [a!, b!], n: [0] }, ["T", inner]);
    const square = weight(plan, dtype, cols, cols, 5);
    const [more] = plan.op("matmul", { in: [plan.inputs[0]!], w: [square] }, ["T", cols]);
    const [sum] = plan.op("add", { in: [more!, norm!] }, ["T", cols]);
    plan.output(glu!, sum!);
    const want = (of: Weight, token: number) => {
      const x = plan.input(0, token), normed = rmsNorm(x, of(scale), EPS, cols);
      const [g, u] = [gate!, up!].map((id) => product(of(id), normed));
      return [g!.map((v, i) => ACTIVATIONS[0]!(v) * u![i]!), product(of(square), x).map((v, i) => v + normed[i]!)];
    };
    assertEquals(problems(plan, [inner, cols], 3 * BOUNDS[dtype], want), []);
  });

  testUnless(missing, `cuda, 5 to 100 rows: capped logits of ${dtype}`, () => {
    const cols = 256, plan = new OpPlan(VOCAB, [normals(3, VOCAB * cols)]), cap = 3, factor = 0.5;
    const w = weight(plan, dtype, VOCAB, cols, 4);
    const [selected] = plan.op("selectRows", { in: [plan.inputs[0]!] }, ["R", cols]);
    plan.output(...plan.op("logits", { in: [selected!], w: [w], f: [cap, factor] }, ["R", VOCAB]));
    const want = (of: Weight, token: number) => [
      product(of(w), plan.input(0, token)).map((y) => cap * Math.tanh(y * factor / cap)),
    ];
    assertEquals(problems(plan, [VOCAB], BOUNDS[dtype], want), []);
  });

  testUnless(missing, `cuda, 5 to 100 rows: NaN and infinity stay in their rows, ${dtype}`, () => {
    const cols = 512, rows = 144, table = normals(3, VOCAB * cols);
    const of = (token: number) => token % 5 === 1 ? NaN : token % 5 === 2 ? Infinity : 1;
    for (let token = 0; token < VOCAB; token++) table[token * cols + 3 * token] = of(token);
    const plan = new OpPlan(VOCAB, [table]);
    const scale = plan.vector(new Float32Array(cols).fill(1));
    const [norm] = plan.op("rmsNorm", { in: [plan.inputs[0]!], w: [scale], f: [EPS] }, ["T", cols]);
    const [a, b] = [plan.inputs[0]!, norm!].map((x, i) =>
      plan.op("matmul", { in: [x], w: [weight(plan, dtype, rows, cols, i)] }, ["T", rows])[0]!
    );
    plan.output(a!, b!);
    using engine = new OpEngine("cuda", "auto", false);
    const run = plan.run(engine, steps(), () => true);
    for (const got of run.outputs) {
      const wrong = run.rows.filter(({ token }, i) => {
        const finite = got.subarray(i * rows, (i + 1) * rows).every(Number.isFinite);
        return finite !== (of(token) === 1);
      });
      assertEquals(wrong, []);
    }
  });
}

/** Weights whose kernels have fewer sizes of tiles. */
const OTHERS = ["F16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q5_K", "Q3_K", "Q2_K", "IQ4_NL", "IQ4_XS"] as const;

for (const dtype of OTHERS) {
  testUnless(missing, `cuda, 5 to 100 rows: matmul of ${dtype}`, () => {
    const rows = 272, cols = 768, plan = new OpPlan(VOCAB, [inputs(cols)]);
    const w = weight(plan, dtype, rows, cols, 6);
    plan.output(...plan.op("matmul", { in: [plan.inputs[0]!], w: [w] }, ["T", rows]));
    const want = (of: Weight, token: number) => [product(of(w), plan.input(0, token))];
    assertEquals(problems(plan, [rows], 2e-6, want), []);
  });
}

leakCheck();
