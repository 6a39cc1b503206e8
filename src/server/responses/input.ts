/** `instructions` and `input` of the Responses API as a conversation. */
import { othersFirst } from "../../turns.ts";
import type { ChatMessage } from "../../types.ts";
import { invalid, unsupported } from "../errors.ts";
import { Fields } from "../fields.ts";

/** Roles of messages, and what the template is given: `developer` is the newer name of `system`. */
const ROLES: Readonly<Record<string, string>> = {
  system: "system",
  developer: "system",
  user: "user",
  assistant: "assistant",
};
/** Items that are read in one go: about a millisecond. */
const SLICE_ITEMS = 512;
/** Fields of parts and items that say nothing about the conversation, or are the API's to fill. */
const ECHOED = ["id", "status"];

/** An answer of the model that its items add up to: reasoning, a text, calls. */
interface Turn {
  reasoning: string[];
  texts: string[];
  calls: { id: string; name: string; arguments: string }[];
}

/** Reads what may stand in an item or a part and changes nothing. */
function readEchoed(fields: Fields, names: readonly string[] = ECHOED): void {
  for (const name of names) fields.string(name);
}

function isEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0;
}

/** The text of one part. */
function readPart(fields: Fields, types: readonly string[]): string {
  const expected = types.map((type) => JSON.stringify(type)).join(" or ");
  const type = fields.required("type", fields.string("type"), expected);
  if (!types.includes(type)) {
    throw unsupported(fields.param("type"), `${fields.param("type")}: only parts of type ${expected} are taken here`);
  }
  const text = fields.required("text", fields.string("text"), "a string");
  if (type === "output_text") {
    fields.neutral("annotations", isEmptyList, "an empty array");
    fields.any("logprobs"); // an answer's, sent back
    fields.any("parsed"); // the text again, as OpenAI's client keeps it beside
  }
  fields.refuseRest(["prompt_cache_breakpoint"]);
  return text;
}

/** A text, or parts that are all texts: those become lines. */
function readText(fields: Fields, name: string, types: readonly string[]): string {
  const value = fields.any(name);
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return fields.wrong(name, value, "a string or an array of text parts");
  return value.map((one, i) => readPart(new Fields(one, `${fields.param(name)}[${i}]`), types)).join("\n");
}

/** Builds the conversation item by item; items of one answer become one message. */
class Reader {
  readonly messages: ChatMessage[] = [];
  readonly #names = new Map<string, string>();
  #turn: Turn | undefined;

  /** Ends the answer that is being put together. */
  flush(): void {
    if (this.#turn === undefined) return;
    const { reasoning, texts, calls } = this.#turn;
    this.#turn = undefined;
    this.messages.push({
      role: "assistant",
      content: texts.join("\n"),
      ...(reasoning.length === 0 ? {} : { reasoning: reasoning.join("\n") }),
      ...(calls.length === 0 ? {} : { toolCalls: calls }),
    });
  }

  #answer(): Turn {
    return this.#turn ??= { reasoning: [], texts: [], calls: [] };
  }

  read(value: unknown, index: number): void {
    const fields = new Fields(value, `input[${index}]`);
    const type = fields.string("type") ?? "message";
    switch (type) {
      case "message":
        return this.#message(fields);
      case "function_call":
        return this.#call(fields);
      case "function_call_output":
        return this.#output(fields);
      case "reasoning":
        return this.#reasoning(fields);
      case "item_reference":
        throw unsupported(
          fields.param("type"),
          `${fields.param("type")}: this server keeps no responses, so that items can't be referred to: send them`,
        );
      default:
        throw unsupported(fields.param("type"), `${fields.param("type")}: items of this type are not supported`);
    }
  }

  #message(fields: Fields): void {
    const role = fields.required("role", fields.string("role"), "a string");
    if (!Object.hasOwn(ROLES, role)) fields.wrong("role", role, `one of ${Object.keys(ROLES).join(", ")}`);
    const isAnswer = role === "assistant";
    const content = readText(fields, "content", isAnswer ? ["output_text", "input_text"] : ["input_text"]);
    readEchoed(fields);
    fields.refuseRest(["phase", "name"]);
    if (!isAnswer) {
      this.flush();
      this.messages.push({ role: ROLES[role]!, content });
      return;
    }
    // Two texts of the assistant in a row are two answers; reasoning before and calls around one belong to it.
    if (this.#turn !== undefined && this.#turn.texts.length > 0) this.flush();
    this.#answer().texts.push(content);
  }

  #call(fields: Fields): void {
    const id = fields.required("call_id", fields.string("call_id"), "the id of a call");
    const name = fields.required("name", fields.string("name"), "a tool's name");
    const args = fields.required("arguments", fields.string("arguments"), "JSON text");
    if (this.#names.has(id)) {
      throw invalid(fields.param("call_id"), `${fields.param("call_id")}: two calls have this id`);
    }
    // A call that was cut off may come back as it is.
    if (fields.string("status") !== "incomplete") checkArguments(fields, args);
    readEchoed(fields);
    fields.any("parsed_arguments"); // the arguments again
    fields.neutral("async", (given) => given === false, "false");
    fields.refuseRest(["caller", "namespace"]);
    this.#names.set(id, name);
    this.#answer().calls.push({ id, name, arguments: args });
  }

  #output(fields: Fields): void {
    const id = fields.required("call_id", fields.string("call_id"), "the id of a call");
    const name = this.#names.get(id);
    if (name === undefined) {
      const message = `${fields.param("call_id")}: no function_call with this id came before`;
      throw invalid(fields.param("call_id"), message);
    }
    const content = readText(fields, "output", ["input_text"]);
    readEchoed(fields);
    const given = fields.string("name");
    if (given !== undefined && given !== name) fields.wrong("name", given, "the name of the function that was called");
    fields.refuseRest(["caller"]);
    this.flush();
    this.messages.push({ role: "tool", toolCallId: id, name, content });
  }

  #reasoning(fields: Fields): void {
    const readTexts = (name: string, type: string): string[] =>
      (fields.array(name) ?? []).map((one, i) => readPart(new Fields(one, `${fields.param(name)}[${i}]`), [type]));
    const summary = readTexts("summary", "summary_text");
    const content = readTexts("content", "reasoning_text");
    readEchoed(fields);
    fields.refuseRest(["encrypted_content"]);
    // What was thought, or as much as is told of it. It comes before the text and the calls of its answer.
    if (this.#turn !== undefined && this.#turn.texts.length + this.#turn.calls.length > 0) this.flush();
    this.#answer().reasoning.push(...(content.length > 0 ? content : summary));
  }
}

/** Arguments of a call are an object's JSON text: templates write the object. */
function checkArguments(fields: Fields, json: string): void {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    value = undefined;
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return;
  throw invalid(fields.param("arguments"), `${fields.param("arguments")}: not the JSON text of an object`);
}

/** The instructions come first: with a system message at the start of the input they are one. */
function withInstructions(instructions: string | undefined, messages: ChatMessage[]): ChatMessage[] {
  if (instructions === undefined || instructions === "") return messages;
  const [first, ...rest] = messages;
  if (first?.role !== "system") return [{ role: "system", content: instructions }, ...messages];
  return [{ role: "system", content: `${instructions}\n\n${first.content}` }, ...rest];
}

/** The conversation of a body; throws 400 with the field's name. Long inputs are read in slices, as others wait. */
export async function readInput(fields: Fields): Promise<ChatMessage[]> {
  const expected = "a string or an array of items";
  const input = fields.required("input", fields.any("input"), expected);
  const instructions = fields.string("instructions");
  if (typeof input === "string") return withInstructions(instructions, [{ role: "user", content: input }]);
  if (!Array.isArray(input)) return fields.wrong("input", input, expected);
  if (input.length === 0) fields.wrong("input", input, "at least one item");
  const reader = new Reader();
  for (const [index, one] of input.entries()) {
    if (index > 0 && index % SLICE_ITEMS === 0) await othersFirst();
    reader.read(one, index);
  }
  reader.flush();
  return withInstructions(instructions, reader.messages);
}
