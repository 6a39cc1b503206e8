/** Texts that end an answer, as the APIs' bodies list them. */
import type { Fields } from "./fields.ts";

/** More than the services allow, below what the library takes. */
const STOPS_MAX = 16;
const STOP_LENGTH_MAX = 4096;

/** A string or an array of strings under this name; undefined when not given. */
export function readStopStrings(fields: Fields, name: string): string[] | undefined {
  const value = fields.any(name);
  if (value === undefined) return undefined;
  const stops = Array.isArray(value) ? value as unknown[] : [value];
  const fits = (one: unknown): one is string => typeof one === "string" && one !== "" && one.length <= STOP_LENGTH_MAX;
  if (stops.length > STOPS_MAX || !stops.every(fits)) {
    fields.wrong(name, value, `a string or up to ${STOPS_MAX} strings, each of 1 to ${STOP_LENGTH_MAX} characters`);
  }
  return stops as string[];
}
