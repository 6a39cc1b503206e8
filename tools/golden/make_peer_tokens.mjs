/**
 * Writes tests/golden/logits/smollm2_llama_cpp.json: the greedy tokens of llama.cpp (node-llama-cpp, on the CPU) after
 * the prompts of smollm2_ref.bin. Needs `npm install` in bench/peers.
 *
 *     node tools/golden/make_peer_tokens.mjs SmolLM2-135M-Instruct.Q4_1.gguf
 */
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { getLlama } from "../../bench/peers/node_modules/node-llama-cpp/dist/index.js";

const folder = new URL("../../tests/golden/logits/", import.meta.url);
const header = readFileSync(new URL("smollm2_ref.bin", folder));
const { prompts, tokens, sha256 } = JSON.parse(header.subarray(0, header.indexOf(10)).toString());

const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, maxThreads: 2 });
const model = await llama.loadModel({ modelPath: process.argv[2] });
const context = await model.createContext({ contextSize: 256, batchSize: 256, threads: { ideal: 2, min: 2 } });
const sequence = context.getSequence();

const greedy = [];
for (const [i, prompt] of prompts.entries()) {
  await sequence.clearHistory();
  const made = [];
  for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    made.push(token);
    if (made.length === tokens[i].length - prompt.length) break;
  }
  greedy.push(made);
}
const source = `node-llama-cpp 3.22.1, llama.cpp ${llama.llamaCppRelease.release}`;
const lines = greedy.map((made) => "  " + JSON.stringify(made)).join(",\n");
const text = `{ "source": "${source}", "sha256": "${sha256}", "greedy": [\n${lines}\n] }\n`;
writeFileSync(new URL("smollm2_llama_cpp.json", folder), text);
await llama.dispose();
