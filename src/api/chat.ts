/** A conversation over a model: its history, and one answer at a time. */
import { RealizarError } from "../errors.ts";
import type { Chat, ChatMessage, ChatOptions, GenerateOptions, Generation, GenerationResult } from "../types.ts";

/** Starts a generation from messages. `refusal` makes it fail at once; `onEnd` hears its result, undefined = failed. */
export type StartGeneration = (
  messages: readonly ChatMessage[],
  options: GenerateOptions,
  hooks: { refusal?: RealizarError; onEnd?: (result: GenerationResult | undefined) => void },
) => Generation;

/** The {@linkcode Chat} of this library. */
export class Conversation implements Chat {
  readonly #start: StartGeneration;
  readonly #options: GenerateOptions;
  readonly #history: ChatMessage[];
  #busy = false;

  constructor(start: StartGeneration, { system, history = [], ...options }: ChatOptions) {
    this.#start = start;
    this.#options = options;
    this.#history = history.map((message) => ({ ...message }));
    if (system !== undefined) this.#history.unshift({ role: "system", content: system });
  }

  get history(): readonly ChatMessage[] {
    return this.#history;
  }

  send(content: string | readonly ChatMessage[], options: GenerateOptions = {}): Generation {
    const added = typeof content === "string"
      ? [{ role: "user", content }]
      : content.map((message) => ({ ...message }));
    const messages = [...this.#history, ...added];
    const merged = { ...this.#options, ...options };
    if (this.#busy) {
      return this.#start(messages, merged, { refusal: new RealizarError("BUSY", "an answer is being made already") });
    }
    this.#busy = true;
    const onEnd = (result: GenerationResult | undefined): void => {
      this.#busy = false;
      if (result === undefined) return; // it failed: as if it had not been asked
      const { text, reasoning = "", toolCalls = [] } = result.answer ?? { text: result.text };
      const answer: ChatMessage = { role: "assistant", content: text };
      if (reasoning !== "") answer.reasoning = reasoning;
      if (toolCalls.length > 0) answer.toolCalls = toolCalls.map((call) => ({ ...call }));
      if (result.finishReason === "abort") answer.aborted = true;
      this.#history.push(...added, answer);
    };
    return this.#start(messages, merged, { onEnd });
  }
}
