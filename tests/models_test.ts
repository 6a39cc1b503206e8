/**
 * Whole models, by executor: cpu against ref on every architecture and weight type, and on each of them that a sequence
 * is what its own tokens make it, whatever its chunks, neighbours, pages and past.
 */
import { assert, assertEquals } from "@std/assert";
import { Agreement } from "./divergence.ts";
import { GOLDEN_CASES, goldenModel, tinyPrompts } from "./golden_cases.ts";
import { forcedRows, greedyTokens } from "./greedy.ts";
import { Random } from "./random_blocks.ts";
import { type RunnerOptions, StepRunner, type TestModel, testModel } from "./step_runner.ts";
import { leakCheck, test } from "./support.ts";

const BACKENDS = ["ref", "cpu"] as const;

const models = new Map<string, Promise<TestModel>>();
/** A golden case's model, made once. */
function modelOf(name: string): Promise<TestModel> {
  const found = models.get(name) ?? testModel(goldenModel(GOLDEN_CASES.find((of) => of.name === name)!));
  models.set(name, found);
  return found;
}

/** What the structural tests run on: each architecture, with weights of the kinds that kernels tell apart. */
const STRUCTURAL = [
  "llama-f32",
  "llama-q4_1",
  "llama-mixed",
  "qwen2-q8_0",
  "qwen2-bf16",
  "qwen3-q4_k",
  "qwen3-q5_0",
  "qwen3moe-mixed",
];

const PROMPTS = tinyPrompts();
/** A prompt over three pages. */
const LONG = PROMPTS[7]!;
const SHORT = PROMPTS[4]!;

async function open(name: string, options: RunnerOptions): Promise<StepRunner> {
  return new StepRunner(await modelOf(name), options);
}

/** Logits of every token of a sequence alone, in one chunk. */
function alone(runner: StepRunner, tokens: readonly number[]): Float32Array {
  return runner.step([{ slot: 0, nPast: 0, tokens, want: "all" }]);
}

/** Bit for bit; tells the first row that differs. */
function assertSameLogits(got: Float32Array, expected: Float32Array, vocab: number, what: string): void {
  assertEquals(got.length, expected.length, what);
  const at = got.findIndex((x, i) => !Object.is(x, expected[i]));
  assert(at < 0, `${what}: row ${Math.floor(at / vocab)}, token ${at % vocab} is ${got[at]}, expected ${expected[at]}`);
}

for (const { name } of GOLDEN_CASES) {
  test(`models: cpu agrees with ref on ${name}`, async () => {
    using ref = await open(name, { backend: "ref" });
    using cpu = await open(name, { backend: "cpu" });
    const sums = new Agreement();
    for (const prompt of PROMPTS) {
      const expected = alone(ref, prompt);
      const got = alone(cpu, prompt);
      for (let i = 0; i < prompt.length; i++) {
        const row = [i * ref.vocabSize, (i + 1) * ref.vocabSize] as const;
        sums.add(expected.subarray(...row), got.subarray(...row));
      }
    }
    const what = `${name}: ${sums}, error ${sums.errorMax}`;
    // Where two experts are nearly equal a rounding sends a token to the other one: a jump that nothing bounds.
    if (name.includes("moe")) assert(sums.shareAbove(1e-3) <= 0.25 && sums.same >= 0.9 * sums.n, what);
    else assert(sums.klMean <= 1e-3 && sums.wrong === 0 && sums.errorMax < 0.1, what);
  });
}

for (const name of ["llama-mixed", "qwen2-q8_0", "qwen3-q4_1"]) {
  test(`models: cpu, fed ref's own tokens, agrees with ref on ${name} (16 prompts x 64)`, async () => {
    const random = new Random(16);
    const prompts = Array.from({ length: 16 }, (_, i) => Array.from({ length: 1 + i }, () => random.below(320)));
    const sizes = { slots: 16, contextSize: 96 };
    using ref = await open(name, { backend: "ref", ...sizes });
    using cpu = await open(name, { backend: "cpu", ...sizes });
    const run = greedyTokens(ref, prompts, 64);
    const sums = new Agreement();
    forcedRows(cpu, prompts, run).forEach((rows, i) => rows.forEach((row, n) => sums.add(run.rows[i]![n]!, row)));
    assertEquals(sums.n, 16 * 64);
    console.log(`models: ${name}, cpu against ref, ${sums}`);
    assert(sums.klMean <= 1e-3 && sums.wrong === 0, `${sums}`);
  });
}

for (const name of STRUCTURAL) {
  for (const backend of BACKENDS) {
    const on = `${name} on ${backend}`;

    test(`models: prefill is decode after decode, in any chunks: ${on}`, async () => {
      using runner = await open(name, { backend });
      const expected = alone(runner, LONG);
      for (const chunk of [1, 7, 16, 33]) {
        const got = new Float32Array(expected.length);
        for (let nPast = 0; nPast < LONG.length; nPast += chunk) {
          const tokens = LONG.slice(nPast, nPast + chunk);
          got.set(runner.step([{ slot: 1, nPast, tokens, want: "all" }]), nPast * runner.vocabSize);
        }
        assertSameLogits(got, expected, runner.vocabSize, `chunks of ${chunk}`);
      }
    });

    test(`models: a row of a mixed batch is what it is alone: ${on}`, async () => {
      using runner = await open(name, { backend });
      const v = runner.vocabSize;
      const sequences = [LONG, SHORT, PROMPTS[5]!, PROMPTS[6]!];
      const expected = sequences.map((tokens) => alone(runner, tokens));
      const got = sequences.map(() => [] as Float32Array[]);
      // Lengths of the chunks of each sequence, step by step: prompt chunks beside decodes, beside nothing.
      const schedule = [[11, 8, 0, 0], [1, 1, 3, 16], [20, 0, 1, 1], [1, 0, 12, 0], [7, 0, 0, 0]];
      const done = sequences.map(() => 0);
      for (const lengths of schedule) {
        const parts = lengths.flatMap((n, slot) =>
          n === 0 ? [] : [{
            slot,
            nPast: done[slot]!,
            tokens: sequences[slot]!.slice(done[slot], done[slot]! + n),
            want: "all" as const,
          }]
        );
        const logits = runner.step(parts);
        let row = 0;
        for (const { slot, tokens } of parts) {
          got[slot]!.push(logits.subarray(row * v, (row + tokens.length) * v));
          row += tokens.length;
          done[slot]! += tokens.length;
        }
      }
      assertEquals(done, sequences.map((tokens) => tokens.length));
      got.forEach((parts, i) => {
        const all = Float32Array.from(parts.flatMap((part) => [...part]));
        assertSameLogits(all, expected[i]!, v, `sequence ${i}`);
      });
    });

    test(`models: a rewound sequence never was where it was: ${on}`, async () => {
      using runner = await open(name, { backend });
      const v = runner.vocabSize;
      alone(runner, LONG);
      const other = [...LONG.slice(0, 18), ...SHORT];
      const got = runner.step([{ slot: 0, nPast: 18, tokens: SHORT, want: "all" }]);
      using fresh = await open(name, { backend });
      assertSameLogits(got, alone(fresh, other).slice(18 * v), v, "after the rewind");
    });

    test(`models: a fork shares pages, copies the last one, and goes its own way: ${on}`, async () => {
      using runner = await open(name, { backend });
      const v = runner.vocabSize;
      const n = 20; // one full page of 16, shared; 4 tokens of the next, copied
      runner.step([{ slot: 0, nPast: 0, tokens: LONG.slice(0, n) }]);
      const mine = runner.pagesOf(0);
      const other = [mine[0]!, ...runner.pagesOf(1).slice(1)];
      const copies = [{ src: mine[1]!, dst: other[1]!, nTokens: n % runner.pageTokens }];
      const both = runner.step([
        { slot: 0, nPast: n, tokens: LONG.slice(n), want: "all" },
        { slot: 1, nPast: n, tokens: SHORT, want: "all", pages: other },
      ], copies);
      using fresh = await open(name, { backend });
      const left = alone(fresh, LONG).slice(n * v);
      const right = alone(fresh, [...LONG.slice(0, n), ...SHORT]).slice(n * v);
      assertSameLogits(both, Float32Array.from([...left, ...right]), v, "both branches");
    });
  }

  test(`models: the text does not depend on fusion: ${name} on cpu`, async () => {
    using fused = await open(name, { backend: "cpu" });
    using unfused = await open(name, { backend: "cpu", noFusion: true });
    const expected = alone(unfused, LONG);
    const check = (runner: StepRunner, what: string): void => {
      const sums = new Agreement();
      const decodes = new Float32Array(expected.length);
      LONG.forEach((token, nPast) =>
        decodes.set(runner.step([{ slot: 1, nPast, tokens: [token] }]), nPast * runner.vocabSize)
      );
      for (const got of [alone(runner, LONG), decodes]) {
        for (let at = 0; at < expected.length; at += runner.vocabSize) {
          sums.add(expected.subarray(at, at + runner.vocabSize), got.subarray(at, at + runner.vocabSize));
        }
      }
      assert(sums.klMean <= 1e-6 && sums.wrong === 0, `${what}: ${sums}`);
    };
    check(fused, "all patterns on");
    for (let bit = 0; bit < 8; bit++) {
      using without = await open(name, { backend: "cpu", patternsOff: [1 << bit, 0] });
      check(without, `pattern ${bit} off`);
    }
  });
}

leakCheck();
