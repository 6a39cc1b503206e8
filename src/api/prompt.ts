/** Prompts of the API, looked at before they go anywhere. */
import { RealizarError } from "../errors.ts";
import { Detokenizer } from "../text/detokenize.ts";
import type { Vocab } from "../text/vocab.ts";
import { othersFirst } from "../turns.ts";
import type { ChatMessage, Prompt } from "../types.ts";

/** Rejects what was aborted before it began. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new RealizarError("CANCELLED", "aborted by its signal", { cause: signal.reason });
}

/** Whether a prompt is a conversation. */
export function isMessages(prompt: Prompt): prompt is readonly ChatMessage[] {
  return typeof prompt !== "string" && typeof prompt[0] === "object";
}

/** Tokens that are decoded in one go: about a millisecond. */
const DECODED_AT_ONCE = 10_000;

/** Text of token ids, with a turn for others where there are many. Rejects with `ARG`, `CANCELLED`. */
export async function decodeInTurns(
  tokens: ArrayLike<number>,
  vocab: Vocab,
  signal: AbortSignal | undefined,
): Promise<string> {
  const detokenizer = new Detokenizer(vocab);
  let text = "";
  for (let first = 0; first < tokens.length; first += DECODED_AT_ONCE) {
    if (first > 0) await othersFirst();
    throwIfAborted(signal);
    const end = Math.min(tokens.length, first + DECODED_AT_ONCE);
    for (let i = first; i < end; i++) {
      checkToken(tokens[i]!, i, vocab.size);
      text += detokenizer.push(tokens[i]!);
    }
  }
  return text + detokenizer.flush();
}

/** The ids, when every one is a token of the vocabulary. */
export function checkTokens(tokens: ArrayLike<number>, vocabSize: number): Int32Array {
  for (let i = 0; i < tokens.length; i++) checkToken(tokens[i]!, i, vocabSize);
  return new Int32Array(tokens);
}

function checkToken(token: number, i: number, vocabSize: number): void {
  if (Number.isInteger(token) && token >= 0 && token < vocabSize) return;
  throw new RealizarError("ARG", `prompt: token ${i} is ${token}, expected 0 to ${vocabSize - 1}`);
}
