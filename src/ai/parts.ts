/** A generation as the AI SDK's stream parts: blocks of text and reasoning, tool calls, and the end. */
import type { LanguageModelV4FinishReason, LanguageModelV4StreamPart, LanguageModelV4Usage } from "@ai-sdk/provider";
import { ReasoningCounter } from "../api/reasoning.ts";
import { RealizarError } from "../errors.ts";
import type { AnswerPart, Generation, GenerationResult } from "../types.ts";
import { PROVIDER } from "./options.ts";

type StreamPart = LanguageModelV4StreamPart;

/** The block that is being written. */
type Open =
  | { kind: "text" | "reasoning"; id: string }
  | { kind: "toolCall"; id: string; name: string; index: number; json: string };

function isObjectText(json: string): boolean {
  try {
    const value: unknown = JSON.parse(json);
    return typeof value === "object" && value !== null;
  } catch {
    return false;
  }
}

/** Turns the pieces of an answer into blocks that begin and end. */
class Blocks {
  /** Whether a whole tool call was told. */
  called = false;
  #open: Open | undefined;
  #nBlocks = 0;

  /** Parts for one piece. */
  push(piece: AnswerPart): StreamPart[] {
    switch (piece.kind) {
      case "text":
      case "reasoning": {
        if (piece.text === "") return [];
        const { kind, text } = piece;
        if (this.#open?.kind === kind) return [{ type: `${kind}-delta`, id: this.#open.id, delta: text }];
        const id = String(this.#nBlocks++);
        const ended = this.end();
        this.#open = { kind, id };
        return [...ended, { type: `${kind}-start`, id }, { type: `${kind}-delta`, id, delta: text }];
      }
      case "toolCall": {
        const { id, name, index } = piece;
        const ended = this.end();
        this.#open = { kind: "toolCall", id, name, index, json: "" };
        return [...ended, { type: "tool-input-start", id, toolName: name }];
      }
      case "toolArguments": {
        if (this.#open?.kind !== "toolCall" || this.#open.index !== piece.index) {
          throw new RealizarError("INTERNAL", `arguments came for tool call ${piece.index}, which is not open`);
        }
        this.#open.json += piece.json;
        return piece.json === "" ? [] : [{ type: "tool-input-delta", id: this.#open.id, delta: piece.json }];
      }
    }
  }

  /** Ends the block that is open. A call that was cut off is not told as one: half of its arguments is none. */
  end(): StreamPart[] {
    const open = this.#open;
    this.#open = undefined;
    if (open === undefined) return [];
    if (open.kind !== "toolCall") return [{ type: `${open.kind}-end`, id: open.id }];
    const parts: StreamPart[] = [{ type: "tool-input-end", id: open.id }];
    if (!isObjectText(open.json)) return parts;
    this.called = true;
    return [...parts, { type: "tool-call", toolCallId: open.id, toolName: open.name, input: open.json }];
  }
}

function finishReasonOf({ finishReason, stop }: GenerationResult, called: boolean): LanguageModelV4FinishReason {
  const unified = finishReason === "length" ? "length" : called ? "tool-calls" : "stop";
  return { unified, raw: stop === undefined ? finishReason : "stop_string" };
}

function usageOf({ usage }: GenerationResult, reasoning: number): LanguageModelV4Usage {
  const { promptTokens, cachedTokens, completionTokens } = usage;
  return {
    inputTokens: {
      total: promptTokens,
      noCache: promptTokens - cachedTokens,
      cacheRead: cachedTokens,
      cacheWrite: undefined,
    },
    outputTokens: { total: completionTokens, text: completionTokens - reasoning, reasoning },
  };
}

/** Why an aborted call rejects: as `fetch` does. */
function abortReason(signal: AbortSignal | undefined): unknown {
  return signal?.reason ?? new DOMException("the generation was ended", "AbortError");
}

/** The parts of a generation, `finish` last. Throws what the generation throws, and the signal's reason on abort. */
export async function* streamParts(
  generation: Generation,
  signal: AbortSignal | undefined,
): AsyncGenerator<StreamPart, void, undefined> {
  const blocks = new Blocks();
  const reasoning = new ReasoningCounter();
  for await (const { tokens, answer = [] } of generation) {
    reasoning.push(tokens.length, answer);
    for (const piece of answer) yield* blocks.push(piece);
  }
  const result = await generation.result();
  if (result.finishReason === "abort") throw abortReason(signal);
  if (result.answer === undefined) throw new RealizarError("INTERNAL", "the model did not split its answer");
  yield* blocks.end();
  yield {
    type: "finish",
    finishReason: finishReasonOf(result, blocks.called),
    usage: usageOf(result, reasoning.count),
    providerMetadata: { [PROVIDER]: { seed: result.seed, timings: { ...result.timings } } },
  };
}
