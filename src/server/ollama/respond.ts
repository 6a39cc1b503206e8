/** From a generation to an answer of Ollama's API: one object, or a line of JSON for each piece. */
import { RealizarError } from "../../errors.ts";
import type { AnswerPart, GenerationPart, GenerationResult } from "../../types.ts";
import { isFailure, toApiError } from "../errors.ts";
import { withFirstNews } from "../first_news.ts";
import type { Job, JobEvent } from "../job.ts";
import { answerWith } from "../long_json.ts";
import { wholeChatLogprobs } from "../openai/logprobs.ts";
import { atSchemaField, type SchemaFields } from "../schema_field.ts";
import type { Service } from "../service.ts";
import { textStream } from "../sse.ts";
import { ollamaFailure } from "./errors.ts";

/** What a piece of an answer, or a whole one, says. */
export interface Said {
  text: string;
  thinking: string;
  calls: OllamaCall[];
}

/** A call of a tool, in Ollama's shape. */
export interface OllamaCall {
  id: string;
  function: { index: number; name: string; arguments: unknown };
}

/** What an answer is written from. */
export interface AnswerSource {
  service: Service;
  /** Has one generation. */
  job: Job;
  startedAt: number;
  stream: boolean;
  logprobs: boolean;
  /** Whether the generation splits its answer; raw text is not split. */
  splits: boolean;
  /** The fields of chat or of generate that carry what was said. */
  shape(said: Said): Record<string, unknown>;
}

const NS_PER_MS = 1e6;
const FIELDS: SchemaFields = { tool: (index) => `tools[${index}].function.parameters`, schema: "format" };

/** Puts calls together, which clients get whole. */
class CallAssembler {
  #open: { id: string; index: number; name: string; json: string } | undefined;

  /** The call that is complete because of this part; without a part, because nothing more comes. */
  push(part: AnswerPart | undefined): OllamaCall[] {
    if (part?.kind === "toolArguments") {
      if (this.#open?.index === part.index) this.#open.json += part.json;
      return [];
    }
    const done = this.#take();
    if (part?.kind === "toolCall") this.#open = { id: part.id, index: part.index, name: part.name, json: "" };
    return done;
  }

  /** A call that the model was cut off in is left out: its arguments are no object. */
  #take(): OllamaCall[] {
    const open = this.#open;
    this.#open = undefined;
    if (open === undefined) return [];
    try {
      const { id, index, name, json } = open;
      return [{ id, function: { index, name, arguments: JSON.parse(json) as unknown } }];
    } catch {
      return [];
    }
  }
}

/** Reads one generation. */
class Reader {
  readonly #calls = new CallAssembler();
  readonly #splits: boolean;

  constructor(splits: boolean) {
    this.#splits = splits;
  }

  part({ text, answer = [] }: GenerationPart): Said {
    const said: Said = { text: this.#splits ? "" : text, thinking: "", calls: [] };
    for (const piece of answer) {
      said.calls.push(...this.#calls.push(piece));
      if (piece.kind === "text") said.text += piece.text;
      else if (piece.kind === "reasoning") said.thinking += piece.text;
    }
    return said;
  }

  end(result: GenerationResult): Said {
    if (this.#splits && result.answer === undefined) {
      throw new RealizarError("INTERNAL", "the model did not split its answer");
    }
    return { text: "", thinking: "", calls: this.#calls.push(undefined) };
  }
}

function isSilent({ text, thinking, calls }: Said): boolean {
  return text === "" && thinking === "" && calls.length === 0;
}

function head({ job }: AnswerSource): Record<string, unknown> {
  return { model: job.name, created_at: new Date().toISOString() };
}

/** What the last object tells: why, and how long it took in nanoseconds. Models are loaded already. */
function endOf({ finishReason, usage, timings }: GenerationResult, startedAt: number): Record<string, unknown> {
  const ns = (ms: number): number => Math.round(ms * NS_PER_MS);
  return {
    done: true,
    done_reason: finishReason,
    total_duration: ns(performance.now() - startedAt),
    load_duration: 0,
    prompt_eval_count: usage.promptTokens,
    prompt_eval_duration: ns(timings.ttftMs),
    eval_count: usage.completionTokens,
    eval_duration: ns(timings.decodeMs),
  };
}

function logprobsOf(source: AnswerSource, logprobs: GenerationPart["logprobs"]): Record<string, unknown> {
  if (!source.logprobs || logprobs === undefined || logprobs.length === 0) return {};
  return { logprobs: wholeChatLogprobs(source.job.model, logprobs) };
}

async function* lines(
  source: AnswerSource,
  events: AsyncGenerator<JobEvent>,
): AsyncGenerator<string, void, undefined> {
  const line = (data: unknown): string => `${JSON.stringify(data)}\n`;
  const reader = new Reader(source.splits);
  const { service, shape, startedAt } = source;
  try {
    for await (const { part, result } of events) {
      const said = part === undefined ? reader.end(result) : reader.part(part);
      const logprobs = logprobsOf(source, part?.logprobs);
      const isEmpty = isSilent(said) && Object.keys(logprobs).length === 0;
      if (!isEmpty) yield line({ ...head(source), ...shape(said), ...logprobs, done: false });
      if (part !== undefined) continue;
      yield line({ ...head(source), ...shape({ text: "", thinking: "", calls: [] }), ...endOf(result, startedAt) });
    }
  } catch (error) {
    // The status is sent already: clients of the API read errors from the stream too.
    if (isFailure(error)) service.report(error);
    yield line(ollamaFailure(toApiError(error)));
  }
}

async function complete(source: AnswerSource): Promise<Response> {
  const { job, shape, startedAt } = source;
  const reader = new Reader(source.splits);
  const whole: Said = { text: "", thinking: "", calls: [] };
  let end: GenerationResult | undefined;
  for await (const { part, result } of job.events()) {
    const said = part === undefined ? reader.end(result) : reader.part(part);
    whole.text += said.text;
    whole.thinking += said.thinking;
    whole.calls.push(...said.calls);
    end ??= result;
  }
  job.close();
  const logprobs = logprobsOf(source, end!.logprobs);
  return answerWith({ ...head(source), ...shape(whole), ...logprobs, ...endOf(end!, startedAt) });
}

/** Answers with the generation of a job, which is closed in the end. */
export async function respond(source: AnswerSource): Promise<Response> {
  const { service, job, shape } = source;
  const { pingMs } = service.limits;
  try {
    if (!source.stream) return await complete(source);
    const events = await withFirstNews(job.events(), pingMs);
    // Lines have no comments: a piece without text keeps the connection.
    const nothing = (): Said => ({ text: "", thinking: "", calls: [] });
    const ping = (): string => `${JSON.stringify({ ...head(source), ...shape(nothing()), done: false })}\n`;
    return textStream(lines(source, events), "application/x-ndjson", { ms: pingMs, text: ping }, () => job.close());
  } catch (error) {
    job.close();
    throw atSchemaField(error, FIELDS);
  }
}
