/** /v1/responses and the AI SDK provider over a real engine: a tiny model with random weights. */
import type { LanguageModelV4Content, LanguageModelV4StreamPart } from "@ai-sdk/provider";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { realizar } from "../src/ai/mod.ts";
import { Model } from "../src/mod.ts";
import { createHandler } from "../src/server/mod.ts";
import { namedEvents } from "./responses_support.ts";
import { ask, NAME, post } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";
import { TINY_TEMPLATE, tinyGguf } from "./tiny_gguf.ts";

/** ChatML with tools as Hermes models write calls, and a switch for thinking. */
const TEMPLATE = "{% if tools %}{{ '<|im_start|>system\n' }}{% for tool in tools %}{{ tool | tojson }}{% endfor %}" +
  "{{ '<tool_call>{...}</tool_call><|im_end|>\n' }}{% endif %}" + TINY_TEMPLATE +
  "{% if enable_thinking is defined and not enable_thinking %}{{ '<think></think>' }}{% endif %}";
const SCHEMA = {
  type: "object",
  properties: { ok: { type: "boolean" }, kind: { enum: ["a", "b"] } },
  required: ["ok", "kind"],
  additionalProperties: false,
};
const TOOLS = ["first", "second"].map((name) => ({ type: "function", name, parameters: SCHEMA }));
/** As random as can be; without thinking first, which a model of random weights might not end. */
const HOT = { temperature: 1.5, top_p: 1, top_k: 0, min_p: 0, reasoning: { effort: "none" } };

let loaded: Promise<Model> | undefined;
function tiny(): Promise<Model> {
  const bytes = tinyGguf({ seed: 3, contextLength: 2048, chatTemplate: TEMPLATE });
  loaded ??= Model.load(bytes, { device: "ref", maxSequences: 4 });
  return loaded;
}

async function respond(fields: object) {
  const handler = createHandler({ models: { [NAME]: await tiny() } });
  const body = { model: NAME, input: "the rain in the end", ...fields };
  const { status, json } = await ask(handler, "/v1/responses", body);
  assertEquals(status, 200, JSON.stringify(json));
  const response = await handler(post("/v1/responses", { ...body, stream: true }));
  return { whole: json, events: namedEvents(await response.text()) };
}

/** What a call must be: one of the tools, with arguments of its schema. */
function checkCall(name: string, json: string): void {
  const args = JSON.parse(json) as Record<string, unknown>;
  assertEquals(Object.keys(args).sort(), ["kind", "ok"]);
  assert(typeof args.ok === "boolean" && ["a", "b"].includes(args.kind as string), json);
  assert(["first", "second"].includes(name), name);
}

test("responses: the text is what the model generates, whole and streaming", async () => {
  const { whole, events } = await respond({ max_output_tokens: 24, temperature: 0, ignore_eos: true });
  const model = await tiny();
  const messages = [{ role: "user", content: "the rain in the end" }];
  const { text, usage } = await model.generate(messages, { maxTokens: 24, temperature: 0, ignoreEos: true }).result();
  assertEquals([whole.status, whole.output[0].content[0].text], ["incomplete", text]);
  assertEquals([whole.usage.input_tokens, whole.usage.output_tokens], [usage.promptTokens, 24]);
  const deltas = events.filter(({ type }) => type === "response.output_text.delta").map(({ delta }) => delta);
  assertEquals(deltas.join(""), text);
  const { response } = events.at(-1)!;
  assertEquals(response.output[0].content[0].text, text);
  assert(response.usage.input_tokens_details.cached_tokens > 0, "the prompt was in the cache");
});

test("responses: a schema holds the answer, tools hold their arguments", async () => {
  for (let seed = 0; seed < 4; seed++) {
    const format = { type: "json_schema", name: "n", schema: SCHEMA };
    const { whole } = await respond({ ...HOT, seed, text: { format } });
    checkCall("first", whole.output[0].content[0].text);
    const { whole: { output }, events } = await respond({ ...HOT, seed, tools: TOOLS, tool_choice: "required" });
    assert(output.length > 0);
    for (const { type, status, name, arguments: json } of output) {
      assertEquals(type, "function_call");
      if (status === "completed") checkCall(name, json); // the last of many may not fit into the context
    }
    const again = events.at(-1)!.response.output;
    assertEquals(
      again.map(({ arguments: json }: { arguments: string }) => json),
      output.map(
        ({ arguments: json }: { arguments: string }) => json,
      ),
    );
    const one = { tools: TOOLS, tool_choice: { type: "function", name: "second" }, parallel_tool_calls: false };
    const named = (await respond({ ...HOT, seed, ...one })).whole.output;
    assertEquals(named.map(({ name }: { name: string }) => name), ["second"]);
  }
});

test("responses: effort goes to the template, which may know no such thing", async () => {
  const tokens = async (reasoning: object) =>
    (await respond({ max_output_tokens: 1, ...reasoning })).whole.usage.input_tokens;
  assertEquals(await tokens({ reasoning: { effort: "high" } }), await tokens({}));
  assert(await tokens({ reasoning: { effort: "none" } }) > await tokens({}));
});

test("responses: what a schema can't be is told with the field's name", async () => {
  const handler = createHandler({ models: { [NAME]: await tiny() } });
  const failure = async (schema: object) => {
    const text = { format: { type: "json_schema", name: "n", schema } };
    const { status, json } = await ask(handler, "/v1/responses", { model: NAME, input: "hi", text });
    return [status, json.error?.param];
  };
  assertEquals(await failure({ type: "wrong" }), [400, "text.format.schema"]);
  assertEquals(await failure({ type: "string", pattern: "(" }), [400, "text.format.schema"]);
  const bad = { type: "function", name: "bad", parameters: { properties: { a: { type: "wrong" } } } };
  const allowed = { type: "allowed_tools", mode: "required", tools: [{ type: "function", name: "bad" }] };
  const body = { model: NAME, input: "hi", tools: [...TOOLS, bad], tool_choice: allowed };
  const { status, json } = await ask(handler, "/v1/responses", body);
  assertEquals([status, json.error?.param], [400, "tools[2].parameters"]);
});

test("ai: the provider over the engine: text, a schema, tools, an abort", async () => {
  const model = await tiny();
  const prompt = [{ role: "user" as const, content: [{ type: "text" as const, text: "the rain in the end" }] }];
  const language = realizar(model, { ignoreEos: true });
  const settings = { prompt, maxOutputTokens: 24, temperature: 0 };
  const { content, finishReason } = await language.doGenerate(settings);
  const messages = [{ role: "user", content: "the rain in the end" }];
  const expected = await model.generate(messages, { maxTokens: 24, temperature: 0, ignoreEos: true }).result();
  assertEquals([content, finishReason.unified], [[{ type: "text", text: expected.text }], "length"]);
  let streamed = "";
  for await (const part of (await language.doStream(settings)).stream as AsyncIterable<LanguageModelV4StreamPart>) {
    if (part.type === "text-delta") streamed += part.delta;
  }
  assertEquals(streamed, expected.text);

  const free = realizar(model);
  const hot = {
    prompt,
    reasoning: "none" as const,
    temperature: 1.5,
    topP: 1,
    topK: 0,
    providerOptions: { realizar: { minP: 0, parallelToolCalls: false } },
    seed: 5,
  };
  const textOf = ([first]: LanguageModelV4Content[]): string => first?.type === "text" ? first.text : "";
  const json = await free.doGenerate({ ...hot, responseFormat: { type: "json", schema: SCHEMA as object } });
  checkCall("first", textOf(json.content));
  const tools = TOOLS.map(({ name }) => ({ type: "function" as const, name, inputSchema: SCHEMA as object }));
  const called = await free.doGenerate({ ...hot, tools, toolChoice: { type: "required" } });
  assertEquals(called.finishReason.unified, "tool-calls");
  const [part] = called.content;
  assert(part?.type === "tool-call" && called.content.length === 1);
  checkCall(part.toolName, part.input);
  const stop = new AbortController();
  const aborted = language.doGenerate({ prompt, abortSignal: stop.signal });
  setTimeout(() => stop.abort(), 20);
  assertEquals((await assertRejects(async () => await aborted) as Error).name, "AbortError");
});

test("the model is closed", async () => {
  await (await loaded)?.close();
  loaded = undefined;
});

leakCheck();
