/** Runs finished plans on an executor through the C ABI: weights, cache, steps, and every output of each step. */
import { BatchWriter, NO_SAMPLING, OUT_MODES } from "../src/engine/batch.ts";
import { engineFacts, openEngine, openWeights } from "../src/engine/native_model.ts";
import { ISAS, PLAN_FLAGS, STRUCTS } from "../src/platform/abi.ts";
import { type Library, openLibrary } from "../src/platform/library.ts";
import { PLAN_RECORDS } from "../src/plan/layout.ts";
import { type RowSymbol, weightTableOf } from "../src/plan/plan.ts";
import { readRecord, writeRecord } from "../src/record.ts";
import { gpuIsa } from "./gpu.ts";

const SLOT_TOKENS = 128;

/** Tokens of one sequence in a step. */
export interface Part {
  slot: number;
  nPast: number;
  tokens: readonly number[];
}

/** A token row of the run. */
export interface Row {
  step: number;
  slot: number;
  position: number;
  token: number;
  /** The batch's outs select it. */
  selected: boolean;
}

/** What a plan computed. */
export interface OpRun {
  readonly rows: readonly Row[];
  /** Rows of each output value, of all steps one after another: [rows x cols]. */
  readonly outputs: readonly Float32Array[];
  /** Weight `id` as the executor holds it: [rows * experts x cols]. */
  weight(id: number): Float32Array;
}

/** A finished plan. */
export interface MadePlan {
  bytes: Uint8Array;
  data: readonly Uint8Array[];
  groups: readonly { nLayers: number; kCols: number; vCols: number; window: number }[];
  outputs: readonly number[];
  cols: readonly number[];
  symbols: readonly RowSymbol[];
  kvDtype: number;
}

export interface WantedSteps {
  steps: readonly (readonly Part[])[];
  select: (row: number) => boolean;
  /** Experts a token. */
  k: number;
}

/** How plans are opened, where it is not as usual. */
export interface OpEngineOptions {
  /** No fusion at all. */
  noFusion?: boolean;
  /** Fusion pattern i is off when bit i is set. */
  patternsOff?: readonly [number, number];
  /** Sequences, of up to 128 tokens each; default 4. */
  slots?: number;
  /** Tokens of a page of the cache; default 16. */
  pageTokens?: number;
  /** Default: the one that is found. */
  library?: Library;
}

/** One executor, for many plans one after another. */
export class OpEngine implements Disposable {
  readonly library: Library;
  readonly #engine: number;
  readonly #writer = new BatchWriter();
  readonly #flags: number;
  readonly #patternsOff: readonly [number, number];
  readonly #slots: number;
  readonly #pageTokens: number;
  /** The machine has the instruction set asked for. */
  readonly usable: boolean;

  /** `deterministic` false: the ways that depend on the number of rows, where the executor has them. */
  constructor(
    backend: "ref" | "cpu" | "cuda",
    isa: keyof typeof ISAS = "auto",
    deterministic = true,
    { noFusion = false, patternsOff = [0, 0], slots = 4, pageTokens = 16, library = openLibrary() }: OpEngineOptions =
      {},
  ) {
    this.library = library;
    this.#patternsOff = patternsOff;
    this.#slots = slots;
    this.#pageTokens = pageTokens;
    this.#flags = (deterministic ? PLAN_FLAGS.deterministic : 0) | (noFusion ? PLAN_FLAGS.noFusion : 0);
    this.#engine = openEngine(this.library, backend, 0, 2, backend === "cuda" ? gpuIsa() : ISAS[isa]);
    this.usable = isa === "auto" || engineFacts(this.library, this.#engine).isa === ISAS[isa];
  }

  /** Opens everything a plan needs, runs its steps and closes it. */
  run(made: MadePlan, wanted: WantedSteps): OpRun {
    const { native, check } = this.library;
    const weights = this.#openWeights(made);
    const cache = made.groups.length === 0 ? 0 : this.#openCache(made);
    try {
      const options = writeRecord(STRUCTS.rz_plan_options, {
        size: STRUCTS.rz_plan_options.size,
        flags: this.#flags,
        max_tokens: 128,
        max_seqs: this.#slots,
        max_outs: 128,
        patterns_off: this.#patternsOff,
      });
      const plan = check(native.rz_plan_open(weights, made.bytes, made.bytes.length, options));
      const read = made.data.map((_, i) => this.#readWeight(weights, made, i));
      return { ...this.#steps(made, wanted, plan, cache), weight: (id) => read[id - 1]! };
    } finally {
      native.rz_weights_close(weights);
      if (cache !== 0) native.rz_cache_close(cache);
    }
  }

  #openWeights({ bytes, data }: MadePlan): number {
    const { native, check } = this.library;
    const weights = openWeights(this.library, this.#engine, weightTableOf(bytes, data.length), []);
    data.forEach((d, i) => check(native.rz_weights_write(weights, i + 1, 0, d, d.length)));
    const progress = new Uint8Array(STRUCTS.rz_progress.size);
    while (check(native.rz_weights_poll(weights, 1000, progress)) === 0) { /* it ends or fails by itself */ }
    return weights;
  }

  #readWeight(weights: number, { bytes }: MadePlan, i: number): Float32Array {
    const { size } = PLAN_RECORDS.rz_weight;
    const { rows, cols, n_experts: experts } = readRecord(PLAN_RECORDS.rz_weight, bytes, 64 + i * size);
    const out = new Float32Array(rows * cols * experts);
    const { native, check } = this.library;
    check(native.rz_weights_read(weights, i + 1, 0, rows * experts, out, out.length));
    return out;
  }

  #openCache({ groups, kvDtype }: MadePlan): number {
    const { rz_cache_options: options, rz_cache_group: group } = STRUCTS;
    const bytes = writeRecord(options, { size: options.size, n_groups: groups.length, n_slots: this.#slots });
    for (const [i, { nLayers, kCols, vCols, window }] of groups.entries()) {
      const sizes = { n_layers: nLayers, window, k_cols: kCols, v_cols: vCols, k_dtype: kvDtype, v_dtype: kvDtype };
      const n = { n_pages: 1 + this.#slots * SLOT_TOKENS / this.#pageTokens, page_tokens: this.#pageTokens };
      writeRecord(group, { ...sizes, ...n }, bytes, 32 + i * group.size);
    }
    return this.library.check(this.library.native.rz_cache_open(this.#engine, bytes));
  }

  #steps(made: MadePlan, { steps, select, k }: WantedSteps, plan: number, cache: number): Omit<OpRun, "weight"> {
    const rows: Row[] = [];
    const outputs = made.outputs.map((): Float32Array[] => []);
    for (const [step, parts] of steps.entries()) {
      const first = rows.length;
      for (const { slot, nPast, tokens } of parts) {
        tokens.forEach((token, i) =>
          rows.push({ step, slot, position: nPast + i, token, selected: select(rows.length - first) })
        );
      }
      const own = rows.slice(first);
      const ticket = this.#submit(made, parts, own, plan, cache);
      const n = { T: own.length, R: own.filter((row) => row.selected).length, S: parts.length, Tk: own.length * k };
      made.outputs.forEach((id, i) => outputs[i]!.push(this.#read(ticket, id, n[made.symbols[i]!], made.cols[i]!)));
    }
    const joined = outputs.map((parts) => Float32Array.from(parts.flatMap((part) => [...part])));
    return { rows, outputs: joined };
  }

  #submit({ groups }: MadePlan, parts: readonly Part[], rows: readonly Row[], plan: number, cache: number): number {
    const { native, check } = this.library;
    const seqs = parts.map(({ slot, nPast, tokens }) => {
      const pages = Array.from(
        { length: Math.ceil((nPast + tokens.length) / this.#pageTokens) },
        (_, i) => (slot + 1) * SLOT_TOKENS / this.#pageTokens - i,
      );
      return { slot, nPast, tokens, pages: groups.map(() => pages) };
    });
    const sampling = { sampling: NO_SAMPLING, penaltyFrom: 0, drawPosition: 0 };
    const outs = rows.flatMap((row, i) => row.selected ? [{ row: i, mode: OUT_MODES.hidden, ...sampling }] : []);
    const batch = this.#writer.write({ flags: 0, after: 0, copies: [], seqs, outs });
    const ticket = check(native.rz_step_submit(plan, cache, batch, batch.length));
    const result = new Uint8Array(32 + 128 * 32);
    while (check(native.rz_step_wait(this.#engine, ticket, 1000, result, result.length)) === 0) { /* as above */ }
    return ticket;
  }

  #read(ticket: number, value: number, rows: number, cols: number): Float32Array {
    const out = new Float32Array(rows * cols);
    if (rows === 0) return out;
    this.library.check(this.library.native.rz_step_read(this.#engine, ticket, value, 0, rows, out, out.length));
    return out;
  }

  [Symbol.dispose](): void {
    this.library.native.rz_engine_close(this.#engine);
  }
}
