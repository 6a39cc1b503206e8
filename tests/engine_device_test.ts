/** The loop over a real executor, in this thread: held steps, and what a shortage of pages must not change. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { checkPlacement } from "../src/api/options.ts";
import { NO_SAMPLING } from "../src/engine/batch.ts";
import { EngineLoop } from "../src/engine/loop.ts";
import { openModel } from "../src/engine/open_model.ts";
import { prepareModel } from "../src/engine/prepare.ts";
import { CREDIT, type FromEngine, type GenerationRequest } from "../src/engine/protocol.ts";
import { Scheduler } from "../src/engine/scheduler.ts";
import { createStats } from "../src/engine/stats.ts";
import { compileGrammar } from "../src/grammar/compile.ts";
import { createConstraint } from "../src/grammar/constraint.ts";
import type { Constraint } from "../src/grammar/wire.ts";
import { Detokenizer } from "../src/text/detokenize.ts";
import { StepRunner, testModel } from "./step_runner.ts";
import { leakCheck, test } from "./support.ts";
import { tinyGguf } from "./tiny_gguf.ts";

const bytes = tinyGguf({ seed: 11 });
const NEW_TOKENS = 12;

/** Of three tokens in a row one third of the vocabulary each; the first is free. */
function allowed(n: number, token: number): boolean {
  return n % 4 === 0 || token % 3 === n % 3;
}

class ThirdsConstraint implements Constraint {
  readonly #vocabSize: number;
  #n = 0;

  constructor(vocabSize: number) {
    this.#vocabSize = vocabSize;
  }

  fill(mask: Uint32Array): boolean {
    if (this.#n % 4 === 0) return false;
    for (let token = 0; token < this.#vocabSize; token++) {
      if (allowed(this.#n, token)) mask[token >> 5]! |= 1 << (token & 31);
    }
    return true;
  }

  accept(token: number): void {
    assert(allowed(this.#n, token), `token ${token} at ${this.#n} was not allowed`);
    this.#n++;
  }
}

const prompt = (id: number): Int32Array => Int32Array.from({ length: 20 + 7 * id }, (_, i) => (31 * id + 3 * i) % 280);

interface Made {
  /** Of each request. */
  tokens: number[][];
  texts: string[];
  nPreemptions: number;
}

/** Runs requests to their end on a device; `kvTokens` 0: pages for every whole context. */
async function generate(
  device: "ref" | "cpu",
  requests: readonly Partial<GenerationRequest>[],
  kvTokens = 0,
): Promise<Made> {
  const prepared = await prepareModel({ kind: "bytes", bytes });
  const placement = checkPlacement({
    device,
    maxSequences: requests.length,
    contextSize: 128,
    threads: 2,
    ...(kvTokens === 0 ? {} : { kvTokens }),
  });
  const model = await openModel(prepared, placement, { onEngine() {}, onProgress() {}, tick: async () => {} });
  try {
    const tokens: number[][] = requests.map(() => []), texts = requests.map(() => "");
    const { vocabSize, contextSize, maxSequences } = model.info;
    const scheduler = new Scheduler({ maxSequences, groups: model.groups });
    const loop = new EngineLoop({
      runner: model.runner,
      scheduler,
      contextSize,
      maxStepTokens: model.maxStepTokens,
      vocabSize,
      isEog: (token) => requests.some(({ ignoreEos }) => ignoreEos === false) && prepared.vocab.isEog(token),
      constrain: (grammar) =>
        grammar === GRAMMAR ? new ThirdsConstraint(vocabSize) : createConstraint(grammar, prepared.vocab.tables),
      pieces: () => new Detokenizer(prepared.vocab, { continues: true }),
      post(message: FromEngine) {
        assert(message.type !== "failed", JSON.stringify(message));
        if (message.type !== "step") return;
        message.ids.forEach((id, i) => {
          texts[id] += message.texts[i]!;
          tokens[id]!.push(...message.tokens.slice(i === 0 ? 0 : message.tokenEnds[i - 1]!, message.tokenEnds[i]!));
        });
      },
      poll: () => undefined,
      now: () => 0,
      stats: new Float64Array(createStats()),
    });
    for (const [id, request] of requests.entries()) {
      const plain = { sampling: NO_SAMPLING, penaltyWindow: 0, stops: [], maxTokens: NEW_TOKENS, credit: CREDIT };
      const free = { ignoreEos: true, logprobs: false, grammar: undefined, salt: "", client: "", queueTimeoutMs: 0 };
      loop.handle({ type: "submit", request: { id, tokens: prompt(id), ...plain, ...free, ...request } });
    }
    loop.run();
    return { tokens, texts, nPreemptions: scheduler.counts.nPreemptions };
  } finally {
    model.library.native.rz_engine_close(model.handles.engine);
  }
}

/** The likeliest allowed tokens one after another, from logits that were read step by step. */
async function expected(id: number, isConstrained: boolean): Promise<number[]> {
  using runner = new StepRunner(await testModel(bytes), { backend: "ref", slots: 1 });
  const tokens = [...prompt(id)], made: number[] = [];
  for (let n = 0; n < NEW_TOKENS; n++) {
    const logits = runner.step([{
      slot: 0,
      nPast: n === 0 ? 0 : tokens.length - 1,
      tokens: tokens.slice(n === 0 ? 0 : -1),
    }]);
    let best = -1;
    logits.forEach((x, token) => {
      if ((!isConstrained || allowed(n, token)) && (best < 0 || x > logits[best]!)) best = token;
    });
    tokens.push(best);
    made.push(best);
  }
  return made;
}

const GRAMMAR = { words: new Int32Array(0) };

test("ref: constrained rows take the likeliest allowed tokens, the rows beside them the likeliest", async () => {
  const made = await generate("ref", [{ grammar: GRAMMAR }, {}, { grammar: GRAMMAR }, {}]);
  for (const [id, tokens] of made.tokens.entries()) {
    assertEquals(tokens, await expected(id, id % 2 === 0), `generation ${id}`);
  }
});

for (const device of ["ref", "cpu"] as const) {
  test(`${device}: too few pages for all change no token, greedy, drawn, penalized or constrained`, async () => {
    const hot = { ...NO_SAMPLING, temperature: 1.2, topP: 0.9, repetition: 1.3, seedLow: 5 };
    const requests = [{}, { sampling: hot }, { grammar: GRAMMAR }, {
      sampling: { ...hot, seedLow: 6 },
      grammar: GRAMMAR,
    }, {}]
      .map((one) => ({ ...one, maxTokens: 60 }));
    const plenty = await generate(device, requests);
    const few = await generate(device, requests, 192);
    assertEquals(plenty.nPreemptions, 0);
    assert(few.nPreemptions > 0, "nobody lost its place: nothing was tried");
    assertEquals(few.tokens, plenty.tokens);
    for (const tokens of few.tokens) assertEquals(tokens.length, 60);
  });
}

test("cpu: answers held to a real grammar fit it, also with too few pages for all", async () => {
  const pattern = "^[a-f]{20,40}(-[0-9]{4}){5}$";
  const grammar = compileGrammar({ kind: "schema", schema: { type: "string", pattern } }, 60_000);
  const wild = (seedLow: number) => ({ sampling: { ...NO_SAMPLING, temperature: 1.5, seedLow }, maxTokens: 70 });
  const requests = [1, 2, 3, 4, 5].map((seed) =>
    seed % 2 === 0 ? { ...wild(seed), ignoreEos: true } : { ...wild(seed), grammar, ignoreEos: false }
  );
  const plenty = await generate("cpu", requests), few = await generate("cpu", requests, 192);
  assert(few.nPreemptions > 0, "nobody lost its place: nothing was tried");
  assertEquals(few.tokens, plenty.tokens);
  for (const i of [0, 2, 4]) assertMatch(few.texts[i]!, new RegExp(`^"${pattern.slice(1, -1)}"$`));
});

leakCheck();
