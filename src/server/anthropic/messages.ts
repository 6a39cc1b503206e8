/** POST /v1/messages and /v1/messages/count_tokens. */
import { invalid, jsonResponse } from "../errors.ts";
import { Fields } from "../fields.ts";
import { checkConversationBytes, encodeConversation } from "../prompt.ts";
import type { RouteContext } from "../route.ts";
import { atSchemaField, type SchemaFields } from "../schema_field.ts";
import { checkVersion, readRequest } from "./request.ts";
import { respond } from "./respond.ts";

const FIELDS: SchemaFields = {
  tool: (index) => `tools[${index}].input_schema`,
  schema: "output_config.format.schema",
};

/** Refuses a prompt that leaves no room for an answer, in the words by which clients know that they have to shorten. */
function checkRoom(nTokens: number, contextSize: number): void {
  if (nTokens < contextSize) return;
  const message = `prompt is too long: ${nTokens} tokens > ${contextSize - 1} maximum`;
  throw invalid("messages", message, "context_length_exceeded");
}

/** Answers a conversation. */
export async function createMessage(context: RouteContext): Promise<Response> {
  const { service, request, body, id } = context;
  checkVersion(request.headers);
  const fields = new Fields(body);
  const named = service.modelOf(fields);
  service.checkReady();
  const wanted = await readRequest(fields, named.model, false);
  checkConversationBytes(wanted.conversation, service.limits.promptBytes);
  const job = service.admit(named, 1, context);
  let nTokens: number;
  try {
    const tokens = await encodeConversation(named.model, wanted.conversation, request.signal);
    nTokens = tokens.length;
    checkRoom(nTokens, named.model.info.contextSize);
    await job.start([{ tokens, options: wanted.options }]);
  } catch (error) {
    job.close();
    throw error;
  }
  try {
    return await respond({ service, job, wanted, nTokens, id });
  } catch (error) {
    throw atSchemaField(error, FIELDS);
  }
}

/** Tells how many tokens a conversation has, and makes none. */
export async function countTokens({ service, request, body }: RouteContext): Promise<Response> {
  checkVersion(request.headers);
  const fields = new Fields(body);
  const { model } = service.modelOf(fields);
  service.checkReady();
  const { conversation } = await readRequest(fields, model, true);
  checkConversationBytes(conversation, service.limits.promptBytes);
  const tokens = await encodeConversation(model, conversation, request.signal);
  return jsonResponse({ input_tokens: tokens.length });
}
