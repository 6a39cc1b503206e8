/** Grammars of JSON schemas, judged by ajv: what walks come to is valid; what must be accepted or refused is. */
import { assert, assertEquals } from "@std/assert";
import { test, testUnless } from "./support.ts";
import { SCHEMA_CASES } from "./grammar_container_schemas.ts";
import type { SchemaCase } from "./grammar_schemas.ts";
import {
  AJV_MISSING,
  BYTES,
  compile,
  PIECEWISE,
  randomWalk,
  refusedAt,
  textOf,
  validatorOf,
} from "./grammar_support.ts";

const WALKS = 8;

function compiled({ schema }: SchemaCase) {
  return compile({ kind: "schema", schema });
}

test("schema: at least 50 schemas", () => {
  assert(SCHEMA_CASES.length >= 50, String(SCHEMA_CASES.length));
});

for (const one of SCHEMA_CASES) {
  testUnless(AJV_MISSING, `schema ${one.name}: random walks end in valid documents`, () => {
    const grammar = compiled(one);
    const validate = validatorOf(one.schema);
    let nEnded = 0;
    for (let seed = 1; seed <= WALKS; seed++) {
      const walk = randomWalk(grammar, seed % 3 === 0 ? BYTES : PIECEWISE, seed);
      if (!walk.ended) continue;
      nEnded++;
      const text = textOf(walk.bytes);
      assert(validate(JSON.parse(text)), text);
    }
    assert(nEnded >= WALKS / 2, `${nEnded} of ${WALKS} walks ended`);
  });

  test(`schema ${one.name}: known documents are accepted, others refused where they are wrong`, () => {
    const grammar = compiled(one);
    for (const text of one.accepted ?? []) assertEquals([text, refusedAt(grammar, text)], [text, -1]);
    for (const [text, at] of one.refused ?? []) assertEquals([text, refusedAt(grammar, text)], [text, at]);
  });
}

testUnless(AJV_MISSING, "schema: the validator agrees with the lists of documents", () => {
  for (const { name, schema, accepted, refused } of SCHEMA_CASES) {
    const validate = validatorOf(schema);
    for (const text of accepted ?? []) assert(validate(JSON.parse(text)), `${name}: ${text}`);
    assert(accepted !== undefined || refused !== undefined, name);
  }
});
