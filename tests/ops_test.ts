/**
 * Every op on every executor and instruction set of this machine: each dtype, the smallest, odd and real shapes,
 * against definitions in F64 that share no code with csrc (op_reference.ts). One measure: the squared error relative to
 * the squares of what is expected; an executor may choose the format of its operands within the bound of the op.
 */
import { assert, assertEquals } from "@std/assert";
import { matrixCases } from "./op_cases_matrix.ts";
import { otherCases } from "./op_cases_other.ts";
import { attentionCases } from "./op_cases_attention.ts";
import type { Bound, OpCase, OpExpectation } from "./op_case.ts";
import { OpEngine } from "./op_engine.ts";
import { OPS } from "../src/plan/op_table.ts";
import { ISAS } from "../src/platform/abi.ts";
import { leakCheck, test } from "./support.ts";

const CASES: readonly OpCase[] = [...matrixCases(), ...otherCases(), ...attentionCases()];

/** Sum of squared errors by sum of squares; NaN when a value is not a number. */
function normalizedError(got: Float32Array, want: ArrayLike<number>): number {
  let error = 0, square = 0;
  for (let i = 0; i < got.length; i++) {
    error += (got[i]! - want[i]!) ** 2;
    square += want[i]! ** 2;
  }
  return square === 0 ? error : error / square;
}

type Executor = readonly [name: keyof Bound, isa: keyof typeof ISAS];
const EXECUTORS: readonly Executor[] = [
  ["ref", "auto"],
  ...(Object.keys(ISAS) as (keyof typeof ISAS)[]).filter((isa) => isa !== "auto" && isa !== "ptx").map((isa) =>
    ["cpu", isa] as const
  ),
];

/** Runs a case on an executor and compares; `known` is what another one was compared with. */
function check(
  engine: OpEngine,
  [backend, isa]: Executor,
  of: OpCase,
  made: OpExpectation,
  known?: ArrayLike<number>[],
) {
  const { plan, steps, select = () => true, kvDtype = 0, want, bound } = made;
  const run = plan.run(engine, steps, select, kvDtype);
  const expected = known ?? want(run);
  const what = `${of.op} ${of.name} on ${backend} (${isa})`;
  assertEquals(run.outputs.map((o) => o.length), expected.map((e) => e.length), `${what}: sizes`);
  run.outputs.forEach((got, i) => {
    const error = normalizedError(got, expected[i]!);
    assert(error <= bound[backend], `${what}: output ${i}: error ${error}, bound ${bound[backend]}`);
  });
  return expected;
}

for (const op of Object.keys(OPS)) {
  const cases = CASES.filter((of) => of.op === op);
  test(`ops: ${op}, ${cases.length} cases`, () => {
    assert(cases.length > 0, "an op without a case");
    const engines = EXECUTORS.map((executor) => ({ executor, engine: new OpEngine(...executor) }));
    try {
      const here = engines.filter(({ engine }) => engine.usable);
      assert(here.length >= 2, "ref, and cpu with some instruction set");
      for (const of of cases) {
        const made = of.make();
        let expected: ArrayLike<number>[] | undefined;
        for (const { engine, executor } of here) {
          if ((of.only ?? executor[0]) === executor[0]) expected = check(engine, executor, of, made, expected);
        }
      }
    } finally {
      for (const { engine } of engines) engine[Symbol.dispose]();
    }
  });
}

leakCheck();
