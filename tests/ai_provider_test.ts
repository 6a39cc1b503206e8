/** The AI SDK provider by its own interface, over a model that answers what is written down here. */
import type { LanguageModelV4CallOptions, LanguageModelV4Prompt, LanguageModelV4StreamPart } from "@ai-sdk/provider";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { createRealizar, realizar } from "../src/ai/mod.ts";
import { RealizarError } from "../src/errors.ts";
import { call, type Script, ScriptedModel, text, thought } from "./scripted_model.ts";
import { leakCheck, test } from "./support.ts";

const PROMPT: LanguageModelV4Prompt = [{ role: "user", content: [{ type: "text", text: "hello" }] }];

async function generate(script: Script, options: Partial<LanguageModelV4CallOptions> = {}, variables: string[] = []) {
  const model = new ScriptedModel([script], variables);
  const result = await realizar(model).doGenerate({ prompt: PROMPT, ...options });
  return { ...result, asked: model.last };
}

async function parts(stream: ReadableStream<LanguageModelV4StreamPart>): Promise<LanguageModelV4StreamPart[]> {
  const all: LanguageModelV4StreamPart[] = [];
  for await (const part of stream) all.push(part);
  return all;
}

const DONE: Script = { pieces: [text("Hi"), text(" there")] };
const MIXED: Script = {
  pieces: [null, thought("hm"), thought("m"), null, text("It "), text("is"), ...call(0, "c1", "add", { a: 1 })],
};

test("ai: an answer's text, reasoning and calls are contents in their order, with usage", async () => {
  const { content, finishReason, usage, warnings, providerMetadata, response } = await generate(MIXED);
  assertEquals(content, [
    { type: "reasoning", text: "hmm" },
    { type: "text", text: "It is" },
    { type: "tool-call", toolCallId: "c1", toolName: "add", input: '{"a":1}' },
  ]);
  assertEquals(finishReason, { unified: "tool-calls", raw: "stop" });
  assertEquals(usage.inputTokens, { total: 10, noCache: 7, cacheRead: 3, cacheWrite: undefined });
  // Two tokens of thought and the mark that ends it.
  assertEquals(usage.outputTokens, { total: 9, text: 6, reasoning: 3 });
  assertEquals(warnings, []);
  assertEquals(providerMetadata!.realizar!.seed, 7);
  assertEquals(response!.modelId, "Scripted");
});

test("ai: a stream tells blocks that begin and end, and the same answer", async () => {
  const model = new ScriptedModel([MIXED]);
  const { stream } = await realizar(model, { modelId: "mine" }).doStream({ prompt: PROMPT });
  const [start, metadata, ...all] = await parts(stream);
  assertEquals(start, { type: "stream-start", warnings: [] });
  assert(metadata!.type === "response-metadata" && metadata.modelId === "mine");
  const finish = all.pop()!;
  assert(finish.type === "finish");
  assertEquals(all, [
    { type: "reasoning-start", id: "0" },
    { type: "reasoning-delta", id: "0", delta: "hm" },
    { type: "reasoning-delta", id: "0", delta: "m" },
    { type: "reasoning-end", id: "0" },
    { type: "text-start", id: "1" },
    { type: "text-delta", id: "1", delta: "It " },
    { type: "text-delta", id: "1", delta: "is" },
    { type: "text-end", id: "1" },
    { type: "tool-input-start", id: "c1", toolName: "add" },
    { type: "tool-input-delta", id: "c1", delta: '{"a' },
    { type: "tool-input-delta", id: "c1", delta: '":1}' },
    { type: "tool-input-end", id: "c1" },
    { type: "tool-call", toolCallId: "c1", toolName: "add", input: '{"a":1}' },
  ]);
  assertEquals(finish.finishReason.unified, "tool-calls");
});

test("ai: finish reasons: the model's end, the limit, and a call that was cut off", async () => {
  assertEquals((await generate(DONE)).finishReason, { unified: "stop", raw: "stop" });
  assertEquals((await generate({ ...DONE, finishReason: "length" })).finishReason.unified, "length");
  const cut: Script = { pieces: [...call(0, "c", "f", { long: "value" }).slice(0, 2)], finishReason: "length" };
  const { content, finishReason } = await generate(cut);
  assertEquals([content, finishReason.unified], [[], "length"]);
});

test("ai: every setting of a call reaches the model", async () => {
  const schema = { type: "object", properties: { a: { type: "number" } } } as const;
  const { asked, warnings } = await generate(DONE, {
    maxOutputTokens: 5,
    temperature: 0.5,
    topP: 0.9,
    topK: 7,
    presencePenalty: 1,
    frequencyPenalty: -1,
    seed: 9,
    stopSequences: ["x"],
    tools: [{ type: "function", name: "add", description: "adds", inputSchema: schema, strict: true }],
    toolChoice: { type: "tool", toolName: "add" },
    responseFormat: { type: "json", schema },
    headers: { "user-agent": "ai/7" },
    providerOptions: { realizar: { minP: 0.1, cacheSalt: "me", parallelToolCalls: false }, other: { a: 1 } },
  });
  assertEquals(warnings, []);
  assertEquals(asked.prompt, [{ role: "user", content: "hello" }]);
  assertEquals(asked.options, {
    maxTokens: 5,
    temperature: 0.5,
    topP: 0.9,
    topK: 7,
    presencePenalty: 1,
    frequencyPenalty: -1,
    seed: 9,
    stop: ["x"],
    tools: [{ name: "add", description: "adds", parameters: schema }],
    toolChoice: { name: "add" },
    schema,
    minP: 0.1,
    cacheSalt: "me",
    parallelToolCalls: false,
    templateValues: {},
    signal: undefined,
    answer: true,
  });
  const json = await generate(DONE, { responseFormat: { type: "json" } });
  assertEquals(json.asked.options.schema, { type: "object" });
  for (const type of ["auto", "none", "required"] as const) {
    const tools = [{ type: "function", name: "f", inputSchema: {} } as const];
    assertEquals((await generate(DONE, { tools, toolChoice: { type } })).asked.options.toolChoice, type);
  }
});

test("ai: what can't be honoured is a warning with its name", async () => {
  const { warnings } = await generate(DONE, {
    tools: [
      { type: "provider", id: "openai.web_search", name: "search", args: {} },
      { type: "function", name: "f", inputSchema: {}, inputExamples: [{ input: {} }] },
    ],
    responseFormat: { type: "json", name: "n", description: "d" },
    reasoning: "high",
    includeRawChunks: true,
    headers: { "x-mine": "1" },
    providerOptions: { realizar: { mirostat: 2 } },
  });
  assertEquals(warnings.map((warning) => warning.type === "unsupported" ? warning.feature : warning.type), [
    "providerOptions.realizar.mirostat",
    "provider-defined tool openai.web_search",
    "inputExamples of the tool f",
    "reasoning",
    "includeRawChunks",
    "headers.x-mine",
    "responseFormat.name",
    "responseFormat.description",
  ]);
  assertEquals((await generate(DONE, { reasoning: "provider-default" })).warnings, []);
});

test("ai: reasoning effort goes through the variables that the template knows", async () => {
  const values = async (reasoning: "none" | "low", variables: string[]) => {
    const { asked, warnings } = await generate(DONE, { reasoning }, variables);
    return [asked.options.templateValues, warnings.length];
  };
  assertEquals(await values("none", ["enable_thinking"]), [{ enable_thinking: false }, 0]);
  assertEquals(await values("low", ["enable_thinking"]), [{ enable_thinking: true }, 0]);
  assertEquals(await values("none", ["thinking"]), [{ thinking: false }, 0]);
  assertEquals(await values("low", ["reasoning_effort"]), [{ reasoning_effort: "low" }, 0]);
  assertEquals(await values("none", ["reasoning_effort"]), [{}, 1]);
  assertEquals(await values("low", []), [{}, 1]);
});

test("ai: conversations with tools and reasoning come to the model whole", async () => {
  const prompt: LanguageModelV4Prompt = [
    { role: "system", content: "be brief" },
    { role: "user", content: [{ type: "text", text: "a" }, { type: "text", text: "b" }] },
    {
      role: "assistant",
      content: [
        { type: "reasoning", text: "think" },
        { type: "text", text: "calling" },
        { type: "tool-call", toolCallId: "1", toolName: "add", input: { a: 1 } },
        { type: "tool-call", toolCallId: "2", toolName: "add", input: {} },
      ],
    },
    {
      role: "tool",
      content: [
        { type: "tool-result", toolCallId: "1", toolName: "add", output: { type: "json", value: { sum: 3 } } },
        { type: "tool-result", toolCallId: "2", toolName: "add", output: { type: "error-text", value: "no" } },
        { type: "tool-result", toolCallId: "3", toolName: "add", output: { type: "execution-denied", reason: "!" } },
        {
          type: "tool-result",
          toolCallId: "4",
          toolName: "add",
          output: { type: "content", value: [{ type: "text", text: "t" }] },
        },
      ],
    },
  ];
  const { asked } = await generate(DONE, { prompt });
  const result = (toolCallId: string, content: string) => ({ role: "tool", name: "add", toolCallId, content });
  assertEquals(asked.prompt, [
    { role: "system", content: "be brief" },
    { role: "user", content: "a\nb" },
    {
      role: "assistant",
      content: "calling",
      reasoning: "think",
      toolCalls: [{ id: "1", name: "add", arguments: '{"a":1}' }, { id: "2", name: "add", arguments: "{}" }],
    },
    result("1", '{"sum":3}'),
    result("2", "no"),
    result("3", "!"),
    result("4", "t"),
  ]);
  const image: LanguageModelV4Prompt = [{
    role: "user",
    content: [{ type: "file", mediaType: "image/png", data: { type: "data", data: "AAAA" } }],
  }];
  const error = await assertRejects(() => generate(DONE, { prompt: image }), RealizarError);
  assertEquals([error.code, error.message.includes("prompt[0].content[0]")], ["UNSUPPORTED", true]);
});

test("ai: an abort rejects with the signal's reason; it and a stream that is left end the generation", async () => {
  const hanging: Script = { pieces: [text("a")], hangs: true };
  for (const when of ["before", "while"] as const) {
    const stop = new AbortController();
    const reason = new Error("enough");
    if (when === "before") stop.abort(reason);
    else setTimeout(() => stop.abort(reason), 5);
    const rejected = await assertRejects(() => generate(hanging, { abortSignal: stop.signal }));
    assertEquals(rejected, reason);
  }
  const model = new ScriptedModel([hanging]);
  const { stream } = await realizar(model).doStream({ prompt: PROMPT });
  for await (const part of stream) if (part.type === "text-delta") break;
  assert(model.generations[0]!.cancelled, "leaving the loop ends the generation");
  const stop = new AbortController();
  const aborted = await realizar(model).doStream({ prompt: PROMPT, abortSignal: stop.signal });
  setTimeout(() => stop.abort(), 5);
  const error = await assertRejects(() => parts(aborted.stream)) as Error;
  assertEquals(error.name, "AbortError");
});

test("ai: a failure of the model rejects; a stream tells it as a part and ends", async () => {
  const broken: Script = { pieces: [text("a")], error: new RealizarError("DEVICE_LOST", "gone") };
  assertEquals((await assertRejects(() => generate(broken), RealizarError)).code, "DEVICE_LOST");
  const { stream } = await realizar(new ScriptedModel([broken])).doStream({ prompt: PROMPT });
  const [error, finish] = (await parts(stream)).slice(-2);
  assert(error!.type === "error" && (error!.error as RealizarError).code === "DEVICE_LOST");
  assert(finish!.type === "finish" && finish!.finishReason.unified === "error");
});

test("ai: a provider has its models by name, and no others", async () => {
  const model = new ScriptedModel([DONE]);
  const provider = createRealizar({ models: { mine: model }, settings: { minP: 0.2 } });
  const own = provider("mine");
  assertEquals([own.specificationVersion, own.provider, own.modelId], ["v4", "realizar", "mine"]);
  await provider.languageModel("mine").doGenerate({ prompt: PROMPT });
  assertEquals(model.last.options.minP, 0.2);
  for (const name of ["other", "constructor"]) assertThrows(() => provider(name), RealizarError, "there are mine");
  assertThrows(() => provider.embeddingModel("mine"), RealizarError, "embedding");
  assertThrows(() => provider.imageModel("mine"), RealizarError, "image");
});

leakCheck();
