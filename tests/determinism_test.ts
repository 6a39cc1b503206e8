/**
 * The promise of the CPU executor: the same prompt, seed and options give the same tokens, whatever the number of
 * threads, whoever runs beside them and however prompts are cut into steps. Through the public API.
 */
import { assertEquals, assertNotEquals } from "@std/assert";
import { type GenerationResult, type LoadOptions, Model } from "../src/mod.ts";
import { Random } from "./random_blocks.ts";
import { leakCheck, test } from "./support.ts";
import { tinyGguf, type TinyOptions } from "./tiny_gguf.ts";

/** A prompt of two steps and a bit. */
const PROMPT_TOKENS = 700;
const NEW_TOKENS = 24;

const random = new Random(51);
const PROMPT = Array.from({ length: PROMPT_TOKENS }, () => random.below(280));
const SHORT = PROMPT.slice(0, 5);

function options(kvDtype: "f16" | "q8_0", threads: number): LoadOptions {
  return { device: "cpu", threads, kvDtype, contextSize: 1024, maxSequences: 4 };
}

function generate(model: Model, prompt: readonly number[], seed: number): Promise<GenerationResult> {
  return model.generate(prompt, { seed, temperature: 1, topK: 0, maxTokens: NEW_TOKENS, ignoreEos: true }).result();
}

const MODELS: readonly [string, TinyOptions][] = [
  ["q8_0 weights", { dtype: "Q8_0", nHeads: 4, nKvHeads: 2, headDim: 32, contextLength: 1024, seed: 7 }],
  ["mixed weights", {
    arch: "qwen3",
    dtype: (tensor) => tensor.includes("ffn_down") ? "Q6_K" : tensor.includes("attn_v") ? "F16" : "Q4_K",
    headDim: 64,
    contextLength: 1024,
    seed: 8,
  }],
];

for (const [what, tiny] of MODELS) {
  for (const kvDtype of ["f16", "q8_0"] as const) {
    const bytes = tinyGguf(tiny);

    test(`determinism: the same tokens with 1, 2, 3 and 8 threads: ${what}, ${kvDtype} cache`, async () => {
      const all = [];
      for (const threads of [1, 2, 3, 8]) {
        await using model = await Model.load(bytes, options(kvDtype, threads));
        const [long, short] = [await generate(model, PROMPT, 11), await generate(model, SHORT, 12)];
        all.push([long.tokens, short.tokens]);
        // The prompt is cached now: the last token alone is computed.
        assertEquals((await generate(model, PROMPT, 11)).tokens, long.tokens, "after a cache hit");
        assertNotEquals((await generate(model, PROMPT, 13)).tokens, long.tokens, "the seed decides");
      }
      for (const tokens of all) assertEquals(tokens, all[0]);
    });

    test(`determinism: neighbours and chunks change nothing: ${what}, ${kvDtype} cache`, async () => {
      await using alone = await Model.load(bytes, options(kvDtype, 2));
      const expected = (await generate(alone, PROMPT, 11)).tokens;
      const expectedShort = (await generate(alone, SHORT, 12)).tokens;
      // Beside one another: prompts are cut into other chunks, and decodes share steps with them.
      await using model = await Model.load(bytes, options(kvDtype, 2));
      const busy = [1, 2, 3].map((i) => generate(model, PROMPT.slice(i * 100), 20 + i));
      const short = generate(model, SHORT, 12);
      const long = generate(model, PROMPT, 11);
      assertEquals((await long).tokens, expected, "the long prompt");
      assertEquals((await short).tokens, expectedShort, "the short prompt");
      await Promise.all(busy);
    });
  }
}

leakCheck();
