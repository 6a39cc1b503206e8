/** What each op of csrc/op.h is, once more and in F64, written from its words there and not from csrc/ref. */

/** Numbers in either precision. */
export type Numbers = Float32Array | Float64Array;

/** x / sqrt(mean of squares + eps) * weight, in groups of `group` columns; `weight` repeats, undefined = 1. */
export function rmsNorm(x: Numbers, weight: Numbers | undefined, eps: number, group: number): Float64Array {
  const out = new Float64Array(x.length);
  for (let first = 0; first < x.length; first += group) {
    const part = Float64Array.from(x.subarray(first, first + group));
    const norm = Math.sqrt(part.reduce((sum, v) => sum + v * v, 0) / group + eps);
    part.forEach((v, i) => out[first + i] = v / norm * (weight?.[(first + i) % weight.length] ?? 1));
  }
  return out;
}

/** (x - mean) / deviation * weight + bias. */
export function layerNorm(x: Numbers, weight: Numbers, bias: Numbers | undefined, eps: number): Float64Array {
  const wide = Float64Array.from(x);
  const mean = wide.reduce((sum, v) => sum + v, 0) / x.length;
  const deviation = Math.sqrt(wide.reduce((sum, v) => sum + (v - mean) ** 2, 0) / x.length + eps);
  return wide.map((v, i) => (v - mean) / deviation * weight[i]! + (bias?.[i] ?? 0));
}

/** A matrix [rows x x.length] times x, plus bias. */
export function product(matrix: Numbers, x: Numbers, bias?: Numbers): Float64Array {
  const cols = x.length;
  const out = new Float64Array(matrix.length / cols);
  for (let r = 0; r < out.length; r++) {
    let sum = 0;
    for (let j = 0; j < cols; j++) sum += matrix[r * cols + j]! * x[j]!;
    out[r] = sum + (bias?.[r] ?? 0);
  }
  return out;
}

/** Turns columns of each head by position * frequency; `pairs`: 2i with 2i + 1, else i with i + half of them. */
export function rope(
  x: Numbers,
  position: number,
  { headDim, pairs, frequencies, magnitude }: {
    headDim: number;
    pairs: boolean;
    frequencies: Float64Array;
    magnitude: number;
  },
): Float64Array {
  const out = Float64Array.from(x);
  for (let head = 0; head < x.length; head += headDim) {
    frequencies.forEach((frequency, i) => {
      const cos = Math.fround(Math.cos(position * frequency) * magnitude);
      const sin = Math.fround(Math.sin(position * frequency) * magnitude);
      const [p, q] = pairs ? [head + 2 * i, head + 2 * i + 1] : [head + i, head + i + frequencies.length];
      out[p!] = x[p!]! * cos - x[q!]! * sin;
      out[q!] = x[p!]! * sin + x[q!]! * cos;
    });
  }
  return out;
}

/** Shapes and settings of attention. */
export interface AttentionCase {
  heads: number;
  kvHeads: number;
  keyDim: number;
  valueDim: number;
  scale: number;
  softcap?: number;
  sinks?: Numbers;
}

/** One query row over the keys and values it may see. */
export function attention(q: Numbers, keys: readonly Numbers[], values: readonly Numbers[], of: AttentionCase) {
  const { heads, kvHeads, keyDim, valueDim, scale, softcap = 0, sinks } = of;
  const out = new Float64Array(heads * valueDim);
  for (let h = 0; h < heads; h++) {
    const kv = Math.floor(h * kvHeads / heads);
    const scores = keys.map((key) => {
      let dot = 0;
      for (let i = 0; i < keyDim; i++) dot += q[h * keyDim + i]! * key[kv * keyDim + i]!;
      return softcap === 0 ? dot * scale : softcap * Math.tanh(dot * scale / softcap);
    });
    const all = sinks === undefined ? scores : [...scores, sinks[h]!];
    const max = Math.max(...all);
    const total = all.reduce((sum, s) => sum + Math.exp(s - max), 0);
    scores.forEach((s, t) => {
      const p = Math.exp(s - max) / total;
      for (let i = 0; i < valueDim; i++) out[h * valueDim + i]! += p * values[t]![kv * valueDim + i]!;
    });
  }
  return out;
}

/** The error function, by a series of positive terms. */
function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x, sum = x;
  for (let n = 1; n < 300; n++) sum += term *= 2 * x * x / (2 * n + 1);
  return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
}

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** The functions of `unary`, and the first three of `glu`, in the order of csrc/op.h. */
export const ACTIVATIONS: readonly ((x: number) => number)[] = [
  (x) => x * sigmoid(x),
  (x) => x / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  (x) => x / 2 * (1 + erf(x / Math.SQRT2)),
  (x) => Math.max(x, 0),
  (x) => Math.max(x, 0) ** 2,
  sigmoid,
  Math.tanh,
];

/** `glu` of the clamped kind. */
export function clampedGlu(gate: number, up: number, alpha: number, limit: number): number {
  const g = Math.min(gate, limit);
  return g * sigmoid(alpha * g) * (Math.min(Math.max(up, -limit), limit) + 1);
}

/** How experts are chosen. */
export interface RouteCase {
  k: number;
  /** 0 softmax over all, 1 over the chosen, 2 sigmoid. */
  gating: number;
  bias?: Numbers;
  normalize: boolean;
  scale: number;
}

function softmax(x: number[]): number[] {
  const max = Math.max(...x);
  const exp = x.map((v) => Math.exp(v - max));
  const total = exp.reduce((sum, v) => sum + v, 0);
  return exp.map((v) => v / total);
}

/** The k experts of a token, best first, and their weights. */
export function route(logits: Numbers, { k, gating, bias, normalize, scale }: RouteCase) {
  const plain = [...logits];
  const scores = gating === 0 ? softmax(plain) : gating === 2 ? plain.map(sigmoid) : plain;
  const rank = scores.map((score, e) => ({ e, by: score + (bias?.[e] ?? 0) }));
  const ids = rank.sort((a, b) => b.by - a.by || a.e - b.e).slice(0, k).map(({ e }) => e);
  const chosen = ids.map((e) => scores[e]!);
  const weights = gating === 1 ? softmax(chosen) : chosen;
  const total = normalize ? weights.reduce((sum, w) => sum + w, 0) : 1;
  return { ids, weights: weights.map((w) => w / total * scale) };
}
