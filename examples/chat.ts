/**
 * A conversation of two questions. The second one finds what the first one computed: `cachedTokens`, in whole pages.
 *
 *     bun examples/chat.ts MODEL.gguf
 */
import process from "node:process";
import { Model } from "../src/mod.ts";

const [path] = process.argv.slice(2);
if (path === undefined) throw new Error("usage: chat.ts MODEL.gguf");

await using model = await Model.load(path, { maxSequences: 1 });
const chat = model.chat({ system: "You answer in one or two sentences.", maxTokens: 80, seed: 1 });

for (const question of ["What is the largest planet of our solar system?", "How many moons does it have?"]) {
  console.log(`> ${question}`);
  const answer = chat.send(question);
  for await (const part of answer) process.stdout.write(part.text);
  const { usage } = await answer.result();
  console.log(`\n(${usage.promptTokens} prompt tokens, ${usage.cachedTokens} of them from the cache)`);
}
console.log(`history: ${chat.history.map(({ role }) => role).join(", ")}`);
