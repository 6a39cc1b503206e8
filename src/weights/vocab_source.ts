/** The vocabulary of a model, from its metadata. What the arrays contain is checked where the vocabulary is built. */
import type { Metadata } from "../format/metadata.ts";
import { quoted } from "../format/problems.ts";
import type { VocabSource } from "../text/vocab.ts";

/**
 * The `tokenizer.*` metadata, its arrays read in place. Throws `KEY_MISSING` (no tokenizer, no tokens), `TYPE` (a key
 * of the wrong type), `UNSUPPORTED` (another kind of tokenizer).
 */
export function readVocabSource(metadata: Metadata): VocabSource {
  const key = (name: string): string => `tokenizer.ggml.${name}`;
  const id = (name: string): number | undefined => metadata.int(key(`${name}_token_id`), undefined);
  const model = metadata.string(key("model"));
  if (model !== "gpt2" && model !== "llama") {
    throw metadata.errorAt("UNSUPPORTED", key("model"), `tokenizer ${quoted(model)}, supported are gpt2, llama`);
  }
  const eom = id("eom");
  return {
    model,
    pre: metadata.string(key("pre"), undefined),
    tokens: metadata.strings(key("tokens")),
    tokenTypes: metadata.ints(key("token_type"), undefined),
    scores: metadata.floats(key("scores"), undefined),
    merges: metadata.strings(key("merges"), undefined),
    bosId: id("bos"),
    eosId: id("eos"),
    eotId: id("eot"),
    unkId: id("unknown"),
    padId: id("padding"),
    eogIds: eom === undefined || eom === 0xffffffff ? [] : [eom],
    addBos: metadata.bool(key("add_bos_token"), undefined),
    addEos: metadata.bool(key("add_eos_token"), undefined),
    addSpacePrefix: metadata.bool(key("add_space_prefix"), undefined),
    removeExtraWhitespaces: metadata.bool(key("remove_extra_whitespaces"), undefined),
    chatTemplate: metadata.string("tokenizer.chat_template", undefined),
  };
}
