/** A first answer for nobody: what is made and compiled once is there before the first request. */
import type { GenerateOptions } from "../types.ts";
import type { ServedModel } from "./served_model.ts";

/** Grammars that are compiled: engines of JavaScript make code fast that has run some times. */
const N_GRAMMARS = 12;

/** A schema with what schemas of tools have in them, unlike the others. */
function schemaOf(i: number): Record<string, unknown> {
  const properties = {
    [`text_${i}`]: { type: "string", minLength: 1, maxLength: 40 + i },
    [`count_${i}`]: { type: "integer", minimum: i, maximum: 90 + 7 * i },
    size: { type: "number" },
    kind: { enum: ["one", "two", `three ${i}`] },
    when: { type: "string", format: "date" },
    tags: { type: "array", items: { type: "string" }, maxItems: 3 + i },
    more: { anyOf: [{ type: "object", properties: { a: { $ref: "#/properties/kind" } } }, { type: "null" }] },
  };
  return { type: "object", properties, required: ["kind"], additionalProperties: false };
}

/**
 * Lets a model sample some single tokens under grammars. Without it the first request with a schema or tools waits for
 * the tables of its vocabulary and for code that has not run yet, some hundred milliseconds. Rejects with what fails.
 */
export async function warmUp(model: ServedModel): Promise<void> {
  const generations = Array.from({ length: N_GRAMMARS }, (_, i) => {
    const options: GenerateOptions = { schema: schemaOf(i), maxTokens: 1, cacheSalt: "warm-up" };
    return model.generate(Int32Array.of(0), options).result();
  });
  await Promise.all(generations);
}
