/** How far two rows of logits are apart. */

/** The largest and the second largest value of a row, and where the first one is (lowest index among equals). */
export function topTwo(logits: Float32Array): { argmax: number; gap: number } {
  let argmax = 0;
  let second = -Infinity;
  for (let i = 1; i < logits.length; i++) {
    if (logits[i]! > logits[argmax]!) {
      second = logits[argmax]!;
      argmax = i;
    } else if (logits[i]! > second) second = logits[i]!;
  }
  return { argmax, gap: logits[argmax]! - second };
}

/** log of the sum of exp. */
export function logSumExp(logits: Float32Array): number {
  const max = logits[topTwo(logits).argmax]!;
  let sum = 0;
  for (const x of logits) sum += Math.exp(x - max);
  return max + Math.log(sum);
}

/** Kullback-Leibler divergence of softmax(q) from softmax(p), in nats. */
export function divergence(p: Float32Array, q: Float32Array): number {
  const logP = logSumExp(p);
  const logQ = logSumExp(q);
  let sum = 0;
  for (let i = 0; i < p.length; i++) sum += Math.exp(p[i]! - logP) * (p[i]! - logP - (q[i]! - logQ));
  return sum;
}

/** max |p - q| / (max p - min p). */
export function relativeError(p: Float32Array, q: Float32Array): number {
  let min = Infinity, max = -Infinity, worst = 0;
  for (let i = 0; i < p.length; i++) {
    min = Math.min(min, p[i]!);
    max = Math.max(max, p[i]!);
    const error = Math.abs(p[i]! - q[i]!);
    if (!(error <= worst)) worst = error; // NaN is the worst
  }
  return worst / (max - min);
}

/** Sums over many rows. */
export class Agreement {
  /** KL divergence of each row. */
  readonly kls: number[] = [];
  /** Rows with the same arg-max. */
  same = 0;
  /** Rows whose arg-max differs although the reference's first two are more than 0.5 apart. */
  wrong = 0;
  errorMax = 0;

  /** One row of the reference and of the one judged. */
  add(reference: Float32Array, judged: Float32Array): void {
    const { argmax, gap } = topTwo(reference);
    const same = topTwo(judged).argmax === argmax;
    this.addFigures(divergence(reference, judged), same, gap);
    const error = relativeError(reference, judged);
    if (!(error <= this.errorMax)) this.errorMax = error;
  }

  /** One row, of which only these figures are known. */
  addFigures(kl: number, same: boolean, gap: number): void {
    this.kls.push(kl);
    if (same) this.same++;
    else if (gap > 0.5) this.wrong++;
  }

  /** Rows. */
  get n(): number {
    return this.kls.length;
  }

  get klMean(): number {
    return this.kls.reduce((sum, kl) => sum + kl, 0) / this.n;
  }

  get klMax(): number {
    return Math.max(...this.kls);
  }

  /** Share of the rows whose divergence is not at most `bound`. */
  shareAbove(bound: number): number {
    return this.kls.filter((kl) => !(kl <= bound)).length / this.n;
  }

  toString(): string {
    const share = (100 * this.same / this.n).toFixed(2);
    return `${this.n} positions: KL mean ${this.klMean.toExponential(2)}, max ${this.klMax.toExponential(2)}; ` +
      `same arg-max ${share} %, wrong at a gap > 0.5: ${this.wrong}`;
  }
}
