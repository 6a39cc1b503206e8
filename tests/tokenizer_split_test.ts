/** Pre-tokenizers against PyPI `tokenizers` (tests/golden/text/splits.json), and their linear time. */
import { readFileSync } from "node:fs";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { RealizarError } from "../src/errors.ts";
import { parsePattern } from "../src/text/pattern_parse.ts";
import { PreTokenizer } from "../src/text/pretokenize.ts";
import { preTokenizerNames, preTokenizerRow } from "../src/text/pretokenizer_table.ts";
import { test } from "./support.ts";
import { hashIds, rawStrings } from "./text_support.ts";

const SPLITS = new URL("./golden/text/splits.json", import.meta.url);
const GROUP = 32;
const SEPARATOR = 0xffffffff;

const utf8 = new TextEncoder();

/** Ends of the words of a text, in code points. */
function endsOf(preTokenizer: PreTokenizer, text: string): number[] {
  const bytes = utf8.encode(text);
  const count = preTokenizer.split(bytes, 0, bytes.length);
  const ends: number[] = [];
  let from = 0;
  let codePoints = 0;
  for (const end of preTokenizer.ends.subarray(0, count)) {
    for (; from < end; from++) codePoints += (bytes[from]! & 0xc0) === 0x80 ? 0 : 1;
    ends.push(codePoints);
  }
  return ends;
}

function wordsOf(name: string, text: string): string[] {
  const bytes = utf8.encode(text);
  const preTokenizer = new PreTokenizer(preTokenizerRow(name));
  const count = preTokenizer.split(bytes, 0, bytes.length);
  const ends = [...preTokenizer.ends.subarray(0, count)];
  return ends.map((end, i) => new TextDecoder().decode(bytes.subarray(ends[i - 1] ?? 0, end)));
}

const splits = JSON.parse(readFileSync(SPLITS, "utf8")) as Record<string, number[]>;

for (const [name, expected] of Object.entries(splits)) {
  test(`split: ${name} cuts 6,000 strings as tokenizers does`, () => {
    const preTokenizer = new PreTokenizer(preTokenizerRow(name));
    const strings = rawStrings();
    assertEquals(expected.length, Math.ceil(strings.length / GROUP));
    const wrong: string[] = [];
    for (const [group, hash] of expected.entries()) {
      const members = strings.slice(group * GROUP, (group + 1) * GROUP);
      let value = 0x811c9dc5;
      for (const text of members) value = hashIds([SEPARATOR], hashIds(endsOf(preTokenizer, text), value));
      if (value !== hash) wrong.push(`strings ${group * GROUP} to ${group * GROUP + members.length - 1}`);
    }
    assertEquals(wrong, []);
  });
}

test("split: every row cuts without losing anything", () => {
  const text = "I'll say: 12345 ABCdef 中文かな, über\t\t\n  x  \r\n<sentinel:12>(a|b) IMGIMGABZ   ";
  for (const name of preTokenizerNames()) assertEquals(wordsOf(name, text).join(""), text, name);
});

test("split: rows that no golden file has", () => {
  assertEquals(wordsOf("falcon", "a 1234 b..c"), ["a", " ", "123", "4", " b", "..", "c"]);
  assertEquals(wordsOf("viking", "ab 12,c"), ["ab", " ", "1", "2", ",", "c"]);
  assertEquals(wordsOf("laguna", "a\n\nb"), ["a", "\n\n", "b"]);
  assertEquals(wordsOf("youtu", "안녕 ABc12"), ["안녕", " ABc", "1", "2"]);
  assertEquals(wordsOf("ufakzeka", "Ali'nin"), ["Ali", "'nin"]);
  assertEquals(wordsOf("spark2_5", "1234 a\n\n"), ["1", "2", "3", "4", " a", "\n", "\n"]);
  assertEquals(wordsOf("jais-2", `a${" ".repeat(7)}b`).map((word) => word.length), [1, 4, 2, 2]);
});

test("split: an unknown or missing name is an error that names it", () => {
  const unknown = assertThrows(() => preTokenizerRow("no-such"), RealizarError, "no-such");
  assertEquals(unknown.code, "UNSUPPORTED");
  assertEquals(assertThrows(() => preTokenizerRow(undefined), RealizarError).code, "KEY_MISSING");
});

test("split: patterns outside the subset are refused", () => {
  for (const pattern of ["a++", "a*?", "(?<=a)b", "\\bx", "[a", "(a", "a)", "\\p{Greek}", "a{x}", "(?=ab)"]) {
    assertThrows(() => parsePattern(pattern), SyntaxError);
  }
});

test("split: long runs take linear time in every row", () => {
  // A quadratic scan of 200,000 characters would take minutes, a linear one takes milliseconds.
  const length = 200_000;
  const seen = new Set<readonly string[]>();
  for (const row of preTokenizerNames().map(preTokenizerRow)) {
    if (seen.has(row.patterns)) continue;
    seen.add(row.patterns);
    const preTokenizer = new PreTokenizer(row);
    for (const unit of ["a", " ", "\n", " \n", "A", "'", "1", "中"]) {
      const bytes = utf8.encode(`${unit.repeat(length / unit.length)}x`);
      const start = performance.now();
      assert(preTokenizer.split(bytes, 0, bytes.length) > 0);
      const took = performance.now() - start;
      assert(took < 2000, `${row.name}: ${length} characters of ${JSON.stringify(unit)} took ${took} ms`);
    }
  }
});
