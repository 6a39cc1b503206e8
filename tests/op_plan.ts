/** Plans of one or a few ops whose inputs a test chooses. */
import { type DTypeName, dtypeOfName } from "../src/dtype.ts";
import type { PlanRecord } from "../src/plan/layout.ts";
import { type OpName, OPS } from "../src/plan/op_table.ts";
import { ROW_SYMBOLS, type RowSymbol, VALUE_DTYPES, VALUE_OUTPUT, writePlan } from "../src/plan/plan.ts";
import { USE_MATMUL, USE_ROWS, USE_VECTOR } from "../src/weights/roles.ts";
import type { OpEngine, OpRun, Part } from "./op_engine.ts";

const FILE_NONE = 0xffffffff;

/** Operands of an op: ids as {@linkcode OpPlan} returned them, 0 = none. */
export interface Operands {
  in?: readonly number[];
  w?: readonly number[];
  n?: readonly number[];
  f?: readonly number[];
}

/** A plan in the making. Its first op embeds: token i brings row i of a table. */
export class OpPlan {
  /** The value of each input, [T x cols]. */
  readonly inputs: readonly number[];
  /** Constants to be used by `n` as 1 + index. */
  readonly constants: Float64Array[] = [];
  /** Cache groups: columns of keys and values. */
  readonly groups: { nLayers: number; kCols: number; vCols: number; window: number }[] = [];
  readonly #tables: readonly Float32Array[];
  readonly #hidden: number;
  readonly #vocab: number;
  readonly #data: Uint8Array[] = [];
  readonly #weights: Partial<PlanRecord<"rz_weight">>[] = [];
  readonly #values: Partial<PlanRecord<"rz_value">>[] = [];
  readonly #ops: Partial<PlanRecord<"rz_op">>[] = [];
  readonly #outputs: number[] = [];

  /** `tables`: for each input its rows by token, [vocab x cols]. */
  constructor(vocab: number, tables: readonly Float32Array[]) {
    this.#vocab = vocab;
    this.#tables = tables;
    const cols = tables.map((table) => table.length / vocab);
    this.#hidden = cols.reduce((sum, n) => sum + n, 0);
    const whole = new Float32Array(vocab * this.#hidden);
    let first = 0;
    for (const [k, table] of tables.entries()) {
      for (let i = 0; i < table.length; i++) {
        whole[Math.floor(i / cols[k]!) * this.#hidden + first + i % cols[k]!] = table[i]!;
      }
      first += cols[k]!;
    }
    const embed = this.embed(new Uint8Array(whole.buffer), "F32");
    this.inputs = tables.length === 1 ? [embed] : this.#split(embed, cols);
  }

  /** Row `token` of input k, [cols]. */
  input(k: number, token: number): Float32Array {
    const cols = this.#tables[k]!.length / this.#vocab;
    return this.#tables[k]!.subarray(token * cols, (token + 1) * cols);
  }

  /** An embedding of these bytes, [vocab x hidden], times `scale`. */
  embed(data: Uint8Array, dtype: DTypeName, scale = 1): number {
    const w = this.weight(USE_ROWS, dtype, this.#vocab, this.#hidden, data);
    return this.op("embed", { w: [w], f: [scale] }, ["T", this.#hidden])[0]!;
  }

  /** A weight of `rows x cols` (x experts). Returns its id. */
  weight(use: number, dtype: DTypeName, rows: number, cols: number, data: Uint8Array, experts = 1): number {
    const { id } = dtypeOfName(dtype);
    const sizes = { rows, cols, n_experts: experts, bytes: data.length, shard_n: 1 };
    this.#weights.push({ dtype: id, use, file: FILE_NONE, ...sizes });
    this.#data.push(data);
    return this.#weights.length;
  }

  /** A VECTOR. */
  vector(data: Float32Array): number {
    return this.weight(USE_VECTOR, "F32", 1, data.length, new Uint8Array(data.slice().buffer));
  }

  /** Adds an op; returns the ids of its results. */
  op(name: OpName, operands: Operands, ...outs: [rows: RowSymbol, cols: number, dtype?: "I32"][]): number[] {
    const ids = outs.map(([rows, cols, dtype]) =>
      this.#values.push({ rows: ROW_SYMBOLS.indexOf(rows), dtype: VALUE_DTYPES[dtype ?? "F32"], cols, flags: 0 })
    );
    const { in: inputs = [], w = [], n = [], f = [] } = operands;
    this.#ops.push({ code: OPS[name].code, layer: 0, out: ids, in: [...inputs], w: [...w], n: [...n], f: [...f] });
    return ids;
  }

  /** Makes values readable, in this order. */
  output(...ids: number[]): void {
    for (const id of ids) this.#values[id - 1]!.flags = VALUE_OUTPUT;
    this.#outputs.push(...ids);
  }

  /** The columns of x as values of their own, by matrices of 0 and 1: exact on every executor. */
  #split(x: number, cols: readonly number[]): number[] {
    let first = 0;
    return cols.map((n) => {
      const choose = new Float32Array(n * this.#hidden);
      for (let i = 0; i < n; i++) choose[i * this.#hidden + first + i] = 1;
      first += n;
      const w = this.weight(USE_MATMUL, "F32", n, this.#hidden, new Uint8Array(choose.buffer));
      return this.op("matmul", { in: [x], w: [w] }, ["T", n])[0]!;
    });
  }

  /** Runs the steps; outs select every row for which `select` says so. */
  run(engine: OpEngine, steps: readonly (readonly Part[])[], select: (row: number) => boolean, kvDtype = 0): OpRun {
    const bytes = writePlan({
      vocabSize: this.#vocab,
      hiddenSize: this.#hidden,
      weights: this.#weights,
      constants: this.constants.map((numbers, i) => ({ name: `constant ${i}`, numbers })),
      values: this.#values,
      ops: this.#ops,
    });
    const cols = this.#outputs.map((id) => this.#values[id - 1]!.cols!);
    const symbols = this.#outputs.map((id) => ROW_SYMBOLS[this.#values[id - 1]!.rows!]!);
    return engine.run(
      { bytes, data: this.#data, groups: this.groups, outputs: this.#outputs, cols, symbols, kvDtype },
      {
        steps,
        select,
        k: this.#ops.find(({ code }) => code === OPS.moeRoute.code)?.n?.[0] ?? 0,
      },
    );
  }
}
