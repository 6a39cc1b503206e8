/**
 * The FFN phase of a layer as plans: RMSNorm, gate and up, SwiGLU, down, residual; with the mixes of weight types that
 * real files have, and with shapes that no tile divides.
 */
import { type DTypeName, dtypeOfName } from "../src/dtype.ts";
import { USE_MATMUL } from "../src/weights/roles.ts";
import { normals } from "./op_case.ts";
import type { Part } from "./op_engine.ts";
import { OpPlan } from "./op_plan.ts";
import { ACTIVATIONS, product, rmsNorm } from "./op_reference.ts";
import { Random, randomWeights } from "./random_blocks.ts";

export const FFN_VOCAB = 48;
const EPS = 1e-5;

/** Types and sizes of one. */
export interface FfnCase {
  gate: DTypeName;
  up: DTypeName;
  down: DTypeName;
  /** Columns of the residual stream, and of what SwiGLU makes. */
  hidden: number;
  inner: number;
  /** One phase after another over the same stream. */
  phases: number;
  /** The stream before each phase is used afterwards, too: the sum may not take its place. */
  kept: boolean;
  /** The residual is the second operand of the sum. */
  residualLast: boolean;
}

function ffnCase(
  gate: DTypeName,
  down: DTypeName,
  hidden: number,
  inner: number,
  more: Partial<FfnCase> = {},
): FfnCase {
  return { gate, up: gate, down, hidden, inner, phases: 1, kept: false, residualLast: false, ...more };
}

/** As llama.cpp's mixes have it: _M has six bits where it matters, rows without blocks of 256 get Q5_0 or Q8_0. */
export const FFN_CASES: readonly FfnCase[] = [
  ffnCase("Q4_K", "Q6_K", 256, 512),
  ffnCase("Q4_K", "Q6_K", 256, 512, { phases: 3, kept: true, residualLast: true }),
  ffnCase("Q4_K", "Q6_K", 512, 768, { up: "Q6_K" }),
  ffnCase("Q4_K", "Q4_K", 256, 256, { residualLast: true }),
  ffnCase("Q4_K", "Q5_0", 256, 288),
  ffnCase("Q4_K", "Q8_0", 256, 352, { kept: true }),
  ffnCase("Q5_K", "Q6_K", 256, 512, { phases: 2 }),
  ffnCase("Q3_K", "Q5_K", 256, 256),
  ffnCase("Q2_K", "Q3_K", 256, 256),
  ffnCase("IQ4_XS", "Q5_K", 256, 512),
  ffnCase("Q4_0", "Q4_0", 96, 160, { phases: 2 }),
  ffnCase("Q4_0", "Q4_1", 64, 224, { kept: true }),
  ffnCase("Q5_1", "Q5_0", 160, 96),
  ffnCase("IQ4_NL", "Q5_1", 96, 96),
  ffnCase("Q8_0", "Q8_0", 256, 512, { phases: 3, residualLast: true }),
  ffnCase("Q8_0", "Q8_0", 96, 160),
  ffnCase("BF16", "BF16", 256, 512, { phases: 2 }),
  ffnCase("BF16", "BF16", 100, 67, { kept: true }),
  ffnCase("F16", "F16", 100, 67),
  ffnCase("F16", "Q8_0", 75, 64, { residualLast: true }),
  ffnCase("F32", "F32", 33, 70, { phases: 2, kept: true }),
];

/** For the names of tests. */
export function ffnName({ gate, up, down, hidden, inner, phases, kept, residualLast }: FfnCase): string {
  const types = `${gate}${up === gate ? "" : ` and ${up}`} with ${down} down`;
  const extras = [phases > 1 ? `${phases} phases` : "", kept ? "kept" : "", residualLast ? "residual last" : ""];
  return [`${types}, ${hidden} x ${inner}`, ...extras.filter((text) => text !== "")].join(", ");
}

/** Squared relative errors: of the executor's arithmetic, with operands in 8 or 16 bits where the weights are. */
export function ffnBound({ gate, down, phases }: FfnCase): { ref: number; cpu: number; cuda: number } {
  const wide = [gate, down].every((name) => name === "F32" || name === "F16");
  const brain = gate === "BF16" || down === "BF16";
  const plain = gate === "F32" && down === "F32";
  return {
    ref: 1e-12,
    cpu: phases * (wide ? 1e-11 : brain ? 3e-5 : 3e-4),
    cuda: phases * (plain ? 1e-11 : brain ? 6e-5 : 6e-6),
  };
}

/** The plan, and what it computes. `separate`: every value is an output, so that nothing can be fused. */
export interface FfnPlan {
  plan: OpPlan;
  /** Columns of each output; the last one is the stream at the end. */
  cols: readonly number[];
  /** Each output for a token. */
  want: (weight: (id: number) => Float32Array, token: number) => ArrayLike<number>[];
}

interface Phase {
  norm: number;
  gate: number;
  up: number;
  down: number;
}

/** Makes a case's plan. */
export function ffnPlan(of: FfnCase, separate: boolean): FfnPlan {
  const { hidden, inner, phases } = of;
  const plan = new OpPlan(FFN_VOCAB, [normals(hidden, FFN_VOCAB * hidden)]);
  const matrix = (seed: number, name: DTypeName, rows: number, cols: number, gain: number): number => {
    const bytes = randomWeights(new Random(seed), name, rows, cols, gain / Math.sqrt(cols));
    if (cols % dtypeOfName(name).blockSize !== 0) throw new Error(`${name} has no rows of ${cols}`);
    return plan.weight(USE_MATMUL, name, rows, cols, bytes);
  };
  const made: Phase[] = [], outputs: number[] = [], cols: number[] = [];
  const output = (wanted: boolean, value: number, n: number): void => {
    if (!wanted) return;
    outputs.push(value);
    cols.push(n);
  };
  let x = plan.inputs[0]!;
  for (let i = 0; i < phases; i++) {
    const w = {
      norm: plan.vector(normals(50 + i, hidden).map((v) => 1 + 0.2 * v)),
      gate: matrix(10 * i + 1, of.gate, inner, hidden, 1),
      up: matrix(10 * i + 2, of.up, inner, hidden, 1),
      down: matrix(10 * i + 3, of.down, hidden, inner, 2),
    };
    made.push(w);
    const [n] = plan.op("rmsNorm", { in: [x], w: [w.norm], f: [EPS] }, ["T", hidden]);
    const [gate] = plan.op("matmul", { in: [n!], w: [w.gate] }, ["T", inner]);
    const [up] = plan.op("matmul", { in: [n!], w: [w.up] }, ["T", inner]);
    const [act] = plan.op("glu", { in: [gate!, up!], n: [0] }, ["T", inner]);
    const [down] = plan.op("matmul", { in: [act!], w: [w.down] }, ["T", hidden]);
    const [sum] = plan.op("add", { in: of.residualLast ? [down!, x] : [x, down!] }, ["T", hidden]);
    output(of.kept, x, hidden);
    [n!, gate!, up!, act!, down!].forEach((value, k) => output(separate, value, k === 0 || k === 4 ? hidden : inner));
    output(separate || i === phases - 1, sum!, hidden);
    x = sum!;
  }
  plan.output(...outputs);
  return { plan, cols, want: (weight, token) => wanted(of, separate, made, plan.input(0, token), weight) };
}

function wanted(
  of: FfnCase,
  separate: boolean,
  phases: readonly Phase[],
  row: Float32Array,
  weight: (id: number) => Float32Array,
): ArrayLike<number>[] {
  const out: ArrayLike<number>[] = [];
  let x: Float64Array = Float64Array.from(row);
  for (const [i, w] of phases.entries()) {
    if (of.kept) out.push(x);
    const n = rmsNorm(x, weight(w.norm), Math.fround(EPS), of.hidden);
    const gate = product(weight(w.gate), n), up = product(weight(w.up), n);
    const act = gate.map((g, j) => ACTIVATIONS[0]!(g) * up[j]!);
    const down = product(weight(w.down), act);
    if (separate) out.push(n, gate, up, act, down);
    x = x.map((v, j) => v + down[j]!);
    if (separate || i === phases.length - 1) out.push(x);
  }
  return out;
}

function tokens(first: number, n: number): number[] {
  return Array.from({ length: n }, (_, i) => (first + 7 * i) % FFN_VOCAB);
}

/**
 * Row counts around the sizes at which executors change their ways. Steps 0 and 1, and 6, 7 and 8, are of one shape
 * with other tokens; step 8 repeats step 6: an image of the activations that outlives its step would show.
 */
export const FFN_STEPS: readonly (readonly Part[])[] = [
  [{ slot: 0, nPast: 0, tokens: [3] }],
  [{ slot: 1, nPast: 0, tokens: [4] }],
  [0, 1, 2].map((slot) => ({ slot, nPast: 0, tokens: [9 + slot] })),
  [{ slot: 0, nPast: 0, tokens: tokens(1, 5) }, { slot: 3, nPast: 0, tokens: tokens(2, 3) }],
  [{ slot: 2, nPast: 0, tokens: tokens(5, 9) }],
  [{ slot: 2, nPast: 0, tokens: tokens(6, 67) }],
  [{ slot: 0, nPast: 0, tokens: tokens(0, 33) }, { slot: 1, nPast: 0, tokens: tokens(8, 12) }],
  [{ slot: 0, nPast: 0, tokens: tokens(11, 33) }, { slot: 1, nPast: 0, tokens: tokens(3, 12) }],
  [{ slot: 0, nPast: 0, tokens: tokens(0, 33) }, { slot: 1, nPast: 0, tokens: tokens(8, 12) }],
];
