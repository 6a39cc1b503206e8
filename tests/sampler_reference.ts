/**
 * What the sampler must do (csrc/sample.h), written once more in another way: doubles, whole arrays, a sort for every
 * filter, BigInt random numbers.
 */

/** Parameters of one draw; as `rz_batch_out` has them. */
export interface DrawOptions {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  typicalP: number;
  repetition: number;
  presence: number;
  frequency: number;
  bias: readonly (readonly [number, number])[];
  /** Allowed ids; undefined = all. */
  allowed?: ReadonlySet<number>;
  seedLow: number;
  seedHigh: number;
  drawPosition: number;
}

/** What a reference draw says. */
export interface Draw {
  /** -1 when nothing is left. */
  token: number;
  /** Probability of each id. */
  probabilities: number[];
  /** How far the nearest decision was from falling otherwise. */
  margin: number;
}

const MASK = 0xffffffffn;

/** The four words of Philox4x32-10. */
export function philox(counter: readonly number[], key: readonly number[]): number[] {
  let [c0, c1, c2, c3] = counter.map(BigInt) as [bigint, bigint, bigint, bigint];
  let [k0, k1] = key.map(BigInt) as [bigint, bigint];
  for (let round = 0; round < 10; round++) {
    const product0 = c0 * 0xd2511f53n;
    const product1 = c2 * 0xcd9e8d57n;
    [c0, c1, c2, c3] = [(product1 >> 32n) ^ c1 ^ k0, product1 & MASK, (product0 >> 32n) ^ c3 ^ k1, product0 & MASK];
    k0 = (k0 + 0x9e3779b9n) & MASK;
    k1 = (k1 + 0xbb67ae85n) & MASK;
  }
  return [c0, c1, c2, c3].map(Number);
}

/** The uniform number of a seed and position. */
export function uniform(seedLow: number, seedHigh: number, position: number): number {
  const [low, high] = philox([position, 0, 0, 0], [seedLow, seedHigh]) as [number, number];
  return Number((BigInt(high) << 32n | BigInt(low)) >> 11n) / 2 ** 53;
}

/** Softmax at a temperature; -Infinity has probability 0. */
export function softmax(logits: readonly number[], temperature = 1): number[] {
  const max = Math.max(...logits);
  const e = logits.map((x) => Math.exp((x - max) / temperature));
  const sum = e.reduce((a, b) => a + b);
  return e.map((x) => x / sum);
}

function penalize(logits: number[], options: DrawOptions, history: readonly number[]): void {
  for (const id of new Set(history)) {
    if (id < 0 || id >= logits.length) continue;
    const count = history.filter((other) => other === id).length;
    const x = logits[id]!;
    const scaled = x > 0 ? x / options.repetition : x * options.repetition;
    logits[id] = scaled - count * options.frequency - options.presence;
  }
}

/** Keeps the ids of the shortest beginning of `order` whose probabilities reach `mass`; returns the margin. */
function keepMass(logits: number[], order: readonly number[], mass: number): number {
  const p = softmax(logits);
  let sum = 0;
  let margin = 1;
  order.forEach((id, i) => {
    if (i > 0) margin = Math.min(margin, Math.abs(sum - mass));
    if (i > 0 && sum >= mass) logits[id] = -Infinity;
    sum += p[id]!;
  });
  return margin;
}

function by(key: (id: number) => number, n: number): number[] {
  return Array.from({ length: n }, (_, id) => id).sort((a, b) => key(a) - key(b) || a - b);
}

function filter(logits: number[], o: DrawOptions): number {
  const n = logits.length;
  let margin = 1;
  if (o.topK > 0) { for (const id of by((id) => -logits[id]!, n).slice(o.topK)) logits[id] = -Infinity; }
  if (o.typicalP < 1) {
    const surprise = softmax(logits).map((p) => -Math.log(p));
    const entropy = surprise.reduce((sum, s) => sum + (s === Infinity ? 0 : Math.exp(-s) * s), 0);
    const distance = (id: number) => Math.min(Math.abs(surprise[id]! - entropy), 1e9);
    margin = Math.min(margin, keepMass(logits, by(distance, n), o.typicalP));
  }
  if (o.topP < 1) margin = Math.min(margin, keepMass(logits, by((id) => Math.max(-logits[id]!, -1e9), n), o.topP));
  if (o.minP > 0) {
    const p = softmax(logits);
    const best = Math.max(...p);
    for (let id = 0; id < n; id++) {
      if (p[id] === 0 || p[id] === best) continue;
      margin = Math.min(margin, Math.abs(p[id]! / best - o.minP));
      if (p[id]! < o.minP * best) logits[id] = -Infinity;
    }
  }
  return margin;
}

/** The token for these logits, whose row ends the `history` of token ids. */
export function referenceDraw(raw: ArrayLike<number>, o: DrawOptions, history: readonly number[]): Draw {
  const logits = Array.from(raw);
  penalize(logits, o, history);
  for (const [id, value] of o.bias) logits[id]! += value;
  if (o.allowed !== undefined) logits.forEach((_, id) => o.allowed!.has(id) || (logits[id] = -Infinity));
  if (logits.every((x) => x === -Infinity)) return { token: -1, probabilities: logits.map(() => 0), margin: 1 };
  if (o.temperature === 0) {
    const token = logits.indexOf(Math.max(...logits));
    return { token, probabilities: logits.map((_, id) => id === token ? 1 : 0), margin: 1 };
  }
  let margin = filter(logits, o);
  const probabilities = softmax(logits, o.temperature);
  const u = uniform(o.seedLow, o.seedHigh, o.drawPosition);
  let sum = 0;
  let token = -1;
  for (const [id, p] of probabilities.entries()) {
    if (p === 0) continue;
    if (sum > 0) margin = Math.min(margin, Math.abs(sum - u));
    sum += p;
    token = id;
    if (sum > u) break;
  }
  margin = Math.min(margin, Math.abs(sum - u));
  return { token, probabilities, margin };
}
