/** The `ollama` package against the handler, through its `fetch` option: no port, no socket. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { createHandler, type ServedModel } from "../src/server/mod.ts";
import { importClient, missingClients } from "./client_packages.ts";
import { call, type Script, ScriptedModel, text, thought } from "./scripted_model.ts";
import { closeTinyModel, NAME, QUESTION, tinyModel } from "./server_support.ts";
import { leakCheck, test, testUnless } from "./support.ts";

interface Call {
  function: { name: string; arguments: unknown };
}
interface Piece {
  message: { role: string; content: string; thinking?: string; tool_calls?: Call[] };
  response: string;
  done: boolean;
  done_reason: string;
  eval_count: number;
  prompt_eval_count: number;
}
interface Pieces extends Piece, AsyncIterable<Piece> {
  abort(): void;
}
interface Listed {
  models: { name: string; size: number }[];
}
/** The part of the client that is used: its own types would have to be installed. */
interface Ollama {
  chat(body: object): Promise<Pieces>;
  generate(body: object): Promise<Pieces>;
  list(): Promise<Listed>;
  ps(): Promise<Listed>;
  show(body: object): Promise<{ details: { family: string }; capabilities: string[] }>;
  version(): Promise<{ version: string }>;
  pull(body: object): Promise<unknown>;
  delete(body: object): Promise<unknown>;
  embed(body: object): Promise<unknown>;
}
interface ApiFailure extends Error {
  status_code: number;
}

const missing = missingClients("ollama");

async function clientOf(model: ServedModel): Promise<Ollama> {
  const { Ollama: Client } = await importClient<{ Ollama: new (options: object) => Ollama }>("ollama");
  const handler = createHandler({ models: { [NAME]: model } });
  const fetch = (input: string | URL | Request, init?: RequestInit): Promise<Response> =>
    handler(new Request(input, init));
  return new Client({ host: "http://localhost:11434", fetch });
}

const chat = { model: NAME, messages: QUESTION, options: { temperature: 0, num_predict: 12 } };

testUnless(missing, "ollama package: a real model, whole and streaming, is what the library makes", async () => {
  const model = await tinyModel();
  const client = await clientOf(model);
  const expected = await model.generate([...QUESTION], { maxTokens: 12, temperature: 0, answer: true }).result();
  const whole = await client.chat(chat);
  assertEquals([whole.message.role, whole.message.content], ["assistant", expected.answer!.text]);
  const { promptTokens, completionTokens } = expected.usage;
  assertEquals([whole.prompt_eval_count, whole.eval_count], [promptTokens, completionTokens]);
  let told = "";
  let last: Piece | undefined;
  for await (const piece of await client.chat({ ...chat, stream: true })) {
    told += piece.message.content;
    last = piece;
  }
  assertEquals([told, last!.done, last!.eval_count], [expected.answer!.text, true, completionTokens]);
  assertEquals(last!.done_reason, expected.finishReason);
  const raw = await model.generate("the rain in", { maxTokens: 8, temperature: 0, special: true }).result();
  const options = { temperature: 0, num_predict: 8 };
  const body = { model: NAME, prompt: "the rain in", raw: true, options };
  assertEquals((await client.generate(body)).response, raw.text);
  let response = "";
  for await (const piece of await client.generate({ ...body, stream: true })) response += piece.response;
  assertEquals(response, raw.text);
});

testUnless(missing, "ollama package: a real model is held to a format, and is told of tools", async () => {
  const client = await clientOf(await tinyModel());
  const city = { type: "string", maxLength: 5 };
  const schema = { type: "object", properties: { city }, required: ["city"], additionalProperties: false };
  const options = { num_predict: 300, seed: 5, temperature: 1.5 };
  const { message } = await client.chat({ ...chat, format: schema, options });
  const parsed = JSON.parse(message.content) as { city: string };
  assertEquals([Object.keys(parsed), [...parsed.city].length <= 5], [["city"], true]);
  const tools = [{ type: "function", function: { name: "weather", description: "tells it", parameters: schema } }];
  const told = await client.chat({ ...chat, tools, options: { ...options, num_predict: 20 } });
  assert(told.done && told.prompt_eval_count > 100, "the tools are in the prompt");
});

testUnless(missing, "ollama package: thinking and calls, and their results sent back", async () => {
  const script: Script = { pieces: [thought("hm"), text("I add"), ...call(0, "c", "add", { a: 1 })] };
  const model = new ScriptedModel([script, script, { pieces: [text("It is 2.")] }]);
  const client = await clientOf(model);
  const tools = [{ type: "function", function: { name: "add", description: "adds", parameters: { type: "object" } } }];
  const whole = await client.chat({ ...chat, tools, think: true });
  assertEquals([whole.message.thinking, whole.message.content], ["hm", "I add"]);
  assertEquals(whole.message.tool_calls![0]!.function.arguments, { a: 1 });
  const calls: Call[] = [];
  for await (const { message } of await client.chat({ ...chat, tools, stream: true })) {
    calls.push(...message.tool_calls ?? []);
  }
  assertEquals(calls.map((one) => one.function.name), ["add"]);
  const messages = [...QUESTION, whole.message, { role: "tool", content: "2", tool_name: "add" }];
  assertEquals((await client.chat({ ...chat, messages, tools })).message.content, "It is 2.");
});

testUnless(missing, "ollama package: lists, versions, and what is refused, as the client's own errors", async () => {
  const model = await tinyModel();
  const client = await clientOf(model);
  assertEquals((await client.list()).models.map(({ name }) => name), [NAME]);
  assertEquals((await client.ps()).models.map(({ name }) => name), [NAME]);
  const { details, capabilities } = await client.show({ model: NAME });
  assertEquals([details.family, capabilities[0]], ["llama", "completion"]);
  assert(/^\d+\.\d+\.\d+/.test((await client.version()).version));
  const failure = async (promise: Promise<unknown>): Promise<unknown[]> => {
    const error = await assertRejects(() => promise) as ApiFailure;
    return [error.name, error.status_code];
  };
  assertEquals(await failure(client.pull({ model: NAME })), ["ResponseError", 501]);
  assertEquals(await failure(client.delete({ model: NAME })), ["ResponseError", 501]);
  assertEquals(await failure(client.embed({ model: NAME, input: "x" })), ["ResponseError", 501]);
  assertEquals(await failure(client.chat({ ...chat, model: "llama3" })), ["ResponseError", 404]);
  assertEquals(await failure(client.chat({ ...chat, options: { num_gpu: 1 } })), ["ResponseError", 400]);
});

testUnless(missing, "ollama package: a format, and a stream that is aborted", async () => {
  const model = new ScriptedModel([{ pieces: [text(`{"a":5}`)] }, { pieces: [text("a"), text("b")], hangs: true }]);
  const client = await clientOf(model);
  const format = { type: "object", properties: { a: { type: "number" } } };
  const { message } = await client.chat({ ...chat, format });
  assertEquals([JSON.parse(message.content), model.last.options.schema], [{ a: 5 }, format]);
  const pieces = await client.chat({ ...chat, stream: true });
  await assertRejects(async () => {
    for await (const piece of pieces) if (piece.message.content === "b") pieces.abort();
  });
  for (let i = 0; !model.generations[1]!.cancelled && i < 2000; i++) await new Promise((done) => setTimeout(done, 5));
  assert(model.generations[1]!.cancelled);
});

test("the model is closed", closeTinyModel);

leakCheck();
