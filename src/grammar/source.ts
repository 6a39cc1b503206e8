/** A grammar as a caller gives it: checked for size before anything walks it by recursion or posts it. */
import type { GrammarSource } from "../conversation.ts";
import { RealizarError } from "../errors.ts";

/** How deep objects and arrays of a grammar's data may nest: 64 schemas of at most three levels each, and a value. */
const MAX_NESTING = 256;
/** Objects, arrays and scalars of a grammar's data. */
const MAX_VALUES = 20_000;
/** UTF-16 units of a grammar's texts. */
const MAX_TEXT = 1 << 20;

function tooMany(): RealizarError {
  return new RealizarError("LIMIT", `the grammar has more than ${MAX_VALUES} values`);
}

/**
 * Refuses data that nests too deep (a cycle does), has too many values or too much text with `LIMIT`, and what is no
 * data with `ARG`. Walks without recursion and takes a few milliseconds at most.
 */
export function checkSource(source: unknown): void {
  const open: [value: unknown, depth: number][] = [[source, 0]];
  let nValues = 0, nText = 0;
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const [value, depth] = next;
    if (++nValues > MAX_VALUES) throw tooMany();
    if (typeof value === "string") nText += value.length;
    else if (typeof value === "object" && value !== null) {
      if (depth >= MAX_NESTING) {
        throw new RealizarError("LIMIT", `the grammar nests more than ${MAX_NESTING} deep`);
      }
      const prototype: unknown = Object.getPrototypeOf(value);
      const isPlain = Array.isArray(value) || prototype === null || Object.getPrototypeOf(prototype) === null;
      if (!isPlain) throw new RealizarError("ARG", "grammar: got an object of a class in it, expected data");
      // The names of a long array's elements alone would take a while.
      if (Array.isArray(value) && value.length > MAX_VALUES) throw tooMany();
      for (const key of Object.keys(value)) {
        nText += key.length;
        open.push([(value as Record<string, unknown>)[key], depth + 1]);
      }
    } else if (typeof value === "function" || typeof value === "symbol" || typeof value === "bigint") {
      throw new RealizarError("ARG", `grammar: got a ${typeof value} in it, expected data`);
    }
    if (nText > MAX_TEXT) throw new RealizarError("LIMIT", `the grammar has more than ${MAX_TEXT} characters`);
  }
}

/** What a Standard Schema has under `~standard`, as far as it is used. */
interface Standard {
  readonly vendor?: unknown;
  readonly jsonSchema?: { readonly output?: unknown };
}

/**
 * The JSON Schema that a caller means: itself, or what a Standard JSON Schema makes of itself. Throws `ARG` for a
 * Standard Schema that only validates, since an answer can't be built from a function.
 */
export function jsonSchemaOf(schema: unknown): unknown {
  const isObject = (typeof schema === "object" && schema !== null) || typeof schema === "function";
  const standard = isObject ? (schema as { "~standard"?: Standard })["~standard"] : undefined;
  if (standard === undefined || typeof standard !== "object" || standard === null) {
    if (typeof schema === "boolean" || (typeof schema === "object" && schema !== null && !Array.isArray(schema))) {
      return schema;
    }
    throw new RealizarError("ARG", `schema: got ${schema === null ? "null" : typeof schema}, expected a JSON Schema`);
  }
  const { jsonSchema, vendor } = standard;
  if (typeof jsonSchema?.output !== "function") {
    throw new RealizarError(
      "ARG",
      `schema: the Standard Schema of ${
        String(vendor)
      } only validates; expected one with ~standard.jsonSchema, or JSON Schema`,
    );
  }
  try {
    return (jsonSchema as { output(options: { target: string }): unknown }).output({ target: "draft-2020-12" });
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new RealizarError("ARG", `schema: its Standard JSON Schema of ${String(vendor)} failed: ${why}`, { cause });
  }
}

/** The source that `schema` or `grammar` of the options stand for; undefined for neither. Throws `ARG`, `LIMIT`. */
export function grammarSourceOf(
  schema: unknown,
  grammar: string | GrammarSource | undefined,
): GrammarSource | undefined {
  if (schema !== undefined && grammar !== undefined) {
    throw new RealizarError("ARG", "schema and grammar: got both, expected one");
  }
  if (schema === undefined && grammar === undefined) return undefined;
  const source: GrammarSource = schema !== undefined
    ? { kind: "schema", schema: jsonSchemaOf(schema) }
    : typeof grammar === "string"
    ? { kind: "gbnf", grammar }
    : grammar!;
  checkSource(source);
  return source;
}
