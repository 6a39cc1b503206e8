/** Ops on rows by themselves: norms, activations, arithmetic, routing. */
import { ACTIVATIONS, clampedGlu, layerNorm, rmsNorm, route, type RouteCase } from "./op_reference.ts";
import { EXACT, normals, type OpCase, rowsOf, someSteps } from "./op_case.ts";
import { type Operands, OpPlan } from "./op_plan.ts";
import { type OpName, UNARY_FUNCTIONS } from "../src/plan/op_table.ts";

const VOCAB = 48;
/** Smallest, odd, real; the last one with numbers of about 1e5. */
const SIZES: readonly { cols: number; size: number }[] = [
  { cols: 1, size: 1 },
  { cols: 7, size: 3 },
  { cols: 576, size: 1 },
  { cols: 100, size: 1e5 },
];

/** An op of one result like its inputs. `own` gives weights and numbers; `row` is a row of the result. */
function rowCase(
  op: OpName,
  name: string,
  { cols, size }: { cols: number; size: number },
  nInputs: number,
  own: (plan: OpPlan) => Operands,
  row: (x: readonly Float32Array[]) => ArrayLike<number>,
): OpCase {
  return {
    op,
    name: `${name === "" ? "" : `${name}, `}${cols} columns, |x| about ${size}`,
    make: () => {
      const tables = Array.from({ length: nInputs }, (_, k) => normals(cols + k, VOCAB * cols, size));
      const plan = new OpPlan(VOCAB, tables);
      plan.output(...plan.op(op, { in: plan.inputs, ...own(plan) }, ["T", cols]));
      const inputs = (token: number) => tables.map((_, k) => plan.input(k, token));
      return {
        plan,
        steps: someSteps(cols < 500 ? VOCAB : 16),
        want: (run) => [rowsOf(run, (token) => row(inputs(token)))],
        bound: EXACT,
      };
    },
  };
}

function normCases(): OpCase[] {
  return SIZES.flatMap((of) => {
    const { cols, size } = of;
    const [w, b, eps] = [normals(1, cols), normals(2, cols, size), 1e-5];
    const rms = (name: string, weight: Float32Array | undefined, group: number) =>
      rowCase("rmsNorm", name, of, 1, (p) => ({
        w: [weight === undefined ? 0 : p.vector(weight)],
        n: [group],
        f: [eps],
      }), ([x]) => rmsNorm(x!, weight, Math.fround(eps), group === 0 ? cols : group));
    const grouped = [36, 25].filter((group) => cols % group === 0).flatMap((group) => [
      rms(`groups of ${group}`, w.slice(0, group), group),
      rms(`groups of ${group}, a weight for every column`, w, group),
    ]);
    const layer = (name: string, bias: Float32Array | undefined) =>
      rowCase(
        "layerNorm",
        name,
        of,
        1,
        (p) => ({ w: [p.vector(w), bias === undefined ? 0 : p.vector(bias)], f: [eps] }),
        ([x]) => layerNorm(x!, w, bias, Math.fround(eps)),
      );
    return [rms("", w, 0), rms("no weight", undefined, 0), ...grouped, layer("bias", b), layer("no bias", undefined)];
  });
}

function activationCases(): OpCase[] {
  return SIZES.flatMap((of) => {
    const unary = UNARY_FUNCTIONS.map((name, i) =>
      rowCase("unary", name, of, 1, () => ({ n: [i] }), ([x]) => Float64Array.from(x!, ACTIVATIONS[i]!))
    );
    const glu = UNARY_FUNCTIONS.slice(0, 3).map((name, i) =>
      rowCase(
        "glu",
        name,
        of,
        2,
        () => ({ n: [i] }),
        ([x, y]) => Float64Array.from(x!, (v, j) => ACTIVATIONS[i]!(v) * y![j]!),
      )
    );
    const [alpha, limit] = [1.702, 7];
    const clamped = rowCase(
      "glu",
      "clamped",
      of,
      2,
      () => ({ n: [3], f: [alpha, limit] }),
      ([x, y]) => Float64Array.from(x!, (v, j) => clampedGlu(v, y![j]!, Math.fround(alpha), limit)),
    );
    return [...unary, ...glu, clamped];
  });
}

function arithmeticCases(): OpCase[] {
  return SIZES.flatMap((of) => {
    const w = normals(3, of.cols, of.size);
    const vector = (p: OpPlan) => ({ w: [p.vector(w)] });
    return [
      rowCase("add", "values", of, 2, () => ({}), ([x, y]) => Float64Array.from(x!, (v, i) => v + y![i]!)),
      rowCase("add", "a vector", of, 1, vector, ([x]) => Float64Array.from(x!, (v, i) => v + w[i]!)),
      rowCase("mul", "values", of, 2, () => ({}), ([x, y]) => Float64Array.from(x!, (v, i) => v * y![i]!)),
      rowCase("mul", "a vector", of, 1, vector, ([x]) => Float64Array.from(x!, (v, i) => v * w[i]!)),
      rowCase("scale", "", of, 1, () => ({ f: [-0.3] }), ([x]) => Float64Array.from(x!, (v) => v * Math.fround(-0.3))),
      rowCase("softcap", "", of, 1, () => ({ f: [30] }), ([x]) => Float64Array.from(x!, (v) => 30 * Math.tanh(v / 30))),
      rowCase("allReduce", "", of, 1, () => ({}), ([x]) => x!),
    ];
  });
}

/** Router and combination; logits of some tokens are equal: the lowest id wins. */
function routeCase(op: OpName, experts: number, { k, gating, bias, normalize, scale }: RouteCase): OpCase {
  const extras = `${bias === undefined ? "" : ", bias"}${normalize ? ", normalized" : ""}`;
  return {
    op,
    name: `${k} of ${experts}, gating ${gating}${extras}, scale ${scale}`,
    make: () => {
      const router = normals(experts, VOCAB * experts, 2).map((x, i) =>
        i % (3 * experts) < experts ? Math.round(x) : x
      );
      const cols = k * 5;
      const plan = new OpPlan(VOCAB, [router, normals(k, VOCAB * cols)]);
      const w = bias === undefined ? 0 : plan.vector(Float32Array.from(bias));
      const operands = { in: [plan.inputs[0]!], w: [w], n: [k, gating, normalize ? 1 : 0], f: [scale] };
      const [weights, ids] = plan.op("moeRoute", operands, ["Tk", 1], ["Tk", 1, "I32"]);
      const of = { k, gating, normalize, scale, ...(bias === undefined ? {} : { bias }) };
      const chosen = (token: number) => route(plan.input(0, token), of);
      if (op === "moeRoute") plan.output(weights!, ids!);
      else plan.output(...plan.op(op, { in: [weights!, weights!], n: [k] }, ["T", 1]));
      return {
        plan,
        steps: someSteps(VOCAB),
        want: (run) =>
          op === "moeRoute"
            ? [rowsOf(run, (token) => chosen(token).weights), rowsOf(run, (token) => chosen(token).ids)]
            : [rowsOf(run, (token) => [chosen(token).weights.reduce((sum, x) => sum + x * x, 0)])],
        bound: EXACT,
      };
    },
  };
}

/** Every case of rows by themselves. */
export function otherCases(): OpCase[] {
  const routes = [0, 1, 2].flatMap((gating) =>
    [true, false].flatMap((normalize) => [
      routeCase("moeRoute", 8, { k: 2, gating, normalize, scale: 1 }),
      routeCase("moeRoute", 33, { k: 6, gating, normalize, scale: 2.5, bias: normals(9, 33) }),
    ])
  );
  const single = routeCase("moeRoute", 1, { k: 1, gating: 0, normalize: false, scale: 1 });
  const combined = [1, 3, 8].map((k) => routeCase("moeCombine", 8, { k, gating: 2, normalize: false, scale: 1 }));
  return [...normCases(), ...activationCases(), ...arithmeticCases(), ...routes, single, ...combined];
}
