/**
 * The CUDA executor with many rows and without `deterministic`: the products and the attention of prompts, in F16 and
 * BF16 arithmetic with F32 sums, against F64 references. Without a GPU each is a named skip.
 */
import { assert, assertEquals } from "@std/assert";
import { type DTypeName, DTYPES } from "../src/dtype.ts";
import { USE_MATMUL } from "../src/weights/roles.ts";
import { relativeError } from "./divergence.ts";
import { GOLDEN_CASES, goldenModel } from "./golden_cases.ts";
import { noGpu } from "./gpu.ts";
import { normals, rowsOf } from "./op_case.ts";
import { OpEngine, type Part, type Row } from "./op_engine.ts";
import { OpPlan } from "./op_plan.ts";
import { ACTIVATIONS, attention, type AttentionCase, product } from "./op_reference.ts";
import { Random, randomWeights } from "./random_blocks.ts";
import { StepRunner, testModel } from "./step_runner.ts";
import { leakCheck, testUnless } from "./support.ts";

const missing = noGpu();
const VOCAB = 48;
const F16_CACHE = 1;

function tokens(first: number, n: number): number[] {
  return Array.from({ length: n }, (_, i) => (first + 7 * i) % VOCAB);
}

/** 100 rows, then 77 of two sequences, of which one goes on when there is a cache: no multiples of any tile. */
function stepsOf(nPast: number): Part[][] {
  return [
    [{ slot: 0, nPast: 0, tokens: tokens(0, 100) }],
    [{ slot: 1, nPast: 0, tokens: tokens(11, 60) }, { slot: 0, nPast, tokens: tokens(5, 17) }],
  ];
}

/** Sum of squared errors by sum of squares of the worst row; NaN when a value is not a number. */
function worstRow(got: Float32Array, want: Float64Array, cols: number): number {
  let worst = 0;
  for (let first = 0; first < got.length; first += cols) {
    let error = 0, square = 0;
    for (let i = first; i < first + cols; i++) {
      error += (got[i]! - want[i]!) ** 2;
      square += want[i]! ** 2;
    }
    if (!(error / square <= worst)) worst = error / square;
  }
  return worst;
}

/** 16-bit roundings of weights, activations and scales, each relative 2^-12 (F16) or 2^-9 (BF16) at most. */
function boundOf(dtype: DTypeName): number {
  return dtype === "F32" ? 1e-11 : dtype === "BF16" ? 3e-5 : 2e-6;
}

/** Problems of outputs of `cols` columns each. */
function problems(
  plan: OpPlan,
  cols: readonly number[],
  bound: number,
  want: (weight: (id: number) => Float32Array, token: number) => ArrayLike<number>[],
): string[] {
  using engine = new OpEngine("cuda", "auto", false);
  const run = plan.run(engine, stepsOf(0), () => true);
  return run.outputs.flatMap((got, k) => {
    const error = worstRow(got, rowsOf(run, (token) => want(run.weight, token)[k]!), cols[k]!);
    return error <= bound ? [] : [`output ${k}: error ${error}, bound ${bound}`];
  });
}

/** Activations of very different sizes: each row must be scaled by itself. */
function rowsOfAllSizes(seed: number, cols: number): Float32Array {
  return normals(seed, VOCAB * cols).map((x, i) => x * 2 ** (Math.floor(i / cols) % 9 * 4 - 12));
}

for (const { name: dtype, blockSize } of DTYPES) {
  // Records of 16 rows x 256 columns where there are such; and what no tile divides.
  const shapes = [[272, 768], [70, blockSize === 1 ? 101 : blockSize * 3]] as const;
  for (const [rows, cols] of shapes) {
    testUnless(missing, `cuda, many rows: matmul ${dtype} ${rows} x ${cols}`, () => {
      const plan = new OpPlan(VOCAB, [rowsOfAllSizes(rows, cols)]);
      const bytes = randomWeights(new Random(cols), dtype, rows, cols, 0.1);
      const w = plan.weight(USE_MATMUL, dtype, rows, cols, bytes), bias = plan.vector(normals(7, rows, 1e-3));
      plan.output(...plan.op("matmul", { in: [plan.inputs[0]!], w: [w, bias] }, ["T", rows]));
      const want = (weight: (id: number) => Float32Array, token: number) => [
        product(weight(w), plan.input(0, token), weight(bias)),
      ];
      assertEquals(problems(plan, [rows], boundOf(dtype), want), []);
    });
  }
}

for (const dtype of ["Q4_K", "Q6_K", "Q8_0", "BF16"] as const) {
  for (const [kind, name] of ["silu", "gelu"].entries()) {
    testUnless(missing, `cuda, many rows: gate, up and ${name} of ${dtype}, fused`, () => {
      const rows = 176, cols = 512, plan = new OpPlan(VOCAB, [normals(3, VOCAB * cols)]);
      const matrices = [1, 2].map((seed) => randomWeights(new Random(seed), dtype, rows, cols, 0.1));
      const w = matrices.map((bytes) => plan.weight(USE_MATMUL, dtype, rows, cols, bytes));
      const [gate, up] = w.map((id) => plan.op("matmul", { in: [plan.inputs[0]!], w: [id] }, ["T", rows])[0]!);
      plan.output(...plan.op("glu", { in: [gate!, up!], n: [kind] }, ["T", rows]));
      const want = (weight: (id: number) => Float32Array, token: number) => {
        const [a, b] = w.map((id) => product(weight(id), plan.input(0, token)));
        return [a!.map((x, i) => ACTIVATIONS[kind]!(x) * b![i]!)];
      };
      assertEquals(problems(plan, [rows], 3 * boundOf(dtype), want), []);
    });
  }

  testUnless(missing, `cuda, many rows: three matmuls of one input and a residual of ${dtype}, fused`, () => {
    const cols = 512, sizes = [144, 80, 80], plan = new OpPlan(VOCAB, [normals(3, VOCAB * cols)]);
    const w = sizes.map((rows) =>
      plan.weight(USE_MATMUL, dtype, rows, cols, randomWeights(new Random(rows), dtype, rows, cols, 0.1))
    );
    const bias = plan.vector(normals(9, sizes[0]!));
    const outs = w.map((id, i) =>
      plan.op("matmul", { in: [plan.inputs[0]!], w: [id, i === 0 ? bias : 0] }, ["T", sizes[i]!])[0]!
    );
    const last = plan.weight(USE_MATMUL, dtype, cols, cols, randomWeights(new Random(5), dtype, cols, cols, 0.1));
    const [more] = plan.op("matmul", { in: [plan.inputs[0]!], w: [last] }, ["T", cols]);
    const [sum] = plan.op("add", { in: [plan.inputs[0]!, more!] }, ["T", cols]);
    plan.output(...outs, sum!);
    const want = (weight: (id: number) => Float32Array, token: number) => {
      const x = plan.input(0, token);
      const added = product(weight(last), x).map((y, i) => y + x[i]!);
      return [...w.map((id, i) => product(weight(id), x, i === 0 ? weight(bias) : undefined)), added];
    };
    assertEquals(problems(plan, [...sizes, cols], boundOf(dtype), want), []);
  });
}

/** For each row the rows it sees: the last `window` of its sequence up to its position. */
function seenBy(rows: readonly Row[], window: number): Row[][] {
  const first = (position: number) => window === 0 ? 0 : Math.max(0, position - window + 1);
  return rows.map(({ slot, position }) =>
    rows.filter((row) => row.slot === slot && row.position <= position && row.position >= first(position))
  );
}

type Shape = Omit<AttentionCase, "keyDim" | "valueDim" | "scale"> & { dim: number; window?: number };

const SHAPES: Shape[] = [
  { heads: 2, kvHeads: 2, dim: 64 },
  { heads: 8, kvHeads: 2, dim: 64, window: 23 },
  { heads: 7, kvHeads: 1, dim: 128 },
  { heads: 8, kvHeads: 2, dim: 128, window: 50, softcap: 4 },
  { heads: 3, kvHeads: 1, dim: 128, sinks: Float32Array.of(-1, 3, 0.5), window: 5 },
];

for (const { heads, kvHeads, dim, window = 0, ...more } of SHAPES) {
  const extras = `window ${window}, softcap ${more.softcap ?? 0}${more.sinks === undefined ? "" : ", sinks"}`;
  testUnless(missing, `cuda, many rows: attention, ${heads} heads over ${kvHeads} of ${dim}, ${extras}`, () => {
    const cols = [heads * dim, kvHeads * dim, kvHeads * dim], scale = 1.5 / Math.sqrt(dim);
    const plan = new OpPlan(VOCAB, cols.map((n, i) => normals(n + i, VOCAB * n)));
    const [q, k, v] = plan.inputs as [number, number, number];
    const w = more.sinks === undefined ? 0 : plan.vector(Float32Array.from(more.sinks));
    plan.groups.push({ nLayers: 2, kCols: cols[1]!, vCols: cols[2]!, window });
    plan.op("kvWrite", { in: [v, k], n: [0, 0] }); // another layer: must not matter
    plan.op("kvWrite", { in: [k, v], n: [0, 1] });
    const n = [0, 1, heads, kvHeads, dim, dim, 0, window];
    plan.output(...plan.op("attention", { in: [q], w: [w], n, f: [scale, more.softcap ?? 0] }, ["T", heads * dim]));
    using engine = new OpEngine("cuda", "auto", false);
    const run = plan.run(engine, stepsOf(100), () => true, F16_CACHE);
    const of = { heads, kvHeads, keyDim: dim, valueDim: dim, scale, ...more };
    const want = Float64Array.from(
      seenBy(run.rows, window).flatMap((seen, i) => {
        const [keys, values] = [1, 2].map((input) => seen.map(({ token }) => plan.input(input, token)));
        return [...attention(plan.input(0, run.rows[i]!.token), keys!, values!, of)];
      }),
    );
    const error = worstRow(run.outputs[0]!, want, dim);
    assertEquals(error <= 2e-5 ? [] : [`error of the worst row and head ${error}`], []); // F16 keys, values, queries
  });
}

/** Steps of one token for each of n sequences repeat a captured graph: each sees its own tokens and pages. */
for (const n of [9, 16, 33, 64]) {
  testUnless(missing, `cuda, many rows: ${n} sequences decode together as the plain kernels have them`, async () => {
    const model = await testModel(goldenModel(GOLDEN_CASES.find(({ name }) => name === "llama-mixed")!));
    const sizes = { backend: "cuda", slots: n, contextSize: 64, maxTokens: 512 } as const;
    using fast = new StepRunner(model, { ...sizes, deterministic: false });
    using plain = new StepRunner(model, { ...sizes, deterministic: true });
    const prompt = (slot: number): number[] => tokens(slot, 1 + slot % 7);
    const prompts = Array.from({ length: n }, (_, slot) => ({ slot, nPast: 0, tokens: prompt(slot) }));
    for (const runner of [fast, plain]) runner.step(prompts.map((part) => ({ ...part, want: "none" })));
    for (let step = 0; step < 4; step++) {
      const parts = prompts.map(({ slot, tokens: { length } }) => ({
        slot,
        nPast: length + step,
        tokens: [(3 * slot + 5 * step) % VOCAB],
      }));
      const error = relativeError(plain.step(parts), fast.step(parts));
      assert(error < 5e-3, `step ${step}: ${error}`);
    }
  });
}

leakCheck();
