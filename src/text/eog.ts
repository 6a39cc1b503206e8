/** Which tokens end a generation, beside those that the file's metadata names. */
import type { StringTable } from "../string_table.ts";

/**
 * Texts of tokens that end a turn, a text or a file in the families in use. Files often name only one of them,
 * and models write the others too.
 */
const END_TEXTS = [
  "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", // Llama 3, Granite
  "<|im_end|>", "<|endoftext|>", // ChatML, GPT-2
  "<|end|>", "<|return|>", "<|call|>", // Phi, harmony
  "<|calls|>", "<|flush|>", // Solar
  "<end_of_turn>", "<turn|>", // Gemma
  "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "[e~[", // CodeLlama, Kimi, MiniMax
  "<end_of_utterance>", // SmolVLM
  "<｜end▁of▁sentence｜>", // DeepSeek
  "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]", // padding in code models
  "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>", // a next repository begins
  "<|file_sep|>", // a next file begins
]; // deno-fmt-ignore

/** Ids of the tokens with one of the known end texts, by text. */
export function findEndTokens(tokens: StringTable): Map<string, number> {
  const encoder = new TextEncoder();
  const byLength = new Map<number, { text: string; bytes: Uint8Array }[]>();
  for (const text of END_TEXTS) {
    const bytes = encoder.encode(text);
    const list = byLength.get(bytes.length);
    if (list === undefined) byLength.set(bytes.length, [{ text, bytes }]);
    else list.push({ text, bytes });
  }
  const found = new Map<string, number>();
  for (let id = 0; id < tokens.length; id++) {
    const candidates = byLength.get(tokens.lengths[id]!);
    if (candidates === undefined) continue;
    const start = tokens.offsets[id]!;
    for (const { text, bytes } of candidates) {
      let i = 0;
      while (i < bytes.length && bytes[i] === tokens.bytes[start + i]) i++;
      if (i === bytes.length && !found.has(text)) found.set(text, id);
    }
  }
  // In harmony `<|end|>` closes one message of several; there `<|return|>` and `<|call|>` end the turn.
  const closes = (found.has("<|return|>") && found.has("<|call|>")) || (found.has("<|calls|>") && found.has("<|flush|>"));
  if (closes) found.delete("<|end|>");
  return found;
}
