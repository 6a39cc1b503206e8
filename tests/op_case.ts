/** A case of tests/ops_test.ts, and what cases are made of. */
import type { OpRun, Part } from "./op_engine.ts";
import type { OpPlan } from "./op_plan.ts";
import type { OpName } from "../src/plan/op_table.ts";
import { Random } from "./random_blocks.ts";

/** The largest error an executor may have. */
export interface Bound {
  ref: number;
  cpu: number;
}

/** A plan with its inputs, and what it should compute. */
export interface OpExpectation {
  plan: OpPlan;
  steps: readonly (readonly Part[])[];
  /** Rows that the outs select; default all. */
  select?: (row: number) => boolean;
  /** Type number of the cache; default F32. */
  kvDtype?: number;
  /** Each output's rows. */
  want: (run: OpRun) => ArrayLike<number>[];
  bound: Bound;
}

/** One row of the table: made when its turn comes. */
export interface OpCase {
  op: OpName;
  name: string;
  /** What not every executor has. */
  only?: keyof Bound;
  make: () => OpExpectation;
}

/** F32 results of F64 arithmetic (ref) and of F32 arithmetic (cpu). */
export const EXACT: Bound = { ref: 1e-13, cpu: 1e-11 };

/** `n` normal numbers. */
export function normals(seed: number, n: number, scale = 1): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: n }, () => random.normal() * scale);
}

/** Tokens 0 ... n - 1 in sequences of one to a few tokens; steps of 1, 5 and the rest, so that every way is taken. */
export function someSteps(n: number): Part[][] {
  const ids = Array.from({ length: n }, (_, i) => i);
  const [one, few, many] = [ids.slice(0, 1), ids.slice(1, 6), ids.slice(6)];
  const steps: Part[][] = [[{ slot: 0, nPast: 0, tokens: one }]];
  if (few.length > 1) {
    steps.push([{ slot: 0, nPast: 0, tokens: few.slice(0, 1) }, { slot: 1, nPast: 0, tokens: few.slice(1) }]);
  }
  if (many.length > 0) steps.push([{ slot: 2, nPast: 0, tokens: many }]);
  return steps;
}

/** The rows of all tokens, one after another. */
export function rowsOf(run: OpRun, row: (token: number, position: number) => ArrayLike<number>): Float64Array {
  return Float64Array.from(run.rows.flatMap(({ token, position }) => Array.from(row(token, position))));
}
