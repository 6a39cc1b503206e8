/** The `openai` package against the handler, through its `fetch` option: no port, no socket. */
import { existsSync } from "node:fs";
import { assert, assertEquals, assertRejects } from "@std/assert";
import type { ServedModel } from "../src/server/mod.ts";
import { call as scriptedCall, ScriptedModel, text, thought } from "./scripted_model.ts";
import { closeTinyModel, GREEDY, NAME, QUESTION, tinyHandler, tinyModel } from "./server_support.ts";
import { inRoot, leakCheck, test, testUnless } from "./support.ts";

/** The part of the client that is used: its own types would have to be installed. */
interface OpenAi {
  chat: {
    completions: {
      create(body: object, options?: object): Promise<ChatAnswer & AsyncIterable<ChatChunk>>;
      stream(body: object): AsyncIterable<ChatChunk> & { finalChatCompletion(): Promise<ChatAnswer> };
      parse(body: object): Promise<ChatAnswer>;
      runTools(body: object): { finalContent(): Promise<string> };
    };
  };
  completions: { create(body: object): Promise<TextAnswer & AsyncIterable<TextAnswer>> };
  models: { list(): Promise<{ data: { id: string }[] }>; retrieve(id: string): Promise<{ id: string }> };
}
interface ChatAnswer {
  id: string;
  choices: { message: ChatMessage; finish_reason: string }[];
  usage: { prompt_tokens: number; completion_tokens: number };
  _request_id?: string;
}
interface Called {
  name: string;
  arguments: string;
}
interface ChatMessage {
  role: string;
  content: string | null;
  tool_calls?: { id: string; type: string; function: Called }[];
  function_call?: Called;
}
interface ChatChunk {
  choices: {
    delta: { content?: string; tool_calls?: { index: number; function: Partial<Called> }[] };
    finish_reason: string | null;
  }[];
  usage: { completion_tokens: number } | null;
}
interface TextAnswer {
  choices: { text: string }[];
}
interface ApiFailure extends Error {
  status: number;
  code: string;
  param: string;
}

const FOLDER = inRoot("tests", "clients", "node_modules", "openai");
const missing = existsSync(FOLDER) ? undefined : "not installed: npm ci --prefix tests/clients";

async function withClient(
  run: (client: OpenAi) => Promise<void>,
  options: object = {},
  models?: Record<string, ServedModel>,
): Promise<void> {
  const { default: Client } = await import(new URL(`file://${FOLDER}/index.mjs`).href) as {
    default: new (options: object) => OpenAi;
  };
  const handler = await tinyHandler({ apiKeys: ["secret"], ...(models === undefined ? {} : { models }) });
  const own = (input: string | URL | Request, init?: RequestInit): Promise<Response> =>
    handler(new Request(input, init));
  await run(new Client({ apiKey: "secret", baseURL: "http://localhost/v1", fetch: own, maxRetries: 0, ...options }));
}

const chat = { model: NAME, messages: QUESTION, max_tokens: 12, ...GREEDY };

testUnless(missing, "openai: chat, whole and streaming, with usage", () =>
  withClient(async (client) => {
    const whole = await client.chat.completions.create(chat);
    assertEquals([whole.choices[0]!.message.role, whole.choices[0]!.finish_reason], ["assistant", "length"]);
    assertEquals(whole.usage.completion_tokens, 12);
    assert(whole._request_id!.startsWith("req-"));
    let text = "";
    let nTokens = 0;
    const stream = await client.chat.completions.create({
      ...chat,
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const { choices, usage } of stream) {
      text += choices[0]?.delta.content ?? "";
      nTokens += usage?.completion_tokens ?? 0;
    }
    assertEquals([text, nTokens], [whole.choices[0]!.message.content, 12]);
    const helper = client.chat.completions.stream(chat);
    assertEquals((await helper.finalChatCompletion()).choices[0]!.message.content, text);
    const history = [...QUESTION, whole.choices[0]!.message, { role: "user", content: "and" }];
    assertEquals((await client.chat.completions.create({ ...chat, messages: history })).choices.length, 1);
  }));

testUnless(
  missing,
  "openai: a stream that is left ends its generation; an abort rejects",
  () =>
    withClient(async (client) => {
      const model = await tinyModel();
      for await (
        const _chunk of await client.chat.completions.create({ ...chat, max_tokens: 1900, stream: true })
      ) break;
      const stop = new AbortController();
      setTimeout(() => stop.abort(), 20);
      await assertRejects(() => client.chat.completions.create({ ...chat, max_tokens: 1900 }, { signal: stop.signal }));
      // All places are free again: as many generations as there are places start at once.
      const all = Array.from({ length: model.info.maxSequences }, () => client.chat.completions.create(chat));
      assertEquals((await Promise.all(all)).length, model.info.maxSequences);
    }),
);

testUnless(missing, "openai: text completions and models", () =>
  withClient(async (client) => {
    const body = { model: NAME, prompt: "the rain in", max_tokens: 8, ...GREEDY };
    const whole = await client.completions.create(body);
    let text = "";
    for await (const { choices } of await client.completions.create({ ...body, stream: true })) {
      text += choices[0]!.text;
    }
    assertEquals(text, whole.choices[0]!.text);
    assertEquals((await client.models.list()).data.map(({ id }) => id), [NAME]);
    assertEquals((await client.models.retrieve(NAME)).id, NAME);
  }));

const TOOL = {
  type: "function",
  function: {
    name: "double",
    description: "Doubles a number.",
    parameters: {
      type: "object",
      properties: { n: { type: "integer", minimum: 1, maximum: 9 } },
      required: ["n"],
      additionalProperties: false,
    },
    strict: true,
  },
};
const WILD = { temperature: 1.5, top_k: 0, min_p: 0, seed: 4 };
const called = { ...chat, ...WILD, ignore_eos: false, max_tokens: 400, tools: [TOOL], parallel_tool_calls: false };

testUnless(missing, "openai: calls of tools, whole, streamed and by its helper", () =>
  withClient(async (client) => {
    const body = { ...called, tool_choice: "required" };
    const { message, finish_reason } = (await client.chat.completions.create(body)).choices[0]!;
    assertEquals([message.content, finish_reason, message.tool_calls!.length], [null, "tool_calls", 1]);
    const [call] = message.tool_calls!;
    assertEquals([call!.type, call!.function.name], ["function", "double"]);
    const n = (JSON.parse(call!.function.arguments) as { n: number }).n;
    assert(Number.isInteger(n) && n >= 1 && n <= 9);
    let json = "";
    const names: string[] = [], reasons: string[] = [];
    for await (const { choices } of await client.chat.completions.create({ ...body, stream: true })) {
      for (const delta of choices[0]?.delta.tool_calls ?? []) {
        if (delta.function.name !== undefined) names.push(delta.function.name);
        json += delta.function.arguments;
      }
      if (choices[0]?.finish_reason) reasons.push(choices[0].finish_reason);
    }
    assertEquals([names, json, reasons], [["double"], call!.function.arguments, ["tool_calls"]]);
    const helped = (await client.chat.completions.stream(body).finalChatCompletion()).choices[0]!;
    assertEquals(helped.message.tool_calls![0]!.function.arguments, json);
    const result = { role: "tool", tool_call_id: call!.id, content: "12" };
    const history = [...QUESTION, message, result];
    assertEquals(
      (await client.chat.completions.create({ ...chat, messages: history, tools: [TOOL] })).choices.length,
      1,
    );
  }));

testUnless(missing, "openai: runTools runs them until there is an answer", async () => {
  const scripted = new ScriptedModel([
    {
      pieces: [
        thought("hm"),
        ...scriptedCall(0, "c1", "double", { n: 4 }),
        ...scriptedCall(1, "c2", "double", { n: 5 }),
      ],
    },
    { pieces: [text("8 and"), text(" 10")] },
  ]);
  const ran: number[] = [];
  const runs = async ({ n }: { n: number }): Promise<string> => {
    ran.push(n);
    return await Promise.resolve(String(2 * n));
  };
  const tool = { type: "function", function: { ...TOOL.function, parse: JSON.parse, function: runs } };
  await withClient(
    async (client) => {
      const runner = client.chat.completions.runTools({ model: NAME, messages: QUESTION, tools: [tool] });
      assertEquals(await runner.finalContent(), "8 and 10");
      assertEquals(ran, [4, 5]);
      const { prompt, options } = scripted.asked[1]!;
      assert(prompt.length > 0 && options.answer === true);
    },
    {},
    { [NAME]: scripted },
  );
});

testUnless(missing, "openai: answers by a JSON schema, parsed by its helper", () =>
  withClient(async (client) => {
    const schema = {
      type: "object",
      properties: { ok: { type: "boolean" }, tag: { enum: ["a", "b"] } },
      required: ["ok", "tag"],
      additionalProperties: false,
    };
    const format = { type: "json_schema", json_schema: { name: "verdict", strict: true, schema } };
    const body = { ...called, tools: undefined, parallel_tool_calls: undefined, response_format: format };
    const { message } = (await client.chat.completions.parse(body)).choices[0]!;
    const value = JSON.parse(message.content!) as Record<string, unknown>;
    assertEquals([Object.keys(value).sort(), typeof value["ok"]], [["ok", "tag"], "boolean"]);
    const any = { ...body, max_tokens: 60, response_format: { type: "json_object" } };
    assert((await client.chat.completions.create(any)).choices[0]!.message.content!.trimStart().startsWith("{"));
  }));

testUnless(missing, "openai: functions, the elder API of tools", () =>
  withClient(async (client) => {
    const body = { ...called, tools: undefined, parallel_tool_calls: undefined, functions: [TOOL.function] };
    const { message, finish_reason } = (await client.chat.completions.create({
      ...body,
      function_call: { name: "double" },
    })).choices[0]!;
    assertEquals([message.function_call!.name, finish_reason], ["double", "function_call"]);
    const result = { role: "function", name: "double", content: "12" };
    const next = { ...body, max_tokens: 3, messages: [...QUESTION, message, result], function_call: "none" };
    assertEquals((await client.chat.completions.create(next)).choices[0]!.finish_reason, "length");
  }));

testUnless(missing, "openai: mistakes become the client's own errors, with the field's name", async () => {
  await withClient(async (client) => {
    const failure = async (body: object): Promise<unknown[]> => {
      const error = await assertRejects(() => client.chat.completions.create(body)) as ApiFailure;
      return [error.constructor.name, error.status, error.code, error.param];
    };
    assertEquals(await failure({ ...chat, temperature: -1 }), [
      "BadRequestError",
      400,
      "invalid_value",
      "temperature",
    ]);
    assertEquals(await failure({ ...chat, tools: [{ type: "function" }] }), [
      "BadRequestError",
      400,
      "missing_required_parameter",
      "tools[0].function",
    ]);
    const schema = { type: "object", properties: { a: { not: {} } } };
    const format = { type: "json_schema", json_schema: { name: "n", schema } };
    for (const stream of [false, true]) {
      assertEquals(await failure({ ...chat, stream, response_format: format }), [
        "BadRequestError",
        400,
        "unsupported_parameter",
        "response_format.json_schema.schema",
      ]);
      const tool = { type: "function", function: { name: "f", parameters: schema } };
      assertEquals(await failure({ ...chat, stream, tools: [TOOL, tool] }), [
        "BadRequestError",
        400,
        "unsupported_parameter",
        "tools[1].function.parameters",
      ]);
    }
    assertEquals((await failure({ ...chat, model: "gpt-5" })).slice(0, 3), ["NotFoundError", 404, "model_not_found"]);
  });
  await withClient(async (client) => {
    const error = await assertRejects(() => client.models.list()) as ApiFailure;
    assertEquals([error.constructor.name, error.status], ["AuthenticationError", 401]);
  }, { apiKey: "wrong" });
});

test("the model is closed", closeTinyModel);

leakCheck();
