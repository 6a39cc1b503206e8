/**
 * Streams one answer; Ctrl-C ends it early.
 *
 *     bun examples/generate.ts MODEL.gguf "Why is the sky blue?"
 */
import process from "node:process";
import { Model } from "../src/mod.ts";

const [path, question = "Why is the sky blue?"] = process.argv.slice(2);
if (path === undefined) throw new Error("usage: generate.ts MODEL.gguf [QUESTION]");

const stop = new AbortController();
process.once("SIGINT", () => stop.abort());

await using model = await Model.load(path, { maxSequences: 1, signal: stop.signal });
const answer = model.generate([{ role: "user", content: question }], { maxTokens: 200, signal: stop.signal });
for await (const part of answer) process.stdout.write(part.text);

const { finishReason, seed, usage, timings } = await answer.result();
console.error(
  `\n${finishReason}; ${usage.completionTokens} tokens at ${timings.tokensPerSecond.toFixed(1)} tok/s, seed ${seed}`,
);
