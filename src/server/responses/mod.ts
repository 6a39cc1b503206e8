/** POST /v1/responses. */
import { RealizarError } from "../../errors.ts";
import { ApiError, toApiError } from "../errors.ts";
import { Fields } from "../fields.ts";
import { checkRoom } from "../openai/respond.ts";
import { checkConversationBytes, encodeConversation } from "../prompt.ts";
import type { RouteContext } from "../route.ts";
import { readRequest, type WantedResponse } from "./request.ts";
import { respond } from "./respond.ts";

/** What the chat template refuses is in the input, as this API calls the conversation. */
function atInput(thrown: unknown): unknown {
  if (!(thrown instanceof RealizarError) || thrown.code !== "TEMPLATE") return thrown;
  return new ApiError(422, "invalid_request_error", "template_error", thrown.message, { param: "input" });
}

/** What a generation refuses before it begins is the grammar of its answer: the format's, or a tool's. */
function atGrammar(thrown: unknown, { conversation, options: { schema, tools = [] } }: WantedResponse): unknown {
  if (!(thrown instanceof RealizarError) || (schema === undefined && tools.length === 0)) return thrown;
  const { status, type, code, message } = toApiError(thrown);
  if (status !== 400) return thrown;
  const tool = tools[Number(/^tools\[(\d+)\]/.exec(message)?.[1])];
  const place = schema === undefined ? "tools" : tools.length === 0 ? "text.format.schema" : undefined;
  const param = tool === undefined ? place : `tools[${conversation.tools.indexOf(tool)}].parameters`;
  return new ApiError(status, type, code, message, { param });
}

/** Answers a conversation. Nothing of it is kept. */
export async function createResponse(context: RouteContext): Promise<Response> {
  const { service, request, body } = context;
  const fields = new Fields(body);
  const named = service.modelOf(fields);
  service.checkReady();
  const wanted = await readRequest(fields, named);
  checkConversationBytes(wanted.conversation, service.limits.promptBytes);
  const job = service.admit(named, 1, context);
  try {
    const tokens = await encodeConversation(named.model, wanted.conversation, request.signal);
    checkRoom(tokens.length, named.model.info.contextSize, "input");
    await job.start([{ tokens, options: wanted.options }]);
  } catch (error) {
    job.close();
    throw atInput(error);
  }
  try {
    return await respond({ service, job, wanted });
  } catch (error) {
    throw atGrammar(error, wanted);
  }
}
