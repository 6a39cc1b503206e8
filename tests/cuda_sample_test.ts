/**
 * Sampling on the GPU: what the best logits of a row decide is what the whole row decides on the host. A penalty too
 * small to change any logit sends a generation the way of the whole row.
 */
import { assert, assertEquals } from "@std/assert";
import { Model } from "../src/mod.ts";
import { noGpu } from "./gpu.ts";
import { leakCheck, realModel, testUnless } from "./support.ts";
import { tinyGguf } from "./tiny_gguf.ts";

const WHOLE_ROW = { presencePenalty: 1e-30 };
const WAYS = [
  { temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05 },
  { temperature: 2, topK: 64, topP: 1, minP: 0 },
  { temperature: 1.3, topK: 1, topP: 0.5, minP: 0 },
  { temperature: 1, topK: 20, topP: 0.9, minP: 0, typicalP: 0.7 },
  { temperature: 0, topK: 0 },
];

const missing = noGpu();
const { path = "", missing: noModel } = { path: undefined, missing: undefined, ...realModel() };
const SOURCES = [
  { name: "a vocabulary of 320", source: tinyGguf({ seed: 3 }), missing },
  { name: "SmolLM2-135M", source: path, missing: missing ?? noModel },
];

for (const { name, source, missing } of SOURCES) {
  testUnless(missing, `cuda: the best logits of a row choose as the whole row does, ${name}`, async () => {
    await using model = await Model.load(source, { device: "cuda", contextSize: 256 });
    for (const [i, way] of WAYS.entries()) {
      for (const seed of [1, 2, 3]) {
        const options = { ...way, seed: seed + 10 * i, maxTokens: 24, ignoreEos: true, logprobs: 5 };
        const prompt = [5, 9, 77, 100 + seed];
        const best = await model.generate(prompt, options).result();
        const whole = await model.generate(prompt, { ...options, ...WHOLE_ROW }).result();
        assertEquals(best.tokens, whole.tokens, `${JSON.stringify(way)}, seed ${options.seed}`);
        for (const [k, one] of best.logprobs!.entries()) {
          const other = whole.logprobs![k]!;
          assertEquals(one.top.map(({ token }) => token), other.top.map(({ token }) => token));
          for (const [t, { logprob }] of one.top.entries()) {
            assert(Math.abs(logprob - other.top[t]!.logprob) < 1e-4, `${logprob} ${other.top[t]!.logprob}`);
          }
          assert(Math.abs(one.logprob - other.logprob) < 1e-4, `${one.logprob} ${other.logprob}`);
        }
      }
    }
  });
}

leakCheck();
