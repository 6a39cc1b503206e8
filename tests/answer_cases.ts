/** Answers in every format with the parts they are made of, written by hand. */
import { FORMATS, GENERIC, type ToolFormat } from "../src/text/tools/formats.ts";
import type { AnswerPart } from "../src/types.ts";

/** The format of that name. */
export function format(name: string): ToolFormat {
  return FORMATS.find((one) => one.name === name)!;
}

/** How a reader is set up. */
export interface Setup {
  format?: ToolFormat | undefined;
  thinks?: boolean;
  single?: boolean;
}

export const text = (text: string): AnswerPart => ({ kind: "text", text });
const reasoning = (text: string): AnswerPart => ({ kind: "reasoning", text });
export const call = (index: number, name: string, json: string): AnswerPart[] => [
  { kind: "toolCall", index, id: `c${index}`, name },
  { kind: "toolArguments", index, json },
];

const HERMES_CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"place": "Ulm"}}\n</tool_call>';
/** Whole answers and what they are made of. */
export const CASES: readonly { about: string; setup: Setup; input: string; expected: AnswerPart[] }[] = [
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
    about: "qwen3-coder: texts, numbers, and what is none",
    setup: { format: format("qwen3-coder") },
    input: 'Ok.\n<tool_call>\n<function=add-2>\n<parameter=text>\na "b"\n</param>\\ <c>\n\n</parameter>\n' +
      "<parameter=n>\n12\n</parameter>\n<parameter=other>x y</parameter></function>\n</tool_call> <tool_call>\n" +
      "<function=f>\n</function>\n</tool_call>",
    expected: [
      text("Ok."),
      ...call(0, "add-2", '{"text": "a \\"b\\"\\n</param>\\\\ <c>\\n", "n": 12, "other": "x y"}'),
      ...call(1, "f", "{}"),
    ],
  },
  {
    about: "qwen3-coder: cut off in a text",
    setup: { format: format("qwen3-coder") },
    input: "<tool_call><function=add-2><parameter=n>\n1\n</parameter><parameter=text>\nab\n</para",
    expected: call(0, "add-2", '{"n": 1, "text": "ab\\n</para'),
  },
  {
    about: "qwen3-coder: cut off in a number",
    setup: { format: format("qwen3-coder") },
    input: "<tool_call><function=add-2><parameter=n>\n1",
    expected: call(0, "add-2", '{"n": 1'),
  },
  {
    about: "qwen3-coder: no such function, and one that breaks off",
    setup: { format: format("qwen3-coder") },
    input:
      "<tool_call><function=g></function></tool_call> <tool_call><function=add-2><parameter=text>a</parameter>oops",
    expected: [
      text("<tool_call><function=g></function></tool_call>"),
      ...call(0, "add-2", '{"text": "a"'),
      text("oops"),
    ],
  },
  {
    about: "granite",
    setup: { format: format("granite") },
    input: '<|tool_call|>[{"name": "f", "arguments": {"a": 1}}]',
    expected: call(0, "f", '{"a": 1}'),
  },
];
