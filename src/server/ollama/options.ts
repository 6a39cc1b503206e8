/** What Ollama's chat and generate have in common beside their prompts: options, format, thinking, keeping alive. */
import { type Effort, effortValues } from "../../api/reasoning.ts";
import type { GenerateOptions, TemplateValue } from "../../types.ts";
import { invalid, unsupported } from "../errors.ts";
import type { Fields } from "../fields.ts";
import type { Service } from "../service.ts";
import type { NamedModel, ServedModel } from "../served_model.ts";
import { readStopStrings } from "../stop_strings.ts";

const TOP_MAX = 20;
/** Ollama's tag for a model that is named without one. */
const DEFAULT_TAG = ":latest";
/** What is decided when this server is started, or by how it works. */
const RUNNER_OPTIONS = [
  "draft_num_predict",
  "embedding_only",
  "f16_kv",
  "logits_all",
  "low_vram",
  "main_gpu",
  "num_batch",
  "num_gpu",
  "num_keep",
  "num_thread",
  "numa",
  "use_mlock",
  "use_mmap",
  "vocab_only",
];

/** The common part of a request, read. */
export interface WantedAnswer {
  options: GenerateOptions;
  /** Tokens of context to be used, prompt and answer together. */
  contextSize: number;
  stream: boolean;
  logprobs: boolean;
}

/** The model that a body names, with or without the tag for "latest". */
export function ollamaModelOf(service: Service, fields: Fields, aliases: readonly string[] = []): NamedModel {
  const given = [fields.string("model"), ...aliases.map((alias) => fields.string(alias))];
  const name = fields.required("model", given.find((one) => one !== undefined), "a model's name");
  if (name === "") throw invalid("model", "model: got an empty string, expected a model's name");
  const isTagged = name.endsWith(DEFAULT_TAG) && !service.models().some((one) => one.name === name);
  return service.model(isTagged ? name.slice(0, -DEFAULT_TAG.length) : name);
}

/** `num_predict`: -1 and -2 are "as many as there is room for". */
function readMaxTokens(options: Fields): number | undefined {
  const value = options.number("num_predict", -2, 2 ** 31 - 1, true);
  if (value === 0) {
    throw invalid(options.param("num_predict"), `${options.param("num_predict")}: got 0, expected 1 or more`);
  }
  return value === undefined || value < 0 ? undefined : value;
}

/** `repeat_last_n`: 0 switches penalties off, -1 looks at the whole context. */
function readPenalties(options: Fields): GenerateOptions {
  const window = options.number("repeat_last_n", -1, 2 ** 31 - 1, true);
  const penalties: GenerateOptions = {
    repetitionPenalty: options.option("repeat_penalty", "repetitionPenalty"),
    presencePenalty: options.option("presence_penalty", "presencePenalty"),
    frequencyPenalty: options.option("frequency_penalty", "frequencyPenalty"),
  };
  if (window === 0) return { repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0 };
  return { ...penalties, penaltyWindow: window === -1 ? 0 : window };
}

function readContextSize(options: Fields, contextSize: number): number {
  const value = options.number("num_ctx", 1, 2 ** 31 - 1, true);
  if (value === undefined) return contextSize;
  if (value <= contextSize) return value;
  const param = options.param("num_ctx");
  throw unsupported(param, `${param}: got ${value}, this server was started with a context of ${contextSize} tokens`);
}

function readSampling(options: Fields | undefined, contextSize: number): Omit<WantedAnswer, "stream" | "logprobs"> {
  if (options === undefined) return { options: {}, contextSize };
  const read: GenerateOptions = {
    maxTokens: readMaxTokens(options),
    temperature: options.option("temperature", "temperature"),
    topK: options.option("top_k", "topK"),
    topP: options.option("top_p", "topP"),
    minP: options.option("min_p", "minP"),
    typicalP: options.option("typical_p", "typicalP"),
    seed: options.option("seed", "seed"),
    stop: readStopStrings(options, "stop"),
    ...readPenalties(options),
  };
  options.neutral("tfs_z", (value) => value === 1, "1");
  options.neutral("mirostat", (value) => value === 0, "0");
  // Without mirostat they say nothing.
  options.number("mirostat_tau", 0, 100);
  options.number("mirostat_eta", 0, 100);
  options.neutral("penalize_newline", (value) => value === true, "true");
  const wanted = { options: read, contextSize: readContextSize(options, contextSize) };
  options.refuseRest(RUNNER_OPTIONS);
  return wanted;
}

/** `format`: any JSON object, or what a schema accepts. */
function readFormat(fields: Fields): unknown {
  const value = fields.any("format");
  if (value === undefined || value === "") return undefined;
  if (value === "json") return { type: "object" };
  if (typeof value === "object" && !Array.isArray(value)) return value;
  return fields.wrong("format", value, `"json" or a JSON schema`);
}

function readLogprobs(fields: Fields): number | undefined {
  const asked = fields.boolean("logprobs") ?? false;
  const top = fields.number("top_logprobs", 0, TOP_MAX, true);
  if (top !== undefined && top > 0 && !asked) {
    throw invalid("top_logprobs", "top_logprobs: only allowed together with logprobs: true");
  }
  return asked ? top ?? 0 : undefined;
}

/** Reads the common fields; streaming is what happens unless a request says otherwise. */
export function readWanted(fields: Fields, contextSize: number): WantedAnswer {
  const { options, contextSize: size } = readSampling(fields.object("options"), contextSize);
  const schema = readFormat(fields);
  const logprobs = readLogprobs(fields);
  // A prompt is never cut and nothing slides: what does not fit is refused, a full context ends the answer.
  fields.neutral("truncate", (value) => value === false, "false");
  fields.neutral("shift", (value) => value === false, "false");
  return {
    options: {
      ...options,
      ...(schema === undefined ? {} : { schema }),
      ...(logprobs === undefined ? {} : { logprobs }),
    },
    contextSize: size,
    stream: fields.boolean("stream") ?? true,
    logprobs: logprobs !== undefined,
  };
}

/** `keep_alive`, in seconds or as a duration: models stay loaded. Returns whether it asks to unload. */
export function readKeepAlive(fields: Fields): boolean {
  const value = fields.any("keep_alive");
  if (value === undefined || typeof value === "number") return value === 0;
  const isDuration = typeof value === "string" && /^-?(\d+(\.\d*)?(ns|us|µs|ms|s|m|h))+$|^-?\d+$/.test(value);
  if (!isDuration) fields.wrong("keep_alive", value, `seconds, or a duration such as "5m"`);
  return !/[1-9]/.test(value as string);
}

/** `think`: whether, or how hard, the model thinks before it answers; by the template's variables. */
export async function readThink(fields: Fields, model: ServedModel): Promise<Record<string, TemplateValue>> {
  const value = fields.any("think");
  if (value === undefined) return {};
  if (typeof value === "boolean") return { enable_thinking: value, thinking: value };
  const levels: readonly Effort[] = ["low", "medium", "high", "max"];
  const level = levels.find((one) => one === value);
  if (level === undefined) fields.wrong("think", value, `true, false, "low", "medium", "high" or "max"`);
  const values = await effortValues(model, level!);
  if (values === undefined) throw unsupported("think", `think: the model's template knows no levels of thinking`);
  return values;
}
