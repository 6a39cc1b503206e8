/** What requests to /v1/responses ask of a model: conversations, formats, tools, effort, log-probabilities. */
import { assertEquals } from "@std/assert";
import { HELLO, served } from "./responses_support.ts";
import { call, type Script, text, thought } from "./scripted_model.ts";
import { leakCheck, test } from "./support.ts";

const ADD = { type: "function", name: "add", description: "adds", parameters: { type: "object" }, strict: true };

const CALLS: Script = { pieces: [thought("hm"), text("It is"), ...call(0, "call_1", "add", { a: 1 })] };

test("responses: items of every kind become the conversation they were", async () => {
  const { respond, model } = served(HELLO);
  const { status, json } = await respond({
    instructions: "first",
    input: [
      { role: "developer", content: "second" },
      { role: "user", content: [{ type: "input_text", text: "a" }, { type: "input_text", text: "b" }] },
      { type: "reasoning", id: "rs_1", summary: [], content: [{ type: "reasoning_text", text: "think" }] },
      {
        type: "message",
        id: "msg_1",
        role: "assistant",
        status: "completed",
        content: [{ type: "output_text", text: "calling", annotations: [], logprobs: [] }],
      },
      { type: "function_call", id: "fc_1", call_id: "c1", name: "add", arguments: '{"a":1}', status: "completed" },
      { type: "function_call", call_id: "c2", name: "add", arguments: "{}" },
      { type: "function_call_output", call_id: "c1", output: "one" },
      { type: "function_call_output", call_id: "c2", output: [{ type: "input_text", text: "two" }] },
      { type: "reasoning", id: "rs_2", summary: [{ type: "summary_text", text: "short" }] },
      { role: "assistant", content: "done" },
      { role: "assistant", content: "really" },
      { role: "user", content: "more" },
    ],
    tools: [ADD],
  });
  assertEquals(status, 200, JSON.stringify(json));
  assertEquals(model.tokenized[0]!.text, [
    { role: "system", content: "first\n\nsecond" },
    { role: "user", content: "a\nb" },
    {
      role: "assistant",
      content: "calling",
      reasoning: "think",
      toolCalls: [{ id: "c1", name: "add", arguments: '{"a":1}' }, { id: "c2", name: "add", arguments: "{}" }],
    },
    { role: "tool", toolCallId: "c1", name: "add", content: "one" },
    { role: "tool", toolCallId: "c2", name: "add", content: "two" },
    { role: "assistant", content: "done", reasoning: "short" },
    { role: "assistant", content: "really" },
    { role: "user", content: "more" },
  ]);
});

test("responses: an answer sent back as input is taken as it is", async () => {
  const { respond, model } = served([CALLS, HELLO]);
  const { json } = await respond({ tools: [ADD] });
  const output = { type: "function_call_output", call_id: "call_1", output: "2" };
  const input = [{ role: "user", content: "hi" }, ...json.output, output];
  assertEquals((await respond({ input, tools: [ADD] })).status, 200);
  assertEquals(model.tokenized[1]!.text, [
    { role: "user", content: "hi" },
    {
      role: "assistant",
      content: "It is",
      reasoning: "hm",
      toolCalls: [{ id: "call_1", name: "add", arguments: '{"a":1}' }],
    },
    { role: "tool", toolCallId: "call_1", name: "add", content: "2" },
  ]);
});

test("responses: a call that was cut off comes back as it is", async () => {
  const cut: Script = { pieces: call(0, "c", "add", { a: "long" }).slice(0, 2), finishReason: "length" };
  const { respond, model } = served([cut, HELLO]);
  const { json } = await respond({ tools: [ADD] });
  assertEquals(json.output[0].status, "incomplete");
  assertEquals((await respond({ input: [...json.output, { role: "user", content: "go on" }] })).status, 200);
  assertEquals(model.tokenized.at(-1)!.text, [
    { role: "assistant", content: "", toolCalls: [{ id: "c", name: "add", arguments: '{"a":"' }] },
    { role: "user", content: "go on" },
  ]);
});

test("responses: formats of the text are schemas of the answer", async () => {
  const { respond, model } = served(HELLO);
  const schema = { type: "object", properties: { a: { type: "string" } }, required: ["a"] };
  const format = { type: "json_schema", name: "n", schema, strict: true };
  const { json } = await respond({ text: { format, verbosity: "medium" } });
  assertEquals([model.last.options.schema, json.text.format], [schema, format]);
  await respond({ text: { format: { type: "json_object" } } });
  assertEquals(model.last.options.schema, { type: "object" });
  await respond({ text: { format: { type: "text" } } });
  assertEquals(model.last.options.schema, undefined);
});

test("responses: choices of tools: none of them, one, some, and one call at most", async () => {
  const { respond, model } = served(HELLO);
  const tools = [ADD, { ...ADD, name: "sub" }];
  const asked = async (fields: object) => {
    await respond({ tools, ...fields });
    const { options } = model.last;
    const told = model.tokenized.at(-1)!.options.tools?.map(({ name }) => name);
    return [told, options.tools?.map(({ name }) => name), options.toolChoice, options.parallelToolCalls];
  };
  const both = ["add", "sub"];
  assertEquals(await asked({}), [both, both, "auto", true]);
  assertEquals(await asked({ tool_choice: "none" }), [undefined, undefined, undefined, undefined]);
  assertEquals(await asked({ tool_choice: { type: "function", name: "sub" } }), [both, both, { name: "sub" }, true]);
  const allowed = { type: "allowed_tools", mode: "required", tools: [{ type: "function", name: "sub" }] };
  assertEquals(await asked({ tool_choice: allowed }), [both, ["sub"], "required", true]);
  assertEquals(await asked({ parallel_tool_calls: false }), [both, both, "auto", false]);
});

test("responses: effort goes through the template's variables, and is refused where it knows none", async () => {
  const knows = served(HELLO, ["enable_thinking"]);
  const { json } = await knows.respond({ reasoning: { effort: "none" } });
  assertEquals(json.reasoning, { effort: "none", summary: null });
  assertEquals(knows.model.last.options.templateValues, { enable_thinking: false });
  assertEquals(knows.model.tokenized.at(-1)!.options.templateValues, { enable_thinking: false });
  const levels = served(HELLO, ["reasoning_effort"]);
  await levels.respond({ reasoning: { effort: "high" } });
  assertEquals(levels.model.last.options.templateValues, { reasoning_effort: "high" });
  const { status, json: { error } } = await served(HELLO).respond({ reasoning: { effort: "low" } });
  assertEquals([status, error.code, error.param], [400, "unsupported_parameter", "reasoning.effort"]);
});

test("responses: log-probabilities come where they are included", async () => {
  const logprobs = [{ token: 65, logprob: -0.5, top: [{ token: 66, logprob: -1 }] }];
  const script: Script = { pieces: [{ kind: "text", text: "A", logprobs }] };
  const { respond, stream, model } = served(script);
  const fields = { include: ["message.output_text.logprobs"], top_logprobs: 1 };
  const expected = [{
    token: "<65>",
    logprob: -0.5,
    bytes: [...new TextEncoder().encode("<65>")],
    top_logprobs: [{ token: "<66>", logprob: -1, bytes: [...new TextEncoder().encode("<66>")] }],
  }];
  assertEquals((await respond(fields)).json.output[0].content[0].logprobs, expected);
  assertEquals(model.last.options.logprobs, 1);
  const delta = (await stream(fields)).find(({ type }) => type === "response.output_text.delta")!;
  assertEquals(delta.logprobs, expected);
  assertEquals((await respond()).json.output[0].content[0].logprobs, []);
  assertEquals(model.last.options.logprobs, undefined);
});

leakCheck();
