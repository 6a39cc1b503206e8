/** The protocol of POST /v1/messages, event by event, over a scripted model; then over a real one. */
import { assert, assertEquals } from "@std/assert";
import { type AnswerPart, RealizarError } from "../src/mod.ts";
import { createHandler } from "../src/server/mod.ts";
import { CALLING, readUntilMark, type Script, scriptedModel, scriptedPrompt } from "./server_scripted.ts";
import { type Answer, ask, closeTinyModel, NAME, post, read, tinyHandler, tinyModel } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";

const MESSAGES = "/v1/messages";
const base = { model: NAME, max_tokens: 50, messages: [{ role: "user", content: "hello" }] };
const TOOLS = [{ name: "weather", description: "tells it", input_schema: { type: "object" } }, {
  name: "time",
  input_schema: { type: "object" },
}];

interface Event {
  event: string;
  // deno-lint-ignore no-explicit-any
  data: any;
}

/** Events of a stream, each with its name. */
function eventsOf(text: string): Event[] {
  return text.split("\n\n").filter((block) => block !== "").map((block) => {
    const match = /^event: (\w+)\ndata: (.*)$/.exec(block);
    assert(match !== null, block);
    return { event: match[1]!, data: JSON.parse(match[2]!) };
  });
}

async function scripted(script: Script) {
  const { model, asked } = await scriptedModel(script);
  const handler = createHandler({ models: { [NAME]: model } });
  return { asked, ask: (body: object): Promise<Answer> => ask(handler, MESSAGES, { ...base, ...body }), handler };
}

test("anthropic: a whole message: blocks in order, calls parsed, cached tokens apart", async () => {
  const usage = { promptTokens: 90, cachedTokens: 64, completionTokens: 8 };
  const { ask } = await scripted({ parts: CALLING, usage });
  const { status, json, headers } = await ask({ tools: TOOLS });
  assertEquals(status, 200);
  assertEquals(headers.get("request-id"), headers.get("x-request-id"));
  assert(/^msg_\w{32}$/.test(json.id));
  assertEquals([json.type, json.role, json.model], ["message", "assistant", NAME]);
  const caller = { type: "direct" };
  assertEquals(json.content, [
    { type: "thinking", thinking: "I need the weather", signature: "" },
    { type: "text", text: "\n\nLet me look.\n", citations: null },
    { type: "tool_use", id: "call_1", name: "weather", input: { city: "Paris" }, caller },
    { type: "tool_use", id: "call_2", name: "time", input: {}, caller },
  ]);
  assertEquals([json.stop_reason, json.stop_sequence], ["tool_use", null]);
  const { input_tokens, cache_read_input_tokens, cache_creation_input_tokens, output_tokens } = json.usage;
  assertEquals([input_tokens, cache_read_input_tokens, cache_creation_input_tokens, output_tokens], [26, 64, 0, 8]);
  assertEquals(json.usage.output_tokens_details, { thinking_tokens: 2 });
});

test("anthropic: a stream's events come in the API's order, and add up to the message", async () => {
  const { ask, asked } = await scripted({ parts: CALLING, usage: { cachedTokens: 16 } });
  const { text, headers } = await ask({ tools: TOOLS, stream: true });
  assertEquals(headers.get("content-type"), "text/event-stream; charset=utf-8");
  const events = eventsOf(text);
  assert(events.every(({ event, data }) => event === data.type));
  const told = events.map(({ data }) => data.delta?.type ?? data.content_block?.type ?? data.type);
  assertEquals(told, [
    "message_start",
    ...["thinking", "thinking_delta", "thinking_delta", "signature_delta", "content_block_stop"],
    ...["text", "text_delta", "text_delta", "text_delta", "content_block_stop"],
    ...["tool_use", "input_json_delta", "input_json_delta", "content_block_stop"],
    ...["tool_use", "input_json_delta", "content_block_stop"],
    "message_delta",
    "message_stop",
  ]);
  const indexes = events.slice(1, -2).map(({ data }) => data.index);
  assertEquals(indexes, [...Array(5).fill(0), ...Array(5).fill(1), ...Array(4).fill(2), ...Array(3).fill(3)]);
  const start = events[0]!.data.message;
  const nTokens = asked.generated[0]!.tokens.length;
  assertEquals([start.content, start.stop_reason, start.usage.input_tokens], [[], null, nTokens]);
  const json = events.filter(({ data }) => data.index === 2).map(({ data }) => data.delta?.partial_json ?? "");
  assertEquals(json.join(""), `{"city":"Paris"}`);
  const { delta, usage } = events.at(-2)!.data;
  assertEquals([delta.stop_reason, usage.output_tokens, usage.cache_read_input_tokens], ["tool_use", 8, 16]);
  assertEquals(usage.input_tokens, nTokens - 16);
});

test("anthropic: why an answer ended", async () => {
  const parts: AnswerPart[][] = [[{ kind: "text", text: "so" }]];
  const cases: [Script, object, string, string | null][] = [
    [{}, {}, "end_turn", null],
    [{ stop: "END" }, { stop_sequences: ["END"] }, "stop_sequence", "END"],
    [{ stop: "<|call|>" }, { stop_sequences: ["END"] }, "end_turn", null],
    [{ finishReason: "length", usage: { completionTokens: 50 } }, {}, "max_tokens", null],
    [{ finishReason: "length", usage: { completionTokens: 49 } }, {}, "model_context_window_exceeded", null],
  ];
  for (const [script, body, reason, sequence] of cases) {
    const { ask } = await scripted({ parts, ...script });
    const { json } = await ask(body);
    assertEquals([json.stop_reason, json.stop_sequence], [reason, sequence]);
  }
  // Cut in a call: what there is of its arguments is no object.
  const cut = await scripted({ parts: CALLING.slice(0, 6), finishReason: "length", usage: { completionTokens: 50 } });
  const { json } = await cut.ask({ tools: TOOLS });
  assertEquals([json.content.at(-1).input, json.stop_reason], [{}, "max_tokens"]);
  const silent = await scripted({ parts: [[{ kind: "text", text: " \n" }], []] });
  assertEquals((await silent.ask({})).json.content, []);
});

test("anthropic: turns, blocks and tools become a conversation for the template", async () => {
  const { ask, asked } = await scripted({ parts: [[{ kind: "text", text: "ok" }]] });
  const cache_control = { type: "ephemeral", ttl: "1h" };
  const messages = [
    { role: "user", content: "one" },
    { role: "user", content: [{ type: "text", text: "two", cache_control }] },
    {
      role: "assistant",
      content: [
        { type: "thinking", thinking: "hm", signature: "s" },
        { type: "text", text: "I ", citations: null },
        { type: "text", text: "look" },
        { type: "tool_use", id: "a", name: "weather", input: { city: "Paris" } },
        { type: "tool_use", id: "b", name: "time", input: {}, caller: { type: "direct" } },
      ],
    },
    {
      role: "user",
      content: [
        { type: "tool_result", tool_use_id: "b", content: "noon" },
        { type: "tool_result", tool_use_id: "a", content: [{ type: "text", text: "no such" }], is_error: true },
        { type: "text", text: "and?" },
      ],
    },
    { role: "system", content: "be quick" },
  ];
  const system = [{ type: "text", text: "be", cache_control }, { type: "text", text: "brief" }];
  const given = { messages, system, tools: TOOLS, tool_choice: { type: "any", disable_parallel_tool_use: true } };
  assertEquals((await ask(given)).status, 200);
  const { prompt, options } = asked.tokenized.at(-1)!;
  assertEquals(prompt, [
    { role: "system", content: "be\nbrief" },
    { role: "user", content: "one\ntwo" },
    {
      role: "assistant",
      content: "I look",
      reasoning: "hm",
      toolCalls: [{ id: "a", name: "weather", arguments: `{"city":"Paris"}` }, {
        id: "b",
        name: "time",
        arguments: "{}",
      }],
    },
    { role: "tool", content: "noon", name: "time", toolCallId: "b" },
    { role: "tool", content: "Error: no such", name: "weather", toolCallId: "a" },
    { role: "user", content: "and?" },
    { role: "system", content: "be quick" },
  ]);
  assertEquals(options.tools?.map(({ name }) => name), ["weather", "time"]);
  const used = asked.generated.at(-1)!.options;
  assertEquals([used.toolChoice, used.parallelToolCalls, used.answer], ["required", false, true]);
  await ask({ tools: TOOLS, tool_choice: { type: "tool", name: "time" } });
  assertEquals(asked.generated.at(-1)!.options.toolChoice, { name: "time" });
  await ask({ tools: TOOLS, tool_choice: { type: "none" } });
  assertEquals([asked.generated.at(-1)!.options.tools, asked.tokenized.at(-1)!.options.tools], [undefined, undefined]);
});

test("anthropic: sampling, thinking, effort, a schema, and an answer that is begun", async () => {
  const { ask, asked } = await scripted({
    parts: [[{ kind: "reasoning", text: "hm" }], [{ kind: "text", text: "k" }]],
  });
  const schema = { type: "object", properties: { a: { type: "number" } } };
  const sampling = { temperature: 0.5, top_p: 0.9, top_k: 7, stop_sequences: ["x"], metadata: { user_id: "u" } };
  await ask({ ...sampling, output_config: { format: { type: "json_schema", schema }, effort: "low" } });
  const { options } = asked.generated.at(-1)!;
  assertEquals([options.temperature, options.topP, options.topK, options.stop], [0.5, 0.9, 7, ["x"]]);
  assertEquals([options.maxTokens, options.schema], [50, schema]);
  assertEquals(options.templateValues, { reasoning_effort: "low", enable_thinking: false, thinking: false });
  await ask({ output_format: { type: "json_schema", schema } });
  assertEquals(asked.generated.at(-1)!.options.schema, schema);
  const thinking = { type: "enabled", budget_tokens: 1024 };
  await ask({ max_tokens: 2000, thinking });
  assertEquals(asked.generated.at(-1)!.options.templateValues, { enable_thinking: true, thinking: true });
  const omitted = await ask({ max_tokens: 2000, thinking: { ...thinking, display: "omitted" }, stream: true });
  assert(!omitted.text.includes("thinking_delta") && omitted.text.includes("signature_delta"));
  const messages = [...base.messages, { role: "assistant", content: "The answer is" }];
  await ask({ messages });
  const values = { templateValues: { enable_thinking: false, thinking: false } };
  const expected = scriptedPrompt(base.messages, values) + "The answer is";
  assertEquals(String.fromCharCode(...asked.generated.at(-1)!.tokens), expected);
  assertEquals(asked.tokenized.at(-1)!.options.special, false);
});

test("anthropic: counting tokens makes none", async () => {
  const { handler, asked } = await scripted({});
  const { model, messages } = base;
  const { status, json } = await ask(handler, `${MESSAGES}/count_tokens`, { model, messages, tools: TOOLS });
  const { prompt, options } = asked.tokenized.at(-1)!;
  assertEquals([status, json], [200, { input_tokens: scriptedPrompt(prompt, options).length }]);
  assertEquals([asked.generated, options.tools?.length], [[], 2]);
  const real = await tinyHandler();
  const told = await ask(real, `${MESSAGES}/count_tokens?beta=true`, { model, messages });
  assertEquals(told.json, { input_tokens: (await (await tinyModel()).tokenize(messages)).length });
});

test("anthropic: errors in the API's own shape, before a stream and in it", async () => {
  const wrong = await scripted({ error: new RealizarError("ARG", "the schema is odd") });
  const before = await wrong.ask({ stream: true });
  assertEquals([before.status, before.json.error.type], [400, "invalid_request_error"]);
  assertEquals(before.json.request_id, before.headers.get("request-id"));
  const full = await scripted({ error: new RealizarError("BUSY", "the queue is full") });
  const refused = await full.ask({ stream: true });
  assertEquals([refused.status, refused.json.error.type], [503, "overloaded_error"]);
  assertEquals(refused.headers.get("retry-after"), "1");
  const later = await scripted({ parts: CALLING.slice(0, 3), error: new RealizarError("DEVICE", "secret detail") });
  const events = eventsOf((await later.ask({ stream: true })).text);
  const { event, data } = events.at(-1)!;
  assertEquals([event, data.type, data.error.type], ["error", "error", "api_error"]);
  assert(!data.error.message.includes("secret"));
});

test("anthropic: a quiet stream pings; loading, a wrong key and strange paths speak the API's language", async () => {
  const gate = Promise.withResolvers<void>();
  const { model } = await scriptedModel({ parts: [[{ kind: "text", text: "late" }]], gate: gate.promise });
  const slow = createHandler({ models: { [NAME]: model }, limits: { pingMs: 30 } });
  const response = await slow(post(MESSAGES, { ...base, stream: true }));
  const names = eventsOf(await readUntilMark(response, "event: ping", gate.resolve)).map(({ event }) => event);
  assertEquals([names[0], names[1], names.at(-1)], ["message_start", "ping", "message_stop"]);
  const loading = createHandler({ models: {}, status: { state: "loading", loadedBytes: 1, totalBytes: 4 } });
  const early = await ask(loading, MESSAGES, base);
  assertEquals([early.status, early.json.error.type], [503, "api_error"]);
  const locked = createHandler({ models: { [NAME]: model }, apiKeys: ["k"] });
  const typeOf = async (path: string, headers: Record<string, string> = {}): Promise<unknown[]> => {
    const { status, json } = await read(await locked(post(path, base, { headers })));
    return [status, json.type, json.error.type];
  };
  assertEquals(await typeOf(MESSAGES), [401, "error", "authentication_error"]);
  const key = { "x-api-key": "k" };
  assertEquals(await typeOf(`${MESSAGES}/batches`, key), [404, "error", "not_found_error"]);
  const strange = { ...key, "anthropic-version": "2023-06-01" };
  assertEquals(await typeOf("/v1/files", strange), [404, "error", "not_found_error"]);
});

test("anthropic: models have what both kinds of clients read", async () => {
  const { json } = await ask(await tinyHandler(), "/v1/models");
  assertEquals([json.object, json.has_more, json.first_id, json.last_id], ["list", false, NAME, NAME]);
  const [one] = json.data;
  assertEquals([one.type, one.display_name, one.object, one.id], ["model", NAME, "model", NAME]);
  assertEquals(Date.parse(one.created_at), one.created * 1000);
  const { model } = await scriptedModel({});
  const three = createHandler({ models: { a: model, b: model, c: model } });
  const page = async (query: string): Promise<unknown[]> => {
    const { data, has_more, first_id, last_id } = (await ask(three, `/v1/models?${query}`)).json;
    return [data.map(({ id }: { id: string }) => id).join(""), has_more, first_id, last_id];
  };
  assertEquals(await page("beta=true"), ["abc", false, "a", "c"]);
  assertEquals(await page("limit=2"), ["ab", true, "a", "b"]);
  assertEquals(await page("limit=2&after_id=b"), ["c", false, "c", "c"]);
  assertEquals(await page("limit=1&before_id=c"), ["b", true, "b", "b"]);
  assertEquals(await page("after_id=c"), ["", false, null, null]);
  for (const query of ["limit=0", "limit=x", "limit=1001", "after_id=d", "before_id="]) {
    assertEquals((await ask(three, `/v1/models?${query}`)).status, 400, query);
  }
});

test("the model is closed", closeTinyModel);

leakCheck();
