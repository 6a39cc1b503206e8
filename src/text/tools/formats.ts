/** How models write calls of tools, one row a format: what readers look for, what grammars and prompts are made of. */

/** A way to write calls. */
export interface ToolFormat {
  /** Its name, for errors and documentation. */
  readonly name: string;
  /** The chat templates that have it. */
  readonly template: RegExp;
  /** Texts that begin a call, or a list of calls; the first is what constraining waits for. */
  readonly begins: readonly string[];
  /** An object at the very beginning of an answer is a call too, without any mark. */
  readonly bare: boolean;
  /** Arguments are elements, one for each, and no JSON as a whole. */
  readonly elements: boolean;
  /** Texts that end a name which is not part of an object; "{" is the arguments' own. Empty: calls are objects. */
  readonly nameEnds: readonly string[];
  /** What may stand in front of such a name. */
  readonly namePrefix: string;
  /** Texts that are skipped after a call. */
  readonly closers: readonly string[];
  /** How several calls are written: before the first, between two, after the last. */
  readonly list: readonly [open: string, separator: string, close: string];
  /** How one is written: before its name, between name and arguments, after them. */
  readonly call: readonly [head: string, middle: string, tail: string];
}

type Row = Pick<ToolFormat, "name" | "template" | "begins" | "list" | "call"> & Partial<ToolFormat>;

const DEFAULTS = { bare: false, elements: false, nameEnds: [], namePrefix: "", closers: [] } as const;

// deno-fmt-ignore
const ROWS: readonly Row[] = [
  { name: "mistral-args", template: /\[ARGS\]/, begins: ["[TOOL_CALLS]"], nameEnds: ["[ARGS]", "{"],
    list: ["", "", ""], call: ["[TOOL_CALLS]", "[ARGS]", ""] },
  { name: "mistral", template: /\[TOOL_CALLS\] \[/, begins: ["[TOOL_CALLS]"], nameEnds: ["[ARGS]", "{"],
    list: ["[TOOL_CALLS] [", ", ", "]"], call: ['{"name": "', '", "arguments": ', "}"] },
  { name: "mistral-dense", template: /\[TOOL_CALLS\]/, begins: ["[TOOL_CALLS]"], nameEnds: ["[ARGS]", "{"],
    list: ["[TOOL_CALLS][", ", ", "]"], call: ['{"name": "', '", "arguments": ', "}"] },
  { name: "deepseek", template: /<｜tool▁calls▁begin｜>[^]*```json/,
    begins: ["<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"],
    nameEnds: ["\n```json\n"], namePrefix: "function<｜tool▁sep｜>",
    closers: ["```", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"],
    list: ["<｜tool▁calls▁begin｜>", "\n", "<｜tool▁calls▁end｜>"],
    call: ["<｜tool▁call▁begin｜>function<｜tool▁sep｜>", "\n```json\n", "\n```<｜tool▁call▁end｜>"] },
  { name: "deepseek-3.1", template: /<｜tool▁calls▁begin｜>/, begins: ["<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"],
    nameEnds: ["<｜tool▁sep｜>"], closers: ["<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>"],
    list: ["<｜tool▁calls▁begin｜>", "", "<｜tool▁calls▁end｜>"],
    call: ["<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"] },
  { name: "qwen3-coder", template: /<tool_call>[^]*<function=/, begins: ["<tool_call>"], closers: ["</tool_call>"],
    elements: true, list: ["", "\n", ""], call: ["<tool_call>\n<function=", ">\n", "</function>\n</tool_call>"] },
  { name: "hermes", template: /<tool_call>/, begins: ["<tool_call>"], closers: ["</tool_call>"], list: ["", "\n", ""],
    call: ['<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>"] },
  { name: "granite", template: /<\|tool_call\|>/, begins: ["<|tool_call|>"], closers: ["<|/tool_call|>"],
    list: ["<|tool_call|>[", ", ", "]"], call: ['{"name": "', '", "arguments": ', "}"] },
  { name: "llama", template: /<\|python_tag\|>|Environment: ipython|\\?"parameters\\?": /, begins: ["<|python_tag|>"],
    bare: true, list: ["", "; ", ""], call: ['{"name": "', '", "parameters": ', "}"] },
];

/** Every format that is known, in the order in which templates are tried. */
export const FORMATS: readonly ToolFormat[] = ROWS.map((row) => ({ ...DEFAULTS, ...row }));

function formatOf(name: string): ToolFormat {
  return FORMATS.find((format) => format.name === name)!;
}

/** For models whose template has no tools: the marks that most models have seen. */
export const GENERIC: ToolFormat = { ...formatOf("hermes"), name: "generic" };
/** For templates that show tools but no call that is known: marks and objects without any are read. */
const UNKNOWN: ToolFormat = { ...GENERIC, name: "unknown", bare: true };

/** Whether a template writes tools by itself. */
export function showsTools(template: string): boolean {
  return /\btools\b/.test(template);
}

/**
 * The format of a model: by its template's text; where that has none, by the tokens of its vocabulary. `hasToken` says
 * whether a text is one special token.
 */
export function toolFormatOf(template: string, hasToken: (text: string) => boolean): ToolFormat {
  const byTemplate = FORMATS.find((format) => format.template.test(template));
  if (byTemplate !== undefined) return byTemplate;
  if (showsTools(template)) return UNKNOWN;
  if (!hasToken("<tool_call>") && hasToken("[TOOL_CALLS]")) return formatOf("mistral");
  return GENERIC;
}

/** Marks around what a model thinks. */
export interface ReasoningMarks {
  readonly open: string;
  readonly close: string;
}

const REASONING: readonly ReasoningMarks[] = [
  { open: "<think>", close: "</think>" },
  { open: "[THINK]", close: "[/THINK]" },
  { open: "<thinking>", close: "</thinking>" },
  { open: "<seed:think>", close: "</seed:think>" },
  { open: "<|START_THINKING|>", close: "<|END_THINKING|>" },
];

/** The marks that a model writes around its reasoning; undefined when neither template nor vocabulary has any. */
export function reasoningMarksOf(template: string, hasToken: (text: string) => boolean): ReasoningMarks | undefined {
  return REASONING.find(({ open, close }) => template.includes(close) || (hasToken(open) && hasToken(close)));
}
