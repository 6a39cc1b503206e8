/** From a generation to a response, whole or as a stream of named and numbered events. */
import { ReasoningCounter } from "../../api/reasoning.ts";
import { RealizarError } from "../../errors.ts";
import type { GenerationResult } from "../../types.ts";
import { isFailure, toApiError } from "../errors.ts";
import { withFirstNews } from "../first_news.ts";
import type { Job, JobEvent } from "../job.ts";
import { answerWith, isLong, jsonPieces } from "../long_json.ts";
import { chatLogprobs } from "../openai/logprobs.ts";
import type { Service } from "../service.ts";
import { eventStream } from "../sse.ts";
import { newId, OutputBuilder, type ResponseEvent } from "./output.ts";
import type { WantedResponse } from "./request.ts";

/** What a response is written from. */
export interface ResponseSource {
  service: Service;
  /** Has one generation. */
  job: Job;
  wanted: WantedResponse;
}

/** Fields that are the same in every response of this server. */
const CONSTANT = {
  background: false,
  previous_response_id: null,
  service_tier: "default",
  store: false,
  truncation: "disabled",
};

function usageOf({ usage }: GenerationResult, reasoningTokens: number): Record<string, unknown> {
  const { promptTokens, cachedTokens, completionTokens } = usage;
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cached_tokens: cachedTokens },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: reasoningTokens },
    total_tokens: promptTokens + completionTokens,
  };
}

/** One response as it comes about. */
class Writer {
  readonly #output: OutputBuilder;
  readonly #reasoning = new ReasoningCounter();
  readonly #fields: Readonly<Record<string, unknown>>;

  constructor({ job, wanted }: ResponseSource) {
    const { model } = job;
    const logprobsOf: ConstructorParameters<typeof OutputBuilder>[0] = (logprobs) => chatLogprobs(model, logprobs);
    this.#output = new OutputBuilder(wanted.logprobs ? logprobsOf : undefined);
    const created = Math.floor(Date.now() / 1000);
    this.#fields = { id: newId("resp"), object: "response", created_at: created, model: job.name, ...CONSTANT };
    this.#fields = { ...this.#fields, ...wanted.echo };
  }

  /** The response as it is now. */
  response(status: string, more: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
    const nothing = { error: null, incomplete_details: null, usage: null };
    return { ...this.#fields, status, ...nothing, output: this.#output.items, ...more };
  }

  /** Events of what the model told, without the last one. */
  *push({ part, result }: JobEvent): Generator<ResponseEvent, void, undefined> {
    if (part !== undefined) {
      this.#reasoning.push(part.tokens.length, part.answer);
      for (const piece of part.answer ?? []) yield* this.#output.push(piece);
      return;
    }
    if (result.answer === undefined) throw new RealizarError("INTERNAL", "the model did not split its answer");
    yield* this.#output.end(result.finishReason === "length" ? "incomplete" : "completed");
  }

  /** The response in the end. */
  finished(result: GenerationResult): Record<string, unknown> {
    const usage = usageOf(result, this.#reasoning.count);
    if (result.finishReason === "length") {
      return this.response("incomplete", { usage, incomplete_details: { reason: "max_output_tokens" } });
    }
    return this.response("completed", { usage, completed_at: Math.floor(Date.now() / 1000) });
  }

  /** The last events of a response that failed: clients know one or the other. */
  failed(thrown: unknown): ResponseEvent[] {
    const { status, code, message, param = null } = toApiError(thrown);
    const error = { code: status < 500 ? "invalid_prompt" : "server_error", message };
    return [
      { type: "response.failed", response: this.response("failed", { error }) },
      { type: "error", code, message, param },
    ];
  }
}

async function* responseEvents(
  source: ResponseSource,
  news: AsyncGenerator<JobEvent>,
): AsyncGenerator<ResponseEvent, void, undefined> {
  const writer = new Writer(source);
  try {
    yield { type: "response.created", response: writer.response("in_progress") };
    yield { type: "response.in_progress", response: writer.response("in_progress") };
    for await (const one of news) {
      yield* writer.push(one);
      if (one.result === undefined) continue;
      const response = writer.finished(one.result);
      yield { type: `response.${response.status as string}`, response };
    }
  } catch (error) {
    // The status is sent already: clients of the API read errors from the stream too.
    if (isFailure(error)) source.service.report(error);
    yield* writer.failed(error);
  }
}

async function* numbered(events: AsyncGenerator<ResponseEvent>): AsyncGenerator<string, void, undefined> {
  let n = 0;
  for await (const { type, ...fields } of events) {
    const data = { type, sequence_number: n++, ...fields };
    if (isLong(data)) {
      yield `event: ${type}\ndata: `;
      yield* jsonPieces(data);
      yield "\n\n";
    } else yield `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
  }
}

/** The whole response. */
async function complete(source: ResponseSource): Promise<Response> {
  const writer = new Writer(source);
  let end: GenerationResult | undefined;
  for await (const one of source.job.events()) {
    for (const _event of writer.push(one)) { /* the writer keeps what they add up to */ }
    end ??= one.result;
  }
  source.job.close();
  return answerWith(writer.finished(end!));
}

/** Answers with the generation of a job, which is closed in the end. */
export async function respond(source: ResponseSource): Promise<Response> {
  const { service, job, wanted } = source;
  const { pingMs } = service.limits;
  try {
    if (!wanted.stream) return await complete(source);
    const news = await withFirstNews(job.events(), pingMs);
    return eventStream(numbered(responseEvents(source, news)), pingMs, () => job.close());
  } catch (error) {
    job.close();
    throw error;
  }
}
