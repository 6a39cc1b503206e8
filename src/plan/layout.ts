/**
 * The records of a plan as data: the byte layout of csrc/realizar.h (plan section), little-endian. A test compares it
 * with the C compiler's. It lives here, not in platform/abi.ts, because plans are built and read without the library.
 */
import type { RecordLayout, RecordValues } from "../record.ts";

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
