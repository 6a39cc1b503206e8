/** From a generation to a message of Anthropic's API, whole or as a stream of named events. */
import { ReasoningCounter } from "../../api/reasoning.ts";
import { RealizarError } from "../../errors.ts";
import type { GenerationResult, Usage } from "../../types.ts";
import { isFailure, jsonResponse, toApiError } from "../errors.ts";
import { withFirstNews } from "../first_news.ts";
import type { Job, JobEvent } from "../job.ts";
import type { Service } from "../service.ts";
import { eventStream } from "../sse.ts";
import { BlockBuilder, type BlockEvent } from "./blocks.ts";
import { anthropicFailure } from "./errors.ts";
import type { WantedMessage } from "./request.ts";

/** What an answer is written from. */
export interface MessageSource {
  service: Service;
  /** Has one generation. */
  job: Job;
  wanted: WantedMessage;
  /** Tokens of the prompt. */
  nTokens: number;
  /** The request's id. */
  id: string;
}

function eventOf(event: { readonly type: string; readonly [field: string]: unknown }): string {
  return `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
}

/** Token counts: those found in the cache are told apart from the others, and what is put into it is not counted. */
function usageOf(usage: Usage, thinkingTokens: number): Record<string, unknown> {
  const { promptTokens, cachedTokens, completionTokens } = usage;
  return {
    input_tokens: promptTokens - cachedTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cachedTokens,
    output_tokens: completionTokens,
    output_tokens_details: { thinking_tokens: thinkingTokens },
    server_tool_use: null,
  };
}

/** What a message says of its end before there is one. */
const NOT_STOPPED = { stop_reason: null, stop_sequence: null, stop_details: null, container: null };
/** Further fields of the usage of a whole message. */
const USAGE_REST = { cache_creation: null, inference_geo: null, service_tier: "standard", speed: null };

function stopOf(result: GenerationResult, blocks: BlockBuilder, wanted: WantedMessage): Record<string, unknown> {
  const stop = (reason: string, sequence: string | null = null): Record<string, unknown> => ({
    ...NOT_STOPPED,
    stop_reason: reason,
    stop_sequence: sequence,
  });
  if (result.finishReason === "length") {
    const isFull = result.usage.completionTokens < wanted.maxTokens;
    return stop(isFull ? "model_context_window_exceeded" : "max_tokens");
  }
  if (result.stop !== undefined && wanted.stopSequences.includes(result.stop)) {
    return stop("stop_sequence", result.stop);
  }
  return stop(blocks.hasCalls ? "tool_use" : "end_turn");
}

/** One message as it comes about. */
class Writer {
  readonly #source: MessageSource;
  readonly #blocks: BlockBuilder;
  readonly #thinking = new ReasoningCounter();

  constructor(source: MessageSource) {
    this.#source = source;
    this.#blocks = new BlockBuilder(source.wanted.showsThinking);
  }

  /** Events of what the model told, but those that end the message. */
  *push({ part, result }: JobEvent): Generator<BlockEvent, void, undefined> {
    if (part === undefined) {
      if (result.answer === undefined) throw new RealizarError("INTERNAL", "the model did not split its answer");
      return yield* this.#blocks.end();
    }
    this.#thinking.push(part.tokens.length, part.answer);
    for (const piece of part.answer ?? []) yield* this.#blocks.push(piece);
  }

  /** Why it ended, and what it took. */
  end(result: GenerationResult): { delta: Record<string, unknown>; usage: Record<string, unknown> } {
    const delta = stopOf(result, this.#blocks, this.#source.wanted);
    return { delta, usage: usageOf(result.usage, this.#thinking.count) };
  }

  /** The message; before its end without content and reasons. */
  message(result: GenerationResult | undefined): Record<string, unknown> {
    const { job, nTokens } = this.#source;
    const begun = { promptTokens: nTokens, cachedTokens: 0, completionTokens: 0 };
    const { delta, usage } = result === undefined ? { delta: NOT_STOPPED, usage: usageOf(begun, 0) } : this.end(result);
    return {
      id: `msg_${crypto.randomUUID().replaceAll("-", "")}`,
      type: "message",
      role: "assistant",
      model: job.name,
      content: this.#blocks.blocks,
      ...delta,
      diagnostics: null,
      usage: { ...usage, ...USAGE_REST },
    };
  }
}

async function* streamed(
  source: MessageSource,
  events: AsyncGenerator<JobEvent>,
): AsyncGenerator<string, void, undefined> {
  const writer = new Writer(source);
  try {
    yield eventOf({ type: "message_start", message: writer.message(undefined) });
    for await (const event of events) {
      for (const one of writer.push(event)) yield eventOf(one);
      if (event.result !== undefined) yield eventOf({ type: "message_delta", ...writer.end(event.result) });
    }
    yield eventOf({ type: "message_stop" });
  } catch (error) {
    // The status is sent already: clients of the API read errors from the stream too.
    if (isFailure(error)) source.service.report(error);
    yield eventOf({ type: "error", ...anthropicFailure(toApiError(error), source.id) });
  }
}

/** The whole message. */
async function complete(source: MessageSource): Promise<Response> {
  const { job } = source;
  const writer = new Writer(source);
  for await (const event of job.events()) {
    for (const _ of writer.push(event)) { /* the writer keeps the blocks */ }
  }
  job.close();
  return jsonResponse(writer.message(job.results[0]));
}

/** Answers with the generation of a job, which is closed in the end. */
export async function respond(source: MessageSource): Promise<Response> {
  const { service, job, wanted } = source;
  const { pingMs } = service.limits;
  try {
    if (!wanted.stream) return await complete(source);
    const events = await withFirstNews(job.events(), pingMs);
    return eventStream(streamed(source, events), pingMs, () => job.close(), eventOf({ type: "ping" }));
  } catch (error) {
    job.close();
    throw error;
  }
}
