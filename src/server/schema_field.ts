/** What a generation refuses before it begins is a schema, which each API has under a name of its own. */
import { RealizarError } from "../errors.ts";
import { ApiError, toApiError } from "./errors.ts";

/** Names of fields. */
export interface SchemaFields {
  /** Of the schema of the tool with this index. */
  tool(index: number): string;
  /** Of the answer's schema. */
  schema: string;
}

/** The failure with the field that the schema stands in; others stay as they are. */
export function atSchemaField(thrown: unknown, fields: SchemaFields): unknown {
  if (!(thrown instanceof RealizarError)) return thrown;
  const { status, type, code, message } = toApiError(thrown);
  const tool = /^tools\[(\d+)\]\.parameters/.exec(message);
  if (status !== 400 || (tool === null && !/^(schema|pattern)\b/.test(message))) return thrown;
  const param = tool === null ? fields.schema : fields.tool(Number(tool[1]));
  const told = tool === null ? `${param}: ${message}` : `${param}${message.slice(tool[0].length)}`;
  return new ApiError(status, type, code, told, { param });
}
