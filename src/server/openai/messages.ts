/** Messages of a chat request. */
import type { ChatMessage } from "../../types.ts";
import { tooLarge, unsupported } from "../errors.ts";
import { Fields } from "../fields.ts";

/** Roles that are taken, and what the template is given: `developer` is the newer name of `system`. */
const ROLES: Readonly<Record<string, string>> = {
  system: "system",
  developer: "system",
  user: "user",
  assistant: "assistant",
};
/** Roles of the API that need tools. */
const TOOL_ROLES = ["tool", "function"];
/** Fields of messages that the API has and this server has not; `null`, as clients send back answers, may stand. */
const DEFINED = ["name", "tool_call_id", "function_call", "audio", "refusal", "reasoning_content", "reasoning"];

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

function readMessage(value: unknown, index: number): ChatMessage {
  const fields = new Fields(value, `messages[${index}]`);
  const role = fields.required("role", fields.string("role"), "a string");
  if (TOOL_ROLES.includes(role)) throw unsupported(fields.param("role"), `${fields.param("role")}: no tools yet`);
  if (!Object.hasOwn(ROLES, role)) fields.wrong("role", role, `one of ${Object.keys(ROLES).join(", ")}`);
  const isEmpty = (list: unknown): boolean => Array.isArray(list) && list.length === 0;
  fields.neutral("tool_calls", isEmpty, "an empty array");
  fields.neutral("annotations", isEmpty, "an empty array");
  const content = readContent(fields);
  fields.refuseRest(DEFINED);
  return { role: ROLES[role]!, content };
}

/** The conversation of a body; throws 400 with the field's name, 413 when it is longer than `bytesMax`. */
export function readMessages(fields: Fields, bytesMax: number): ChatMessage[] {
  const list = fields.required("messages", fields.array("messages"), "an array of messages");
  if (list.length === 0) fields.wrong("messages", list, "at least one message");
  const messages = list.map(readMessage);
  if (exceeds(messages.map(({ content }) => content), bytesMax)) {
    throw tooLarge(`the messages have more than ${bytesMax} bytes`);
  }
  return messages;
}

/** Whether texts together have more bytes in UTF-8. */
export function exceeds(texts: readonly string[], bytesMax: number): boolean {
  const units = texts.reduce((sum, { length }) => sum + length, 0);
  if (units * 3 <= bytesMax || units > bytesMax) return units > bytesMax;
  return texts.reduce((sum, text) => sum + utf8Bytes(text), 0) > bytesMax;
}

/** Bytes of a text in UTF-8. */
function utf8Bytes(text: string): number {
  let nBytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    // A surrogate pair has four bytes, two for each of its units.
    if (unit >= 0x80) nBytes += unit >= 0x800 && (unit < 0xd800 || unit > 0xdfff) ? 2 : 1;
  }
  return nBytes;
}
