/** Detokenizing: the same text whatever the split, and exactly the standard's UTF-8 decoding. */
import { assert, assertEquals } from "@std/assert";
import { Detokenizer } from "../src/text/detokenize.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { Vocab } from "../src/text/vocab.ts";
import { test, testUnless } from "./support.ts";
import {
  addedTokens,
  readSource,
  readStrings,
  smallSource,
  smallSpmSource,
  vocabularyMissing,
} from "./text_support.ts";

/** A generator of numbers in 0 ... n - 1 that is the same in every run. */
function randomNumbers(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return Math.floor(((state >>> 8) / 2 ** 24) * n);
  };
}

/** The standard's decoder over the bytes of all tokens at once. */
function decodeWhole(vocab: Vocab, ids: readonly number[]): string {
  const bytes = ids.flatMap((id) => [...vocab.bytesOf(id)]);
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
}

function stream(vocab: Vocab, ids: readonly number[]): { text: string; parts: string[] } {
  const detokenizer = new Detokenizer(vocab, { special: true, continues: true });
  const parts = ids.map((id) => detokenizer.push(id));
  parts.push(detokenizer.flush());
  return { text: parts.join(""), parts };
}

/** A surrogate without its other half would be a broken character. */
function isWhole(text: string): boolean {
  return text.isWellFormed();
}

test("detokenize: random bytes, one token each, decode as the standard's decoder does", () => {
  const vocab = Vocab.build(smallSource());
  const random = randomNumbers(1);
  const starts = [0xc2, 0xc3, 0xe0, 0xe2, 0xed, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xc0, 0xff];
  const byte = (): number => [random(128), 0x80 + random(64), starts[random(starts.length)]!, random(256)][random(4)]!;
  for (let round = 0; round < 3000; round++) {
    const ids = Array.from({ length: 1 + random(12) }, () => vocab.tables.byteIds[byte()]!);
    const { text, parts } = stream(vocab, ids);
    assertEquals(text, decodeWhole(vocab, ids));
    assert(parts.every(isWhole));
  }
});

test("detokenize: every sequence of two lead and follow bytes, cut anywhere", () => {
  const vocab = Vocab.build(smallSource());
  for (let first = 0xc0; first < 0x100; first++) {
    for (const second of [0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc2, 0xe2]) {
      for (const rest of [[], [0x80], [0x80, 0x80], [0x80, 0x41], [0xf0]]) {
        const ids = [first, second, ...rest].map((byte) => vocab.tables.byteIds[byte]!);
        assertEquals(stream(vocab, ids).text, decodeWhole(vocab, ids));
      }
    }
  }
});

test("detokenize: a character comes whole, with its last byte", () => {
  const vocab = Vocab.build(smallSource());
  const ids = new Tokenizer(vocab).encode("a😀b", { addBos: false });
  const { parts } = stream(vocab, [...ids]);
  assertEquals(parts.filter((part) => part !== ""), ["a", "😀", "b"]);
  assert(ids.length > 3, "the emoji takes several tokens");
});

test("detokenize: special tokens only when asked for", () => {
  const vocab = Vocab.build(smallSource());
  const ids = new Tokenizer(vocab).encode("<bos>he<user><unk>", { addBos: false, special: true });
  assertEquals(new Tokenizer(vocab).decode(ids), "he<user>");
  assertEquals(new Tokenizer(vocab).decode(ids, { special: true }), "<bos>he<user><unk>");
});

test("detokenize: the space in front of a SentencePiece text is taken off, but not in a continuation", () => {
  const vocab = Vocab.build(smallSpmSource(["▁he", "▁", "h", "e"]));
  const ids = [...new Tokenizer(vocab).encode("he he")];
  assertEquals(new Tokenizer(vocab).decode(ids), "he he");
  assertEquals(new Tokenizer(vocab).decode([1, ...ids]), "he he");
  assertEquals(stream(vocab, ids).text, " he he");
});

test("detokenize: what a flush has ended does not come back", () => {
  const vocab = Vocab.build(smallSource());
  const detokenizer = new Detokenizer(vocab);
  const lead = vocab.tables.byteIds[0xe2]!;
  assertEquals(detokenizer.push(lead), "");
  assertEquals(detokenizer.flush(), "\ufffd");
  assertEquals(detokenizer.flush(), "");
});

for (const name of ["llama3_1", "gemma3", "smollm2"]) {
  testUnless(
    vocabularyMissing(name),
    `detokenize: ${name} gives back every string, and random tokens stream whole`,
    () => {
      const vocab = Vocab.build(readSource(name));
      const tokenizer = new Tokenizer(vocab);
      // SmolLM2 has no token for some bytes, and U+2581 is a space to SentencePiece.
      const isLossy = (text: string): boolean => name === "smollm2" ? /[^\n -~]/.test(text) : text.includes("▁");
      for (const text of readStrings(addedTokens(vocab))) {
        if (isLossy(text)) continue;
        const ids = tokenizer.encode(text, { addBos: false, special: true });
        assertEquals(tokenizer.decode(ids, { special: true }), text);
      }
      const random = randomNumbers(7);
      for (let round = 0; round < 500; round++) {
        const ids = Array.from({ length: 20 }, () => random(vocab.size));
        const { text, parts } = stream(vocab, ids);
        assertEquals(text, decodeWhole(vocab, ids));
        assert(parts.every(isWhole));
      }
    },
  );
}
