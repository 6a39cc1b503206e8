/** Tokens of real vocabularies against PyPI `tokenizers` (tests/golden/text/*.bin), and the rules of small ones. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { RealizarError } from "../src/errors.ts";
import { stringAt, stringTableOf } from "../src/string_table.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { TOKEN_TYPE, Vocab } from "../src/text/vocab.ts";
import { test, testUnless } from "./support.ts";
import {
  addedTokens,
  hashIds,
  readHashes,
  readSource,
  readStrings,
  smallSource,
  smallSpmSource,
  VOCABULARY_PRE,
  vocabularyMissing,
} from "./text_support.ts";

const NONE = { addBos: false, addEos: false };
const SEPARATOR = 0xffffffff;

for (const name of [...Object.keys(VOCABULARY_PRE), "smollm2"]) {
  testUnless(vocabularyMissing(name), `tokenizer: ${name} encodes 6,000 strings as tokenizers does`, () => {
    const vocab = Vocab.build(readSource(name));
    const tokenizer = new Tokenizer(vocab);
    const strings = readStrings(addedTokens(vocab));
    const expected = readHashes(name);
    assertEquals(expected.length, strings.length);
    const wrong = strings.filter((text, i) => {
      const plain = hashIds(tokenizer.encode(text, NONE));
      return hashIds(tokenizer.encode(text, { ...NONE, special: true }), hashIds([SEPARATOR], plain)) !== expected[i];
    });
    assertEquals(wrong, []);
  });
}

function small(change = {}): Tokenizer {
  return new Tokenizer(Vocab.build(smallSource(change)));
}

function pieces(tokenizer: Tokenizer, text: string, options = {}): string[] {
  return Array.from(tokenizer.encode(text, { ...NONE, ...options }), (id) => tokenizer.vocab.textOf(id));
}

test("tokenizer: merges go by rank, the leftmost of equals first", () => {
  assertEquals(pieces(small(), "hello world"), ["hello", " world"]);
  assertEquals(pieces(small(), "lllll"), ["ll", "ll", "l"]);
  assertEquals(pieces(small(), "hellhe"), ["hell", "he"]);
});

test("tokenizer: BOS and EOS as the vocabulary says, unless told otherwise", () => {
  const { bosId, eosId } = small().vocab.tables;
  const he = small().encode("he", NONE)[0]!;
  assertEquals([...small().encode("he")], [bosId, he]);
  assertEquals([...small({ addEos: true }).encode("he")], [bosId, he, eosId]);
  assertEquals([...small().encode("he", { addBos: false, addEos: true })], [he, eosId]);
  assertEquals([...small({ bosId: undefined }).encode("")], []);
});

test("tokenizer: control tokens are text unless `special`; user-defined ones are always tokens", () => {
  assertEquals(pieces(small(), "<bos>").length, 5);
  assertEquals(pieces(small(), "<bos>", { special: true }), ["<bos>"]);
  assertEquals(pieces(small(), "he<user>he"), ["he", "<user>", "he"]);
  assertEquals(pieces(small(), "a<unk>", { special: true }), ["a", "<unk>"]);
});

test("tokenizer: the longest of the special tokens that start first is taken", () => {
  const tokens = ["a", "b", "c", "<x>", "<x><y>", "<y>"];
  const tokenTypes = Int32Array.from([1, 1, 1, TOKEN_TYPE.control, TOKEN_TYPE.control, TOKEN_TYPE.control]);
  const ids = { bosId: undefined, eosId: undefined, unkId: undefined };
  const tokenizer = small({ tokens: stringTableOf(tokens), tokenTypes, merges: stringTableOf([]), ...ids });
  assertEquals([...tokenizer.encode("a<x><y>b<y><x>c", { ...NONE, special: true })], [0, 4, 1, 5, 3, 2]);
});

test("tokenizer: an escape character breaks up special tokens and is removed", () => {
  const text = "<bos><\ufdd0bos>h\ufdd0e";
  assertEquals(pieces(small(), text, { special: true, escape: "\ufdd0" }), ["<bos>", "<", "b", "o", "s", ">", "he"]);
});

test("tokenizer: pieces that are no tokens may be made by merges, and end as bytes", () => {
  // The result of "x y" is no token; "xyz" is one, made of it.
  const base = smallSource();
  const tokens = ["x", "y", "z", "xyz"];
  const change = { tokens: stringTableOf(tokens), tokenTypes: undefined, merges: stringTableOf(["x y", "xy z"]) };
  const tokenizer = new Tokenizer(
    Vocab.build({ ...base, ...change, bosId: undefined, eosId: undefined, unkId: undefined }),
  );
  assertEquals([...tokenizer.encode("xyz", NONE)], [3]);
  assertEquals([...tokenizer.encode("xyxyz", NONE)], [0, 1, 3]);
});

test("tokenizer: bytes without a token are left out, also when there is an unknown token", () => {
  const change = {
    tokens: stringTableOf(["a", "b", "?", "ab"]),
    merges: stringTableOf(["a b"]),
    bosId: undefined,
    eosId: undefined,
  };
  const tokenTypes = Int32Array.from([1, 1, TOKEN_TYPE.unknown, 1]);
  for (const unkId of [2, undefined]) {
    assertEquals([...small({ ...change, tokenTypes, unkId }).encode("axxb", NONE)], [3]);
  }
});

test("tokenizer: SentencePiece merges by score, with byte fallback and a space in front", () => {
  const source = smallSpmSource(["▁he", "llo", "▁hello", "he", "ll", "▁", "h", "e", "l", "o", "▁▁"]);
  const tokenizer = new Tokenizer(Vocab.build(source));
  const first = 259;
  assertEquals([...tokenizer.encode("hello")], [first + 2]);
  assertEquals([...tokenizer.encode("")], []);
  assertEquals([...tokenizer.encode("é")], [first + 5, 3 + 0xc3, 3 + 0xa9]);
  // After a special token a text begins anew.
  assertEquals([...tokenizer.encode("he<s>he", { special: true })], [first, 1, first]);
  const bare = new Tokenizer(Vocab.build({ ...source, addSpacePrefix: false }));
  assertEquals([...bare.encode("he  he")], [first + 3, first + 5, first]);
  const trimmed = new Tokenizer(Vocab.build({ ...source, removeExtraWhitespaces: true }));
  assertEquals([...trimmed.encode("  he   he ")], [first, first]);
});

test("tokenizer: user-defined runs of spaces are matched longest first, as in files converted from Gemma", () => {
  const source = smallSpmSource(["▁", "a", "▁a"], { addSpacePrefix: false });
  const runs = ["  ", "    "];
  const tokens = Array.from({ length: source.tokens.length }, (_, id) => stringAt(source.tokens, id));
  const tokenizer = new Tokenizer(Vocab.build({
    ...source,
    tokens: stringTableOf([...tokens, ...runs]),
    tokenTypes: Int32Array.from([...source.tokenTypes!, TOKEN_TYPE.userDefined, TOKEN_TYPE.userDefined]),
    scores: Float32Array.from([...source.scores!, 0, 0]),
  }));
  assertEquals(pieces(tokenizer, `a${" ".repeat(7)}a`), ["a", "    ", "  ", " a"]);
});

test("tokenizer: SentencePiece without byte tokens writes unknown characters in a row as one unknown token", () => {
  const tokens = ["<unk>", "▁", "a"];
  const source = smallSpmSource([], {
    tokens: stringTableOf(tokens),
    tokenTypes: Int32Array.from([TOKEN_TYPE.unknown, 1, 1]),
    scores: Float32Array.from([0, -1, -2]),
    bosId: undefined,
    eosId: undefined,
  });
  assertEquals([...new Tokenizer(Vocab.build(source)).encode("aéüa")], [1, 2, 0, 2]);
});

test("tokenizer: a piece that reaches over a space is found", () => {
  const tokenizer = new Tokenizer(
    Vocab.build(smallSpmSource(["a▁b", "▁a", "▁b", "▁", "a", "b"], { addSpacePrefix: false })),
  );
  assertEquals(pieces(tokenizer, "a b b"), ["a b", " b"]);
  const scores = Float32Array.from({ length: 265 }, (_, id) => id === 259 ? 10 : id === 262 ? -300 : -id);
  const other = smallSpmSource(["a▁b", "a▁", "x", "▁", "a", "b"], { addSpacePrefix: false, scores });
  assertEquals(pieces(new Tokenizer(Vocab.build(other)), "a b"), ["a b"]);
});

test("tokenizer: lone surrogates count as U+FFFD, and a byte order mark is text", () => {
  assertEquals(pieces(small(), "\ud800").length, 3);
  assertEquals(small().decode(small().encode("\ufeffhe\ufeff", NONE)), "\ufeffhe\ufeff");
});

test("tokenizer: a million of one letter, or of random ones, take near-linear time", () => {
  const chain = Array.from({ length: 12 }, (_, i) => `${"a".repeat(2 ** i)} ${"a".repeat(2 ** i)}`);
  const words = chain.map((merge) => merge.replace(" ", ""));
  const tokens = ["a", "b", ...words];
  const ids = { bosId: undefined, eosId: undefined, unkId: undefined, tokenTypes: undefined };
  const bpe = small({ tokens: stringTableOf(tokens), merges: stringTableOf(chain), ...ids });
  const spm = new Tokenizer(Vocab.build(smallSpmSource(["a", "b", ...words], { addSpacePrefix: false })));
  for (const tokenizer of [bpe, spm]) {
    for (const unit of ["a", "ab", "aaab"]) {
      const text = unit.repeat(1_000_000 / unit.length);
      const start = performance.now();
      assertEquals(tokenizer.decode(tokenizer.encode(text, NONE)), text);
      assert(performance.now() - start < 10_000, `${unit}: ${performance.now() - start} ms`);
    }
  }
});

test("tokenizer: decoding an id outside the vocabulary is ARG", () => {
  for (const id of [-1, 1e9, 0.5, NaN]) {
    assertEquals(assertThrows(() => small().decode([id]), RealizarError).code, "ARG");
  }
});
