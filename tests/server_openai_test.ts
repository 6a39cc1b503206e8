/** The `openai` package against the handler, through its `fetch` option: no port, no socket. */
import { existsSync } from "node:fs";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { closeTinyModel, GREEDY, NAME, QUESTION, tinyHandler, tinyModel } from "./server_support.ts";
import { inRoot, leakCheck, test, testUnless } from "./support.ts";

/** The part of the client that is used: its own types would have to be installed. */
interface OpenAi {
  chat: {
    completions: {
      create(body: object, options?: object): Promise<ChatAnswer & AsyncIterable<ChatChunk>>;
      stream(body: object): AsyncIterable<ChatChunk> & { finalChatCompletion(): Promise<ChatAnswer> };
    };
  };
  completions: { create(body: object): Promise<TextAnswer & AsyncIterable<TextAnswer>> };
  models: { list(): Promise<{ data: { id: string }[] }>; retrieve(id: string): Promise<{ id: string }> };
}
interface ChatAnswer {
  id: string;
  choices: { message: { role: string; content: string }; finish_reason: string }[];
  usage: { prompt_tokens: number; completion_tokens: number };
  _request_id?: string;
}
interface ChatChunk {
  choices: { delta: { content?: string } }[];
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

async function withClient(run: (client: OpenAi) => Promise<void>, options: object = {}): Promise<void> {
  const { default: Client } = await import(new URL(`file://${FOLDER}/index.mjs`).href) as {
    default: new (options: object) => OpenAi;
  };
  const handler = await tinyHandler({ apiKeys: ["secret"] });
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
      "unsupported_parameter",
      "tools",
    ]);
    assertEquals((await failure({ ...chat, model: "gpt-5" })).slice(0, 3), ["NotFoundError", 404, "model_not_found"]);
  });
  await withClient(async (client) => {
    const error = await assertRejects(() => client.models.list()) as ApiFailure;
    assertEquals([error.constructor.name, error.status], ["AuthenticationError", 401]);
  }, { apiKey: "wrong" });
});

test("the model is closed", closeTinyModel);

leakCheck();
