/** The form of answer that a request asks for: chat has it as `response_format`, Responses as `text.format`. */
import type { Fields } from "./fields.ts";

/**
 * The format as a schema of the answer; undefined = any text. `readSchema` reads what goes with `json_schema`, which
 * each API has elsewhere; `defined` are fields of the format that are known and refused.
 */
export function readAnswerFormat(
  format: Fields | undefined,
  readSchema: (format: Fields) => unknown,
  defined: readonly string[] = [],
): unknown {
  if (format === undefined) return undefined;
  const expected = `"text", "json_object" or "json_schema"`;
  const type = format.required("type", format.string("type"), expected);
  let schema: unknown;
  if (type === "json_object") schema = { type: "object" };
  else if (type === "json_schema") schema = readSchema(format);
  else if (type !== "text") format.wrong("type", type, expected);
  format.refuseRest(defined);
  return schema;
}
