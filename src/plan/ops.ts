/** Emits a plan, one method per op of csrc/op.h, so that an architecture file reads like the model's description. */
import { RealizarError } from "../errors.ts";
import type { ModelConfig } from "../weights/config.ts";
import { USE_MOE, USE_ROWS } from "../weights/roles.ts";
import { ValidatedWeights } from "../weights/validate.ts";
import type { OpDraft, Value, WeightId } from "./draft.ts";
import type { AttentionShape, KvLayer, RopeTable, Route, RouteShape } from "./handles.ts";
import { GLU_ACTIVATIONS, MOE_GATINGS, type OpName, POOLINGS, ROPE_STYLES, UNARY_FUNCTIONS } from "./op_table.ts";
import { PlanParts } from "./parts.ts";
import { NO_LAYER, type Plan, type RowSymbol, VALUE_OUTPUT } from "./plan.ts";

/** Operands. */
export type { Value, WeightId } from "./draft.ts";
/** What ops return or are told beside operands. */
export type { AttentionShape, KvLayer, RopeTable, Route, RouteShape } from "./handles.ts";

/** Builds one plan. Shapes below are [rows x cols]; a wrong one is an `INTERNAL` error naming op and operand. */
export class PlanBuilder {
  readonly #config: ModelConfig;
  readonly #parts: PlanParts;

  constructor(config: ModelConfig, weights: ValidatedWeights) {
    if (!ValidatedWeights.is(weights)) throw new RealizarError("ARG", "plan: weights that were not validated");
    this.#config = config;
    this.#parts = new PlanParts(config, weights.table);
  }

  /** Ops emitted from now on belong to layer `i`; without an argument, to none. */
  layer(i: number = NO_LAYER): void {
    this.#parts.layer = i;
  }

  /** The RoPE table of these inverse frequencies; the same numbers are stored once. */
  ropeTable(style: RopeTable["style"], invFreq: Float64Array, magnitude: number): RopeTable {
    const constant = this.#parts.constant("rope", Float64Array.of(...invFreq, magnitude));
    return { constant, nRot: invFreq.length * 2, style };
  }

  /** [T x hidden]: the row of `table` (ROWS) of each token, times `scale`. */
  embed(table: WeightId, scale = 1): Value<"T"> {
    const op = this.#op("embed");
    const { hiddenSize, vocabSize } = this.#config;
    const { rows } = op.matrix(table, hiddenSize, USE_ROWS);
    op.require(rows === vocabSize, `w0 has ${rows} rows, the vocabulary ${vocabSize} tokens`);
    op.f(scale);
    return op.out("T", hiddenSize);
  }

  /** x / rms(x) * weight, over each group of `groupCols` columns (0 = all). `weight` has as many, or x.cols. */
  rmsNorm<R extends RowSymbol>(x: Value<R>, weight: WeightId, eps: number, groupCols = 0): Value<R> {
    const op = this.#op("rmsNorm");
    op.in(x);
    const group = groupCols === 0 ? x.cols : groupCols;
    op.require(x.cols % group === 0, `in0 has ${x.cols} columns, not a multiple of the group's ${group}`);
    op.vector(weight, this.#parts.table[weight - 1]?.cols === x.cols ? x.cols : group);
    op.n(groupCols);
    op.f(eps);
    return op.out(x.rows, x.cols);
  }

  /** (x - mean) / deviation * weight + bias. */
  layerNorm<R extends RowSymbol>(x: Value<R>, weight: WeightId, bias: WeightId, eps: number): Value<R> {
    const op = this.#op("layerNorm");
    op.in(x);
    op.require(weight !== 0, "w0 is not given");
    op.vector(weight, x.cols);
    op.vector(bias, x.cols);
    op.f(eps);
    return op.out(x.rows, x.cols);
  }

  /** x [X x cols] times weight [rows x cols] transposed, plus bias: [X x rows]. */
  matmul<R extends RowSymbol>(x: Value<R>, weight: WeightId, bias: WeightId = 0): Value<R> {
    const op = this.#op("matmul");
    op.in(x);
    const { rows } = op.matrix(weight, x.cols);
    op.vector(bias, rows);
    return op.out(x.rows, rows);
  }

  /** Each head's columns times its own rows of `weight` [heads * r x c]: [X x heads * r]. */
  headMatmul<R extends RowSymbol>(x: Value<R>, weight: WeightId, heads: number): Value<R> {
    const op = this.#op("headMatmul");
    op.in(x);
    op.require(x.cols % heads === 0, `in0 has ${x.cols} columns for ${heads} heads`);
    const { rows } = op.matrix(weight, x.cols / heads);
    op.require(rows % heads === 0, `w0 has ${rows} rows for ${heads} heads`);
    op.n(heads);
    return op.out(x.rows, rows);
  }

  /** Turns the first `nRot` columns of each head by position. */
  rope(x: Value<"T">, table: RopeTable, headDim: number): Value<"T"> {
    const op = this.#op("rope");
    op.in(x, { rows: "T" });
    op.require(x.cols % headDim === 0, `in0 has ${x.cols} columns, not a multiple of the head's ${headDim}`);
    op.require(table.nRot <= headDim, `${table.nRot} columns turn in a head of ${headDim}`);
    op.n(headDim, table.nRot, ROPE_STYLES.indexOf(table.style), table.constant);
    return op.out("T", x.cols);
  }

  /** Writes this layer's keys and values to the cache. Layers of one window and width share a cache group. */
  kvWrite(k: Value<"T">, v: Value<"T">, window = 0): KvLayer {
    const op = this.#op("kvWrite");
    op.in(k, { rows: "T" });
    op.in(v, { rows: "T" });
    const need = { window, kCols: k.cols, vCols: v.cols };
    const { group, layer } = this.#parts.kvLayer(need);
    op.n(group, layer);
    return { group, layer, ...need };
  }

  /** Causal attention over the cached keys of `kv`: [T x nHeads * value size]. */
  attention(q: Value<"T">, kv: KvLayer, shape: AttentionShape): Value<"T"> {
    const op = this.#op("attention");
    op.in(q, { rows: "T" });
    return this.#attend(op, q, shape, { ...kv, numbers: [kv.group, kv.layer, 0, kv.window] });
  }

  /** Bidirectional attention over k and v of this batch, each sequence by itself: [T x nHeads * value size]. */
  batchAttention(q: Value<"T">, k: Value<"T">, v: Value<"T">, shape: AttentionShape): Value<"T"> {
    const op = this.#op("attention");
    op.in(q, { rows: "T" });
    op.in(k, { rows: "T" });
    op.in(v, { rows: "T" });
    return this.#attend(op, q, shape, { kCols: k.cols, vCols: v.cols, numbers: [0, 0, 1, 0] });
  }

  /** act(gate) * up. `alpha` and `limit` are of `clamped`. */
  glu<R extends RowSymbol>(
    act: (typeof GLU_ACTIVATIONS)[number],
    gate: Value<R>,
    up: Value<R>,
    alpha = 0,
    limit = 0,
  ): Value<R> {
    const op = this.#op("glu");
    op.in(gate);
    op.in(up, gate);
    op.n(GLU_ACTIVATIONS.indexOf(act));
    op.f(alpha, limit);
    return op.out(gate.rows, gate.cols);
  }

  /** fn(x), element by element. */
  unary<R extends RowSymbol>(fn: (typeof UNARY_FUNCTIONS)[number], x: Value<R>): Value<R> {
    const op = this.#op("unary");
    op.in(x);
    op.n(UNARY_FUNCTIONS.indexOf(fn));
    return op.out(x.rows, x.cols);
  }

  /** x + y; y a value of x's shape, or a VECTOR for every row. */
  add<R extends RowSymbol>(x: Value<R>, y: Value<R> | WeightId): Value<R> {
    return this.#combine("add", x, y);
  }

  /** x * y, element by element; y a value of x's shape, or a VECTOR for every row. */
  mul<R extends RowSymbol>(x: Value<R>, y: Value<R> | WeightId): Value<R> {
    return this.#combine("mul", x, y);
  }

  /** x * factor; x itself when the factor is 1. */
  scale<R extends RowSymbol>(x: Value<R>, factor: number): Value<R> {
    if (factor === 1) return x;
    const op = this.#op("scale");
    op.in(x);
    op.f(factor);
    return op.out(x.rows, x.cols);
  }

  /** cap * tanh(x / cap), cap > 0. */
  softcap<R extends RowSymbol>(x: Value<R>, cap: number): Value<R> {
    const op = this.#op("softcap");
    op.in(x);
    op.require(cap > 0, `cap ${cap} is not positive`);
    op.f(cap);
    return op.out(x.rows, x.cols);
  }

  /** Chooses k experts a token from router logits [T x n_experts]. */
  moeRoute(logits: Value<"T">, shape: RouteShape): Route {
    const { k, gating, bias = 0, normalize = false, scale = 1 } = shape;
    const op = this.#op("moeRoute");
    op.in(logits, { rows: "T" });
    op.require(k >= 1 && k <= logits.cols, `${k} experts a token of ${logits.cols}`);
    op.vector(bias, logits.cols);
    op.n(k, MOE_GATINGS.indexOf(gating), normalize ? 1 : 0);
    op.f(scale);
    return { weights: op.out("Tk", 1), ids: op.out("Tk", 1, "I32"), k, nExperts: logits.cols };
  }

  /** x [T or Tk x cols] times the chosen experts' matrices: [Tk x rows]. */
  moeMatmul(x: Value<"T"> | Value<"Tk">, route: Route, weight: WeightId): Value<"Tk"> {
    const op = this.#op("moeMatmul");
    op.in(x);
    op.in(route.ids);
    const { rows, nExperts } = op.matrix(weight, x.cols, USE_MOE);
    op.require(nExperts === route.nExperts, `w0 has ${nExperts} experts, the router ${route.nExperts}`);
    op.n(route.k);
    return op.out("Tk", rows);
  }

  /** Sum of a token's k rows, weighted: [T x cols]. */
  moeCombine(x: Value<"Tk">, route: Route): Value<"T"> {
    const op = this.#op("moeCombine");
    op.in(x, { rows: "Tk" });
    op.in(route.weights);
    op.n(route.k);
    return op.out("T", x.cols);
  }

  /** The rows that the batch's outs ask for: [R x cols]. */
  selectRows(x: Value<"T">): Value<"R"> {
    const op = this.#op("selectRows");
    op.in(x, { rows: "T" });
    return op.out("R", x.cols);
  }

  /** One row a sequence: [S x cols]. */
  pool(x: Value<"T">, how: (typeof POOLINGS)[number]): Value<"S"> {
    const op = this.#op("pool");
    op.in(x, { rows: "T" });
    op.n(POOLINGS.indexOf(how));
    return op.out("S", x.cols);
  }

  /** Scores of every token [R x vocab]: (x times weight transposed + bias) * scale, then softcapped. Once a plan. */
  logits(x: Value<"R">, weight: WeightId, { bias = 0, scale = 1, softcap = 0 } = {}): Value<"R"> {
    const op = this.#op("logits");
    op.require(this.#parts.logits === 0, "there are logits already");
    op.in(x, { rows: "R" });
    const { rows } = op.matrix(weight, x.cols);
    op.require(rows === this.#config.vocabSize, `w0 has ${rows} rows, the vocabulary ${this.#config.vocabSize} tokens`);
    op.vector(bias, rows);
    op.f(softcap, scale);
    const out = op.out("R", rows, "F32", VALUE_OUTPUT);
    this.#parts.logits = out.id;
    return out;
  }

  /** Sum over devices. */
  allReduce<R extends RowSymbol>(x: Value<R>): Value<R> {
    const op = this.#op("allReduce");
    op.in(x);
    return op.out(x.rows, x.cols);
  }

  /** The finished plan; `hidden` is the model's last hidden state. */
  finish(hidden: Value<"R" | "S">): Plan {
    return this.#parts.seal(hidden);
  }

  #op(name: OpName): OpDraft {
    return this.#parts.draft(name);
  }

  #attend(
    op: OpDraft,
    q: Value<"T">,
    shape: AttentionShape,
    source: { kCols: number; vCols: number; numbers: [group: number, layer: number, span: number, window: number] },
  ): Value<"T"> {
    const { nHeads, nKvHeads, scale, softcap = 0, sinks = 0 } = shape;
    const { kCols, vCols, numbers: [group, layer, span, window] } = source;
    op.require(nHeads % nKvHeads === 0, `${nHeads} heads over ${nKvHeads} key heads`);
    const keyDim = q.cols / nHeads;
    const valueDim = vCols / nKvHeads;
    op.require(
      kCols === nKvHeads * keyDim,
      `in0 has ${q.cols} columns in ${nHeads} heads, keys ${kCols} in ${nKvHeads}`,
    );
    op.vector(sinks, nHeads);
    op.n(group, layer, nHeads, nKvHeads, keyDim, valueDim, span, window);
    op.f(scale, softcap);
    return op.out("T", nHeads * valueDim);
  }

  #combine<R extends RowSymbol>(name: "add" | "mul", x: Value<R>, y: Value<R> | WeightId): Value<R> {
    const op = this.#op(name);
    op.in(x);
    if (typeof y === "number") {
      op.require(y !== 0, "neither in1 nor w0 is given");
      op.vector(y, x.cols);
    } else op.in(y, x);
    return op.out(x.rows, x.cols);
  }
}
