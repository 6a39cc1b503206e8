/**
 * Several generations at once on one model: their tokens are computed together, one step for all of them.
 *
 *     bun examples/many.ts MODEL.gguf
 */
import process from "node:process";
import { Model } from "../src/mod.ts";

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error("usage: many.ts MODEL.gguf");

const questions = ["Name a fruit.", "Name a city.", "Name a colour.", "Name a river."];
await using model = await Model.load(path, { maxSequences: questions.length, contextSize: 512 });

await Promise.all(questions.map(async (content) => {
  const { text } = await model.generate([{ role: "user", content }], { maxTokens: 24, temperature: 0 }).result();
  console.log(`${content} ${text.trim()}`);
}));
