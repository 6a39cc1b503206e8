/** Messages of Anthropic's API: turns of blocks, as messages that chat templates know. */
import type { ChatMessage, ToolCall } from "../../types.ts";
import { invalid, unsupported } from "../errors.ts";
import { Fields } from "../fields.ts";
import { readCacheControl } from "./cache_control.ts";

/** A message being put together from blocks, and what the rest of the conversation must agree with. */
class Turns {
  readonly messages: ChatMessage[] = [];
  /** Names of the calls so far, by id. */
  readonly calls = new Map<string, string>();
  readonly #answered = new Set<string>();

  /** The turn that goes on, when it is the same role's: the API joins turns that follow each other. */
  turn(role: "user" | "assistant"): ChatMessage {
    const last = this.messages.at(-1);
    if (last?.role === role) return last;
    const message: ChatMessage = { role, content: "" };
    this.messages.push(message);
    return message;
  }

  call(fields: Fields, call: ToolCall): void {
    if (this.calls.has(call.id)) throw invalid(fields.param("id"), `${fields.param("id")}: used before`);
    this.calls.set(call.id, call.name);
    const turn = this.turn("assistant");
    turn.toolCalls = [...turn.toolCalls ?? [], call];
  }

  result(fields: Fields, id: string, content: string): void {
    const param = fields.param("tool_use_id");
    const name = this.calls.get(id);
    if (name === undefined) throw invalid(param, `${param}: no tool_use before it has this id`);
    if (this.#answered.has(id)) throw invalid(param, `${param}: this tool_use has a result already`);
    this.#answered.add(id);
    this.messages.push({ role: "tool", content, name, toolCallId: id });
  }
}

/** Blocks that show or hold what only the hosted service can. */
const FOREIGN_BLOCKS: Readonly<Record<string, string>> = {
  image: "images are not supported",
  document: "documents are not supported",
  search_result: "search results are not supported, send them as text",
  redacted_thinking: "only the service that made it can read it",
};

function blockOf(value: unknown, path: string): { block: Fields; type: string } {
  const block = new Fields(value, path);
  return { block, type: block.required("type", block.string("type"), "a block's type") };
}

function refuseBlock(block: Fields, type: string, expected: string): never {
  const why = Object.hasOwn(FOREIGN_BLOCKS, type) ? FOREIGN_BLOCKS[type]! : `${expected} are supported here`;
  throw unsupported(block.param("type"), `${block.param("type")}: got ${JSON.stringify(type.slice(0, 40))}: ${why}`);
}

/** The text of a `text` block. */
function textOf(block: Fields): string {
  const text = block.required("text", block.string("text"), "a string");
  readCacheControl(block);
  block.neutral("citations", (value) => Array.isArray(value) && value.length === 0, "an empty array");
  block.refuseRest();
  return text;
}

/** A string, or `text` blocks, each on a line of its own. */
function readText(fields: Fields, name: string): string | undefined {
  const value = fields.any(name);
  if (value === undefined || typeof value === "string") return value;
  if (!Array.isArray(value)) return fields.wrong(name, value, "a string or an array of text blocks");
  return value.map((one: unknown, i) => {
    const { block, type } = blockOf(one, `${fields.param(name)}[${i}]`);
    return type === "text" ? textOf(block) : refuseBlock(block, type, "only text blocks");
  }).join("\n");
}

function readResult(block: Fields, turns: Turns): void {
  const id = block.required("tool_use_id", block.string("tool_use_id"), "the id of a tool_use block");
  const content = readText(block, "content") ?? "";
  // Templates have no place for it, so the model reads it in the text.
  const isError = block.boolean("is_error") ?? false;
  readCacheControl(block);
  block.refuseRest(["toolset_name"]);
  turns.result(block, id, isError ? `Error: ${content}` : content);
}

function readUserBlock(value: unknown, path: string, turns: Turns): void {
  const { block, type } = blockOf(value, path);
  if (type === "tool_result") return readResult(block, turns);
  if (type !== "text") refuseBlock(block, type, "only text and tool_result blocks");
  const turn = turns.turn("user");
  turn.content = turn.content === "" ? textOf(block) : `${turn.content}\n${textOf(block)}`;
}

function readCall(block: Fields, turns: Turns): void {
  const id = block.required("id", block.string("id"), "a string");
  const name = block.required("name", block.string("name"), "a tool's name");
  const input = block.required("input", block.any("input"), "an object");
  if (typeof input !== "object" || Array.isArray(input)) block.wrong("input", input, "an object");
  readCacheControl(block);
  const isDirect = (value: unknown): boolean => (value as { type?: unknown }).type === "direct";
  block.neutral("caller", isDirect, `{"type": "direct"}`);
  block.refuseRest(["toolset_name"]);
  turns.call(block, { id, name, arguments: JSON.stringify(input) });
}

function readThinking(block: Fields, turns: Turns): void {
  const thinking = block.required("thinking", block.string("thinking"), "a string");
  block.string("signature"); // there is nothing to be proved
  block.refuseRest();
  const turn = turns.turn("assistant");
  turn.reasoning = (turn.reasoning ?? "") + thinking;
}

function readAssistantBlock(value: unknown, path: string, turns: Turns): void {
  const { block, type } = blockOf(value, path);
  if (type === "tool_use") return readCall(block, turns);
  if (type === "thinking") return readThinking(block, turns);
  if (type !== "text") refuseBlock(block, type, "only text, thinking and tool_use blocks");
  // Citations cut a sentence into blocks: together they are the text.
  turns.turn("assistant").content += textOf(block);
}

function readMessage(value: unknown, index: number, turns: Turns): void {
  const fields: Fields = new Fields(value, `messages[${index}]`);
  const role = fields.required("role", fields.string("role"), "a string");
  if (role === "system") {
    const content = fields.required("content", readText(fields, "content"), "a string or an array of text blocks");
    turns.messages.push({ role, content });
  } else if (role === "user" || role === "assistant") {
    const content = fields.any("content");
    const blocks: unknown = typeof content === "string" ? [{ type: "text", text: content }] : content;
    if (!Array.isArray(blocks)) fields.wrong("content", content, "a string or an array of blocks");
    if (role === "user" && blocks.length === 0) fields.wrong("content", blocks, "at least one block");
    if (role === "assistant") turns.turn(role); // an answer may have been empty
    const path = fields.param("content");
    const read = role === "user" ? readUserBlock : readAssistantBlock;
    for (const [i, one] of blocks.entries()) read(one, typeof content === "string" ? path : `${path}[${i}]`, turns);
  } else fields.wrong("role", role, `"user" or "assistant"`);
  fields.refuseRest();
}

/** The turns of a body, and the text that an answer is to go on from when the last turn is the assistant's. */
export function readConversation(fields: Fields): { messages: ChatMessage[]; prefill: string } {
  const system = readText(fields, "system");
  const list = fields.required("messages", fields.array("messages"), "an array of messages");
  if (list.length === 0) fields.wrong("messages", list, "at least one message");
  const turns = new Turns();
  for (const [index, value] of list.entries()) readMessage(value, index, turns);
  const { messages } = turns;
  const last = messages.at(-1);
  let prefill = "";
  if (last?.role === "assistant") {
    prefill = readPrefill(last);
    messages.pop();
  }
  if (!messages.some(({ role }) => role === "user")) fields.wrong("messages", list, "a message of the user");
  return { messages: system === undefined ? messages : [{ role: "system", content: system }, ...messages], prefill };
}

function readPrefill({ content, reasoning, toolCalls }: ChatMessage): string {
  if (toolCalls !== undefined) {
    throw invalid("messages", "messages: the last message has tool_use blocks, expected a tool_result for each");
  }
  if (reasoning !== undefined) throw unsupported("messages", "messages: the last message can't begin with thinking");
  if (content.trimEnd() !== content) {
    throw invalid("messages", "messages: the last message is the assistant's and ends with white space");
  }
  return content;
}
