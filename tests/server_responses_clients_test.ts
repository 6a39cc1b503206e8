/** The `openai` package's Responses API against the handler, through its `fetch` option: no port, no socket. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { RealizarError } from "../src/errors.ts";
import { importClient, missingClients } from "./client_packages.ts";
import { HELLO, MODEL, type Served, served, type StreamEvent } from "./responses_support.ts";
import { call, type Script, text, thought } from "./scripted_model.ts";
import { leakCheck, testUnless } from "./support.ts";

interface Item {
  type: string;
  id: string;
  call_id: string;
  name: string;
  arguments: string;
  parsed_arguments: unknown;
}
interface Answer {
  id: string;
  status: string;
  output: Item[];
  output_text: string;
  output_parsed: unknown;
  usage: { input_tokens: number; output_tokens: number; output_tokens_details: { reasoning_tokens: number } };
}
/** The part of the client that is used: its own types would have to be installed. */
interface OpenAi {
  responses: {
    create(body: object, options?: object): Promise<Answer & AsyncIterable<StreamEvent>>;
    stream(body: object): AsyncIterable<StreamEvent> & { finalResponse(): Promise<Answer> };
    parse(body: object): Promise<Answer>;
  };
}
interface Zod {
  z: { object(shape: object): unknown; number(): unknown };
}
interface ZodHelpers {
  zodTextFormat(schema: unknown, name: string): object;
}
interface ApiFailure extends Error {
  status: number | undefined;
  code: string;
  param: string | null;
}

const missing = missingClients("openai", "zod");

async function clientOf({ handler }: Served): Promise<OpenAi> {
  const { default: Client } = await importClient<{ default: new (options: object) => OpenAi }>("openai");
  const own = (input: string | URL | Request, init?: RequestInit): Promise<Response> =>
    handler(new Request(input, init));
  return new Client({ apiKey: "-", baseURL: "http://localhost/v1", fetch: own, maxRetries: 0 });
}

const PARAMETERS = {
  type: "object",
  properties: { a: { type: "number" } },
  required: ["a"],
  additionalProperties: false,
};
const ADD = { type: "function", name: "add", parameters: PARAMETERS, strict: true };
const CALLS: Script = {
  pieces: [thought("hm"), text("Sure."), ...call(0, "call_1", "add", { a: 1 }), ...call(1, "call_2", "add", { a: 2 })],
};

testUnless(missing, "openai: responses, whole and streaming, with usage", async () => {
  const client = await clientOf(served(HELLO));
  const whole = await client.responses.create({ model: MODEL, input: "hi", instructions: "be kind" });
  assertEquals([whole.status, whole.output_text, whole.usage.output_tokens], ["completed", "Hello.", 2]);
  let deltas = "";
  for await (const event of await client.responses.create({ model: MODEL, input: "hi", stream: true })) {
    if (event.type === "response.output_text.delta") deltas += event.delta;
  }
  assertEquals(deltas, "Hello.");
  const stream = client.responses.stream({ model: MODEL, input: "hi" });
  const types: string[] = [];
  for await (const event of stream) types.push(event.type);
  assertEquals([types[0], types.at(-1)], ["response.created", "response.completed"]);
  assertEquals((await stream.finalResponse()).output_text, "Hello.");
});

testUnless(missing, "openai: a loop with tools: reasoning, two calls, their results, an answer", async () => {
  const one = served([CALLS, CALLS, HELLO]);
  const client = await clientOf(one);
  const stream = client.responses.stream({ model: MODEL, input: "add", tools: [ADD] });
  const streamed = await stream.finalResponse();
  assertEquals(streamed.output.map(({ type }) => type), ["reasoning", "message", "function_call", "function_call"]);
  assertEquals(streamed.output.map(({ parsed_arguments }) => parsed_arguments).slice(2), [{ a: 1 }, { a: 2 }]);
  const first = await client.responses.create({ model: MODEL, input: "add", tools: [ADD], store: false });
  assertEquals(first.usage.output_tokens_details.reasoning_tokens, 1);
  const input: object[] = [{ role: "user", content: "add" }, ...first.output];
  for (const { type, call_id } of first.output) {
    if (type === "function_call") input.push({ type: "function_call_output", call_id, output: `of ${call_id}` });
  }
  const last = await client.responses.create({ model: MODEL, input, tools: [ADD], store: false });
  assertEquals(last.output_text, "Hello.");
  assertEquals(one.model.tokenized.at(-1)!.text, [
    { role: "user", content: "add" },
    {
      role: "assistant",
      content: "Sure.",
      reasoning: "hm",
      toolCalls: [
        { id: "call_1", name: "add", arguments: '{"a":1}' },
        { id: "call_2", name: "add", arguments: '{"a":2}' },
      ],
    },
    { role: "tool", toolCallId: "call_1", name: "add", content: "of call_1" },
    { role: "tool", toolCallId: "call_2", name: "add", content: "of call_2" },
  ]);
});

testUnless(missing, "openai: parse gives data of a schema, and of a tool's arguments", async () => {
  const one = served([{ pieces: [text('{"a"'), text(": 5}")] }, CALLS]);
  const client = await clientOf(one);
  const { z } = await importClient<Zod>("zod");
  const { zodTextFormat } = await importClient<ZodHelpers>("openai/helpers");
  const format = zodTextFormat(z.object({ a: z.number() }), "n");
  const parsed = await client.responses.parse({ model: MODEL, input: "hi", text: { format } });
  assertEquals([parsed.output_text, parsed.output_parsed], ['{"a": 5}', { a: 5 }]);
  const { type, properties, required } = one.model.last.options.schema as typeof PARAMETERS;
  assertEquals([type, properties, required], [PARAMETERS.type, PARAMETERS.properties, PARAMETERS.required]);
  const calls = await client.responses.parse({ model: MODEL, input: "hi", tools: [ADD] });
  assertEquals(calls.output.at(-1)!.parsed_arguments, { a: 2 });
  // What the client put beside the answers may come back with them.
  const input = [{ role: "user", content: "hi" }, ...parsed.output, { role: "user", content: "go" }, ...calls.output];
  assertEquals((await client.responses.create({ model: MODEL, input, tools: [ADD] })).status, "completed");
});

testUnless(missing, "openai: a limit, and a failure in the middle of a stream", async () => {
  const cut = await clientOf(served({ pieces: [text("cut o")], finishReason: "length" }));
  const types: string[] = [];
  for await (const { type } of await cut.responses.create({ model: MODEL, input: "hi", stream: true })) {
    types.push(type);
  }
  assertEquals(types.at(-1), "response.incomplete");
  const broken = { pieces: [text("a")], error: new RealizarError("DEVICE_LOST", "gone") };
  const client = await clientOf(served(broken));
  const seen: string[] = [];
  const error = await assertRejects(async () => {
    for await (const { type } of await client.responses.create({ model: MODEL, input: "hi", stream: true })) {
      seen.push(type);
    }
  }) as ApiFailure;
  assertEquals([seen.at(-1), error.code], ["response.failed", "device_lost"]);
});

testUnless(missing, "openai: mistakes become the client's own errors; a stream that is left ends", async () => {
  const client = await clientOf(served(HELLO));
  const failure = async (fields: object): Promise<unknown[]> => {
    const error = await assertRejects(() => client.responses.create({ model: MODEL, input: "hi", ...fields }));
    const { constructor, status, code, param } = error as ApiFailure;
    return [constructor.name, status, code, param];
  };
  assertEquals(await failure({ store: true }), ["BadRequestError", 400, "unsupported_parameter", "store"]);
  const image = [{ role: "user", content: [{ type: "input_image", image_url: "http://x/" }] }];
  assertEquals((await failure({ input: image }))[3], "input[0].content[0].type");
  assertEquals((await failure({ model: "gpt-5" })).slice(0, 2), ["NotFoundError", 404]);
  const hanging = served({ pieces: [text("a")], hangs: true });
  const events = await (await clientOf(hanging)).responses.create({ model: MODEL, input: "hi", stream: true });
  for await (const { type } of events) if (type === "response.output_text.delta") break;
  while (!hanging.model.generations[0]!.cancelled) await new Promise((resolve) => setTimeout(resolve, 1));
  assert(hanging.model.generations[0]!.cancelled);
});

leakCheck();
