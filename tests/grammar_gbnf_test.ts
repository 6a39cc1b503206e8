/** GBNF grammars, judged by regular expressions and hand-written recognizers on random texts and walks. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { test } from "./support.ts";
import { compile, PIECEWISE, randomOf, randomWalk, refusalOf, refusedAt, textOf } from "./grammar_support.ts";

interface GbnfCase {
  readonly grammar: string;
  readonly alphabet: string;
  judge(text: string): boolean;
}

/** Whether brackets of two kinds are closed in order. */
function balanced(text: string): boolean {
  const open: string[] = [];
  for (const char of text) {
    if (char === "(" || char === "[") open.push(char);
    else {
      const opened = open.pop();
      if (opened === undefined || char !== (opened === "(" ? ")" : "]")) return false;
    }
  }
  return open.length === 0;
}

/** Whether the text is a sum of products of digits and sums in parentheses. */
function isSum(text: string): boolean {
  let at = 0;
  const atom = (): boolean => {
    if (text[at] === "(") {
      at++;
      return sum() && text[at++] === ")";
    }
    return /[0-9]/.test(text[at] ?? "") && ++at > 0;
  };
  const product = (): boolean => {
    if (!atom()) return false;
    while (text[at] === "*") {
      at++;
      if (!atom()) return false;
    }
    return true;
  };
  const sum = (): boolean => {
    if (!product()) return false;
    while (text[at] === "+") {
      at++;
      if (!product()) return false;
    }
    return true;
  };
  return sum() && at === text.length;
}

const CASES: readonly GbnfCase[] = [
  { grammar: 'root ::= "a" "b"? [cd]*', alphabet: "abcd", judge: (text) => /^ab?[cd]*$/.test(text) },
  { grammar: 'root ::= ("ab" | "a" "c"+) {2,3}', alphabet: "abc", judge: (text) => /^(ab|ac+){2,3}$/.test(text) },
  { grammar: 'root ::= [^a-c\\n]{2,} "x"{1}', alphabet: "abdx\n", judge: (text) => /^[^a-c\n]{2,}x$/.test(text) },
  { grammar: "root ::= . .", alphabet: "aé😀", judge: (text) => Array.from(text).length === 2 },
  {
    grammar: 'root ::= "\\x41\\u00e9\\U0001F600\\"\\\\" [\\]-]',
    alphabet: 'Aé😀"\\]-',
    judge: (text) => /^Aé😀"\\[\]-]$/u.test(text),
  },
  {
    grammar: 'root ::= even | odd\neven ::= ("aa")*\nodd ::= "a" even "b"',
    alphabet: "ab",
    judge: (text) => /^(aa)*$|^a(aa)*b$/.test(text),
  },
  { grammar: 'root ::= many\nmany ::= "a" many | "b"', alphabet: "ab", judge: (text) => /^a*b$/.test(text) },
  { grammar: 'root ::= "" | ("a"*)* "b"', alphabet: "ab", judge: (text) => /^$|^a*b$/.test(text) },
  { grammar: 'root ::= ("a"? "b"?){0,2}', alphabet: "ab", judge: (text) => /^(a?b?){0,2}$/.test(text) },
  { grammar: 'root ::= ("" | "a"){3}', alphabet: "a", judge: (text) => /^a{0,3}$/.test(text) },
  { grammar: 'root ::= s\ns ::= ("(" s ")" | "[" s "]")*', alphabet: "()[]", judge: balanced },
  {
    grammar: 'root ::= sum\nsum ::= product ("+" product)*\nproduct ::= atom ("*" atom)*\natom ::= [0-9] | "(" sum ")"',
    alphabet: "01+*()",
    judge: isSum,
  },
  {
    grammar: '# a comment\nroot  ::=  ( # more\n  "x"\n  | "y" # then\n  "z"\n)\n\n  other-1 ::= "unused"\r\n',
    alphabet: "xyz",
    judge: (text) => /^(x|yz)$/.test(text),
  },
  { grammar: 'root ::= "a" |\n  "b"\n', alphabet: "ab", judge: (text) => /^[ab]$/.test(text) },
  {
    grammar: 'root ::= p\np ::= "a" p "a" | "b" p "b" | "c"',
    alphabet: "abc",
    judge: (text) => /^[ab]*c[ab]*$/.test(text) && text === Array.from(text).reverse().join(""),
  },
];

test("gbnf: agrees with a recognizer on random texts", () => {
  for (const [i, { grammar, alphabet, judge }] of CASES.entries()) {
    const compiled = compile({ kind: "gbnf", grammar });
    const random = randomOf(i + 1);
    const chars = Array.from(alphabet);
    let nFit = 0;
    for (let n = 0; n < 200; n++) {
      const length = n < 40 ? n % 4 : Math.floor(random() * 9);
      const text = Array.from({ length }, () => chars[Math.floor(random() * chars.length)]).join("");
      assertEquals([grammar, text, refusedAt(compiled, text) < 0], [grammar, text, judge(text)]);
      if (judge(text)) nFit++;
    }
    for (let seed = 1; seed <= 20; seed++) {
      const walk = randomWalk(compiled, PIECEWISE, seed, 8, 40);
      if (!walk.ended) continue;
      nFit++;
      assert(judge(textOf(walk.bytes)), `${grammar}: ${textOf(walk.bytes)}`);
    }
    assert(nFit > 0, `${grammar}: ${nFit} texts fitted`);
  }
});

test("gbnf: a grammar of JSON takes what JSON.parse takes", () => {
  const grammar = compile({
    kind: "gbnf",
    grammar: `root ::= value
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws ( member ("," ws member)* )? "}" ws
member ::= string ":" ws value
array ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\\"" ( [^"\\\\\\x00-\\x1F] | "\\\\" (["\\\\/bfnrt] | "u" [0-9a-fA-F]{4}) )* "\\"" ws
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [-+]? [0-9]+)? ws
ws ::= [ \\t\\n]*`,
  });
  const texts = [
    '{"a": [1, -2.5e3, {"b": "\\u00e9 \\" é"}], "c": null}',
    "[[[]]]",
    '"x"',
    "[1,]",
    '{"a"}',
    "01",
    '{"a":1',
    "[true false]",
  ];
  for (const text of texts) {
    let valid = true;
    try {
      JSON.parse(text);
    } catch {
      valid = false;
    }
    assertEquals([text, refusedAt(grammar, text) < 0], [text, valid]);
  }
});

test("gbnf: errors are ARG with line and column", () => {
  const broken: readonly (readonly [grammar: string, line: number, column: number, what: string])[] = [
    ["", 1, 1, "no rule root"],
    ['start ::= "a"', 1, 14, "no rule root"],
    ['root ::= "a', 1, 12, "closing"],
    ['root ::= "a"\nroot ::= "b"', 2, 1, "second time"],
    ["root ::= a b\na ::= [x]\n", 1, 12, "no rule b"],
    ['root ::= ("a"', 1, 14, "expected )"],
    ['root ::= "a")', 1, 13, "line's end"],
    ['root ::= "a"{3,2}', 1, 13, "out of order"],
    ['root ::= "a"{x}', 1, 13, "expected {m}"],
    ['root ::= "\\q"', 1, 12, "unknown escape"],
    ['root ::= "\\xZZ"', 1, 12, "hexadecimal"],
    ["root ::= [b-a]", 1, 14, "out of order"],
    ["root = x", 1, 6, "::="],
    ['root ::= "a" ::= "b"', 1, 14, "line's end"],
    ["root ::= *", 1, 10, "line's end"],
    ['root ::= a\na ::= b "x"\nb ::= "y"? a', 2, 1, "left recursion"],
    ['root ::= root "a" | "b"', 1, 1, "left recursion"],
    ['root ::= x* root\nx ::= ""', 1, 1, "left recursion"],
  ];
  for (const [grammar, line, column, what] of broken) {
    const { code, message } = refusalOf({ kind: "gbnf", grammar });
    assertEquals([grammar, code], [grammar, "ARG"]);
    assertStringIncludes(message, `line ${line}, column ${column}:`);
    assertStringIncludes(message, what);
  }
  assertEquals(refusalOf({ kind: "gbnf", grammar: "root ::= <think>" }).code, "UNSUPPORTED");
});

test("gbnf: rules that never end fit no text", () => {
  assertEquals(refusalOf({ kind: "gbnf", grammar: 'root ::= "a" root' }).code, "ARG");
  const grammar = compile({ kind: "gbnf", grammar: 'root ::= "a" | "b" endless\nendless ::= "x" endless' });
  assertEquals([refusedAt(grammar, "a"), refusedAt(grammar, "b")], [-1, 0]);
});
