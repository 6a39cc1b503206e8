/** npm `ai` over the provider in this process: text, streams, objects, loops with tools, aborts. */
import type { LanguageModelV4, ProviderV4 } from "@ai-sdk/provider";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { createRealizar, realizar } from "../src/ai/mod.ts";
import { RealizarError } from "../src/errors.ts";
import { importClient, missingClients } from "./client_packages.ts";
import { call, type Script, ScriptedModel, text, thought } from "./scripted_model.ts";
import { leakCheck, testUnless } from "./support.ts";

interface Result {
  text: string;
  reasoningText: string | undefined;
  output: unknown;
  finishReason: string;
  usage: { inputTokens: number; outputTokens: number; inputTokenDetails: { cacheReadTokens: number } };
  steps: { toolCalls: { toolName: string; input: unknown }[]; toolResults: { output: unknown }[] }[];
  warnings: { type: string; feature: string }[] | undefined;
}
interface Streamed {
  textStream: AsyncIterable<string>;
  fullStream: AsyncIterable<{ type: string; error?: unknown }>;
  partialOutputStream: AsyncIterable<unknown>;
  text: Promise<string>;
  finishReason: Promise<string>;
}
/** The part of the package that is used: its own types would have to be installed. */
interface Ai {
  generateText(options: object): Promise<Result>;
  streamText(options: object): Streamed;
  generateObject(options: object): Promise<{ object: unknown }>;
  Output: { object(options: object): unknown };
  tool(options: object): unknown;
  isStepCount(n: number): unknown;
  jsonSchema(schema: object): unknown;
  createProviderRegistry(providers: Record<string, ProviderV4>): { languageModel(id: string): LanguageModelV4 };
  NoSuchModelError: { isInstance(error: unknown): boolean };
}

const missing = missingClients("ai");
const HELLO: Script = { pieces: [thought("hm"), text("Hel"), text("lo.")] };
const SCHEMA = { type: "object", properties: { a: { type: "number" } }, required: ["a"] };

testUnless(missing, "ai: generateText and streamText", async () => {
  const { generateText, streamText } = await importClient<Ai>("ai");
  const model = new ScriptedModel([HELLO]);
  const system = { instructions: "be kind" };
  const result = await generateText({ model: realizar(model), prompt: "hi", temperature: 0, seed: 1, ...system });
  assertEquals([result.text, result.reasoningText, result.finishReason], ["Hello.", "hm", "stop"]);
  const { inputTokens, outputTokens, inputTokenDetails } = result.usage;
  assertEquals([inputTokens, outputTokens, inputTokenDetails.cacheReadTokens], [10, 3, 3]);
  assertEquals(result.warnings ?? [], []);
  assertEquals(model.last.prompt, [{ role: "system", content: "be kind" }, { role: "user", content: "hi" }]);
  assertEquals([model.last.options.temperature, model.last.options.seed], [0, 1]);
  const streamed = streamText({ model: realizar(model), prompt: "hi" });
  const pieces: string[] = [];
  for await (const piece of streamed.textStream) pieces.push(piece);
  assertEquals([pieces.join(""), await streamed.finishReason], ["Hello.", "stop"]);
});

testUnless(missing, "ai: objects by a schema: generateObject, Output.object, and as a stream", async () => {
  const { generateObject, generateText, streamText, Output, jsonSchema } = await importClient<Ai>("ai");
  const model = new ScriptedModel([{ pieces: [text('{"a"'), text(": 5"), text("}")] }]);
  const schema = jsonSchema(SCHEMA);
  assertEquals((await generateObject({ model: realizar(model), prompt: "hi", schema })).object, { a: 5 });
  assertEquals(model.last.options.schema, SCHEMA);
  const output = Output.object({ schema });
  assertEquals((await generateText({ model: realizar(model), prompt: "hi", output })).output, { a: 5 });
  const partial: unknown[] = [];
  const streamed = streamText({ model: realizar(model), prompt: "hi", output: Output.object({ schema }) });
  for await (const one of streamed.partialOutputStream) partial.push(one);
  assertEquals(partial.at(-1), { a: 5 });
});

testUnless(missing, "ai: a loop with tools runs to its answer", async () => {
  const { generateText, streamText, tool, isStepCount, jsonSchema } = await importClient<Ai>("ai");
  const calls: Script = { pieces: [...call(0, "c1", "double", { a: 4 }), ...call(1, "c2", "double", { a: 5 })] };
  const double = tool({
    description: "doubles",
    inputSchema: jsonSchema(SCHEMA),
    execute: ({ a }: { a: number }) => Promise.resolve({ is: 2 * a }),
  });
  const options = { prompt: "hi", tools: { double }, stopWhen: isStepCount(3) };
  const model = new ScriptedModel([calls, HELLO]);
  const { text: said, steps } = await generateText({ model: realizar(model), ...options });
  assertEquals(said, "Hello.");
  assertEquals(steps[0]!.toolCalls.map(({ toolName, input }) => [toolName, input]), [
    ["double", { a: 4 }],
    ["double", { a: 5 }],
  ]);
  assertEquals(model.last.prompt, [
    { role: "user", content: "hi" },
    {
      role: "assistant",
      content: "",
      toolCalls: [
        { id: "c1", name: "double", arguments: '{"a":4}' },
        { id: "c2", name: "double", arguments: '{"a":5}' },
      ],
    },
    { role: "tool", name: "double", toolCallId: "c1", content: '{"is":8}' },
    { role: "tool", name: "double", toolCallId: "c2", content: '{"is":10}' },
  ]);
  assertEquals(model.last.options.tools![0]!.parameters, SCHEMA);
  const streamed = streamText({ model: realizar(new ScriptedModel([calls, HELLO])), ...options });
  assertEquals(await streamed.text, "Hello.");
});

testUnless(missing, "ai: warnings are told; an abort and a failure reject", async () => {
  const { generateText, streamText } = await importClient<Ai>("ai");
  const image = [{ role: "user", content: [{ type: "file", mediaType: "image/png", data: Uint8Array.of(1) }] }];
  await assertRejects(
    () => generateText({ model: realizar(new ScriptedModel([HELLO])), messages: image }),
    RealizarError,
  );
  (globalThis as { AI_SDK_LOG_WARNINGS?: boolean }).AI_SDK_LOG_WARNINGS = false; // they are looked at here
  const options = { prompt: "hi", providerOptions: { realizar: { mirostat: 1 } } };
  const { warnings } = await generateText({ model: realizar(new ScriptedModel([HELLO])), ...options });
  assertEquals(warnings!.map(({ feature }) => feature), ["providerOptions.realizar.mirostat"]);
  const hanging = new ScriptedModel([{ pieces: [text("a")], hangs: true }]);
  const stop = new AbortController();
  const aborted = generateText({ model: realizar(hanging), prompt: "hi", abortSignal: stop.signal });
  setTimeout(() => stop.abort(), 5);
  assertEquals((await assertRejects(() => aborted) as Error).name, "AbortError");
  assert(hanging.generations[0]!.cancelled);
  const broken: Script = { pieces: [text("a")], error: new RealizarError("DEVICE_LOST", "gone") };
  const errors: unknown[] = [];
  const onError = ({ error }: { error: unknown }) => errors.push(error);
  for await (
    const _part of streamText({ model: realizar(new ScriptedModel([broken])), prompt: "hi", onError }).fullStream
  ) { /* to the end */ }
  assertEquals(errors.map((error) => (error as RealizarError).code), ["DEVICE_LOST"]);
});

testUnless(missing, "ai: a provider in the package's registry", async () => {
  const { createProviderRegistry, generateText } = await importClient<Ai>("ai");
  const registry = createProviderRegistry({ local: createRealizar({ models: { mine: new ScriptedModel([HELLO]) } }) });
  const model = registry.languageModel("local:mine");
  assertEquals((await generateText({ model, prompt: "hi" })).text, "Hello.");
});

leakCheck();
