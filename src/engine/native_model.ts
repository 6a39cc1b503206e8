/** A model's native objects: engine, weights, plan and cache, opened in order and closed together. */
import { BACKENDS, PLAN_FLAGS, STRUCTS } from "../platform/abi.ts";
import { PLAN_RECORDS } from "../plan/layout.ts";
import type { Library } from "../platform/library.ts";
import { readRecord, textOf, writeRecord } from "../record.ts";
import type { KvDtype } from "../types.ts";
import { ResultReader } from "./batch.ts";
import type { StepRunner } from "./flights.ts";
import type { PlanFacts } from "./protocol.ts";
import type { StepRoom } from "./planned_step.ts";

/** `rz_dtype` numbers of KV element types. */
const KV_DTYPES: Record<KvDtype, number> = { f32: 0, f16: 1, q8_0: 8 };

/** A file as it was when it was validated. */
export interface WeightFile {
  path: string;
  /** Bytes. */
  size: number;
  /** Nanoseconds; 0 = not checked. */
  mtimeNs: bigint;
}

/** How a plan is opened. */
export interface PlanSizes {
  maxTokens: number;
  maxSequences: number;
  maxOuts: number;
  deterministic: boolean;
  /** Launches are timed: engine/profile.ts. */
  profile?: boolean;
  /** Ids of values that stay readable after a step. */
  watched?: readonly number[];
}

/** How a cache is opened. */
export interface CacheSizes {
  kvDtype: KvDtype;
  maxSequences: number;
  contextSize: number;
  pageTokens: number;
  /** Tokens that its pages hold, all sequences together; default every sequence's whole context. */
  kvTokens?: number;
}

/** Facts of an open engine. */
export interface EngineFacts {
  name: string;
  threads: number;
  isa: number;
  pageTokens: number;
  freeBytes: number;
  totalBytes: number;
}

/** Opens an engine. The caller closes it with `rz_engine_close`, which closes everything below. */
export function openEngine(
  library: Library,
  backend: keyof typeof BACKENDS,
  device: number,
  threads: number,
  isaMax: number,
): number {
  const options = writeRecord(STRUCTS.rz_engine_options, {
    size: STRUCTS.rz_engine_options.size,
    backend: BACKENDS[backend],
    n_devices: 1,
    device: [device],
    n_threads: threads,
    isa_max: isaMax,
  });
  return library.check(library.native.rz_engine_open(options));
}

/** What an engine says of itself. */
export function engineFacts(library: Library, engine: number): EngineFacts {
  const out = new Uint8Array(STRUCTS.rz_engine_info.size);
  library.check(library.native.rz_engine_info_read(engine, out));
  const info = readRecord(STRUCTS.rz_engine_info, out);
  return {
    name: textOf(info.name),
    threads: info.n_threads,
    isa: info.isa,
    pageTokens: info.page_tokens,
    freeBytes: info.device_free,
    totalBytes: info.device_total,
  };
}

/** Plain read bandwidth of an engine in GB/s (1e9 bytes); blocks about 0.3 s. */
export function measureReadBandwidth(library: Library, engine: number): number {
  const out = new Float64Array(1);
  library.check(library.native.rz_engine_measure(engine, 0, out, 1));
  return out[0]!;
}

/** The paths argument of rz_weights_open. */
function packPaths(files: readonly WeightFile[]): Uint8Array {
  const names = files.map((file) => new TextEncoder().encode(file.path));
  const sizes = names.map((name) => (20 + name.length + 7) & ~7);
  const out = new Uint8Array(sizes.reduce((sum, n) => sum + n, 0));
  const view = new DataView(out.buffer);
  let at = 0;
  for (const [i, file] of files.entries()) {
    view.setBigUint64(at, BigInt(file.size), true);
    view.setBigInt64(at + 8, file.mtimeNs, true);
    view.setUint32(at + 16, names[i]!.length, true);
    out.set(names[i]!, at + 20);
    at += sizes[i]!;
  }
  return out;
}

/**
 * Starts loading the weights of a plan's table. Without files every weight's bytes are the caller's to write: the table
 * then says `RZ_FILE_NONE`. Returns the handle.
 */
export function openWeights(library: Library, engine: number, table: Uint8Array, files: readonly WeightFile[]): number {
  const nWeights = table.length / PLAN_RECORDS.rz_weight.size;
  const paths = packPaths(files);
  return library.check(library.native.rz_weights_open(engine, paths, paths.length, table, nWeights));
}

function packPlanOptions(sizes: PlanSizes): Uint8Array {
  return writeRecord(STRUCTS.rz_plan_options, {
    size: STRUCTS.rz_plan_options.size,
    flags: (sizes.deterministic ? PLAN_FLAGS.deterministic : 0) | (sizes.profile ? PLAN_FLAGS.profile : 0),
    max_tokens: sizes.maxTokens,
    max_seqs: sizes.maxSequences,
    max_outs: sizes.maxOuts,
    n_watched: sizes.watched?.length ?? 0,
    watched: sizes.watched ?? [],
  });
}

/** Bytes a plan takes on an engine, without allocating. */
export function checkPlan(
  library: Library,
  engine: number,
  plan: Uint8Array,
  sizes: PlanSizes,
): { weightsBytes: number; scratchBytes: number } {
  const out = new Uint8Array(STRUCTS.rz_plan_info.size);
  library.check(library.native.rz_plan_check(engine, plan, plan.length, packPlanOptions(sizes), out));
  const info = readRecord(STRUCTS.rz_plan_info, out);
  return { weightsBytes: info.weights_bytes, scratchBytes: info.scratch_bytes };
}

/** Tokens of pages for every sequence's whole context. */
function wholeTokens({ maxSequences, contextSize, pageTokens }: CacheSizes): number {
  return maxSequences * Math.ceil(contextSize / pageTokens) * pageTokens;
}

/** Pages of every group, with the null page. */
export function pagesOf(sizes: CacheSizes): number {
  return Math.ceil((sizes.kvTokens ?? wholeTokens(sizes)) / sizes.pageTokens) + 1;
}

/**
 * Tokens that a cache is to hold when nobody says how many: the whole context of every sequence, as far as half of the
 * free memory goes, but at least one context.
 */
export function defaultKvTokens(plan: PlanFacts, sizes: CacheSizes, freeBytes: number): number {
  const { contextSize, pageTokens } = sizes;
  const pageBytes = cacheBytes(plan, { ...sizes, kvTokens: 0 }); // of the null page alone
  const affordable = Math.floor(freeBytes / 2 / pageBytes) * pageTokens;
  return Math.max(Math.ceil(contextSize / pageTokens) * pageTokens, Math.min(wholeTokens(sizes), affordable));
}

/** What a step can hold beside its tokens: `rz_batch_header` in csrc/realizar.h says so. */
export function stepRoom(nPages: readonly number[], maxSequences: number): StepRoom {
  const allPages = nPages.reduce((sum, n) => sum + n, 0);
  return {
    tableEntries: Math.max(8 * allPages, Math.min(maxSequences * 8192, 2 ** 18)),
    biases: Math.min(4096 + 256 * maxSequences, 2 ** 20),
    outs: maxSequences,
  };
}

function packCacheOptions(plan: PlanFacts, sizes: CacheSizes): Uint8Array {
  const { rz_cache_options: options, rz_cache_group: group } = STRUCTS;
  const out = writeRecord(options, { size: options.size, n_groups: plan.groups.length, n_slots: sizes.maxSequences });
  const dtype = KV_DTYPES[sizes.kvDtype];
  for (const [i, { nLayers, window, kCols, vCols }] of plan.groups.entries()) {
    writeRecord(
      group,
      {
        n_layers: nLayers,
        window,
        k_cols: kCols,
        v_cols: vCols,
        k_dtype: dtype,
        v_dtype: dtype,
        n_pages: pagesOf(sizes),
        page_tokens: sizes.pageTokens,
      },
      out,
      32 + i * group.size,
    );
  }
  return out;
}

/** A plan and a cache over loaded weights: what runs steps. */
export class NativeRunner implements StepRunner {
  readonly #library: Library;
  readonly #engine: number;
  readonly plan: number;
  readonly cache: number;
  readonly #result: ResultReader;
  /** Bytes the plan allocated. */
  readonly scratchBytes: number;

  /** Throws and leaves nothing open when one of the two cannot be opened. */
  constructor(
    library: Library,
    handles: { engine: number; weights: number },
    facts: PlanFacts,
    plan: PlanSizes,
    cache: CacheSizes,
  ) {
    const { native } = library;
    this.#library = library;
    this.#engine = handles.engine;
    this.plan = library.check(
      native.rz_plan_open(handles.weights, facts.bytes, facts.bytes.length, packPlanOptions(plan)),
    );
    try {
      this.cache = library.check(native.rz_cache_open(handles.engine, packCacheOptions(facts, cache)));
    } catch (error) {
      native.rz_plan_close(this.plan);
      throw error;
    }
    const info = new Uint8Array(STRUCTS.rz_plan_info.size);
    library.check(native.rz_plan_info_read(this.plan, info));
    this.#result = new ResultReader(readRecord(STRUCTS.rz_plan_info, info).result_bytes_max);
    this.scratchBytes = readRecord(STRUCTS.rz_plan_info, info).scratch_bytes;
  }

  submit(batch: Uint8Array): number {
    return this.#library.check(this.#library.native.rz_step_submit(this.plan, this.cache, batch, batch.length));
  }

  wait(ticket: number, timeoutMs: number): ResultReader | undefined {
    const { bytes } = this.#result;
    const n = this.#library.check(
      this.#library.native.rz_step_wait(this.#engine, ticket, timeoutMs, bytes, bytes.length),
    );
    return n === 0 ? undefined : this.#result;
  }

  release(ticket: number, masks: Uint32Array): void {
    this.#library.check(this.#library.native.rz_step_sample(this.#engine, ticket, masks, masks.byteLength));
  }

  cancel(ticket: number): void {
    this.#library.native.rz_step_cancel(this.#engine, ticket);
  }

  /** Rows of a value of a step that was waited for, into `out` ([nRows x cols]). */
  read(ticket: number, value: number, row: number, nRows: number, out: Float32Array): void {
    this.#library.check(this.#library.native.rz_step_read(this.#engine, ticket, value, row, nRows, out, out.length));
  }

  /** Closes plan and cache; what runs is cancelled. */
  close(): void {
    this.#library.native.rz_plan_close(this.plan);
    this.#library.native.rz_cache_close(this.cache);
  }
}

/** Bytes of the KV cache, as rz_cache_open allocates them. */
export function cacheBytes(plan: PlanFacts, sizes: CacheSizes): number {
  const perElement = { f32: 4, f16: 2, q8_0: 34 / 32 }[sizes.kvDtype];
  const tokens = pagesOf(sizes) * sizes.pageTokens;
  return plan.groups.reduce((sum, g) => sum + g.nLayers * (g.kCols + g.vCols) * perElement * tokens, 0);
}
