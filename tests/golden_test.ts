/** `ref` against an independent implementation, at every position of every prompt: tests/golden/logits. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { assert, assertEquals } from "@std/assert";
import { Model } from "../src/api/model.ts";
import { Agreement } from "./divergence.ts";
import { GOLDEN_CASES, goldenModel } from "./golden_cases.ts";
import { type Golden, goldenError, readGolden } from "./golden_file.ts";
import { greedyTokens } from "./greedy.ts";
import { compareHead, firstNear, POSITION_NUMBERS, readPeerTokens, readRefTokens } from "./ref_tokens.ts";
import { StepRunner, testModel } from "./step_runner.ts";
import { leakCheck, realModel, test, testUnless } from "./support.ts";

/** Max abs error, relative to the range of the logits: 1e-3 is what users are promised, 2e-6 what was found. */
const BOUND = 2e-5;

function checkFile(bytes: Uint8Array, golden: { model: string; sha256: string }): void {
  const sha256 = createHash("sha256").update(bytes).digest("hex");
  const what = `${golden.model}: the model's bytes changed; run tools/golden/make_logits.py again`;
  assertEquals(sha256, golden.sha256, what);
}

function checkLogits(golden: Golden, logits: Float32Array): void {
  const { error, position } = goldenError(golden, logits);
  assert(error <= BOUND, `${golden.model}: error ${error} of the range at position ${position}, bound ${BOUND}`);
}

/** All rows of all prompts, each prompt from the start. */
function concatenate(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (all.set(part, at), at + part.length), 0);
  return all;
}

for (const of of GOLDEN_CASES) {
  test(`golden: ref computes ${of.name} as transformers does`, async () => {
    const golden = readGolden(of.name);
    const bytes = goldenModel(of);
    checkFile(bytes, golden);
    assert(golden.prompts.length >= 8);
    using runner = new StepRunner(await testModel(bytes), { backend: "ref" });
    const parts = golden.prompts.map((tokens) => runner.step([{ slot: 1, nPast: 0, tokens, want: "all" }]));
    checkLogits(golden, concatenate(parts));
  });
}

const { path = "", missing } = { path: undefined, missing: undefined, ...realModel() };

testUnless(missing, "golden: ref computes SmolLM2-135M as transformers does", async () => {
  const golden = readGolden("smollm2");
  checkFile(readFileSync(path), golden);
  assert(golden.prompts.length >= 8);
  await using model = await Model.load(path, { device: "ref", contextSize: 64, maxSequences: 1 });
  using session = model.session({ contextSize: 64 });
  const parts = golden.prompts.map((tokens) => {
    session.rewind(0);
    return session.evaluate(tokens, undefined, { all: true });
  });
  checkLogits(golden, concatenate(parts));
});

testUnless(
  missing,
  "golden: cpu, fed ref's own tokens, agrees with ref on SmolLM2-135M (16 prompts x 64)",
  async () => {
    const golden = readRefTokens();
    checkFile(readFileSync(path), golden);
    using cpu = new StepRunner(await testModel(path), { backend: "cpu", slots: 1, contextSize: 96, maxTokens: 96 });
    const sums = new Agreement();
    let at = 0;
    for (const [i, all] of golden.tokens.entries()) {
      const logits = cpu.step([{ slot: 0, nPast: 0, tokens: all.slice(0, -1), want: "all" }]);
      for (let n = golden.prompts[i]!.length - 1; n < all.length - 1; n++, at += POSITION_NUMBERS) {
        const judged = logits.subarray(n * cpu.vocabSize, (n + 1) * cpu.vocabSize);
        const { kl, same, gap } = compareHead(golden.numbers.subarray(at, at + POSITION_NUMBERS), judged);
        sums.addFigures(kl, same, gap);
      }
    }
    assertEquals([sums.n, at], [16 * 64, golden.numbers.length]);
    console.log(`golden: SmolLM2-135M Q4_1, cpu against ref, ${sums}`);
    assert(sums.klMean <= 1e-3 && sums.wrong === 0, `${sums}`);
  },
);

testUnless(
  missing,
  "golden: cpu's greedy text is ref's and llama.cpp's until ref's first two logits are near",
  async () => {
    const golden = readRefTokens();
    const peer = readPeerTokens();
    checkFile(readFileSync(path), golden);
    assertEquals(peer.sha256, golden.sha256);
    const model = await testModel(path);
    using cpu = new StepRunner(model, { backend: "cpu", slots: golden.prompts.length, contextSize: 96 });
    const { tokens } = greedyTokens(cpu, golden.prompts, 64);
    let nCompared = 0;
    golden.prompts.forEach((prompt, i) => {
      const n = firstNear(golden, i, 0.5);
      const own = (all: readonly number[]) => all.slice(prompt.length, prompt.length + n);
      assertEquals(own(tokens[i]!), own(golden.tokens[i]!), `prompt ${i}: cpu and ref`);
      assertEquals(own(tokens[i]!), peer.greedy[i]!.slice(0, n), `prompt ${i}: cpu and ${peer.source}`);
      nCompared += n;
    });
    assert(nCompared > 40, `${nCompared} tokens compared`);
  },
);

test("golden: the bound is sharp enough to see a wrong model", () => {
  const golden = readGolden("llama-q4_k");
  const other = readGolden("llama-q5_k");
  const n = golden.prompts.reduce((sum, prompt) => sum + prompt.length, 0);
  const flat = new Float32Array(n * golden.vocab);
  assert(goldenError(golden, flat).error > 10 * BOUND);
  assert(Number.isNaN(goldenError(golden, flat.fill(NaN)).error));
  assert(golden.numbers.some((x, i) => Math.abs(x - other.numbers[i]!) > 1), "two models differ");
});

leakCheck();
