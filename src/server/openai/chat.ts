/** POST /v1/chat/completions. */
import { invalid } from "../errors.ts";
import { Fields } from "../fields.ts";
import type { RouteContext } from "../route.ts";
import type { NamedModel } from "../service.ts";
import { chatLogprobs } from "./logprobs.ts";
import { readMessages } from "./messages.ts";
import { checkRoom, finishReasonOf, jobPrompts, respond, type Shape } from "./respond.ts";
import { readWanted } from "./sampling.ts";

/** Further tokens whose log-probabilities are told, at most. */
const TOP_MAX = 20;

/** What the API defines and this server does not do. */
const DEFINED = [
  "audio",
  "chat_template",
  "chat_template_kwargs",
  "function_call",
  "functions",
  "guided_json",
  "prediction",
  "prompt_cache_key",
  "prompt_cache_retention",
  "reasoning_effort",
  "verbosity",
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

/** Fields that are taken where they ask for plain text, as every answer here is. */
function readNeutral(fields: Fields): void {
  const format = fields.object("response_format");
  format?.neutral("type", (value) => value === "text", `"text"`);
  format?.refuseRest(["json_schema", "schema"]);
  fields.neutral("tools", (value) => Array.isArray(value) && value.length === 0, "an empty array");
  fields.neutral("tool_choice", (value) => value === "none" || value === "auto", `"none" and "auto"`);
  fields.boolean("parallel_tool_calls"); // says nothing without tools
  const isText = (value: unknown): boolean => Array.isArray(value) && value.length === 1 && value[0] === "text";
  fields.neutral("modalities", isText, `["text"]`);
}

function shapeOf({ name, model }: NamedModel, asksLogprobs: boolean): Shape {
  const id = `chatcmpl-${crypto.randomUUID().replaceAll("-", "")}`;
  const common = { id, created: Math.floor(Date.now() / 1000), model: name };
  const choice = (index: number, delta: unknown, finish: string | null, logprobs: unknown = null) => ({
    index,
    delta,
    logprobs,
    finish_reason: finish,
  });
  return {
    whole: { ...common, object: "chat.completion" },
    chunk: { ...common, object: "chat.completion.chunk" },
    begin: (index) => choice(index, { role: "assistant", content: "" }, null),
    part(index, { text, logprobs = [] }) {
      if (text === "" && logprobs.length === 0) return undefined;
      return choice(index, { content: text }, null, asksLogprobs ? chatLogprobs(model, logprobs) : null);
    },
    end: (index, result) => choice(index, {}, finishReasonOf(result)),
    complete: (index, result) => ({
      index,
      message: { role: "assistant", content: result.text, refusal: null },
      logprobs: asksLogprobs ? chatLogprobs(model, result.logprobs ?? []) : null,
      finish_reason: finishReasonOf(result),
    }),
  };
}

/** Answers a conversation. */
export async function chatCompletions({ service, request, body, startedAt }: RouteContext): Promise<Response> {
  const fields = new Fields(body);
  const named = service.modelOf(fields);
  const { info } = named.model;
  const messages = readMessages(fields, service.limits.promptBytes);
  const wanted = readWanted(fields, info.vocabSize, ["max_completion_tokens", "max_tokens"]);
  const logprobs = readLogprobs(fields);
  readNeutral(fields);
  fields.refuseRest(DEFINED);
  if (wanted.n > service.limits.choices) throw invalid("n", `n: got ${wanted.n}, at most ${service.limits.choices}`);
  const job = service.admit(named, wanted.n, request.signal, startedAt);
  try {
    const tokens = await named.model.tokenize(messages, { signal: request.signal });
    checkRoom(tokens.length, info.contextSize, "messages");
    job.start(jobPrompts([tokens], { ...wanted.options, logprobs }, wanted.n));
  } catch (error) {
    job.close();
    throw error;
  }
  return await respond(service, job, shapeOf(named, logprobs !== undefined), wanted);
}
