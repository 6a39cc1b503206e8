/** POST /api/chat. */
import { invalid, jsonResponse, unsupported } from "../errors.ts";
import { Fields } from "../fields.ts";
import { checkRoom } from "../openai/respond.ts";
import { checkConversationBytes, encodeConversation } from "../prompt.ts";
import type { RouteContext } from "../route.ts";
import { readConversation, readTools } from "./conversation.ts";
import { ollamaModelOf, readKeepAlive, readThink, readWanted } from "./options.ts";
import { respond, type Said } from "./respond.ts";

/** A message of the assistant. */
function shapeOf({ text, thinking, calls }: Said): Record<string, unknown> {
  const message: Record<string, unknown> = { role: "assistant", content: text };
  if (thinking !== "") message.thinking = thinking;
  if (calls.length > 0) message.tool_calls = calls;
  return { message };
}

/** The answer to a request without a prompt, by which clients have a model loaded, as it is; unloading is refused. */
export function loadedAnswer(model: string, shape: Record<string, unknown>, asksToUnload: boolean): Response {
  if (asksToUnload) throw unsupported("keep_alive", "keep_alive: this server does not unload its models");
  return jsonResponse({ model, created_at: new Date().toISOString(), ...shape, done: true, done_reason: "load" });
}

/** What of `num_predict` fits into the context that is to be used; 400 when the prompt fills it. */
export function roomFor(nTokens: number, contextSize: number, maxTokens: number | undefined, param: string): number {
  checkRoom(nTokens, contextSize, param);
  return Math.min(maxTokens ?? contextSize, contextSize - nTokens);
}

/** Answers a conversation. */
export async function chat(context: RouteContext): Promise<Response> {
  const { service, request, body, startedAt } = context;
  const fields = new Fields(body);
  const named = ollamaModelOf(service, fields);
  const { model, name } = named;
  service.checkReady();
  const { messages, prefill } = readConversation(fields);
  const tools = readTools(fields);
  const wanted = readWanted(fields, model.info.contextSize);
  if (prefill !== "" && wanted.options.schema !== undefined) {
    throw invalid("messages", "messages: the last message can't be the assistant's together with format");
  }
  const asksToUnload = readKeepAlive(fields);
  const templateValues = await readThink(fields, model);
  fields.refuseRest();
  if (messages.length === 0) {
    return loadedAnswer(name, shapeOf({ text: "", thinking: "", calls: [] }), asksToUnload);
  }
  const conversation = { messages, tools, templateValues, prefill };
  checkConversationBytes(conversation, service.limits.promptBytes);
  const job = service.admit(named, 1, context);
  try {
    const tokens = await encodeConversation(model, conversation, request.signal);
    const maxTokens = roomFor(tokens.length, wanted.contextSize, wanted.options.maxTokens, "messages");
    const offered = tools.length === 0 ? {} : { tools };
    const options = { ...wanted.options, ...offered, maxTokens, answer: true, templateValues };
    await job.start([{ tokens, options }]);
  } catch (error) {
    job.close();
    throw error;
  }
  const { stream, logprobs } = wanted;
  return await respond({ service, job, startedAt, stream, logprobs, splits: true, shape: shapeOf });
}
