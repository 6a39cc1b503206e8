/** POST /v1/chat/completions. */
import { type Effort, EFFORTS, effortValues } from "../../api/reasoning.ts";
import type { GenerateOptions, TemplateValue } from "../../types.ts";
import { readAnswerFormat } from "../answer_format.ts";
import { invalid, unsupported } from "../errors.ts";
import { Fields } from "../fields.ts";
import { checkConversationBytes, encodeConversation } from "../prompt.ts";
import type { RouteContext } from "../route.ts";
import { atSchemaField } from "../schema_field.ts";
import type { ServedModel } from "../served_model.ts";
import { chatShape } from "./chat_shape.ts";
import { readMessages } from "./messages.ts";
import { checkRoom, jobPrompts, respond } from "./respond.ts";
import { readSalt, readWanted, type Wanted } from "./sampling.ts";
import { readName, readSchema, readTools, type WantedTools } from "./tools.ts";

/** Further tokens whose log-probabilities are told, at most. */
const TOP_MAX = 20;

/** What the API and other servers define and this server does not do. */
const DEFINED = [
  "add_generation_prompt",
  "audio",
  "chat_template",
  "continue_final_message",
  "documents",
  "guided_choice",
  "guided_grammar",
  "guided_json",
  "guided_regex",
  "moderation",
  "prediction",
  "prompt_cache_options",
  "web_search_options",
];

/** `logprobs` and `top_logprobs`, as the library takes them. */
function readLogprobs(fields: Fields): number | undefined {
  const asked = fields.boolean("logprobs") ?? false;
  const top = fields.number("top_logprobs", 0, TOP_MAX, true);
  if (top !== undefined && !asked) {
    throw invalid("top_logprobs", "top_logprobs: only allowed together with logprobs: true");
  }
  return asked ? top ?? 0 : undefined;
}

/** The schema of `response_format: json_schema`. */
function readJsonSchema(format: Fields): unknown {
  const inner = format.required("json_schema", format.object("json_schema"), "an object");
  readName(inner);
  inner.string("description");
  inner.boolean("strict"); // the answer follows the schema either way
  const schema = readSchema(inner, "schema") ?? { type: "object" };
  inner.refuseRest();
  return schema;
}

/** Variables for the template: scalars, under names that the template does not get from the request itself. */
export function readTemplateValues(fields: Fields): Record<string, TemplateValue> {
  const values: Record<string, TemplateValue> = {};
  for (const [name, value] of fields.object("chat_template_kwargs")?.entries() ?? []) {
    const param = `chat_template_kwargs.${name.slice(0, 40)}`;
    if (["messages", "tools", "documents", "add_generation_prompt"].includes(name)) {
      throw unsupported(param, `${param}: the template has this from the request itself`);
    }
    const isScalar = value === null || ["string", "number", "boolean"].includes(typeof value);
    if (!isScalar) throw invalid(param, `${param}: expected a string, number, boolean or null`, "invalid_type");
    values[name] = value as TemplateValue;
  }
  return values;
}

/** `reasoning_effort`, which the template must know a way to tell. */
async function readEffort(fields: Fields, model: ServedModel): Promise<Record<string, TemplateValue>> {
  const effort = fields.string("reasoning_effort");
  if (effort === undefined) return {};
  if (!(EFFORTS as readonly string[]).includes(effort)) {
    fields.wrong("reasoning_effort", effort, `one of ${EFFORTS.join(", ")}`);
  }
  const values = await effortValues(model, effort as Effort);
  if (values !== undefined) return values;
  throw unsupported("reasoning_effort", `reasoning_effort: the model's template can't be told "${effort}"`);
}

/** Fields that are taken where they ask for what happens anyway. */
function readNeutral(fields: Fields): void {
  const isText = (value: unknown): boolean => Array.isArray(value) && value.length === 1 && value[0] === "text";
  fields.neutral("modalities", isText, `["text"]`);
  fields.neutral("verbosity", (value) => value === "medium", `"medium"`);
  fields.neutral("prompt_cache_retention", (value) => value === "in_memory", `"in_memory"`);
}

/** A request, read. */
interface WantedChat extends Wanted {
  tools: WantedTools;
  templateValues: Record<string, TemplateValue>;
  /** Whether log-probabilities are told. */
  logprobs: boolean;
}

async function readRequest(fields: Fields, model: ServedModel): Promise<WantedChat> {
  const wanted = readWanted(fields, model.info.vocabSize, ["max_completion_tokens", "max_tokens"]);
  const logprobs = readLogprobs(fields);
  const tools = readTools(fields);
  const schema = readAnswerFormat(fields.object("response_format"), readJsonSchema, ["json_schema", "schema"]);
  const templateValues = readTemplateValues(fields);
  readNeutral(fields);
  const cacheSalt = readSalt(fields, ["prompt_cache_key", "cache_salt"]);
  const effort = fields.any("reasoning_effort");
  fields.refuseRest(DEFINED);
  // The template is asked last: everything else is known to be right.
  Object.assign(templateValues, effort === undefined ? {} : await readEffort(fields, model));
  const options: GenerateOptions = {
    ...wanted.options,
    ...tools.options,
    ...(schema === undefined ? {} : { schema }),
    logprobs,
    cacheSalt,
    answer: true,
  };
  return { ...wanted, options, tools, templateValues, logprobs: logprobs !== undefined };
}

/** Answers a conversation. */
export async function chatCompletions(context: RouteContext): Promise<Response> {
  const { service, request, body } = context;
  const fields = new Fields(body);
  const named = service.modelOf(fields);
  const { model } = named;
  const messages = readMessages(fields);
  service.checkReady();
  const wanted = await readRequest(fields, model);
  const { tools, isLegacy } = wanted.tools;
  const conversation = { messages, tools, templateValues: wanted.templateValues, prefill: "" };
  checkConversationBytes(conversation, service.limits.promptBytes);
  if (wanted.n > service.limits.choices) throw invalid("n", `n: got ${wanted.n}, at most ${service.limits.choices}`);
  const job = service.admit(named, wanted.n, context);
  try {
    const tokens = await encodeConversation(model, conversation, request.signal);
    checkRoom(tokens.length, model.info.contextSize, "messages");
    await job.start(jobPrompts([tokens], wanted.options, wanted.n));
  } catch (error) {
    job.close();
    throw error;
  }
  try {
    return await respond(service, job, chatShape(named, wanted.logprobs, isLegacy), wanted);
  } catch (error) {
    throw atSchemaField(error, {
      tool: (i) => `${isLegacy ? `functions[${i}]` : `tools[${i}].function`}.parameters`,
      schema: "response_format.json_schema.schema",
    });
  }
}
