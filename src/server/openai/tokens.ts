/** POST /tokenize and /detokenize, as vLLM has them. */
import { invalid, jsonResponse, tooLarge } from "../errors.ts";
import { Fields } from "../fields.ts";
import { checkConversationBytes, encodeConversation } from "../prompt.ts";
import type { RouteContext } from "../route.ts";
import type { Service } from "../service.ts";
import type { NamedModel } from "../served_model.ts";
import { readTemplateValues } from "./chat.ts";
import { exceeds, readMessages } from "./messages.ts";
import { readTools } from "./tools.ts";

/** The model of the body; where only one is served its name may be left out. */
function modelOf(service: Service, fields: Fields): NamedModel {
  const name = fields.string("model");
  const [only, ...others] = service.models();
  if (name === undefined && only !== undefined && others.length === 0) return only;
  service.checkReady();
  return service.model(fields.required("model", name, "a model's name"));
}

/** Tokens of `prompt`, or of `messages` as the chat template writes them. */
export async function tokenize({ service, request, body }: RouteContext): Promise<Response> {
  const { limits } = service;
  const { signal } = request;
  const fields = new Fields(body);
  const { model } = modelOf(service, fields);
  const prompt = fields.string("prompt");
  const addSpecial = fields.boolean("add_special_tokens") ?? true;
  const special = fields.boolean("parse_special") ?? false;
  const messages = prompt === undefined ? readMessages(fields) : undefined;
  const { tools } = readTools(fields);
  const templateValues = readTemplateValues(fields);
  if (prompt !== undefined && (tools.length > 0 || Object.keys(templateValues).length > 0)) {
    throw invalid("prompt", "prompt: tools and chat_template_kwargs belong to messages");
  }
  fields.refuseRest(["messages", "add_generation_prompt", "chat_template", "return_token_strs"]);
  if (prompt !== undefined && exceeds([prompt], limits.promptBytes)) {
    throw tooLarge(`the prompt has more than ${limits.promptBytes} bytes`);
  }
  let tokens: Int32Array;
  if (messages !== undefined) {
    const conversation = { messages, tools, templateValues, prefill: "" };
    checkConversationBytes(conversation, limits.promptBytes);
    tokens = await encodeConversation(model, conversation, signal);
  } else tokens = await model.tokenize(prompt!, { addSpecial, special, signal });
  return jsonResponse({ count: tokens.length, max_model_len: model.info.contextSize, tokens: [...tokens] });
}

/** Text of `tokens`. */
export async function detokenize({ service, body }: RouteContext): Promise<Response> {
  const fields = new Fields(body);
  const { model } = modelOf(service, fields);
  const tokens = fields.required("tokens", fields.array("tokens"), "token ids");
  fields.refuseRest();
  const isToken = (one: unknown): boolean => Number.isInteger(one) && (one as number) >= 0;
  const wrong = tokens.findIndex((one) => !isToken(one) || (one as number) >= model.info.vocabSize);
  if (wrong >= 0) fields.wrong(`tokens[${wrong}]`, tokens[wrong], `a token id below ${model.info.vocabSize}`);
  return jsonResponse({ prompt: await model.detokenize(tokens as number[]) });
}
