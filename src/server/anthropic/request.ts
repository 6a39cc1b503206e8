/** The body of a request of Anthropic's API: each field is honoured, or refused by name. */
import { type Effort, EFFORTS, effortValues } from "../../api/reasoning.ts";
import type { GenerateOptions, TemplateValue } from "../../types.ts";
import { invalid, unsupported } from "../errors.ts";
import type { Fields } from "../fields.ts";
import type { Conversation } from "../prompt.ts";
import type { ServedModel } from "../served_model.ts";
import { readStopStrings } from "../stop_strings.ts";
import { readCacheControl } from "./cache_control.ts";
import { readConversation } from "./conversation.ts";
import { readTools } from "./tools.ts";

/** Versions of the API: the newer one has no sampling parameters, which are taken here for either. */
const VERSIONS = ["2023-06-01", "2026-10-21"];
const THINKING_TOKENS_MIN = 1024;
const EFFORT_NAMES: readonly Effort[] = ["low", "medium", "high", "xhigh", "max"];
/** What the API and its betas define and this server does not do; `null` may stand. */
const DEFINED = [
  "billing_policy",
  "compaction",
  "container",
  "diagnostics",
  "fallback_credit_token",
  "fallbacks",
  "inference_geo",
  "user_profile_id",
  "workspace_id",
];

/** A request, read. */
export interface WantedMessage {
  conversation: Conversation;
  options: GenerateOptions;
  stopSequences: readonly string[];
  maxTokens: number;
  stream: boolean;
  /** Whether what the model thought is told. */
  showsThinking: boolean;
}

/** Refuses versions of the API that are not known; who names none gets the one there is. */
export function checkVersion(headers: Headers): void {
  const version = headers.get("anthropic-version");
  if (version === null || VERSIONS.includes(version)) return;
  const got = JSON.stringify(version.slice(0, 40));
  throw invalid("anthropic-version", `anthropic-version: got ${got}, expected ${VERSIONS.join(" or ")}`);
}

interface Thinking {
  enabled: boolean;
  shows: boolean;
}

/** `thinking`. The budget is a wish that `max_tokens` bounds: templates know no number. */
function readThinking(fields: Fields, maxTokens: number | undefined): Thinking {
  const thinking = fields.object("thinking");
  if (thinking === undefined) return { enabled: false, shows: true };
  const type = thinking.required("type", thinking.string("type"), `"enabled", "adaptive" or "disabled"`);
  if (type === "between_tools") throw unsupported(thinking.param("type"));
  if (type !== "enabled" && type !== "adaptive" && type !== "disabled") {
    thinking.wrong("type", type, `"enabled", "adaptive" or "disabled"`);
  }
  const enabled = type !== "disabled";
  if (type === "enabled") {
    const budget = thinking.number("budget_tokens", THINKING_TOKENS_MIN, 2 ** 31 - 1, true);
    const param = thinking.param("budget_tokens");
    const wish = thinking.required("budget_tokens", budget, `a whole number from ${THINKING_TOKENS_MIN}`);
    if (maxTokens !== undefined && wish >= maxTokens) throw invalid(param, `${param}: must be below max_tokens`);
  }
  const display = enabled ? thinking.string("display") : undefined;
  if (display !== undefined && display !== "summarized" && display !== "omitted") {
    thinking.wrong("display", display, `"summarized" or "omitted"`);
  }
  thinking.refuseRest();
  return { enabled, shows: display !== "omitted" };
}

function readFormat(format: Fields | undefined): unknown {
  if (format === undefined) return undefined;
  const type = format.required("type", format.string("type"), `"json_schema"`);
  if (type !== "json_schema") format.wrong("type", type, `"json_schema"`);
  const schema = format.required("schema", format.object("schema"), "a JSON schema");
  format.refuseRest();
  return Object.fromEntries(schema.entries());
}

/** `output_config`, and the older `output_format`: a schema of the answer, and how much effort the model makes. */
function readOutput(fields: Fields): { schema: unknown; effort: Effort | undefined } {
  const config = fields.object("output_config");
  const given = config?.string("effort");
  const effort = EFFORTS.find((one) => one === given && EFFORT_NAMES.includes(one));
  if (given !== effort) config!.wrong("effort", given, EFFORT_NAMES.map((name) => `"${name}"`).join(", "));
  const schema = readFormat(config?.object("format"));
  config?.refuseRest(["task_budget"]);
  const older = readFormat(fields.object("output_format"));
  if (schema !== undefined && older !== undefined) {
    throw invalid("output_format", "output_format: only allowed without output_config.format");
  }
  return { schema: schema ?? older, effort };
}

/** Variables of the template: whether to think, by the names that templates have for it, and how hard. */
async function templateValuesOf(
  model: ServedModel,
  { enabled }: Thinking,
  effort: Effort | undefined,
): Promise<Record<string, TemplateValue>> {
  const values = { enable_thinking: enabled, thinking: enabled };
  if (effort === undefined) return values;
  const levels = await effortValues(model, effort);
  if (levels === undefined) {
    throw unsupported("output_config.effort", "output_config.effort: the model's template knows no effort");
  }
  return { ...levels, ...values };
}

/** Whether edits of the conversation leave it as it is: none, or thinking of which all is kept. */
function keepsAll(management: unknown): boolean {
  const { edits, ...rest } = management as { edits?: unknown };
  if (!Array.isArray(edits) || Object.keys(rest).length > 0) return false;
  return edits.every((edit) => edit?.type?.startsWith?.("clear_thinking_") === true && edit.keep === "all");
}

/** Fields that are checked and change nothing: labels, and hosted services' choices of how they are run. */
function readNeutral(fields: Fields): void {
  if (fields.any("thread") !== undefined) {
    // The code by which clients know that they have to send the whole conversation.
    const message = "thread: this server keeps no conversations, send it whole";
    throw invalid("thread", message, "thread_unsupported_request");
  }
  const metadata = fields.object("metadata");
  metadata?.string("user_id");
  metadata?.refuseRest();
  readCacheControl(fields);
  const isTier = (value: unknown): boolean => value === "auto" || value === "standard_only";
  fields.neutral("service_tier", isTier, `"auto" and "standard_only"`);
  fields.neutral("speed", (value) => value === "standard", `"standard"`);
  fields.neutral("context_management", keepsAll, "edits that keep everything");
  fields.neutral("mcp_servers", (value) => Array.isArray(value) && value.length === 0, "an empty array");
}

function readSampling(fields: Fields): GenerateOptions {
  return {
    temperature: fields.option("temperature", "temperature"),
    topP: fields.option("top_p", "topP"),
    topK: fields.option("top_k", "topK"),
  };
}

/** Reads a body but its model. `counts`: only its tokens are to be counted, so that `max_tokens` is left out. */
export async function readRequest(fields: Fields, model: ServedModel, counts: boolean): Promise<WantedMessage> {
  const given = counts ? undefined : fields.option("max_tokens", "answerTokens");
  const maxTokens = counts ? 1 : fields.required("max_tokens", given, "a whole number");
  const { messages, prefill } = readConversation(fields);
  const { tools, toolChoice, parallelToolCalls } = readTools(fields);
  const thinking = readThinking(fields, given);
  const { schema, effort } = readOutput(fields);
  if (prefill !== "" && (thinking.enabled || schema !== undefined)) {
    const field = schema === undefined ? "thinking" : "output_config.format";
    throw invalid("messages", `messages: the last message can't be the assistant's together with ${field}`);
  }
  const stopSequences = counts ? [] : readStopStrings(fields, "stop_sequences") ?? [];
  const sampling = counts ? {} : readSampling(fields);
  const stream = counts ? false : fields.boolean("stream") ?? false;
  readNeutral(fields);
  fields.refuseRest(DEFINED);
  const templateValues = await templateValuesOf(model, thinking, effort);
  const offered = toolChoice === "none" ? [] : tools;
  return {
    conversation: { messages, tools: offered, templateValues, prefill },
    options: {
      ...sampling,
      maxTokens,
      stop: stopSequences,
      answer: true,
      templateValues,
      ...(schema === undefined ? {} : { schema }),
      ...(offered.length === 0 ? {} : { tools: offered, toolChoice, parallelToolCalls }),
    },
    stopSequences,
    maxTokens,
    stream,
    showsThinking: thinking.shows,
  };
}
