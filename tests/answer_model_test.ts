/** Tools with a random model that grammars force: calls of every format, chats with results, and what is refused. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Model, RealizarError } from "../src/mod.ts";
import type { ChatMessage, GenerateOptions, GenerationPart, ToolDefinition } from "../src/types.ts";
import { leakCheck, test } from "./support.ts";
import { TINY_TEMPLATE, tinyGguf, tinyTokens } from "./tiny_gguf.ts";

const WEATHER: ToolDefinition = {
  name: "get_weather",
  description: "The weather of a city.",
  parameters: {
    type: "object",
    properties: { city: { enum: ["Ulm", "Rom"] }, days: { type: "integer", minimum: 1, maximum: 9 } },
    required: ["city", "days"],
    additionalProperties: false,
  },
};
const NOW: ToolDefinition = { name: "now", parameters: { type: "object", additionalProperties: false } };
const tools = [WEATHER, NOW];
const QUESTION: ChatMessage[] = [{ role: "user", content: "hi" }];
const WILD = { temperature: 1.5, topK: 0, topP: 1, minP: 0, seed: 4, maxTokens: 700 };
/** Ids of two fillers of the vocabulary, which the tests give other texts. */
const FIRST_FILLER = tinyTokens(320).indexOf("[UNUSED0]");

/** A model whose template is ChatML, ends as given, and has a comment by which its format is known. */
async function withModel(
  use: (model: Model) => Promise<void>,
  { comment = "", tail = "", controls = [] as string[] } = {},
): Promise<void> {
  const values = tinyTokens(320).map((token, id) => controls[id - FIRST_FILLER] ?? token);
  const types = tinyTokens(320).map((token, id) =>
    id >= 317 || controls[id - FIRST_FILLER] !== undefined ? 3 : token.startsWith("[UNUSED") ? 5 : 1
  );
  const bytes = tinyGguf({
    seed: 3,
    contextLength: 2048,
    chatTemplate: `{# ${comment} #}${TINY_TEMPLATE}${tail}`,
    metadata: [
      { key: "tokenizer.ggml.tokens", type: "array", of: "string", values },
      { key: "tokenizer.ggml.token_type", type: "array", of: "i32", values: types },
    ],
  });
  await using model = await Model.load(bytes, { device: "ref", maxSequences: 4 });
  await use(model);
}

function checkCall({ name, arguments: json }: { name: string; arguments: string }): void {
  const args = JSON.parse(json) as { city?: string; days?: number };
  if (name === "now") assertEquals(args, {});
  else {
    assertEquals([name, Object.keys(args)], ["get_weather", ["city", "days"]]);
    assert(["Ulm", "Rom"].includes(args.city!) && Number.isInteger(args.days) && args.days! >= 1 && args.days! <= 9);
  }
}

const COMMENTS = {
  generic: "",
  mistral: "[TOOL_CALLS] [",
  "mistral-args": "[TOOL_CALLS] [ARGS]",
  llama: "<|python_tag|>",
  "qwen3-coder": "<tool_call><function=",
  deepseek: "<｜tool▁calls▁begin｜> ```json",
};

for (const [name, comment] of Object.entries(COMMENTS)) {
  test(`answer: a random model that must call a tool does, in the format ${name}`, () =>
    withModel(async (model) => {
      for (const options of [{ parallelToolCalls: false }, { seed: 5 }] as GenerateOptions[]) {
        const generation = model.generate(QUESTION, { ...WILD, tools, toolChoice: "required", ...options });
        const parts: GenerationPart[] = [];
        for await (const part of generation) parts.push(part);
        const { answer, finishReason, text, tokens, usage } = await generation.result();
        assertEquals([answer!.text, answer!.reasoning, finishReason], ["", "", "stop"], text);
        assert(answer!.toolCalls.length >= 1, text);
        if (options.parallelToolCalls === false) assertEquals(answer!.toolCalls.length, 1);
        for (const one of answer!.toolCalls) checkCall(one);
        const pieces = parts.flatMap((part) => part.answer ?? []);
        const json = pieces.map((piece) => piece.kind === "toolArguments" && piece.index === 0 ? piece.json : "");
        assertEquals(json.join(""), answer!.toolCalls[0]!.arguments);
        const nPieces = json.filter((piece) => piece !== "").length;
        assert(nPieces > 1 || answer!.toolCalls[0]!.arguments === "{}", "arguments come as they are written");
        assertEquals([parts.map((part) => part.text).join(""), tokens.length], [text, usage.completionTokens]);
      }
      const named = await model.generate(QUESTION, { ...WILD, tools, toolChoice: { name: "now" } }).result();
      assertEquals(named.answer!.toolCalls.map((call) => call.name), ["now"]);
    }, { comment }));
}

test("answer: text by a schema or a call; with a schema alone the value of the text", () =>
  withModel(async (model) => {
    const schema = { enum: ["yes", "no"] };
    let nCalls = 0;
    for (let seed = 0; seed < 12; seed++) {
      const { answer, json } = await model.generate(QUESTION, { ...WILD, seed, tools: [NOW], schema }).result();
      if (answer!.toolCalls.length === 0) assert(["yes", "no"].includes(json as string), answer!.text);
      else nCalls++;
    }
    assert(nCalls > 0 && nCalls < 12, `${nCalls} of 12 are calls`);
    const { json, answer } = await model.generate(QUESTION, { ...WILD, schema }).result();
    assertEquals([json, answer!.reasoning, answer!.toolCalls], [JSON.parse(answer!.text), "", []]);
  }));

test("answer: reasoning that the prompt has opened is none of the text, nor are marks that are control tokens", () =>
  withModel(async (model) => {
    const [open, close] = [FIRST_FILLER, FIRST_FILLER + 1];
    const force = (token: number): GenerateOptions => ({ maxTokens: 3, temperature: 0, logitBias: { [token]: 100 } });
    const closed = await model.generate(QUESTION, force(close)).result();
    assertEquals(closed.answer, { text: "[/THINK][/THINK]", reasoning: "", toolCalls: [] });
    assertEquals(closed.text, "[/THINK]".repeat(3));
    const opened = await model.generate(QUESTION, force(open)).result();
    assertEquals(opened.answer!.text, "", "the whole text is reasoning");
    const tokens = await model.tokenize(QUESTION);
    const raw = await model.generate(tokens, force(close)).result();
    assertEquals(
      [raw.text, raw.tokens, raw.answer],
      ["", [close, close, close], undefined],
      "control tokens have no text",
    );
    const split = await model.generate(tokens, { ...force(close), answer: true }).result();
    assertEquals(split.answer, closed.answer);
  }, { comment: "[/THINK]", tail: "[THINK]", controls: ["[THINK]", "[/THINK]"] }));

test("answer: a control token that is a call's mark starts the constraint", () =>
  withModel(async (model) => {
    const bias = { [FIRST_FILLER]: 100 };
    const { answer, text } = await model.generate(QUESTION, {
      ...WILD,
      tools: [NOW],
      parallelToolCalls: false,
      logitBias: bias,
    })
      .result();
    assertEquals(answer!.toolCalls.map(({ name, arguments: json }) => [name, JSON.parse(json)]), [["now", {}]], text);
    assertEquals(answer!.text, "");
    const none = await model.generate(QUESTION, { maxTokens: 2, tools: [NOW], toolChoice: "none", logitBias: bias })
      .result();
    assertEquals(none.answer, { text: "[TOOL_CALLS][TOOL_CALLS]", reasoning: "", toolCalls: [] });
  }, { comment: "[TOOL_CALLS] [", controls: ["[TOOL_CALLS]"] }));

test("answer: a call that must come is written with the control tokens of its marks", () =>
  withModel(async (model) => {
    const [open, close] = [FIRST_FILLER, FIRST_FILLER + 1];
    const logitBias = { [open]: 100, [close]: 100 };
    const options = { ...WILD, tools, toolChoice: "required", logitBias } as const;
    const { answer, tokens, text } = await model.generate(QUESTION, options).result();
    checkCall(answer!.toolCalls[0]!);
    assertEquals([answer!.text, tokens[0]], ["", open]);
    const marks = tokens.filter((id) => id === open || id === close);
    assertEquals(marks, marks.map((_, i) => i % 2 === 0 ? open : close));
    assert(marks.length > 1 && /^<tool_call>\n\{[^]*\}\n<\/tool_call>/.test(text), text);
  }, { comment: "<tool_call>", controls: ["<tool_call>", "</tool_call>"] }));

test("answer: a chat keeps calls and takes results", () =>
  withModel(async (model) => {
    const chat = model.chat({ tools, ...WILD });
    const { answer } = await chat.send("the weather?", { toolChoice: { name: "get_weather" } }).result();
    const [call] = answer!.toolCalls;
    assertEquals(chat.history.at(-1), { role: "assistant", content: "", toolCalls: [call!] });
    const results = [{ role: "tool", content: "rain", toolCallId: call!.id }];
    const second = await chat.send(results, { toolChoice: "none", maxTokens: 5 }).result();
    assertEquals(chat.history.map(({ role }) => role), ["user", "assistant", "tool", "assistant"]);
    assert(second.usage.promptTokens > 40);
    const prompt = await model.applyTemplate(chat.history.slice(0, 3));
    assert(
      prompt.includes(`{"name": "get_weather", "arguments": `) &&
        prompt.includes("Result of get_weather:\nrain<|im_end|>"),
      prompt,
    );
  }));

test("answer: without tools, or with none to be called, the prompt is the plain one", () =>
  withModel(async (model) => {
    const plain = await model.tokenize(QUESTION);
    const withTools = await model.tokenize(QUESTION, { tools });
    assert(withTools.length > plain.length);
    const { usage } = await model.generate(QUESTION, { maxTokens: 1, tools, toolChoice: "none" }).result();
    assertEquals(usage.promptTokens, plain.length);
    const auto = await model.generate(QUESTION, { maxTokens: 1, tools }).result();
    assertEquals(auto.usage.promptTokens, withTools.length);
    const text = await model.generate("hi", { maxTokens: 1 }).result();
    assertEquals(text.answer, undefined);
  }));

test("answer: tools, choices and values that make no sense are refused by name", () =>
  withModel(async (model) => {
    const bad: [part: string, options: GenerateOptions][] = [
      ["tools[0].name", { tools: [{ name: "a b" }] }],
      ["tools[1].name", { tools: [NOW, NOW] }],
      ["tools[0].parameters", { tools: [{ name: "f", parameters: [] as unknown as Record<string, unknown> }] }],
      ["tools[0].parameters.type", { tools: [{ name: "f", parameters: { type: "string" } }] }],
      ["tools[1].parameters", { tools: [NOW, { name: "f", parameters: { properties: { a: { type: "what" } } } }] }],
      ["tools", { tools: Array.from({ length: 129 }, (_, i) => ({ name: `f${i}` })) }],
      ["tools[0].parameters", { tools: [{ name: "f", parameters: { a: () => 1 } }] }],
      ["toolChoice", { toolChoice: "required" }],
      ["toolChoice", { tools, toolChoice: { name: "f" } }],
      ["toolChoice", { tools, toolChoice: "perhaps" as "auto" }],
      ["templateValues", { templateValues: { messages: "x" } }],
      ["templateValues.a", { templateValues: { a: [] as unknown as string } }],
    ];
    for (const [part, options] of bad) {
      const error = await assertRejects(
        () => model.generate(QUESTION, options).result(),
        RealizarError,
      ) as RealizarError;
      assertEquals([error.code, error.message.startsWith(part)], ["ARG", true], `${part}: ${error.message}`);
    }
    let deep: Record<string, unknown> = {};
    for (let i = 0; i < 50_000; i++) deep = { a: deep };
    const nested = model.tokenize(QUESTION, { tools: [{ name: "f", parameters: deep }] });
    assertEquals((await assertRejects(() => nested, RealizarError) as RealizarError).code, "LIMIT");
    const raw = await assertRejects(() => model.generate("text", { tools }).result(), RealizarError) as RealizarError;
    assertEquals(raw.code, "ARG");
    await assertRejects(() => model.applyTemplate(QUESTION, { tools: [{ name: "" }] }), RealizarError);
  }));

leakCheck();
