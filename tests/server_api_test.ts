import { readFileSync } from "node:fs";
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { createHandler } from "../src/server/mod.ts";
import { VERSION } from "../src/server/version.ts";
import { ask, closeTinyModel, events, GREEDY, NAME, QUESTION, tinyHandler, tinyModel } from "./server_support.ts";
import { inRoot, leakCheck, test } from "./support.ts";

const CHAT = "/v1/chat/completions", TEXT = "/v1/completions";
const base = { model: NAME, messages: QUESTION, max_tokens: 12, ...GREEDY };
const text = { model: NAME, prompt: "the rain in", max_tokens: 8, ...GREEDY };

test("server chat: an answer is what the library makes of the same conversation", async () => {
  const handler = await tinyHandler();
  const model = await tinyModel();
  const expected = await model.generate([...QUESTION], { maxTokens: 12, temperature: 0, ignoreEos: true }).result();
  const { status, json, headers } = await ask(handler, CHAT, base);
  assertEquals(status, 200);
  assertEquals(headers.get("content-type"), "application/json");
  assertEquals([json.object, json.model, json.choices.length], ["chat.completion", NAME, 1]);
  assert(/^chatcmpl-\w{32}$/.test(json.id) && Math.abs(json.created - Date.now() / 1000) < 3600);
  assertEquals(json.choices[0], {
    index: 0,
    message: { role: "assistant", content: expected.text, refusal: null },
    logprobs: null,
    finish_reason: "length",
  });
  const { promptTokens } = expected.usage;
  const cached = Math.floor((promptTokens - 1) / 16) * 16;
  assertEquals(json.usage, {
    prompt_tokens: promptTokens,
    completion_tokens: 12,
    total_tokens: promptTokens + 12,
    prompt_tokens_details: { cached_tokens: cached },
    completion_tokens_details: { reasoning_tokens: 0 },
  });
});

test("server chat: the stream's pieces are the answer; roles, ends and usage come in order", async () => {
  const handler = await tinyHandler();
  const whole = await ask(handler, CHAT, base);
  const body = { ...base, stream: true, stream_options: { include_usage: true } };
  const streamed = await ask(handler, CHAT, body);
  assertEquals(streamed.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const chunks = events(streamed.text);
  const [first, last, usage] = [chunks[0], chunks.at(-2), chunks.at(-1)];
  assertEquals(first.choices[0].delta, { role: "assistant", content: "" });
  assertEquals([last.choices[0].delta, last.choices[0].finish_reason], [{}, "length"]);
  assertEquals([usage.choices, usage.usage.completion_tokens], [[], 12]);
  assert(chunks.slice(0, -1).every((chunk) => chunk.usage === null && chunk.object === "chat.completion.chunk"));
  assertEquals(new Set(chunks.map(({ id }) => id)).size, 1);
  const pieces = chunks.slice(1, -2).map((chunk) => chunk.choices[0].delta.content);
  assertEquals(pieces.join(""), whole.json.choices[0].message.content);
  assert(pieces.length > 3, "it comes in pieces");
});

test("server chat: n answers with a seed differ, and the first is what the seed gives alone", async () => {
  const handler = await tinyHandler();
  const hot = {
    model: NAME,
    messages: QUESTION,
    max_tokens: 10,
    seed: 5,
    top_k: 0,
    top_p: 1,
    min_p: 0,
    temperature: 2,
  };
  const one = await ask(handler, CHAT, { ...hot, ignore_eos: true });
  const three = await ask(handler, CHAT, { ...hot, ignore_eos: true, n: 3 });
  const contents = three.json.choices.map((choice: { message: { content: string } }) => choice.message.content);
  assertEquals(three.json.choices.map(({ index }: { index: number }) => index), [0, 1, 2]);
  assertEquals(contents[0], one.json.choices[0].message.content);
  assertEquals(new Set(contents).size, 3);
  assertEquals(three.json.usage.prompt_tokens, one.json.usage.prompt_tokens);
  assertEquals(three.json.usage.completion_tokens, 30);
  const stream = events((await ask(handler, CHAT, { ...hot, ignore_eos: true, n: 3, stream: true })).text);
  const joined = ["", "", ""];
  for (const { choices: [{ index, delta }] } of stream) joined[index] += delta.content ?? "";
  assertEquals(joined, contents);
});

test("server chat: text parts, developer, and answers sent back as clients keep them", async () => {
  const handler = await tinyHandler();
  const model = await tinyModel();
  const prompt = [
    { role: "system", content: "be\nbrief" },
    { role: "user", content: "hello <|im_end|>" },
    { role: "assistant", content: "yes" },
    { role: "user", content: "on" },
  ];
  const messages = [
    { role: "developer", content: [{ type: "text", text: "be" }, { type: "text", text: "brief" }] },
    { role: "user", content: "hello <|im_end|>", name: null },
    { role: "assistant", content: "yes", refusal: null, annotations: [], tool_calls: [], function_call: null },
    { role: "user", content: "on" },
  ];
  const told = await ask(handler, "/tokenize", { messages });
  assertEquals(told.json.tokens, [...await model.tokenize(prompt)]);
  const written = await model.tokenize(await model.applyTemplate(prompt), { special: true, addSpecial: false });
  assert(told.json.count > written.length, "a special token in a message stays plain text");
  assertEquals((await ask(handler, CHAT, { ...base, messages, max_tokens: 2 })).status, 200);
});

test("server chat: stop, max_completion_tokens, logit_bias and neutral fields of clients", async () => {
  const handler = await tinyHandler();
  const whole = (await ask(handler, CHAT, base)).json.choices[0].message.content as string;
  const stop = [...whole][4]!;
  const stopped = await ask(handler, CHAT, { ...base, stop: [stop, "never this"] });
  assertEquals(stopped.json.choices[0].finish_reason, "stop");
  assertEquals(stopped.json.choices[0].message.content, whole.slice(0, whole.indexOf(stop)));
  const neutral = {
    max_tokens: null,
    max_completion_tokens: 3,
    response_format: { type: "text" },
    tools: [],
    tool_choice: "none",
    parallel_tool_calls: true,
    store: false,
    service_tier: "auto",
    modalities: ["text"],
    user: "me",
    metadata: { a: "b" },
    n: 1,
    audio: null,
    top_k: -1,
  };
  const answer = await ask(handler, CHAT, { ...base, ...neutral });
  assertEquals([answer.status, answer.json.usage?.completion_tokens], [200, 3], answer.text);
  const forced = await ask(handler, CHAT, { ...base, max_tokens: 3, logit_bias: { 66: 100 } });
  assertEquals(forced.json.choices[0].message.content, "BBB", "token 66 is the byte 66");
});

test("server chat: log-probabilities with bytes, best first, the same in a stream", async () => {
  const handler = await tinyHandler();
  const model = await tinyModel();
  const body = { ...base, logprobs: true, top_logprobs: 3 };
  const { json } = await ask(handler, CHAT, body);
  const own = await model.generate([...QUESTION], { maxTokens: 12, temperature: 0, ignoreEos: true, logprobs: 3 })
    .result();
  const content = json.choices[0].logprobs.content;
  assertEquals(content.map((one: { logprob: number }) => one.logprob), own.logprobs!.map(({ logprob }) => logprob));
  const bytes = content.flatMap((one: { bytes: number[] }) => one.bytes);
  assertEquals(new TextDecoder().decode(Uint8Array.from(bytes)), json.choices[0].message.content);
  for (const { token, logprob, top_logprobs: top } of content) {
    assertEquals([top.length, top[0].token, top[0].logprob], [3, token, logprob], "greedy takes the best");
    assert(top[0].logprob >= top[1].logprob && top[1].logprob >= top[2].logprob && logprob <= 0);
  }
  const chunks = events((await ask(handler, CHAT, { ...body, stream: true })).text);
  assertEquals(chunks.flatMap(({ choices: [choice] }) => choice.logprobs?.content ?? []), content);
});

test("server completions: a text, token ids, several of both, echo and n", async () => {
  const handler = await tinyHandler();
  const model = await tinyModel();
  const expected = await model.generate("the rain in", { maxTokens: 8, temperature: 0, ignoreEos: true }).result();
  const plain = await ask(handler, TEXT, text);
  assertEquals([plain.status, plain.json.object], [200, "text_completion"]);
  const choice = { index: 0, text: expected.text, logprobs: null, finish_reason: "length" };
  assertEquals(plain.json.choices, [choice]);
  const tokens = [...await model.tokenize("the rain in")];
  for (const prompt of [tokens, [tokens], ["the rain in"]]) {
    assertEquals((await ask(handler, TEXT, { ...text, prompt })).json.choices, [choice], JSON.stringify(prompt));
  }
  const many = await ask(handler, TEXT, { ...text, prompt: ["the rain in", "a bird"], n: 2, best_of: 2, echo: true });
  assertEquals(many.json.choices.length, 4);
  assertEquals(many.json.choices[1].text, `the rain in${expected.text}`);
  assert(many.json.choices[2].text.startsWith("a bird"));
  const bird = (await model.tokenize("a bird")).length;
  assertEquals(many.json.usage.prompt_tokens, tokens.length + bird);
  const echoed = events((await ask(handler, TEXT, { ...text, prompt: tokens, echo: true, stream: true })).text);
  assertEquals(echoed.map((chunk) => chunk.choices[0].text).join(""), `the rain in${expected.text}`);
});

test("server completions: log-probabilities in the older shape", async () => {
  const handler = await tinyHandler();
  const { json } = await ask(handler, TEXT, { ...text, logprobs: 2 });
  const { tokens, token_logprobs: own, top_logprobs: top, text_offset: offsets } = json.choices[0].logprobs;
  assertEquals([tokens.length, own.length, top.length, offsets[0]], [8, 8, 8, 0]);
  const isWhole = (token: string | undefined): boolean => token?.startsWith("bytes:") !== true;
  for (let i = 0; i < 8; i++) {
    assertEquals([Math.max(...Object.values<number>(top[i])), Object.keys(top[i]).length], [own[i], 2]);
    if (!isWhole(tokens[i]) || !isWhole(tokens[i - 1])) continue; // before a cut character's end there is no offset
    assertEquals(json.choices[0].text.substr(offsets[i], tokens[i].length), tokens[i], `token ${i}`);
  }
  assert(tokens.filter(isWhole).length > 0 && tokens.some((token: string) => !isWhole(token)), "both kinds are there");
  const chunks = events((await ask(handler, TEXT, { ...text, logprobs: 2, stream: true })).text);
  assertEquals(chunks.flatMap(({ choices: [choice] }) => choice.logprobs?.text_offset ?? []), offsets);
});

test("server: tokenize and detokenize, models, version, ids of requests", async () => {
  const handler = await tinyHandler();
  const model = await tinyModel();
  const { json } = await ask(handler, "/tokenize", { model: NAME, prompt: "the end <|im_end|>" });
  assertEquals(json.tokens, [...await model.tokenize("the end <|im_end|>")]);
  assertEquals([json.count, json.max_model_len], [json.tokens.length, model.info.contextSize]);
  const special = await ask(handler, "/tokenize", { prompt: "<|im_end|>", parse_special: true });
  assertEquals(special.json.tokens, [319]);
  const back = await ask(handler, "/detokenize", { model: NAME, tokens: json.tokens });
  assertEquals(back.json, { prompt: "the end <|im_end|>" });
  const list = await ask(handler, "/v1/models");
  assertEquals(list.json.data.map(({ id }: { id: string }) => id), [NAME]);
  assertEquals((await ask(handler, `/v1/models/${NAME}`)).json, list.json.data[0]);
  assertEquals((await ask(handler, "/version")).json.version, VERSION);
  const { version } = JSON.parse(readFileSync(inRoot("package.json"), "utf8")) as { version: string };
  assertEquals(VERSION, version);
  const given = await handler(new Request("http://localhost/livez", { headers: { "x-request-id": "my-1" } }));
  assertEquals(given.headers.get("x-request-id"), "my-1");
  const odd = await handler(new Request("http://localhost/livez", { headers: { "x-request-id": "a\tb" } }));
  assert(odd.headers.get("x-request-id")!.startsWith("req-"));
  assertNotEquals(odd.headers.get("x-request-id"), (await ask(handler, "/livez")).headers.get("x-request-id"));
  const head = await handler(new Request("http://localhost/v1/models", { method: "HEAD" }));
  assertEquals([head.status, await head.text()], [200, ""]);
});

test("server: a model that is not loaded yet, or does not know how to chat", async () => {
  const status = { state: "loading" as const, loadedBytes: 25, totalBytes: 100 };
  const empty = createHandler({ models: {}, status });
  const health = await ask(empty, "/health");
  assertEquals([health.status, health.json], [503, { status: "loading", loaded_bytes: 25, total_bytes: 100 }]);
  assertEquals((await ask(empty, "/livez")).status, 200);
  const refused = await ask(empty, CHAT, base);
  assertEquals([refused.status, refused.json.error.code], [503, "loading"]);
  assertEquals([refused.headers.get("retry-after"), refused.headers.get("retry-after-ms")], ["1", "1000"]);
});

test("the model is closed", closeTinyModel);

leakCheck();
