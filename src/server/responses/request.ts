/** The body of a request of the Responses API: each field is honoured, or refused by name. */
import { readAnswerFormat } from "../answer_format.ts";
import { type Effort, EFFORTS, effortValues } from "../../api/reasoning.ts";
import type { GenerateOptions } from "../../types.ts";
import { invalid, unsupported } from "../errors.ts";
import type { Fields } from "../fields.ts";
import { readSalt, readWanted } from "../openai/sampling.ts";
import type { Conversation } from "../prompt.ts";
import type { NamedModel } from "../served_model.ts";
import { readInput } from "./input.ts";
import { readTools } from "./tools.ts";

/** Further tokens whose log-probabilities are told, at most. */
const TOP_MAX = 20;
const LOGPROBS = "message.output_text.logprobs";

/** What the API and its betas define and this server does not do; `null` may stand. */
const DEFINED = [
  "access_programs",
  "context_management",
  "conversation",
  "image",
  "moderation",
  "prompt",
  "prompt_cache_options",
];

/** A request, read. */
export interface WantedResponse {
  conversation: Conversation;
  options: GenerateOptions;
  stream: boolean;
  /** Whether log-probabilities are told. */
  logprobs: boolean;
  /** Fields of the answer that repeat the request. */
  echo: Readonly<Record<string, unknown>>;
}

/** The schema of `text.format: json_schema`. */
function readJsonSchema(format: Fields): unknown {
  format.required("name", format.string("name"), "the format's name");
  format.string("description");
  format.boolean("strict"); // the answer follows the schema either way
  const given = format.required("schema", format.object("schema"), "a JSON schema");
  return Object.fromEntries(given.entries());
}

/** `text`: its format, and a verbosity that templates can't be told. */
function readTextConfig(fields: Fields): { schema: unknown; echo: unknown } {
  const text = fields.object("text");
  const schema = readAnswerFormat(text?.object("format"), readJsonSchema);
  text?.neutral("verbosity", (value) => value === "medium", `"medium"`);
  text?.refuseRest();
  const given = text?.any("format") ?? { type: "text" };
  return { schema, echo: { format: given, verbosity: "medium" } };
}

/** `include` and `top_logprobs`, as the library takes them. */
function readLogprobs(fields: Fields): number | undefined {
  const include = fields.array("include") ?? [];
  for (const [i, one] of include.entries()) {
    if (one === LOGPROBS) continue;
    throw unsupported(`include[${i}]`, `include[${i}]: this server includes ${LOGPROBS} only`);
  }
  const top = fields.number("top_logprobs", 0, TOP_MAX, true);
  if (include.length > 0) return top ?? 0;
  if (top !== undefined && top > 0) {
    throw invalid("top_logprobs", `top_logprobs: only allowed together with include: ["${LOGPROBS}"]`);
  }
  return undefined;
}

/** `reasoning`: its effort, which the template must know a way to tell. */
async function readReasoning(fields: Fields, model: NamedModel["model"]) {
  const reasoning = fields.object("reasoning");
  const effort = reasoning?.string("effort");
  if (effort !== undefined && !(EFFORTS as readonly string[]).includes(effort)) {
    reasoning!.wrong("effort", effort, `one of ${EFFORTS.join(", ")}`);
  }
  reasoning?.refuseRest(["context", "generate_summary", "mode", "summary"]);
  const echo = { effort: effort ?? null, summary: null };
  if (effort === undefined) return { values: {}, echo };
  const values = await effortValues(model, effort as Effort);
  if (values !== undefined) return { values, echo };
  throw unsupported("reasoning.effort", `reasoning.effort: the model's template can't be told "${effort}"`);
}

/** Fields that are taken where they ask for what happens anyway. */
function readNeutral(fields: Fields): void {
  fields.neutral("background", (value) => value === false, "false");
  fields.neutral("truncation", (value) => value === "disabled", `"disabled"`);
  fields.neutral("prompt_cache_retention", (value) => value === "in_memory", `"in_memory"`);
  if (fields.any("previous_response_id") !== undefined) {
    const message = "previous_response_id: this server keeps no responses: send the conversation as input";
    throw unsupported("previous_response_id", message);
  }
  // A bound on calls of tools that the API's host runs: here are none, so that any bound is kept.
  fields.number("max_tool_calls", 1, Number.MAX_SAFE_INTEGER, true);
}

/** Reads a body but its model. */
export async function readRequest(fields: Fields, { model }: NamedModel): Promise<WantedResponse> {
  const messages = await readInput(fields);
  const { tools, callable, toolChoice, parallelToolCalls, given } = readTools(fields);
  const { options, n, stream } = readWanted(fields, model.info.vocabSize, ["max_output_tokens"]);
  if (n !== 1) throw unsupported("n", "n: a response is one answer");
  const { schema, echo: text } = readTextConfig(fields);
  const logprobs = readLogprobs(fields);
  readNeutral(fields);
  const cacheSalt = readSalt(fields, ["prompt_cache_key", "cache_salt"]);
  const effort = fields.any("reasoning"); // read last: the template is asked
  fields.refuseRest(DEFINED);
  const { values: templateValues, echo: reasoning } = await readReasoning(fields, model);
  const offered = toolChoice === "none" || tools.length === 0 ? undefined : { tools: callable, toolChoice };
  return {
    conversation: { messages, tools: offered === undefined ? [] : tools, templateValues, prefill: "" },
    options: {
      ...options,
      ...(offered === undefined ? {} : { ...offered, parallelToolCalls }),
      ...(schema === undefined ? {} : { schema }),
      ...(effort === undefined ? {} : { templateValues }),
      logprobs,
      cacheSalt,
      answer: true,
    },
    stream,
    logprobs: logprobs !== undefined,
    echo: {
      instructions: fields.any("instructions") ?? null,
      max_output_tokens: options.maxTokens ?? null,
      max_tool_calls: fields.any("max_tool_calls") ?? null,
      metadata: fields.any("metadata") ?? {},
      parallel_tool_calls: parallelToolCalls,
      prompt_cache_key: cacheSalt ?? null,
      reasoning,
      safety_identifier: fields.any("safety_identifier") ?? null,
      temperature: options.temperature ?? null,
      text,
      ...given,
      top_logprobs: fields.any("top_logprobs") ?? 0,
      top_p: options.topP ?? null,
      user: fields.any("user") ?? null,
    },
  };
}
