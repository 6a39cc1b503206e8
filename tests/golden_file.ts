/** The committed logits of an independent implementation: what tools/golden/make_logits.py wrote. */
import { readFileSync } from "node:fs";
import { inRoot } from "./support.ts";
import { logSumExp, topTwo } from "./divergence.ts";

/** min, max, logsumexp, argmax; then logits. */
const N_FIGURES = 4;

/** Logits of one model at every position of its prompts. */
export interface Golden {
  readonly model: string;
  /** Of the model's file. */
  readonly sha256: string;
  /** What computed them. */
  readonly source: string;
  readonly vocab: number;
  /** At position n (over all prompts) the ids that are n modulo this are known. */
  readonly stride: number;
  /** Token ids. */
  readonly prompts: readonly (readonly number[])[];
  readonly numbers: Float32Array;
}

/** Reads tests/golden/logits/`name`.bin. */
export function readGolden(name: string): Golden {
  const bytes = new Uint8Array(readFileSync(inRoot("tests", "golden", "logits", `${name}.bin`)));
  const end = bytes.indexOf(10) + 1;
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))) as Omit<Golden, "numbers">;
  return { ...header, numbers: new Float32Array(bytes.slice(end).buffer) };
}

/** Where a position's figures begin in `numbers`. */
function* offsets({ prompts, vocab, stride }: Golden): Generator<number> {
  const nPositions = prompts.reduce((sum, prompt) => sum + prompt.length, 0);
  for (let n = 0, at = 0; n < nPositions; n++) {
    yield at;
    at += N_FIGURES + Math.ceil((vocab - n % stride) / stride);
  }
}

/**
 * The worst error over all positions of the logits of all prompts ([positions x vocab], one after another), relative to
 * the range of the logits at that position. NaN where they are no numbers.
 */
export function goldenError(golden: Golden, logits: Float32Array): { error: number; position: number } {
  const { vocab, stride, numbers } = golden;
  let worst = { error: 0, position: 0 };
  let position = 0;
  for (const at of offsets(golden)) {
    const row = logits.subarray(position * vocab, (position + 1) * vocab);
    const [min, max, total, argmax] = numbers.subarray(at, at + N_FIGURES) as unknown as [
      number,
      number,
      number,
      number,
    ];
    const own = row[topTwo(row).argmax]!;
    const errors = [row.reduce((a, b) => Math.min(a, b)) - min, own - max, logSumExp(row) - total];
    errors.push((own - row[argmax]!) / 2); // two logits, each within the bound
    for (let id = position % stride, i = at + N_FIGURES; id < vocab; id += stride, i++) {
      errors.push(row[id]! - numbers[i]!);
    }
    for (const difference of errors) {
      const error = Math.abs(difference) / (max - min);
      if (!(error <= worst.error)) worst = { error, position };
    }
    position++;
  }
  if (position * vocab !== logits.length) {
    throw new Error(`${golden.model}: ${logits.length} logits, ${position} positions`);
  }
  return worst;
}
