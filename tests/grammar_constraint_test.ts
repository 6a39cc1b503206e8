/** Masks against their definition (a token is allowed if its bytes are, one after the other), lazy grammars, ends. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import type { GrammarSource } from "../src/conversation.ts";
import { RealizarError } from "../src/errors.ts";
import { createConstraint } from "../src/grammar/constraint.ts";
import type { WireGrammar } from "../src/grammar/wire.ts";
import { stringTableOf } from "../src/string_table.ts";
import { TOKEN_TYPE, Vocab } from "../src/text/vocab.ts";
import { test, testUnless } from "./support.ts";
import { readSource, smallSpmSource, vocabularyMissing } from "./text_support.ts";
import { allowedTokens, allows, BYTES, compile, END, PIECEWISE, randomWalk, refusedAt } from "./grammar_support.ts";
import { SCHEMA_CASES } from "./grammar_container_schemas.ts";

/** Whether bytes are the beginning of a text of a grammar, followed through the vocabulary of bytes. */
function begins(grammar: WireGrammar, bytes: readonly number[]): boolean {
  const constraint = createConstraint(grammar, BYTES.tables);
  for (const byte of bytes) {
    if (!allows(constraint, BYTES, 3 + byte)) return false;
    constraint.accept(3 + byte);
  }
  return true;
}

const TOOL: GrammarSource = {
  kind: "lazy",
  triggers: ["<tool>", "<call "],
  then: {
    kind: "sequence",
    parts: [
      { kind: "schema", schema: { type: "object", properties: { a: { type: "integer" } }, required: ["a"] } },
      { kind: "text", text: "</tool>" },
    ],
  },
};

const LISTS: GrammarSource = {
  kind: "gbnf",
  grammar: 'root ::= list\nlist ::= "[" (item ("," item)*)? "]"\nitem ::= list | [a-z]{2,40} | "é"{0,3} "!"',
};

test("masks: are what the bytes of the tokens say, at every step of walks", () => {
  const schemas = SCHEMA_CASES.filter((_, i) => i % 4 === 0).map(({ schema }): GrammarSource => ({
    kind: "schema",
    schema,
  }));
  for (const [i, source] of [TOOL, LISTS, ...schemas].entries()) {
    const grammar = compile(source);
    const walk = randomWalk(grammar, PIECEWISE, i + 1, 12, 25);
    const constraint = createConstraint(grammar, PIECEWISE.tables);
    const before: number[] = [];
    for (const token of walk.tokens) {
      const allowed = new Set(allowedTokens(constraint, PIECEWISE));
      // Tokens of one byte are the definition itself; those of several are compared.
      for (let id = 3 + 256; id < PIECEWISE.size; id++) {
        const bytes = [...before, ...PIECEWISE.bytesOf(id)];
        if (allowed.has(id) === begins(grammar, bytes)) continue;
        throw new Error(
          `${JSON.stringify(source)}: ${PIECEWISE.textOf(id)} after ${
            new TextDecoder().decode(Uint8Array.from(before))
          }`,
        );
      }
      constraint.accept(token);
      before.push(...PIECEWISE.bytesOf(token));
    }
  }
});

/** What may complete the beginning of an array of short strings, whatever it ends in. */
const COMPLETIONS = ["", "]", '"]', 'x"]', 'n"]', '"x"]', ' "x"]', '0"]'];

/** Whether JSON text of an array of strings of at most 12 characters begins so, by trying to complete it. */
function beginsStrings(text: string): boolean {
  return COMPLETIONS.some((end) => {
    try {
      const value = JSON.parse(text + end) as unknown;
      return Array.isArray(value) && value.every((one) => typeof one === "string" && Array.from(one).length <= 12);
    } catch {
      return false;
    }
  });
}

testUnless(vocabularyMissing("smollm2"), "masks: of a real vocabulary are what JSON.parse takes", () => {
  const vocab = Vocab.build(readSource("smollm2"));
  const grammar = compile({ kind: "schema", schema: { type: "array", items: { type: "string", maxLength: 12 } } });
  for (const [i, before] of ["[", '["', '["Zürich ', '["a long one', '["a\\', '["a"', '["a", '].entries()) {
    const constraint = createConstraint(grammar, vocab.tables);
    for (const byte of new TextEncoder().encode(before)) constraint.accept(vocab.tables.byteIds[byte]!);
    const mask = new Uint32Array(Math.ceil(vocab.size / 32));
    assert(constraint.fill(mask));
    let nAllowed = 0;
    // A part of the tokens, another one each time.
    for (let id = i; id < vocab.size; id += 12) {
      if (vocab.isSpecial(id) || vocab.typeOf(id) === TOKEN_TYPE.userDefined || vocab.bytesOf(id).length > 32) {
        continue;
      }
      const text = vocab.textOf(id);
      // Not judged: parts of characters, \\u, and white space of which only some is offered.
      if (
        text.includes("\ufffd") || /\\u|[^\S ]| {2}/.test(text) || (before.endsWith("\\") && text.startsWith("u"))
      ) continue;
      const allowed = ((mask[id >> 5]! >>> (id & 31)) & 1) === 1;
      if (allowed) nAllowed++;
      // Spaces before a comma and a second one are JSON, but not offered.
      const signs = (before + text).replace(/"(?:[^"\\]|\\.)*(?:"|\\?$)/g, "s");
      const offered = !/ ,| {2}/.test(signs);
      if (allowed !== (offered && beginsStrings(before + text))) {
        throw new Error(`${before} then ${JSON.stringify(text)}`);
      }
    }
    assert(nAllowed > 0, before);
  }
});

test("masks: do not depend on what was asked before", () => {
  const schema = { type: "array", items: { type: "string", maxLength: 70 } };
  const warm = compile({ kind: "schema", schema });
  for (let seed = 1; seed <= 10; seed++) randomWalk(warm, PIECEWISE, seed, 20, 60);
  // The same grammar over a vocabulary of its own has nothing kept.
  const cold = Vocab.build(smallSpmSource([..."abcdefgh"].flatMap((a) => [`${a}"`, `"${a}`, `${a},`, `",${a}`])));
  const again = Vocab.build(smallSpmSource([..."abcdefgh"].flatMap((a) => [`${a}"`, `"${a}`, `${a},`, `",${a}`])));
  const walk = randomWalk(warm, cold, 3, 40, 80);
  const one = createConstraint(warm, cold.tables), other = createConstraint(warm, again.tables);
  for (const token of walk.tokens) {
    assertEquals(allowedTokens(one, cold), allowedTokens(other, again));
    one.accept(token);
    other.accept(token);
  }
});

test("masks: two generations with one grammar do not disturb each other", () => {
  const grammar = compile(LISTS);
  const walks = [1, 2, 3].map((seed) => randomWalk(grammar, PIECEWISE, seed, 12, 40));
  const constraints = walks.map(() => createConstraint(grammar, PIECEWISE.tables));
  for (let step = 0; step < 40; step++) {
    for (const [i, { tokens }] of walks.entries()) {
      const token = tokens[step];
      if (token === undefined) continue;
      assert(allowedTokens(constraints[i]!, PIECEWISE).includes(token));
      constraints[i]!.accept(token);
    }
  }
});

test("lazy: free text, then what a trigger asks for, then free text again", () => {
  const grammar = compile(TOOL);
  const accepted = [
    "",
    "some text",
    "a < b, <to, <tool",
    '<tool>{"a":1}</tool>',
    'x <call {"a": 5}</tool> y <tool>{"a":2}</tool>',
  ];
  for (const text of accepted) assertEquals([text, refusedAt(grammar, text)], [text, -1]);
  const refused: [string, number][] = [["<tool>x", 6], ['a<<tool>{"a":1}<', 16], ['<tool>{"b"', 8], [
    '<tool>{"a":1}',
    13,
  ]];
  for (const [text, at] of refused) assertEquals([text, refusedAt(grammar, text)], [text, at]);
});

test("lazy: a token that completes a trigger must go on as the grammar says", () => {
  const grammar = compile(TOOL);
  const named = (name: string): number =>
    Array.from({ length: PIECEWISE.size }, (_, id) => id).find((id) => PIECEWISE.textOf(id) === name)!;
  const after = (...names: string[]): Set<string> => {
    const constraint = createConstraint(grammar, PIECEWISE.tables);
    for (const name of names) constraint.accept(named(name));
    return new Set(allowedTokens(constraint, PIECEWISE).map((id) => PIECEWISE.textOf(id)));
  };
  const start = after();
  for (const fits of ["<tool>", "x<tool>", "<t", "tool>{", "name", "a"]) assert(start.has(fits), fits);
  const inside = after("<t", "o", "o");
  assert(inside.has("l>") && inside.has("l") && !inside.has("tool>x"));
  assertEquals([...after("<tool>")].sort(), ["{", "{\n", '{"']);
  const completed = after("<", "tool>{");
  assert(completed.has('"') && !completed.has("name") && !completed.has('"}'));
});

test("masks: tokens of the same bytes are allowed together", () => {
  const vocab = Vocab.build(smallSpmSource(["<", "a", '"', '"', "é", "<t", "<t"]));
  const same = (grammar: WireGrammar, ...before: number[]): number[][] => {
    const constraint = createConstraint(grammar, vocab.tables);
    for (const byte of before) constraint.accept(3 + byte);
    const allowed = allowedTokens(constraint, vocab);
    const groups = Map.groupBy(
      Array.from({ length: vocab.size - 3 }, (_, i) => i + 3),
      (id) => vocab.bytesOf(id).join(),
    );
    return [...groups.values()].filter((ids) => ids.length > 1 && ids.some((id) => allowed.includes(id)))
      .map((ids) => ids.filter((id) => !allowed.includes(id)));
  };
  assertEquals(same(compile(TOOL)), [[], [], [], []]);
  const strings = compile({ kind: "schema", schema: { type: "string", maxLength: 5 } });
  assertEquals([same(strings), same(strings, 0x22)], [[[]], [[], [], [], []]]);
});

test("lazy: tokens without text are allowed where text is free, and one may be the trigger", () => {
  const source = smallSpmSource(["ab"]);
  const tokens = ["<unk>", "<s>", "</s>", "[CALL]", "<other>", "ab", "[", "C", "{", "}"];
  const { control, unknown, normal } = TOKEN_TYPE;
  const tokenTypes = Int32Array.from([
    unknown,
    control,
    control,
    control,
    control,
    normal,
    normal,
    normal,
    normal,
    normal,
  ]);
  const scores = Float32Array.from(tokens, (_, i) => -i);
  const vocab = Vocab.build({ ...source, tokens: stringTableOf(tokens), tokenTypes, scores });
  const grammar = compile({ kind: "lazy", triggers: ["[CALL]"], then: { kind: "text", text: "{}" } });
  const constraint = createConstraint(grammar, vocab.tables);
  assertEquals(constraint.fill(new Uint32Array(1)), false);
  constraint.accept(4);
  constraint.accept(5);
  assertEquals(allowedTokens(constraint, vocab).length, vocab.size);
  constraint.accept(3);
  assertEquals(allowedTokens(constraint, vocab), [8]);
  constraint.accept(8);
  constraint.accept(9);
  assertEquals(allowedTokens(constraint, vocab).length, vocab.size);
});

test("ends: only where the text may end, and nothing else once it must", () => {
  const grammar = compile({ kind: "gbnf", grammar: 'root ::= "a" "b"?' });
  const constraint = createConstraint(grammar, BYTES.tables);
  const a = 3 + 0x61, b = 3 + 0x62;
  assertEquals(allowedTokens(constraint, BYTES), [a]);
  constraint.accept(a);
  assertEquals(allowedTokens(constraint, BYTES), [END, b]);
  constraint.accept(b);
  assertEquals(allowedTokens(constraint, BYTES), [END]);
  constraint.accept(END);
  assertEquals(allowedTokens(constraint, BYTES), [END]);
  const error = assertThrows(() => constraint.accept(a), RealizarError);
  assertEquals(error.code, "INTERNAL");
});

test("ends: a vocabulary that cannot write what must follow has an empty mask", () => {
  const source = smallSpmSource([]);
  const tokens = ["<unk>", "<s>", "</s>", "a"];
  const { control, unknown, normal } = TOKEN_TYPE;
  const tokenTypes = Int32Array.from([unknown, control, control, normal]);
  const vocab = Vocab.build({ ...source, tokens: stringTableOf(tokens), tokenTypes, scores: new Float32Array(4) });
  const constraint = createConstraint(compile({ kind: "text", text: "b" }), vocab.tables);
  assertEquals(allowedTokens(constraint, vocab), []);
});
