/** The pre-tokenizers that `tokenizer.ggml.pre` names: one row each, with the patterns as their models publish them. */
import { RealizarError } from "../errors.ts";

/** How the text of a byte-level BPE vocabulary is cut into words before merging. */
export interface PreTokenizerRow {
  /** The name in `tokenizer.ggml.pre`. */
  readonly name: string;
  /** Patterns, applied one after the other to the pieces that the one before made. */
  readonly patterns: readonly string[];
  /** A word that is a token as a whole is taken without merging. */
  readonly ignoreMerges: boolean;
  /** Text is brought to Unicode normalization form C first. */
  readonly nfc: boolean;
  /** Whether a beginning-of-text token is put in front, where the file does not say. */
  readonly addBos: boolean;
}

const GPT2 = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;
const CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const TAIL = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
const LLAMA3 = String.raw`${CONTRACTIONS}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|${TAIL}`;
const QWEN2 = String.raw`${CONTRACTIONS}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|${TAIL}`;
const QWEN35 = String.raw`${CONTRACTIONS}|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|${TAIL}`;
const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
const NOT_WORD = String.raw`[^\r\n\p{L}\p{N}]?`;
const GPT4O = String.raw`${NOT_WORD}${UPPER}*${LOWER}+${CONTRACTIONS}?|${NOT_WORD}${UPPER}+${LOWER}*${CONTRACTIONS}?` +
  String.raw`|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${TAIL}`;
const TEKKEN = String
  .raw`${NOT_WORD}${UPPER}*${LOWER}+|${NOT_WORD}${UPPER}+${LOWER}*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|${TAIL}`;
const UPPER_NOT_HAN = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]`;
const LOWER_NOT_HAN = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]`;
const KIMI = String.raw`[\p{Han}]+|${NOT_WORD}${UPPER_NOT_HAN}*${LOWER_NOT_HAN}+${CONTRACTIONS}?` +
  String
    .raw`|${NOT_WORD}${UPPER_NOT_HAN}+${LOWER_NOT_HAN}*${CONTRACTIONS}?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|${TAIL}`;
const ASCII_PUNCTUATION = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]";
const DEEPSEEK3 = String
  .raw`${ASCII_PUNCTUATION}[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|${TAIL}`;
const SEED_CODER = String
  .raw`${CONTRACTIONS}|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|${TAIL}`;
// Published with possessive quantifiers; greedy ones match the same, since nothing after them could take less.
const BAILING = String.raw`'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*` +
  String.raw`|\s*[\r\n]|\s+(?!\S)|\s+`;
const EXAONE_MOE = String.raw`${CONTRACTIONS}|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}` +
  String.raw`| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+`;
const BLOOM = " ?[^(\\s|.,!?…。，、।۔،)]+";
/** Letters with case, as deepseek-llm lists them. */
const CASED = "[" +
  "A-Za-z\u{B5}\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{1BA}\u{1BC}-\u{1BF}\u{1C4}-\u{293}\u{295}-\u{2AF}" +
  "\u{370}-\u{373}\u{376}-\u{377}\u{37B}-\u{37D}\u{37F}\u{386}\u{388}-\u{38A}\u{38C}\u{38E}-\u{3A1}" +
  "\u{3A3}-\u{3F5}\u{3F7}-\u{481}\u{48A}-\u{52F}\u{531}-\u{556}\u{10A0}-\u{10C5}\u{13A0}-\u{13F5}" +
  "\u{13F8}-\u{13FD}\u{1C90}-\u{1CBA}\u{1CBD}-\u{1CBF}\u{1D00}-\u{1D2B}\u{1D6B}-\u{1D77}\u{1D79}-\u{1D9A}" +
  "\u{1E00}-\u{1F15}\u{1F18}-\u{1F1D}\u{1F20}-\u{1F45}\u{1F48}-\u{1F4D}\u{1F50}-\u{1F57}\u{1F59}\u{1F5B}" +
  "\u{1F5D}\u{1F5F}-\u{1F7D}\u{1F80}-\u{1FB4}\u{1FB6}-\u{1FBC}\u{1FBE}\u{1FC2}-\u{1FC4}\u{1FC6}-\u{1FCC}" +
  "\u{1FD0}-\u{1FD3}\u{1FD6}-\u{1FDB}\u{1FE0}-\u{1FEC}\u{1FF2}-\u{1FF4}\u{1FF6}-\u{1FFC}\u{2102}\u{2107}" +
  "\u{210A}-\u{2113}\u{2115}\u{2119}-\u{211D}\u{2124}\u{2126}\u{2128}\u{212A}-\u{212D}\u{212F}-\u{2134}\u{2139}" +
  "\u{213C}-\u{213F}\u{2145}-\u{2149}\u{214E}\u{2183}-\u{2184}\u{2C00}-\u{2C7B}\u{2C7E}-\u{2CE4}" +
  "\u{2CEB}-\u{2CEE}\u{2CF2}-\u{2CF3}\u{A640}-\u{A66D}\u{A680}-\u{A69B}\u{A722}-\u{A76F}\u{A771}-\u{A787}" +
  "\u{A78B}-\u{A78E}\u{AB70}-\u{ABBF}\u{FB00}-\u{FB06}\u{FB13}-\u{FB17}\u{FF21}-\u{FF3A}\u{FF41}-\u{FF5A}" +
  "\u{10400}-\u{1044F}\u{104B0}-\u{104D3}\u{104D8}-\u{104FB}\u{10C80}-\u{10CB2}\u{10CC0}-\u{10CF2}" +
  "\u{118A0}-\u{118DF}\u{1E900}-\u{1E943}" +
  "]";
const DEEPSEEK_CJK = "[一-龥ࠀ-一가-퟿]+";
const KANA_AND_HAN = "[一-龥぀-ゟ゠-ヿ]+";

type Traits = Partial<Pick<PreTokenizerRow, "ignoreMerges" | "nfc" | "addBos">>;

function rows(names: string, patterns: readonly string[], traits: Traits = {}): PreTokenizerRow[] {
  return names.split(" ").map((name) => ({
    name,
    patterns,
    ignoreMerges: traits.ignoreMerges ?? false,
    nfc: traits.nfc ?? false,
    addBos: traits.addBos ?? false,
  }));
}

const JAIS2_SPACES = [512, 256, 128, 64, 32, 16, 8, 4].map((n) => String.raw`\s{${n}}(?!\S)`).join("|");
const JAIS2 = LLAMA3.replace(TAIL, String.raw`\s*[\r\n]+|${JAIS2_SPACES}|\s{1,2}(?!\S)|\s{1}`);
const YOUTU_ASIAN = "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|" + KANA_AND_HAN;
const PUNCTUATION_RUN = String.raw`[\p{P}\$\+<=>\^~\|${"`"}]+`;

/**
 * Every known name. The patterns are those of the models' own tokenizer files; where such a file uses a built-in
 * splitter instead (digits one by one, punctuation), the row has the equal pattern.
 */
const ROWS: readonly PreTokenizerRow[] = [
  ...rows("gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert exaone4", [GPT2]),
  ...rows("jina-v1-en jina-v2-code roberta-bpe jais trillion granite-docling", [GPT2]),
  ...rows("mpt olmo", [GPT2], { nfc: true }),
  ...rows("smollm starcoder refact codeshell exaone minerva-7b mellum2", [String.raw`\p{N}`, GPT2]),
  ...rows("command-r", [String.raw`\p{N}`, GPT2], { nfc: true }),
  ...rows("llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano", [LLAMA3], {
    ignoreMerges: true,
    addBos: true,
  }),
  ...rows("dbrx smaug-bpe glm4 chatglm-bpe", [LLAMA3]),
  ...rows("jais-2", [JAIS2]),
  ...rows("minicpm5", [String.raw`\p{N}{1,3}`, LLAMA3.replace("{1,3}", "+")], { ignoreMerges: true }),
  ...rows("qwen2 stablelm2 deepseek-r1-qwen kormo f2llmv2 megrez", [QWEN2], { nfc: true }),
  ...rows("hunyuan solar-open grok-2", [QWEN2]),
  ...rows("laguna", [String.raw`[^\n]+|[\n]+`, QWEN2]),
  ...rows("ufakzeka", [QWEN2.replace(`${CONTRACTIONS}|`, "")]),
  ...rows("qwen35", [QWEN35], { nfc: true }),
  ...rows("gpt-4o llama4 kanana2 talkie minimax-m2 granite-embed-multi-97m", [GPT4O]),
  ...rows("tekken", [TEKKEN], { ignoreMerges: true, addBos: true }),
  ...rows("kimi-k2", [KIMI]),
  ...rows("youtu", [YOUTU_ASIAN, GPT4O.replace("{1,3}", "")], { ignoreMerges: true }),
  ...rows("deepseek-v3 hunyuan-dense joyai-llm hy_v4", [String.raw`\p{N}{1,3}`, KANA_AND_HAN, DEEPSEEK3]),
  ...rows("spark2_5", [
    String.raw`\p{N}{1,3}`,
    KANA_AND_HAN,
    DEEPSEEK3.replace(String.raw`[\r\n]*|\s*[\r\n]+`, String.raw`|[\r\n]`),
    String.raw`\p{N}`,
  ]),
  ...rows("deepseek-llm", [
    String.raw`[\r\n]`,
    String.raw`\s?${CASED}+`,
    "\\s?[!-/:-~！-／：-～‘-‟　-。]+",
    String.raw`\s+$`,
    DEEPSEEK_CJK,
    String.raw`\p{N}+`,
  ]),
  ...rows("deepseek-coder", [
    String.raw`[\r\n]`,
    String.raw`\s?\p{L}+`,
    String.raw`\s?\p{P}+`,
    DEEPSEEK_CJK,
    String.raw`\p{N}`,
  ]),
  ...rows("falcon", [PUNCTUATION_RUN, GPT2, String.raw`\p{N}+`, "[0-9][0-9][0-9]"]),
  ...rows("default", [PUNCTUATION_RUN.replace("`", ""), GPT2, String.raw`\p{N}+`, "[0-9][0-9][0-9]"]),
  ...rows("bailingmoe bailingmoe2 llada-moe", [BAILING]),
  ...rows("seed-coder", [SEED_CODER]),
  ...rows("exaone-moe", [EXAONE_MOE]),
  ...rows("bloom poro-chat gpt3-finnish", [BLOOM]),
  ...rows("viking", [BLOOM, String.raw`\p{N}`]),
  ...rows("chameleon", [
    "<sentinel:[0-9]+>",
    "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
    String.raw`([\t\n]|    |  )`,
    String.raw`\p{N}`,
    "[\\p{P}!-/:-@\\[-`{-~]",
    GPT2,
  ], { addBos: true }),
];

const byName = new Map(ROWS.map((row) => [row.name, row]));

/** Names of all rows. */
export function preTokenizerNames(): string[] {
  return [...byName.keys()];
}

/**
 * The row of a name; throws `UNSUPPORTED` for a name that is not in the table and `KEY_MISSING` for none: a guess
 * would give other tokens than the model was trained on.
 */
export function preTokenizerRow(name: string | undefined): PreTokenizerRow {
  if (name === undefined) {
    throw new RealizarError(
      "KEY_MISSING",
      "tokenizer.ggml.pre is missing: the file is older than pre-tokenizers in GGUF and must be converted anew",
    );
  }
  const row = byName.get(name);
  if (row === undefined) {
    throw new RealizarError("UNSUPPORTED", `the pre-tokenizer \`${name}\` (tokenizer.ggml.pre) is not supported`);
  }
  return row;
}
