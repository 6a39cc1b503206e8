/**
 * What structured output costs: compiling grammars, the index of a vocabulary, and masks along a generation.
 *
 *   node_modules/.bin/bun bench/grammar.ts [vocabulary ...]      vocabularies of tests/vocab; default smollm2 llama3_1
 *
 * A document that the grammar accepts is encoded and its tokens are walked as a generation would walk them. `first` is
 * the walk that finds no masks kept, `again` the next generation with the same grammar. Times are microseconds a token
 * (mask and token together): median, 99th percentile, mean.
 */
import type { GrammarSource } from "../src/conversation.ts";
import { compileGrammar } from "../src/grammar/compile.ts";
import { createConstraint } from "../src/grammar/constraint.ts";
import { tokenIndexOf } from "../src/grammar/token_trie.ts";
import type { WireGrammar } from "../src/grammar/wire.ts";
import { Tokenizer } from "../src/text/tokenizer.ts";
import { Vocab } from "../src/text/vocab.ts";
import { readSource, vocabularyMissing } from "../tests/text_support.ts";

const PEOPLE = Array.from({ length: 12 }, (_, i) => ({
  name: `Person ${i} of the "long" list`,
  email: `person.${i}@example.org`,
  age: 20 + 3 * i,
  tags: ["reader", "writer", "traveller"].slice(0, 1 + (i % 3)),
  address: { street: `${i} Station Road`, city: "Zürich", zip: "8001" },
}));

const PERSON = {
  type: "object",
  properties: {
    name: { type: "string", minLength: 1, maxLength: 100 },
    email: { type: "string", format: "email" },
    age: { type: "integer", minimum: 0, maximum: 150 },
    tags: { type: "array", items: { enum: ["reader", "writer", "traveller"] }, maxItems: 5 },
    address: {
      type: "object",
      properties: {
        street: { type: "string" },
        city: { type: "string" },
        zip: { type: "string", pattern: "^\\d{4,5}$" },
      },
      required: ["street", "city"],
      additionalProperties: false,
    },
  },
  required: ["name", "email", "age"],
};

const ARITHMETIC = `root ::= sum
sum ::= product (" " [+-] " " product)*
product ::= atom (" " [*/] " " atom)*
atom ::= [0-9]{1,6} | "(" sum ")"`;

const CASES: readonly { name: string; source: GrammarSource; text: string }[] = [
  {
    name: "people",
    source: { kind: "schema", schema: { type: "array", items: PERSON } },
    text: JSON.stringify(PEOPLE, undefined, 2),
  },
  {
    name: "any object",
    source: { kind: "schema", schema: { type: "object" } },
    text: JSON.stringify({ people: PEOPLE }),
  },
  {
    name: "arithmetic",
    source: { kind: "gbnf", grammar: ARITHMETIC },
    text: Array.from({ length: 60 }, (_, i) => `(${i} + 12 * (${i * 37} - 4)) / 2`).join(" + "),
  },
  {
    name: "lazy tool call",
    source: {
      kind: "lazy",
      triggers: ["<tool_call>"],
      then: {
        kind: "sequence",
        parts: [
          { kind: "text", text: "\n" },
          { kind: "schema", schema: { type: "object", properties: { name: { const: "f" }, arguments: PERSON } } },
          { kind: "text", text: "\n</tool_call>" },
        ],
      },
    },
    text: `${"Let me think about who that was. ".repeat(20)}<tool_call>\n${
      JSON.stringify({ name: "f", arguments: PEOPLE[0] })
    }\n</tool_call>${" So that is it.".repeat(20)}`,
  },
];

function median(values: Float64Array): number {
  return values[values.length >> 1]!;
}

/** Microseconds of every token's mask and step, sorted. */
function walk(grammar: WireGrammar, vocab: Vocab, tokens: Int32Array): Float64Array {
  const constraint = createConstraint(grammar, vocab.tables);
  const mask = new Uint32Array(Math.ceil(vocab.size / 32));
  const times = new Float64Array(tokens.length);
  for (const [i, token] of tokens.entries()) {
    mask.fill(0);
    const start = performance.now();
    const limited = constraint.fill(mask);
    if (limited && (mask[token >> 5]! >>> (token & 31) & 1) === 0) throw new Error(`token ${i} is not allowed`);
    constraint.accept(token);
    times[i] = 1000 * (performance.now() - start);
  }
  return times.sort();
}

function shown(times: Float64Array): string {
  const mean = times.reduce((sum, time) => sum + time, 0) / times.length;
  return [median(times), times[Math.floor(times.length * 0.99)]!, mean].map((time) => time.toFixed(1).padStart(8)).join(
    "",
  );
}

const names = process.argv.length > 2 ? process.argv.slice(2) : ["smollm2", "llama3_1"];
for (const name of names) {
  const missing = vocabularyMissing(name);
  if (missing !== undefined) {
    console.log(`${name}: ${missing}`);
    continue;
  }
  const vocab = Vocab.build(readSource(name));
  const tokenizer = new Tokenizer(vocab);
  const start = performance.now();
  const index = tokenIndexOf(vocab.tables);
  const indexMs = performance.now() - start;
  console.log(`${name}: ${vocab.size} tokens, index of ${index.all.nNodes} nodes in ${indexMs.toFixed(1)} ms`);
  for (const { name: what, source, text } of CASES) {
    const begin = performance.now();
    const grammar = compileGrammar(source);
    const compileMs = performance.now() - begin;
    const tokens = tokenizer.encode(text, { addBos: false, addEos: false });
    console.log(
      `  ${what.padEnd(16)} compile ${compileMs.toFixed(1).padStart(6)} ms  ${
        String(tokens.length).padStart(5)
      } tokens` +
        `  first ${shown(walk(grammar, vocab, tokens))}   again ${shown(walk(grammar, vocab, tokens))}`,
    );
  }
}
