/**
 * The FFN phase by itself (ffn_cases.ts): every value of it against definitions in F64 when nothing is fused, its
 * result when everything is, that the two agree, and that steps leave nothing behind. On a machine with a GPU there,
 * too.
 */
import { assert, assertEquals } from "@std/assert";
import { FFN_CASES, FFN_STEPS, ffnBound, type FfnCase, ffnName, type FfnPlan, ffnPlan } from "./ffn_cases.ts";
import { noGpu } from "./gpu.ts";
import { OpEngine, type OpRun } from "./op_engine.ts";
import { rowsOf } from "./op_case.ts";
import { leakCheck, test, testUnless } from "./support.ts";

/** How a case is run: `deterministic` false takes the ways that depend on the number of rows. */
const WAYS = [
  { backend: "ref", deterministic: true },
  { backend: "cpu", deterministic: true },
  { backend: "cuda", deterministic: true },
  { backend: "cuda", deterministic: false },
] as const;

/** Sum of squared errors by sum of squares; NaN when a value is not a number. */
function normalizedError(got: Float32Array, want: ArrayLike<number>): number {
  let error = 0, square = 0;
  for (let i = 0; i < got.length; i++) {
    error += (got[i]! - want[i]!) ** 2;
    square += want[i]! ** 2;
  }
  return error / square;
}

/** A plan, and the rows that are known already: the same on every executor. */
interface Known extends FfnPlan {
  known: Map<number, ArrayLike<number>[]>;
}

const plans = new Map<FfnCase, { whole: Known; parts: Known }>();
/** The plans of a case, made once. */
function plansOf(of: FfnCase): { whole: Known; parts: Known } {
  const make = (separate: boolean): Known => ({ ...ffnPlan(of, separate), known: new Map() });
  const found = plans.get(of) ?? { whole: make(false), parts: make(true) };
  plans.set(of, found);
  return found;
}

/** Runs a plan; its outputs are what the definitions say. */
function run(engine: OpEngine, { plan, cols, want, known }: Known, bound: number, what: string): OpRun {
  const made = plan.run(engine, FFN_STEPS, () => true);
  const rowOf = (token: number): ArrayLike<number>[] => {
    const found = known.get(token) ?? want(made.weight, token);
    known.set(token, found);
    return found;
  };
  cols.forEach((n, k) => {
    const expected = rowsOf(made, (token) => rowOf(token)[k]!);
    assertEquals(made.outputs[k]!.length, expected.length);
    const error = normalizedError(made.outputs[k]!, expected);
    assert(error <= bound, `${what}: output ${k} of ${n} columns: error ${error}, bound ${bound}`);
  });
  return made;
}

/** Step 8 says what step 6 said, bit for bit. */
function assertNothingStays(of: OpRun, cols: readonly number[], what: string): void {
  const firstOf = (step: number): number => of.rows.findIndex((row) => row.step === step);
  const nRows = firstOf(7) - firstOf(6);
  cols.forEach((n, k) => {
    const rows = (step: number) => of.outputs[k]!.subarray(firstOf(step) * n, (firstOf(step) + nRows) * n);
    const before = rows(6), after = rows(8), between = rows(7);
    assert(before.some((x, i) => x !== between[i]), `${what}: output ${k}: the step between is another one`);
    const at = before.findIndex((x, i) => !Object.is(x, after[i]));
    assert(
      at < 0,
      `${what}: output ${k}, row ${Math.floor(at / n)}: ${after[at]} where the same step gave ${before[at]}`,
    );
  });
}

const engines = new Map<string, OpEngine>();
/** An engine for many cases: a GPU's takes a second to open. */
function engineOf({ backend, deterministic }: typeof WAYS[number], noFusion: boolean): OpEngine {
  const key = `${backend} ${deterministic} ${noFusion}`;
  const found = engines.get(key) ?? new OpEngine(backend, "auto", deterministic, { noFusion });
  engines.set(key, found);
  return found;
}

function check(of: FfnCase, way: typeof WAYS[number]): void {
  const { backend } = way, fusing = engineOf(way, false), plain = engineOf(way, true);
  const what = `${ffnName(of)} on ${backend}`, bound = ffnBound(of)[backend];
  const { whole, parts } = plansOf(of);
  const fused = run(fusing, whole, bound, `${what}, fused`);
  const unfused = backend === "ref" ? fused : run(plain, whole, bound, `${what}, unfused`); // ref fuses nothing
  run(fusing, parts, bound, `${what}, every value watched`);
  const error = normalizedError(fused.outputs.at(-1)!, unfused.outputs.at(-1)!);
  assert(error <= Math.min(bound, 1e-5), `${what}: fused against unfused: error ${error}`);
  assertNothingStays(fused, whole.cols, `${what}, fused`);
  assertNothingStays(unfused, whole.cols, `${what}, unfused`);
}

const missing = noGpu();
for (const of of FFN_CASES) {
  for (const way of WAYS) {
    const how = `${way.backend}${way.backend === "cuda" && way.deterministic ? ", deterministic" : ""}`;
    testUnless(way.backend === "cuda" ? missing : undefined, `ffn: ${ffnName(of)}: ${how}`, () => check(of, way));
  }
}

test("ffn: the engines close", () => {
  for (const engine of engines.values()) engine[Symbol.dispose]();
});

leakCheck();
