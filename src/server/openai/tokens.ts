/** POST /tokenize and /detokenize, as vLLM has them. */
import { othersFirst, Turns } from "../../turns.ts";
import { invalid, tooLarge } from "../errors.ts";
import { Fields } from "../fields.ts";
import { answerWith, LongList } from "../long_json.ts";
import { checkConversationBytes, encodeConversation, LONG_TEXT } from "../prompt.ts";
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
  } else {
    if (prompt!.length > LONG_TEXT) await othersFirst();
    tokens = await model.tokenize(prompt!, { addSpecial, special, signal });
  }
  const list = new LongList(tokens.length, (i) => tokens[i]);
  return answerWith({ count: tokens.length, max_model_len: model.info.contextSize, tokens: list });
}

/** Tokens that are made text at a time. */
const DETOKENIZED_MAX = 250_000;
/** Tokens between two looks at the clock. */
const CHECKED_AT_ONCE = 1 << 14;

/** Text of `tokens`. */
export async function detokenize({ service, body }: RouteContext): Promise<Response> {
  const fields = new Fields(body);
  const { model } = modelOf(service, fields);
  const tokens = fields.required("tokens", fields.array("tokens"), "token ids");
  fields.refuseRest();
  if (tokens.length > DETOKENIZED_MAX) throw tooLarge(`there are more than ${DETOKENIZED_MAX} tokens`);
  const { vocabSize } = model.info;
  const ids = new Int32Array(tokens.length);
  const turns = new Turns();
  for (const [i, one] of tokens.entries()) {
    if (!Number.isInteger(one) || (one as number) < 0 || (one as number) >= vocabSize) {
      fields.wrong(`tokens[${i}]`, one, `a token id below ${vocabSize}`);
    }
    ids[i] = one as number;
    if (i % CHECKED_AT_ONCE === 0 && turns.isOver) await turns.pass();
  }
  return answerWith({ prompt: await model.detokenize(ids) });
}
