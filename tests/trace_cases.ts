/**
 * What a trace holds: every case of the op table and of the FFN phase, by the plain way and by the ways that depend on
 * the number of rows, and tiny models through prompts, batches, rewinds, forks and samples.
 */
import { NO_SAMPLING, type OutSampling } from "../src/engine/batch.ts";
import { FFN_CASES, FFN_STEPS, ffnBound, ffnName, ffnPlan } from "./ffn_cases.ts";
import { GOLDEN_CASES, goldenModel } from "./golden_cases.ts";
import type { OpCase } from "./op_case.ts";
import { attentionCases } from "./op_cases_attention.ts";
import { matrixCases } from "./op_cases_matrix.ts";
import { otherCases } from "./op_cases_other.ts";
import { OpEngine } from "./op_engine.ts";
import { Random } from "./random_blocks.ts";
import { StepRunner, type TestModel, testModel } from "./step_runner.ts";
import { Trace } from "./trace.ts";

/** What is recorded. */
export interface TraceChoice {
  /** Of the op table and the FFN phase every n-th case; 0 = none. */
  everyOp: number;
  /** Names of tests/golden_cases.ts. */
  models: readonly string[];
  /** With `deterministic`, without it, or both. */
  ways: readonly ("deterministic" | "fast")[];
}

/** Seconds, also under valgrind: what the suite replays on the CPU. */
export const QUICK_TRACE: TraceChoice = {
  everyOp: 12,
  models: ["llama-mixed", "qwen3moe-mixed"],
  ways: ["deterministic"],
};

/** Everything: minutes under a sanitizer. */
export const WHOLE_TRACE: TraceChoice = {
  everyOp: 1,
  models: [
    "llama-f32",
    "llama-mixed",
    "llama-many-heads",
    "llama-rope-llama3",
    "qwen2-q8_0",
    "qwen2-bf16",
    "qwen3-q4_k",
    "qwen3-q5_0",
    "qwen3moe-mixed",
  ],
  ways: ["deterministic", "fast"],
};

/** Both executors err by themselves: (√a + √b)². The fast ways of a GPU have operands of 16 bits. */
function boundOf(a: number, b: number, deterministic: boolean): number {
  const both = (Math.sqrt(a) + Math.sqrt(b)) ** 2;
  return deterministic ? both : Math.max(both, 5e-5);
}

function recordOps(trace: Trace, every: number, deterministic: boolean): void {
  using engine = new OpEngine("ref", "auto", deterministic, { library: trace.library });
  const how = deterministic ? "" : ", fast";
  const cases: OpCase[] = [...matrixCases(), ...otherCases(), ...attentionCases()].filter(({ only }) => !only);
  for (let i = 0; i < cases.length; i += every) {
    const { op, name, make } = cases[i]!;
    const { plan, steps, select = () => true, kvDtype = 0, bound } = make();
    trace.begin(`${op} ${name}${how}`, boundOf(bound.ref, bound.cpu, deterministic));
    plan.run(engine, steps, select, kvDtype);
  }
  for (let i = 0; i < FFN_CASES.length; i += every) {
    const of = FFN_CASES[i]!, bounds = ffnBound(of);
    for (const separate of [false, true]) {
      const name = `ffn ${ffnName(of)}${separate ? ", every value watched" : ""}${how}`;
      trace.begin(name, boundOf(bounds.ref, Math.max(bounds.cpu, bounds.cuda), deterministic));
      ffnPlan(of, separate).plan.run(engine, FFN_STEPS, () => true);
    }
  }
}

const SAMPLINGS: readonly OutSampling[] = [
  { ...NO_SAMPLING, nTop: 2 },
  { ...NO_SAMPLING, temperature: 0.8, topK: 40, topP: 0.95, minP: 0.05, seedLow: 7, nTop: 5 },
  { ...NO_SAMPLING, temperature: 1.5, topP: 0.9, typicalP: 0.7, seedLow: 11 },
  { ...NO_SAMPLING, temperature: 1, repetition: 1.2, presence: 0.5, frequency: 0.3, seedHigh: 3, bias: [[17, -4]] },
];

/** Sequences of one step after another: prompts together, then tokens of each. */
function batches(runner: StepRunner, random: Random, width: number, nSteps: number): void {
  const prompts = Array.from({ length: width }, (_, i) => words(random, 1 + (5 * i) % 13));
  runner.step(prompts.map((tokens, slot) => ({ slot, nPast: 0, tokens, want: "last" as const })));
  for (let n = 0; n < nSteps; n++) {
    const sampling = SAMPLINGS[n % SAMPLINGS.length]!;
    runner.step(
      prompts.map(({ length }, slot) => ({ slot, nPast: length + n, tokens: words(random, 1), sampling })),
    );
  }
}

function words(random: Random, n: number): number[] {
  return Array.from({ length: n }, () => random.below(320));
}

function play(runner: StepRunner): void {
  const random = new Random(4);
  for (const length of [1, 2, 3, 5, 8, 9, 17, 33, 64, 77, 130]) {
    runner.step([{ slot: 0, nPast: 0, tokens: words(random, length), want: "all" }]);
  }
  for (const width of [1, 2, 3, 8, 9, 16]) batches(runner, random, width, 4);
  const long = words(random, 70);
  for (let nPast = 0; nPast < long.length; nPast += 33) { // chunks of a prompt beside a decode
    const beside = { slot: 2, nPast: 14 + nPast / 33, tokens: words(random, 1) };
    runner.step([{ slot: 1, nPast, tokens: long.slice(nPast, nPast + 33), want: "all" }, beside]);
  }
  runner.step([{ slot: 1, nPast: 21, tokens: words(random, 12), want: "all" }]); // a rewind
  const mine = runner.pagesOf(1), other = [mine[0]!, ...runner.pagesOf(3).slice(1)];
  const copies = [{ src: mine[1]!, dst: other[1]!, nTokens: 7 }]; // a fork after 23 tokens
  runner.step([
    { slot: 1, nPast: 33, tokens: words(random, 1) },
    { slot: 3, nPast: 23, tokens: words(random, 5), pages: other },
  ], copies);
}

/**
 * Squared error of logits: rounding (attention may be in 16 bits) goes through all layers, and may send a token to
 * another expert.
 */
function modelBound(name: string): number {
  if (name.includes("moe")) return 0.1;
  return name.includes("f32") || name.includes("many-heads") || name.includes("llama3") ? 1e-4 : 1e-2;
}

const models = new Map<string, Promise<TestModel>>();
function modelOf(name: string): Promise<TestModel> {
  const found = models.get(name) ?? testModel(goldenModel(GOLDEN_CASES.find((of) => of.name === name)!));
  models.set(name, found);
  return found;
}

/** Writes a trace; returns how many cases and bytes it has. */
export async function writeTrace(path: string, of: TraceChoice): Promise<{ nCases: number; nBytes: number }> {
  using trace = new Trace(path);
  for (const way of of.ways) {
    const deterministic = way === "deterministic";
    if (of.everyOp > 0) recordOps(trace, of.everyOp, deterministic);
    for (const name of of.models) {
      const model = await modelOf(name);
      for (const kvDtype of name === "llama-mixed" ? [0, 1, 8] : [1]) { // F32, F16, Q8_0
        trace.begin(`model ${name}, cache type ${kvDtype}${deterministic ? "" : ", fast"}`, modelBound(name));
        const sizes = { slots: 16, contextSize: 160, maxTokens: 256, library: trace.library };
        using runner = new StepRunner(model, { backend: "ref", deterministic, kvDtype, ...sizes });
        play(runner);
      }
    }
  }
  return { nCases: trace.nCases, nBytes: trace.nBytes };
}
