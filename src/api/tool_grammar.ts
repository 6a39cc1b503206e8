/** What an answer may be, as a grammar: calls of tools, text, and the reasoning before them. */
import type { ReasoningMarks, ToolFormat } from "../text/tools/formats.ts";
import type { GrammarSource, ToolDefinition } from "../types.ts";

/** What is allowed of an answer. */
export interface AnswerRules {
  format: ToolFormat;
  /** Tools that may be called; none = no calls. */
  tools: readonly ToolDefinition[];
  /** Whether there must be a call. */
  required: boolean;
  /** At most one call. */
  single: boolean;
  /** What text has to be; undefined = anything. */
  text: GrammarSource | undefined;
  /** Marks of reasoning; undefined = the model has none. */
  reasoning: ReasoningMarks | undefined;
  /** Where the prompt has left the reasoning. */
  thinking: "open" | "closed" | "free";
}

function literal(text: string): GrammarSource {
  return { kind: "text", text };
}

/** Schema of a tool's arguments: an object, whatever it says else. */
function argumentsOf({ parameters }: ToolDefinition): GrammarSource {
  return { kind: "schema", schema: { ...parameters, type: "object" } };
}

function sequence(...parts: GrammarSource[]): GrammarSource {
  return { kind: "sequence", parts };
}

/**
 * Arguments as elements, in the order of the schema's properties; those that are not required may be left out. Texts
 * are free but for an `enum`; what else a value may be follows its schema.
 */
function elementsOf({ parameters = {} }: ToolDefinition): GrammarSource {
  const { properties = {}, required = [], $defs, definitions } = parameters as {
    properties?: Record<string, Record<string, unknown>>;
    required?: readonly string[];
    $defs?: unknown;
    definitions?: unknown;
  };
  const shared = { ...($defs === undefined ? {} : { $defs }), ...(definitions === undefined ? {} : { definitions }) };
  const elements = Object.entries(properties).map(([key, schema]): GrammarSource => {
    const end = "\n</parameter>";
    const isText = schema["type"] === "string";
    const texts = isText && Array.isArray(schema["enum"])
      ? schema["enum"].filter((one) => typeof one === "string")
      : [];
    const value = texts.length > 0
      ? sequence({ kind: "choice", options: texts.map(literal) }, literal(end))
      : isText
      ? untilMark(end)
      : sequence({ kind: "schema", schema: { ...shared, ...schema } }, literal(end));
    const element = sequence(literal(`<parameter=${key}>\n`), value, literal("\n"));
    return required.includes(key) ? element : { kind: "repeat", of: element, min: 0, max: 1, separator: "" };
  });
  return sequence(...elements);
}

/** One call. */
function callOf({ call, elements }: ToolFormat, tools: readonly ToolDefinition[]): GrammarSource {
  const [head, middle, tail] = call;
  const options = tools.map((tool) =>
    sequence(literal(tool.name + middle), elements ? elementsOf(tool) : argumentsOf(tool))
  );
  return sequence(literal(head), { kind: "choice", options }, literal(tail));
}

/** All calls of an answer. */
function callsOf({ format, tools, single }: AnswerRules): GrammarSource {
  const [open, separator, close] = format.list;
  const of = callOf(format, tools);
  const repeat: GrammarSource = { kind: "repeat", of, min: 1, max: single ? 1 : undefined, separator };
  return sequence(literal(open), repeat, literal(close));
}

/** What follows a mark that the calls' first literal begins with. */
function afterMark(mark: string, calls: GrammarSource): GrammarSource {
  if (calls.kind !== "sequence" || calls.parts[0]?.kind !== "text") return calls;
  const [{ text }, ...rest] = calls.parts as [{ text: string }, ...GrammarSource[]];
  return { kind: "sequence", parts: [literal(text.slice(mark.length)), ...rest] };
}

/** Free text in which a mark starts calls. */
function lazyCalls(rules: AnswerRules): GrammarSource {
  const { format } = rules;
  const mark = format.begins[0]!;
  const [open] = format.list;
  if (format.bare) return { kind: "lazy", triggers: [mark], then: callsOf(rules) };
  // Without a list every call has its mark, and each mark is waited for.
  const then = open === "" ? callOf(format, rules.tools) : callsOf(rules);
  return { kind: "lazy", triggers: [mark], then: afterMark(mark, then) };
}

/** A class of the ASCII characters but these. */
function asciiBut(...chars: string[]): string {
  const code = (n: number): string => `\\x${n.toString(16).padStart(2, "0")}`;
  const gaps = [-1, ...chars.map((char) => char.charCodeAt(0)).sort((a, b) => a - b), 0x80];
  const ranges = gaps.slice(1).map((end, i) => [gaps[i]! + 1, end - 1] as const).filter(([from, to]) => from <= to);
  return `[${ranges.map(([from, to]) => `${code(from)}-${code(to)}`).join("")}]`;
}

/**
 * Text that ends with a mark of ASCII characters and does not have it before. The mark's first character must not occur
 * in it again: after it, and as much of the mark as you like, comes something else or the first character once more.
 */
function untilMark(mark: string, after = ""): GrammarSource {
  const [first, ...rest] = mark;
  const quoted = (text: string): string => JSON.stringify(text);
  let starts = '""', leaves = "";
  for (let n = rest.length - 1; n >= 0; n--) {
    const next = rest[n]!;
    leaves = n === rest.length - 1 ? asciiBut(first!, next) : `(${asciiBut(first!, next)} | ${quoted(next)} ${leaves})`;
    if (n < rest.length - 1) starts = `("" | ${quoted(next)} ${starts})`;
  }
  const grammar = [
    `root ::= (${asciiBut(first!)} | part* (other | ${quoted(first!)} ${leaves}))* part* ${quoted(mark)} ${after}`,
    `part ::= ${quoted(first!)} ${starts}`,
    "other ::= [^\\x00-\\x7f]",
  ];
  return { kind: "gbnf", grammar: grammar.join("\n") };
}

/** Reasoning, as far as the prompt leaves room for it, then what follows. */
function afterReasoning({ reasoning, thinking }: AnswerRules, then: GrammarSource): GrammarSource {
  if (reasoning === undefined || thinking === "closed") return then;
  const body = untilMark(reasoning.close, "[ \\n]{0,4}");
  if (thinking === "open") return { kind: "sequence", parts: [body, then] };
  const whole: GrammarSource = { kind: "sequence", parts: [literal(reasoning.open), body] };
  return { kind: "sequence", parts: [{ kind: "repeat", of: whole, min: 0, max: 1, separator: "" }, then] };
}

/** The grammar of an answer; undefined where everything is allowed. */
export function answerGrammar(rules: AnswerRules): GrammarSource | undefined {
  const { tools, required, text } = rules;
  if (tools.length === 0) return text === undefined ? undefined : afterReasoning(rules, text);
  if (required) return afterReasoning(rules, callsOf(rules));
  if (text === undefined) return lazyCalls(rules);
  return afterReasoning(rules, { kind: "choice", options: [text, callsOf(rules)] });
}
