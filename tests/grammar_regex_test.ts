/** Patterns of JSON schemas, judged by JavaScript's RegExp on random strings and on what walks come to. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { test } from "./support.ts";
import { compile, PIECEWISE, randomOf, randomWalk, refusalOf, refusedAt, textOf } from "./grammar_support.ts";

/** Patterns with the characters of which texts for them are made. */
const PATTERNS: readonly (readonly [pattern: string, alphabet: string])[] = [
  ["^$", "ab"],
  ["", "ab"],
  ["a", "ab"],
  ["^a", "ab"],
  ["a$", "ab"],
  ["^a|b$", "abc"],
  ["^(?:a|b)$", "abc"],
  ["a$|^b", "abc"],
  ["(^|,)x(,|$)", "x,y"],
  ["^(a*)*$", "ab"],
  ["^(a|b)*abb$", "ab"],
  ["(a|b)*a(a|b){3}", "ab"],
  ["^(?:ab|a)(?:bc|c)$", "abc"],
  ["^a{2,4}$", "a"],
  ["^a{3}b{0}c?$", "abc"],
  ["^(?:a{1,2}){2,3}$", "a"],
  ["^(?:a?){3}$", "a"],
  ["^[^a-c]+$", "abcd"],
  ["^[\\d.-]+$", "1.-a"],
  ["^[a\\]\\\\^]+$", "a]\\^b"],
  ["^\\w+\\s\\W$", "a1_ -"],
  ["^\\D\\S$", "1a \t"],
  ["^.\\n.$", "a\n\r\u2028"],
  ["^\\t\\r\\v\\f\\0?$", "\t\r\v\f\0"],
  ['^"\\\\/$', '"\\/'],
  ["^\\x41\\u0042\\u{1F600}$", "AB😀"],
  ["^\\ud83d\\ude00$", "😀"],
  ["^[😀-😂é]{1,2}$", "😀😁😂😃éê"],
  ["^\\p{Lu}\\p{L}*$", "AaÉé1ΩЖ"],
  ["^\\P{L}$", "A1é-"],
  ["^(?<year>\\d{2})-(?:0[1-9]|1[0-2])$", "0123-"],
  ["^a+?b*?c??$", "abc"],
  ["[^]", "a\n"],
  ["^[]$", "a"],
  ["^\\cA$", "\u0001A"],
  ["x{2,}", "xy"],
  ["^(a(b(c)?)?)?$", "abc"],
  ["^.{2,3}$", "aé😀"],
];

function textsFor(alphabet: string, seed: number): string[] {
  const random = randomOf(seed);
  const chars = Array.from(alphabet);
  const texts = ["", ...chars];
  while (texts.length < 60) {
    const length = 1 + Math.floor(random() * 7);
    texts.push(Array.from({ length }, () => chars[Math.floor(random() * chars.length)]).join(""));
  }
  return texts;
}

test("regex: agrees with RegExp on random texts", () => {
  for (const [i, [pattern, alphabet]] of PATTERNS.entries()) {
    const expected = new RegExp(pattern, "u");
    // A class that no character is in leaves nothing to generate.
    if (pattern === "^[]$") {
      assertEquals(refusalOf({ kind: "schema", schema: { type: "string", pattern } }).code, "ARG");
      continue;
    }
    const grammar = compile({ kind: "schema", schema: { type: "string", pattern } });
    for (const text of textsFor(alphabet, i + 1)) {
      assertEquals([pattern, text, refusedAt(grammar, JSON.stringify(text)) < 0], [pattern, text, expected.test(text)]);
    }
  }
});

test("regex: agrees with RegExp together with bounds of length", () => {
  for (const [i, [pattern, alphabet]] of PATTERNS.entries()) {
    if (pattern === "^[]$") continue;
    const schema = { type: "string", pattern, minLength: 1, maxLength: 3 };
    const expected = new RegExp(pattern, "u");
    const fits = (text: string): boolean => {
      const length = Array.from(text).length;
      return length >= 1 && length <= 3 && expected.test(text);
    };
    const texts = textsFor(alphabet, i + 100);
    if (!texts.some(fits)) continue;
    const grammar = compile({ kind: "schema", schema });
    for (const text of texts) {
      assertEquals([pattern, text, refusedAt(grammar, JSON.stringify(text)) < 0], [pattern, text, fits(text)]);
    }
  }
});

test("regex: what walks come to matches", () => {
  let nEnded = 0;
  for (const [pattern] of PATTERNS) {
    if (pattern === "^[]$") continue;
    const grammar = compile({ kind: "schema", schema: { type: "string", pattern } });
    for (let seed = 1; seed <= 4; seed++) {
      const walk = randomWalk(grammar, PIECEWISE, seed, 10, 60);
      if (!walk.ended) continue;
      nEnded++;
      const text = JSON.parse(textOf(walk.bytes)) as string;
      assert(new RegExp(pattern, "u").test(text), `${pattern}: ${JSON.stringify(text)}`);
    }
  }
  assert(nEnded > 100, String(nEnded));
});

test("regex: no text that fits both a pattern and a length is an error", () => {
  const refusal = refusalOf({ kind: "schema", schema: { type: "string", pattern: "^a{5}$", maxLength: 4 } });
  assertEquals(refusal.code, "ARG");
});

test("regex: what is no expression is ARG, what no automaton can do UNSUPPORTED", () => {
  const broken = [
    "(",
    "a)",
    "[a",
    "*",
    "a**",
    "a{2,1}",
    "a{x}",
    "\\",
    "[b-a]",
    "\\q",
    "\\u{110000}",
    "\\xg0",
    "(?<1>a)",
    "]",
  ];
  for (const pattern of broken) {
    assertEquals([pattern, refusalOf({ kind: "schema", schema: { pattern } }).code], [pattern, "ARG"]);
    let isOne = true;
    try {
      new RegExp(pattern, "u");
    } catch {
      isOne = false;
    }
    assert(!isOne, pattern);
  }
  const beyond = ["(a)\\1", "(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b", "\\bword", "\\p{Script=Latin}", "(?<n>a)\\k<n>"];
  for (const pattern of beyond) {
    const { code, message } = refusalOf({ kind: "schema", schema: { pattern } });
    assertEquals([pattern, code], [pattern, "UNSUPPORTED"]);
    assertStringIncludes(message, "pattern");
  }
});
