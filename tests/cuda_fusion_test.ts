/**
 * Every fusion of the CUDA executor can be switched off by itself, and each of them changes no more than a rounding:
 * tiny models with weights of the kinds that have fused kernels, few rows and many, decodes of a graph included.
 */
import { readFileSync } from "node:fs";
import { assert, assertEquals } from "@std/assert";
import { PLAN_FLAGS, STRUCTS } from "../src/platform/abi.ts";
import { openEngine, openWeights } from "../src/engine/native_model.ts";
import { openLibrary, readAll } from "../src/platform/library.ts";
import { readRecord, writeRecord } from "../src/record.ts";
import { relativeError } from "./divergence.ts";
import { GOLDEN_CASES, goldenModel, tinyPrompts } from "./golden_cases.ts";
import { gpuIsa, noGpu } from "./gpu.ts";
import { StepRunner, type TestModel, testModel } from "./step_runner.ts";
import { inRoot, leakCheck, testUnless } from "./support.ts";

const missing = noGpu();
/** The names that a listing has, in the order of the switches: rzc_patterns. */
const PATTERNS = [...readFileSync(inRoot("cuda", "patterns.c"), "utf8").matchAll(/\{\.name = "([^"]+)"/g)].map(
  ([, name]) => name!,
);
const ALL = (1 << PATTERNS.length) - 1;
const MODELS = ["llama-mixed", "qwen2-q8_0", "qwen2-bf16", "qwen3-q4_k", "llama-q6_k"];
const PROMPTS = [...tinyPrompts(), Array.from({ length: 100 }, (_, i) => (7 * i) % 320)];

/** Logits of prompts, and of three sequences that decode together. */
function logitsOf(runner: StepRunner): Float32Array[] {
  const out = PROMPTS.map((tokens) => runner.step([{ slot: 0, nPast: 0, tokens, want: "all" }]));
  const starts = [PROMPTS[3]!, PROMPTS[4]!, PROMPTS[5]!];
  runner.step(starts.map((tokens, slot) => ({ slot, nPast: 0, tokens })));
  for (let n = 0; n < 3; n++) {
    out.push(runner.step(starts.map(({ length }, slot) => ({ slot, nPast: length + n, tokens: [5 * slot + n] }))));
  }
  return out;
}

function modelOf(name: string): Promise<TestModel> {
  return testModel(goldenModel(GOLDEN_CASES.find((of) => of.name === name)!));
}

for (const name of MODELS) {
  testUnless(missing, `cuda: each fusion by itself is a rounding: ${name}`, async () => {
    const model = await modelOf(name);
    const common = { backend: "cuda", deterministic: false } as const;
    using plain = new StepRunner(model, { ...common, noFusion: true });
    const expected = logitsOf(plain);
    const ways = [[0, "all on"], ...PATTERNS.map((pattern, i) => [1 << i, `without ${pattern}`])] as [number, string][];
    if (name === MODELS[0]) PATTERNS.forEach((pattern, i) => ways.push([~(1 << i) & ALL, `${pattern} alone`]));
    for (const [off, what] of ways) {
      using runner = new StepRunner(model, { ...common, patternsOff: [off, 0] });
      logitsOf(runner).forEach((got, i) => {
        const error = relativeError(expected[i]!, got);
        assert(error < 5e-3, `${name}, ${what}: step ${i}: ${error}`);
      });
    }
  });
}

/** What is fused, of both row classes, as the listing has it. */
function listing(model: TestModel, flags: number, off: number): string {
  const library = openLibrary(), { native, check } = library;
  const engine = openEngine(library, "cuda", 0, 0, gpuIsa());
  try {
    const { plan, table } = model.prepared;
    const weights = openWeights(library, engine, plan.weightTable, []);
    for (const [i, { offset, bytes }] of table.entries()) {
      check(native.rz_weights_write(weights, i + 1, 0, model.bytes!.subarray(offset, offset + bytes), bytes));
    }
    const { size } = STRUCTS.rz_plan_options;
    const sizes = { max_tokens: 256, max_seqs: 4, max_outs: 4, patterns_off: [off, 0] };
    const options = writeRecord(STRUCTS.rz_plan_options, { size, flags, ...sizes });
    const handle = check(native.rz_plan_open(weights, plan.bytes, plan.bytes.length, options));
    const info = new Uint8Array(STRUCTS.rz_plan_info.size);
    check(native.rz_plan_info_read(handle, info));
    const classes = readRecord(STRUCTS.rz_plan_info, info).n_classes;
    return Array.from({ length: classes }, (_, c) => {
      const text = readAll(library, (out, cap) => native.rz_plan_listing(handle, c, out, cap));
      return new TextDecoder().decode(text);
    }).join("\n");
  } finally {
    native.rz_engine_close(engine);
  }
}

testUnless(missing, "cuda: the switch of a fusion takes that one away and no other", async () => {
  const models = [await modelOf("llama-mixed"), await modelOf("qwen3moe-mixed")]; // together they have all of them
  const has = (flags: number, off: number) => {
    const texts = models.map((model) => listing(model, flags, off));
    return PATTERNS.filter((pattern) => texts.some((text) => text.includes(`  ${pattern}: `)));
  };
  const all = has(0, 0);
  assert(PATTERNS.length >= 5);
  if (gpuIsa() === 0) assertEquals(all, PATTERNS, "every fusion is there"); // portable code has fewer
  assertEquals(has(PLAN_FLAGS.deterministic, 0), []);
  assertEquals(has(PLAN_FLAGS.noFusion, 0), []);
  for (const [i, pattern] of PATTERNS.entries()) {
    const left = has(0, 1 << i);
    assert(!left.includes(pattern), pattern);
    const others = PATTERNS.filter((other) => other !== pattern && !left.includes(other));
    assertEquals(others.filter((other) => all.includes(other)), [], `others without ${pattern}`);
  }
});

leakCheck();
