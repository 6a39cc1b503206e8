/** Greedy decoding of many prompts at once, with the logits every token came from. */
import { topTwo } from "./divergence.ts";
import type { StepRunner } from "./step_runner.ts";

/** What {@linkcode greedyTokens} made. */
export interface GreedyRun {
  /** For each prompt: its tokens and the new ones after them. */
  readonly tokens: number[][];
  /** For each prompt: the rows of logits that the new tokens are the arg-max of. */
  readonly rows: Float32Array[][];
}

/** `nTokens` tokens after each prompt; the runner has a slot for each. `onStep` hears how many each has by now. */
export function greedyTokens(
  runner: StepRunner,
  prompts: readonly (readonly number[])[],
  nTokens: number,
  onStep?: (n: number) => void,
): GreedyRun {
  const { vocabSize } = runner;
  const tokens = prompts.map((prompt) => [...prompt]);
  const rows: Float32Array[][] = prompts.map(() => []);
  for (let n = 0; n < nTokens; n++) {
    const parts = tokens.map((all, slot) => {
      const nPast = n === 0 ? 0 : all.length - 1;
      return { slot, nPast, tokens: all.slice(nPast) };
    });
    const logits = runner.step(parts);
    tokens.forEach((all, i) => {
      const row = logits.subarray(i * vocabSize, (i + 1) * vocabSize);
      rows[i]!.push(row);
      all.push(topTwo(row).argmax);
    });
    onStep?.(n + 1);
  }
  return { tokens, rows };
}

/** The rows of another runner for the same tokens, fed as one chunk a prompt. */
export function forcedRows(
  runner: StepRunner,
  prompts: readonly (readonly number[])[],
  run: GreedyRun,
): Float32Array[][] {
  const { vocabSize } = runner;
  return run.tokens.map((all, slot) => {
    const logits = runner.step([{ slot, nPast: 0, tokens: all.slice(0, -1), want: "all" }]);
    const first = prompts[slot]!.length - 1;
    const count = all.length - prompts[slot]!.length;
    return Array.from(
      { length: count },
      (_, n) => logits.subarray((first + n) * vocabSize, (first + n + 1) * vocabSize),
    );
  });
}
