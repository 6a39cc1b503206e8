/** From generations to the answers of OpenAI's API: one object, or a stream of chunks. */
import { ReasoningCounter } from "../../api/reasoning.ts";
import type { GenerateOptions, GenerationPart, GenerationResult } from "../../types.ts";
import { invalid, isFailure, toApiError } from "../errors.ts";
import { withFirstNews } from "../first_news.ts";
import type { Job, JobEvent, JobPrompt } from "../job.ts";
import { answerWith } from "../long_json.ts";
import { DONE, eventOf, eventStream } from "../sse.ts";
import type { Service } from "../service.ts";
import { optionsOf, type Wanted } from "./sampling.ts";

/** How one API writes a generation. Every function but `see` returns a choice. */
export interface Shape {
  /** Fields of the whole answer, and of a chunk. */
  whole: Readonly<Record<string, unknown>>;
  chunk: Readonly<Record<string, unknown>>;
  /** What a stream says of a choice before its text; undefined = nothing. */
  begin(index: number): unknown;
  /** Hears of each piece, streamed or not, before anything is written of it. */
  see?(index: number, part: GenerationPart): void;
  /** A piece of a choice in a stream; undefined = nothing to say. */
  part(index: number, part: GenerationPart): unknown;
  /** The end of a choice in a stream. */
  end(index: number, result: GenerationResult): unknown;
  /** A choice in an answer that is no stream. */
  complete(index: number, result: GenerationResult): unknown;
}

/** Refuses a prompt that leaves no room for an answer. */
export function checkRoom(nTokens: number, contextSize: number, param: string): void {
  if (nTokens === 0) throw invalid(param, `${param}: the prompt has no tokens`);
  if (nTokens < contextSize) return;
  const message = `the prompt has ${nTokens} tokens, the context holds ${contextSize} and needs room for one more`;
  throw invalid(param, message, "context_length_exceeded");
}

/** Every prompt n times. */
export function jobPrompts(prompts: readonly Int32Array[], options: GenerateOptions, n: number): JobPrompt[] {
  return prompts.flatMap((tokens) => Array.from({ length: n }, (_, k) => ({ tokens, options: optionsOf(options, k) })));
}

/** Token counts as the API tells them: a prompt counts once, however many answers it got. */
function usageOf(results: readonly GenerationResult[], n: number, reasoning: number): Record<string, unknown> {
  let prompt = 0, cached = 0, completion = 0;
  for (let first = 0; first < results.length; first += n) {
    const answers = results.slice(first, first + n).map(({ usage }) => usage);
    prompt += answers[0]!.promptTokens;
    // Later answers find what the first has computed: only what all of them found was there before.
    cached += Math.min(...answers.map(({ cachedTokens }) => cachedTokens));
    completion += answers.reduce((sum, { completionTokens }) => sum + completionTokens, 0);
  }
  return {
    prompt_tokens: prompt,
    completion_tokens: completion,
    total_tokens: prompt + completion,
    prompt_tokens_details: { cached_tokens: cached },
    completion_tokens_details: { reasoning_tokens: reasoning },
  };
}

/** The finish reason as the API has it. */
export function finishReasonOf({ finishReason }: GenerationResult): "stop" | "length" {
  return finishReason === "length" ? "length" : "stop";
}

/** The events of a job, each told to the shape first; and the tokens that went into reasoning so far. */
class Watched {
  readonly #counters: readonly ReasoningCounter[];
  readonly #job: Job;
  readonly #shape: Shape;

  constructor(job: Job, shape: Shape) {
    this.#job = job;
    this.#shape = shape;
    this.#counters = Array.from({ length: job.nChoices }, () => new ReasoningCounter());
  }

  get reasoningTokens(): number {
    return this.#counters.reduce((sum, { count }) => sum + count, 0);
  }

  async *events(): AsyncGenerator<JobEvent, void, undefined> {
    for await (const event of this.#job.events()) {
      if (event.part !== undefined) {
        this.#counters[event.index]!.push(event.part.tokens.length, event.part.answer);
        this.#shape.see?.(event.index, event.part);
      }
      yield event;
    }
  }
}

/** What a stream is written from. */
interface ChunkSource {
  service: Service;
  job: Job;
  shape: Shape;
  wanted: Wanted;
  watched: Watched;
}

async function* chunks(
  { service, job, shape, wanted, watched }: ChunkSource,
  events: AsyncGenerator<JobEvent>,
): AsyncGenerator<string, void, undefined> {
  const usage = wanted.includeUsage ? { usage: null } : {};
  const chunk = (choice: unknown): string => eventOf({ ...shape.chunk, choices: [choice], ...usage });
  try {
    for (let index = 0; index < job.nChoices; index++) {
      const choice = shape.begin(index);
      if (choice !== undefined) yield chunk(choice);
    }
    for await (const event of events) {
      const { index } = event;
      const choice = event.part === undefined ? shape.end(index, event.result) : shape.part(index, event.part);
      if (choice !== undefined) yield chunk(choice);
    }
    const sum = usageOf(job.results, wanted.n, watched.reasoningTokens);
    if (wanted.includeUsage) yield eventOf({ ...shape.chunk, choices: [], usage: sum });
    yield DONE;
  } catch (error) {
    // The status is sent already: clients of the API read errors from the stream too.
    if (isFailure(error)) service.report(error);
    yield eventOf(toApiError(error).body());
  }
}

/**
 * Answers with the generations of a job, which is closed in the end. A stream waits for its first news, so that what
 * is wrong with a grammar still has a status; not longer than until a comment would be sent.
 */
export async function respond(service: Service, job: Job, shape: Shape, wanted: Wanted): Promise<Response> {
  const watched = new Watched(job, shape);
  const { pingMs } = service.limits;
  try {
    if (wanted.stream) {
      const events = await withFirstNews(watched.events(), pingMs);
      const texts = chunks({ service, job, shape, wanted, watched }, events);
      return eventStream(texts, pingMs, () => job.close());
    }
    for await (const _event of watched.events()) { /* results are kept by the job */ }
    job.close();
    const choices = job.results.map((result, index) => shape.complete(index, result));
    return answerWith({ ...shape.whole, choices, usage: usageOf(job.results, wanted.n, watched.reasoningTokens) });
  } catch (error) {
    job.close();
    throw error;
  }
}
