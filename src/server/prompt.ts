/** From a conversation to the tokens that an answer continues. */
import { textsOf } from "../text/texts_of.ts";
import { othersFirst } from "../turns.ts";
import type { ChatMessage, TemplateValue, ToolDefinition } from "../types.ts";
import { tooLarge } from "./errors.ts";
import { exceeds } from "./openai/messages.ts";
import type { ServedModel } from "./served_model.ts";

/** A conversation as an API's body gives it. */
export interface Conversation {
  messages: ChatMessage[];
  tools: readonly ToolDefinition[];
  templateValues: Readonly<Record<string, TemplateValue>>;
  /** Text the answer is to begin with: it goes on from there, and is not told again. */
  prefill: string;
}

/** 413 when the texts of a conversation have more than `bytesMax` bytes, those of its tools included. */
export function checkConversationBytes({ messages, tools, prefill }: Conversation, bytesMax: number): void {
  const texts = messages.flatMap(({ content, reasoning = "", toolCalls = [] }) => [
    content,
    reasoning,
    ...toolCalls.map((call) => call.arguments),
  ]);
  if (exceeds([...texts, prefill, ...textsOf(tools)], bytesMax)) {
    throw tooLarge(`the messages have more than ${bytesMax} bytes`);
  }
}

/** Messages from which on reading a conversation and sending it off are two pieces of work. */
const LONG_MESSAGES = 1000;
/** Characters of a text for which that is so. */
export const LONG_TEXT: number = 1 << 18;

/** Its tokens, as the chat template writes it. */
export async function encodeConversation(
  model: ServedModel,
  { messages, tools, templateValues, prefill }: Conversation,
  signal: AbortSignal,
): Promise<Int32Array> {
  const isLong = messages.length > LONG_MESSAGES ||
    messages.reduce((sum, { content }) => sum + content.length, 0) > LONG_TEXT;
  if (isLong || tools.length > 0) await othersFirst();
  const offered = tools.length === 0 ? undefined : tools;
  const tokens = await model.tokenize(messages, { tools: offered, templateValues, signal });
  if (prefill === "") return tokens;
  const more = await model.tokenize(prefill, { special: false, addSpecial: false, signal });
  const both = new Int32Array(tokens.length + more.length);
  both.set(tokens);
  both.set(more, tokens.length);
  return both;
}
