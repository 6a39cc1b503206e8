/** Ops over weight matrices: embed, matmul, headMatmul, logits, moeMatmul. */
import { type DTypeName, DTYPES } from "../src/dtype.ts";
import { USE_MATMUL, USE_MOE } from "../src/weights/roles.ts";
import { type Bound, EXACT, normals, type OpCase, rowsOf, someSteps } from "./op_case.ts";
import { OpPlan } from "./op_plan.ts";
import { product, route } from "./op_reference.ts";
import { Random, randomWeights } from "./random_blocks.ts";

const VOCAB = 48;
const NAMES: readonly DTypeName[] = DTYPES.map(({ name }) => name);

/** Activations may be BF16 where the weights are, and int8 in blocks of 32 where those are quantized. */
function boundOf(dtype: DTypeName): Bound {
  if (dtype === "BF16") return { ref: 1e-13, cpu: 1.5e-5 };
  return dtype === "F32" || dtype === "F16" ? EXACT : { ref: 1e-13, cpu: 2e-4 };
}

/** [rows, cols] of a dtype: smallest, odd, more rows than a stripe, and of a real model. */
function shapesOf(blockSize: number): [number, number][] {
  if (blockSize === 1) return [[1, 1], [3, 5], [33, 100], [70, 576]];
  if (blockSize === 32) return [[1, 32], [17, 96], [33, 160], [70, 576]];
  return [[1, 256], [17, 512], [33, 768], [70, 1536]];
}

function embedCases(): OpCase[] {
  return DTYPES.flatMap(({ name, blockSize }, seed) =>
    [1, 0.25].map((scale): OpCase => ({
      op: "embed",
      name: `${name} x ${scale}`,
      make: () => {
        const cols = blockSize * 3;
        const plan = new OpPlan(VOCAB, [new Float32Array(VOCAB * cols)]);
        plan.output(plan.embed(randomWeights(new Random(seed), name, VOCAB, cols, 1), name, scale));
        const row = (table: Float32Array, token: number) => table.subarray(token * cols, (token + 1) * cols);
        return {
          plan,
          steps: someSteps(VOCAB),
          want: (run) => [rowsOf(run, (token) => row(run.weight(2), token).map((x) => x * scale))],
          bound: EXACT,
        };
      },
    }))
  );
}

function matmulCase(dtype: DTypeName, rows: number, cols: number, withBias: boolean, size = 1): OpCase {
  return {
    op: "matmul",
    name: `${dtype} ${rows} x ${cols}${withBias ? " + bias" : ""}${size === 1 ? "" : `, |x| about ${size}`}`,
    make: () => {
      const plan = new OpPlan(VOCAB, [normals(rows, VOCAB * cols, size)]);
      const w = plan.weight(USE_MATMUL, dtype, rows, cols, randomWeights(new Random(cols), dtype, rows, cols, 0.1));
      const bias = withBias ? plan.vector(normals(7, rows, size)) : 0;
      plan.output(...plan.op("matmul", { in: [plan.inputs[0]!], w: [w, bias] }, ["T", rows]));
      const biasOf = (weight: (id: number) => Float32Array) => bias === 0 ? undefined : weight(bias);
      return {
        plan,
        steps: someSteps(rows < 70 ? VOCAB : 20),
        want: ({ weight, ...run }) => [
          rowsOf({ weight, ...run }, (token) => product(weight(w), plan.input(0, token), biasOf(weight))),
        ],
        bound: boundOf(dtype),
      };
    },
  };
}

function headMatmulCase(dtype: DTypeName, heads: number, rows: number, cols: number): OpCase {
  return {
    op: "headMatmul",
    name: `${dtype}, ${heads} heads of ${rows} x ${cols}`,
    make: () => {
      const plan = new OpPlan(VOCAB, [normals(rows, VOCAB * heads * cols)]);
      const bytes = randomWeights(new Random(cols), dtype, heads * rows, cols, 0.1);
      const w = plan.weight(USE_MATMUL, dtype, heads * rows, cols, bytes);
      plan.output(...plan.op("headMatmul", { in: [plan.inputs[0]!], w: [w], n: [heads] }, ["T", heads * rows]));
      const heads0 = Array.from({ length: heads }, (_, h) => h);
      return {
        plan,
        steps: someSteps(VOCAB),
        want: (run) => {
          const part = (h: number) => run.weight(w).subarray(h * rows * cols, (h + 1) * rows * cols);
          return [
            rowsOf(
              run,
              (token) =>
                heads0.flatMap((h) => [...product(part(h), plan.input(0, token).subarray(h * cols, (h + 1) * cols))]),
            ),
          ];
        },
        bound: boundOf(dtype),
      };
    },
  };
}

function logitsCase(dtype: DTypeName, cols: number, options: { bias?: boolean; scale?: number; cap?: number }): OpCase {
  const { bias = false, scale = 1, cap = 0 } = options;
  return {
    op: "logits",
    name: `${dtype} ${VOCAB} x ${cols}, scale ${scale}, softcap ${cap}${bias ? ", bias" : ""}`,
    make: () => {
      const plan = new OpPlan(VOCAB, [normals(cols, VOCAB * cols)]);
      const w = plan.weight(USE_MATMUL, dtype, VOCAB, cols, randomWeights(new Random(cols), dtype, VOCAB, cols, 0.3));
      const b = bias ? plan.vector(normals(8, VOCAB)) : 0;
      const [selected] = plan.op("selectRows", { in: [plan.inputs[0]!] }, ["R", cols]);
      plan.output(...plan.op("logits", { in: [selected!], w: [w, b], f: [cap, scale] }, ["R", VOCAB]));
      const finish = (y: number) => cap === 0 ? y * scale : cap * Math.tanh(y * scale / cap);
      return {
        plan,
        steps: someSteps(VOCAB),
        select: (row) => row % 3 !== 1,
        want: (run) => {
          const row = (token: number) =>
            product(run.weight(w), plan.input(0, token), b === 0 ? undefined : run.weight(b)).map(finish);
          return [rowsOf({ ...run, rows: run.rows.filter(({ selected }) => selected) }, row)];
        },
        bound: boundOf(dtype),
      };
    },
  };
}

/** x through the chosen experts' first matrices ([T] input), then their second ones ([Tk] input). */
function moeCase(dtype: DTypeName, experts: number, k: number, rows: number, cols: number): OpCase {
  return {
    op: "moeMatmul",
    name: `${dtype}, ${k} of ${experts} experts, ${rows} x ${cols}`,
    make: () => {
      const plan = new OpPlan(VOCAB, [normals(cols, VOCAB * cols), normals(experts, VOCAB * experts)]);
      const random = new Random(rows);
      const up = plan.weight(
        USE_MOE,
        dtype,
        rows,
        cols,
        randomWeights(random, dtype, experts * rows, cols, 0.1),
        experts,
      );
      const down = plan.weight(
        USE_MOE,
        dtype,
        cols,
        rows,
        randomWeights(random, dtype, experts * cols, rows, 0.1),
        experts,
      );
      const [, ids] = plan.op("moeRoute", { in: [plan.inputs[1]!], n: [k], f: [1] }, ["Tk", 1], ["Tk", 1, "I32"]);
      const [y] = plan.op("moeMatmul", { in: [plan.inputs[0]!, ids!], w: [up], n: [k] }, ["Tk", rows]);
      const [z] = plan.op("moeMatmul", { in: [y!, ids!], w: [down], n: [k] }, ["Tk", cols]);
      plan.output(y!, z!);
      const through = (w: Float32Array, e: number, x: Float32Array | Float64Array) => {
        const size = w.length / experts;
        return product(w.subarray(e * size, (e + 1) * size), x);
      };
      const chosen = (token: number) => route(plan.input(1, token), { k, gating: 0, normalize: false, scale: 1 }).ids;
      return {
        plan,
        steps: someSteps(cols < 100 ? VOCAB : 12),
        want: (run) => {
          const first = (token: number) => chosen(token).map((e) => through(run.weight(up), e, plan.input(0, token)));
          const second = (token: number) => first(token).map((x, j) => through(run.weight(down), chosen(token)[j]!, x));
          return [first, second].map((of) => rowsOf(run, (token) => of(token).flatMap((x) => [...x])));
        },
        bound: boundOf(dtype),
      };
    },
  };
}

/** Every case over matrices. */
export function matrixCases(): OpCase[] {
  const products = DTYPES.flatMap(({ name, blockSize }) =>
    shapesOf(blockSize).map(([rows, cols], i) => matmulCase(name, rows, cols, i % 2 === 1))
  );
  const large = NAMES.map((name) => matmulCase(name, 17, 512, true, 1e5));
  const heads = [
    headMatmulCase("F32", 1, 1, 1),
    headMatmulCase("F16", 3, 5, 7),
    headMatmulCase("Q8_0", 4, 24, 32),
    headMatmulCase("Q4_K", 2, 33, 256),
  ];
  const logits = [
    logitsCase("F32", 5, { scale: 0.5 }),
    logitsCase("Q8_0", 96, { cap: 2, bias: true }),
    logitsCase("Q6_K", 256, { cap: 8, scale: 0.5 }),
    logitsCase("BF16", 75, { bias: true, scale: -1 }),
  ];
  const experts = [
    moeCase("F32", 1, 1, 3, 5),
    moeCase("F32", 5, 5, 7, 3),
    ...NAMES.map((name) => moeCase(name, 3, 2, 256, 256)),
    moeCase("Q8_0", 40, 8, 32, 64),
  ];
  return [...embedCases(), ...products, ...large, ...heads, ...logits, ...experts];
}
