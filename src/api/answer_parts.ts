/** An answer being put together: its parts as they are told, and the whole. */
import type { Answer, AnswerPart, PartLogprob } from "../types.ts";

/** Collects parts; what goes on with the last one of the same push becomes a part of it. */
export class AnswerParts {
  /** The answer so far. */
  readonly answer: Answer = { text: "", reasoning: "", toolCalls: [] };
  #parts: AnswerPart[] = [];

  /** The parts since the last call. */
  take(): AnswerPart[] {
    const parts = this.#parts;
    this.#parts = [];
    return parts;
  }

  /** Text, with the log-probabilities of its tokens. */
  text(text: string, told: readonly PartLogprob[] = []): void {
    this.answer.text += text;
    const logprobs = [...told];
    const last = this.#parts.at(-1);
    if (last?.kind === "text") {
      this.#parts.pop();
      logprobs.unshift(...last.logprobs ?? []);
      text = last.text + text;
    }
    if (text === "" && logprobs.length === 0) return;
    this.#parts.push({ kind: "text", text, ...(logprobs.length > 0 ? { logprobs } : {}) });
  }

  /** Reasoning. */
  reasoning(text: string): void {
    this.answer.reasoning += text;
    const last = this.#parts.at(-1);
    if (last?.kind === "reasoning") this.#parts.pop();
    this.#parts.push({ kind: "reasoning", text: (last?.kind === "reasoning" ? last.text : "") + text });
  }

  /** A new call. */
  call(id: string, name: string): void {
    const { toolCalls } = this.answer;
    this.#parts.push({ kind: "toolCall", index: toolCalls.length, id, name });
    toolCalls.push({ id, name, arguments: "" });
  }

  /** Arguments of the last call. */
  arguments(json: string): void {
    if (json === "") return;
    const index = this.answer.toolCalls.length - 1;
    this.answer.toolCalls[index]!.arguments += json;
    this.#parts.push({ kind: "toolArguments", index, json });
  }
}
