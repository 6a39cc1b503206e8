/**
 * Writes tests/golden/logits/smollm2_ref.bin: 64 tokens that `ref` chooses after each of 16 prompts, with the head of
 * every distribution. Takes minutes.
 *
 *     bun tools/golden/make_ref_tokens.ts SmolLM2-135M-Instruct.Q4_1.gguf
 */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { argv, stderr } from "node:process";
import { Tokenizer } from "../../src/text/tokenizer.ts";
import { greedyTokens } from "../../tests/greedy.ts";
import { headOf, RAW_TEXTS, REF_TOKENS_PATH } from "../../tests/ref_tokens.ts";
import { StepRunner, testModel } from "../../tests/step_runner.ts";
import { inRoot } from "../../tests/support.ts";

const N_TOKENS = 64;
const TEXTS = [...RAW_TEXTS, "<|im_start|>user\nWhat is gravity?<|im_end|>\n<|im_start|>assistant\n"];

async function main(path: string): Promise<void> {
  const model = await testModel(path);
  const tokenizer = new Tokenizer(model.prepared.vocab);
  const prompts = TEXTS.map((text) => [...tokenizer.encode(text, { special: true, addBos: false, addEos: false })]);
  using ref = new StepRunner(model, { backend: "ref", slots: prompts.length, contextSize: 96 });
  const { tokens, rows } = greedyTokens(ref, prompts, N_TOKENS, (n) => void stderr.write(`\r${n} of ${N_TOKENS}`));
  stderr.write("\n");
  for (const all of tokens) console.log(JSON.stringify(tokenizer.decode(all)));
  const sha256 = createHash("sha256").update(readFileSync(path)).digest("hex");
  let header = JSON.stringify({ model: "SmolLM2-135M-Instruct.Q4_1", sha256, prompts, tokens });
  header = header.padEnd(Math.ceil((header.length + 1) / 4) * 4 - 1) + "\n";
  const numbers = Float32Array.from(rows.flat().flatMap(headOf));
  writeFileSync(inRoot(...REF_TOKENS_PATH), Buffer.concat([Buffer.from(header), new Uint8Array(numbers.buffer)]));
}

await main(argv[2]!);
