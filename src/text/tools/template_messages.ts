/** Conversations and tools as chat templates expect them: the shape that transformers gives its templates. */
import type { ChatMessage, ToolDefinition } from "../../conversation.ts";
import { showsTools, type ToolFormat } from "./formats.ts";

/** A message as a template sees it. Keys that were not given are not there: templates ask whether they are defined. */
export interface TemplateMessage {
  role: string;
  content: string | null;
  name?: string;
  reasoning_content?: string;
  tool_calls?: TemplateCall[];
  tool_call_id?: string;
}

interface TemplateCall {
  id: string;
  type: "function";
  function: { name: string; arguments: unknown };
}

/** A tool as a template sees it. */
export interface TemplateTool {
  type: "function";
  function: { name: string; description?: string; parameters: unknown };
}

/** What a conversation becomes for a template. */
export interface TemplateInput {
  messages: TemplateMessage[];
  /** Null where none are given, as transformers has it. */
  tools: TemplateTool[] | null;
}

/** How a template wants calls to be given. */
export interface CallStyle {
  /** Arguments as the object, not as its JSON text. */
  objects: boolean;
  /** A message that only calls has no content at all; else an empty one. */
  nullContent: boolean;
}

const STYLES: readonly CallStyle[] = [
  { objects: true, nullContent: false },
  { objects: true, nullContent: true },
  { objects: false, nullContent: false },
  { objects: false, nullContent: true },
];

/** The style in which a template writes a call with its arguments as JSON, found out by trying. */
export function callStyleOf(render: (messages: readonly TemplateMessage[]) => string): CallStyle {
  const call = { id: "abcdefghi", name: "probe", arguments: '{"probed": "value"}' };
  const messages: ChatMessage[] = [{ role: "user", content: "?" }, {
    role: "assistant",
    content: "",
    toolCalls: [call],
  }];
  const shows = (style: CallStyle): boolean => {
    try {
      return /"probed":\s*"value"/.test(render(templateMessages(messages, style, false)));
    } catch {
      return false; // the template does not take it this way
    }
  };
  return STYLES.find(shows) ?? STYLES[0]!;
}

/** Arrays and objects of arguments inside each other, at most: what walks them does so by recursion. */
const ARGUMENTS_DEPTH_MAX = 128;

function nestsDeeper(json: string, max: number): boolean {
  let depth = 0;
  for (let i = 0; i < json.length; i++) {
    const char = json[i];
    if (char === '"') { while (++i < json.length && json[i] !== '"') if (json[i] === "\\") i++; }
    if ((char === "{" || char === "[") && ++depth > max) return true;
    if (char === "}" || char === "]") depth--;
  }
  return false;
}

/** What arguments say; those that were cut off, or nest deeper than anything means, stay text. */
function parsed(json: string): unknown {
  if (nestsDeeper(json, ARGUMENTS_DEPTH_MAX)) return json;
  try {
    return JSON.parse(json) as unknown;
  } catch {
    return json;
  }
}

/** Nine letters and digits for any id: what Mistral's templates insist on. */
function shortId(id: string): string {
  if (/^[a-zA-Z0-9]{9}$/.test(id)) return id;
  let a = 0x811c9dc5, b = 0x1234567;
  for (let i = 0; i < id.length; i++) {
    a = Math.imul(a ^ id.charCodeAt(i), 0x01000193);
    b = Math.imul(b + id.charCodeAt(i), 0x9e3779b1) ^ (a >>> 7);
  }
  return ((a >>> 0).toString(36) + (b >>> 0).toString(36)).padStart(9, "0").slice(-9);
}

/** Messages for a template. `shortIds`: calls are named by nine letters and digits. */
export function templateMessages(
  messages: readonly ChatMessage[],
  style: CallStyle,
  shortIds: boolean,
): TemplateMessage[] {
  const idOf = (id: string): string => shortIds ? shortId(id) : id;
  const called = new Map(messages.flatMap(({ toolCalls = [] }) => toolCalls.map(({ id, name }) => [id, name])));
  return messages.map((message) => {
    const { role, content, reasoning, toolCalls = [], toolCallId } = message;
    const isCall = toolCalls.length > 0;
    const name = message.name ?? (toolCallId === undefined ? undefined : called.get(toolCallId));
    return {
      role,
      content: isCall && style.nullContent ? null : content,
      ...(name === undefined ? {} : { name }),
      ...(reasoning === undefined || reasoning === "" ? {} : { reasoning_content: reasoning }),
      ...(!isCall ? {} : {
        tool_calls: toolCalls.map((call) => ({
          id: idOf(call.id),
          type: "function" as const,
          function: { name: call.name, arguments: style.objects ? parsed(call.arguments) : call.arguments },
        })),
      }),
      ...(toolCallId === undefined ? {} : { tool_call_id: idOf(toolCallId) }),
    };
  });
}

/** Tools for a template; null for none. */
export function templateTools(tools: readonly ToolDefinition[] | undefined): TemplateTool[] | null {
  if (tools === undefined || tools.length === 0) return null;
  return tools.map(({ name, description, parameters }) => ({
    type: "function",
    function: {
      name,
      ...(description === undefined ? {} : { description }),
      parameters: parameters ?? { type: "object", properties: {} },
    },
  }));
}

function jsonOf(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** Calls as the format has them. */
function writeCalls(calls: readonly TemplateCall[], format: ToolFormat): string {
  const [open, separator, close] = format.list;
  const [head, middle, tail] = format.call;
  const each = calls.map((call) => head + call.function.name + middle + jsonOf(call.function.arguments) + tail);
  return open + each.join(separator) + close;
}

/** What a model is told of tools that its template does not show. */
function describeTools(tools: readonly TemplateTool[], format: ToolFormat): string {
  const example = { id: "", type: "function", function: { name: "NAME", arguments: "{ARGUMENTS}" } } as const;
  return [
    "You have these tools, each given by its name, its purpose and the JSON schema of its arguments:",
    ...tools.map((tool) => JSON.stringify(tool.function)),
    "When a tool helps, call it by writing exactly this and nothing after it, with its name and its arguments as JSON:",
    writeCalls([example], format),
    "The results come in the next message. When no tool is needed, answer directly.",
  ].join("\n");
}

function withSystemText(messages: readonly TemplateMessage[], text: string, role: string): TemplateMessage[] {
  const at = messages.findIndex((message) => message.role === role);
  if (role === "system" && at !== 0) return [{ role, content: text }, ...messages];
  return messages.map((message, i) =>
    i === at ? { ...message, content: `${message.content ?? ""}\n\n${text}` } : message
  );
}

/** Calls and results as plain messages, for templates that know neither. */
function plainMessages(messages: readonly TemplateMessage[], format: ToolFormat): TemplateMessage[] {
  const plain: TemplateMessage[] = [];
  let inResults = false;
  for (const { tool_calls, tool_call_id: _id, ...message } of messages) {
    if (message.role === "tool") {
      // Plain words: marks are only copied by models that never learnt them.
      const result = `Result${message.name === undefined ? "" : ` of ${message.name}`}:\n${message.content}`;
      const last = plain.at(-1)!;
      if (inResults) last.content += `\n\n${result}`;
      else plain.push({ role: "user", content: result });
    } else if (tool_calls !== undefined) {
      const written = writeCalls(tool_calls, format);
      plain.push({ ...message, content: message.content ? `${message.content}\n${written}` : written });
    } else plain.push({ ...message });
    inResults = message.role === "tool";
  }
  return plain;
}

/**
 * Inputs to try, the first that the template takes counts. A template that shows tools and calls gets them as they
 * are. For one that does not, tools are described in the system message (in the first user message where the template
 * refuses a system message), calls and results are written as the model's format has them.
 */
export function templateInputs(input: TemplateInput, template: string, format: ToolFormat): TemplateInput[] {
  const messages = /\btool_calls\b/.test(template) ? input.messages : plainMessages(input.messages, format);
  if (input.tools === null || showsTools(template)) return [{ messages, tools: input.tools }];
  const text = describeTools(input.tools, format);
  const inputs: TemplateInput[] = [{ messages: withSystemText(messages, text, "system"), tools: null }];
  const hasSystem = messages[0]?.role === "system";
  if (!hasSystem) inputs.push({ messages: withSystemText(messages, text, "user"), tools: null });
  return inputs;
}
