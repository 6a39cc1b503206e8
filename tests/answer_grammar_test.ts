/** Grammars of answers: what models of each format may write with tools, schemas, reasoning, and what not. */
import { assert, assertEquals } from "@std/assert";
import { answerGrammar, type AnswerRules } from "../src/api/tool_grammar.ts";
import { FORMATS, GENERIC, type ToolFormat } from "../src/text/tools/formats.ts";
import { createConstraint } from "../src/grammar/constraint.ts";
import { idOfSpecial } from "../src/text/special_trie.ts";
import { TOKEN_TYPE } from "../src/text/token_type.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { Vocab } from "../src/text/vocab.ts";
import { allowedTokens, BYTES, compile } from "./grammar_support.ts";
import { test, testUnless } from "./support.ts";
import { readSource, vocabularyMissing } from "./text_support.ts";

const CITY = {
  name: "f",
  parameters: { properties: { city: { enum: ["Ulm"] } }, required: ["city"], additionalProperties: false },
};
const NOW = { name: "now", parameters: { type: "object", additionalProperties: false } };
const RULES: AnswerRules = {
  format: GENERIC,
  tools: [CITY, NOW],
  required: false,
  single: false,
  text: undefined,
  reasoning: undefined,
  controls: [],
  thinking: "free",
};
const BYTE_0 = 3, END = 2;

/** How far a text is allowed, and whether it may end there. */
function walk(rules: Partial<AnswerRules>, text: string): { fits: string; ends: boolean } {
  const constraint = createConstraint(compile(answerGrammar({ ...RULES, ...rules })!), BYTES.tables);
  const allowed = (token: number): boolean => {
    const mask = new Uint32Array(Math.ceil(BYTES.size / 32));
    return !constraint.fill(mask) || ((mask[token >> 5]! >>> (token & 31)) & 1) === 1;
  };
  const bytes = new TextEncoder().encode(text);
  let n = 0;
  for (; n < bytes.length && allowed(BYTE_0 + bytes[n]!); n++) constraint.accept(BYTE_0 + bytes[n]!);
  return { fits: new TextDecoder().decode(bytes.subarray(0, n)), ends: n === bytes.length && allowed(END) };
}

function assertFits(rules: Partial<AnswerRules>, ...texts: string[]): void {
  for (const text of texts) assertEquals(walk(rules, text), { fits: text, ends: true });
}

/** Each text is allowed up to the bar, and neither further nor as a whole. */
function assertBreaks(rules: Partial<AnswerRules>, ...texts: string[]): void {
  for (const text of texts) {
    const [good, bad = ""] = text.split("|");
    const { fits, ends } = walk(rules, good + bad);
    assertEquals([fits, ends], [good, false], text);
  }
}

function format(name: string): ToolFormat {
  return FORMATS.find((one) => one.name === name)!;
}

const CALL = '<tool_call>\n{"name": "f", "arguments": {"city":"Ulm"}}\n</tool_call>';
const NOW_CALL = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>';

test("answer grammar: calls that must come, one or several", () => {
  const required = { required: true };
  assertFits(required, CALL, `${CALL}\n${NOW_CALL}`, NOW_CALL);
  assertFits({ ...required, single: true }, CALL);
  // "|" cannot stand in these texts
  assertBreaks(
    required,
    "|Hello",
    '<tool_call>\n{"name": "|g"',
    '<tool_call>\n{"name": "f", "arguments": {|}}',
    `${CALL}\n|x`,
  );
  assertBreaks({ ...required, single: true }, `${CALL}|\n${CALL}`);
});

test("answer grammar: text is free until the mark of a call, and after it", () => {
  assertFits({}, "", "Hello <tool_cal", `Hm. ${CALL} and ${NOW_CALL}`, '{"name": "x"}');
  assertBreaks({}, "<tool_call>|x", '<tool_call>\n{"name": "now", "arguments": {|"', `${CALL}<tool_call>|<`);
});

test("answer grammar: every format is what its reader reads", () => {
  const calls: Record<string, [one: string, two: string]> = {
    mistral: [
      '[TOOL_CALLS] [{"name": "now", "arguments": {}}]',
      '[TOOL_CALLS] [{"name": "now", "arguments": {}}, {"name": "now", "arguments": {}}]',
    ],
    "mistral-dense": ['[TOOL_CALLS][{"name": "now", "arguments": {}}]', ""],
    "mistral-args": ["[TOOL_CALLS]now[ARGS]{}", "[TOOL_CALLS]now[ARGS]{}[TOOL_CALLS]now[ARGS]{}"],
    deepseek: [
      "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```" +
      "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
      "",
    ],
    "deepseek-3.1": [
      "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
      "",
    ],
    "qwen3-coder": ["<tool_call>\n<function=now>\n</function>\n</tool_call>", ""],
    hermes: [NOW_CALL, `${NOW_CALL}\n${NOW_CALL}`],
    granite: ['<|tool_call|>[{"name": "now", "arguments": {}}]', ""],
    llama: [
      '{"name": "now", "parameters": {}}',
      '{"name": "now", "parameters": {}}; {"name": "now", "parameters": {}}',
    ],
  };
  assertEquals(Object.keys(calls).sort(), FORMATS.map(({ name }) => name).sort());
  for (const [name, [one, two]] of Object.entries(calls)) {
    const rules = { format: format(name) };
    assertFits({ ...rules, required: true }, one);
    if (two !== "") assertFits({ ...rules, required: true }, two);
    const { fits } = walk({ ...rules, required: true }, one.replace("now", "never"));
    assert(fits.length < one.length, name);
    const mark = format(name).begins[0]!;
    assertFits(rules, `text ${name === "llama" ? mark + one : one} text`);
    assertEquals(walk(rules, `a ${mark}\u0000`).fits, `a ${mark}`, `${name}: after its mark nothing but a call`);
  }
});

test("answer grammar: arguments as elements follow their properties", () => {
  const parameters = {
    properties: { text: { type: "string" }, kind: { type: "string", enum: ["a", "b"] }, n: { type: "integer" } },
    required: ["text", "n"],
  };
  const rules = { format: format("qwen3-coder"), tools: [{ name: "f", parameters }], required: true };
  const written = (...elements: [key: string, value: string][]): string => {
    const all = elements.map(([key, value]) => `<parameter=${key}>\n${value}\n</parameter>\n`);
    return `<tool_call>\n<function=f>\n${all.join("")}</function>\n</tool_call>`;
  };
  assertFits(
    rules,
    written(["text", 'x\n</par "é"\n\n'], ["n", "-3"]),
    written(["text", ""], ["kind", "b"], ["n", "0"]),
  );
  assertBreaks(
    rules,
    "<tool_call>\n<function=f>\n<|/function>",
    "<tool_call>\n<function=f>\n<parameter=|n>",
    "<tool_call>\n<function=f>\n<parameter=text>\n\n</parameter>\n<parameter=kind>\n|c",
    "<tool_call>\n<function=f>\n<parameter=text>\n\n</parameter>\n<parameter=n>\n|x",
  );
});

test("answer grammar: text by a schema, or a call", () => {
  const text = { kind: "schema", schema: { type: "boolean" } } as const;
  assertFits({ text }, "true", CALL);
  assertBreaks({ text }, "|Hello", "<tool_call>|x");
  assertFits({ text, tools: [] }, "false");
  assertBreaks({ text, tools: [] }, "|<tool_call>");
  assertEquals(answerGrammar({ ...RULES, tools: [] }), undefined);
});

test("answer grammar: reasoning comes before what is constrained, as far as the prompt leaves room for it", () => {
  const reasoning = { open: "<think>", close: "</think>" };
  const base = { text: { kind: "schema", schema: { type: "boolean" } }, tools: [], reasoning } as const;
  const thoughts = ["", "hm", "a < b <</ </thin </think < </<think", "ä<</é</think\u{1f600}", "<", "<</thin"];
  for (const thought of thoughts) {
    assertFits({ ...base, thinking: "open" }, `${thought}</think>\n\ntrue`);
    assertFits({ ...base, thinking: "free" }, `<think>${thought}</think>true`);
  }
  assertFits({ ...base, thinking: "free" }, "true");
  assertFits({ ...base, thinking: "closed" }, "true");
  assertBreaks({ ...base, thinking: "closed" }, "|<think>");
  assertBreaks({ ...base, thinking: "open" }, "true|", "<</think>|x", "</think>|<");
  assertFits({ reasoning, required: true, thinking: "open" }, `I must </call.</think>\n${CALL}`);
  const bracket = { open: "[THINK]", close: "[/THINK]" };
  assertFits({ ...base, reasoning: bracket, thinking: "open" }, "[[/ [x] [/THIN [/THINK]true");
});

testUnless(
  vocabularyMissing("qwen2_5"),
  "answer grammar: in a real vocabulary the mark's own token starts a call",
  () => {
    const vocab = Vocab.build(readSource("qwen2_5"));
    const mark = idOfSpecial(vocab.tables, "<tool_call>");
    const lazy = createConstraint(compile(answerGrammar(RULES)!), vocab.tables);
    assertEquals(allowedTokens(lazy, vocab).length > 150_000, true, "text is free");
    lazy.accept(mark);
    const after = allowedTokens(lazy, vocab).map((id) => vocab.textOf(id));
    assert(after.includes("\n") && after.every((text) => '\n{"name": "'.startsWith(text)), JSON.stringify(after));
    const required = createConstraint(compile(answerGrammar({ ...RULES, required: true })!), vocab.tables);
    const first = allowedTokens(required, vocab);
    assert(first.includes(mark) && first.every((id) => CALL.startsWith(vocab.textOf(id))));
  },
);

const CONTROLS = ["<tool_call>", "</tool_call>", "<|im_start|>", "<|box_start|>", "<|box_end|>"];
let controlled: Vocab | undefined;

/** A real vocabulary in which those are control tokens, as many files have it. */
function withControls(): Vocab {
  if (controlled !== undefined) return controlled;
  const source = readSource("qwen2_5");
  const { tables } = Vocab.build(source);
  const tokenTypes = Int32Array.from(tables.types);
  for (const name of CONTROLS) tokenTypes[idOfSpecial(tables, name)] = TOKEN_TYPE.control;
  return controlled = Vocab.build({ ...source, tokenTypes });
}

testUnless(
  vocabularyMissing("qwen2_5"),
  "answer grammar: marks that are control tokens may be written as such, where they belong and nowhere else",
  () => {
    const vocab = withControls();
    const tokenizer = new Tokenizer(vocab);
    const [open, close] = CONTROLS.map((name) => idOfSpecial(vocab.tables, name)) as [number, number];
    const parameters = { properties: { a: { type: "string" }, b: { enum: ["<tool_call>"] } }, required: ["a", "b"] };
    const rules = { tools: [NOW, { name: "f", parameters }], required: true, controls: CONTROLS };
    const walker = createConstraint(compile(answerGrammar({ ...RULES, ...rules })!), vocab.tables);
    const controlsNow = (): number[] => allowedTokens(walker, vocab).filter((id) => vocab.isSpecial(id));
    const write = (text: string): void => {
      for (const token of tokenizer.encode(text, { addBos: false })) walker.accept(token);
    };
    assertEquals(controlsNow(), [open]);
    walker.accept(open);
    assertEquals(controlsNow(), []);
    write('\n{"name": "f", "arguments": {"a":"x');
    assertEquals(controlsNow(), [], "not in an argument's text");
    write('","b":"');
    assertEquals(controlsNow(), [], "not as one that may be spelled");
    write('<tool_call>"}}\n');
    assertEquals(controlsNow(), [close]);
    walker.accept(close);
    assertEquals(controlsNow(), [...vocab.tables.eogIds].filter((id) => vocab.isSpecial(id)), "the answer may end");
    write("\n");
    assertEquals(controlsNow(), [open]);
    write(NOW_CALL); // spelled it is right too
  },
);

testUnless(
  vocabularyMissing("qwen2_5"),
  "answer grammar: reasoning ends with the control token that is its mark",
  () => {
    const vocab = withControls();
    const reasoning = { open: "<|box_start|>", close: "<|box_end|>" };
    const [open, close] = [reasoning.open, reasoning.close].map((name) => idOfSpecial(vocab.tables, name)) as [
      number,
      number,
    ];
    const rules = { reasoning, required: true, controls: [reasoning.open, reasoning.close] };
    const walker = createConstraint(compile(answerGrammar({ ...RULES, ...rules })!), vocab.tables);
    assert(allowedTokens(walker, vocab).includes(open));
    walker.accept(open);
    for (const token of new Tokenizer(vocab).encode("I must <|box", { addBos: false })) walker.accept(token);
    assert(allowedTokens(walker, vocab).includes(close));
    assert(!allowedTokens(walker, vocab).some((id) => vocab.isEog(id)), "not before the call");
    walker.accept(close);
    const after = allowedTokens(walker, vocab).map((id) => vocab.textOf(id));
    assert(after.every((text) => CALL.startsWith(text.trim())), JSON.stringify(after.slice(0, 9)));
  },
);

test("answer grammar: tools share what they say alike", () => {
  const parameters = { properties: { when: { type: "string", format: "date-time" } }, required: ["when"] };
  const tools = Array.from({ length: 32 }, (_, i) => ({ name: `tool_${i}`, parameters }));
  const wordsOf = (n: number): number => {
    const rules = { tools: tools.slice(0, n), required: true };
    return compile(answerGrammar({ ...RULES, ...rules })!).words.length;
  };
  const one = wordsOf(1), all = wordsOf(32);
  assert(all < one + 31 * 400, `${one} words for one tool, ${all} for 32`);
});
