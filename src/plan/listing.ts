/** A plan as readable text: one line an op, layers that are alike told once. */
import { dtypeOfId } from "../dtype.ts";
import { RealizarError } from "../errors.ts";
import type { PlanRecord } from "./layout.ts";
import { opNameOfCode, type OpRow, OPS, type Param } from "./op_table.ts";
import { NO_LAYER, type Plan, type PlanRecords, readPlan, ROW_SYMBOLS } from "./plan.ts";

type Op = PlanRecord<"rz_op">;

/** How ids are written: as they are, or for comparing layers, relative to the layer. */
interface Naming {
  value(id: number): string;
  weight(id: number): string;
  /** Parameters that count layers differ from layer to layer. */
  readonly hideLayers: boolean;
}

/** The operation of a record, or `INTERNAL`: this code has no row in op_table.ts. */
function rowOf(op: Op): { name: string; row: OpRow } {
  const name = opNameOfCode(op.code);
  if (name === undefined) throw new RealizarError("INTERNAL", `plan listing: no op has code ${op.code}`);
  return { name, row: OPS[name] };
}

/** A stored F32 in the fewest digits that give it back. */
function shortest(x: number): string {
  for (let digits = 1; digits < 9; digits++) {
    const text = x.toPrecision(digits);
    if (Math.fround(Number(text)) === x) return String(Number(text));
  }
  return String(x);
}

function parameter(param: Param, x: number): string[] {
  if (x === param.hide) return [];
  return [`${param.name}=${param.words?.[x] ?? shortest(x)}`];
}

/** `v7 [T x 64], v8 [...] = name operands; parameters`. */
function opText(op: Op, plan: PlanRecords, naming: Naming): string {
  const { name, row } = rowOf(op);
  const results = op.out.filter((id) => id !== 0).map((id) => {
    const { rows, cols } = plan.values[id - 1]!;
    return `${naming.value(id)} [${ROW_SYMBOLS[rows]} x ${cols}]`;
  });
  const operands = [
    ...op.in.filter((id) => id !== 0).map(naming.value),
    ...op.w.filter((id) => id !== 0).map(naming.weight),
  ];
  const numbers = (row.n ?? []).filter((p) => !(naming.hideLayers && p.name === "kvLayer"));
  const parameters = [
    ...numbers.flatMap((p) => parameter(p, op.n[row.n!.indexOf(p)]!)),
    ...(row.f ?? []).flatMap((p, i) => parameter(p, op.f[i]!)),
  ];
  const left = results.length === 0 ? "" : `${results.join(", ")} = `;
  const right = operands.length === 0 ? "" : ` ${operands.join(", ")}`;
  return `${left}${name}${right}${parameters.length === 0 ? "" : `; ${parameters.join(" ")}`}`;
}

/** A run of ops of one layer. */
interface Block {
  readonly layer: number;
  readonly first: number;
  readonly ops: readonly Op[];
}

function blocksOf(ops: readonly Op[]): Block[] {
  const blocks: { layer: number; first: number; ops: Op[] }[] = [];
  ops.forEach((op, i) => {
    const last = blocks.at(-1);
    if (last?.layer === op.layer) last.ops.push(op);
    else blocks.push({ layer: op.layer, first: i, ops: [op] });
  });
  return blocks;
}

/** The same text for layers of the same structure, shapes, roles and types. */
function signature(block: Block, plan: PlanRecords, weight: (id: number) => string): string {
  const base = block.ops.find((op) => op.out[0] !== 0)?.out[0] ?? 0;
  const prefix = `blk.${block.layer}.`;
  const naming: Naming = {
    value: (id) => `v${id - base}`,
    weight: (id) => weight(id).replace(prefix, ""),
    hideLayers: true,
  };
  return block.ops.map((op) => opText(op, plan, naming)).join("\n");
}

/** Consecutive blocks that repeat an earlier one, as "layers 1-28 like 0". */
function repeatText(layers: readonly number[], like: number): string {
  const [first, last] = [layers[0]!, layers.at(-1)!];
  return first === last ? `layer ${first} like ${like}` : `layers ${first}-${last} like ${like}`;
}

function bodyLines(plan: PlanRecords, weight: (id: number) => string): string[] {
  const naming: Naming = { value: (id) => `v${id}`, weight, hideLayers: false };
  const lines: string[] = [];
  const seen = new Map<string, number>();
  let repeat: { like: number; layers: number[] } | undefined;
  const endRepeat = (): void => {
    if (repeat !== undefined) lines.push(repeatText(repeat.layers, repeat.like));
    repeat = undefined;
  };
  for (const block of blocksOf(plan.ops)) {
    const text = signature(block, plan, weight);
    const like = block.layer === NO_LAYER ? undefined : seen.get(text);
    if (repeat?.like !== like) endRepeat();
    if (like !== undefined) {
      repeat ??= { like, layers: [] };
      repeat.layers.push(block.layer);
      continue;
    }
    seen.set(text, block.layer);
    const layer = block.layer === NO_LAYER ? "-" : String(block.layer);
    block.ops.forEach((op, i) => {
      lines.push(`${String(block.first + i).padStart(5)} ${layer.padStart(3)}  ${opText(op, plan, naming)}`);
    });
  }
  endRepeat();
  return lines;
}

/**
 * Lists a plan. Columns: index of the op, layer, results with their shape, op, operands, parameters. Weights stand with
 * name and type; a layer that repeats an earlier one in structure, shapes, roles and types is only named.
 */
export function listPlan(plan: Plan): string {
  const records = readPlan(plan.bytes);
  const weight = (id: number): string => {
    const name = (plan.weightNames[id - 1] ?? `w${id}`).replace(/\.weight$/, "");
    const dtype = records.weights[id - 1]!.dtype;
    return `${name} ${dtypeOfId(dtype)?.name ?? `type ${dtype}`}`;
  };
  const counts = `${records.ops.length} ops, ${records.values.length} values, ${records.weights.length} weights`;
  return [
    `plan: ${counts}, vocabulary ${records.vocabSize}, hidden ${records.hiddenSize}`,
    ...records.constants.map(({ name, numbers }, i) => `constant ${i + 1} ${name}: ${numbers.length} numbers`),
    ...plan.groups.map(({ nLayers, window, kCols, vCols }, i) =>
      `cache group ${i}: ${nLayers} layers, window ${window === 0 ? "all" : window}, k ${kCols}, v ${vCols}`
    ),
    ...bodyLines(records, weight),
    "",
  ].join("\n");
}
