/** `@ai-sdk/openai`, `@ai-sdk/openai-compatible` and `@langchain/openai` against the handler, without a port. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { importClient, missingClients } from "./client_packages.ts";
import { HELLO, MODEL, type Served, served } from "./responses_support.ts";
import { call, type Script, text } from "./scripted_model.ts";
import { leakCheck, testUnless } from "./support.ts";

type Fetch = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;
interface Result {
  text: string;
  output: unknown;
  finishReason: string;
  usage: { inputTokens: number; outputTokens: number };
  warnings: unknown[] | undefined;
}
/** The parts of the packages that are used: their own types would have to be installed. */
interface Ai {
  generateText(options: object): Promise<Result>;
  streamText(options: object): { textStream: AsyncIterable<string>; finishReason: Promise<string> };
  Output: { object(options: object): unknown };
  tool(options: object): unknown;
  isStepCount(n: number): unknown;
  jsonSchema(schema: object): unknown;
}
interface AiOpenAi {
  createOpenAI(options: object): { responses(id: string): unknown };
}
interface AiCompatible {
  createOpenAICompatible(options: object): (id: string) => unknown;
}
interface Message {
  text: string;
  tool_calls?: { name: string; args: unknown; id: string }[];
  usage_metadata?: { input_tokens: number; output_tokens: number };
}
interface ChatOpenAi {
  invoke(messages: unknown): Promise<Message>;
  stream(messages: unknown): Promise<AsyncIterable<Message>>;
  bindTools(tools: unknown[]): ChatOpenAi;
  withStructuredOutput(schema: object, options: object): { invoke(messages: unknown): Promise<unknown> };
}
interface LangChain {
  ChatOpenAI: new (options: object) => ChatOpenAi;
}
interface LangChainCore {
  ToolMessage: new (fields: object) => unknown;
  HumanMessage: new (text: string) => unknown;
}

const missing = missingClients("ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible");
const missingLangChain = missingClients("@langchain/openai", "@langchain/core");

const SCHEMA = {
  type: "object",
  properties: { a: { type: "number" } },
  required: ["a"],
  additionalProperties: false,
} as const;
const CALLS: Script = { pieces: call(0, "c1", "double", { a: 4 }) };
const OBJECT: Script = { pieces: [text('{"a"'), text(":5}")] };

function fetchOf({ handler }: Served): Fetch {
  return (input, init) => handler(new Request(input, init));
}

/** What a model of the AI SDK must do, by whichever API. */
async function checkAi(modelOf: (one: Served) => unknown, options: object): Promise<void> {
  const { generateText, streamText, Output, tool, isStepCount, jsonSchema } = await importClient<Ai>("ai");
  const hello = modelOf(served(HELLO));
  const result = await generateText({ model: hello, prompt: "hi", temperature: 0.5, maxOutputTokens: 9 });
  assertEquals([result.text, result.finishReason], ["Hello.", "stop"]);
  assertEquals([result.usage.inputTokens, result.usage.outputTokens], [10, 2]);
  assertEquals(result.warnings ?? [], []);
  const streamed = streamText({ model: hello, prompt: "hi" });
  let whole = "";
  for await (const piece of streamed.textStream) whole += piece;
  assertEquals([whole, await streamed.finishReason], ["Hello.", "stop"]);

  const object = served(OBJECT);
  const output = Output.object({ schema: jsonSchema(SCHEMA) });
  assertEquals((await generateText({ model: modelOf(object), prompt: "hi", output })).output, { a: 5 });
  const { additionalProperties, ...rest } = object.model.last.options.schema as Record<string, unknown>;
  assertEquals([rest.type, rest.properties, rest.required, additionalProperties], [
    "object",
    SCHEMA.properties,
    ["a"],
    false,
  ]);

  const one = served([CALLS, HELLO]);
  const execute = ({ a }: { a: number }): Promise<object> => Promise.resolve({ is: 2 * a });
  const tools = { double: tool({ description: "doubles", inputSchema: jsonSchema(SCHEMA), execute }) };
  const loop = { prompt: "hi", tools, stopWhen: isStepCount(3), ...options };
  assertEquals((await generateText({ model: modelOf(one), ...loop })).text, "Hello.");
  const toolCalls = [{ id: "c1", name: "double", arguments: '{"a":4}' }];
  const said = one.model.tokenized.at(-1)!.text as { role: string }[];
  assertEquals(said.map(({ role }) => role), ["user", "assistant", "tool"]);
  assertEquals((said[1] as { toolCalls?: unknown }).toolCalls, toolCalls);
  assertEquals((said[2] as { content?: unknown }).content, '{"is":8}');
  const again = streamText({ model: modelOf(served([CALLS, HELLO])), ...loop });
  whole = "";
  for await (const piece of again.textStream) whole += piece;
  assertEquals(whole, "Hello.");
}

testUnless(missing, "@ai-sdk/openai: responses: text, streams, objects, a loop with tools", async () => {
  const { createOpenAI } = await importClient<AiOpenAi>("@ai-sdk/openai");
  const modelOf = (one: Served): unknown =>
    createOpenAI({ apiKey: "-", baseURL: "http://localhost/v1", fetch: fetchOf(one) }).responses(MODEL);
  // It refers to items of earlier responses by id unless it is told that they are not stored.
  await checkAi(modelOf, { providerOptions: { openai: { store: false } } });
});

testUnless(missing, "@ai-sdk/openai-compatible: chat: text, streams, objects, a loop with tools", async () => {
  const { createOpenAICompatible } = await importClient<AiCompatible>("@ai-sdk/openai-compatible");
  const modelOf = (one: Served): unknown =>
    createOpenAICompatible({
      name: "local",
      apiKey: "-",
      baseURL: "http://localhost/v1",
      fetch: fetchOf(one),
      includeUsage: true,
      supportsStructuredOutputs: true,
    })(MODEL);
  await checkAi(modelOf, {});
});

/** What a model of LangChain must do, by whichever API. */
async function checkLangChain(useResponsesApi: boolean): Promise<void> {
  const { ChatOpenAI } = await importClient<LangChain>("@langchain/openai");
  const { HumanMessage, ToolMessage } = await importClient<LangChainCore>("@langchain/core");
  const modelOf = (one: Served): ChatOpenAi => {
    const configuration = { baseURL: "http://localhost/v1", fetch: fetchOf(one) };
    return new ChatOpenAI({ model: MODEL, apiKey: "-", configuration, useResponsesApi, maxRetries: 0 });
  };
  const hello = modelOf(served(HELLO));
  const answer = await hello.invoke("hi");
  assertEquals([answer.text, answer.usage_metadata!.input_tokens], ["Hello.", 10]);
  let whole = "";
  for await (const chunk of await hello.stream("hi")) whole += chunk.text;
  assertEquals(whole, "Hello.");

  const one = served([CALLS, HELLO]);
  const tool = { type: "function", function: { name: "double", description: "doubles", parameters: SCHEMA } };
  const bound = modelOf(one).bindTools([tool]);
  const question = new HumanMessage("hi");
  const asked = await bound.invoke([question]);
  assertEquals(asked.tool_calls!.map(({ name, args, id }) => [name, args, id]), [["double", { a: 4 }, "c1"]]);
  const result = new ToolMessage({ content: "8", tool_call_id: "c1" });
  assertEquals((await bound.invoke([question, asked, result])).text, "Hello.");
  const said = one.model.tokenized.at(-1)!.text as { role: string; content: string }[];
  assertEquals(said.map(({ role }) => role), ["user", "assistant", "tool"]);
  assertEquals(said[2]!.content, "8");

  const structured = modelOf(served(OBJECT)).withStructuredOutput(SCHEMA, { method: "jsonSchema", name: "n" });
  assertEquals(await structured.invoke("hi"), { a: 5 });
  await assertRejects(() => modelOf(served(HELLO)).invoke([{ role: "nobody", content: "x" }]));
}

testUnless(missingLangChain, "@langchain/openai: responses", () => checkLangChain(true));

testUnless(missingLangChain, "@langchain/openai: chat", () => checkLangChain(false));

testUnless(missing, "a client that uses what this server has not hears of it by name", async () => {
  const { createOpenAI } = await importClient<AiOpenAi>("@ai-sdk/openai");
  const { generateText } = await importClient<Ai>("ai");
  const model = createOpenAI({ apiKey: "-", baseURL: "http://localhost/v1", fetch: fetchOf(served(HELLO)) });
  const options = { prompt: "hi", providerOptions: { openai: { previousResponseId: "resp_1" } }, maxRetries: 0 };
  const error = await assertRejects(() => generateText({ model: model.responses(MODEL), ...options })) as Error;
  assert(error.message.includes("previous_response_id"), error.message);
});

leakCheck();
