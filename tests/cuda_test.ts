/**
 * The CUDA executor: every op of the table, tiny models of every architecture and weight type against `ref`, that a
 * sequence is what its own tokens make it, and the real model. On a machine without a GPU each is a named skip; a GPU
 * that is there and does not work is a failure.
 */
import { assert, assertEquals } from "@std/assert";
import { OPS } from "../src/plan/op_table.ts";
import { Agreement, relativeError } from "./divergence.ts";
import { GOLDEN_CASES, goldenModel, tinyPrompts } from "./golden_cases.ts";
import { noGpu } from "./gpu.ts";
import { attentionCases } from "./op_cases_attention.ts";
import { matrixCases } from "./op_cases_matrix.ts";
import { otherCases } from "./op_cases_other.ts";
import { OpEngine } from "./op_engine.ts";
import { compareHead, POSITION_NUMBERS, readRefTokens } from "./ref_tokens.ts";
import { StepRunner, testModel } from "./step_runner.ts";
import { leakCheck, realModel, testUnless } from "./support.ts";

const missing = noGpu();
const CASES = [...matrixCases(), ...otherCases(), ...attentionCases()];
const PROMPTS = tinyPrompts();

/** Sum of squared errors by sum of squares; NaN when a value is not a number. */
function normalizedError(got: Float32Array, want: ArrayLike<number>): number {
  let error = 0, square = 0;
  for (let i = 0; i < got.length; i++) {
    error += (got[i]! - want[i]!) ** 2;
    square += want[i]! ** 2;
  }
  return square === 0 ? error : error / square;
}

for (const op of Object.keys(OPS)) {
  const cases = CASES.filter((of) => of.op === op && of.only === undefined);
  testUnless(missing, `cuda: ${op}, ${cases.length} cases`, () => {
    assert(cases.length > 0, "an op without a case");
    using engine = new OpEngine("cuda");
    const problems: string[] = [];
    let worst = 0;
    for (const { name, make } of cases) {
      const { plan, steps, select = () => true, kvDtype = 0, want, bound } = make();
      const run = plan.run(engine, steps, select, kvDtype);
      const expected = want(run);
      assertEquals(run.outputs.map((o) => o.length), expected.map((e) => e.length), `${op} ${name}: sizes`);
      run.outputs.forEach((got, i) => {
        const error = normalizedError(got, expected[i]!);
        const limit = Math.max(bound.cpu, bound.ref);
        if (!(error <= worst)) worst = error;
        if (!(error <= limit)) problems.push(`${op} ${name}: output ${i}: error ${error}, bound ${limit}`);
      });
    }
    console.log(`cuda: ${op}: ${cases.length} cases, largest error ${worst}`);
    assertEquals(problems, []);
  });
}

for (const of of GOLDEN_CASES) {
  testUnless(missing, `cuda: agrees with ref on ${of.name}`, async () => {
    const model = await testModel(goldenModel(of));
    using ref = new StepRunner(model, { backend: "ref" });
    using cuda = new StepRunner(model, { backend: "cuda", deterministic: false });
    const sums = new Agreement();
    for (const tokens of PROMPTS) {
      const part = [{ slot: 0, nPast: 0, tokens, want: "all" as const }];
      const expected = ref.step(part), got = cuda.step(part);
      for (let i = 0; i < tokens.length; i++) {
        const row = [i * ref.vocabSize, (i + 1) * ref.vocabSize] as const;
        sums.add(expected.subarray(...row), got.subarray(...row));
      }
    }
    const what = `${of.name}: ${sums}, error ${sums.errorMax}`;
    if (of.name.includes("moe")) assert(sums.shareAbove(1e-3) <= 0.25 && sums.same >= 0.9 * sums.n, what);
    else assert(sums.klMean <= 1e-3 && sums.wrong === 0 && sums.errorMax < 0.1, what);
  });
}

/** What the structural tests run on: the fast way, whose bits depend on the row count, and the one whose do not. */
const STRUCTURAL = [
  "llama-f32",
  "llama-mixed",
  "qwen2-q8_0",
  "qwen2-bf16",
  "qwen3-q4_k",
  "qwen3-q5_0",
  "qwen3moe-mixed",
]
  .flatMap((name) => [true, false].map((deterministic) => ({ name, deterministic })));

for (const name of ["llama-f32", "llama-mixed", "qwen2-q8_0", "qwen2-bf16", "qwen3-q4_k", "qwen3-q4_0"]) {
  testUnless(missing, `cuda: fused = unfused but for rounding on ${name}`, async () => {
    const model = await testModel(goldenModel(GOLDEN_CASES.find((of) => of.name === name)!));
    using fused = new StepRunner(model, { backend: "cuda", deterministic: false });
    using unfused = new StepRunner(model, { backend: "cuda", deterministic: false, noFusion: true });
    for (const tokens of PROMPTS.filter(({ length }) => length <= 8)) {
      const part = [{ slot: 0, nPast: 0, tokens, want: "all" as const }];
      const error = relativeError(unfused.step(part), fused.step(part));
      assert(error < 1e-3, `${name}: ${tokens.length} rows: ${error}`);
    }
  });
}

for (const { name, deterministic } of STRUCTURAL) {
  if (name.includes("moe") && !deterministic) continue; // a rounding may send a token to another expert
  const bound = deterministic ? 0 : 5e-3;
  const how = deterministic ? "nothing in" : "no more than rounding in";
  testUnless(missing, `cuda: chunks, neighbours and a rewind change ${how} ${name}`, async () => {
    const model = await testModel(goldenModel(GOLDEN_CASES.find((of) => of.name === name)!));
    using runner = new StepRunner(model, { backend: "cuda", deterministic });
    const v = runner.vocabSize, long = PROMPTS[7]!, other = PROMPTS[5]!;
    const expected = runner.step([{ slot: 0, nPast: 0, tokens: long, want: "all" }]);
    for (const chunk of [1, 7, 16, 33]) {
      const got = new Float32Array(expected.length);
      for (let nPast = 0; nPast < long.length; nPast += chunk) {
        const tokens = long.slice(nPast, nPast + chunk);
        const beside = nPast % 2 === 0 ? [] : [{ slot: 2, nPast: 0, tokens: other, want: "none" as const }];
        got.set(runner.step([{ slot: 1, nPast, tokens, want: "all" }, ...beside]), nPast * v);
      }
      const error = relativeError(expected, got);
      assert(error <= bound, `${name}: chunks of ${chunk}: ${error}`);
    }
    runner.step([{ slot: 1, nPast: 5, tokens: [1, 2, 3], want: "none" }]);
    const again = runner.step([{ slot: 1, nPast: 5, tokens: long.slice(5), want: "last" }]);
    assert(relativeError(expected.subarray(-v), again) <= bound, "rewind");
  });
}

const { path = "", missing: noModel } = { path: undefined, missing: undefined, ...realModel() };

for (const together of [true, false]) {
  const how = together ? "in one chunk" : "token by token";
  testUnless(missing ?? noModel, `cuda: SmolLM2-135M, fed ref's own tokens ${how}, agrees with ref`, async () => {
    const golden = readRefTokens();
    const sizes = { slots: 1, contextSize: 96, maxTokens: 96, deterministic: false };
    using cuda = new StepRunner(await testModel(path), { backend: "cuda", ...sizes });
    const sums = new Agreement(), v = cuda.vocabSize;
    for (const [i, all] of golden.tokens.entries()) {
      const nPrompt = golden.prompts[i]!.length;
      let logits = together ? cuda.step([{ slot: 0, nPast: 0, tokens: all.slice(0, -1), want: "all" }]) : undefined;
      for (let n = nPrompt - 1; n < all.length - 1; n++) {
        if (!together) {
          const nPast = n === nPrompt - 1 ? 0 : n;
          logits = cuda.step([{ slot: 0, nPast, tokens: all.slice(nPast, n + 1) }]);
        }
        const row = together ? logits!.subarray(n * v, (n + 1) * v) : logits!;
        const at = POSITION_NUMBERS * (i * (all.length - nPrompt) + n - nPrompt + 1);
        const { kl, same, gap } = compareHead(golden.numbers.subarray(at, at + POSITION_NUMBERS), row);
        sums.addFigures(kl, same, gap);
      }
    }
    console.log(`cuda: SmolLM2-135M Q4_1 ${how}, cuda against ref, ${sums}`);
    assertEquals(sums.n, 16 * 64);
    assert(sums.klMean <= 1e-3 && sums.wrong === 0, `${sums}`);
  });
}

leakCheck();
