import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { Model } from "../src/mod.ts";
import { type ErrorCode, RealizarError } from "../src/errors.ts";
import type { Generation, GenerationPart } from "../src/types.ts";
import { leakCheck, test } from "./support.ts";
import { tinyGguf } from "./tiny_gguf.ts";

const bytes = tinyGguf({ seed: 3, contextLength: 1024 });
const PROMPT = Array.from({ length: 20 }, (_, i) => 5 + 7 * i);
const GREEDY = { temperature: 0, ignoreEos: true };

/** A model of its own for one test. */
async function withModel(run: (model: Model) => Promise<void>, options = {}): Promise<void> {
  await using model = await Model.load(bytes, { device: "ref", maxSequences: 4, ...options });
  await run(model);
}

async function refused(code: ErrorCode, promise: Promise<unknown>): Promise<RealizarError> {
  const error = await assertRejects(() => promise, RealizarError);
  assertEquals(error.code, code, error.message);
  return error;
}

async function parts(generation: Generation): Promise<GenerationPart[]> {
  const all: GenerationPart[] = [];
  for await (const part of generation) all.push(part);
  return all;
}

test("generate: parts add up to the result, and the same prompt gives the same tokens", () =>
  withModel(async (model) => {
    const generation = model.generate(PROMPT, { ...GREEDY, maxTokens: 12 });
    const all = await parts(generation);
    const result = await generation.result();
    assertEquals(all.flatMap((part) => part.tokens), result.tokens);
    assertEquals(all.map((part) => part.text).join(""), result.text);
    assertEquals(result.tokens.length, 12);
    assertEquals(result.finishReason, "length");
    assertEquals(result.usage, { promptTokens: 20, cachedTokens: 0, completionTokens: 12 });
    assertEquals(await model.detokenize(result.tokens), result.text);
    const again = await model.generate(PROMPT, { ...GREEDY, maxTokens: 12 }).result();
    assertEquals(again.tokens, result.tokens);
    assertEquals(again.usage.cachedTokens, 16, "a full page of the prompt was found");
  }));

test("generate: many at once give what each gives alone", () =>
  withModel(async (model) => {
    const prompts = Array.from({ length: 9 }, (_, k) => PROMPT.map((token) => (token * (k + 3)) % 280));
    const alone: number[][] = [];
    for (const prompt of prompts) {
      alone.push((await model.generate(prompt, { ...GREEDY, maxTokens: 10 }).result()).tokens);
    }
    await withModel(async (fresh) => {
      const together = await Promise.all(
        prompts.map((prompt) => fresh.generate(prompt, { ...GREEDY, maxTokens: 10 }).result()),
      );
      assertEquals(together.map((result) => result.tokens), alone);
    });
  }));

test("generate: a seed repeats a random text, another seed gives another one", () =>
  withModel(async (model) => {
    const draw = (seed: number) =>
      model.generate(PROMPT, { temperature: 2, topK: 0, topP: 1, minP: 0, seed, maxTokens: 16, ignoreEos: true })
        .result();
    const [one, same, other] = [await draw(7), await draw(7), await draw(8)];
    assertEquals(one.tokens, same.tokens);
    assertEquals(one.seed, 7);
    assertNotEquals(one.tokens, other.tokens);
    const free = await model.generate(PROMPT, { maxTokens: 4 }).result();
    assert(Number.isSafeInteger(free.seed) && free.seed >= 0, "a seed that was not given is told");
    const repeated = await model.generate(PROMPT, { maxTokens: 4, seed: free.seed }).result();
    assertEquals(repeated.tokens, free.tokens);
  }));

test("generate: text, special tokens and a conversation are encoded as they should be", () =>
  withModel(async (model) => {
    const messages = [{ role: "user", content: "hello <|im_end|>" }];
    const text = await model.applyTemplate(messages);
    assertEquals(text, "<|im_start|>user\nhello <|im_end|><|im_end|>\n<|im_start|>assistant\n");
    const forged = await model.tokenize(text, { special: true });
    const { usage } = await model.generate(messages, { maxTokens: 1 }).result();
    assert(usage.promptTokens > forged.length, "the user's <|im_end|> is plain text, the template's own is a token");
    const plain = await model.tokenize("<|im_end|>");
    assert(plain.length > 1);
    assertEquals((await model.tokenize("<|im_end|>", { special: true })).length, 1);
  }));

test("generate: an aborted signal ends it, iteration finishes and the result tells what was made", () =>
  withModel(async (model) => {
    const stop = new AbortController();
    const generation = model.generate(PROMPT, { ...GREEDY, signal: stop.signal });
    let n = 0;
    for await (const part of generation) {
      n += part.tokens.length;
      if (n >= 3) stop.abort();
    }
    const result = await generation.result();
    assertEquals(result.finishReason, "abort");
    assert(result.tokens.length >= 3 && result.tokens.length < 200);
    const before = await model.generate("hi", { signal: AbortSignal.abort() }).result();
    assertEquals([before.finishReason, before.text], ["abort", ""]);
  }));

test("generate: break, cancel and dispose stop it", () =>
  withModel(async (model) => {
    const broken = model.generate(PROMPT, GREEDY);
    for await (const _part of broken) break;
    assertEquals((await broken.result()).finishReason, "abort");
    const cancelled = model.generate(PROMPT, GREEDY);
    cancelled.cancel();
    assertEquals((await cancelled.result()).finishReason, "abort");
    let disposed: Generation;
    {
      await using generation = model.generate(PROMPT, GREEDY);
      disposed = generation;
    }
    assertEquals((await disposed.result()).finishReason, "abort");
  }));

test("generate: as a stream and as a response it is the same text", () =>
  withModel(async (model) => {
    const { text } = await model.generate(PROMPT, { ...GREEDY, maxTokens: 8 }).result();
    let streamed = "";
    for await (const piece of model.generate(PROMPT, { ...GREEDY, maxTokens: 8 }).stream()) streamed += piece;
    assertEquals(streamed, text);
    const response = model.generate(PROMPT, { ...GREEDY, maxTokens: 8 }).toResponse({ status: 201 });
    assertEquals([response.status, response.headers.get("content-type")], [201, "text/plain; charset=utf-8"]);
    assertEquals(await response.text(), text);
    const left = model.generate(PROMPT, GREEDY);
    await left.stream().cancel();
    assertEquals((await left.result()).finishReason, "abort");
  }));

test("generate: one reader only", () =>
  withModel(async (model) => {
    const generation = model.generate(PROMPT, { ...GREEDY, maxTokens: 4 });
    const reader = generation[Symbol.asyncIterator]();
    await reader.next();
    await refused("BUSY", generation[Symbol.asyncIterator]().next());
    assertEquals((await parts({ ...generation, [Symbol.asyncIterator]: () => reader } as Generation)).length, 3);
  }));

test("generate: a slow reader is not overrun, and gets everything", () =>
  withModel(async (model) => {
    const generation = model.generate(PROMPT, { ...GREEDY, maxTokens: 600 });
    await new Promise((resolve) => setTimeout(resolve, 300));
    const { usage } = await model.generate("x", { ...GREEDY, maxTokens: 1 }).result();
    assertEquals(usage.completionTokens, 1, "others go on meanwhile");
    assertEquals((await parts(generation)).flatMap((part) => part.tokens).length, 600);
  }, { contextSize: 700 }));

test("generate: log-probabilities sum to one over the whole vocabulary, the greedy token is the likeliest", () =>
  withModel(async (model) => {
    const result = await model.generate(PROMPT, { ...GREEDY, maxTokens: 3, logprobs: 256 }).result();
    for (const { token, logprob, top } of result.logprobs!) {
      assertEquals([top[0]!.token, top[0]!.logprob], [token, logprob]);
      assertEquals(top.length, 256);
      assert(top.every((one, i) => i === 0 || one.logprob <= top[i - 1]!.logprob), "sorted");
      const mass = top.reduce((sum, one) => sum + Math.exp(one.logprob), 0);
      assert(mass > 0.5 && mass <= 1.0001, `mass ${mass} of 256 of 320 tokens`);
    }
  }));

test("generate: a bias forbids tokens, and forbidding all is an error of that generation", () =>
  withModel(async (model) => {
    const { tokens } = await model.generate(PROMPT, { ...GREEDY, maxTokens: 1 }).result();
    const other = await model.generate(PROMPT, { ...GREEDY, maxTokens: 1, logitBias: { [tokens[0]!]: -Infinity } })
      .result();
    assertNotEquals(other.tokens, tokens);
    const all = Object.fromEntries(Array.from({ length: model.info.vocabSize }, (_, i) => [i, -Infinity]));
    await refused("ARG", model.generate(PROMPT, { logitBias: all }).result());
  }));

test("generate: what is out of range is refused, by name, and never an unhandled rejection", () =>
  withModel(async (model) => {
    const bad: [string, object][] = [
      ["temperature", { temperature: -1 }],
      ["topP", { topP: 1.5 }],
      ["topK", { topK: 2.5 }],
      ["minP", { minP: NaN }],
      ["seed", { seed: -3 }],
      ["maxTokens", { maxTokens: -1 }],
      ["stop", { stop: "" }],
      ["logprobs", { logprobs: 257 }],
      ["promptLogprobs", { promptLogprobs: 257 }],
      ["client", { client: "x".repeat(257) }],
      ["logitBias", { logitBias: { 100000: 1 } }],
      ["repetitionPenalty", { repetitionPenalty: 0 }],
    ];
    for (const [name, options] of bad) {
      const error = await refused("ARG", model.generate(PROMPT, options).result());
      assert(error.message.startsWith(name), error.message);
    }
    await refused("ARG", model.generate([]).result());
    await refused("ARG", model.generate([99999]).result());
    await refused("LIMIT", model.generate(new Array<number>(model.info.contextSize).fill(5)).result());
    await refused("ARG", model.generate("x", { schema: {}, grammar: 'root ::= "a"' }).result());
    await assertRejects(() => parts(model.generate([])), RealizarError);
    void model.generate([]); // nobody looks: no unhandled rejection
    await new Promise((resolve) => setTimeout(resolve, 20));
  }));

test("chat: history grows, the common prefix is not computed again, a second send is BUSY", () =>
  withModel(async (model) => {
    const chat = model.chat({ system: "Be brief. ".repeat(8), maxTokens: 6, temperature: 0 });
    const first = chat.send("one");
    await refused("BUSY", chat.send("two").result());
    const answer = await first.result();
    assertEquals(chat.history.map(({ role }) => role), ["system", "user", "assistant"]);
    assertEquals(chat.history[2]!.content, answer.text);
    const second = await chat.send("two").result();
    assert(second.usage.cachedTokens > 0, "the system message was in the cache");
    const stopped = chat.send("three", { maxTokens: 200 });
    for await (const _part of stopped) break;
    await stopped.result();
    assertEquals(chat.history.at(-1)!.aborted, true);
    assertEquals(chat.history.length, 7);
  }));

test("a closed model answers CLOSED, running generations end with abort", async () => {
  const model = await Model.load(bytes, { device: "ref" });
  const running = model.generate(PROMPT, GREEDY);
  await running[Symbol.asyncIterator]().next();
  await Promise.all([model.close(), model.close()]);
  assertEquals((await running.result()).finishReason, "abort");
  await refused("CLOSED", model.generate(PROMPT).result());
  await refused("CLOSED", model.tokenize("x"));
});

leakCheck();
