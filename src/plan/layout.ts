/**
 * The records of a plan as data: the byte layout of csrc/realizar.h (plan section), little-endian. A test compares it
 * with the C compiler's. It lives here, not in platform/abi.ts, because plans are built and read without the library.
 */

/** Type, byte offset, and the length when it is an array. */
type Field = readonly [type: "u8" | "u16" | "u32" | "f32" | "u64", offset: number, count?: number];

/** A record: its size in bytes and its fields. Bytes that no field names are zero. */
export interface RecordLayout {
  readonly size: number;
  readonly fields: { readonly [name: string]: Field };
}

/** What a record holds: a number for each plain field, an array for each array. */
export type RecordValues<L extends RecordLayout> = {
  -readonly [K in keyof L["fields"]]: L["fields"][K] extends readonly [string, number, number] ? number[] : number;
};

/** `rz_plan_header.magic`: 'RZP1'. */
export const PLAN_MAGIC = 0x31505a52;

/** Every record of a plan, in the order of the sections. `f64` numbers lie between constants and values. */
export const PLAN_RECORDS = {
  rz_plan_header: {
    size: 64,
    fields: {
      magic: ["u32", 0],
      n_bytes: ["u32", 4],
      n_weights: ["u32", 8],
      n_constants: ["u32", 12],
      n_numbers: ["u32", 16],
      n_values: ["u32", 20],
      n_ops: ["u32", 24],
      vocab_size: ["u32", 28],
      hidden_size: ["u32", 32],
    },
  },
  rz_weight: {
    size: 80,
    fields: {
      dtype: ["u32", 0],
      use: ["u32", 4],
      rows: ["u32", 8],
      cols: ["u32", 12],
      n_experts: ["u32", 16],
      file: ["u32", 20],
      offset: ["u64", 24],
      bytes: ["u64", 32],
      aux: ["u32", 40, 2],
      shard_axis: ["u32", 48],
      shard_i: ["u32", 52],
      shard_n: ["u32", 56],
    },
  },
  rz_constant: { size: 64, fields: { name: ["u8", 0, 48], first: ["u32", 48], n: ["u32", 52] } },
  rz_value: { size: 16, fields: { rows: ["u16", 0], dtype: ["u16", 2], cols: ["u32", 4], flags: ["u32", 8] } },
  rz_op: {
    size: 128,
    fields: {
      code: ["u16", 0],
      flags: ["u16", 2],
      layer: ["u32", 4],
      out: ["u32", 8, 2],
      in: ["u32", 16, 4],
      w: ["u32", 32, 4],
      n: ["u32", 48, 8],
      f: ["f32", 80, 6],
    },
  },
} as const satisfies Record<string, RecordLayout>;

/** Values of one record type, by its C name. */
export type PlanRecord<N extends keyof typeof PLAN_RECORDS> = RecordValues<(typeof PLAN_RECORDS)[N]>;

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

/** Writes a record at byte `at` of `view`, whose bytes are zero there. What is left out of a field or array is 0. */
export function writeRecord<L extends RecordLayout>(
  layout: L,
  view: DataView,
  at: number,
  values: Readonly<Partial<RecordValues<L>>>,
): void {
  for (const [name, [type, offset]] of Object.entries(layout.fields)) {
    const value = (values as Record<string, number | readonly number[] | undefined>)[name] ?? 0;
    const items = typeof value === "number" ? [value] : value;
    items.forEach((item, i) => put(view, type, at + offset + i * FIELD_BYTES[type], item));
  }
}

/** Reads the record at byte `at` of `view`. */
export function readRecord<L extends RecordLayout>(layout: L, view: DataView, at: number): RecordValues<L> {
  const values: Record<string, number | number[]> = {};
  for (const [name, [type, offset, count]] of Object.entries(layout.fields)) {
    const read = (i: number): number => get(view, type, at + offset + i * FIELD_BYTES[type]);
    values[name] = count === undefined ? read(0) : Array.from({ length: count }, (_, i) => read(i));
  }
  return values as RecordValues<L>;
}
