/** The reader of answers: hand-written expectations in every split, hostile text, and that nothing gets lost. */
import { assert, assertEquals } from "@std/assert";
import { AnswerReader } from "../src/api/answer.ts";
import { FORMATS, GENERIC, reasoningMarksOf, type ToolFormat, toolFormatOf } from "../src/text/tools/formats.ts";
import type { Answer, AnswerPart, PartLogprob } from "../src/types.ts";
import { Random } from "./random_blocks.ts";
import { test } from "./support.ts";

const THINK = { open: "<think>", close: "</think>" };
const TOOLS = new Set(["get_weather", "f", "add-2"]);

function format(name: string): ToolFormat {
  return FORMATS.find((one) => one.name === name)!;
}

interface Setup {
  format?: ToolFormat | undefined;
  thinks?: boolean;
  single?: boolean;
}

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

const text = (text: string): AnswerPart => ({ kind: "text", text });
const reasoning = (text: string): AnswerPart => ({ kind: "reasoning", text });
const call = (index: number, name: string, json: string): AnswerPart[] => [
  { kind: "toolCall", index, id: `c${index}`, name },
  { kind: "toolArguments", index, json },
];

const HERMES_CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"place": "Ulm"}}\n</tool_call>';
const CASES: readonly { about: string; setup: Setup; input: string; expected: AnswerPart[] }[] = [
  { about: "plain text", setup: {}, input: "  Hello <b>you</b> \n", expected: [text("  Hello <b>you</b> \n")] },
  { about: "white space only", setup: { format: GENERIC }, input: " \n ", expected: [text(" \n ")] },
  {
    about: "hermes: text, then a call",
    setup: { format: GENERIC },
    input: `Let me see.\n\n${HERMES_CALL}`,
    expected: [text("Let me see."), ...call(0, "get_weather", '{"place": "Ulm"}')],
  },
  {
    about: "hermes: two calls and text after them",
    setup: { format: GENERIC },
    input: `\n${HERMES_CALL}\n<tool_call>{"arguments":{},"name":"f"}</tool_call>\nDone. `,
    expected: [...call(0, "get_weather", '{"place": "Ulm"}'), ...call(1, "f", "{}"), text("Done. ")],
  },
  {
    about: "hermes: text between calls",
    setup: { format: GENERIC },
    input: `${HERMES_CALL} and ${HERMES_CALL}`,
    expected: [
      ...call(0, "get_weather", '{"place": "Ulm"}'),
      text("and"),
      ...call(1, "get_weather", '{"place": "Ulm"}'),
    ],
  },
  {
    about: "hermes: arguments as text, null, missing; other keys",
    setup: { format: GENERIC },
    input: '<tool_call>{"id":7,"type":"function","name":"f","arguments":"{\\"a\\": 1}"}</tool_call>' +
      '<tool_call>{"name":"f","arguments":null}</tool_call><tool_call>{"name":"f"}</tool_call>',
    expected: [...call(0, "f", '{"a": 1}'), ...call(1, "f", "{}"), ...call(2, "f", "{}")],
  },
  {
    about: "hermes: the closing mark is missing",
    setup: { format: GENERIC },
    input: '<tool_call>{"name":"f","arguments":{"a":"</tool_call>"}}',
    expected: call(0, "f", '{"a":"</tool_call>"}'),
  },
  {
    about: "hermes: no such tool, no JSON, marks in each other",
    setup: { format: GENERIC },
    input: 'a <tool_call>{"name":"g","arguments":{}}</tool_call> <tool_call>f()</tool_call> <tool_call><tool_call>' +
      '{"name":"f","arguments":{"b":[1,2]}}</tool_call>',
    expected: [
      text('a <tool_call>{"name":"g","arguments":{}}</tool_call> <tool_call>f()</tool_call> <tool_call>'),
      ...call(0, "f", '{"b":[1,2]}'),
    ],
  },
  {
    about: "hermes: arguments that break off become text from there",
    setup: { format: GENERIC },
    input: '<tool_call>{"name":"f","arguments":{"a":tru, "b"}}</tool_call>',
    expected: [...call(0, "f", '{"a":tru'), text(', "b"}}</tool_call>')],
  },
  {
    about: "hermes: cut off in the head and in the arguments",
    setup: { format: GENERIC },
    input: `${HERMES_CALL}<tool_call>{"name":"f`,
    expected: [...call(0, "get_weather", '{"place": "Ulm"}'), text('<tool_call>{"name":"f')],
  },
  {
    about: "hermes: cut off in the arguments",
    setup: { format: GENERIC },
    input: '<tool_call>{"name":"f","arguments":{"a":"x',
    expected: call(0, "f", '{"a":"x'),
  },
  {
    about: "hermes: one call only",
    setup: { format: GENERIC, single: true },
    input: `x ${HERMES_CALL}${HERMES_CALL} more`,
    expected: [text("x"), ...call(0, "get_weather", '{"place": "Ulm"}')],
  },
  {
    about: "without tools a call is text",
    setup: {},
    input: `x ${HERMES_CALL}`,
    expected: [text(`x ${HERMES_CALL}`)],
  },
  {
    about: "reasoning, text",
    setup: { format: GENERIC },
    input: "<think>\nhm </thin k>\n</think>\n\nYes. <think>no</think>",
    expected: [reasoning("hm </thin k>"), text("Yes. <think>no</think>")],
  },
  {
    about: "reasoning opened by the prompt, then a call",
    setup: { format: GENERIC, thinks: true },
    input: `\nhm, <tool_call>?\n</think>\n${HERMES_CALL}`,
    expected: [reasoning("hm, <tool_call>?"), ...call(0, "get_weather", '{"place": "Ulm"}')],
  },
  {
    about: "reasoning opened twice, and never closed",
    setup: { thinks: true },
    input: "<think>\nso be it\n",
    expected: [reasoning("so be it\n")],
  },
  { about: "empty reasoning", setup: {}, input: "<think>\n\n</think>\n\nYes", expected: [text("Yes")] },
  {
    about: "a mark of reasoning in the middle of text is text",
    setup: {},
    input: "a </think> b <think> c",
    expected: [text("a </think> b <think> c")],
  },
  {
    about: "llama: a bare object",
    setup: { format: format("llama") },
    input: '\n{"name": "get_weather", "parameters": {"place": "Ulm"}}',
    expected: call(0, "get_weather", '{"place": "Ulm"}'),
  },
  {
    about: "llama: marked, several",
    setup: { format: format("llama") },
    input:
      '<|python_tag|>{"type": "function", "name": "f", "parameters": {}}; {"name": "add-2", "parameters": {"x": 1}}',
    expected: [...call(0, "f", "{}"), ...call(1, "add-2", '{"x": 1}')],
  },
  {
    about: "llama: JSON that is an answer",
    setup: { format: format("llama") },
    input: '{"name": "Anna", "age": 3} {"name": "f", "parameters": {}}',
    expected: [text('{"name": "Anna", "age": 3} {"name": "f", "parameters": {}}')],
  },
  {
    about: "llama: a name alone is no call without a mark",
    setup: { format: format("llama") },
    input: '{"name": "f"}',
    expected: [text('{"name": "f"}')],
  },
  {
    about: "mistral: a list",
    setup: { format: format("mistral") },
    input: 'Well [TOOL_CALLS] [{"name": "f", "arguments": {"a": [1, {"b": "]"}]}}, {"name": "f", "arguments": {}}] ok',
    expected: [text("Well"), ...call(0, "f", '{"a": [1, {"b": "]"}]}'), ...call(1, "f", "{}"), text("ok")],
  },
  {
    about: "mistral: names and arguments",
    setup: { format: format("mistral-args") },
    input: '[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]get_weather[CALL_ID]abc123def[ARGS]{}[TOOL_CALLS]f{"b": 2}',
    expected: [...call(0, "f", '{"a": 1}'), ...call(1, "get_weather", "{}"), ...call(2, "f", '{"b": 2}')],
  },
  {
    about: "deepseek",
    setup: { format: format("deepseek") },
    input: "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n" +
      '{"a": 1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>add-2\n```json\n{}\n```' +
      "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    expected: [...call(0, "f", '{"a": 1}'), ...call(1, "add-2", "{}")],
  },
  {
    about: "deepseek 3.1",
    setup: { format: format("deepseek-3.1") },
    input: '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{"a": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    expected: call(0, "f", '{"a": 1}'),
  },
  {
    about: "granite",
    setup: { format: format("granite") },
    input: '<|tool_call|>[{"name": "f", "arguments": {"a": 1}}]',
    expected: call(0, "f", '{"a": 1}'),
  },
];

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
  "<|python_tag|>",
  "true",
  "<",
  "</",
  "<tool_",
  "f",
  ";",
];

test("answer reader: random text gives the same parts in every split, and no word is lost", () => {
  const random = new Random(11);
  const formats = [undefined, GENERIC, format("llama"), format("mistral"), format("mistral-args"), format("deepseek")];
  for (let round = 0; round < 1500; round++) {
    const words: string[] = [];
    let input = "";
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
