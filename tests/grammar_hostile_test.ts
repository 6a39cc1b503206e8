/** Hostile and unsupported grammars: typed errors, named places, within the budget, and never an overflowing stack. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import type { GrammarSource } from "../src/conversation.ts";
import { RealizarError } from "../src/errors.ts";
import { compileGrammar } from "../src/grammar/compile.ts";
import { createConstraint } from "../src/grammar/constraint.ts";
import { grammarSourceOf, jsonSchemaOf } from "../src/grammar/source.ts";
import { test } from "./support.ts";
import { allowedTokens, BYTES, compile, refusalOf } from "./grammar_support.ts";

function schemaRefusal(schema: unknown): RealizarError {
  return refusalOf({ kind: "schema", schema });
}

test("refused: every keyword that cannot be honoured, by its JSON pointer", () => {
  const cases: readonly (readonly [schema: object, pointer: string])[] = [
    [{ uniqueItems: true }, "#/uniqueItems"],
    [{ multipleOf: 0.5 }, "#/multipleOf"],
    [{ not: {} }, "#/not"],
    [{ if: {}, then: {} }, "#/if"],
    [{ properties: { a: { patternProperties: { x: {} }, required: ["b"] } } }, "#/properties/a/patternProperties"],
    [{ propertyNames: { maxLength: 1 }, required: ["a"] }, "#/propertyNames"],
    [{ properties: { "a/b~c": { contains: {} } } }, "#/properties/a~1b~0c/contains"],
    [{ items: { dependentRequired: { a: ["b"] } } }, "#/items/dependentRequired"],
    [{ anyOf: [{}, { minProperties: 1 }] }, "#/anyOf/1/minProperties"],
    [{ $defs: { x: { maxProperties: 3 } } }, "#/$defs/x/maxProperties"],
    [{ dependentSchemas: {} }, "#/dependentSchemas"],
    [{ unevaluatedProperties: false }, "#/unevaluatedProperties"],
    [{ $dynamicRef: "#a" }, "#/$dynamicRef"],
    [{ nullable: true }, "#/nullable"],
    [{ items: [{}] }, "#/items"],
    [{ type: "string", format: "iri" }, "#/format"],
    [{ $ref: "https://example.org/other" }, "#/$ref"],
    [{ properties: { a: { $id: "b" } } }, "#/properties/a/$id"],
    [{ oneOf: [{ type: "integer" }, { type: "number" }] }, "#/oneOf"],
    [{ oneOf: [{ properties: { a: { const: 1 } } }, { properties: { a: { const: 2 } } }] }, "#/oneOf"],
    [{ enum: [{}], properties: {} }, "#: properties"],
  ];
  for (const [schema, pointer] of cases) {
    const { code, message } = schemaRefusal(schema);
    assertEquals([schema, code], [schema, "UNSUPPORTED"]);
    assertStringIncludes(message, pointer);
  }
});

test("refused: what is no schema is ARG, by its JSON pointer", () => {
  const cases: readonly (readonly [schema: unknown, pointer: string])[] = [
    [{ type: "text" }, "#/type"],
    [{ type: [] }, "#/type"],
    [{ properties: [] }, "#/properties"],
    [{ properties: { a: 1 } }, "#/properties/a"],
    [{ required: "a" }, "#/required"],
    [{ required: [1] }, "#/required"],
    [{ enum: [] }, "#/enum"],
    [{ anyOf: [] }, "#/anyOf"],
    [{ maxLength: -1 }, "#/maxLength"],
    [{ maxItems: 1.5 }, "#/maxItems"],
    [{ minimum: "1" }, "#/minimum"],
    [{ pattern: 1 }, "#/pattern"],
    [{ $ref: "#/$defs/none" }, "#/$ref"],
    [{ $ref: "#/title", title: "x" }, "#/$ref"],
    [{ items: null }, "#/items"],
    [{ $ref: "#" }, "#"],
    [{ anyOf: [{ $ref: "#" }, { type: "null" }] }, "#"],
    [{ $ref: "#/$defs/a", $defs: { a: { allOf: [{ $ref: "#/$defs/b" }] }, b: { $ref: "#/$defs/a" } } }, "#/$defs/a"],
    [[], "#"],
    ["x", "#"],
  ];
  for (const [schema, pointer] of cases) {
    const { code, message } = schemaRefusal(schema);
    assertEquals([schema, code], [schema, "ARG"]);
    assertStringIncludes(message, `at ${pointer}:`);
  }
  for (
    const schema of [false, { type: "integer", minimum: 2, maximum: 1 }, { enum: [1], type: "string" }, {
      $ref: "#/$defs/a",
      $defs: { a: { type: "array", items: { $ref: "#/$defs/a" }, minItems: 1 } },
    }]
  ) {
    const { code, message } = schemaRefusal(schema);
    assertEquals([schema, code, message], [schema, "ARG", "no text fits the grammar"]);
  }
});

/** Objects in objects, `n` deep, made without recursion. */
function nested(n: number, wrap: (inner: unknown) => unknown): unknown {
  let schema: unknown = { type: "null" };
  for (let i = 0; i < n; i++) schema = wrap(schema);
  return schema;
}

const HOSTILE: readonly (readonly [name: string, source: GrammarSource])[] = [
  ["20,000 levels of items", { kind: "schema", schema: nested(20_000, (items) => ({ items })) }],
  ["20,000 levels of const", { kind: "schema", schema: { const: nested(20_000, (a) => [a]) } }],
  ["65 levels of properties", { kind: "schema", schema: nested(65, (a) => ({ properties: { a } })) }],
  ["60,000 values", { kind: "schema", schema: { enum: Array.from({ length: 60_000 }, (_, i) => i) } }],
  ["20,000 groups", { kind: "gbnf", grammar: `root ::= ${"(".repeat(20_000)}` }],
  ["65 groups", { kind: "gbnf", grammar: `root ::= ${"(".repeat(65)}"a"${")".repeat(65)}` }],
  ["20,000 groups in a pattern", { kind: "schema", schema: { pattern: "(".repeat(20_000) } }],
  ["repetitions of repetitions", { kind: "schema", schema: { pattern: "^(((a{1,1000}){1,1000}){1,1000})$" } }],
  ["repetitions of nothing", { kind: "schema", schema: { pattern: "^((((?:){1000000}){1000000}){1000000})$" } }],
  ["a huge count", { kind: "schema", schema: { pattern: "a{99999999999999999999}" } }],
  ["a pattern times a length", { kind: "schema", schema: { pattern: "^(a|b)*c(a|b|c){500}$", maxLength: 100_000 } }],
  ["nullable repetitions", { kind: "gbnf", grammar: 'root ::= ((("a"?){1000}){1000}){1000}' }],
  ["options of options", {
    kind: "schema",
    schema: {
      allOf: Array.from({ length: 12 }, () => ({ anyOf: Array.from({ length: 9 }, (_, i) => ({ minimum: i })) })),
    },
  }],
  ["a huge trigger", { kind: "lazy", triggers: ["x".repeat(100_000)], then: { kind: "text", text: "a" } }],
  ["nested parts", nested(100, (of) => ({ kind: "repeat", of, min: 0, max: 2, separator: "" })) as GrammarSource],
];

test("hostile: grammars end with LIMIT, without an overflow of the stack and in bounded time", () => {
  for (const [name, source] of HOSTILE) {
    const start = performance.now();
    const error = assertThrows(() => compileGrammar(source), RealizarError);
    assertEquals([name, error.code], [name, "LIMIT"]);
    const ms = performance.now() - start;
    assert(ms < 5000, `${name}: ${ms} ms`); // its budget is 250 ms of wall time
  }
});

test("hostile: a cyclic schema is LIMIT, what is no data in a schema is ARG", () => {
  const cyclic: Record<string, unknown> = { type: "array" };
  cyclic.items = cyclic;
  assertEquals(assertThrows(() => grammarSourceOf(cyclic, undefined), RealizarError).code, "LIMIT");
  for (const odd of [() => 1, Symbol("x"), 1n, new Date(0), new Map(), Uint8Array.of(1)]) {
    assertEquals(assertThrows(() => grammarSourceOf({ default: odd }, undefined), RealizarError).code, "ARG");
  }
  assertEquals(
    grammarSourceOf(Object.assign(Object.create(null) as object, { a: [undefined] }), undefined)?.kind,
    "schema",
  );
});

test("hostile: grammars within the limits compile although they are large", () => {
  const wide = {
    type: "object",
    properties: Object.fromEntries(Array.from({ length: 1500 }, (_, i) => [`name${i}`, { type: "integer" }])),
  };
  const names = Array.from({ length: 1000 }, (_, i) => `value number ${i}`);
  const sources: GrammarSource[] = [
    { kind: "schema", schema: wide },
    { kind: "schema", schema: { enum: names } },
    { kind: "schema", schema: nested(30, (a) => ({ type: "object", properties: { a }, required: ["a"] })) },
    { kind: "schema", schema: { type: "string", minLength: 1, maxLength: 1_000_000 } },
    {
      kind: "schema",
      schema: { type: "array", items: { type: "array", items: true, maxItems: 500_000 }, minItems: 1000 },
    },
    { kind: "gbnf", grammar: `root ::= ${Array.from({ length: 3000 }, (_, i) => `"w${i}"`).join(" | ")}` },
  ];
  for (const source of sources) {
    const constraint = createConstraint(compile(source), BYTES.tables);
    assert(allowedTokens(constraint, BYTES).length > 0);
  }
});

test("hostile: text that can be read in too many ways is LIMIT while it is generated", () => {
  const grammar = compile({
    kind: "gbnf",
    grammar: 'root ::= s "!"\ns ::= (a a a){1,1000000}\na ::= ("x" | "x" s "x"){1,1000000}',
  });
  const constraint = createConstraint(grammar, BYTES.tables);
  const start = performance.now();
  const error = assertThrows(() => {
    for (let i = 0; i < 5000; i++) {
      constraint.fill(new Uint32Array(Math.ceil(BYTES.size / 32)));
      constraint.accept(3 + 0x78);
    }
  }, RealizarError);
  assertEquals(error.code, "LIMIT");
  assert(performance.now() - start < 60_000);
});

test("sources: a Standard JSON Schema is asked, a mere validator refused with the reason", () => {
  const asked: unknown[] = [];
  const schema = {
    "~standard": {
      version: 1,
      vendor: "test",
      jsonSchema: {
        output: (options: unknown) => {
          asked.push(options);
          return { type: "integer" };
        },
      },
    },
  };
  assertEquals(jsonSchemaOf(schema), { type: "integer" });
  assertEquals(asked, [{ target: "draft-2020-12" }]);
  assertEquals(jsonSchemaOf(Object.assign(() => 1, schema)), { type: "integer" });
  const validator = { "~standard": { version: 1, vendor: "other", validate: () => ({ value: 1 }) } };
  const refused = assertThrows(() => jsonSchemaOf(validator), RealizarError);
  assertEquals(refused.code, "ARG");
  assertStringIncludes(refused.message, "other only validates");
  const failing = {
    "~standard": {
      vendor: "x",
      jsonSchema: {
        output: () => {
          throw new Error("not this target");
        },
      },
    },
  };
  assertStringIncludes(assertThrows(() => jsonSchemaOf(failing), RealizarError).message, "not this target");
  for (const none of [null, 1, "s", [], () => 1]) {
    assertEquals(assertThrows(() => jsonSchemaOf(none), RealizarError).code, "ARG");
  }
  assertEquals(assertThrows(() => grammarSourceOf({}, "root ::= [a]"), RealizarError).code, "ARG");
  assertEquals(grammarSourceOf(undefined, undefined), undefined);
  assertEquals(grammarSourceOf(undefined, "root ::= [a]"), { kind: "gbnf", grammar: "root ::= [a]" });
});
