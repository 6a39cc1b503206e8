/** Which tokens end a generation, beside those that the file's metadata names. */
import type { StringTable } from "../string_table.ts";
import { TOKEN_TYPE } from "./token_type.ts";

/**
 * Texts of tokens that end a turn or a text in the families in use. Files often name only one of them, and models
 * write the others too. They are control tokens even where a file calls them something else, as llama.cpp has it.
 */
// deno-fmt-ignore
const TURN_ENDS = [
  "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", // Llama 3, Granite
  "<|im_end|>", "<|endoftext|>", // ChatML, GPT-2
  "<|end|>", "<|return|>", "<|call|>", // Phi, harmony
  "<|calls|>", "<|flush|>", // Solar
  "<end_of_turn>", "<turn|>", // Gemma
  "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "[e~[", // CodeLlama, Kimi, MiniMax
  "<end_of_utterance>", // SmolVLM
  "<｜end▁of▁sentence｜>", // DeepSeek
];

/** Texts of tokens after which code models go on with another file or repository, or with nothing. */
// deno-fmt-ignore
const FILE_ENDS = [
  "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]",
  "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>",
  "<|file_sep|>",
];

/** Ids found by {@linkcode findEndTokens}. */
export interface EndTokens {
  /** Every id that ends a generation. */
  readonly ends: ReadonlySet<number>;
  /** Those of them that are control tokens whatever the file says. */
  readonly control: ReadonlySet<number>;
}

/** The tokens with one of the known texts; those of files count only when `types` says that they are special. */
export function findEndTokens(tokens: StringTable, types: Uint8Array): EndTokens {
  const encoder = new TextEncoder();
  const byLength = new Map<number, { text: string; bytes: Uint8Array }[]>();
  for (const text of [...TURN_ENDS, ...FILE_ENDS]) {
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
  const harmony = found.has("<|return|>") && found.has("<|call|>");
  if (harmony || (found.has("<|calls|>") && found.has("<|flush|>"))) found.delete("<|end|>");
  const control = new Set(TURN_ENDS.flatMap((text) => found.get(text) ?? []));
  const ends = new Set(control);
  for (const text of FILE_ENDS) {
    const id = found.get(text);
    const isSpecial = id !== undefined && (types[id] === TOKEN_TYPE.control || types[id] === TOKEN_TYPE.userDefined);
    if (isSpecial) ends.add(id);
  }
  return { ends, control };
}
