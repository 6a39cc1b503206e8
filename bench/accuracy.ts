/**
 * How far `cpu` is from `ref` on a model: `ref` decodes greedily after prompts, `cpu` is fed the same tokens, and their
 * distributions are compared at every position. A JSON line for each way to run it: instruction set, cache type.
 *
 *     bun bench/accuracy.ts MODEL [--prompts 16] [--tokens 64] [--threads 2]
 *
 * KL divergence of cpu from ref in nats over the whole vocabulary; `wrong` counts other arg-maxes where ref's first two
 * logits are more than 0.5 apart; `error_max` is the largest difference of a logit in units of the logits' range. `ref`
 * takes about a minute for a model of 135 M parameters.
 */
import { basename } from "node:path";
import { argv, exit, stderr } from "node:process";
import { parseArgs } from "node:util";
import { ISAS } from "../src/platform/abi.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { Agreement } from "../tests/divergence.ts";
import { forcedRows, type GreedyRun, greedyTokens } from "../tests/greedy.ts";
import { RAW_TEXTS } from "../tests/ref_tokens.ts";
import { StepRunner, type TestModel, testModel } from "../tests/step_runner.ts";

const TEXTS = [...RAW_TEXTS, "Question: What is gravity?\nAnswer:"];

const KV_TYPES = { f16: 1, f32: 0, q8_0: 8 } as const;

/** Compares one way of running `cpu` with what `ref` did. */
function compare(model: TestModel, prompts: readonly number[][], run: GreedyRun, options: {
  isa: keyof typeof ISAS;
  kv: keyof typeof KV_TYPES;
  threads: number;
  contextSize: number;
}): { isa: number; sums: Agreement } {
  const { isa, kv, threads, contextSize } = options;
  const sizes = { slots: prompts.length, contextSize, maxTokens: contextSize };
  using cpu = new StepRunner(model, { backend: "cpu", isa, threads, kvDtype: KV_TYPES[kv], ...sizes });
  const sums = new Agreement();
  forcedRows(cpu, prompts, run).forEach((rows, i) => rows.forEach((row, n) => sums.add(run.rows[i]![n]!, row)));
  return { isa: cpu.isa, sums };
}

async function main(path: string, nPrompts: number, nTokens: number, threads: number): Promise<void> {
  const model = await testModel(path);
  const tokenizer = new Tokenizer(model.prepared.vocab);
  const prompts = TEXTS.slice(0, nPrompts).map((text) => [...tokenizer.encode(text)]);
  const contextSize = Math.max(...prompts.map((prompt) => prompt.length)) + nTokens;
  const maxTokens = prompts.reduce((sum, prompt) => sum + prompt.length, 0);
  let run: GreedyRun;
  {
    using ref = new StepRunner(model, { backend: "ref", slots: prompts.length, contextSize, maxTokens });
    run = greedyTokens(ref, prompts, nTokens, (n) => void stderr.write(`\rref: ${n} of ${nTokens} tokens`));
    stderr.write("\n");
  }
  for (const [isa, id] of Object.entries(ISAS) as [keyof typeof ISAS, number][]) {
    if (isa === "auto") continue;
    for (const kv of Object.keys(KV_TYPES) as (keyof typeof KV_TYPES)[]) {
      const { isa: used, sums } = compare(model, prompts, run, { isa, kv, threads, contextSize });
      if (used !== id) break; // not of this machine
      console.log(JSON.stringify({
        test: "cpu against ref",
        isa,
        kv,
        positions: sums.n,
        kl_mean: sums.klMean,
        kl_max: sums.klMax,
        same_argmax: sums.same / sums.n,
        wrong: sums.wrong,
        error_max: sums.errorMax,
        model: basename(path),
      }));
    }
  }
}

const { positionals: [path], values } = parseArgs({
  args: argv.slice(2),
  options: {
    prompts: { type: "string", default: "16" },
    tokens: { type: "string", default: "64" },
    threads: { type: "string", default: "2" },
  },
  allowPositionals: true,
});
if (path === undefined) {
  console.error("usage: accuracy.ts MODEL [--prompts 16] [--tokens 64] [--threads 2]");
  exit(2);
}
await main(path, Number(values.prompts), Number(values.tokens), Number(values.threads));
