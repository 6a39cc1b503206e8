/** A model below the public API: engine, weights, plan and cache of its own, and steps written by hand. */
import {
  type BatchOut,
  BatchWriter,
  NO_SAMPLING,
  OUT_MODES,
  type OutSampling,
  ResultReader,
} from "../src/engine/batch.ts";
import { engineFacts, openEngine, openWeights } from "../src/engine/native_model.ts";
import { type PreparedModel, prepareModel } from "../src/engine/prepare.ts";
import { ISAS, PLAN_FLAGS, STRUCTS } from "../src/platform/abi.ts";
import { type Library, openLibrary } from "../src/platform/library.ts";
import { readRecord, writeRecord } from "../src/record.ts";
import { gpuIsa } from "./gpu.ts";

/** A model's file, read and proved. */
export interface TestModel {
  readonly prepared: PreparedModel;
  /** The bytes, when it is not a file. */
  readonly bytes?: Uint8Array;
}

/** Reads a model from bytes or a path. */
export async function testModel(source: Uint8Array | string): Promise<TestModel> {
  if (typeof source === "string") return { prepared: await prepareModel({ kind: "path", path: source }) };
  return { prepared: await prepareModel({ kind: "bytes", bytes: source }), bytes: source };
}

/** How a {@linkcode StepRunner} is opened. */
export interface RunnerOptions {
  backend: "ref" | "cpu" | "cuda";
  /** Default true. */
  deterministic?: boolean;
  /** Default false. */
  noFusion?: boolean;
  /** Fusion pattern i is off when bit i is set. */
  patternsOff?: readonly [number, number];
  /** Default: the best of this machine. */
  isa?: keyof typeof ISAS;
  /** Threads; default 2. */
  threads?: number;
  /** Sequences at once, each with a slot and pages of its own; default 4. */
  slots?: number;
  /** Tokens of each; default 128. */
  contextSize?: number;
  /** Tokens of a step; default 256. */
  maxTokens?: number;
  /** Default 16. */
  pageTokens?: number;
  /** Type number of the cache; default F32 on ref, F16 on cpu, as the product has it. */
  kvDtype?: number;
  /** Default: the one that is found. */
  library?: Library;
}

/** What a step computes for one sequence. */
export interface StepPart {
  slot: number;
  nPast: number;
  tokens: readonly number[];
  /** Whose logits: all tokens', the last one's (default) or none. */
  want?: "all" | "last" | "none";
  /** Page table in place of the slot's own pages. */
  pages?: readonly number[];
  /** The rows wanted are sampled from, too. */
  sampling?: OutSampling;
}

/** A page copied before the step, in every cache group. */
export interface StepCopy {
  src: number;
  dst: number;
  nTokens: number;
}

/** Runs steps; close it with `using`. */
export class StepRunner implements Disposable {
  readonly vocabSize: number;
  readonly pageTokens: number;
  /** The instruction set in use, `rz_isa`. */
  readonly isa: number;
  readonly #library: Library;
  readonly #prepared: PreparedModel;
  readonly #engine: number;
  readonly #plan: number = 0;
  readonly #cache: number = 0;
  readonly #result: ResultReader;
  readonly #writer = new BatchWriter();
  readonly #pagesPerSlot: number;

  constructor(model: TestModel, options: RunnerOptions) {
    const { slots = 4, contextSize = 128, maxTokens = 256, pageTokens = 16 } = options;
    this.#library = options.library ?? openLibrary();
    this.#prepared = model.prepared;
    this.vocabSize = model.prepared.plan.vocabSize;
    this.pageTokens = pageTokens;
    this.#pagesPerSlot = Math.ceil(contextSize / pageTokens);
    const isaMax = options.backend === "cuda" ? gpuIsa() : ISAS[options.isa ?? "auto"];
    this.#engine = openEngine(this.#library, options.backend, 0, options.threads ?? 2, isaMax);
    try {
      this.isa = engineFacts(this.#library, this.#engine).isa;
      const weights = this.#openWeights(model);
      this.#plan = this.#openPlan(weights, options, maxTokens, slots);
      this.#cache = this.#openCache(options.kvDtype ?? (options.backend === "ref" ? 0 : 1), slots);
      const info = new Uint8Array(STRUCTS.rz_plan_info.size);
      this.#library.check(this.#library.native.rz_plan_info_read(this.#plan, info));
      this.#result = new ResultReader(readRecord(STRUCTS.rz_plan_info, info).result_bytes_max);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  #openWeights({ prepared, bytes }: TestModel): number {
    const { native, check } = this.#library;
    const files = prepared.files.flatMap(({ path, size, mtimeNs }) => path === null ? [] : [{ path, size, mtimeNs }]);
    const weights = openWeights(this.#library, this.#engine, prepared.plan.weightTable, files);
    if (bytes !== undefined) {
      for (const [i, { offset, bytes: length }] of prepared.table.entries()) {
        check(native.rz_weights_write(weights, i + 1, 0, bytes.subarray(offset, offset + length), length));
      }
    }
    const progress = new Uint8Array(STRUCTS.rz_progress.size);
    while (check(native.rz_weights_poll(weights, 1000, progress)) === 0) { /* it ends or fails by itself */ }
    return weights;
  }

  #openPlan(weights: number, options: RunnerOptions, maxTokens: number, slots: number): number {
    const { plan } = this.#prepared;
    const flags = (options.deterministic ?? true ? PLAN_FLAGS.deterministic : 0) |
      (options.noFusion ? PLAN_FLAGS.noFusion : 0);
    const struct = writeRecord(STRUCTS.rz_plan_options, {
      size: STRUCTS.rz_plan_options.size,
      flags,
      max_tokens: maxTokens,
      max_seqs: slots,
      max_outs: maxTokens,
      patterns_off: options.patternsOff ?? [0, 0],
    });
    return this.#library.check(this.#library.native.rz_plan_open(weights, plan.bytes, plan.bytes.length, struct));
  }

  #openCache(dtype: number, slots: number): number {
    const { rz_cache_options: options, rz_cache_group: group } = STRUCTS;
    const { groups } = this.#prepared.plan;
    const bytes = writeRecord(options, { size: options.size, n_groups: groups.length, n_slots: slots });
    for (const [i, { nLayers, window, kCols, vCols }] of groups.entries()) {
      writeRecord(
        group,
        {
          n_layers: nLayers,
          window,
          k_cols: kCols,
          v_cols: vCols,
          k_dtype: dtype,
          v_dtype: dtype,
          n_pages: 1 + slots * this.#pagesPerSlot,
          page_tokens: this.pageTokens,
        },
        bytes,
        32 + i * group.size,
      );
    }
    return this.#library.check(this.#library.native.rz_cache_open(this.#engine, bytes));
  }

  /** Page ids of a slot's own pages, the last ones first, so that no test passes by page = position. */
  pagesOf(slot: number): number[] {
    return Array.from({ length: this.#pagesPerSlot }, (_, i) => (slot + 1) * this.#pagesPerSlot - i);
  }

  /** One step; returns the logits of the rows wanted, one after another. */
  step(parts: readonly StepPart[], copies: readonly StepCopy[] = []): Float32Array<ArrayBuffer> {
    const outs: BatchOut[] = [];
    let first = 0;
    const seqs = parts.map(({ slot, nPast, tokens, want = "last", pages = this.pagesOf(slot), sampling }) => {
      const last = first + tokens.length;
      for (let row = want === "all" ? first : last - 1; want !== "none" && row < last; row++) {
        const mode = OUT_MODES.logits | (sampling === undefined ? 0 : OUT_MODES.sample);
        const drawPosition = nPast + 1 + row - first;
        outs.push({ row, mode, sampling: sampling ?? NO_SAMPLING, penaltyFrom: 0, drawPosition });
      }
      first = last;
      const table = pages.slice(0, Math.ceil((nPast + tokens.length) / this.pageTokens));
      return { slot, nPast, tokens, pages: this.#prepared.plan.groups.map(() => table) };
    });
    const everyGroup = copies.flatMap((copy) => this.#prepared.plan.groups.map((_, group) => ({ group, ...copy })));
    const ticket = this.#run(this.#writer.write({ flags: 0, after: 0, copies: everyGroup, seqs, outs }));
    const logits = new Float32Array(outs.length * this.vocabSize);
    if (outs.length > 0) {
      const { native, check } = this.#library;
      const { logitsValue } = this.#prepared.plan;
      check(native.rz_step_read(this.#engine, ticket, logitsValue, 0, outs.length, logits, logits.length));
    }
    return logits;
  }

  #run(batch: Uint8Array): number {
    const { native, check } = this.#library;
    const ticket = check(native.rz_step_submit(this.#plan, this.#cache, batch, batch.length));
    const { bytes } = this.#result;
    while (check(native.rz_step_wait(this.#engine, ticket, 1000, bytes, bytes.length)) === 0) { /* as above */ }
    return ticket;
  }

  [Symbol.dispose](): void {
    this.#library.native.rz_engine_close(this.#engine);
  }
}
