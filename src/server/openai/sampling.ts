/** What chat and text completions have in common: how tokens are chosen, how many answers, streaming. */
import type { GenerateOptions } from "../../types.ts";
import { invalid } from "../errors.ts";
import type { Fields } from "../fields.ts";
import { readStopStrings } from "../stop_strings.ts";

const BIAS_MAX = 100;
const SALT_MAX = 256;

/** What a request asks for, but its prompt and log-probabilities. */
export interface Wanted {
  options: GenerateOptions;
  /** Answers to each prompt. */
  n: number;
  stream: boolean;
  /** Whether a stream ends with a chunk that tells the usage. */
  includeUsage: boolean;
}

function readBias(fields: Fields, vocabSize: number): Record<number, number> | undefined {
  const entries = fields.object("logit_bias")?.entries();
  if (entries === undefined) return undefined;
  for (const [key, value] of entries) {
    if (!/^\d{1,10}$/.test(key) || Number(key) >= vocabSize) {
      throw invalid("logit_bias", `logit_bias: got the key ${JSON.stringify(key.slice(0, 40))}, expected token ids`);
    }
    if (typeof value !== "number" || !(Math.abs(value) <= BIAS_MAX)) {
      throw invalid("logit_bias", `logit_bias: the value of ${key} is not a number from -${BIAS_MAX} to ${BIAS_MAX}`);
    }
  }
  return Object.fromEntries(entries) as Record<number, number>;
}

/** Fields that name a request for its sender's records; they are checked, and change nothing. */
function readLabels(fields: Fields): void {
  fields.string("user");
  fields.string("safety_identifier");
  for (const [key, value] of fields.object("metadata")?.entries() ?? []) {
    if (typeof value !== "string") throw invalid("metadata", `metadata: the value of ${key.slice(0, 40)} is no string`);
  }
}

/** Fields of hosted services that are taken where they ask for what happens anyway. */
function readNeutral(fields: Fields): void {
  fields.neutral("store", (value) => value === false, "false");
  fields.neutral("service_tier", (value) => value === "auto" || value === "default", `"auto" and "default"`);
}

/** Reads the common fields; `maxTokens` are the names that the API has for it, `range` is that of its values. */
export function readWanted(
  fields: Fields,
  vocabSize: number,
  maxTokens: readonly string[],
  range: "answerTokens" | "maxTokens" = "answerTokens",
): Wanted {
  const limits = maxTokens.map((name) => fields.option(name, range)).filter((value) => value !== undefined);
  if (new Set(limits).size > 1) throw invalid(maxTokens[0]!, `${maxTokens.join(" and ")} contradict each other`);
  const options: GenerateOptions = {
    maxTokens: limits[0],
    temperature: fields.option("temperature", "temperature"),
    topP: fields.option("top_p", "topP"),
    topK: readTopK(fields),
    minP: fields.option("min_p", "minP"),
    typicalP: fields.option("typical_p", "typicalP"),
    seed: fields.option("seed", "seed"),
    stop: readStopStrings(fields, "stop"),
    presencePenalty: fields.option("presence_penalty", "presencePenalty"),
    frequencyPenalty: fields.option("frequency_penalty", "frequencyPenalty"),
    repetitionPenalty: fields.option("repetition_penalty", "repetitionPenalty"),
    logitBias: readBias(fields, vocabSize),
    ignoreEos: fields.boolean("ignore_eos"),
  };
  readLabels(fields);
  readNeutral(fields);
  const stream = fields.boolean("stream") ?? false;
  const streamOptions = fields.object("stream_options");
  if (streamOptions !== undefined && !stream) {
    throw invalid("stream_options", "stream_options: only allowed together with stream: true");
  }
  const includeUsage = streamOptions?.boolean("include_usage") ?? false;
  // Padding against listeners who guess tokens by their lengths is not made, and need not be.
  streamOptions?.neutral("include_obfuscation", (value) => value === false, "false");
  streamOptions?.refuseRest();
  return { options, n: fields.number("n", 1, 128, true) ?? 1, stream, includeUsage };
}

/** What keeps the cached prompts of one user apart, under the names that APIs have for it. */
export function readSalt(fields: Fields, names: readonly string[]): string | undefined {
  const given = names.filter((name) => fields.string(name) !== undefined);
  if (given.length > 1) throw invalid(given[1]!, `${given[1]}: not together with ${given[0]}`);
  const salt = given.length === 0 ? undefined : fields.string(given[0]!);
  if (salt !== undefined && salt.length > SALT_MAX) {
    throw invalid(given[0]!, `${given[0]}: got ${salt.length} characters, at most ${SALT_MAX}`);
  }
  return salt;
}

/** Clients of other servers write -1 for "off". */
function readTopK(fields: Fields): number | undefined {
  const value = fields.number("top_k", -1, 2 ** 31 - 1, true);
  return value === -1 ? 0 : value;
}

/** Options of the k-th answer: a seed gives answers that differ, the first being what it gives alone. */
export function optionsOf(options: GenerateOptions, k: number): GenerateOptions {
  if (options.seed === undefined || k === 0) return options;
  return { ...options, seed: (options.seed + k) % (Number.MAX_SAFE_INTEGER + 1) };
}
