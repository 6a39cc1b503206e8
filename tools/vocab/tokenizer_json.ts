/**
 * From a `tokenizer.json` (and `tokenizer_config.json`) to the arrays that a GGUF file of the same model has, the way
 * the usual converters make them.
 */
import { stringTableOf } from "../../src/string_table.ts";
import { TOKEN_TYPE, type VocabSource } from "../../src/text/vocab.ts";

interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/** The parts of `tokenizer.json` that are used. */
export interface TokenizerJson {
  readonly added_tokens: readonly AddedToken[];
  readonly normalizer: unknown;
  readonly model: {
    readonly vocab: Readonly<Record<string, number>>;
    readonly merges: readonly (string | readonly [string, string])[];
    readonly unk_token?: string | null;
    readonly byte_fallback?: boolean;
  };
}

/** The parts of `tokenizer_config.json` that are used; special tokens are texts or objects with `content`. */
export interface TokenizerConfig {
  readonly bos_token?: string | { readonly content: string } | null;
  readonly eos_token?: string | { readonly content: string } | null;
  readonly chat_template?: string;
  readonly add_bos_token?: boolean;
}

/** Arrays as in a GGUF file; `pre` is its `tokenizer.ggml.pre` ("" for SentencePiece vocabularies). */
export function vocabSourceOf(json: TokenizerJson, config: TokenizerConfig, pre: string): VocabSource {
  const { vocab, merges } = json.model;
  const isSpm = json.model.byte_fallback === true;
  const size = 1 + Math.max(maxOf(Object.values(vocab)), maxOf(json.added_tokens.map((token) => token.id)));
  // Ids without a token are filled the way converters do.
  const tokens = Array.from({ length: size }, (_, id) => `[PAD${id}]`);
  const types = new Int32Array(size).fill(TOKEN_TYPE.unused);
  for (const [text, id] of Object.entries(vocab)) {
    tokens[id] = text;
    types[id] = isSpm && /^<0x[0-9A-F]{2}>$/.test(text) ? TOKEN_TYPE.byte : TOKEN_TYPE.normal;
  }
  for (const { id, content, special } of json.added_tokens) {
    tokens[id] = content;
    // Added tokens are looked for in the text as it is, where U+2581 hardly occurs: Gemma's runs of spaces come from
    // merges. (llama.cpp's converter makes them user-defined tokens of real spaces, matched longest first, which is
    // what SentencePiece does; beyond 16 spaces the two differ.)
    const isSpaces = isSpm && /^\u2581+$/.test(content);
    types[id] = special ? TOKEN_TYPE.control : isSpaces ? TOKEN_TYPE.normal : TOKEN_TYPE.userDefined;
  }
  const pairs = merges.map((merge) => typeof merge === "string" ? merge.split(" ") as [string, string] : merge);
  const idOf = (token: string | { readonly content: string } | null | undefined): number | undefined => {
    const text = typeof token === "string" ? token : token?.content;
    return text === undefined ? undefined : json.added_tokens.find((t) => t.content === text)?.id ?? vocab[text];
  };
  const unkId = idOf(json.model.unk_token);
  if (unkId !== undefined && isSpm) types[unkId] = TOKEN_TYPE.unknown;
  return {
    model: isSpm ? "llama" : "gpt2",
    pre: isSpm ? undefined : pre,
    tokens: stringTableOf(tokens),
    tokenTypes: types,
    scores: isSpm ? scoresOf(pairs, vocab, size) : undefined,
    merges: isSpm ? undefined : stringTableOf(pairs.map(([left, right]) => `${left} ${right}`)),
    bosId: idOf(config.bos_token),
    eosId: idOf(config.eos_token),
    eotId: undefined,
    unkId,
    padId: undefined,
    eogIds: [],
    addBos: config.add_bos_token,
    addEos: undefined,
    addSpacePrefix: isSpm ? JSON.stringify(json.normalizer).includes('"Prepend"') : undefined,
    removeExtraWhitespaces: undefined,
    chatTemplate: config.chat_template,
  };
}

function maxOf(values: readonly number[]): number {
  return values.reduce((max, value) => Math.max(max, value), 0);
}

/** Scores whose order is that of the first merge that makes a piece: what merge lists are made from. */
function scoresOf(
  pairs: readonly (readonly [string, string])[],
  vocab: Readonly<Record<string, number>>,
  size: number,
): Float32Array {
  const scores = new Float32Array(size).fill(-(2 ** 23));
  for (let rank = pairs.length - 1; rank >= 0; rank--) {
    const id = vocab[pairs[rank]![0] + pairs[rank]![1]];
    if (id !== undefined) scores[id] = -rank;
  }
  return scores;
}
