/** From what a generation asks for to how its answer is constrained and read. */
import { RealizarError } from "../errors.ts";
import { checkSource, grammarSourceOf } from "../grammar/source.ts";
import type { WireGrammar } from "../grammar/wire.ts";
import { idOfSpecial } from "../text/special_trie.ts";
import { TOKEN_TYPE } from "../text/token_type.ts";
import { type ReasoningMarks, reasoningMarksOf, type ToolFormat, toolFormatOf } from "../text/tools/formats.ts";
import type { Vocab } from "../text/vocab.ts";
import type { GenerateOptions, GrammarSource, ToolDefinition } from "../types.ts";
import { AnswerReader } from "./answer.ts";
import { answerGrammar } from "./tool_grammar.ts";

const TOOLS_MAX = 128;
/** Tokens at the end of a prompt that are looked at for an opened mark. */
const TAIL_TOKENS = 16;
/** What a mark looks like in the texts of a format. */
const MARK = /<[^<>\s]+>|\[[A-Z_]+\]/g;
const ID_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
/** What every chat template with calls takes: Mistral's insist on nine letters and digits. */
const ID_LENGTH = 9;

/** How one answer is constrained and read. */
export interface AnswerPlan {
  /** Undefined = it is not split. */
  reader: AnswerReader | undefined;
  /** Undefined = everything is allowed. */
  grammar: GrammarSource | undefined;
  /** Control tokens that the text is to show: marks of the answer. */
  shown: readonly number[];
}

/** A new id of a call. */
export function newCallId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(ID_LENGTH));
  return Array.from(bytes, (byte) => ID_CHARACTERS[byte % ID_CHARACTERS.length]!).join("");
}

function refuse(what: string, got: unknown, expected: string): never {
  throw new RealizarError("ARG", `${what}: got ${JSON.stringify(got) ?? String(got)}, expected ${expected}`);
}

/** Tools of the options, checked. Throws `ARG`. */
export function checkTools(tools: readonly ToolDefinition[] = []): readonly ToolDefinition[] {
  if (!Array.isArray(tools)) refuse("tools", tools, "an array");
  if (tools.length > TOOLS_MAX) refuse("tools", `${tools.length} tools`, `at most ${TOOLS_MAX}`);
  const names = new Set<string>();
  for (const [i, { name, parameters }] of (tools as readonly ToolDefinition[]).entries()) {
    if (typeof name !== "string" || !/^[a-zA-Z0-9_-]{1,64}$/.test(name)) {
      refuse(`tools[${i}].name`, name, "1 to 64 letters, digits, _ and -");
    }
    if (names.has(name)) refuse(`tools[${i}].name`, name, "a name of its own");
    names.add(name);
    const isObject = typeof parameters === "object" && parameters !== null && !Array.isArray(parameters);
    if (parameters !== undefined && !isObject) refuse(`tools[${i}].parameters`, parameters, "a JSON Schema");
    try {
      checkSource(parameters ?? {});
    } catch (error) {
      if (!(error instanceof RealizarError)) throw error;
      throw new RealizarError(error.code, `tools[${i}].parameters: ${error.message}`, { cause: error });
    }
    const type = parameters?.["type"];
    if (type !== undefined && type !== "object") refuse(`tools[${i}].parameters.type`, type, `"object"`);
  }
  return tools;
}

/** The tools that this answer may call, and whether it must. */
function callable({ tools, toolChoice }: GenerateOptions): { tools: readonly ToolDefinition[]; required: boolean } {
  const all = checkTools(tools);
  const choice = toolChoice ?? "auto";
  if (choice === "none") return { tools: [], required: false };
  if (choice === "auto") return { tools: all, required: false };
  if (choice === "required") {
    if (all.length === 0) refuse("toolChoice", choice, "tools to choose from");
    return { tools: all, required: true };
  }
  const named = typeof choice === "object" && choice !== null ? all.filter(({ name }) => name === choice.name) : [];
  if (named.length === 0) refuse("toolChoice", choice, `"auto", "none", "required" or the name of one of the tools`);
  return { tools: named, required: true };
}

/** What is fixed for a model: how it writes calls and reasoning, by its template and vocabulary. */
export interface AnswerMarks {
  format: ToolFormat;
  reasoning: ReasoningMarks | undefined;
  shown: readonly number[];
  /** The names of those. */
  controls: readonly string[];
  /** The template refuses messages with several calls, so that the model writes one. */
  oneCall: boolean;
}

/** The marks of a model. */
export function answerMarksOf(vocab: Vocab): AnswerMarks {
  const { tables } = vocab;
  const template = tables.chatTemplate ?? "";
  const hasToken = (text: string): boolean => idOfSpecial(tables, text) >= 0;
  const format = toolFormatOf(template, hasToken);
  const reasoning = reasoningMarksOf(template, hasToken);
  const { begins, closers, nameEnds, list, call } = format;
  const marks = [...begins, ...closers, ...nameEnds, "[CALL_ID]"];
  for (const text of [...list, ...call]) marks.push(...text.match(MARK) ?? []);
  if (reasoning !== undefined) marks.push(reasoning.open, reasoning.close);
  const ids = new Set(marks.map((mark) => idOfSpecial(tables, mark)));
  const shown = [...ids].filter((id) => id >= 0 && vocab.typeOf(id) === TOKEN_TYPE.control);
  const oneCall = /tool_calls\s*\|\s*length\s*==\s*1/.test(template);
  return { format, reasoning, oneCall, shown, controls: shown.map((id) => vocab.textOf(id)) };
}

/** Where a prompt has left the reasoning. */
function thinkingOf(vocab: Vocab, tokens: Int32Array, marks: ReasoningMarks | undefined): "open" | "closed" | "free" {
  if (marks === undefined) return "free";
  const bytes = Array.from(tokens.slice(-TAIL_TOKENS), (id) => [...vocab.bytesOf(id)]).flat();
  const tail = new TextDecoder().decode(Uint8Array.from(bytes)).trimEnd();
  return tail.endsWith(marks.open) ? "open" : tail.endsWith(marks.close) ? "closed" : "free";
}

/**
 * How an answer to these tokens is constrained and read. `isConversation`: it is split unless the options say no.
 * Throws `ARG` for tools and choices that make no sense.
 */
export function planAnswer(
  options: GenerateOptions,
  isConversation: boolean,
  tokens: Int32Array,
  vocab: Vocab,
  { format, reasoning, shown, controls, oneCall }: AnswerMarks,
): AnswerPlan {
  const { tools, required } = callable(options);
  const text = grammarSourceOf(options.schema, options.grammar);
  const splits = options.answer ?? isConversation;
  if (!splits) {
    if (options.tools !== undefined && options.tools.length > 0) {
      refuse("tools", "text or tokens", "a conversation, or answer: true with its tokens");
    }
    return { reader: undefined, grammar: text, shown: [] };
  }
  const thinking = thinkingOf(vocab, tokens, reasoning);
  // A tool that was named is called once.
  const isOne = oneCall || options.parallelToolCalls === false || typeof options.toolChoice === "object";
  const single = tools.length > 0 && isOne;
  const reader = new AnswerReader({
    format: tools.length > 0 ? format : undefined,
    tools: new Map(tools.map(({ name, parameters }) => [name, parameters ?? {}])),
    reasoning: thinking === "closed" ? undefined : reasoning,
    startsInReasoning: thinking === "open",
    single,
    makeId: newCallId,
  });
  const rules = { format, tools, required, single, text, reasoning, controls, thinking };
  return { reader, grammar: answerGrammar(rules), shown };
}

/** The compiled grammar of an answer. A tool whose schema can't be compiled is named by the error. */
export async function compileAnswer(
  grammar: GrammarSource,
  tools: readonly ToolDefinition[] = [],
  compile: (source: GrammarSource) => Promise<WireGrammar>,
): Promise<WireGrammar> {
  try {
    return await compile(grammar);
  } catch (error) {
    for (const [i, { parameters = {} }] of tools.entries()) {
      const why = await compile({ kind: "schema", schema: parameters }).then(() => undefined, (one: unknown) => one);
      if (!(why instanceof RealizarError) || why.code === "CANCELLED" || why.code === "CLOSED") continue;
      throw new RealizarError(why.code, `tools[${i}].parameters: ${why.message}`, { cause: error });
    }
    throw error;
  }
}
