/** The AI SDK's settings of a call as options of a generation. What can't be honoured is told as a warning. */
import type { LanguageModelV4CallOptions, SharedV4Warning } from "@ai-sdk/provider";
import { effortValues } from "../api/reasoning.ts";
import type { GenerateOptions, TemplateValue, ToolChoice, ToolDefinition } from "../types.ts";
import { type AiModel, OWN_OPTIONS, type OwnOptions } from "./settings.ts";

/** The name of this provider in `providerOptions` and in results. */
export const PROVIDER = "realizar";
/** Headers that the SDK itself adds to every call. */
const SDK_HEADERS = ["user-agent"];

/** What a call comes to. */
export interface CallSettings {
  options: GenerateOptions;
  /** Settings that are not honoured. */
  warnings: SharedV4Warning[];
}

/** Collects what is not honoured. */
class Warnings {
  readonly list: SharedV4Warning[] = [];

  unsupported(feature: string, details: string): void {
    this.list.push({ type: "unsupported", feature, details });
  }
}

/** `providerOptions.realizar`, as the library names its options. Their values are checked by the library. */
function ownOptions(call: LanguageModelV4CallOptions, warnings: Warnings): OwnOptions {
  const given = call.providerOptions?.[PROVIDER] ?? {};
  const own: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(given)) {
    if (OWN_OPTIONS.includes(name)) own[name] = value;
    else warnings.unsupported(`providerOptions.${PROVIDER}.${name}`, `there are ${OWN_OPTIONS.join(", ")}`);
  }
  return own;
}

function toolsOf(call: LanguageModelV4CallOptions, warnings: Warnings): ToolDefinition[] {
  const tools: ToolDefinition[] = [];
  for (const tool of call.tools ?? []) {
    if (tool.type === "provider") {
      warnings.unsupported(`provider-defined tool ${tool.id}`, "this provider runs no tools of its own");
      continue;
    }
    const { name, description, inputSchema, inputExamples } = tool;
    if (inputExamples !== undefined) warnings.unsupported(`inputExamples of the tool ${name}`, "the model is not told");
    tools.push({ name, description, parameters: inputSchema as Record<string, unknown> });
  }
  return tools;
}

function toolChoiceOf({ toolChoice }: LanguageModelV4CallOptions): ToolChoice | undefined {
  if (toolChoice === undefined) return undefined;
  return toolChoice.type === "tool" ? { name: toolChoice.toolName } : toolChoice.type;
}

/** The schema that the answer must match; any object where JSON is asked for without one. */
function schemaOf({ responseFormat }: LanguageModelV4CallOptions, warnings: Warnings): unknown {
  if (responseFormat?.type !== "json") return undefined;
  for (const field of ["name", "description"] as const) {
    if (responseFormat[field] === undefined) continue;
    warnings.unsupported(`responseFormat.${field}`, "the model is held to the schema, but not told about it");
  }
  return responseFormat.schema ?? { type: "object" };
}

async function thinking(
  call: LanguageModelV4CallOptions,
  model: AiModel,
  warnings: Warnings,
): Promise<Record<string, TemplateValue>> {
  if (call.reasoning === undefined || call.reasoning === "provider-default") return {};
  const values = await effortValues(model, call.reasoning);
  if (values === undefined) warnings.unsupported("reasoning", `the model's template can't be told "${call.reasoning}"`);
  return values ?? {};
}

/** Settings of a call over those of its language model. */
export async function callSettings(
  call: LanguageModelV4CallOptions,
  model: AiModel,
  defaults: OwnOptions,
): Promise<CallSettings> {
  const warnings = new Warnings();
  const own = { ...defaults, ...ownOptions(call, warnings) };
  const tools = toolsOf(call, warnings);
  const effort = await thinking(call, model, warnings);
  if (call.includeRawChunks === true) warnings.unsupported("includeRawChunks", "there are no chunks but the parts");
  for (const name of Object.keys(call.headers ?? {})) {
    if (!SDK_HEADERS.includes(name.toLowerCase())) warnings.unsupported(`headers.${name}`, "nothing goes over HTTP");
  }
  const options: GenerateOptions = {
    ...own,
    maxTokens: call.maxOutputTokens,
    temperature: call.temperature,
    topP: call.topP,
    topK: call.topK,
    presencePenalty: call.presencePenalty,
    frequencyPenalty: call.frequencyPenalty,
    seed: call.seed,
    stop: call.stopSequences,
    schema: schemaOf(call, warnings),
    tools: tools.length === 0 ? undefined : tools,
    toolChoice: tools.length === 0 ? undefined : toolChoiceOf(call),
    templateValues: { ...effort, ...own.templateValues },
    signal: call.abortSignal,
    answer: true,
  };
  return { options, warnings: warnings.list };
}
