/**
 * Answers in a form that a program can use: by a JSON schema, and by a grammar.
 *
 *     bun examples/structured.ts MODEL.gguf "Paris is the capital of France."
 */
import process from "node:process";
import { Model } from "../src/mod.ts";

const [path, sentence = "Paris is the capital of France."] = process.argv.slice(2);
if (path === undefined) throw new Error("usage: structured.ts MODEL.gguf [SENTENCE]");

const schema = {
  type: "object",
  properties: {
    places: { type: "array", items: { type: "string", maxLength: 40 }, maxItems: 5 },
    language: { enum: ["English", "French", "German", "other"] },
    words: { type: "integer", minimum: 1, maximum: 1000 },
  },
  required: ["places", "language", "words"],
};

await using model = await Model.load(path, { maxSequences: 2 });
const ask = (question: string) => [{ role: "user", content: `${question}\n\n${sentence}` }];
const [facts, verdict] = await Promise.all([
  model.generate(ask("List the places in this sentence, its language, and its number of words, as JSON."), { schema })
    .result(),
  model.generate(ask("Is this sentence true? Answer yes or no."), { grammar: 'root ::= "yes" | "no"' }).result(),
]);
console.log(facts.json, verdict.text);
