/** The protocol of Ollama's API over a scripted model, line by line; then over a real one. */
import { assert, assertEquals } from "@std/assert";
import { type AnswerPart, RealizarError } from "../src/mod.ts";
import { createHandler, type Handler } from "../src/server/mod.ts";
import { VERSION } from "../src/server/version.ts";
import { CALLING, readUntilMark, type Script, scriptedModel, scriptedPrompt } from "./server_scripted.ts";
import { type Answer, ask, closeTinyModel, NAME, post, read, tinyHandler, tinyModel } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";

const base = { model: NAME, messages: [{ role: "user", content: "hello" }] };
const weather = { name: "weather", description: "tells it", parameters: { type: "object" } };
const TOOLS = [{ type: "function", function: weather }, { type: "function", function: { name: "time" } }];

/** Lines of a stream, each an object. */
// deno-lint-ignore no-explicit-any
function linesOf({ text }: Pick<Answer, "text">): any[] {
  assert(text.endsWith("\n"));
  return text.slice(0, -1).split("\n").map((line) => JSON.parse(line));
}

async function scripted(script: Script) {
  const { model, asked } = await scriptedModel(script);
  const handler = createHandler({ models: { [NAME]: model } });
  const chat = (body: object = {}): Promise<Answer> => ask(handler, "/api/chat", { ...base, ...body });
  const generate = (body: object): Promise<Answer> => ask(handler, "/api/generate", { model: NAME, ...body });
  return { asked, handler, chat, generate };
}

test("ollama chat: it streams unless told otherwise; pieces, calls whole, one line that ends", async () => {
  const { chat } = await scripted({ parts: CALLING, usage: { promptTokens: 9 } });
  const streamed = await chat({ tools: TOOLS });
  assertEquals([streamed.status, streamed.headers.get("content-type")], [200, "application/x-ndjson"]);
  const lines = linesOf(streamed);
  assertEquals(lines.slice(0, -1).map(({ message, done }) => [message, done]), [
    [{ role: "assistant", content: "", thinking: "I need " }, false],
    [{ role: "assistant", content: "\n\n", thinking: "the weather" }, false],
    [{ role: "assistant", content: "Let me " }, false],
    [{ role: "assistant", content: "look." }, false],
    [{ role: "assistant", content: "\n" }, false],
    [{
      role: "assistant",
      content: "\n",
      tool_calls: [{ id: "call_1", function: { index: 0, name: "weather", arguments: { city: "Paris" } } }],
    }, false],
    [{
      role: "assistant",
      content: "",
      tool_calls: [{ id: "call_2", function: { index: 1, name: "time", arguments: {} } }],
    }, false],
  ]);
  assert(lines.every(({ model, created_at }) => model === NAME && Math.abs(Date.now() - Date.parse(created_at)) < 1e6));
  const end = lines.at(-1);
  assertEquals([end.done, end.done_reason, end.message], [true, "stop", { role: "assistant", content: "" }]);
  const counts = [end.prompt_eval_count, end.prompt_eval_duration, end.eval_count, end.eval_duration];
  assertEquals([...counts, end.load_duration], [9, 2_000_000, 8, 3_000_000, 0]);
  assert(Number.isInteger(end.total_duration) && end.total_duration > 0);
  const whole = await chat({ tools: TOOLS, stream: false });
  const { message, ...rest } = whole.json;
  assertEquals([whole.headers.get("content-type"), rest.done], ["application/json", true]);
  const calls = lines.flatMap((line) => line.message.tool_calls ?? []);
  const content = lines.map((line) => line.message.content).join("");
  assertEquals(message, { role: "assistant", content, thinking: "I need the weather", tool_calls: calls });
});

test("ollama chat: a call that was cut off is left out, and the end says why", async () => {
  const { chat } = await scripted({ parts: CALLING.slice(0, 6), finishReason: "length" });
  const { json } = await chat({ tools: TOOLS, stream: false });
  assertEquals([json.message.tool_calls, json.done_reason], [undefined, "length"]);
});

test("ollama chat: turns with calls and results become a conversation for the template", async () => {
  const { chat, asked } = await scripted({ parts: [[{ kind: "text", text: "ok" }]] });
  const call = (name: string, args: object, id?: string) => ({
    ...(id ? { id } : {}),
    function: { name, arguments: args },
  });
  const messages = [
    { role: "system", content: "be brief" },
    { role: "user", content: "go", images: [] },
    {
      role: "assistant",
      thinking: "hm",
      content: "",
      tool_calls: [call("weather", { city: "Paris" }), call("time", {}), call("weather", {}, "mine")],
    },
    { role: "tool", content: "noon", tool_name: "time" },
    { role: "tool", content: "rain", tool_call_id: "mine" },
    { role: "tool", content: "sun" },
    { role: "user", content: "and?" },
  ];
  assertEquals((await chat({ messages, tools: TOOLS, keep_alive: "5m" })).status, 200);
  const { prompt, options } = asked.tokenized.at(-1)!;
  assertEquals(prompt.slice(2), [
    {
      role: "assistant",
      content: "",
      reasoning: "hm",
      toolCalls: [
        { id: "call_0", name: "weather", arguments: `{"city":"Paris"}` },
        { id: "call_1", name: "time", arguments: "{}" },
        { id: "mine", name: "weather", arguments: "{}" },
      ],
    },
    { role: "tool", content: "noon", name: "time", toolCallId: "call_1" },
    { role: "tool", content: "rain", name: "weather", toolCallId: "mine" },
    { role: "tool", content: "sun", name: "weather", toolCallId: "call_0" },
    { role: "user", content: "and?" },
  ]);
  assertEquals(options.tools, [weather, { name: "time", description: undefined, parameters: undefined }]);
  await chat({ messages: [...base.messages, { role: "assistant", content: "It is" }] });
  const expected = scriptedPrompt(base.messages, { templateValues: {} }) + "It is";
  assertEquals(String.fromCharCode(...asked.generated.at(-1)!.tokens), expected);
});

test("ollama: options, format and thinking reach the library", async () => {
  const { chat, asked } = await scripted({ parts: [[{ kind: "text", text: "ok" }]] });
  const last = () => asked.generated.at(-1)!.options;
  const options = {
    ...{ num_predict: 7, temperature: 0.1, top_k: 3, top_p: 0.5, min_p: 0.2, typical_p: 0.9, seed: 11, stop: ["x"] },
    ...{ repeat_penalty: 1.2, repeat_last_n: -1, presence_penalty: 0.3, frequency_penalty: 0.4 },
    ...{ mirostat: 0, mirostat_tau: 5, tfs_z: 1, penalize_newline: true, num_ctx: 2048 },
  };
  assertEquals((await chat({ options, think: true, format: "json" })).status, 200);
  assertEquals(last(), {
    ...{ maxTokens: 7, temperature: 0.1, topK: 3, topP: 0.5, minP: 0.2, typicalP: 0.9, seed: 11, stop: ["x"] },
    ...{ repetitionPenalty: 1.2, penaltyWindow: 0, presencePenalty: 0.3, frequencyPenalty: 0.4 },
    ...{ schema: { type: "object" }, answer: true, templateValues: { enable_thinking: true, thinking: true } },
  });
  const schema = { type: "array" };
  await chat({ format: schema, think: "high", options: { repeat_last_n: 0, repeat_penalty: 5, num_predict: -1 } });
  const { maxTokens, templateValues, ...rest } = last();
  assertEquals([rest.schema, rest.repetitionPenalty, rest.presencePenalty], [schema, 1, 0]);
  const nTokens = asked.generated.at(-1)!.tokens.length;
  const { contextSize } = (await tinyModel()).info;
  assertEquals([maxTokens, templateValues?.reasoning_effort], [contextSize - nTokens, "high"]);
  await chat({ options: { num_ctx: nTokens + 5, num_predict: 100 }, think: "high" });
  assertEquals(last().maxTokens, 5);
  const full = await chat({ options: { num_ctx: nTokens }, think: "high" });
  assertEquals([full.status, full.json.error.includes("needs room")], [400, true]);
});

test("ollama generate: a prompt through the template, raw, and only to load", async () => {
  const parts: AnswerPart[][] = [[{ kind: "reasoning", text: "hm" }], [{ kind: "text", text: "yes" }]];
  const { generate, asked } = await scripted({ parts });
  const whole = await generate({ prompt: "why", system: "be brief", stream: false, suffix: "", context: [] });
  assertEquals([whole.json.response, whole.json.thinking, whole.json.done], ["yes", "hm", true]);
  const messages = [{ role: "system", content: "be brief" }, { role: "user", content: "why" }];
  assertEquals(asked.tokenized.at(-1)!.prompt, messages);
  const lines = linesOf(await generate({ prompt: "<|im_start|>", raw: true }));
  assertEquals(lines.map(({ response }) => response).join(""), "raw text");
  const { prompt, options } = asked.tokenized.at(-1)!;
  assertEquals([prompt, options.special, options.addSpecial], ["<|im_start|>", true, true]);
  assertEquals(asked.generated.at(-1)!.options.answer, undefined);
  const nGenerated = asked.generated.length;
  const loaded = await generate({ keep_alive: -1 });
  assertEquals([loaded.json.done, loaded.json.done_reason, loaded.json.response], [true, "load", ""]);
  const unload = await generate({ prompt: "", keep_alive: 0 });
  assertEquals([unload.status, asked.generated.length], [400, nGenerated]);
  const probed = linesOf(await generate({ prompt: "why", logprobs: true, top_logprobs: 1 }));
  assertEquals(probed[1].logprobs, [{
    token: "A",
    logprob: -0.5,
    bytes: [65],
    top_logprobs: [{ token: "B", logprob: -1, bytes: [66] }],
  }]);
});

test("ollama: errors are a text, before a stream and in it; quiet streams tell empty pieces", async () => {
  const wrong = await (await scripted({ error: new RealizarError("ARG", "the schema is odd") })).chat();
  assertEquals([wrong.status, wrong.json], [400, { error: "the schema is odd" }]);
  const later = await scripted({ parts: CALLING.slice(2, 3), error: new RealizarError("DEVICE", "secret detail") });
  assertEquals(linesOf(await later.chat()).at(-1), { error: "the server failed (DEVICE)" });
  const gate = Promise.withResolvers<void>();
  const { model } = await scriptedModel({ parts: [[{ kind: "text", text: "late" }]], gate: gate.promise });
  const slow = createHandler({ models: { [NAME]: model }, limits: { pingMs: 30 } });
  const text = await readUntilMark(await slow(post("/api/chat", base)), "\n", gate.resolve);
  const [first, ...rest] = linesOf({ text });
  assertEquals([first.message.content, first.done], ["", false]);
  assertEquals(rest.map(({ message }) => message.content).join(""), "late");
});

/** Answers to every method, as a client would send it. */
async function refused(handler: Handler, method: string, path: string): Promise<[number, unknown]> {
  const init = method === "POST" ? post(path, { model: NAME }) : new Request(`http://localhost${path}`, { method });
  const { status, json } = await read(await handler(init));
  return [status, typeof json?.error];
}

test("ollama: models, versions, and what this server does not do", async () => {
  const handler = await tinyHandler();
  const { info } = await tinyModel();
  const [tag] = (await ask(handler, "/api/tags")).json.models;
  assertEquals([tag.name, tag.model, tag.size, tag.details.family], [NAME, NAME, info.fileBytes, "llama"]);
  assertEquals(tag.details.quantization_level, "F32");
  const [loaded] = (await ask(handler, "/api/ps")).json.models;
  const size = info.weightsBytes + info.kvBytes + info.scratchBytes;
  assertEquals([loaded.name, loaded.size, loaded.context_length], [NAME, size, info.contextSize]);
  assertEquals((await ask(handler, "/api/version")).json, { version: VERSION });
  for (const body of [{ model: NAME }, { name: `${NAME}:latest`, verbose: true }]) {
    const { json } = await ask(handler, "/api/show", body);
    assertEquals(json.model_info["llama.context_length"], info.contextLength);
    const capabilities = ["completion", "tools"];
    assertEquals([json.model_info["general.parameter_count"], json.capabilities], [info.nParameters, capabilities]);
  }
  const knowing = await scripted({});
  const told = await ask(knowing.handler, "/api/show", { model: NAME });
  assertEquals(told.json.capabilities, ["completion", "tools", "thinking"]);
  for (const path of ["pull", "push", "create", "copy", "embed", "embeddings", "blobs/sha256:0"]) {
    assertEquals(await refused(handler, "POST", `/api/${path}`), [501, "string"], path);
  }
  assertEquals(await refused(handler, "DELETE", "/api/delete"), [501, "string"]);
  assertEquals(await refused(handler, "GET", "/api/nothing"), [404, "string"]);
  assertEquals(await refused(handler, "GET", "/api/chat"), [405, "string"]);
});

test("the model is closed", closeTinyModel);

leakCheck();
