/**
 * Every op of a plan as data: its code in csrc/op.h, and what its parameters are called in a listing. The meaning of
 * each op is written in csrc/op.h; src/plan/ops.ts emits them.
 */

/** A number of an op's record: its name, the words for its values (an enumeration), the value not worth printing. */
export interface Param {
  readonly name: string;
  readonly words?: readonly string[];
  readonly hide?: number;
}

/** One op. `n` and `f` name the leading entries of `rz_op.n` and `rz_op.f`; the rest are 0. */
export interface OpRow {
  readonly code: number;
  readonly n?: readonly Param[];
  readonly f?: readonly Param[];
}

/** Activations of `glu`: index = `rz_op.n[0]`. */
export const GLU_ACTIVATIONS = ["silu", "gelu_tanh", "gelu_erf", "clamped"] as const;
/** Functions of `unary`: index = `rz_op.n[0]`. */
export const UNARY_FUNCTIONS = ["silu", "gelu_tanh", "gelu_erf", "relu", "relu2", "sigmoid", "tanh"] as const;
/** Which columns of a head `rope` turns together: index = `rz_op.n[2]`. */
export const ROPE_STYLES = ["halves", "pairs"] as const;
/** How `moeRoute` turns router logits into weights: index = `rz_op.n[1]`. */
export const MOE_GATINGS = ["softmax_all", "softmax_chosen", "sigmoid"] as const;
/** How `pool` makes one row of a sequence: index = `rz_op.n[0]`. */
export const POOLINGS = ["mean", "first", "last"] as const;

const KV_LAYER: readonly Param[] = [{ name: "group" }, { name: "kvLayer" }];

/** The ops by their listing name. */
export const OPS = {
  embed: { code: 1, f: [{ name: "scale", hide: 1 }] },
  rmsNorm: { code: 2, n: [{ name: "groupCols", hide: 0 }], f: [{ name: "eps" }] },
  layerNorm: { code: 3, f: [{ name: "eps" }] },
  matmul: { code: 4 },
  headMatmul: { code: 5, n: [{ name: "heads" }] },
  rope: {
    code: 6,
    n: [{ name: "headDim" }, { name: "nRot" }, { name: "style", words: ROPE_STYLES }, { name: "constant" }],
  },
  kvWrite: { code: 7, n: KV_LAYER },
  attention: {
    code: 8,
    n: [
      ...KV_LAYER,
      { name: "heads" },
      { name: "kvHeads" },
      { name: "keyDim" },
      { name: "valueDim" },
      { name: "span", words: ["causal", "bidirectional"] },
      { name: "window", hide: 0 },
    ],
    f: [{ name: "scale" }, { name: "softcap", hide: 0 }],
  },
  glu: {
    code: 9,
    n: [{ name: "act", words: GLU_ACTIVATIONS }],
    f: [{ name: "alpha", hide: 0 }, { name: "limit", hide: 0 }],
  },
  unary: { code: 10, n: [{ name: "fn", words: UNARY_FUNCTIONS }] },
  add: { code: 11 },
  mul: { code: 12 },
  scale: { code: 13, f: [{ name: "factor" }] },
  softcap: { code: 14, f: [{ name: "cap" }] },
  moeRoute: {
    code: 15,
    n: [{ name: "k" }, { name: "gating", words: MOE_GATINGS }, { name: "normalize", hide: 0 }],
    f: [{ name: "scale", hide: 1 }],
  },
  moeMatmul: { code: 16, n: [{ name: "k" }] },
  moeCombine: { code: 17, n: [{ name: "k" }] },
  selectRows: { code: 18 },
  pool: { code: 19, n: [{ name: "how", words: POOLINGS }] },
  logits: { code: 20, f: [{ name: "softcap", hide: 0 }, { name: "scale", hide: 1 }] },
  allReduce: { code: 21 },
} as const satisfies Record<string, OpRow>;

/** Name of an op. */
export type OpName = keyof typeof OPS;

const nameByCode = new Map<number, OpName>(Object.entries(OPS).map(([name, row]) => [row.code, name as OpName]));

/** The op with this code, or undefined. */
export function opNameOfCode(code: number): OpName | undefined {
  return nameByCode.get(code);
}
