/** Prompts of the API, looked at before they go anywhere. */
import { RealizarError } from "../errors.ts";
import type { ChatMessage, Prompt } from "../types.ts";

/** Rejects what was aborted before it began. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new RealizarError("CANCELLED", "aborted by its signal", { cause: signal.reason });
}

/** Whether a prompt is a conversation. */
export function isMessages(prompt: Prompt): prompt is readonly ChatMessage[] {
  return typeof prompt !== "string" && typeof prompt[0] === "object";
}

/** The ids, when every one is a token of the vocabulary. */
export function checkTokens(tokens: ArrayLike<number>, vocabSize: number): Int32Array {
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i]!;
    if (Number.isInteger(token) && token >= 0 && token < vocabSize) continue;
    throw new RealizarError("ARG", `prompt: token ${i} is ${token}, expected 0 to ${vocabSize - 1}`);
  }
  return Int32Array.from(tokens);
}
