/** The parts a plan is built of: values, and one op in the making, which checks each operand as it is added. */
import { RealizarError } from "../errors.ts";
import type { WeightBinding } from "../weights/validate.ts";
import { USE_MATMUL, USE_VECTOR } from "../weights/roles.ts";
import type { PlanRecord } from "./layout.ts";
import { type OpName, OPS } from "./op_table.ts";
import { NO_LAYER, ROW_SYMBOLS, type RowSymbol, VALUE_DTYPES } from "./plan.ts";

declare const brand: unique symbol;

/** Element type of a value: `F32`, or `I32` for expert ids. */
export type ValueDType = keyof typeof VALUE_DTYPES;

/** A value of a plan, [rows x cols]. Only a {@linkcode PlanBuilder} makes one, and only that one takes it. */
export interface Value<R extends RowSymbol = RowSymbol, D extends ValueDType = "F32"> {
  readonly [brand]: D;
  /** 1-based. */
  readonly id: number;
  readonly rows: R;
  readonly cols: number;
}

/** Id of a weight: 1 + its index in the validated table, 0 = none. */
export type WeightId = number;

/** What an operand must be; what is left out may be anything. */
interface Shape {
  readonly rows?: RowSymbol;
  readonly cols?: number;
}

/** The lists that drafts add to. */
export interface DraftLists {
  readonly table: readonly WeightBinding[];
  readonly values: PlanRecord<"rz_value">[];
  readonly ops: PlanRecord<"rz_op">[];
  /** The values made so far: foreign ones are refused. */
  readonly known: Set<Value<RowSymbol, ValueDType>>;
}

/** Name of a weight as messages and listings print it. */
export function weightName(table: readonly WeightBinding[], id: WeightId): string {
  return table[id - 1]?.tensor ?? `weight ${id}`;
}

/**
 * One op being emitted. Operands are added in the order of csrc/op.h; one that does not fit is an `INTERNAL` error
 * that names op, layer and operand, because only a wrong architecture file can cause it.
 */
export class OpDraft {
  readonly #lists: DraftLists;
  readonly #name: OpName;
  readonly #record: PlanRecord<"rz_op">;

  constructor(lists: DraftLists, name: OpName, layer: number) {
    this.#lists = lists;
    this.#name = name;
    this.#record = { code: OPS[name].code, flags: 0, layer, out: [], in: [], w: [], n: [], f: [] };
    lists.ops.push(this.#record);
  }

  /** Throws the error that `what` describes. */
  fail(what: string): never {
    const { layer } = this.#record;
    const where = layer === NO_LAYER ? "" : ` of layer ${layer}`;
    throw new RealizarError("INTERNAL", `plan op ${this.#lists.ops.length - 1}${where}, ${this.#name}: ${what}`);
  }

  /** Fails unless `ok`. */
  require(ok: boolean, what: string): void {
    if (!ok) this.fail(what);
  }

  /** Adds the next value operand. */
  in(x: Value<RowSymbol, ValueDType>, shape: Shape = {}): void {
    const operand = `in${this.#record.in.length}`;
    this.require(this.#lists.known.has(x), `${operand} is not a value of this plan`);
    const { rows = x.rows, cols = x.cols } = shape;
    if (x.rows !== rows || x.cols !== cols) {
      this.fail(`${operand} (value ${x.id}) is [${x.rows} x ${x.cols}], expected [${rows} x ${cols}]`);
    }
    this.#record.in.push(x.id);
  }

  /** Adds a VECTOR of `cols`; 0 adds none. */
  vector(w: WeightId, cols: number): void {
    if (w === 0) this.#record.w.push(0);
    else this.#weight(w, USE_VECTOR, 1, cols);
  }

  /** Adds a matrix used as `use` whose rows have `cols` columns; returns its binding. */
  matrix(w: WeightId, cols: number, use: number = USE_MATMUL): WeightBinding {
    return this.#weight(w, use, undefined, cols);
  }

  /** Sets `rz_op.n`: sizes, indices, choices. */
  n(...numbers: number[]): void {
    for (const x of numbers) this.require(Number.isInteger(x) && x >= 0, `parameter ${x} is not a count or index`);
    this.#record.n = numbers;
  }

  /** Sets `rz_op.f`: factors, epsilons. Stored as F32. */
  f(...numbers: number[]): void {
    for (const x of numbers) this.require(Number.isFinite(Math.fround(x)), `parameter ${x} does not fit F32`);
    this.#record.f = numbers;
  }

  /** Defines the next result. */
  out<R extends RowSymbol, D extends ValueDType = "F32">(rows: R, cols: number, dtype?: D, flags = 0): Value<R, D> {
    this.require(Number.isInteger(cols) && cols > 0, `a result of ${cols} columns`);
    const { values, known } = this.#lists;
    values.push({ rows: ROW_SYMBOLS.indexOf(rows), dtype: VALUE_DTYPES[dtype ?? "F32"], cols, flags });
    const value = Object.freeze({ id: values.length, rows, cols }) as unknown as Value<R, D>;
    known.add(value);
    this.#record.out.push(value.id);
    return value;
  }

  #weight(w: WeightId, use: number, rows: number | undefined, cols: number): WeightBinding {
    const operand = `w${this.#record.w.length}`;
    const binding = this.#lists.table[w - 1];
    if (binding === undefined) this.fail(`${operand} is weight ${w} of ${this.#lists.table.length}`);
    const shape = `${operand} (${weightName(this.#lists.table, w)}) is [${binding.rows} x ${binding.cols}]`;
    this.require((binding.use & use) !== 0, `${shape} bound for use ${binding.use}, this op needs ${use}`);
    const right = binding.cols === cols && (rows === undefined || binding.rows === rows);
    this.require(right, `${shape}, expected [${rows ?? "any"} x ${cols}]`);
    this.#record.w.push(w);
    return binding;
  }
}
