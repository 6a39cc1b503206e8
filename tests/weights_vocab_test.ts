/** The vocabulary and the sampling settings of a file, as plain data. */
import { assertEquals, assertThrows } from "@std/assert";
import { RealizarError } from "../src/errors.ts";
import { openGgufSync } from "../src/format/gguf.ts";
import type { Metadata } from "../src/format/metadata.ts";
import { stringAt } from "../src/string_table.ts";
import { readSamplingDefaults } from "../src/weights/sampling_defaults.ts";
import { readVocabSource } from "../src/weights/vocab_source.ts";
import { encodeGguf, type GgufEntry } from "./gguf_writer.ts";
import { test } from "./support.ts";
import { TINY_TEMPLATE, tinyTokens } from "./tiny_gguf.ts";

function metadataOf(...metadata: GgufEntry[]): Metadata {
  return openGgufSync(encodeGguf({ metadata, tensors: [] })).metadata;
}

function u32(key: string, value: number): GgufEntry {
  return { key, type: "u32", value };
}

function f32(key: string, value: number): GgufEntry {
  return { key, type: "f32", value };
}

function text(key: string, value: string): GgufEntry {
  return { key, type: "string", value };
}

test("vocabulary: the arrays and ids of a file", () => {
  const strings = (key: string, values: string[]): GgufEntry => ({ key, type: "array", of: "string", values });
  const source = readVocabSource(metadataOf(
    text("tokenizer.ggml.model", "llama"),
    text("tokenizer.ggml.pre", "default"),
    strings("tokenizer.ggml.tokens", ["<unk>", "<s>", "▁a"]),
    { key: "tokenizer.ggml.token_type", type: "array", of: "i32", values: [2, 3, 1] },
    { key: "tokenizer.ggml.scores", type: "array", of: "f32", values: [0, -1, -2.5] },
    strings("tokenizer.ggml.merges", ["▁ a"]),
    u32("tokenizer.ggml.bos_token_id", 1),
    u32("tokenizer.ggml.eos_token_id", 2),
    u32("tokenizer.ggml.eot_token_id", 3),
    u32("tokenizer.ggml.eom_token_id", 4),
    u32("tokenizer.ggml.unknown_token_id", 5),
    u32("tokenizer.ggml.padding_token_id", 6),
    { key: "tokenizer.ggml.add_bos_token", type: "bool", value: true },
    { key: "tokenizer.ggml.add_eos_token", type: "bool", value: false },
    { key: "tokenizer.ggml.add_space_prefix", type: "bool", value: true },
    { key: "tokenizer.ggml.remove_extra_whitespaces", type: "bool", value: false },
    text("tokenizer.chat_template", TINY_TEMPLATE),
  ));
  const { tokens, tokenTypes, scores, merges, ...rest } = source;
  assertEquals([0, 1, 2].map((i) => stringAt(tokens, i)), ["<unk>", "<s>", "▁a"]);
  assertEquals([...tokenTypes!], [2, 3, 1]);
  assertEquals([...scores!], [0, -1, -2.5]);
  assertEquals(stringAt(merges!, 0), "▁ a");
  assertEquals(rest, {
    model: "llama",
    pre: "default",
    bosId: 1,
    eosId: 2,
    eotId: 3,
    eogIds: [4],
    unkId: 5,
    padId: 6,
    addBos: true,
    addEos: false,
    addSpacePrefix: true,
    removeExtraWhitespaces: false,
    chatTemplate: TINY_TEMPLATE,
  });
});

test("vocabulary: what a file leaves out is undefined", () => {
  const tokens: GgufEntry = { key: "tokenizer.ggml.tokens", type: "array", of: "string", values: tinyTokens(300) };
  const source = readVocabSource(metadataOf(text("tokenizer.ggml.model", "gpt2"), tokens));
  const given = Object.entries(source).filter(([, value]) => value !== undefined).map(([key]) => key);
  assertEquals(given.sort(), ["eogIds", "model", "tokens"]);
  assertEquals(source.eogIds, []);
});

test("sampling: the settings of a file", () => {
  const key = (name: string) => `general.sampling.${name}`;
  assertEquals(readSamplingDefaults(metadataOf()), {});
  const found = readSamplingDefaults(metadataOf(
    f32(key("temp"), 0.5),
    { key: key("top_k"), type: "i32", value: 20 },
    f32(key("top_p"), 0.75),
    f32(key("min_p"), 0.125),
    f32(key("penalty_repeat"), 1.5),
    { key: key("penalty_last_n"), type: "i32", value: -1 },
    { key: key("mirostat"), type: "i32", value: 2 },
  ));
  assertEquals(found, {
    temperature: 0.5,
    topK: 20,
    topP: 0.75,
    minP: 0.125,
    repetitionPenalty: 1.5,
    penaltyWindow: 0,
  });
  assertEquals(readSamplingDefaults(metadataOf({ key: key("top_k"), type: "i32", value: -1 })), { topK: 0 });
  const bad = assertThrows(() => readSamplingDefaults(metadataOf(f32(key("temp"), 101))), RealizarError);
  assertEquals(bad.code, "LIMIT");
});
