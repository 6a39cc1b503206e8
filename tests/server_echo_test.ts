/** Log-probabilities of prompts, from the library and as \`echo\` with \`logprobs\` in OpenAI's older API. */
import { assert, assertEquals } from "@std/assert";
import type { Model, PromptLogprob } from "../src/mod.ts";
import { ask, closeTinyModel, events, NAME, tinyHandler, tinyModel } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";

const TEXT = "/v1/completions";
const PROMPT = "the rain in the end of the long street, ünd sö ön";
const body = { model: NAME, prompt: PROMPT, temperature: 0, ignore_eos: true, max_tokens: 5, echo: true, logprobs: 3 };

/** What the model's logits say of the tokens, each after those before it; from a session, in F64. */
function expectedOf(model: Model, tokens: ArrayLike<number>, nTop: number): PromptLogprob[] {
  using session = model.session();
  const { vocabSize } = model.info;
  const logits = session.evaluate(tokens, undefined, { all: true });
  return Array.from(tokens, (token, i): PromptLogprob => {
    if (i === 0) return { token, logprob: undefined, top: [] };
    const row = logits.subarray((i - 1) * vocabSize, i * vocabSize);
    const max = row.reduce((a, b) => Math.max(a, b));
    const total = Math.log(row.reduce((sum, x) => sum + Math.exp(x - max), 0)) + max;
    const best = Array.from(row, (x, id) => ({ token: id, logprob: x - total })).sort((a, b) => b.logprob - a.logprob);
    return { token, logprob: row[token]! - total, top: best.slice(0, nTop) };
  });
}

function assertNear(got: readonly PromptLogprob[], expected: readonly PromptLogprob[]): void {
  assertEquals(got.map(({ token }) => token), expected.map(({ token }) => token));
  const near = (a: number | undefined, b: number | undefined): void =>
    assert(a === b || Math.abs(a! - b!) < 1e-4, `${a} is not ${b}`);
  for (const [i, { logprob, top }] of got.entries()) {
    near(logprob, expected[i]!.logprob);
    assertEquals(top.length, expected[i]!.top.length);
    for (const [k, one] of top.entries()) near(one.logprob, expected[i]!.top[k]!.logprob);
  }
}

test("prompt: log-probabilities are those of the logits, alone, beside others, and when it is cached", async () => {
  const model = await tinyModel();
  const tokens = [...await model.tokenize(PROMPT.repeat(3))];
  const expected = expectedOf(model, tokens, 2);
  const options = { promptLogprobs: 2, temperature: 0, maxTokens: 0 };
  const alone = await model.generate(tokens, options).result();
  assertEquals([alone.tokens, alone.text, alone.finishReason], [[], "", "length"]);
  assertEquals([alone.usage.completionTokens, alone.usage.promptTokens], [0, tokens.length]);
  assertNear(alone.promptLogprobs!, expected);
  const others = [40, 3].map((maxTokens) => model.generate("a bird", { maxTokens, ignoreEos: true }).result());
  const shorter = model.generate(tokens.slice(0, 70), { ...options, promptLogprobs: true, maxTokens: 3 });
  const beside = await model.generate(tokens, options).result();
  assertNear(beside.promptLogprobs!, expected);
  assertNear((await shorter.result()).promptLogprobs!, expected.slice(0, 70).map((one) => ({ ...one, top: [] })));
  await Promise.all(others);
  const [one] = await Promise.all([model.generate(tokens.slice(0, 1), { ...options, maxTokens: 1 }).result()]);
  assertEquals(one.promptLogprobs, [{ token: tokens[0]!, logprob: undefined, top: [] }]);
});

test("prompt: pieces with its log-probabilities come first, and together are the result's", async () => {
  const model = await tinyModel();
  const generation = model.generate(PROMPT, { promptLogprobs: 1, maxTokens: 4, temperature: 0, ignoreEos: true });
  const told: PromptLogprob[] = [];
  let nTokens = 0;
  for await (const { text, tokens, promptLogprobs } of generation) {
    if (promptLogprobs !== undefined) {
      assertEquals([text, tokens, nTokens], ["", [], 0]);
      told.push(...promptLogprobs);
    }
    nTokens += tokens.length;
  }
  const result = await generation.result();
  assertEquals([told, nTokens], [result.promptLogprobs!, 4]);
});

test("prompt: without a token to make, the prompt is only computed, and later found", async () => {
  const model = await tinyModel();
  const prompt = Array.from({ length: 100 }, (_, i) => 40 + i);
  const warm = await model.generate(prompt, { maxTokens: 0, cacheSalt: "warm" }).result();
  assertEquals([warm.tokens, warm.usage.cachedTokens, warm.promptLogprobs], [[], 0, undefined]);
  const later = await model.generate(prompt, { maxTokens: 1, cacheSalt: "warm", temperature: 0 }).result();
  assert(later.usage.cachedTokens >= 64, String(later.usage.cachedTokens));
});

test("server completions: echo with logprobs tells of the prompt's tokens, then of the answer's", async () => {
  const handler = await tinyHandler(), model = await tinyModel();
  const ids = await model.tokenize(PROMPT);
  const expected = expectedOf(model, ids, 3);
  const { status, json } = await ask(handler, TEXT, body);
  assertEquals(status, 200, JSON.stringify(json));
  const [{ text, logprobs, finish_reason }] = json.choices;
  const { tokens, token_logprobs: own, top_logprobs: top, text_offset: offsets } = logprobs;
  assert(text.startsWith(PROMPT) && finish_reason === "length");
  assertEquals([tokens.length, own.length, top.length, offsets.length], Array(4).fill(ids.length + 5));
  assertEquals([own[0], top[0], offsets[0]], [null, null, 0]);
  for (let i = 1; i < ids.length; i++) {
    assert(Math.abs(own[i] - expected[i]!.logprob!) < 1e-4, `token ${i}`);
    assert(Math.abs(Math.max(...Object.values<number>(top[i])) - expected[i]!.top[0]!.logprob) < 1e-4);
  }
  assertEquals(offsets[ids.length], PROMPT.length, "the answer begins where the prompt ends");
  for (const [i, token] of tokens.entries()) {
    if (token.startsWith("bytes:")) continue;
    const here = text.slice(offsets[i], offsets[i] + token.length);
    assert(here === token || offsets[i + 1] === offsets[i], `token ${i}, ${token}, is not at ${offsets[i]}`);
  }
  const { logprobs: _, echo: __, ...plain } = body;
  assertEquals((await ask(handler, TEXT, plain)).json.choices[0].text, text.slice(PROMPT.length));
});

test("server completions: echo with logprobs in a stream adds up to the whole", async () => {
  const handler = await tinyHandler();
  const whole = (await ask(handler, TEXT, { ...body, n: 2 })).json.choices;
  const chunks = events((await ask(handler, TEXT, { ...body, n: 2, stream: true })).text);
  for (const index of [0, 1]) {
    const mine = chunks.map((chunk) => chunk.choices[0]).filter((choice) => choice.index === index);
    assertEquals(mine.map((choice) => choice.text).join(""), whole[index].text);
    for (const list of ["tokens", "token_logprobs", "top_logprobs", "text_offset"]) {
      assertEquals(mine.flatMap((choice) => choice.logprobs?.[list] ?? []), whole[index].logprobs[list], list);
    }
    assert(mine.length > 5, "the prompt comes in pieces");
  }
});

test("server completions: echo with no token to make, of texts and of token ids", async () => {
  const handler = await tinyHandler(), model = await tinyModel();
  const none = { ...body, max_tokens: 0 };
  const { json } = await ask(handler, TEXT, { ...none, prompt: [PROMPT, "a"] });
  assertEquals(json.choices.map(({ text }: { text: string }) => text), [PROMPT, "a"]);
  assertEquals(json.usage.completion_tokens, 0);
  const ids = [...await model.tokenize(PROMPT)];
  const same = await ask(handler, TEXT, { ...none, prompt: ids });
  assertEquals(same.json.choices[0], { ...json.choices[0], logprobs: same.json.choices[0].logprobs });
  assertEquals(same.json.choices[0].logprobs, json.choices[0].logprobs);
  const bare = await ask(handler, TEXT, { ...none, logprobs: undefined });
  assertEquals([bare.json.choices[0].text, bare.json.choices[0].logprobs], [PROMPT, null]);
  // A control token stands for no text: it has a place, and no width.
  const marked = await ask(handler, TEXT, { ...none, prompt: [...ids.slice(0, 5), 319, ...ids.slice(5)] });
  const offsets = marked.json.choices[0].logprobs.text_offset;
  assertEquals([marked.json.choices[0].text, offsets[6] - offsets[5]], [PROMPT, 0]);
});

test("the model is closed", closeTinyModel);

leakCheck();
