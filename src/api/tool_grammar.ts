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

/** One call. */
function callOf({ call }: ToolFormat, tools: readonly ToolDefinition[]): GrammarSource {
  const [head, middle, tail] = call;
  const options = tools.map((tool): GrammarSource => ({
    kind: "sequence",
    parts: [literal(tool.name + middle), argumentsOf(tool)],
  }));
  return { kind: "sequence", parts: [literal(head), { kind: "choice", options }, literal(tail)] };
}

/** All calls of an answer. */
function callsOf({ format, tools, single }: AnswerRules): GrammarSource {
  const [open, separator, close] = format.list;
  const of = callOf(format, tools);
  const repeat: GrammarSource = { kind: "repeat", of, min: 1, max: single ? 1 : undefined, separator };
  return { kind: "sequence", parts: [literal(open), repeat, literal(close)] };
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

function classOf(char: string, ...others: string[]): string {
  const code = (one: string): string => `\\x${one.charCodeAt(0).toString(16).padStart(2, "0")}`;
  return `[^${[char, ...others].map(code).join("")}]`;
}

/**
 * Text that ends with a mark and does not have it before. The mark's first character must not occur in it again: after
 * it, and as much of the mark as you like, either comes something else or the first character once more.
 */
function untilMark(mark: string): GrammarSource {
  const [first, ...rest] = mark;
  const quoted = (text: string): string => `"${text}"`;
  let starts = '""', leaves = "";
  for (let n = rest.length - 1; n >= 0; n--) {
    const next = rest[n]!;
    leaves = n === rest.length - 1 ? classOf(first!, next) : `(${classOf(first!, next)} | ${quoted(next)} ${leaves})`;
    if (n < rest.length - 1) starts = `("" | ${quoted(next)} ${starts})`;
  }
  const grammar = [
    `root ::= (${classOf(first!)} | part* ${quoted(first!)} ${leaves})* part* ${quoted(mark)} [ \\n]{0,4}`,
    `part ::= ${quoted(first!)} ${starts}`,
  ];
  return { kind: "gbnf", grammar: grammar.join("\n") };
}

/** Reasoning, as far as the prompt leaves room for it, then what follows. */
function afterReasoning({ reasoning, thinking }: AnswerRules, then: GrammarSource): GrammarSource {
  if (reasoning === undefined || thinking === "closed") return then;
  const body = untilMark(reasoning.close);
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
