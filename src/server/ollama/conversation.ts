/** Messages and tools of Ollama's chat. */
import type { ChatMessage, ToolCall, ToolDefinition } from "../../types.ts";
import { invalid, unsupported } from "../errors.ts";
import { Fields } from "../fields.ts";
import { readFunctionType, readList, readName, readSchema } from "../openai/tools.ts";

const ROLES = ["system", "user", "assistant", "tool"];
/** Of the `index` that calls may carry, which says nothing. */
const CALL_INDEX_MAX = 2 ** 31 - 1;

/** Refuses pictures; clients send an empty list where there are none. */
export function refuseImages(fields: Fields): void {
  fields.neutral("images", (value) => Array.isArray(value) && value.length === 0, "an empty array (no images)");
}

/** Calls that wait for their results: Ollama's messages name the tool at most, and come in order. */
class Calls {
  readonly #open: ToolCall[] = [];
  readonly #ids = new Set<string>();

  /** A call's own id, or one that is free. */
  add(fields: Fields, given: string | undefined, name: string, json: string): ToolCall {
    if (given !== undefined && this.#ids.has(given)) {
      throw invalid(fields.param("id"), `${fields.param("id")}: used before`);
    }
    const call = { id: given ?? `call_${this.#ids.size}`, name, arguments: json };
    this.#ids.add(call.id);
    this.#open.push(call);
    return call;
  }

  /** The call that a result belongs to: by id, else the first of that name, else the first. */
  take(fields: Fields, id: string | undefined, name: string | undefined): ToolCall {
    const fits = (call: ToolCall): boolean =>
      id !== undefined ? call.id === id : name === undefined || call.name === name;
    const index = this.#open.findIndex(fits);
    if (index < 0) {
      throw invalid(fields.param("role"), `${fields.param("role")}: no call before it waits for this result`);
    }
    return this.#open.splice(index, 1)[0]!;
  }
}

function readCall(value: unknown, path: string, calls: Calls): ToolCall {
  const fields = new Fields(value, path);
  const id = fields.string("id");
  fields.neutral("type", (type) => type === "function", `"function"`);
  const target = fields.required("function", fields.object("function"), "an object");
  const name = target.required("name", target.string("name"), "a tool's name");
  const args = target.required("arguments", target.object("arguments"), "an object");
  target.number("index", 0, CALL_INDEX_MAX, true);
  target.refuseRest();
  fields.refuseRest();
  return calls.add(fields, id, name, JSON.stringify(Object.fromEntries(args.entries())));
}

function readMessage(value: unknown, index: number, calls: Calls): ChatMessage {
  const fields: Fields = new Fields(value, `messages[${index}]`);
  const role = fields.required("role", fields.string("role"), "a string");
  if (!ROLES.includes(role)) fields.wrong("role", role, `one of ${ROLES.join(", ")}`);
  const list = fields.array("tool_calls") ?? [];
  const given = fields.string("content");
  // Clients leave it out beside calls.
  const content = list.length > 0 ? given ?? "" : fields.required("content", given, "a string");
  const reasoning = fields.string("thinking");
  const toolName = fields.string("tool_name");
  const toolCallId = fields.string("tool_call_id");
  refuseImages(fields);
  fields.refuseRest();
  if (role === "tool") {
    const call = calls.take(fields, toolCallId, toolName);
    return { role, content, name: call.name, toolCallId: call.id };
  }
  const misplaced = toolName !== undefined ? "tool_name" : toolCallId !== undefined ? "tool_call_id" : undefined;
  if (misplaced !== undefined) {
    throw invalid(fields.param(misplaced), `${fields.param(misplaced)}: only allowed in messages of role tool`);
  }
  if (role !== "assistant" && (list.length > 0 || reasoning !== undefined)) {
    const name = list.length > 0 ? "tool_calls" : "thinking";
    throw invalid(fields.param(name), `${fields.param(name)}: only allowed in messages of role assistant`);
  }
  const toolCalls = list.map((one, i) => readCall(one, `${fields.param("tool_calls")}[${i}]`, calls));
  return {
    role,
    content,
    ...(reasoning === undefined || reasoning === "" ? {} : { reasoning }),
    ...(toolCalls.length === 0 ? {} : { toolCalls }),
  };
}

/** The turns of a body, none when the model is only to be loaded. An answer goes on from a last text of its own. */
export function readConversation(fields: Fields): { messages: ChatMessage[]; prefill: string } {
  const calls = new Calls();
  const messages = (fields.array("messages") ?? []).map((one, i) => readMessage(one, i, calls));
  const last = messages.at(-1);
  if (last?.role !== "assistant") return { messages, prefill: "" };
  if (last.toolCalls !== undefined) {
    throw invalid("messages", "messages: the last message has tool_calls, expected their results after it");
  }
  if (last.reasoning !== undefined) {
    throw unsupported("messages", "messages: the last message can't begin with thinking");
  }
  messages.pop();
  if (messages.length === 0) throw invalid("messages", "messages: expected a message of the user");
  return { messages, prefill: last.content };
}

function readTool(value: unknown, index: number): ToolDefinition {
  const fields = new Fields(value, `tools[${index}]`);
  readFunctionType(fields);
  const target = fields.required("function", fields.object("function"), "an object");
  const name = readName(target);
  const description = target.string("description");
  const parameters = readSchema(target, "parameters");
  target.refuseRest();
  fields.refuseRest();
  return { name, description, parameters };
}

/** Tools that the model may call. */
export function readTools(fields: Fields): ToolDefinition[] {
  return readList(fields, "tools", readTool);
}
