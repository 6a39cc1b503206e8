/**
 * The synchronous core: logits in your own thread, and a loop of your own in place of the sampler.
 *
 *     bun examples/session.ts MODEL.gguf "The capital of France is"
 */
import process from "node:process";
import { Model } from "../src/mod.ts";

const [path, text = "The capital of France is"] = process.argv.slice(2);
if (path === undefined) throw new Error("usage: session.ts MODEL.gguf [TEXT]");

/** Ids of the n largest logits, best first. */
function best(logits: Float32Array, n: number): number[] {
  return Array.from(logits.keys()).sort((a, b) => logits[b]! - logits[a]!).slice(0, n);
}

await using model = await Model.load(path, { maxSequences: 1, contextSize: 512 });
using session = model.session();

let logits = session.evaluate(session.tokenize(text));
console.log("likeliest next tokens:", best(logits, 5).map((token) => session.detokenize([token])));

// Greedy decoding by hand.
const start = session.length;
const greedy: number[] = [];
for (let i = 0; i < 12; i++) {
  const token = best(logits, 1)[0]!;
  greedy.push(token);
  logits = session.evaluate([token], logits);
}
console.log("greedy:", session.detokenize(greedy));

// A fork goes its own way; rewinding forgets.
using other = session.fork();
other.rewind(start);
other.evaluate(other.tokenize(" not", { addSpecial: false }));
console.log(`${session.length} tokens here, ${other.length} in the fork`);
