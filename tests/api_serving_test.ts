/** What servers use of the API: the size of the cache, salts, time limits of the queue, counters. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Model, RealizarError } from "../src/mod.ts";
import type { LoadOptions } from "../src/types.ts";
import { leakCheck, test, TEST_LIBRARY_PATH, testLibrary } from "./support.ts";
import { tinyGguf } from "./tiny_gguf.ts";

const bytes = tinyGguf({ seed: 8 });
const PAGE = 16;
/** Longer than any wait of a test. */
const HOLD_MS = 20_000;
const ON_TEST_LIBRARY = { device: "ref", libraryPath: TEST_LIBRARY_PATH } as const;
const GREEDY = { temperature: 0, ignoreEos: true };
const prompt = (n: number, first = 0): number[] => Array.from({ length: n }, (_, i) => (first + 7 * i) % 280);

async function refused(promise: Promise<unknown>, code: string): Promise<string> {
  const error = await assertRejects(() => promise, RealizarError);
  assertEquals(error.code, code, error.message);
  return error.message;
}

test("kvTokens: the cache has that many, whatever the sequences and their context; estimates say so", async () => {
  const options: LoadOptions = { device: "ref", maxSequences: 200, contextSize: 128, kvTokens: 300 };
  await using model = await Model.load(bytes, options);
  const { kvBytes, kvTokens } = model.info;
  assertEquals(kvTokens, 19 * PAGE, "whole pages");
  // 2 layers of keys and values of 2 x 16 columns in F32, and the null page
  assertEquals(kvBytes, (kvTokens + PAGE) * 2 * 2 * 32 * 4);
  assertEquals((await Model.estimate(bytes, options)).kvBytes, kvBytes);
  const results = await Promise.all(
    Array.from({ length: 40 }, (_, i) => model.generate(prompt(20, i), { ...GREEDY, maxTokens: 30 }).result()),
  );
  for (const { tokens } of results) assertEquals(tokens.length, 30);
  const alone = await model.generate(prompt(20, 39), { ...GREEDY, maxTokens: 30, cacheSalt: "alone" }).result();
  assertEquals(results[39]!.tokens, alone.tokens);
});

test("kvTokens: by default every sequence can fill its context; out of range is refused", async () => {
  await using model = await Model.load(bytes, { device: "ref", maxSequences: 3, contextSize: 100 });
  assertEquals(model.info.kvTokens, 3 * 7 * PAGE);
  for (const kvTokens of [0, 1.5, 2 ** 28 + 1]) {
    await refused(Model.load(bytes, { kvTokens }), "ARG");
  }
});

test("kvTokens: a prompt that does not fit alone is refused, one that does gets what is left", async () => {
  await using model = await Model.load(bytes, { device: "ref", contextSize: 128, kvTokens: 64 });
  const message = await refused(model.generate(prompt(64), GREEDY).result(), "LIMIT");
  assert(message.includes("64 tokens") && message.includes("kvTokens"), message);
  const { tokens, finishReason } = await model.generate(prompt(60), GREEDY).result();
  assertEquals([tokens.length, finishReason], [4, "length"]);
});

test("cacheSalt: prompts find what the same salt computed, and nothing else", async () => {
  await using model = await Model.load(bytes, { device: "ref" });
  const cached: number[] = [];
  const texts = new Set<string>();
  for (const cacheSalt of ["a", "b", undefined, "a", "b", undefined]) {
    const { usage, text } = await model.generate(prompt(40), { ...GREEDY, maxTokens: 4, cacheSalt }).result();
    cached.push(usage.cachedTokens);
    texts.add(text);
  }
  assertEquals(cached, [0, 0, 0, 2 * PAGE, 2 * PAGE, 2 * PAGE]);
  assertEquals(texts.size, 1, "a hit changes nothing");
  await refused(model.generate(prompt(4), { cacheSalt: "x".repeat(257) }).result(), "ARG");
});

test("queueTimeoutMs: BUSY says how long it waited and who else does; counters tell the same", async () => {
  await using model = await Model.load(bytes, { ...ON_TEST_LIBRARY, maxSequences: 1 });
  const { native, check } = testLibrary();
  check(native.rz_test_hold(HOLD_MS));
  const first = model.generate(prompt(20), GREEDY);
  while (first.state !== "running") await new Promise((resolve) => setTimeout(resolve, 1));
  const patient = model.generate(prompt(20), { ...GREEDY, maxTokens: 3 });
  const late = model.generate(prompt(20), { ...GREEDY, queueTimeoutMs: 50 });
  const message = await refused(late.result(), "BUSY");
  const [, waitedMs] = /for (\d+) ms: 1 running, 1 more waiting$/.exec(message) ?? [];
  assert(Number(waitedMs) >= 50 && Number(waitedMs) < HOLD_MS, message);
  const during = model.stats();
  assertEquals([during.nRunning, during.nWaiting, during.kvPagesUsed], [1, 1, 2]);
  first.cancel();
  assertEquals((await first.result()).finishReason, "abort");
  assertEquals((await patient.result()).tokens.length, 3);
});

test("stats: every number is what the generations add up to", async () => {
  await using model = await Model.load(bytes, { device: "ref", maxSequences: 2, contextSize: 128 });
  assertEquals(model.stats().kvPagesTotal, model.info.kvTokens / PAGE);
  const empty = model.stats();
  assertEquals([empty.nSteps, empty.nTokensComputed, empty.nTokensGenerated, empty.nPromptTokens], [0, 0, 0, 0]);
  const one = await model.generate(prompt(40), { ...GREEDY, maxTokens: 5 }).result();
  const two = await model.generate(prompt(40), { ...GREEDY, maxTokens: 1 }).result();
  assertEquals([one.usage.cachedTokens, two.usage.cachedTokens], [0, 32]);
  const after = model.stats();
  assertEquals([after.nRunning, after.nWaiting, after.nPreemptions, after.kvPagesUsed], [0, 0, 0, 0]);
  assertEquals([after.nPromptTokens, after.nCachedTokens, after.nTokensGenerated], [80, 32, 6]);
  // The token that ends a generation is not computed; the second prompt only from its cached part on.
  assertEquals([after.nTokensComputed, after.nSteps], [40 + 4 + 8, 5 + 1]);
  assert(after.kvPagesCached >= 2);
});

test("logitBias: many biases of one generation are no failure of its neighbours", async () => {
  const big = tinyGguf({ seed: 9, vocabSize: 5000 });
  await using model = await Model.load(big, { device: "ref", maxSequences: 2, contextSize: 128 });
  const biases = (n: number) => Object.fromEntries(Array.from({ length: n }, (_, i) => [i, -Infinity]));
  const message = await refused(model.generate(prompt(4), { logitBias: biases(4700) }).result(), "LIMIT");
  assert(message.includes("4700") && message.includes("4608"), message);
  const options = { ...GREEDY, maxTokens: 8 };
  const answers = await Promise.all([
    model.generate(prompt(4), { ...options, logitBias: biases(4600) }).result(),
    model.generate(prompt(4), { ...options, logitBias: biases(2600) }).result(),
  ]);
  for (const [i, first] of [4600, 2600].entries()) assert(answers[i]!.tokens.every((token) => token >= first));
});

test("a prompt that several ask at once is computed once, and each has its own answer", async () => {
  await using model = await Model.load(bytes, { device: "ref", maxSequences: 4, contextSize: 128 });
  const options = { temperature: 1, ignoreEos: true, maxTokens: 6 };
  const seeds = [1, 2, 3, 4];
  const answers = await Promise.all(
    seeds.map((seed) => model.generate(prompt(40), { ...options, seed }).result()),
  );
  // 40 for the first, then what follows the two pages that all share; the last token of each is not computed.
  assertEquals(model.stats().nTokensComputed, 40 + 3 * 8 + 4 * 5);
  for (const [i, seed] of seeds.entries()) {
    const alone = await model.generate(prompt(40), { ...options, seed, cacheSalt: `${seed}` }).result();
    assertEquals(answers[i]!.tokens, alone.tokens);
  }
});

leakCheck();
leakCheck(testLibrary);
