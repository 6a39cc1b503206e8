/** Grammars put together from parts, and long generations. */
import { assertEquals } from "@std/assert";
import type { GrammarSource } from "../src/conversation.ts";
import type { WireGrammar } from "../src/grammar/wire.ts";
import { test } from "./support.ts";
import { compile, randomOf, refusalOf, refusedAt } from "./grammar_support.ts";

test("parts: sequences, choices and repetitions with separators", () => {
  const digit: GrammarSource = { kind: "schema", schema: { type: "integer", minimum: 0, maximum: 9 } };
  const repeat = (min: number, max: number | undefined): WireGrammar =>
    compile({
      kind: "sequence",
      parts: [{ kind: "text", text: "<" }, { kind: "repeat", of: digit, min, max, separator: ", " }, {
        kind: "text",
        text: ">",
      }],
    });
  const judge = (grammar: WireGrammar, texts: readonly string[]): boolean[] =>
    texts.map((text) => refusedAt(grammar, text) < 0);
  const texts = ["<>", "<1>", "<1, 2>", "<1, 2, 3>", "<1, 2, 3, 4>", "<1 2>", "<1, >"];
  assertEquals(judge(repeat(0, undefined), texts), [true, true, true, true, true, false, false]);
  assertEquals(judge(repeat(1, 2), texts), [false, true, true, false, false, false, false]);
  assertEquals(judge(repeat(3, 3), texts), [false, false, false, true, false, false, false]);
  assertEquals(judge(repeat(0, 0), texts), [true, false, false, false, false, false, false]);
  const choice = compile({
    kind: "choice",
    options: [{ kind: "text", text: "yes" }, { kind: "text", text: "" }, digit],
  });
  assertEquals(judge(choice, ["yes", "", "7", "no", "77"]), [true, true, true, false, false]);
});

test("parts: what is no grammar is ARG", () => {
  const parts: unknown[] = [
    null,
    "x",
    { kind: "other" },
    { kind: "text" },
    { kind: "gbnf", grammar: 1 },
    { kind: "sequence", parts: "x" },
    { kind: "choice", options: [] },
    { kind: "choice", options: [undefined] },
    { kind: "repeat", of: { kind: "text", text: "a" }, min: 2, max: 1, separator: "" },
    { kind: "repeat", of: { kind: "text", text: "a" }, min: 0, max: 1.5, separator: "" },
    { kind: "repeat", of: { kind: "text", text: "a" }, min: 0, max: 2 },
    { kind: "lazy", triggers: [], then: { kind: "text", text: "a" } },
    { kind: "lazy", triggers: [""], then: { kind: "text", text: "a" } },
    { kind: "lazy", triggers: [1], then: { kind: "text", text: "a" } },
  ];
  for (const one of parts) assertEquals([one, refusalOf(one as GrammarSource).code], [one, "ARG"]);
});

test("parts: a long generation does not gather frames, and forgets none that it needs", () => {
  const grammar = compile({
    kind: "schema",
    schema: { type: "array", items: { type: "array", items: { type: "integer" }, minItems: 1, maxItems: 9000 } },
  });
  const row = `[${Array.from({ length: 6000 }, (_, i) => i % 10).join()}]`;
  assertEquals(refusedAt(grammar, `[${row},${row}]`), -1);
  const over = `[[${Array.from({ length: 9001 }, () => 1).join()}]]`;
  assertEquals(refusedAt(grammar, over), 1 + 18_000);
});

test("parts: long texts of one byte each keep the stack small", () => {
  const grammar = compile({ kind: "gbnf", grammar: 'root ::= "a" root | "b"' });
  const random = randomOf(1);
  const text = "a".repeat(3000 + Math.floor(random() * 10));
  assertEquals(refusedAt(grammar, `${text}b`), -1);
  assertEquals(refusedAt(grammar, text), text.length);
});
