/** Files whose vocabulary is missing or contradicts itself. */
import type { ErrorCode } from "../../../src/errors.ts";
import type { GgufEntry } from "../../gguf_writer.ts";
import { tinyTokens } from "../../tiny_gguf.ts";
import { withEntry, without } from "./base.ts";
import type { CorpusCase } from "./make_corpus.ts";

function set(name: string, expect: ErrorCode, entry: GgufEntry, message?: RegExp): CorpusCase {
  return withEntry(name, expect, { ...entry, key: `tokenizer.ggml.${entry.key}` }, message);
}

/** Arrays and ids of the tokenizer. */
export function vocabCases(): CorpusCase[] {
  const strings = (key: string, values: readonly (string | Uint8Array)[]): GgufEntry => ({
    key,
    type: "array",
    of: "string",
    values,
  });
  const id = (name: string, value: number): GgufEntry => ({
    key: `${name}_token_id`,
    type: value < 0 ? "i32" : "u32",
    value,
  });
  const types = (n: number): GgufEntry => ({
    key: "token_type",
    type: "array",
    of: "i32",
    values: new Array<number>(n).fill(1),
  });
  const scores = (n: number): GgufEntry => ({
    key: "scores",
    type: "array",
    of: "f32",
    values: new Array<number>(n).fill(-1),
  });
  return [
    without("tokenizer.ggml.model", "KEY_MISSING"),
    without("tokenizer.ggml.tokens", "KEY_MISSING"),
    without("tokenizer.ggml.merges", "VOCAB"),
    without("tokenizer.ggml.pre", "KEY_MISSING"),
    ...["bert", "t5", "rwkv", "none", "", "GPT2"].map((model) =>
      set(`tokenizer "${model}"`, "UNSUPPORTED", { key: "model", type: "string", value: model })
    ),
    set("an unknown pre-tokenizer", "UNSUPPORTED", { key: "pre", type: "string", value: "nonesuch" }, /nonesuch/),
    set("no tokens in the array", "LIMIT", strings("tokens", [])),
    set("one token too few", "SHAPE", strings("tokens", tinyTokens(281)), /token_embd/),
    set("one token too many", "SHAPE", strings("tokens", tinyTokens(283)), /token_embd/),
    set("types for one token too few", "VOCAB", types(281), /281/),
    set("types for one token too many", "VOCAB", types(283), /283/),
    set("types for no token", "VOCAB", types(0), /token_type/),
    set("scores for one token too few", "VOCAB", scores(281), /281/),
    set("a merge without a space", "VOCAB", strings("merges", ["Ġ t", "he"]), /merges\[1\]/),
    set("an empty merge", "VOCAB", strings("merges", [""]), /merges\[0\]/),
    set("the id of BOS outside", "VOCAB", id("bos", 282), /282/),
    set("the id of EOS outside", "VOCAB", id("eos", 2 ** 31), /outside/),
    set("the id of EOS negative", "VOCAB", id("eos", -7), /outside/),
    set("the id of padding outside", "VOCAB", id("padding", 100000), /outside/),
    set("the id of EOM outside", "VOCAB", id("eom", 300), /300/),
    set("an id of 2^64 - 1", "OVERFLOW", { key: "eos_token_id", type: "u64", value: 2n ** 64n - 1n }),
    set("a SentencePiece model without scores", "VOCAB", { key: "model", type: "string", value: "llama" }, /scores/),
  ];
}
