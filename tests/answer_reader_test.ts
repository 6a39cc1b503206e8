/** The reader of answers: hand-written expectations in every split, hostile text, and that nothing gets lost. */
import { assert, assertEquals } from "@std/assert";
import { AnswerReader } from "../src/api/answer.ts";
import { GENERIC, reasoningMarksOf, toolFormatOf } from "../src/text/tools/formats.ts";
import type { Answer, AnswerPart, PartLogprob } from "../src/types.ts";
import { call, CASES, format, type Setup, text } from "./answer_cases.ts";
import { Random } from "./random_blocks.ts";
import { test } from "./support.ts";

const THINK = { open: "<think>", close: "</think>" };
const TEXT = { properties: { text: { type: "string" }, n: { type: "integer" } } };
const TOOLS = new Map<string, Record<string, unknown>>([["get_weather", {}], ["f", {}], ["add-2", TEXT]]);

function reader({ format, thinks = false, single = false }: Setup): AnswerReader {
  let n = 0;
  const makeId = (): string => `c${n++}`;
  return new AnswerReader({ format, tools: TOOLS, reasoning: THINK, startsInReasoning: thinks, single, makeId });
}

/** Parts that stand side by side and are of one kind, as one. */
function merged(parts: readonly AnswerPart[]): AnswerPart[] {
  const all: AnswerPart[] = [];
  for (const part of parts) {
    const last = all.at(-1);
    if (part.kind === "text" && last?.kind === "text") all[all.length - 1] = { ...last, text: last.text + part.text };
    else if (part.kind === "reasoning" && last?.kind === "reasoning") {
      all[all.length - 1] = { ...last, text: last.text + part.text };
    } else if (part.kind === "toolArguments" && last?.kind === "toolArguments" && last.index === part.index) {
      all[all.length - 1] = { ...last, json: last.json + part.json };
    } else all.push(part);
  }
  return all;
}

function readPieces(pieces: readonly string[], setup: Setup): { parts: AnswerPart[]; answer: Answer } {
  const one = reader(setup);
  const parts = pieces.flatMap((piece) => one.push(piece));
  parts.push(...one.end());
  return { parts: merged(parts), answer: one.answer };
}

for (const { about, setup, input, expected } of CASES) {
  test(`answer reader: ${about}, in every split`, () => {
    assertEquals(readPieces([input], setup).parts, expected);
    for (let at = 0; at <= input.length; at++) {
      assertEquals(readPieces([input.slice(0, at), input.slice(at)], setup).parts, expected, `split at ${at}`);
    }
    assertEquals(readPieces([...input], setup).parts, expected, "by characters");
    const random = new Random(7);
    for (let round = 0; round < 40; round++) {
      const pieces = randomPieces(input, random);
      assertEquals(readPieces(pieces, setup).parts, expected, JSON.stringify(pieces));
    }
  });
}

function randomPieces(input: string, random: Random): string[] {
  const pieces: string[] = [];
  for (let at = 0; at < input.length;) {
    const end = at + 1 + Math.floor(random.unit() * 9);
    pieces.push(input.slice(at, end));
    at = end;
  }
  return pieces;
}

test("answer reader: the parts add up to the answer, and say as soon as they can", () => {
  const one = reader({ format: GENERIC });
  assertEquals(one.push("Hello <"), [text("Hello")], "white space may belong to a mark");
  assertEquals(one.push("b> "), [text(" <b>")]);
  assertEquals(one.push('<tool_call>{"name":"f","arguments":'), []);
  assertEquals(one.push('{"a'), call(0, "f", '{"a'));
  assertEquals(one.push('":1}'), [{ kind: "toolArguments", index: 0, json: '":1}' }]);
  assertEquals(one.push("}</tool_"), []);
  assertEquals(one.end(), [text("</tool_")]);
  assertEquals(one.answer, {
    text: "Hello <b></tool_",
    reasoning: "",
    toolCalls: [{ id: "c0", name: "f", arguments: '{"a":1}' }],
  });
});

/** Pieces of which hostile answers are made; words are unique so that a lost one is missed. */
const PIECES = [
  "<tool_call>",
  "</tool_call>",
  "<think>",
  "</think>",
  "\n",
  " ",
  "{",
  "}",
  '"',
  ",",
  ":",
  "[",
  "]",
  "\\",
  '{"name":"f","arguments":',
  '{"name": "f", "arguments": {"a": 1}}',
  '{"arguments":{},"name":"f"}',
  "[TOOL_CALLS]",
  "[ARGS]",
  "<function=add-2>",
  "<parameter=text>",
  "<parameter=n>",
  "</parameter>",
  "</function>",
  "<|python_tag|>",
  "true",
  "<",
  "</",
  "<tool_",
  "f",
  ";",
];

/** Beginnings of calls, so that many of the random answers get that far. */
const HEADS = [
  '<tool_call>{"name":"f","arguments":{',
  '<tool_call>{"name":"f","arguments":{}',
  '<tool_call>{"name":"f","arguments":{},"id":',
  "<tool_call><function=add-2>",
  "<tool_call><function=add-2><parameter=text>",
  "<tool_call><function=add-2><parameter=n>",
  "<tool_call><function=add-2><parameter=text>a</parameter><",
  "[TOOL_CALLS]f[ARGS]{",
  '[TOOL_CALLS] [{"name":"f","arguments":{}}',
  '{"name":"f","parameters":{',
];

test("answer reader: random text gives the same parts in every split, and no word is lost", () => {
  const random = new Random(11);
  const formats = [undefined, GENERIC, format("llama"), format("mistral"), format("mistral-args"), format("deepseek")];
  formats.push(format("qwen3-coder"));
  for (let round = 0; round < 3000; round++) {
    const words: string[] = [];
    let input = random.unit() < 0.5 ? "" : HEADS[Math.floor(random.unit() * HEADS.length)]!;
    for (let n = Math.floor(random.unit() * 24); n >= 0; n--) {
      if (random.unit() < 0.3) words.push(`w${round}x${n}y`);
      input += random.unit() < 0.3 && words.length > 0
        ? words.pop()!
        : PIECES[Math.floor(random.unit() * PIECES.length)]!;
    }
    const setup = { format: formats[round % formats.length], thinks: random.unit() < 0.2 };
    const whole = readPieces([input], setup);
    for (const pieces of [[...input], randomPieces(input, random)]) {
      assertEquals(readPieces(pieces, setup), whole, JSON.stringify(input));
    }
    const { answer } = whole;
    const shown = answer.text + answer.reasoning + answer.toolCalls.map((one) => one.name + one.arguments).join();
    for (const word of input.match(/w\d+x\d+y/g) ?? []) assert(shown.includes(word), `${word} of ${input}`);
    if (setup.format === undefined && !input.includes("think>")) assertEquals(answer.text, setup.thinks ? "" : input);
  }
});

test("answer reader: a megabyte of anything takes linear time", () => {
  const big = "x".repeat(1 << 20);
  const inputs = [
    `<tool_call>{"name":"f","arguments":{"a":"${big}"}}</tool_call>`,
    `<tool_call>{"name":"${big}`,
    '<tool_call>{"id":"'.repeat(50_000),
    "<tool_call>".repeat(90_000),
    '<tool_call>{"name":"f","arguments":'.repeat(30_000),
    `<tool_call>{"name":"f","arguments":${"[".repeat(1 << 20)}`,
    `${" ".repeat(1 << 20)}x`,
    `<think>${"\n".repeat(1 << 20)}`,
    "</think".repeat(150_000),
    "{".repeat(1 << 20),
  ];
  const started = performance.now();
  for (const input of inputs) {
    const pieces = input.match(/[^]{1,50}/g)!;
    const { answer } = readPieces(pieces, { format: GENERIC });
    const nShown = answer.text.length + answer.reasoning.length + (answer.toolCalls[0]?.arguments.length ?? 0);
    assert(nShown > input.length / 2 || input.endsWith("\n"), input.slice(0, 40));
  }
  const { answer } = readPieces([inputs[0]!], { format: GENERIC });
  assertEquals(answer.toolCalls[0]!.arguments, `{"a":"${big}"}`);
  assert(performance.now() - started < 60_000, "a wide limit: squares of these lengths would take hours");
});

test("answer reader: log-probabilities go with the text of their tokens", () => {
  const one = reader({ format: GENERIC });
  const logprob = (token: number): PartLogprob[] => [{ token, logprob: -token, top: [] }];
  const parts = [
    "<think>",
    "so",
    "</think>",
    "\n\n",
    "He",
    "llo",
    ' <tool_call>{"name":"f","arguments":{',
    "}}",
    " end",
  ]
    .flatMap((piece, token) => one.push(piece, logprob(token)));
  parts.push(...one.end());
  const tokens = parts.flatMap((part) => part.kind === "text" ? (part.logprobs ?? []).map(({ token }) => token) : []);
  assertEquals(tokens, [4, 5, 8]);
  const plain = reader({});
  const all = [...plain.push("a", logprob(1)), ...plain.push("", logprob(2)), ...plain.end()];
  assertEquals(all.flatMap((part) => part.kind === "text" ? part.logprobs?.map(({ token }) => token) ?? [] : []), [
    1,
    2,
  ]);
});

test("answer reader: formats are found by their templates, or by the vocabulary", () => {
  const has = (...tokens: string[]) => (text: string): boolean => tokens.includes(text);
  const none = has();
  const names: [template: string, expected: string][] = [
    ["{% if tools %}<tool_call>{{ tools }}{% endif %}", "hermes"],
    ["{{ tools }}<tool_call>\n<function=NAME>", "qwen3-coder"],
    ["{{ tools }}[TOOL_CALLS] [", "mistral"],
    ["{{ tools }}[TOOL_CALLS][", "mistral-dense"],
    ["{{ tools }}[TOOL_CALLS]{{ name }}[ARGS]", "mistral-args"],
    ["{{ tools }}<|python_tag|>", "llama"],
    ["{{ tools }} Environment: ipython", "llama"],
    ["<｜tool▁calls▁begin｜>\n```json", "deepseek"],
    ["<｜tool▁calls▁begin｜>", "deepseek-3.1"],
    ["{{ tools }} <|tool_call|>", "granite"],
    ["{{ tools }}", "unknown"],
    ["{{ messages }}", "generic"],
  ];
  for (const [template, expected] of names) assertEquals(toolFormatOf(template, none).name, expected);
  assertEquals(toolFormatOf("", has("[TOOL_CALLS]")).name, "mistral");
  assertEquals(reasoningMarksOf("{% if '</think>' in content %}", none), THINK);
  assertEquals(reasoningMarksOf("", has("[THINK]", "[/THINK]"))?.open, "[THINK]");
  assertEquals(reasoningMarksOf("", none), undefined);
});
