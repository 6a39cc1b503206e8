/** The `@anthropic-ai/sdk` package against the handler, through its `fetch` option: no port, no socket. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { createHandler, type ServedModel } from "../src/server/mod.ts";
import { importClient, missingClients } from "./client_packages.ts";
import { call, type Script, ScriptedModel, text, thought } from "./scripted_model.ts";
import { closeTinyModel, NAME, QUESTION, tinyModel } from "./server_support.ts";
import { leakCheck, test, testUnless } from "./support.ts";

interface Block {
  type: string;
  id: string;
  name: string;
  text: string;
  thinking: string;
  input: unknown;
}
interface Message {
  id: string;
  content: Block[];
  stop_reason: string;
  stop_sequence: string | null;
  usage: { input_tokens: number; output_tokens: number; cache_read_input_tokens: number };
  parsed_output: unknown;
  _request_id?: string;
}
interface StreamEvent {
  type: string;
  delta?: { type: string; text?: string };
}
interface MessageStream extends AsyncIterable<StreamEvent> {
  on(event: string, listener: (...args: never[]) => void): MessageStream;
  finalMessage(): Promise<Message>;
  finalText(): Promise<string>;
}
/** The part of the client that is used: its own types would have to be installed. */
interface Anthropic {
  messages: {
    create(body: object, options?: object): Promise<Message & AsyncIterable<StreamEvent>>;
    stream(body: object): MessageStream;
    parse(body: object): Promise<Message>;
    countTokens(body: object): Promise<{ input_tokens: number }>;
  };
  beta: { messages: { create(body: object): Promise<Message>; toolRunner(body: object): PromiseLike<Message> } };
  models: {
    list(): Promise<{ data: { id: string }[] }> & AsyncIterable<{ id: string }>;
    retrieve(id: string): Promise<{ id: string; display_name: string }>;
  };
}
interface ApiFailure extends Error {
  status: number | undefined;
  type: string;
  errorCode: string;
  requestID: string;
}

const missing = missingClients("@anthropic-ai/sdk");

async function clientOf(model: ServedModel, options: object = {}): Promise<Anthropic> {
  type Package = { default: new (options: object) => Anthropic };
  const { default: Client } = await importClient<Package>("@anthropic-ai/sdk");
  const handler = createHandler({ models: { [NAME]: model }, apiKeys: ["secret"] });
  const fetch = (input: string | URL | Request, init?: RequestInit): Promise<Response> =>
    handler(new Request(input, init));
  return new Client({ apiKey: "secret", baseURL: "http://localhost", fetch, maxRetries: 0, ...options });
}

const clientFor = (...scripts: Script[]): Promise<Anthropic> => clientOf(new ScriptedModel(scripts));
const body = { model: NAME, max_tokens: 12, messages: QUESTION, temperature: 0 };
const TOOL = { name: "add", description: "adds", input_schema: { type: "object", properties: { a: {} } } };
const CALLING: Script = {
  pieces: [thought("h"), thought("m"), text("I "), text("add"), ...call(0, "call_1", "add", { a: 1 })],
};

testUnless(missing, "anthropic sdk: a real model, whole and streaming, is what the library makes", async () => {
  const model = await tinyModel();
  const client = await clientOf(model);
  const expected = await model.generate([...QUESTION], { maxTokens: 12, temperature: 0, answer: true }).result();
  const whole = await client.messages.create(body);
  assertEquals(whole.content.map((block) => block.text).join(""), expected.answer!.text);
  assertEquals(whole.usage.input_tokens + whole.usage.cache_read_input_tokens, expected.usage.promptTokens);
  assert(whole._request_id!.startsWith("req-"));
  const stream = client.messages.stream(body);
  let told = "";
  for await (const { delta } of stream) told += delta?.text ?? "";
  const final = await stream.finalMessage();
  assertEquals([told, final.content[0]?.text ?? ""], [expected.answer!.text, expected.answer!.text]);
  assertEquals([final.stop_reason, final.usage.output_tokens], [whole.stop_reason, whole.usage.output_tokens]);
  const { input_tokens } = await client.messages.countTokens({ model: NAME, messages: QUESTION });
  assertEquals(input_tokens, expected.usage.promptTokens);
});

testUnless(missing, "anthropic sdk: a real model is held to a tool's and to an answer's schema", async () => {
  const client = await clientOf(await tinyModel());
  const city = { type: "string", maxLength: 5 };
  const schema = { type: "object", properties: { city }, required: ["city"], additionalProperties: false };
  const tools = [{ name: "weather", description: "tells it", input_schema: schema }];
  const fits = (value: unknown): boolean => {
    const { city, ...rest } = value as { city: string };
    return typeof city === "string" && [...city].length <= 5 && Object.keys(rest).length === 0;
  };
  const asked = { ...body, max_tokens: 300, tools, tool_choice: { type: "tool", name: "weather" } };
  for (const message of [await client.messages.create(asked), await client.messages.stream(asked).finalMessage()]) {
    const called = message.content.filter(({ type }) => type === "tool_use");
    assertEquals([called.length >= 1, message.stop_reason], [true, "tool_use"]);
    assert(called.every(({ name, input }) => name === "weather" && fits(input)), JSON.stringify(called));
  }
  const format = { type: "json_schema", schema };
  const message = await client.messages.parse({ ...body, max_tokens: 300, output_config: { format } });
  assert(fits(JSON.parse(message.content[0]!.text)), JSON.stringify(message.content));
});

testUnless(
  missing,
  "anthropic sdk: thinking, text and calls, accumulated from a stream as they are whole",
  async () => {
    const client = await clientFor(CALLING);
    const asked = { ...body, tools: [TOOL], max_tokens: 2000, thinking: { type: "enabled", budget_tokens: 1024 } };
    const whole = await client.messages.create(asked);
    const kinds = whole.content.map(({ type, thinking, text, input }) => [type, thinking ?? text ?? input]);
    assertEquals(kinds, [["thinking", "hm"], ["text", "I add"], ["tool_use", { a: 1 }]]);
    assertEquals([whole.stop_reason, whole.usage.output_tokens], ["tool_use", 7]);
    const stream = client.messages.stream(asked);
    const heard: string[] = [];
    stream.on("thinking", ((delta: string) => heard.push(delta)) as never);
    stream.on("text", ((delta: string) => heard.push(delta)) as never);
    stream.on("inputJson", ((delta: string) => heard.push(delta)) as never);
    const final = await stream.finalMessage();
    assertEquals(final.content.map((block) => ({ ...block })), whole.content.map((block) => ({ ...block })));
    assertEquals(heard.join(""), `hmI add{"a":1}`);
    const { id } = whole.content[2]!;
    const messages = [...QUESTION, { role: "assistant", content: whole.content }, {
      role: "user",
      content: [{ type: "tool_result", tool_use_id: id, content: "2" }],
    }];
    assertEquals((await client.messages.create({ ...asked, messages })).content.length, 3, "answers can be sent back");
  },
);

testUnless(missing, "anthropic sdk: the tool runner calls a tool and sends its result", async () => {
  const model = new ScriptedModel([CALLING, { pieces: [text("It is 2.")] }]);
  const client = await clientOf(model);
  const inputs: unknown[] = [];
  const run = (input: unknown): string => {
    inputs.push(input);
    return "2";
  };
  const final = await client.beta.messages.toolRunner({ ...body, tools: [{ ...TOOL, run, parse: (x: unknown) => x }] });
  assertEquals([inputs, final.content[0]!.text], [[{ a: 1 }], "It is 2."]);
  const { text: told } = model.tokenized.at(-1)! as { text: { role: string; content: string }[] };
  assertEquals(told.map(({ role, content }) => [role, content]), [
    ["user", QUESTION[0].content],
    ["assistant", "I add"],
    ["tool", "2"],
  ]);
});

testUnless(missing, "anthropic sdk: structured output, betas, models", async () => {
  const model = new ScriptedModel([{ pieces: [text(`{"a":`), text("5}")] }]);
  const client = await clientOf(model);
  const schema = { type: "object", properties: { a: { type: "number" } } };
  const format = { type: "json_schema", schema };
  const message = await client.messages.parse({ ...body, output_config: { format } });
  assertEquals(JSON.parse(message.content[0]!.text), { a: 5 });
  assertEquals(model.last.options.schema, schema);
  const beta = await client.beta.messages.create({ ...body, betas: ["output-128k-2025-02-19"] });
  assertEquals(beta.content.length, 1);
  const names: string[] = [];
  for await (const { id } of client.models.list()) names.push(id);
  assertEquals([names, (await client.models.retrieve(NAME)).display_name], [[NAME], NAME]);
});

testUnless(missing, "anthropic sdk: mistakes become the client's own errors", async () => {
  const client = await clientFor({ pieces: [text("x")] });
  const failure = async (promise: Promise<unknown>): Promise<unknown[]> => {
    const error = await assertRejects(() => promise) as ApiFailure;
    assert(error.requestID.startsWith("req-"));
    return [error.constructor.name, error.status, error.type, error.errorCode];
  };
  const { create } = client.messages;
  const ask = (fields: object): Promise<unknown> => create.call(client.messages, { ...body, ...fields });
  assertEquals(await failure(ask({ temperature: -1 })), [
    ...["BadRequestError", 400, "invalid_request_error", "invalid_value"],
  ]);
  assertEquals(await failure(ask({ container: "c" })), [
    ...["BadRequestError", 400, "invalid_request_error", "unsupported_parameter"],
  ]);
  assertEquals(await failure(ask({ model: "claude" })), [
    ...["NotFoundError", 404, "not_found_error", "model_not_found"],
  ]);
  const messages = [{ role: "user", content: "x".repeat(5 << 20) }];
  assertEquals(await failure(ask({ messages })), [
    ...["ContentTooLargeError", 413, "request_too_large", "request_too_large"],
  ]);
  const stranger = await clientOf(new ScriptedModel([]), { apiKey: "wrong" });
  assertEquals((await failure(stranger.messages.create(body))).slice(0, 3), [
    ...["AuthenticationError", 401, "authentication_error"],
  ]);
  assertEquals((await failure(stranger.models.list())).slice(0, 3), [
    ...["AuthenticationError", 401, "authentication_error"],
  ]);
});

testUnless(missing, "anthropic sdk: who leaves a stream ends its generation", async () => {
  const model = new ScriptedModel([{ pieces: [text("a"), text("b")], hangs: true }]);
  const client = await clientOf(model);
  for await (const { type } of await client.messages.create({ ...body, stream: true })) {
    if (type === "content_block_delta") break;
  }
  for (let i = 0; !model.generations[0]!.cancelled && i < 2000; i++) await new Promise((done) => setTimeout(done, 5));
  assert(model.generations[0]!.cancelled);
});

test("the model is closed", closeTinyModel);

leakCheck();
