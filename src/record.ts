/** C structs as data: where each field of a record lies, and writing and reading them in little-endian bytes. */

/** Type, byte offset, and the length when it is an array. */
export type Field = readonly [type: "u8" | "u16" | "u32" | "f32" | "u64", offset: number, count?: number];

/** A record: its size in bytes and its fields. Bytes that no field names are zero. */
export interface RecordLayout {
  readonly size: number;
  readonly fields: { readonly [name: string]: Field };
}

/** What a record holds: a number for each plain field, an array for each array. u64 only up to 2^53. */
export type RecordValues<L extends RecordLayout> = {
  -readonly [K in keyof L["fields"]]: L["fields"][K] extends readonly [string, number, number] ? number[] : number;
};

/** What can be written: any of the fields; arrays may be shorter than their field. */
export type RecordInput<L extends RecordLayout> = {
  readonly [K in keyof L["fields"]]?:
    | (L["fields"][K] extends readonly [string, number, number] ? readonly number[] : number)
    | undefined;
};

const FIELD_BYTES = { u8: 1, u16: 2, u32: 4, f32: 4, u64: 8 } as const;

function put(view: DataView, type: Field[0], at: number, value: number): void {
  if (type === "u8") view.setUint8(at, value);
  else if (type === "u16") view.setUint16(at, value, true);
  else if (type === "u32") view.setUint32(at, value, true);
  else if (type === "f32") view.setFloat32(at, value, true);
  else view.setBigUint64(at, BigInt(value), true);
}

function get(view: DataView, type: Field[0], at: number): number {
  if (type === "u8") return view.getUint8(at);
  if (type === "u16") return view.getUint16(at, true);
  if (type === "u32") return view.getUint32(at, true);
  if (type === "f32") return view.getFloat32(at, true);
  return Number(view.getBigUint64(at, true));
}

/** Writes a record into `out` at byte `at` and returns `out`. What is not named becomes 0. */
export function writeRecord<L extends RecordLayout>(
  layout: L,
  values: RecordInput<L>,
  out: Uint8Array = new Uint8Array(layout.size),
  at = 0,
): Uint8Array {
  const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
  out.fill(0, at, at + layout.size);
  for (const [name, value] of Object.entries(values) as [string, number | readonly number[] | undefined][]) {
    if (value === undefined) continue;
    const [type, offset] = layout.fields[name]!;
    const items = typeof value === "number" ? [value] : value;
    items.forEach((item, i) => put(view, type, at + offset + i * FIELD_BYTES[type], item));
  }
  return out;
}

/** Reads the record at byte `at` of `bytes`. */
export function readRecord<L extends RecordLayout>(layout: L, bytes: Uint8Array, at = 0): RecordValues<L> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values: Record<string, number | number[]> = {};
  for (const [name, [type, offset, count]] of Object.entries(layout.fields)) {
    const read = (i: number): number => get(view, type, at + offset + i * FIELD_BYTES[type]);
    values[name] = count === undefined ? read(0) : Array.from({ length: count }, (_, i) => read(i));
  }
  return values as RecordValues<L>;
}

/** The text of an array of bytes that is padded with NUL. */
export function textOf(bytes: readonly number[]): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(Uint8Array.from(end < 0 ? bytes : bytes.slice(0, end)));
}
