/**
 * Attention on a GPU, where it is not the plain kernel: rows that decode together, prompts and their continuation
 * beside them, over caches in F16 and Q8_0, with and without norms of heads and RoPE before, against F64 references.
 * Without a GPU each is a named skip.
 */
import { assertEquals } from "@std/assert";
import { noGpu } from "./gpu.ts";
import { normals } from "./op_case.ts";
import { OpEngine, type Part, type Row } from "./op_engine.ts";
import { OpPlan } from "./op_plan.ts";
import { attention, type AttentionCase, rmsNorm, rope } from "./op_reference.ts";
import { leakCheck, testUnless } from "./support.ts";

const missing = noGpu();
const VOCAB = 48;
const F16 = 1, Q8_0 = 8;
const EPS = 1e-5;

/** What stands between the products and attention. */
interface Placing {
  pairs: boolean;
  norms: boolean;
}

interface Shape extends Omit<AttentionCase, "keyDim" | "valueDim" | "scale"> {
  dim: number;
  window?: number;
  placing?: Placing;
}

const token = (slot: number, position: number): number => (slot * 11 + position * 7) % VOCAB;

function part(slot: number, nPast: number, n: number): Part {
  return { slot, nPast, tokens: Array.from({ length: n }, (_, i) => token(slot, nPast + i)) };
}

/** Sequences of 1 to 90 tokens, in steps of up to 128; then all of them decode, twice. */
function decodes(width: number): Part[][] {
  const lengths = Array.from({ length: width }, (_, slot) => 1 + slot * 37 % 90);
  const steps: Part[][] = [[]];
  for (const [slot, n] of lengths.entries()) {
    const used = steps.at(-1)!.reduce((sum, { tokens }) => sum + tokens.length, 0);
    if (used + n > 128) steps.push([]);
    steps.at(-1)!.push(part(slot, 0, n));
  }
  for (const step of [0, 1]) steps.push(lengths.map((n, slot) => part(slot, n + step, 1)));
  return steps;
}

/** A prompt, then chunks beside decodes and beside a few tokens. */
const MIXED: readonly Part[][] = [
  [part(0, 0, 100), part(1, 0, 20)],
  [part(2, 0, 70), part(0, 100, 1), part(1, 20, 3), part(3, 0, 30)],
  [part(0, 101, 10), part(1, 23, 1), part(3, 30, 60)],
];

/** The newest token of each sequence's position: what a row sees of its sequence. */
function seen(rows: readonly Row[], row: Row, window: number): Row[] {
  const first = window === 0 ? 0 : Math.max(0, row.position - window + 1);
  return rows.filter(({ slot, position }) => slot === row.slot && position >= first && position <= row.position)
    .sort((a, b) => a.position - b.position);
}

function frequencies(dim: number): Float64Array {
  return Float64Array.from({ length: dim / 2 }, (_, i) => 10000 ** (-2 * i / dim));
}

/** Largest squared error of a head, by its squares. */
function worstHead(
  of: Shape,
  kvDtype: number,
  width: number,
  steps: readonly (readonly Part[])[],
  pageTokens = 64,
): number {
  const { heads, kvHeads, dim, window = 0, placing } = of;
  const cols = [heads * dim, kvHeads * dim, kvHeads * dim], scale = 1.5 / Math.sqrt(dim);
  const plan = new OpPlan(VOCAB, cols.map((n, i) => normals(n + i, VOCAB * n)));
  const norms = [0, 1].map((i) => plan.vector(normals(50 + i, dim, 0.3).map((x) => x + 1)));
  plan.constants.push(Float64Array.of(...frequencies(dim), 1));
  plan.op("kvWrite", { in: [plan.inputs[2]!, plan.inputs[1]!], n: [0, 0] }); // another layer: must not matter
  const [q, k] = plan.inputs.slice(0, 2).map((x, i) => {
    if (placing === undefined) return x;
    const value = placing.norms
      ? plan.op("rmsNorm", { in: [x], w: [norms[i]!], n: [dim], f: [EPS] }, ["T", cols[i]!])[0]!
      : x;
    return plan.op("rope", { in: [value], n: [dim, dim, placing.pairs ? 1 : 0, 1] }, ["T", cols[i]!])[0]!;
  });
  const w = of.sinks === undefined ? 0 : plan.vector(Float32Array.from(of.sinks));
  plan.groups.push({ nLayers: 2, kCols: cols[1]!, vCols: cols[2]!, window });
  plan.op("kvWrite", { in: [k!, plan.inputs[2]!], n: [0, 1] });
  const n = [0, 1, heads, kvHeads, dim, dim, 0, window];
  plan.output(...plan.op("attention", { in: [q!], w: [w], n, f: [scale, of.softcap ?? 0] }, ["T", heads * dim]));
  using engine = new OpEngine("cuda", "auto", false, { slots: width, pageTokens });
  const run = plan.run(engine, steps, () => true, kvDtype);
  const placed = (input: number, row: Row): Float64Array => {
    const x = Float64Array.from(plan.input(input, row.token));
    if (placing === undefined) return x;
    const normed = placing.norms ? rmsNorm(x, run.weight(norms[input]!), EPS, dim) : x;
    return rope(normed, row.position, {
      headDim: dim,
      pairs: placing.pairs,
      frequencies: frequencies(dim),
      magnitude: 1,
    });
  };
  const keyOf = new Map(run.rows.map((row) => [row, placed(1, row)]));
  let worst = 0;
  for (const [i, row] of run.rows.entries()) {
    if (i % 11 !== 0 && i < run.rows.length - 9) continue;
    const rows = seen(run.rows, row, window);
    const [keys, values] = [rows.map((r) => keyOf.get(r)!), rows.map((r) => plan.input(2, r.token))];
    const want = attention(placed(0, row), keys, values, { ...of, keyDim: dim, valueDim: dim, scale });
    for (let first = 0; first < want.length; first += dim) {
      let error = 0, square = 0;
      for (let c = first; c < first + dim; c++) {
        error += (run.outputs[0]![i * want.length + c]! - want[c]!) ** 2;
        square += want[c]! ** 2;
      }
      if (!(error / square <= worst)) worst = error / square;
    }
  }
  return worst;
}

const HALVES: Placing = { pairs: false, norms: false }, PAIRS: Placing = { pairs: true, norms: true };
const SHAPES: readonly Shape[] = [
  { heads: 8, kvHeads: 2, dim: 128, placing: HALVES },
  { heads: 4, kvHeads: 2, dim: 64, placing: PAIRS, window: 33 },
  { heads: 7, kvHeads: 1, dim: 128, placing: PAIRS, softcap: 4 },
  { heads: 3, kvHeads: 1, dim: 64, sinks: Float32Array.of(-1, 3, 0.5), window: 50 },
  { heads: 12, kvHeads: 1, dim: 64, placing: { pairs: false, norms: true } },
];

for (const [kvDtype, name, bound] of [[F16, "F16", 2e-5], [Q8_0, "Q8_0", 3e-3]] as const) {
  for (const shape of SHAPES) {
    const { heads, kvHeads, dim } = shape;
    testUnless(missing, `cuda: attention over ${name}, ${heads} heads over ${kvHeads} of ${dim}`, () => {
      const problems: string[] = [];
      const judge = (what: string, error: number): void => {
        if (!(error <= bound)) problems.push(`${what}: error of the worst head ${error}`);
      };
      for (const width of [1, 5, 9, 64]) judge(`${width} rows`, worstHead(shape, kvDtype, width, decodes(width)));
      judge("chunks beside decodes", worstHead(shape, kvDtype, 4, MIXED));
      judge("pages of 16", worstHead(shape, kvDtype, 9, decodes(9), 16));
      judge("chunks, pages of 128", worstHead(shape, kvDtype, 4, MIXED, 128));
      assertEquals(problems, []);
    });
  }
}

leakCheck();
