/** Values and methods of templates as Python has them, where `@huggingface/jinja` has JavaScript's. */

/** A value of the template interpreter, as far as it is looked at. */
export interface TemplateValue {
  readonly type: string;
  readonly value: unknown;
  toString(): string;
}

/** A node of a template, as far as it is looked at. */
interface TemplateNode {
  readonly type?: string;
  readonly value?: unknown;
  readonly callee?: TemplateNode;
  readonly object?: TemplateNode;
  readonly property?: TemplateNode;
  readonly computed?: boolean;
  readonly operand?: TemplateNode;
  readonly filter?: TemplateNode;
  readonly args?: readonly TemplateNode[];
}

const WHITE_SPACE = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008" +
  "\u2009\u200a\u2028\u2029\u202f\u205f\u3000";
const ESCAPED: Readonly<Record<string, string>> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** `repr()` of a string. */
function quote(text: string): string {
  const mark = text.includes("'") && !text.includes('"') ? '"' : "'";
  const body = Array.from(text, (char) => {
    const code = char.charCodeAt(0);
    return ESCAPED[char] ?? (code < 0x20 || code === 0x7f ? `\\x${code.toString(16).padStart(2, "0")}` : char);
  }).join("");
  return mark + body.replaceAll(mark, `\\${mark}`) + mark;
}

/** `repr()` of a value. */
function repr(value: TemplateValue): string {
  const inner = value.value;
  if (typeof inner === "string") return quote(inner);
  if (typeof inner === "boolean") return inner ? "True" : "False";
  if (value.type === "NullValue") return "None";
  if (Array.isArray(inner)) {
    const parts = (inner as TemplateValue[]).map(repr);
    if (value.type === "TupleValue") return `(${parts.join(", ")}${parts.length === 1 ? "," : ""})`;
    return `[${parts.join(", ")}]`;
  }
  if (inner instanceof Map) {
    const entries = [...inner as Map<string, TemplateValue>];
    return `{${entries.map(([key, each]) => `${quote(key)}: ${repr(each)}`).join(", ")}}`;
  }
  return value.toString();
}

/** Makes a truth value, a list or an object write itself the way Python does; other values do so already. */
export function writeLikePython(value: TemplateValue): void {
  const { value: inner } = value;
  if (typeof inner === "boolean" || Array.isArray(inner) || inner instanceof Map) value.toString = () => repr(value);
}

/** `text` without the characters of `set` at its ends; `side` is the name of the method. */
function strip(text: string, side: string, set: string): string {
  let start = 0;
  let end = text.length;
  if (side !== "rstrip") {
    while (start < end && set.includes(text[start]!)) start++;
  }
  if (side !== "lstrip") {
    while (end > start && set.includes(text[end - 1]!)) end--;
  }
  return text.slice(start, end);
}

/** The text node and arguments of `text.strip(...)`, `lstrip`, `rstrip` or `text | trim(...)`; undefined for others. */
function stripCall(
  node: TemplateNode | undefined,
): { text: TemplateNode; side: string; args: readonly TemplateNode[] } | undefined {
  if (node === undefined) return undefined;
  if (node.type === "CallExpression" && node.callee?.type === "MemberExpression" && node.callee.computed === false) {
    const side = node.callee.property?.value;
    if (side !== "strip" && side !== "lstrip" && side !== "rstrip") return undefined;
    return { text: node.callee.object!, side, args: node.args ?? [] };
  }
  if (node.type !== "FilterExpression") return undefined;
  const { filter } = node;
  const name = filter?.type === "CallExpression" ? filter.callee?.value : filter?.value;
  return name === "trim" ? { text: node.operand!, side: "strip", args: filter?.args ?? [] } : undefined;
}

/**
 * The value of a node that strips a text, as Python strips: of the characters given, or of its own white space.
 * Undefined when the node is something else. `evaluate` evaluates a node in the scope of this one.
 */
export function evaluateStrip(
  node: unknown,
  evaluate: (node: unknown) => TemplateValue,
): TemplateValue | undefined {
  const call = stripCall(node as TemplateNode | undefined);
  if (call === undefined || call.args.length > 1) return undefined;
  const text = evaluate(call.text);
  if (typeof text.value !== "string") return undefined;
  const set = call.args.length === 0 ? undefined : evaluate(call.args[0]).value;
  const StringValue = text.constructor as new (value: string) => TemplateValue;
  return new StringValue(strip(text.value, call.side, typeof set === "string" ? set : WHITE_SPACE));
}
