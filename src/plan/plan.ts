/** A model's forward pass as data, and the one buffer that carries it to C, to a listing and to a file. */
import { RealizarError } from "../errors.ts";
import { readRecord, type RecordInput, type RecordLayout, textOf, writeRecord } from "../record.ts";
import { PLAN_MAGIC, PLAN_RECORDS, type PlanRecord } from "./layout.ts";

/** Row symbols of values; index = `rz_rows`. T: tokens, R: selected rows, S: sequences, Tk: tokens x experts. */
export const ROW_SYMBOLS = ["T", "R", "S", "Tk"] as const;
/** One of {@linkcode ROW_SYMBOLS}. */
export type RowSymbol = (typeof ROW_SYMBOLS)[number];

/** `rz_value.dtype`. */
export const VALUE_DTYPES = { F32: 0, I32: 26 } as const;
/** `RZ_VALUE_OUTPUT`: rz_step_read may read it. */
export const VALUE_OUTPUT = 1;
/** `rz_op.layer` of ops before the first layer and after the last. */
export const NO_LAYER = 0xffffffff;

/** What one cache group of a plan needs: the layers that share page tables. Cols are per token. */
export interface CacheGroup {
  readonly nLayers: number;
  /** Tokens each query sees; 0 = all. */
  readonly window: number;
  readonly kCols: number;
  readonly vCols: number;
}

/** A finished plan. Immutable; `bytes` is lent to C, never handed over. */
export interface Plan {
  /** The buffer of csrc/realizar.h, "plan": what rz_plan_open takes and what an export writes. */
  readonly bytes: Uint8Array;
  /** The `rz_weight` table inside `bytes`: what rz_weights_open takes. */
  readonly weightTable: Uint8Array;
  /** `weightNames[id - 1]`: tensor names, for listings and messages. */
  readonly weightNames: readonly string[];
  readonly vocabSize: number;
  readonly hiddenSize: number;
  /** Value id of the logits [R, vocabSize]; 0 = none. */
  readonly logitsValue: number;
  /** Value id of the last hidden state [R, hiddenSize], readable when it is watched; 0 = none. */
  readonly hiddenValue: number;
  /** Cache groups in order of their number; empty for encoders. */
  readonly groups: readonly CacheGroup[];
}

/** The sections of a plan as records. Ids are 1-based: value `v` is `values[v - 1]`. */
export interface PlanRecords {
  readonly weights: readonly PlanRecord<"rz_weight">[];
  readonly constants: readonly { readonly name: string; readonly numbers: Float64Array }[];
  readonly values: readonly PlanRecord<"rz_value">[];
  readonly ops: readonly PlanRecord<"rz_op">[];
  readonly vocabSize: number;
  readonly hiddenSize: number;
}

/** The same, to be written: fields left out are 0. */
export interface PlanSource {
  readonly weights: readonly Partial<PlanRecord<"rz_weight">>[];
  readonly constants: PlanRecords["constants"];
  readonly values: readonly Partial<PlanRecord<"rz_value">>[];
  readonly ops: readonly Partial<PlanRecord<"rz_op">>[];
  readonly vocabSize: number;
  readonly hiddenSize: number;
}

const NAME_BYTES = 48;
const R = PLAN_RECORDS;

function nameBytes(name: string): number[] {
  const bytes = new TextEncoder().encode(name);
  if (bytes.length > NAME_BYTES) {
    throw new RealizarError("INTERNAL", `plan constant ${name}: ${bytes.length} bytes of name, ${NAME_BYTES} fit`);
  }
  return [...bytes];
}

/** Byte offset of each section, and the end. */
function sections(n: { weights: number; constants: number; numbers: number; values: number; ops: number }) {
  const weights = R.rz_plan_header.size;
  const constants = weights + n.weights * R.rz_weight.size;
  const numbers = constants + n.constants * R.rz_constant.size;
  const values = numbers + n.numbers * 8;
  const ops = values + n.values * R.rz_value.size;
  return { weights, constants, numbers, values, ops, end: ops + n.ops * R.rz_op.size };
}

/** The plan's bytes, in the layout of csrc/realizar.h. */
export function writePlan(plan: PlanSource): Uint8Array {
  const nNumbers = plan.constants.reduce((sum, c) => sum + c.numbers.length, 0);
  const at = sections({
    weights: plan.weights.length,
    constants: plan.constants.length,
    numbers: nNumbers,
    values: plan.values.length,
    ops: plan.ops.length,
  });
  const bytes = new Uint8Array(at.end);
  const view = new DataView(bytes.buffer);
  writeRecord(R.rz_plan_header, {
    magic: PLAN_MAGIC,
    n_bytes: at.end,
    n_weights: plan.weights.length,
    n_constants: plan.constants.length,
    n_numbers: nNumbers,
    n_values: plan.values.length,
    n_ops: plan.ops.length,
    vocab_size: plan.vocabSize,
    hidden_size: plan.hiddenSize,
  }, bytes);
  const writeAll = <L extends RecordLayout>(
    layout: L,
    first: number,
    records: readonly RecordInput<L>[],
  ) => records.forEach((record, i) => writeRecord(layout, record, bytes, first + i * layout.size));
  writeAll(R.rz_weight, at.weights, plan.weights);
  writeAll(R.rz_value, at.values, plan.values);
  writeAll(R.rz_op, at.ops, plan.ops);
  let first = 0;
  plan.constants.forEach(({ name, numbers }, i) => {
    const record = { name: nameBytes(name), first, n: numbers.length };
    writeRecord(R.rz_constant, record, bytes, at.constants + i * R.rz_constant.size);
    numbers.forEach((x, j) => view.setFloat64(at.numbers + (first + j) * 8, x, true));
    first += numbers.length;
  });
  return bytes;
}

/**
 * The records of a plan's bytes. Checks only what reading needs: magic and sizes (`MAGIC`, `TRUNCATED`); whether the
 * plan makes sense is C's to verify.
 */
export function readPlan(bytes: Uint8Array): PlanRecords {
  if (bytes.length < R.rz_plan_header.size) {
    throw new RealizarError("TRUNCATED", `plan: ${bytes.length} bytes, a header has ${R.rz_plan_header.size}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = readRecord(R.rz_plan_header, bytes);
  if (header.magic !== PLAN_MAGIC) {
    throw new RealizarError(
      "MAGIC",
      `plan: magic 0x${header.magic.toString(16)}, expected 0x${PLAN_MAGIC.toString(16)}`,
    );
  }
  const at = sections({
    weights: header.n_weights,
    constants: header.n_constants,
    numbers: header.n_numbers,
    values: header.n_values,
    ops: header.n_ops,
  });
  if (at.end !== bytes.length || header.n_bytes !== bytes.length) {
    const message = `plan: ${bytes.length} bytes, its header says ${header.n_bytes} and its counts ${at.end}`;
    throw new RealizarError("TRUNCATED", message);
  }
  const readAll = <L extends RecordLayout>(layout: L, first: number, n: number) =>
    Array.from({ length: n }, (_, i) => readRecord(layout, bytes, first + i * layout.size));
  const constants = readAll(R.rz_constant, at.constants, header.n_constants).map(({ name, first, n }) => {
    if (first + n > header.n_numbers) {
      throw new RealizarError("TRUNCATED", `plan: a constant ends at number ${first + n} of ${header.n_numbers}`);
    }
    const numbers = Float64Array.from({ length: n }, (_, i) => view.getFloat64(at.numbers + (first + i) * 8, true));
    return { name: textOf(name), numbers };
  });
  return {
    weights: readAll(R.rz_weight, at.weights, header.n_weights),
    constants,
    values: readAll(R.rz_value, at.values, header.n_values),
    ops: readAll(R.rz_op, at.ops, header.n_ops),
    vocabSize: header.vocab_size,
    hiddenSize: header.hidden_size,
  };
}

/** The part of a plan's bytes that is its `rz_weight` table. */
export function weightTableOf(bytes: Uint8Array, nWeights: number): Uint8Array {
  const first = R.rz_plan_header.size;
  return bytes.subarray(first, first + nWeights * R.rz_weight.size);
}
