/** Schemas of zod through Standard JSON Schema: what walks come to is what zod itself parses. */
import { assert, assertEquals } from "@std/assert";
import { jsonSchemaOf } from "../src/grammar/source.ts";
import { importClient, missingClients } from "./client_packages.ts";
import { compile, PIECEWISE, randomWalk, textOf } from "./grammar_support.ts";
import { testUnless } from "./support.ts";

/** As much of zod's type as is used: builders that can be called, and schemas that parse. */
interface ZodSchema {
  safeParse(value: unknown): { success: boolean };
}
// deno-lint-ignore no-explicit-any
type Zod = any;

function schemasOf(z: Zod): Record<string, ZodSchema> {
  const base = z.object({ id: z.uuid(), at: z.iso.datetime(), on: z.iso.date().optional() });
  return {
    scalars: z.object({
      name: z.string().min(1).max(10),
      n: z.int().min(0).max(5),
      price: z.number().positive().max(1000),
      five: z.number().multipleOf(5),
      mail: z.email().optional(),
      ip: z.ipv4(),
      code: z.string().regex(/^[A-Z]{2}\d{3}$/),
      start: z.string().startsWith("ab").endsWith("yz").max(8),
      flag: z.boolean(),
      nothing: z.null(),
      literal: z.literal(["x", 7]),
    }),
    containers: z.object({
      tags: z.array(z.enum(["a", "b"])).max(3),
      pair: z.tuple([z.string().max(3), z.int()]),
      map: z.record(z.string().max(2), z.boolean()),
      known: z.record(z.enum(["u", "v"]), z.int()),
      maybe: z.union([z.int(), z.string().max(2), z.null()]),
    }),
    discriminated: z.discriminatedUnion("kind", [
      z.object({ kind: z.literal("circle"), r: z.number() }),
      z.object({ kind: z.literal("box"), w: z.number(), h: z.number() }),
    ]),
    extended: base.extend({ nested: base.pick({ id: true }).nullable() }),
    strict: z.strictObject({ a: z.int().optional(), b: z.int().default(3) }),
    loose: z.looseObject({ a: z.string().max(3) }),
    recursive: z.lazy(() => z.object({ value: z.int(), next: z.array(z.lazy(() => z.object({ v: z.int() }))).max(2) })),
  };
}

testUnless(missingClients("zod"), "zod: what walks by its JSON Schema come to is what it parses", async () => {
  const { z } = await importClient<{ z: Zod }>("zod");
  for (const [name, schema] of Object.entries(schemasOf(z))) {
    const grammar = compile({ kind: "schema", schema: jsonSchemaOf(schema) });
    let nEnded = 0;
    for (let seed = 1; seed <= 8; seed++) {
      const walk = randomWalk(grammar, PIECEWISE, seed, 120, 1500);
      if (!walk.ended) continue;
      nEnded++;
      const text = textOf(walk.bytes);
      assert(schema.safeParse(JSON.parse(text)).success, `${name}: ${text}`);
    }
    assert(nEnded > 2, `${name}: ${nEnded} walks ended`);
  }
});

testUnless(missingClients("zod"), "zod: a schema that JSON Schema cannot say is refused", async () => {
  const { z } = await importClient<{ z: Zod }>("zod");
  let message = "";
  try {
    jsonSchemaOf(z.object({ at: z.date() }));
  } catch (error) {
    message = String(error);
  }
  assertEquals(message.includes("Standard JSON Schema of zod failed"), true, message);
});
