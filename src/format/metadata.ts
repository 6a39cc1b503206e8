/** Key-value metadata of a GGUF file: values are read in place, when asked for. */
import { type ErrorCode, RealizarError } from "../errors.ts";
import { stringAt, type StringTable } from "../string_table.ts";
import { type Entry, type MetadataType, readEntries, TYPE_BYTES } from "./metadata_reader.ts";
import { quoted } from "./problems.ts";
import type { Cursor } from "./cursor.ts";

export type { MetadataType } from "./metadata_reader.ts";

const INTEGERS: readonly MetadataType[] = ["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64"];
const FLOATS: readonly MetadataType[] = ["f32", "f64"];

/** A key with its type, for listings. */
export interface MetadataEntry {
  readonly key: string;
  readonly type: MetadataType;
  /** Element type of an array. */
  readonly of: MetadataType | undefined;
  /** Elements of an array, else 1. */
  readonly n: number;
}

/**
 * The metadata of a file. Getters throw `KEY_MISSING` when the key is not there and no fallback was given, `TYPE`
 * when its value is of another type, `OVERFLOW` when an integer does not fit; both name key and byte offset.
 */
export class Metadata {
  readonly #name: string;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #entries: ReadonlyMap<string, Entry>;

  /** Reads `n` entries at the cursor. Throws `TRUNCATED`, `LIMIT`, `TYPE`, `DUPLICATE`. */
  constructor(cursor: Cursor, n: number) {
    this.#name = cursor.name;
    this.#entries = readEntries(cursor, n);
    this.#bytes = cursor.bytes;
    this.#view = new DataView(cursor.bytes.buffer, cursor.bytes.byteOffset, cursor.bytes.byteLength);
  }

  /** Name of the file, for messages. */
  get fileName(): string {
    return this.#name;
  }

  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** Type of the value, undefined when the key is not there. */
  typeOf(key: string): MetadataType | undefined {
    return this.#entries.get(key)?.type;
  }

  /** Number of elements of an array; undefined when the key is not there or not an array. */
  lengthOf(key: string): number | undefined {
    const entry = this.#entries.get(key);
    return entry?.type === "array" ? entry.n : undefined;
  }

  /** All keys in the order of the file. */
  *entries(): Generator<MetadataEntry> {
    for (const [key, { type, of, n }] of this.#entries) yield { key, type, of, n: type === "array" ? n : 1 };
  }

  /** An integer of any integer type, within ±2^53. */
  int(key: string): number;
  int<T>(key: string, fallback: T): number | T;
  int<T>(key: string, ...fallback: T[]): number | T {
    const entry = this.#scalar(key, INTEGERS, "an integer", fallback.length > 0);
    return entry === undefined ? fallback[0]! : this.#integer(key, entry.type, entry.offset);
  }

  /** A float of either type. */
  float(key: string): number;
  float<T>(key: string, fallback: T): number | T;
  float<T>(key: string, ...fallback: T[]): number | T {
    const entry = this.#scalar(key, FLOATS, "a float", fallback.length > 0);
    return entry === undefined ? fallback[0]! : this.#float(entry.type, entry.offset);
  }

  bool(key: string): boolean;
  bool<T>(key: string, fallback: T): boolean | T;
  bool<T>(key: string, ...fallback: T[]): boolean | T {
    const entry = this.#scalar(key, ["bool"], "a bool", fallback.length > 0);
    return entry === undefined ? fallback[0]! : this.#view.getUint8(entry.offset) === 1;
  }

  /** Text; bytes that are not UTF-8 become U+FFFD. */
  string(key: string): string;
  string<T>(key: string, fallback: T): string | T;
  string<T>(key: string, ...fallback: T[]): string | T {
    const entry = this.#scalar(key, ["string"], "a string", fallback.length > 0);
    if (entry === undefined) return fallback[0]!;
    return decode(this.#bytes.subarray(entry.offset, entry.offset + entry.n));
  }

  /** An array of strings, read in place. */
  strings(key: string): StringTable;
  strings<T>(key: string, fallback: T): StringTable | T;
  strings<T>(key: string, ...fallback: T[]): StringTable | T {
    const entry = this.#array(key, ["string"], "strings", fallback.length > 0);
    return entry === undefined ? fallback[0]! : entry.table ?? { ...EMPTY, bytes: this.#bytes };
  }

  /** An array of integers of any integer type, as int32. */
  ints(key: string): Int32Array;
  ints<T>(key: string, fallback: T): Int32Array | T;
  ints<T>(key: string, ...fallback: T[]): Int32Array | T {
    const entry = this.#array(key, INTEGERS, "integers", fallback.length > 0);
    if (entry === undefined) return fallback[0]!;
    if (entry.of === "i32") return new Int32Array(this.#copy(entry, 4));
    const out = new Int32Array(entry.n);
    for (let i = 0; i < entry.n; i++) {
      const value = this.#integer(key, entry.of!, entry.offset + i * TYPE_BYTES[entry.of!]);
      out[i] = value;
      if (out[i] !== value) throw this.errorAt("OVERFLOW", key, `element ${i} is ${value}, more than 32 bits hold`);
    }
    return out;
  }

  /** An array of floats of either type, as float32. */
  floats(key: string): Float32Array;
  floats<T>(key: string, fallback: T): Float32Array | T;
  floats<T>(key: string, ...fallback: T[]): Float32Array | T {
    const entry = this.#array(key, FLOATS, "floats", fallback.length > 0);
    if (entry === undefined) return fallback[0]!;
    if (entry.of === "f64") return Float32Array.from(new Float64Array(this.#copy(entry, 8)));
    return new Float32Array(this.#copy(entry, 4));
  }

  /** An error about a key that is there: names file, key and byte offset. */
  errorAt(code: ErrorCode, key: string, problem: string): RealizarError {
    const entry = this.#entries.get(key);
    const where = entry === undefined ? "" : ` at byte ${entry.entryOffset}`;
    return new RealizarError(code, `${this.#name}: key ${quoted(key)}${where}: ${problem}`);
  }

  /**
   * Any value as plain data, for listings: strings and arrays are cut after `max` elements, integers beyond 2^53 and
   * nested arrays are told as text.
   */
  preview(key: string, max: number): unknown {
    const entry = this.#entries.get(key);
    if (entry === undefined) throw this.#missing(key);
    const { type, of, offset, n, table } = entry;
    if (type === "string") return decode(this.#bytes.subarray(offset, offset + Math.min(n, max)));
    if (type !== "array") return this.#plain(type, offset);
    if (of === "array") return `${n} arrays`;
    const size = TYPE_BYTES[of!];
    return Array.from(
      { length: Math.min(n, max) },
      (_, i) => table === undefined ? this.#plain(of!, offset + i * size) : stringAt(table, i),
    );
  }

  #plain(type: MetadataType, offset: number): unknown {
    if (type === "bool") return this.#view.getUint8(offset) === 1;
    if (type === "f32" || type === "f64") return this.#float(type, offset);
    const value = this.#bigOrNumber(type, offset);
    return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
  }

  #scalar(key: string, types: readonly MetadataType[], expected: string, optional: boolean): Entry | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) {
      if (optional) return undefined;
      throw this.#missing(key);
    }
    if (!types.includes(entry.type)) throw this.#wrongType(key, entry, expected);
    return entry;
  }

  /** An array with elements of one of the types; an empty array is of every type. */
  #array(key: string, types: readonly MetadataType[], expected: string, optional: boolean): Entry | undefined {
    const entry = this.#scalar(key, ["array"], `an array of ${expected}`, optional);
    if (entry !== undefined && entry.n > 0 && !types.includes(entry.of!)) {
      throw this.#wrongType(key, entry, `an array of ${expected}`);
    }
    return entry;
  }

  #integer(key: string, type: MetadataType, offset: number): number {
    const value = this.#bigOrNumber(type, offset);
    const number = Number(value);
    if (!Number.isSafeInteger(number)) throw this.errorAt("OVERFLOW", key, `${value} does not fit 53 bits`);
    return number;
  }

  #bigOrNumber(type: MetadataType, offset: number): number | bigint {
    const view = this.#view;
    switch (type) {
      case "u8":
        return view.getUint8(offset);
      case "i8":
        return view.getInt8(offset);
      case "u16":
        return view.getUint16(offset, true);
      case "i16":
        return view.getInt16(offset, true);
      case "u32":
        return view.getUint32(offset, true);
      case "i32":
        return view.getInt32(offset, true);
      case "u64":
        return view.getBigUint64(offset, true);
      default:
        return view.getBigInt64(offset, true);
    }
  }

  #float(type: MetadataType, offset: number): number {
    return type === "f32" ? this.#view.getFloat32(offset, true) : this.#view.getFloat64(offset, true);
  }

  /** The elements in a buffer of their own, so that they are aligned. */
  #copy(entry: Entry, elementBytes: number): ArrayBuffer {
    return this.#bytes.slice(entry.offset, entry.offset + entry.n * elementBytes).buffer as ArrayBuffer;
  }

  #missing(key: string): RealizarError {
    return new RealizarError("KEY_MISSING", `${this.#name}: key ${quoted(key)} is missing`);
  }

  #wrongType(key: string, entry: Entry, expected: string): RealizarError {
    const got = entry.type === "array" ? `an array of ${entry.of}` : entry.type;
    return this.errorAt("TYPE", key, `the value is ${got}, expected ${expected}`);
  }
}

const EMPTY = { length: 0, offsets: new Float64Array(0), lengths: new Uint32Array(0) };

function decode(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes.slice());
}
