/** Finds and measures every entry of GGUF metadata; no value is copied. */
import { RealizarError } from "../errors.ts";
import type { StringTable } from "../string_table.ts";
import { quoted } from "./problems.ts";
import type { Cursor } from "./cursor.ts";

/** Names of the value types; the index is the type's number in the file. */
const TYPE_NAMES = [
  "u8",
  "i8",
  "u16",
  "i16",
  "u32",
  "i32",
  "f32",
  "bool",
  "string",
  "array",
  "u64",
  "i64",
  "f64",
] as const;

/** Name of a value type. */
export type MetadataType = (typeof TYPE_NAMES)[number];

/** Bytes of a value; for strings and arrays, the least they take. */
export const TYPE_BYTES: Record<MetadataType, number> = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  bool: 1,
  string: 8,
  array: 12,
  u64: 8,
  i64: 8,
  f64: 8,
};

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const KEY_BYTES_MAX = 65535;
const STRING_BYTES_MAX = 64 * 2 ** 20;
/** Arrays of arrays of ...: deeper than this is no file of this world. */
const DEPTH_MAX = 4;

/** Where a value lies. */
export interface Entry {
  readonly type: MetadataType;
  /** Of the key, for messages. */
  readonly entryOffset: number;
  /** Of the value; for arrays, of the first element. */
  readonly offset: number;
  /** Arrays only. */
  readonly of?: MetadataType;
  /** Number of elements of an array; bytes of a string; else 1. */
  readonly n: number;
  /** Arrays of strings only. */
  readonly table?: StringTable;
}

/** Reads `n` entries at the cursor. Throws `TRUNCATED`, `LIMIT`, `TYPE`, `DUPLICATE`. */
export function readEntries(cursor: Cursor, n: number): Map<string, Entry> {
  const entries = new Map<string, Entry>();
  for (let i = 0; i < n; i++) {
    const entryOffset = cursor.position;
    const key = readName(cursor, `the key of metadata entry ${i} of ${n}`, KEY_BYTES_MAX);
    if (entries.has(key)) {
      throw new RealizarError("DUPLICATE", `${cursor.name}: at byte ${entryOffset}: key ${quoted(key)} is there twice`);
    }
    entries.set(key, readValue(cursor, `the value of ${quoted(key)}`, entryOffset));
  }
  return entries;
}

/** A string of 1 to `bytesMax` bytes that must be UTF-8: keys and tensor names. */
export function readName(cursor: Cursor, what: string, bytesMax: number): string {
  const at = cursor.position;
  const n = cursor.u64(what);
  if (n < 1 || n > bytesMax) throw cursor.error("LIMIT", `${what} has ${n} bytes, expected 1 to ${bytesMax}`, at);
  const bytes = cursor.take(n, what);
  try {
    return UTF8.decode(bytes.slice());
  } catch {
    throw cursor.error("TYPE", `${what} is not UTF-8`, at);
  }
}

function readType(cursor: Cursor, what: string): MetadataType {
  const at = cursor.position;
  const id = cursor.u32(what);
  const type = TYPE_NAMES[id];
  if (type === undefined) throw cursor.error("TYPE", `${what} has value type ${id}, expected 0 to 12`, at);
  return type;
}

function readValue(cursor: Cursor, what: string, entryOffset: number): Entry {
  const type = readType(cursor, what);
  if (type === "array") return { type, entryOffset, ...readArray(cursor, what, 1) };
  if (type === "string") {
    const n = readStringLength(cursor, what);
    const offset = cursor.position;
    cursor.skip(n, what);
    return { type, entryOffset, offset, n };
  }
  const offset = cursor.position;
  const bytes = cursor.take(TYPE_BYTES[type], what);
  if (type === "bool") checkBools(cursor, what, offset, bytes);
  return { type, entryOffset, offset, n: 1 };
}

function readStringLength(cursor: Cursor, what: string): number {
  const at = cursor.position;
  const n = cursor.u64(what);
  if (n > STRING_BYTES_MAX) throw cursor.error("LIMIT", `${what} has ${n} bytes, at most ${STRING_BYTES_MAX}`, at);
  return n;
}

function checkBools(cursor: Cursor, what: string, offset: number, bytes: Uint8Array): void {
  const i = bytes.findIndex((byte) => byte > 1);
  if (i >= 0) throw cursor.error("TYPE", `${what} has ${bytes[i]} as a bool, expected 0 or 1`, offset + i);
}

function readArray(cursor: Cursor, what: string, depth: number): Omit<Entry, "type" | "entryOffset"> {
  const of = readType(cursor, what);
  const at = cursor.position;
  const n = cursor.u64(what);
  const bytes = n * TYPE_BYTES[of];
  if (bytes > cursor.remaining) {
    const least = `${n} elements of type ${of}, at least ${bytes} bytes`;
    throw cursor.error("TRUNCATED", `${what} announces ${least}; ${cursor.remaining} are left in the file`, at);
  }
  const offset = cursor.position;
  if (of === "string") return { of, offset, n, table: readStrings(cursor, n, what) };
  if (of === "array") {
    if (depth === DEPTH_MAX) throw cursor.error("LIMIT", `${what} nests deeper than ${DEPTH_MAX} levels`, at);
    for (let i = 0; i < n; i++) readArray(cursor, what, depth + 1);
  } else {
    const elements = cursor.take(bytes, what);
    if (of === "bool") checkBools(cursor, what, offset, elements);
  }
  return { of, offset, n };
}

function readStrings(cursor: Cursor, n: number, what: string): StringTable {
  cursor.need(8 * n, what);
  const offsets = new Float64Array(n);
  const lengths = new Uint32Array(n);
  const tooLong = cursor.strings(offsets, lengths, STRING_BYTES_MAX, `an element of ${what}`);
  if (tooLong !== undefined) {
    throw cursor.error("LIMIT", `an element of ${what} has ${tooLong} bytes, at most ${STRING_BYTES_MAX}`);
  }
  return { length: n, bytes: cursor.bytes, offsets, lengths };
}
