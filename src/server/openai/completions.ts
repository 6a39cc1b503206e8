/** POST /v1/completions. */
import { othersFirst } from "../../turns.ts";
import type { GenerationResult } from "../../types.ts";
import { invalid, tooLarge } from "../errors.ts";
import { Fields } from "../fields.ts";
import type { RouteContext } from "../route.ts";
import type { NamedModel, ServedModel } from "../served_model.ts";
import { type Echo, TextLogprobs } from "./logprobs.ts";
import { exceeds } from "./messages.ts";
import { checkRoom, finishReasonOf, jobPrompts, respond, type Shape } from "./respond.ts";
import { readSalt, readWanted } from "./sampling.ts";

const TOP_MAX = 20;
/** Token ids from which on reading and checking them are two pieces of work. */
const LONG_IDS = 1 << 15;

/** A prompt as it was given. */
type RawPrompt = string | number[];

/** Whether a value is token ids; of more than fit the context only the first are looked at, and it is refused. */
function isTokens(value: unknown, contextSize: number): value is number[] {
  if (!Array.isArray(value) || value.length === 0) return false;
  const isId = (one: unknown): boolean => Number.isInteger(one) && (one as number) >= 0;
  if (!value.slice(0, contextSize).every(isId)) return false;
  checkRoom(value.length, contextSize, "prompt");
  return true;
}

/** A text, token ids, texts, or lists of token ids. */
function readPrompts(fields: Fields, contextSize: number, promptsMax: number): RawPrompt[] {
  const expected = "a string, token ids, or an array of strings or of arrays of token ids";
  const value = fields.required("prompt", fields.any("prompt"), expected);
  if (typeof value === "string" || isTokens(value, contextSize)) return [value];
  if (!Array.isArray(value) || value.length === 0) return fields.wrong("prompt", value, expected);
  const first = value.slice(0, promptsMax);
  if (!first.every((one) => typeof one === "string") && !first.every((one) => isTokens(one, contextSize))) {
    fields.wrong("prompt", value, expected);
  }
  if (value.length > promptsMax) throw invalid("n", `n: ${value.length} prompts, at most ${promptsMax} answers in all`);
  return value as RawPrompt[];
}

async function encode(
  prompts: readonly RawPrompt[],
  model: ServedModel,
  options: { special: boolean; addSpecial: boolean; signal: AbortSignal },
): Promise<Int32Array[]> {
  const { vocabSize, contextSize } = model.info;
  const encoded: Int32Array[] = [];
  for (const prompt of prompts) {
    const tokens = typeof prompt === "string" ? await model.tokenize(prompt, options) : prompt;
    checkRoom(tokens.length, contextSize, "prompt");
    if (tokens.length > LONG_IDS) await othersFirst();
    const wrong = tokens.find((token) => token < 0 || token >= vocabSize);
    if (wrong !== undefined) throw invalid("prompt", `prompt: ${wrong} is no token, expected 0 to ${vocabSize - 1}`);
    encoded.push(tokens instanceof Int32Array ? tokens : new Int32Array(tokens));
  }
  return encoded;
}

/** `echoes` are the prompts, undefined where they are not asked for. */
function shapeOf(
  { name, model }: NamedModel,
  n: number,
  asksLogprobs: boolean,
  echoes: readonly Echo[] | undefined,
): Shape {
  const id = `cmpl-${crypto.randomUUID().replaceAll("-", "")}`;
  const common = { id, object: "text_completion", created: Math.floor(Date.now() / 1000), model: name };
  const echoOf = (index: number): Echo | undefined => echoes?.[Math.floor(index / n)];
  const choice = (index: number, text: string, finish: string | null, logprobs: unknown = null) => ({
    index,
    text,
    logprobs,
    finish_reason: finish,
  });
  const streams = new Map<number, TextLogprobs>();
  return {
    whole: common,
    chunk: common,
    begin: (index) => echoes === undefined || asksLogprobs ? undefined : choice(index, echoOf(index)!.text, null),
    part(index, { text, logprobs = [], promptLogprobs }) {
      if (text === "" && logprobs.length === 0 && promptLogprobs === undefined) return undefined;
      if (!asksLogprobs) return choice(index, text, null);
      const stream = streams.get(index) ?? new TextLogprobs(model, echoOf(index));
      streams.set(index, stream);
      if (promptLogprobs === undefined) return choice(index, text, null, stream.next(logprobs));
      const echoed = stream.prompt(promptLogprobs);
      return choice(index, echoed.text, null, echoed.logprobs);
    },
    end: (index, result) => choice(index, "", finishReasonOf(result)),
    complete(index, result: GenerationResult) {
      const echo = echoOf(index);
      const text = (echo?.text ?? "") + result.text;
      if (!asksLogprobs) return choice(index, text, finishReasonOf(result));
      const logprobs = new TextLogprobs(model, echo).whole(result.promptLogprobs ?? [], result.logprobs ?? []);
      return choice(index, text, finishReasonOf(result), logprobs);
    },
  };
}

/** Continues texts. */
export async function completions(context: RouteContext): Promise<Response> {
  const { service, request, body } = context;
  const { limits } = service;
  const { signal } = request;
  const fields = new Fields(body);
  const named = service.modelOf(fields);
  const { model } = named;
  const prompts = readPrompts(fields, model.info.contextSize, limits.choices);
  const wanted = readWanted(fields, model.info.vocabSize, ["max_tokens"], "maxTokens");
  const logprobs = fields.number("logprobs", 0, TOP_MAX, true);
  const echo = fields.boolean("echo") ?? false;
  if (wanted.options.maxTokens === 0 && !echo) throw invalid("max_tokens", "max_tokens: 0 only together with echo");
  fields.neutral("best_of", (value) => value === wanted.n, "the value of n");
  const cacheSalt = readSalt(fields, ["cache_salt"]);
  const special = fields.boolean("parse_special") ?? false;
  const addSpecial = fields.boolean("add_special_tokens") ?? true;
  fields.refuseRest(["suffix", "response_format", "guided_json", "prompt_logprobs"]);
  if (exceeds(prompts.filter((prompt) => typeof prompt === "string"), limits.promptBytes)) {
    throw tooLarge(`the prompts have more than ${limits.promptBytes} bytes`);
  }
  const nChoices = prompts.length * wanted.n;
  if (nChoices > limits.choices) {
    throw invalid("n", `n: ${prompts.length} prompts of ${wanted.n} answers, at most ${limits.choices} in all`);
  }
  const job = service.admit(named, nChoices, context);
  let echoes: Echo[] | undefined;
  try {
    const encoded = await encode(prompts, model, { special, addSpecial, signal });
    if (echo) {
      echoes = await Promise.all(prompts.map(async (one, i) => ({
        text: typeof one === "string" ? one : await model.detokenize(one),
        nTokens: encoded[i]!.length,
      })));
    }
    const promptLogprobs = echo ? logprobs : undefined;
    await job.start(jobPrompts(encoded, { ...wanted.options, logprobs, promptLogprobs, cacheSalt }, wanted.n));
  } catch (error) {
    job.close();
    throw error;
  }
  return await respond(service, job, shapeOf(named, wanted.n, logprobs !== undefined, echoes), wanted);
}
