/**
 * The C ABI as data: one table for every runtime. csrc/realizar.h is the manual; tests/abi_test.ts compares this file
 * with the header, with the exports of the built library and with the C compiler's struct layout.
 */

import type { RecordLayout } from "../record.ts";

/** Must equal `rz_abi_version()` of the library. */
export const ABI_VERSION = 1;

/** A number passed by value. */
export type Scalar = "i32" | "u32" | "f32" | "f64";
/** `in` = const T *, `out` = T *: memory of the caller, lent for the call. */
export type Arg = Scalar | "in" | "out";

/** One function: its parameters and what it returns. */
export interface Signature {
  readonly args: readonly Arg[];
  readonly returns: Scalar;
}

/** Every exported function. */
export const SYMBOLS = {
  rz_abi_version: { args: [], returns: "u32" },
  rz_library_info: { args: ["out", "u32"], returns: "i32" },
  rz_library_stats: { args: ["out", "u32"], returns: "i32" },
  rz_error_read: { args: ["out", "u32"], returns: "u32" },
  rz_engine_open: { args: ["in"], returns: "i32" },
  rz_engine_info_read: { args: ["u32", "out"], returns: "i32" },
  rz_engine_measure: { args: ["u32", "u32", "out", "u32"], returns: "i32" },
  rz_engine_close: { args: ["u32"], returns: "i32" },
  rz_weights_open: { args: ["u32", "in", "u32", "in", "u32"], returns: "i32" },
  rz_weights_write: { args: ["u32", "u32", "f64", "in", "u32"], returns: "i32" },
  rz_weights_poll: { args: ["u32", "u32", "out"], returns: "i32" },
  rz_weights_read: { args: ["u32", "u32", "u32", "u32", "out", "u32"], returns: "i32" },
  rz_weights_close: { args: ["u32"], returns: "i32" },
  rz_plan_check: { args: ["u32", "in", "u32", "in", "out"], returns: "i32" },
  rz_plan_open: { args: ["u32", "in", "u32", "in"], returns: "i32" },
  rz_plan_info_read: { args: ["u32", "out"], returns: "i32" },
  rz_plan_listing: { args: ["u32", "u32", "out", "u32"], returns: "i32" },
  rz_plan_profile: { args: ["u32", "out", "u32"], returns: "i32" },
  rz_plan_close: { args: ["u32"], returns: "i32" },
  rz_cache_open: { args: ["u32", "in"], returns: "i32" },
  rz_cache_read: { args: ["u32", "u32", "u32", "out", "u32"], returns: "i32" },
  rz_cache_write: { args: ["u32", "u32", "u32", "in", "u32"], returns: "i32" },
  rz_cache_close: { args: ["u32"], returns: "i32" },
  rz_step_submit: { args: ["u32", "u32", "in", "u32"], returns: "i32" },
  rz_step_sample: { args: ["u32", "u32", "in", "u32"], returns: "i32" },
  rz_step_wait: { args: ["u32", "u32", "u32", "out", "u32"], returns: "i32" },
  rz_step_read: { args: ["u32", "u32", "u32", "u32", "u32", "out", "u32"], returns: "i32" },
  rz_step_cancel: { args: ["u32", "u32"], returns: "i32" },
} as const satisfies Record<`rz_${string}`, Signature>;

/** Functions of the test library only. */
export const TEST_SYMBOLS = {
  rz_test_fail_after: { args: ["u32", "u32"], returns: "i32" },
  rz_test_hold: { args: ["u32"], returns: "i32" },
} as const satisfies Record<`rz_test_${string}`, Signature>;

/**
 * The structs that TypeScript writes or reads by name. Plans (plan/layout.ts), batches and results (engine/batch.ts)
 * have places of their own.
 */
export const STRUCTS = {
  rz_stats: {
    size: 96,
    fields: {
      n_engines: ["u32", 0],
      n_weights: ["u32", 4],
      n_plans: ["u32", 8],
      n_caches: ["u32", 12],
      n_tickets: ["u32", 16],
      n_threads: ["u32", 20],
      weights_bytes: ["u64", 32],
      plan_bytes: ["u64", 40],
      cache_bytes: ["u64", 48],
      other_bytes: ["u64", 56],
      total_bytes: ["u64", 64],
      peak_bytes: ["u64", 72],
    },
  },
  rz_engine_options: {
    size: 64,
    fields: {
      size: ["u32", 0],
      backend: ["u32", 4],
      n_devices: ["u32", 8],
      device: ["u32", 12, 8],
      n_threads: ["u32", 44],
      isa_max: ["u32", 48],
      memory_max: ["u64", 56],
    },
  },
  rz_engine_info: {
    size: 128,
    fields: {
      backend: ["u32", 0],
      n_threads: ["u32", 4],
      isa: ["u32", 8],
      page_tokens: ["u32", 12],
      memory_used: ["u64", 16],
      memory_max: ["u64", 24],
      device_free: ["u64", 32],
      device_total: ["u64", 40],
      name: ["u8", 48, 80],
    },
  },
  rz_progress: {
    size: 32,
    fields: { state: ["u32", 0], status: ["u32", 4], done_bytes: ["u64", 8], total_bytes: ["u64", 16] },
  },
  rz_plan_options: {
    size: 128,
    fields: {
      size: ["u32", 0],
      flags: ["u32", 4],
      max_tokens: ["u32", 8],
      max_seqs: ["u32", 12],
      max_outs: ["u32", 16],
      max_rows: ["u32", 20],
      patterns_off: ["u32", 24, 2],
      n_watched: ["u32", 32],
      watched: ["u32", 36, 16],
    },
  },
  rz_plan_info: {
    size: 128,
    fields: {
      weights_bytes: ["u64", 0],
      scratch_bytes: ["u64", 8],
      n_ops: ["u32", 16],
      n_values: ["u32", 20],
      n_weights: ["u32", 24],
      vocab_size: ["u32", 28],
      hidden_size: ["u32", 32],
      max_tokens: ["u32", 36],
      max_seqs: ["u32", 40],
      max_outs: ["u32", 44],
      max_rows: ["u32", 48],
      result_bytes_max: ["u32", 52],
      logits_value: ["u32", 56],
      n_classes: ["u32", 60],
      class_rows: ["u32", 64, 8],
      n_launches: ["u32", 96, 8],
    },
  },
  rz_brick: {
    size: 32,
    fields: {
      op: ["u32", 0],
      code: ["u32", 4],
      layer: ["u32", 8],
      calls: ["u32", 12],
      ticks_ns: ["u64", 16],
      bytes: ["u64", 24],
    },
  },
  rz_cache_group: {
    size: 32,
    fields: {
      n_layers: ["u32", 0],
      window: ["u32", 4],
      k_cols: ["u32", 8],
      v_cols: ["u32", 12],
      k_dtype: ["u32", 16],
      v_dtype: ["u32", 20],
      n_pages: ["u32", 24],
      page_tokens: ["u32", 28],
    },
  },
  rz_cache_options: {
    size: 288,
    fields: { size: ["u32", 0], n_groups: ["u32", 4], n_slots: ["u32", 8] },
  },
} as const satisfies Record<string, RecordLayout>;

/** `rz_backend_id`. */
export const BACKENDS = { ref: 0, cpu: 1, cuda: 2 } as const;
/** `rz_isa`. */
export const ISAS = { auto: 0, base: 1, avx2: 2, avx512: 3, dotprod: 4, i8mm: 5, ptx: 6 } as const;
/** `RZ_PLAN_*`. */
export const PLAN_FLAGS = { deterministic: 1, profile: 2, noFusion: 4 } as const;

type JsArg<A> = A extends Scalar ? number : ArrayBufferView | null;
type JsArgs<A extends readonly Arg[]> = { -readonly [I in keyof A]: JsArg<A[I]> };
/** The functions of a symbol table as JavaScript sees them. */
export type NativeOf<T extends Record<string, Signature>> = {
  readonly [K in keyof T]: (...args: JsArgs<T[K]["args"]>) => number;
};
/** The whole library. */
export type Native = NativeOf<typeof SYMBOLS>;
/** What the test library has beside it. */
export type NativeTest = NativeOf<typeof TEST_SYMBOLS>;

/** True for a parameter passed by value. */
export function isScalar(arg: Arg): arg is Scalar {
  return arg !== "in" && arg !== "out";
}
