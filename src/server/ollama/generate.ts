/** POST /api/generate. */
import type { ChatMessage, TemplateValue } from "../../types.ts";
import { tooLarge, unsupported } from "../errors.ts";
import { Fields } from "../fields.ts";
import { exceeds } from "../openai/messages.ts";
import { encodeConversation } from "../prompt.ts";
import type { RouteContext } from "../route.ts";
import type { ServedModel } from "../served_model.ts";
import { loadedAnswer, roomFor } from "./chat.ts";
import { refuseImages } from "./conversation.ts";
import { ollamaModelOf, readKeepAlive, readThink, readWanted } from "./options.ts";
import { respond, type Said } from "./respond.ts";

/** What the API has for models that this server does not run, or templates that are not the model's own. */
const DEFINED = ["width", "height", "steps", "_debug_render_only"];

interface TextPrompt {
  text: string;
  system: string | undefined;
  /** The text goes to the model as it is, without the template. */
  raw: boolean;
}

function shapeOf({ text, thinking }: Said): Record<string, unknown> {
  return { response: text, ...(thinking === "" ? {} : { thinking }) };
}

function readPrompt(fields: Fields): TextPrompt {
  const raw = fields.boolean("raw") ?? false;
  const isEmptyText = (value: unknown): boolean => value === "";
  fields.neutral("suffix", isEmptyText, "no suffix");
  fields.neutral("template", isEmptyText, "no template but the model's own");
  fields.neutral("context", (value) => Array.isArray(value) && value.length === 0, "an empty array (use /api/chat)");
  refuseImages(fields);
  const system = fields.string("system");
  if (raw && system !== undefined && system !== "") {
    throw unsupported("system", "system: a raw prompt has no system message");
  }
  return { text: fields.string("prompt") ?? "", system: system === "" ? undefined : system, raw };
}

async function encode(
  model: ServedModel,
  { text, system, raw }: TextPrompt,
  templateValues: Readonly<Record<string, TemplateValue>>,
  signal: AbortSignal,
): Promise<Int32Array> {
  if (raw) return await model.tokenize(text, { special: true, addSpecial: true, signal });
  const messages: ChatMessage[] = system === undefined ? [] : [{ role: "system", content: system }];
  messages.push({ role: "user", content: text });
  return await encodeConversation(model, { messages, tools: [], templateValues, prefill: "" }, signal);
}

/** Answers a text: as a user's message, or as it is. */
export async function generate(context: RouteContext): Promise<Response> {
  const { service, request, body, startedAt } = context;
  const fields = new Fields(body);
  const named = ollamaModelOf(service, fields);
  const { model, name } = named;
  service.checkReady();
  const prompt = readPrompt(fields);
  const wanted = readWanted(fields, model.info.contextSize);
  const asksToUnload = readKeepAlive(fields);
  if (prompt.raw) fields.neutral("think", () => false, "think without raw");
  const templateValues = await readThink(fields, model);
  fields.refuseRest(DEFINED);
  if (prompt.text === "") return loadedAnswer(name, { response: "" }, asksToUnload);
  if (exceeds([prompt.text, prompt.system ?? ""], service.limits.promptBytes)) {
    throw tooLarge(`the prompt has more than ${service.limits.promptBytes} bytes`);
  }
  const job = service.admit(named, 1, context);
  try {
    const tokens = await encode(model, prompt, templateValues, request.signal);
    const maxTokens = roomFor(tokens.length, wanted.contextSize, wanted.options.maxTokens, "prompt");
    const split = prompt.raw ? {} : { answer: true, templateValues };
    await job.start([{ tokens, options: { ...wanted.options, maxTokens, ...split } }]);
  } catch (error) {
    job.close();
    throw error;
  }
  const { stream, logprobs } = wanted;
  return await respond({ service, job, startedAt, stream, logprobs, splits: !prompt.raw, shape: shapeOf });
}
