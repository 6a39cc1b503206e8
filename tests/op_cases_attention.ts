/** Ops that look at positions and sequences: rope, kvWrite, attention, selectRows, pool. */
import { attention, type AttentionCase, rope } from "./op_reference.ts";
import { type Bound, EXACT, normals, type OpCase, rowsOf, someSteps } from "./op_case.ts";
import type { OpRun, Part, Row } from "./op_engine.ts";
import { OpPlan } from "./op_plan.ts";
import type { OpName } from "../src/plan/op_table.ts";

const VOCAB = 64;
const F32 = 0, F16 = 1, Q8_0 = 8;

/** A prompt, its continuation in chunks beside another sequence, decodes: pages of 16 are crossed in every way. */
const STEPS: readonly (readonly Part[])[] = [
  [{ slot: 2, nPast: 0, tokens: span(0, 21) }],
  [{ slot: 2, nPast: 21, tokens: span(21, 13) }, { slot: 0, nPast: 0, tokens: span(40, 5) }],
  [{ slot: 0, nPast: 5, tokens: [50] }, { slot: 2, nPast: 34, tokens: [51] }, { slot: 1, nPast: 0, tokens: [52] }],
  [{ slot: 2, nPast: 35, tokens: [53] }],
  [{ slot: 2, nPast: 15, tokens: [54, 55] }], // a rewind
];

function span(first: number, n: number): number[] {
  return Array.from({ length: n }, (_, i) => first + i);
}

/** `fastest`: the first frequency; a large one stands for large positions. */
function ropeCase(heads: number, headDim: number, nRot: number, pairs: boolean, magnitude = 1, fastest = 1): OpCase {
  const style = pairs ? "pairs" : "halves";
  return {
    op: "rope",
    name: `${heads} heads of ${headDim}, ${nRot} turn, ${style}, magnitude ${magnitude}, frequency ${fastest}`,
    make: () => {
      const frequencies = Float64Array.from({ length: nRot / 2 }, (_, i) => fastest * 10000 ** (-2 * i / nRot));
      const plan = new OpPlan(VOCAB, [normals(nRot, VOCAB * heads * headDim)]);
      plan.constants.push(Float64Array.of(3, 1), Float64Array.of(...frequencies, magnitude));
      const n = [headDim, nRot, pairs ? 1 : 0, 2];
      plan.output(...plan.op("rope", { in: [plan.inputs[0]!], n }, ["T", heads * headDim]));
      plan.op("kvWrite", { in: [plan.inputs[0]!, plan.inputs[0]!], n: [0, 0] }); // with a cache positions go on
      plan.groups.push({ nLayers: 1, kCols: heads * headDim, vCols: heads * headDim, window: 0 });
      const of = { headDim, pairs, frequencies, magnitude };
      return {
        plan,
        steps: STEPS,
        want: (run) => [rowsOf(run, (token, position) => rope(plan.input(0, token), position, of))],
        bound: { ref: 1e-13, cpu: 1e-12 },
      };
    },
  };
}

/** For each row the rows it sees: of its own sequence as it then is, the last `window` up to its position. */
function seenBy(rows: readonly Row[], window: number): Row[][] {
  const timelines = new Map<number, Row[]>();
  return rows.map((row) => {
    const timeline = timelines.get(row.slot) ?? [];
    timeline[row.position] = row;
    timelines.set(row.slot, timeline);
    return timeline.slice(window === 0 ? 0 : Math.max(0, row.position - window + 1), row.position + 1);
  });
}

/** kvWrite and attention over a cache. */
function cachedCase(op: OpName, shape: AttentionCase & { window?: number; kvDtype?: number }, bound: Bound): OpCase {
  const { heads, kvHeads, keyDim, valueDim, scale, softcap = 0, sinks, window = 0, kvDtype = F32 } = shape;
  const extras = `window ${window}, softcap ${softcap}${sinks === undefined ? "" : ", sinks"}, cache type ${kvDtype}`;
  return {
    op,
    name: `${heads} heads over ${kvHeads}, ${keyDim} and ${valueDim} columns, ${extras}`,
    make: () => {
      const cols = [heads * keyDim, kvHeads * keyDim, kvHeads * valueDim];
      const plan = new OpPlan(VOCAB, cols.map((n, i) => normals(n + i, VOCAB * n)));
      const [q, k, v] = plan.inputs as [number, number, number];
      const w = sinks === undefined ? 0 : plan.vector(Float32Array.from(sinks));
      plan.op("kvWrite", { in: [v, k], n: [1, 0] }); // another group: must not matter
      const [otherK, otherV] = [k, v].map((x, i) => plan.op("scale", { in: [x], f: [-3] }, ["T", cols[i + 1]!])[0]!);
      plan.op("kvWrite", { in: [otherK!, otherV!], n: [0, 0] }); // and other layers, before and after
      plan.groups.push({ nLayers: 3, kCols: cols[1]!, vCols: cols[2]!, window });
      plan.groups.push({ nLayers: 1, kCols: cols[2]!, vCols: cols[1]!, window: 0 });
      plan.op("kvWrite", { in: [k, v], n: [0, 1] });
      plan.op("kvWrite", { in: [otherK!, otherV!], n: [0, 2] });
      const n = [0, 1, heads, kvHeads, keyDim, valueDim, 0, window];
      plan.output(...plan.op("attention", { in: [q], w: [w], n, f: [scale, softcap] }, ["T", heads * valueDim]));
      const of = { heads, kvHeads, keyDim, valueDim, scale, softcap, ...(sinks === undefined ? {} : { sinks }) };
      return {
        plan,
        steps: STEPS,
        kvDtype,
        want: ({ rows }) => [Float64Array.from(
          seenBy(rows, window).flatMap((seen, i) => {
            const tokens = seen.map(({ token }) => token);
            const [keys, values] = [1, 2].map((input) => tokens.map((token) => plan.input(input, token)));
            return [...attention(plan.input(0, rows[i]!.token), keys!, values!, of)];
          }),
        )],
        bound,
      };
    },
  };
}

/** Attention within the batch: each row sees all rows of its sequence in the step. */
function batchCase(shape: AttentionCase, bound: Bound): OpCase {
  const { heads, kvHeads, keyDim, valueDim, scale, softcap = 0, sinks } = shape;
  return {
    op: "attention",
    name: `of the batch, ${heads} heads over ${kvHeads}, ${keyDim} and ${valueDim} columns`,
    make: () => {
      const cols = [heads * keyDim, kvHeads * keyDim, kvHeads * valueDim];
      const plan = new OpPlan(VOCAB, cols.map((n, i) => normals(n + i, VOCAB * n)));
      const w = sinks === undefined ? 0 : plan.vector(Float32Array.from(sinks));
      const n = [0, 0, heads, kvHeads, keyDim, valueDim, 1, 0];
      const operands = { in: plan.inputs, w: [w], n, f: [scale, softcap] };
      plan.op("kvWrite", { in: plan.inputs.slice(1), n: [0, 0] }); // what is cached must not matter
      plan.groups.push({ nLayers: 1, kCols: cols[1]!, vCols: cols[2]!, window: 0 });
      plan.output(...plan.op("attention", operands, ["T", heads * valueDim]));
      return {
        plan,
        steps: STEPS.slice(0, 3),
        want: ({ rows }) => [Float64Array.from(rows.flatMap(({ step, slot, token }) => {
          const tokens = rows.filter((row) => row.step === step && row.slot === slot).map((row) => row.token);
          const [keys, values] = [1, 2].map((input) => tokens.map((t) => plan.input(input, t)));
          return [...attention(plan.input(0, token), keys!, values!, shape)];
        }))],
        bound,
      };
    },
  };
}

function selectCase(cols: number, select: (row: number) => boolean, name: string): OpCase {
  return {
    op: "selectRows",
    name: `${name} of ${cols} columns`,
    make: () => {
      const plan = new OpPlan(VOCAB, [normals(cols, VOCAB * cols)]);
      plan.output(...plan.op("selectRows", { in: [plan.inputs[0]!] }, ["R", cols]));
      const selected = (run: OpRun) => ({ ...run, rows: run.rows.filter((row) => row.selected) });
      return {
        plan,
        steps: someSteps(VOCAB),
        select,
        want: (run) => [rowsOf(selected(run), (token) => plan.input(0, token))],
        bound: { ref: 0, cpu: 0 },
      };
    },
  };
}

function poolCase(how: number, cols: number): OpCase {
  return {
    op: "pool",
    name: `${["mean", "first", "last"][how]} of ${cols} columns`,
    make: () => {
      const plan = new OpPlan(VOCAB, [normals(cols, VOCAB * cols)]);
      plan.output(...plan.op("pool", { in: [plan.inputs[0]!], n: [how] }, ["S", cols]));
      const steps = someSteps(VOCAB);
      const of = (tokens: readonly number[]) => {
        if (how > 0) return [...plan.input(0, tokens[how === 1 ? 0 : tokens.length - 1]!)];
        return Array.from(
          { length: cols },
          (_, i) => tokens.reduce((sum, token) => sum + plan.input(0, token)[i]!, 0) / tokens.length,
        );
      };
      const want = () => [Float64Array.from(steps.flat().flatMap(({ tokens }) => of(tokens)))];
      return { plan, steps, want, bound: EXACT };
    },
  };
}

/** Every case of position and sequence. */
export function attentionCases(): OpCase[] {
  const f16: Bound = { ref: 1e-12, cpu: 1e-6 };
  // Where a processor has products of BF16, the cpu executor rounds keys, values and queries to it.
  const rough: Bound = { ref: 2e-6, cpu: 2e-5 };
  const plain = { heads: 4, kvHeads: 2, keyDim: 16, valueDim: 16, scale: 0.25 };
  return [
    ropeCase(1, 2, 2, false),
    ropeCase(3, 10, 6, false, 1.5),
    ropeCase(3, 10, 10, true, 0.7),
    ropeCase(9, 64, 64, false, 1, 3000.123),
    ropeCase(2, 128, 64, true, 1, 30000.456),
    cachedCase("kvWrite", plain, f16),
    cachedCase("kvWrite", { ...plain, kvDtype: F16 }, rough),
    { ...cachedCase("kvWrite", { ...plain, kvDtype: Q8_0 }, { ref: 3e-4, cpu: 0 }), only: "ref" }, // blocks of 2 heads
    cachedCase("kvWrite", { ...plain, keyDim: 64, valueDim: 32, kvDtype: Q8_0 }, { ref: 3e-4, cpu: 5e-4 }),
    cachedCase("attention", { heads: 9, kvHeads: 3, keyDim: 64, valueDim: 64, scale: 0.125, kvDtype: Q8_0 }, {
      ref: 3e-4,
      cpu: 5e-4,
    }),
    cachedCase(
      "attention",
      { heads: 8, kvHeads: 2, keyDim: 128, valueDim: 128, scale: 0.09, window: 9, kvDtype: Q8_0 },
      {
        ref: 3e-4,
        cpu: 5e-4,
      },
    ),
    cachedCase(
      "attention",
      { heads: 2, kvHeads: 1, keyDim: 96, valueDim: 96, scale: 0.1, kvDtype: Q8_0, sinks: Float32Array.of(1, -2) },
      { ref: 3e-4, cpu: 5e-4 },
    ),
    cachedCase("kvWrite", { ...plain, valueDim: 32, keyDim: 32 }, f16),
    cachedCase("attention", { heads: 1, kvHeads: 1, keyDim: 1, valueDim: 1, scale: 1 }, f16),
    cachedCase("attention", { heads: 6, kvHeads: 2, keyDim: 20, valueDim: 12, scale: 0.3, window: 7 }, f16),
    cachedCase("attention", { ...plain, softcap: 2, window: 1 }, f16),
    cachedCase("attention", { ...plain, sinks: Float32Array.of(-1, 0, 2, 30) }, f16),
    cachedCase("attention", { heads: 9, kvHeads: 3, keyDim: 64, valueDim: 64, scale: 0.125 }, f16),
    cachedCase("attention", { heads: 2, kvHeads: 1, keyDim: 128, valueDim: 128, scale: 0.09, kvDtype: F16 }, rough),
    cachedCase("attention", { ...plain, scale: 40, kvDtype: F32 }, f16), // scores of hundreds
    batchCase(plain, f16),
    batchCase({ heads: 3, kvHeads: 3, keyDim: 5, valueDim: 9, scale: 0.5, softcap: 3, sinks: normals(1, 3) }, f16),
    selectCase(1, () => true, "all rows"),
    selectCase(65, (row) => row % 4 === 3, "some rows"),
    ...[0, 1, 2].map((how) => poolCase(how, 67)),
  ];
}
