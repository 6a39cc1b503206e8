/** Chat completions over a scripted model: every field arrives where it belongs, every part of an answer comes out. */
import { assert, assertEquals } from "@std/assert";
import { createHandler, type Handler } from "../src/server/mod.ts";
import type { AnswerPart } from "../src/types.ts";
import { call, type Script, ScriptedModel, text, thought } from "./scripted_model.ts";
import { type Answer, ask, events } from "./server_support.ts";
import { test } from "./support.ts";

const CHAT = "/v1/chat/completions";
const TOOL = { type: "function", function: { name: "f", description: "d", parameters: { type: "object" } } };
const BOTH: Script = {
  pieces: [
    null,
    thought("so"),
    thought(" be"),
    null,
    text("It "),
    text("is"),
    ...call(0, "c1", "f", { a: 1 }),
    ...call(1, "c2", "f", {}),
  ],
};

interface Served {
  model: ScriptedModel;
  handler: Handler;
  chat(fields?: object): Promise<Answer>;
}

function served(script: Script, variables: readonly string[] = []): Served {
  const model = new ScriptedModel([script], variables);
  const handler = createHandler({ models: { m: model } });
  const body = { model: "m", messages: [{ role: "user", content: "hi" }] };
  return { model, handler, chat: (fields = {}) => ask(handler, CHAT, { ...body, ...fields }) };
}

test("chat completions: reasoning, text and calls of an answer, whole", async () => {
  const { json } = await served(BOTH).chat({ tools: [TOOL] });
  assertEquals(json.choices[0].message, {
    role: "assistant",
    content: "It is",
    refusal: null,
    reasoning_content: "so be",
    tool_calls: [
      { id: "c1", type: "function", function: { name: "f", arguments: '{"a":1}' } },
      { id: "c2", type: "function", function: { name: "f", arguments: "{}" } },
    ],
  });
  assertEquals(json.choices[0].finish_reason, "tool_calls");
  assertEquals(json.usage.completion_tokens_details, { reasoning_tokens: 3 }, "with the mark at its end");
  const cut = await served({ ...BOTH, finishReason: "length" }).chat({ tools: [TOOL] });
  assertEquals(cut.json.choices[0].finish_reason, "length");
});

test("chat completions: the same as a stream of deltas", async () => {
  const { text: body } = await served(BOTH).chat({ tools: [TOOL], stream: true });
  const deltas = events(body).map(({ choices }) => choices[0].delta);
  assertEquals(deltas, [
    { role: "assistant", content: "" },
    { reasoning_content: "so" },
    { reasoning_content: " be" },
    { content: "It " },
    { content: "is" },
    { tool_calls: [{ index: 0, id: "c1", type: "function", function: { name: "f", arguments: "" } }] },
    { tool_calls: [{ index: 0, function: { arguments: '{"a' } }] },
    { tool_calls: [{ index: 0, function: { arguments: '":1}' } }] },
    { tool_calls: [{ index: 1, id: "c2", type: "function", function: { name: "f", arguments: "" } }] },
    { tool_calls: [{ index: 1, function: { arguments: "{" } }] },
    { tool_calls: [{ index: 1, function: { arguments: "}" } }] },
    {},
  ]);
  const legacy = await served(BOTH).chat({ functions: [TOOL.function], stream: true });
  const called = events(legacy.text).map(({ choices }) => choices[0].delta.function_call).filter(Boolean);
  assertEquals(called[0], { name: "f", arguments: "" });
  assertEquals(events(legacy.text).at(-1).choices[0].finish_reason, "function_call");
});

test("chat completions: a conversation with calls and results reaches the template", async () => {
  const { model, chat } = served({ pieces: [text("ok")] });
  const messages = [
    { role: "developer", content: "be brief" },
    { role: "user", content: [{ type: "text", text: "a" }, { type: "text", text: "b" }], name: "ann" },
    {
      role: "assistant",
      content: null,
      refusal: null,
      reasoning_content: "hm",
      tool_calls: [{ id: "1", type: "function", function: { name: "f", arguments: '{"a":1}' } }],
    },
    { role: "tool", tool_call_id: "1", content: "one" },
    { role: "assistant", content: "x", function_call: { name: "f", arguments: "{}" } },
    { role: "function", name: "f", content: "two" },
  ];
  assertEquals((await chat({ messages })).status, 200);
  assertEquals(model.tokenized[0]!.text, [
    { role: "system", content: "be brief" },
    { role: "user", content: "a\nb", name: "ann" },
    { role: "assistant", content: "", toolCalls: [{ id: "1", name: "f", arguments: '{"a":1}' }], reasoning: "hm" },
    { role: "tool", content: "one", toolCallId: "1" },
    { role: "assistant", content: "x", toolCalls: [{ id: "function00004", name: "f", arguments: "{}" }] },
    { role: "tool", content: "two", name: "f", toolCallId: "function00004" },
  ]);
});

test("chat completions: tools and choices reach the generation", async () => {
  const tool = { name: "f", description: "d", parameters: { type: "object" } };
  const other = { type: "function", function: { name: "g" } };
  const cases: [fields: object, tools: string[] | undefined, choice: unknown, parallel: unknown, told: string[]][] = [
    [{ tools: [TOOL] }, ["f"], "auto", true, ["f"]],
    [{ tools: [TOOL, other], tool_choice: "required", parallel_tool_calls: false }, ["f", "g"], "required", false, [
      "f",
      "g",
    ]],
    [
      { tools: [TOOL, other], tool_choice: { type: "function", function: { name: "g" } } },
      ["f", "g"],
      { name: "g" },
      true,
      [
        "f",
        "g",
      ],
    ],
    [
      {
        tools: [TOOL, other],
        tool_choice: {
          type: "allowed_tools",
          allowed_tools: { mode: "required", tools: [{ type: "function", function: { name: "g" } }] },
        },
      },
      ["g"],
      "required",
      true,
      ["f", "g"],
    ],
    [{ tools: [TOOL], tool_choice: "none" }, undefined, undefined, undefined, []],
    [{ tools: [], tool_choice: "auto" }, undefined, undefined, undefined, []],
    [{ functions: [TOOL.function], function_call: { name: "f" } }, ["f"], { name: "f" }, false, ["f"]],
  ];
  for (const [fields, tools, choice, parallel, told] of cases) {
    const { model, chat } = served({ pieces: [text("ok")] });
    const { status, text: body } = await chat(fields);
    assertEquals(status, 200, body);
    const { options } = model.last;
    assertEquals(options.tools?.map(({ name }) => name), tools, body);
    assertEquals([options.toolChoice, options.parallelToolCalls, options.answer], [choice, parallel, true]);
    assertEquals((model.tokenized[0]!.options.tools ?? []).map(({ name }) => name), told);
    if (tools?.[0] === "f") assertEquals(options.tools![0], tool);
  }
});

test("chat completions: formats, cache keys and template values reach their places", async () => {
  const { model, chat } = served({ pieces: [text("{}")] }, ["enable_thinking", "reasoning_effort", "style"]);
  const schema = { type: "object", properties: { a: { type: "string" } } };
  const json_schema = { name: "n", description: "d", strict: true, schema };
  await chat({ response_format: { type: "json_schema", json_schema }, prompt_cache_key: "ann" });
  assertEquals([model.last.options.schema, model.last.options.cacheSalt], [schema, "ann"]);
  await chat({ response_format: { type: "json_object" }, cache_salt: "bob" });
  assertEquals([model.last.options.schema, model.last.options.cacheSalt], [{ type: "object" }, "bob"]);
  await chat({ response_format: { type: "text" }, chat_template_kwargs: { style: "dry", n: 1, on: true, no: null } });
  assertEquals(model.last.options.schema, undefined);
  assertEquals(model.tokenized.at(-1)!.options.templateValues, { style: "dry", n: 1, on: true, no: null });
  await chat({ reasoning_effort: "low" });
  assertEquals(model.tokenized.at(-1)!.options.templateValues, { enable_thinking: true, reasoning_effort: "low" });
  const unknown = await served({ pieces: [] }).chat({ reasoning_effort: "low" });
  assertEquals([unknown.status, unknown.json.error.param], [400, "reasoning_effort"]);
  const twice = await chat({ prompt_cache_key: "a", cache_salt: "b" });
  assertEquals([twice.status, twice.json.error.param], [400, "cache_salt"]);
});

test("chat completions: log-probabilities are those of the text", async () => {
  const logged = (content: string, token: number): AnswerPart => ({
    kind: "text",
    text: content,
    logprobs: [{ token, logprob: -0.5, top: [{ token: 9, logprob: -0.25 }] }],
  });
  const script: Script = { pieces: [thought("hm"), logged("a", 1), logged("b", 2), ...call(0, "c", "f", {})] };
  const { model, chat } = served(script);
  const { json } = await chat({ logprobs: true, top_logprobs: 1, tools: [TOOL] });
  assertEquals(model.last.options.logprobs, 1);
  const { content } = json.choices[0].logprobs;
  assertEquals(content.map((one: { token: string }) => one.token), ["<1>", "<2>"]);
  assertEquals([content[0].logprob, content[0].top_logprobs[0].token], [-0.5, "<9>"]);
  const streamed = events((await chat({ logprobs: true, stream: true, tools: [TOOL] })).text);
  const told = streamed.flatMap(({ choices }) => choices[0].logprobs?.content ?? []);
  assertEquals(told.map((one: { token: string }) => one.token), ["<1>", "<2>"]);
});

test("tokenize: conversations with tools and template values", async () => {
  const { model, handler } = served({ pieces: [] });
  const body = { messages: [{ role: "user", content: "hi" }], tools: [TOOL], chat_template_kwargs: { a: 1 } };
  assertEquals((await ask(handler, "/tokenize", body)).status, 200);
  const { tools, templateValues } = model.tokenized[0]!.options;
  assertEquals([tools!.length, templateValues], [1, { a: 1 }]);
  const wrong = await ask(handler, "/tokenize", { prompt: "x", tools: [TOOL] });
  assert(wrong.status === 400 && wrong.json.error.param === "prompt");
});
