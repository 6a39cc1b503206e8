/** POST /v1/responses over a model that answers what is written down here. */
import { assert, assertEquals } from "@std/assert";
import { RealizarError } from "../src/errors.ts";
import { HELLO, MODEL, namedEvents, type Served, served } from "./responses_support.ts";
import { call, type Script, text, thought } from "./scripted_model.ts";
import { post } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";

/** Fields at values that ask for what happens anyway. */
const NEUTRAL = {
  store: false,
  truncation: "disabled",
  service_tier: "auto",
  background: false,
  prompt_cache_retention: "in_memory",
  previous_response_id: null,
};
const ADD = {
  type: "function",
  name: "add",
  description: "adds",
  parameters: { type: "object", properties: { a: { type: "number" } } },
  strict: true,
};
const ADD_TOOL = { name: "add", description: "adds", parameters: ADD.parameters };
const MIXED: Script = {
  pieces: [null, thought("h"), thought("m"), null, text("It "), text("is"), ...call(0, "call_1", "add", { a: 1 })],
};

/** Without the fields that differ at each run: ids and times. */
function steady(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(steady);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([name, one]) => {
    if (name === "id" || name === "item_id") return [name, String(one).replace(/_[0-9a-f]{32}$/, "_")];
    return [name, name.endsWith("_at") ? 0 : steady(one)];
  });
  return Object.fromEntries(entries);
}

test("responses: a string in, a message out, with every field of the object", async () => {
  const { respond, model } = served(HELLO);
  const { status, json } = await respond({
    instructions: "be kind",
    max_output_tokens: 9,
    temperature: 0.5,
    top_p: 0.9,
    metadata: { a: "b" },
    user: "me",
    safety_identifier: "s",
    prompt_cache_key: "key",
    max_tool_calls: 3,
    parallel_tool_calls: false,
    ...NEUTRAL,
  });
  assertEquals(status, 200);
  const message = {
    type: "message",
    id: "msg_",
    role: "assistant",
    status: "completed",
    content: [{ type: "output_text", text: "Hello.", annotations: [], logprobs: [] }],
  };
  assertEquals(steady(json), {
    id: "resp_",
    object: "response",
    created_at: 0,
    completed_at: 0,
    model: MODEL,
    status: "completed",
    error: null,
    incomplete_details: null,
    output: [message],
    usage: {
      input_tokens: 10,
      input_tokens_details: { cached_tokens: 3 },
      output_tokens: 2,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: 12,
    },
    background: false,
    previous_response_id: null,
    service_tier: "default",
    store: false,
    truncation: "disabled",
    instructions: "be kind",
    max_output_tokens: 9,
    max_tool_calls: 3,
    metadata: { a: "b" },
    parallel_tool_calls: false,
    prompt_cache_key: "key",
    reasoning: { effort: null, summary: null },
    safety_identifier: "s",
    temperature: 0.5,
    text: { format: { type: "text" }, verbosity: "medium" },
    tool_choice: "auto",
    tools: [],
    top_logprobs: 0,
    top_p: 0.9,
    user: "me",
  });
  const { options } = model.last;
  assertEquals([options.maxTokens, options.temperature, options.topP], [9, 0.5, 0.9]);
  assertEquals([options.cacheSalt, options.answer, options.tools], ["key", true, undefined]);
  assertEquals(model.tokenized[0]!.text, [{ role: "system", content: "be kind" }, { role: "user", content: "hi" }]);
});

test("responses: reasoning, text and calls are items, and a stream tells them in the documented order", async () => {
  const fields = { tools: [ADD], tool_choice: "required" };
  const { respond, stream, model } = served(MIXED);
  const { json } = await respond(fields);
  const output = [
    {
      type: "reasoning",
      id: "rs_",
      summary: [],
      status: "completed",
      content: [{ type: "reasoning_text", text: "hm" }],
    },
    {
      type: "message",
      id: "msg_",
      role: "assistant",
      status: "completed",
      content: [{ type: "output_text", text: "It is", annotations: [], logprobs: [] }],
    },
    { type: "function_call", id: "fc_", call_id: "call_1", name: "add", arguments: '{"a":1}', status: "completed" },
  ];
  assertEquals(steady(json.output), output);
  assertEquals([json.tools, json.tool_choice], [[ADD], "required"]);
  // Two tokens of thought and the mark that ends it.
  assertEquals(json.usage.output_tokens_details.reasoning_tokens, 3);
  assertEquals([model.last.options.tools, model.last.options.toolChoice], [[ADD_TOOL], "required"]);
  assertEquals(model.tokenized[0]!.options.tools, [ADD_TOOL]);

  const events = await stream(fields);
  assertEquals(events.map(({ sequence_number }) => sequence_number), events.map((_, i) => i));
  assertEquals(events.map(({ type, delta, output_index }) => [type.replace("response.", ""), output_index, delta]), [
    ["created", undefined, undefined],
    ["in_progress", undefined, undefined],
    ["output_item.added", 0, undefined],
    ["content_part.added", 0, undefined],
    ["reasoning_text.delta", 0, "h"],
    ["reasoning_text.delta", 0, "m"],
    ["reasoning_text.done", 0, undefined],
    ["content_part.done", 0, undefined],
    ["output_item.done", 0, undefined],
    ["output_item.added", 1, undefined],
    ["content_part.added", 1, undefined],
    ["output_text.delta", 1, "It "],
    ["output_text.delta", 1, "is"],
    ["output_text.done", 1, undefined],
    ["content_part.done", 1, undefined],
    ["output_item.done", 1, undefined],
    ["output_item.added", 2, undefined],
    ["function_call_arguments.delta", 2, '{"a'],
    ["function_call_arguments.delta", 2, '":1}'],
    ["function_call_arguments.done", 2, undefined],
    ["output_item.done", 2, undefined],
    ["completed", undefined, undefined],
  ]);
  const [created, last] = [events[0]!.response, events.at(-1)!.response];
  assertEquals([created.status, created.output, created.usage], ["in_progress", [], null]);
  assertEquals(steady(last), steady({ ...json, id: last.id }));
  const items = last.output.map(({ id }: { id: string }) => id);
  const told = (type: string) => events.filter((event) => event.type === type);
  assertEquals(told("response.output_item.done").map(({ item }) => item.id), items);
  assertEquals(told("response.output_item.added").map(({ item }) => item.id), items);
  assertEquals(told("response.output_text.done")[0]!.text, "It is");
  assertEquals(told("response.function_call_arguments.done")[0]!.arguments, '{"a":1}');
  assert(told("response.output_text.delta").every(({ item_id }) => item_id === items[1]));
});

test("responses: an answer that reached its limit is incomplete, and so is its last item", async () => {
  const cut: Script = { pieces: [thought("hm"), text("cut o")], finishReason: "length" };
  const { respond, stream } = served(cut);
  const { json } = await respond({ max_output_tokens: 2 });
  assertEquals([json.status, json.incomplete_details], ["incomplete", { reason: "max_output_tokens" }]);
  assertEquals(json.output.map(({ status }: { status: string }) => status), ["completed", "incomplete"]);
  const last = (await stream({ max_output_tokens: 2 })).at(-1)!;
  assertEquals([last.type, last.response.status], ["response.incomplete", "incomplete"]);
});

test("responses: what fails before the first token is a status; after it the stream tells both ways", async () => {
  const broken = new RealizarError("DEVICE_LOST", "secret details");
  const reported: unknown[] = [];
  const options = { onError: (error: unknown) => reported.push(error) };
  const early = await served({ pieces: [], error: broken }, [], options).respond({ stream: true });
  assertEquals([early.status, early.json.error.code], [500, "device_lost"]);
  const refused: Script = { pieces: [], error: new RealizarError("UNSUPPORTED", "schema: no such keyword") };
  for (const stream of [true, false]) {
    const format = { type: "json_schema", name: "n", schema: {} };
    const { status, json: { error } } = await served(refused).respond({ stream, text: { format } });
    assertEquals([status, error.param, error.code], [400, "text.format.schema", "unsupported_parameter"]);
    assertEquals((await served(refused).respond({ stream, tools: [ADD] })).json.error.param, "tools");
  }
  const events = await served({ pieces: [text("so far")], error: broken }, [], options).stream();
  const [failed, error] = events.slice(-2);
  assertEquals([failed!.type, failed!.response.status], ["response.failed", "failed"]);
  assertEquals(failed!.response.error, { code: "server_error", message: "the server failed (DEVICE_LOST)" });
  assertEquals(failed!.response.output[0].content[0].text, "so far");
  assertEquals([error!.type, error!.code, error!.param], ["error", "device_lost", null]);
  assertEquals(error!.sequence_number, events.length - 1);
  assertEquals(reported, [broken, broken]);
});

/** Reads a stream until its text has a piece, and hands back what it says and the reader. */
async function begun({ handler }: Served, piece: string) {
  const response = await handler(post("/v1/responses", { model: MODEL, input: "hi", stream: true }));
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let got = "";
  while (!got.includes(piece)) got += (await reader.read()).value;
  return { reader, got };
}

test("responses: a quiet stream is kept open by comments, and one that is left ends its generation", async () => {
  const one = served({ pieces: [text("a")], hangs: true }, [], { limits: { pingMs: 20 } });
  const { reader, got } = await begun(one, ": ping\n\n");
  assertEquals(namedEvents(got).at(-1)!.type, "response.output_text.delta");
  await reader.cancel();
  assert(one.model.generations[0]!.cancelled);
});

test("responses: a server that ends cuts what still runs, and says so", async () => {
  const one = served({ pieces: [text("a")], hangs: true });
  const { reader } = await begun(one, "output_text.delta");
  const drained = one.handler.drain(0);
  let rest = "";
  for (let next = await reader.read(); next.done !== true; next = await reader.read()) rest += next.value;
  const events = namedEvents(rest).map(({ type, code }) => [type, code]);
  assertEquals(events, [["response.failed", undefined], ["error", "shutdown"]]);
  await drained;
});

leakCheck();
