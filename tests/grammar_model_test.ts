/** Structured output through the API: random weights at a high temperature write valid JSON, always. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Model } from "../src/mod.ts";
import { type ErrorCode, RealizarError } from "../src/errors.ts";
import { leakCheck, LIBRARY_PATH, test, testUnless } from "./support.ts";
import { AJV_MISSING, validatorOf } from "./grammar_support.ts";
import { tinyGguf } from "./tiny_gguf.ts";

const SCHEMA = {
  type: "object",
  properties: {
    name: { type: "string", minLength: 1, maxLength: 8 },
    size: { enum: ["small", "large"] },
    n: { type: "integer", minimum: -20, maximum: 300 },
    parts: { type: "array", items: { $ref: "#/$defs/part" }, maxItems: 2 },
  },
  required: ["name", "n"],
  $defs: { part: { anyOf: [{ type: "boolean" }, { type: "string", pattern: "^[a-f]{2,4}$" }, { type: "null" }] } },
};

function load(): Promise<Model> {
  return Model.load(tinyGguf({ contextLength: 1024, nLayers: 1, hiddenSize: 32 }), {
    device: "cpu",
    libraryPath: LIBRARY_PATH,
    maxSequences: 16,
    threads: 1,
  });
}

/** Sampling that draws from all tokens. */
const WILD = { temperature: 1.5, topK: 0, topP: 1, minP: 0 };

testUnless(AJV_MISSING, "model: 200 of 200 seeded answers are valid by the schema", async () => {
  await using model = await load();
  const validate = validatorOf(SCHEMA);
  const answers = await Promise.all(
    Array.from(
      { length: 200 },
      (_, seed) => model.generate("Say", { ...WILD, schema: SCHEMA, seed, maxTokens: 700 }).result(),
    ),
  );
  const texts = new Set<string>();
  for (const { text, json, finishReason } of answers) {
    assertEquals(finishReason, "stop");
    assert(validate(JSON.parse(text)), text);
    assertEquals(json, JSON.parse(text));
    texts.add(text);
  }
  assert(texts.size > 150, `${texts.size} different texts`);
});

test("model: the same seed gives the same answer, alone and beside others, with grammars mixed", async () => {
  await using model = await load();
  const grammar = 'root ::= [a-c]{5,20} ("." | "!")';
  const ask = (seed: number) => {
    const what = seed % 3 === 0 ? { schema: SCHEMA } : seed % 3 === 1 ? { grammar } : {};
    return model.generate("Say", { ...WILD, ...what, seed, maxTokens: 60 }).result();
  };
  const together = await Promise.all(Array.from({ length: 9 }, (_, seed) => ask(seed)));
  for (const [seed, { text }] of together.entries()) {
    assertEquals((await ask(seed)).text, text);
    if (seed % 3 === 1) assert(/^[a-c]{5,20}[.!]$/.test(text), text);
  }
});

test("model: an answer that is cut off has no value", async () => {
  await using model = await load();
  const result = await model.generate("Say", { ...WILD, schema: SCHEMA, seed: 1, maxTokens: 4 }).result();
  assertEquals([result.finishReason, "json" in result], ["length", false]);
});

test("model: what is wrong with a schema or a grammar is told by the generation", async () => {
  await using model = await load();
  const codeOf = async (options: object): Promise<[ErrorCode, string]> => {
    try {
      await model.generate("x", options).result();
    } catch (error) {
      if (error instanceof RealizarError) return [error.code, error.message];
      throw error;
    }
    throw new Error("no error");
  };
  assertEquals((await codeOf({ schema: SCHEMA, grammar: "root ::= [a]" }))[0], "ARG");
  assertEquals((await codeOf({ schema: { type: "text" } }))[0], "ARG");
  assertEquals((await codeOf({ schema: { uniqueItems: true } }))[0], "UNSUPPORTED");
  assertEquals((await codeOf({ grammar: "root ::= root" }))[0], "ARG");
  let deep: object = {};
  for (let i = 0; i < 20_000; i++) deep = { items: deep };
  assertEquals((await codeOf({ schema: deep }))[0], "LIMIT");
  const [code, message] = await codeOf({ schema: { "~standard": { vendor: "v", validate: () => 1 } } });
  assertEquals(code, "ARG");
  assertStringIncludes(message, "only validates");
  // Only the generation whose grammar cannot be followed ends, and the model goes on.
  const ambiguous = 'root ::= s "!"\ns ::= (a a a){1,1000000}\na ::= ("x" | "x" s "x"){1,1000000}';
  const beside = model.generate("x", { ...WILD, schema: SCHEMA, seed: 5, maxTokens: 300 }).result();
  // The sign that would end it is the token of its byte.
  assertEquals((await codeOf({ grammar: ambiguous, logitBias: { [0x21]: -Infinity } }))[0], "LIMIT");
  assertEquals((await beside).finishReason, "stop");
  assertEquals((await model.generate("x", { grammar: 'root ::= "ok"' }).result()).text, "ok");
});

test("model: the type of a value comes from its Standard JSON Schema", async () => {
  await using model = await load();
  const schema = {
    "~standard": {
      version: 1,
      vendor: "test",
      types: undefined as { input: { n: number }; output: { n: number } } | undefined,
      jsonSchema: {
        output: () => ({
          type: "object",
          properties: { n: { type: "integer", maximum: 9, minimum: 0 } },
          required: ["n"],
        }),
      },
    },
  } as const;
  const { json } = await model.generate("x", { ...WILD, schema, seed: 3 }).result();
  const n: number | undefined = json?.n;
  assert(n !== undefined && n >= 0 && n <= 9);
});

leakCheck();
