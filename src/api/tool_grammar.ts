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
  /** Control tokens by their names: marks that the model writes as one token. */
  controls: readonly string[];
  /** Where the prompt has left the reasoning. */
  thinking: "open" | "closed" | "free";
}

function literal(text: string): GrammarSource {
  return { kind: "text", text };
}

/** Text of a format, in which marks may be control tokens. */
function written(text: string, controls: readonly string[]): GrammarSource {
  const parts: GrammarSource[] = [];
  for (let rest = text; rest !== "";) {
    const found = controls.map((name) => ({ name, at: rest.indexOf(name) })).filter(({ at }) => at >= 0)
      .sort((a, b) => a.at - b.at || b.name.length - a.name.length)[0];
    const at = found?.at ?? rest.length;
    if (at > 0) parts.push(literal(rest.slice(0, at)));
    if (found !== undefined) parts.push({ kind: "text", text: found.name, control: true });
    rest = rest.slice(at + (found?.name.length ?? 0));
  }
  return parts.length === 1 ? parts[0]! : sequence(...parts);
}

/** Schema of a tool's arguments: an object, whatever it says else. */
function argumentsOf({ parameters }: ToolDefinition): GrammarSource {
  return { kind: "schema", schema: { ...parameters, type: "object" } };
}

/** Anything up to a text, and that. */
function until(text: string): GrammarSource {
  return { kind: "until", text };
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
      ? until(end)
      : sequence({ kind: "schema", schema: { ...shared, ...schema } }, literal(end));
    const element = sequence(literal(`<parameter=${key}>\n`), value, literal("\n"));
    return required.includes(key) ? element : { kind: "repeat", of: element, min: 0, max: 1, separator: "" };
  });
  return sequence(...elements);
}

/** One call. */
function callOf({ format: { call, elements }, tools, controls }: AnswerRules): GrammarSource {
  const [head, middle, tail] = call.map((text) => written(text, controls)) as [
    GrammarSource,
    GrammarSource,
    GrammarSource,
  ];
  const options = tools.map((tool) =>
    sequence(literal(tool.name), middle, elements ? elementsOf(tool) : argumentsOf(tool))
  );
  return sequence(head, { kind: "choice", options }, tail);
}

/** All calls of an answer. */
function callsOf(rules: AnswerRules): GrammarSource {
  const { format, single, controls } = rules;
  const [open, separator, close] = format.list;
  const repeat: GrammarSource = { kind: "repeat", of: callOf(rules), min: 1, max: single ? 1 : undefined, separator };
  return sequence(written(open, controls), repeat, written(close, controls));
}

/** Free text in which a mark starts calls. */
function lazyCalls(rules: AnswerRules): GrammarSource {
  const { format } = rules;
  const mark = format.begins[0]!;
  const { list: [open, separator, close], call: [head, middle, tail] } = format;
  if (format.bare) return { kind: "lazy", triggers: [mark], then: callsOf(rules) };
  const unmarked = (text: string): string => text.startsWith(mark) ? text.slice(mark.length) : text;
  // Without a list every call has its mark, and each mark is waited for.
  const then = open === ""
    ? callOf({ ...rules, format: { ...format, call: [unmarked(head), middle, tail] } })
    : callsOf({ ...rules, format: { ...format, list: [unmarked(open), separator, close] } });
  return { kind: "lazy", triggers: [mark], then };
}

/** Reasoning, as far as the prompt leaves room for it, then what follows. */
function afterReasoning({ reasoning, thinking, controls }: AnswerRules, then: GrammarSource): GrammarSource {
  if (reasoning === undefined || thinking === "closed") return then;
  const body = sequence(
    { kind: "until", text: reasoning.close, control: true },
    { kind: "gbnf", grammar: "root ::= [ \\n]{0,4}" },
  );
  if (thinking === "open") return { kind: "sequence", parts: [body, then] };
  const whole: GrammarSource = { kind: "sequence", parts: [written(reasoning.open, controls), body] };
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
