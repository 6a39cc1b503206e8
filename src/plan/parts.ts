/** What a plan under construction holds, and its sealing. */
import { RealizarError } from "../errors.ts";
import type { ModelConfig } from "../weights/config.ts";
import type { WeightBinding } from "../weights/validate.ts";
import { type DraftLists, OpDraft, type Value, type WeightId } from "./draft.ts";
import type { PlanRecord } from "./layout.ts";
import type { OpName } from "./op_table.ts";
import { type CacheGroup, NO_LAYER, type Plan, VALUE_OUTPUT, weightTableOf, writePlan } from "./plan.ts";

/** Cache groups a plan may have (`rz_cache_options.groups`). */
const GROUPS_MAX = 8;

/** The growing parts of one plan. */
export class PlanParts {
  /** The validated weights; the plan's weight table is this one. */
  readonly table: readonly WeightBinding[];
  /** `rz_op.layer` of the next op. */
  layer = NO_LAYER;
  /** Value id of the logits, 0 = none yet. */
  logits: number = 0;
  readonly #config: ModelConfig;
  readonly #lists: DraftLists;
  readonly #constants: { name: string; numbers: Float64Array }[] = [];
  readonly #groups: { nLayers: number; window: number; kCols: number; vCols: number }[] = [];

  constructor(config: ModelConfig, table: readonly WeightBinding[]) {
    this.#config = config;
    this.table = table;
    this.#lists = { table, values: [], ops: [], known: new Set() };
  }

  /** Begins the next op. */
  draft(name: OpName): OpDraft {
    return new OpDraft(this.#lists, name, this.layer);
  }

  /** 1-based id of the constant with these numbers, stored once; its name gets the id. */
  constant(name: string, numbers: Float64Array): number {
    const same = (other: Float64Array) => other.length === numbers.length && other.every((x, i) => x === numbers[i]);
    const index = this.#constants.findIndex((c) => same(c.numbers));
    if (index >= 0) return index + 1;
    return this.#constants.push({ name: `${name}${this.#constants.length + 1}`, numbers });
  }

  /** The next layer of the cache group with this need. */
  kvLayer(need: Omit<CacheGroup, "nLayers">): { group: number; layer: number } {
    const { window, kCols, vCols } = need;
    let group = this.#groups.findIndex((g) => g.window === window && g.kCols === kCols && g.vCols === vCols);
    if (group < 0) group = this.#groups.push({ nLayers: 0, window, kCols, vCols }) - 1;
    if (group >= GROUPS_MAX) {
      throw new RealizarError("UNSUPPORTED", `plan: more than ${GROUPS_MAX} kinds of attention cache`);
    }
    return { group, layer: this.#groups[group]!.nLayers++ };
  }

  /**
   * The finished plan. A value or weight that no op uses is `INTERNAL`: a part of the model was forgotten. `hidden`
   * becomes an OUTPUT when nothing else uses it.
   */
  seal(hidden: Value<"R" | "S">): Plan {
    const { values, ops } = this.#lists;
    const used = new Set(ops.flatMap((op) => op.in));
    if (!used.has(hidden.id)) values[hidden.id - 1]!.flags |= VALUE_OUTPUT;
    const value = values.findIndex(({ flags }, i) => (flags & VALUE_OUTPUT) === 0 && !used.has(i + 1));
    if (value >= 0) throw new RealizarError("INTERNAL", `plan: value ${value + 1} is never used`);
    const usedWeights = new Set<WeightId>(ops.flatMap((op) => op.w));
    const weight = this.table.findIndex((_, i) => !usedWeights.has(i + 1));
    if (weight >= 0) {
      throw new RealizarError("INTERNAL", `plan: ${this.table[weight]!.tensor} is bound, but no op uses it`);
    }
    const { vocabSize, hiddenSize } = this.#config;
    const records = { values, ops, constants: this.#constants };
    const bytes = writePlan({ ...records, weights: this.table.map(weightRecord), vocabSize, hiddenSize });
    return Object.freeze({
      bytes,
      weightTable: weightTableOf(bytes, this.table.length),
      weightNames: this.table.map((binding) => binding.tensor),
      vocabSize,
      hiddenSize,
      logitsValue: this.logits,
      hiddenValue: hidden.id,
      groups: this.#groups.map((group) => Object.freeze({ ...group })),
    });
  }
}

/** A proved weight as C reads it: whole, without auxiliary weights. */
function weightRecord(binding: WeightBinding): PlanRecord<"rz_weight"> {
  const { dtype, use, rows, cols, nExperts, file, offset, bytes } = binding;
  const shard = { shard_axis: 0, shard_i: 0, shard_n: 1 };
  return { dtype: dtype.id, use, rows, cols, n_experts: nExperts, file, offset, bytes, aux: [0, 0], ...shard };
}
