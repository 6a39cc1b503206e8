/** Messages of a chat request. */
import { Buffer } from "node:buffer";
import type { ChatMessage, ToolCall } from "../../types.ts";
import { unsupported } from "../errors.ts";
import { Fields } from "../fields.ts";
import { readFunctionType, readName } from "./tools.ts";

/** Roles that are taken, and what the template is given: `developer` is the newer name of `system`. */
const ROLES: Readonly<Record<string, string>> = {
  system: "system",
  developer: "system",
  user: "user",
  assistant: "assistant",
  tool: "tool",
  function: "tool",
};
/** Fields of messages that the API has and this server has not; `null`, as clients send back answers, may stand. */
const DEFINED = ["audio", "refusal", "tool_calls", "function_call", "tool_call_id", "reasoning_content", "reasoning"];

/** A text, or parts that are all texts: those become lines. */
function readContent(fields: Fields): string {
  const value = fields.any("content");
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return fields.wrong("content", value, "a string or an array of text parts");
  return value.map((one: unknown, i) => {
    const part = new Fields(one, `${fields.param("content")}[${i}]`);
    const type = part.required("type", part.string("type"), `"text"`);
    if (type !== "text") throw unsupported(part.param("type"), `${part.param("type")}: only text parts are supported`);
    const text = part.required("text", part.string("text"), "a string");
    part.refuseRest();
    return text;
  }).join("\n");
}

function readCall(value: unknown, param: string): ToolCall {
  const fields = new Fields(value, param);
  const id = fields.required("id", fields.string("id"), "the call's id");
  readFunctionType(fields);
  fields.number("index", 0, Number.MAX_SAFE_INTEGER, true); // clients send back what they put together from a stream
  const called = readCalled(fields.required("function", fields.object("function"), "an object"));
  fields.refuseRest();
  return { id, ...called };
}

function readCalled(fields: Fields): Pick<ToolCall, "name" | "arguments"> {
  const name = readName(fields);
  const json = fields.required("arguments", fields.string("arguments"), "JSON text");
  fields.any("parsed_arguments"); // the same again, as OpenAI's client keeps it beside
  fields.refuseRest();
  return { name, arguments: json };
}

/** What only assistants have: calls and reasoning. `index` numbers the messages. */
function readAnswer(fields: Fields, index: number): Pick<ChatMessage, "toolCalls" | "reasoning"> {
  const list = fields.array("tool_calls") ?? [];
  const toolCalls = list.map((one, i) => readCall(one, `${fields.param("tool_calls")}[${i}]`));
  const called = fields.object("function_call");
  if (called !== undefined) toolCalls.push({ id: functionId(index), ...readCalled(called) });
  const reasoning = fields.string("reasoning_content") ?? fields.string("reasoning");
  return {
    ...(toolCalls.length > 0 ? { toolCalls } : {}),
    ...(reasoning === undefined ? {} : { reasoning }),
  };
}

/** The id of a call by the elder API, which has none; its result is the next message. */
function functionId(index: number): string {
  return `function${String(index).padStart(5, "0")}`;
}

function readMessage(value: unknown, index: number): ChatMessage {
  const fields = new Fields(value, `messages[${index}]`);
  const role = fields.required("role", fields.string("role"), "a string");
  if (!Object.hasOwn(ROLES, role)) fields.wrong("role", role, `one of ${Object.keys(ROLES).join(", ")}`);
  const isEmpty = (list: unknown): boolean => Array.isArray(list) && list.length === 0;
  fields.neutral("annotations", isEmpty, "an empty array");
  const answer = role === "assistant" ? readAnswer(fields, index) : {};
  const name = fields.string("name");
  if (role === "function" && name === undefined) fields.wrong("name", undefined, "the function's name");
  const toolCallId = role === "tool"
    ? fields.required("tool_call_id", fields.string("tool_call_id"), "the id of a call")
    : role === "function"
    ? functionId(index - 1)
    : undefined;
  const mayBeEmpty = answer.toolCalls !== undefined && fields.any("content") === undefined;
  const content = mayBeEmpty ? "" : readContent(fields);
  if (role === "assistant") fields.any("parsed"); // what OpenAI's client made of the content
  fields.refuseRest(DEFINED);
  return {
    role: ROLES[role]!,
    content,
    ...(name === undefined ? {} : { name }),
    ...answer,
    ...(toolCallId === undefined ? {} : { toolCallId }),
  };
}

/** The conversation of a body; throws 400 with the field's name. */
export function readMessages(fields: Fields): ChatMessage[] {
  const list = fields.required("messages", fields.array("messages"), "an array of messages");
  if (list.length === 0) fields.wrong("messages", list, "at least one message");
  return list.map(readMessage);
}

/** Whether texts together have more bytes in UTF-8. */
export function exceeds(texts: readonly string[], bytesMax: number): boolean {
  const units = texts.reduce((sum, { length }) => sum + length, 0);
  if (units * 3 <= bytesMax || units > bytesMax) return units > bytesMax;
  return texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0) > bytesMax;
}
