/** One model as the AI SDK's `LanguageModelV4`. */
import type {
  LanguageModelV4,
  LanguageModelV4CallOptions,
  LanguageModelV4Content,
  LanguageModelV4GenerateResult,
  LanguageModelV4ResponseMetadata,
  LanguageModelV4StreamPart,
  LanguageModelV4StreamResult,
  SharedV4Warning,
} from "@ai-sdk/provider";
import { RealizarError } from "../errors.ts";
import type { Generation } from "../types.ts";
import { callSettings, PROVIDER } from "./options.ts";
import { streamParts } from "./parts.ts";
import { messagesOf } from "./prompt.ts";
import type { AiModel, OwnOptions } from "./settings.ts";

/** A started answer. */
interface Started {
  generation: Generation;
  warnings: SharedV4Warning[];
  metadata: LanguageModelV4ResponseMetadata;
}

/** The parts as one list of contents. */
function addContent(content: LanguageModelV4Content[], part: LanguageModelV4StreamPart): void {
  if (part.type === "text-start") content.push({ type: "text", text: "" });
  else if (part.type === "reasoning-start") content.push({ type: "reasoning", text: "" });
  else if (part.type === "tool-call") content.push(part);
  else if (part.type === "text-delta" || part.type === "reasoning-delta") {
    const last = content.at(-1);
    if (last?.type === "text" || last?.type === "reasoning") last.text += part.delta;
  }
}

/** What a stream ends with that failed: readers of parts hear of the failure there, not by a stream that breaks. */
function failureParts(error: unknown): LanguageModelV4StreamPart[] {
  const unknown = undefined;
  return [
    { type: "error", error },
    {
      type: "finish",
      finishReason: { unified: "error", raw: error instanceof RealizarError ? error.code : undefined },
      usage: {
        inputTokens: { total: unknown, noCache: unknown, cacheRead: unknown, cacheWrite: unknown },
        outputTokens: { total: unknown, text: unknown, reasoning: unknown },
      },
    },
  ];
}

/** The parts of a generation; those of its failure when it fails. An abort still breaks the stream, as `fetch` does. */
async function* untilFailure(generation: Generation, signal: AbortSignal | undefined) {
  try {
    yield* streamParts(generation, signal);
  } catch (error) {
    if (signal?.aborted === true) throw error;
    yield* failureParts(error);
  }
}

/** The {@linkcode LanguageModelV4} of one model. */
export class RealizarLanguageModel implements LanguageModelV4 {
  readonly specificationVersion = "v4";
  readonly provider: string = PROVIDER;
  readonly modelId: string;
  /** Nothing is fetched, so no URL is. */
  readonly supportedUrls: Record<string, RegExp[]> = {};
  readonly #model: AiModel;
  readonly #defaults: OwnOptions;

  constructor(model: AiModel, modelId: string, defaults: OwnOptions) {
    this.#model = model;
    this.modelId = modelId;
    this.#defaults = defaults;
  }

  /** The whole answer. */
  async doGenerate(call: LanguageModelV4CallOptions): Promise<LanguageModelV4GenerateResult> {
    const { generation, warnings, metadata } = await this.#start(call);
    const content: LanguageModelV4Content[] = [];
    for await (const part of streamParts(generation, call.abortSignal)) {
      addContent(content, part);
      if (part.type !== "finish") continue;
      const { finishReason, usage, providerMetadata } = part;
      return { content, finishReason, usage, warnings, response: metadata, providerMetadata: providerMetadata! };
    }
    throw new RealizarError("INTERNAL", "the answer came to no end");
  }

  /** The answer as it is made. The stream asks for the next part when the last was taken; cancelling ends it. */
  async doStream(call: LanguageModelV4CallOptions): Promise<LanguageModelV4StreamResult> {
    const { generation, warnings, metadata } = await this.#start(call);
    const parts = untilFailure(generation, call.abortSignal);
    const stream = new ReadableStream<LanguageModelV4StreamPart>({
      start(controller) {
        controller.enqueue({ type: "stream-start", warnings });
        controller.enqueue({ type: "response-metadata", ...metadata });
      },
      async pull(controller) {
        const { done, value } = await parts.next();
        if (done === true) controller.close();
        else controller.enqueue(value);
      },
      async cancel() {
        generation.cancel();
        await parts.return();
      },
    }, { highWaterMark: 0 });
    return { stream };
  }

  async #start(call: LanguageModelV4CallOptions): Promise<Started> {
    call.abortSignal?.throwIfAborted();
    const messages = messagesOf(call.prompt);
    const { options, warnings } = await callSettings(call, this.#model, this.#defaults);
    const generation = this.#model.generate(messages, options);
    const metadata = { id: `realizar-${crypto.randomUUID()}`, timestamp: new Date(), modelId: this.modelId };
    return { generation, warnings, metadata };
  }
}
