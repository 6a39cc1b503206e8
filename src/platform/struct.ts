/** Writes and reads the structs of abi.ts in little-endian bytes. */
import type { FieldType, Struct } from "./abi.ts";

/** A field's value: a number (u64 up to 2^53), or numbers for an array. */
export type FieldValue = number | readonly number[];

function split(type: FieldType): { base: string; count: number } {
  const open = type.indexOf("[");
  return open < 0 ? { base: type, count: 0 } : { base: type.slice(0, open), count: Number(type.slice(open + 1, -1)) };
}

function bytesOf(base: string): number {
  return base === "u8" ? 1 : base === "u16" ? 2 : base.endsWith("64") ? 8 : 4;
}

function put(view: DataView, base: string, at: number, value: number): void {
  if (base === "u8") view.setUint8(at, value);
  else if (base === "u16") view.setUint16(at, value, true);
  else if (base === "u32") view.setUint32(at, value, true);
  else if (base === "i32") view.setInt32(at, value, true);
  else if (base === "f32") view.setFloat32(at, value, true);
  else view.setBigInt64(at, BigInt(value), true);
}

function get(view: DataView, base: string, at: number): number {
  if (base === "u8") return view.getUint8(at);
  if (base === "u16") return view.getUint16(at, true);
  if (base === "u32") return view.getUint32(at, true);
  if (base === "i32") return view.getInt32(at, true);
  if (base === "f32") return view.getFloat32(at, true);
  return Number(base === "u64" ? view.getBigUint64(at, true) : view.getBigInt64(at, true));
}

/** Writes `values` into `out` at byte `at`; fields not named become 0. Returns `out`. */
export function writeStruct<S extends Struct>(
  struct: S,
  values: { readonly [K in keyof S["fields"]]?: FieldValue },
  out: Uint8Array = new Uint8Array(struct.size),
  at = 0,
): Uint8Array {
  const view = new DataView(out.buffer, out.byteOffset + at, struct.size);
  out.fill(0, at, at + struct.size);
  for (const [name, value] of Object.entries(values) as [string, FieldValue][]) {
    const [type, offset] = struct.fields[name]!;
    const { base } = split(type);
    if (typeof value === "number") put(view, base, offset, value);
    else value.forEach((v, i) => put(view, base, offset + i * bytesOf(base), v));
  }
  return out;
}

/** Reads one number field. */
export function readField<S extends Struct>(struct: S, bytes: Uint8Array, name: keyof S["fields"] & string, i = 0): number {
  const [type, offset] = struct.fields[name]!;
  const { base } = split(type);
  return get(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), base, offset + i * bytesOf(base));
}

/** Reads every scalar field, by name. */
export function readStruct<S extends Struct>(struct: S, bytes: Uint8Array): { [K in keyof S["fields"]]: number } {
  const result: Record<string, number> = {};
  for (const name of Object.keys(struct.fields)) result[name] = readField(struct, bytes, name);
  return result as { [K in keyof S["fields"]]: number };
}

/** Reads a NUL-padded UTF-8 field. */
export function readText<S extends Struct>(struct: S, bytes: Uint8Array, name: keyof S["fields"] & string): string {
  const [type, offset] = struct.fields[name]!;
  const raw = bytes.subarray(offset, offset + split(type).count);
  const end = raw.indexOf(0);
  return new TextDecoder().decode(end < 0 ? raw : raw.subarray(0, end));
}
