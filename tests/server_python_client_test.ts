/**
 * PyPI openai against the server on a port: tests/clients/openai_client.py makes the calls, here is what they give.
 * The client is the same process whatever runs the server, and a second to start: one runtime is enough, and what
 * runtimes do differently with sockets is tried by server_socket_test.ts in each.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import process from "node:process";
import { assert, assertEquals } from "@std/assert";
import { RealizarError } from "../src/errors.ts";
import { runtime } from "../src/platform/env.ts";
import { createHandler, serve } from "../src/server/mod.ts";
import { fakeModel, running, until, waiting } from "./server_fake.ts";
import { closeTinyModel, NAME, tinyModel } from "./server_support.ts";
import { inRoot, leakCheck, test, testUnless } from "./support.ts";

const PACKAGES = inRoot(".tools", "openai");
const KEY = "python-key";

function whyNot(): string | undefined {
  if (runtime() !== "bun") return "one runtime is enough: under Bun";
  if (!existsSync(PACKAGES)) return "PyPI openai is not there: npm test fetches it";
  const options = { env: { ...process.env, PYTHONPATH: PACKAGES }, timeout: 60_000 };
  return spawnSync("python3", ["-c", "import pydantic_core, jiter"], options).status === 0
    ? undefined
    : "PyPI openai does not load in this Python";
}

// deno-lint-ignore no-explicit-any
let told: Promise<any> | undefined;

/** Everything that the client was told, from one run. */
// deno-lint-ignore no-explicit-any
function answers(): Promise<any> {
  return told ??= run();
}

async function run(): Promise<unknown> {
  const mute = await fakeModel(async function* () {});
  mute.tokenize = () => Promise.reject(new RealizarError("TEMPLATE", "roles must alternate"));
  const breaks = await fakeModel(async function* () {
    yield { text: "a", tokens: [1] };
    throw new RealizarError("DEVICE", "at /secret/place");
  });
  const models = { [NAME]: await tinyModel(), mute, breaks };
  const handler = createHandler({ models, apiKeys: [KEY], limits: { promptBytes: 20_000 } });
  const server = await serve(handler, { port: 0, shutdownMs: 5000 });
  try {
    const env = { ...process.env, PYTHONPATH: PACKAGES, NO_PROXY: "127.0.0.1" };
    const client = inRoot("tests", "clients", "openai_client.py");
    const child = spawn("python3", [client, `${server.url}/v1`, KEY], { env, stdio: ["ignore", "pipe", "pipe"] });
    let out = "", err = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => out += text);
    child.stderr.setEncoding("utf8").on("data", (text: string) => err += text);
    const code = await new Promise((resolve) => child.on("close", resolve));
    assertEquals(code, 0, err.slice(-3000));
    const open = (): Promise<number[]> => Promise.all([running(handler), waiting(handler)]);
    await until("the stream that was closed has ended", async () => (await open()).every((n) => n === 0));
    return JSON.parse(out);
  } finally {
    await server.shutdown();
  }
}

const missing = whyNot();
const python = (name: string, check: () => Promise<void>): void => testUnless(missing, `PyPI openai: ${name}`, check);

python("create, streams by hand and by its helper, and eight at once say the same", async () => {
  const { models, create, stream, stream_helper: helper, concurrent } = await answers();
  assertEquals(models, [NAME, "mute", "breaks"]);
  assertEquals([create.type, create.finish, create.tokens], ["ChatCompletion", "length", 12]);
  assertEquals(create.logprobs, Array(12).fill(2));
  const model = await tinyModel();
  const messages = [{ role: "user", content: "the rain in the end" }];
  const { text } = await model.generate(messages, { maxTokens: 12, temperature: 0, ignoreEos: true }).result();
  assertEquals(create.text, text);
  assertEquals(stream, { text, tokens: 12 });
  assertEquals(helper, { deltas: text, text });
  assertEquals(concurrent, Array(8).fill(text));
});

python("parse gives an object of its class, and tools their arguments", async () => {
  const { parse, tools } = await answers();
  assertEquals([parse.type, parse.fields], ["Person", ["age", "name", "tags"]]);
  assert(parse.age >= 0 && parse.age <= 120);
  assertEquals([tools.name, tools.finish, tools.after], ["weather", "tool_calls", "length"]);
  assert(tools.days >= 1 && tools.days <= 9);
});

python("responses: create, stream, parse", async () => {
  const { responses, create } = await answers();
  assertEquals([responses.text, responses.streamed], [create.text, create.text]);
  assertEquals([responses.status, responses.parsed], ["incomplete", "Person"]);
  assertEquals([responses.first, responses.last], ["response.created", "response.incomplete"]);
});

python("completions: whole, streamed, and a prompt's log-probabilities", async () => {
  const { completions } = await answers();
  const model = await tinyModel();
  const prompt = "the rain in the end";
  const options = { maxTokens: 4, temperature: 0, ignoreEos: true, promptLogprobs: true };
  const { text, promptLogprobs } = await model.generate(prompt, options).result();
  assertEquals([completions.text, completions.streamed, completions.echo], [text, text, prompt]);
  assertEquals(completions.logprobs.length, promptLogprobs!.length);
  for (const [i, { logprob }] of promptLogprobs!.entries()) {
    assert(
      logprob === undefined ? completions.logprobs[i] === null : Math.abs(logprob - completions.logprobs[i]) < 1e-4,
    );
  }
  assertEquals(completions.offsets[0], 0);
});

python("refusals are its exceptions by status, with code, field and request id", async () => {
  const { errors } = await answers();
  assertEquals(errors, {
    key: ["AuthenticationError", 401, "invalid_api_key", null, true],
    model: ["NotFoundError", 404, "model_not_found", "model", true],
    value: ["BadRequestError", 400, "invalid_value", "temperature", true],
    unknown: ["BadRequestError", 400, "unknown_parameter", "no_such", true],
    large: ["APIStatusError", 413, "request_too_large", null, true],
    template: ["UnprocessableEntityError", 422, "template_error", "messages", true],
    server: ["InternalServerError", 500, "device", null, true],
    stream: ["APIError", "device"],
  });
});

test("the model is closed", closeTinyModel);

leakCheck();
