/** `ref` against an independent implementation, at every position of every prompt: tests/golden/logits. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { assert, assertEquals } from "@std/assert";
import { Model } from "../src/api/model.ts";
import { GOLDEN_CASES, goldenModel } from "./golden_cases.ts";
import { type Golden, goldenError, readGolden } from "./golden_file.ts";
import { StepRunner, testModel } from "./step_runner.ts";
import { leakCheck, realModel, test, testUnless } from "./support.ts";

/** Max abs error, relative to the range of the logits. */
const BOUND = 1e-3;

function checkFile(bytes: Uint8Array, golden: Golden): void {
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

const real = realModel();
testUnless(
  "missing" in real ? real.missing : undefined,
  "golden: ref computes SmolLM2-135M as transformers does",
  async () => {
    const { path } = real as { path: string };
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
