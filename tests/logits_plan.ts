/**
 * A plan whose logits a test chooses: embed, selectRows, logits, over a table of rows and the identity. The logits
 * after token i are row i of the table, exactly.
 */
import { type Batch, BATCH_FLAGS, BatchWriter, ResultReader } from "../src/engine/batch.ts";
import { openEngine, openWeights } from "../src/engine/native_model.ts";
import { ISAS, STRUCTS } from "../src/platform/abi.ts";
import { type Library, openLibrary } from "../src/platform/library.ts";
import { readRecord, writeRecord } from "../src/record.ts";
import { OPS } from "../src/plan/op_table.ts";
import { PLAN_RECORDS, type PlanRecord } from "../src/plan/layout.ts";
import { NO_LAYER, VALUE_OUTPUT, weightTableOf, writePlan } from "../src/plan/plan.ts";
import { USE_MATMUL, USE_ROWS } from "../src/weights/roles.ts";

/** `RZ_FILE_NONE`: the bytes come by rz_weights_write. */
const FILE_NONE = 0xffffffff;

/** A record of which only some fields matter; the others are zero. */
function record<N extends keyof typeof PLAN_RECORDS>(name: N, values: Partial<PlanRecord<N>>): PlanRecord<N> {
  const all: Record<string, unknown> = {};
  for (const [field, place] of Object.entries<readonly unknown[]>(PLAN_RECORDS[name].fields)) {
    all[field] = values[field as keyof typeof values] ?? (place.length === 2 ? 0 : []);
  }
  return all as PlanRecord<N>;
}

function planBytes(vocab: number): Uint8Array {
  const matrix = { rows: vocab, cols: vocab, n_experts: 1, file: FILE_NONE, bytes: 4 * vocab * vocab, shard_n: 1 };
  const layer = NO_LAYER;
  return writePlan({
    vocabSize: vocab,
    hiddenSize: vocab,
    weights: [USE_ROWS, USE_MATMUL].map((use) => record("rz_weight", { ...matrix, use })),
    constants: [],
    values: [
      record("rz_value", { rows: 0, cols: vocab }),
      record("rz_value", { rows: 1, cols: vocab }),
      record("rz_value", { rows: 1, cols: vocab, flags: VALUE_OUTPUT }),
    ],
    ops: [
      record("rz_op", { code: OPS.embed.code, layer, out: [1], w: [1], f: [1] }),
      record("rz_op", { code: OPS.selectRows.code, layer, out: [2], in: [1] }),
      record("rz_op", { code: OPS.logits.code, layer, out: [3], in: [2], w: [2], f: [0, 1] }),
    ],
  });
}

/** Byte of an out's mask in a batch without pages, copies and bias. */
function maskAt(batch: Pick<Batch, "seqs">, out: number): number {
  const nTokens = batch.seqs.reduce((sum, seq) => sum + seq.tokens.length, 0);
  return 64 + 32 * batch.seqs.length + ((4 * nTokens + 15) & ~15) + 80 * out + 68;
}

/** Runs steps of that plan, without a cache. */
export class LogitsRunner implements Disposable {
  readonly vocab: number;
  readonly #library: Library = openLibrary();
  readonly #engine: number;
  readonly #plan: number = 0;
  readonly #writer = new BatchWriter();
  readonly #result: ResultReader;

  /** `table`: [vocab x vocab]. */
  constructor(backend: "ref" | "cpu", table: Float32Array, vocab: number) {
    this.vocab = vocab;
    const { native, check } = this.#library;
    this.#engine = openEngine(this.#library, backend, 0, 2, ISAS.auto);
    try {
      const plan = planBytes(vocab);
      const weights = openWeights(this.#library, this.#engine, weightTableOf(plan, 2), []);
      const identity = new Float32Array(vocab * vocab);
      for (let i = 0; i < vocab; i++) identity[i * (vocab + 1)] = 1;
      for (const [i, data] of [table, identity].entries()) {
        check(native.rz_weights_write(weights, i + 1, 0, new Uint8Array(data.buffer), data.byteLength));
      }
      const progress = new Uint8Array(STRUCTS.rz_progress.size);
      while (check(native.rz_weights_poll(weights, 1000, progress)) === 0) { /* it ends or fails by itself */ }
      const size = STRUCTS.rz_plan_options.size;
      const sizes = writeRecord(STRUCTS.rz_plan_options, { size, max_tokens: 256, max_seqs: 64, max_outs: 256 });
      this.#plan = check(native.rz_plan_open(weights, plan, plan.length, sizes));
      const info = new Uint8Array(STRUCTS.rz_plan_info.size);
      check(native.rz_plan_info_read(this.#plan, info));
      this.#result = new ResultReader(readRecord(STRUCTS.rz_plan_info, info).result_bytes_max);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** The step's result, valid until the next one. `masks`: one for each out; the step then holds its sampling. */
  step(batch: Pick<Batch, "seqs" | "outs">, masks?: Uint32Array): ResultReader {
    const { native, check } = this.#library;
    const flags = masks === undefined ? 0 : BATCH_FLAGS.holdSample;
    const bytes = this.#writer.write({ flags, after: 0, copies: [], ...batch });
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    if (masks !== undefined) batch.outs.forEach((_, i) => view.setUint32(maskAt(batch, i), i + 1, true));
    const ticket = check(native.rz_step_submit(this.#plan, 0, bytes, bytes.length));
    if (masks !== undefined) check(native.rz_step_sample(this.#engine, ticket, masks, masks.byteLength));
    const { bytes: out } = this.#result;
    while (check(native.rz_step_wait(this.#engine, ticket, 1000, out, out.length)) === 0) { /* as above */ }
    return this.#result;
  }

  [Symbol.dispose](): void {
    this.#library.native.rz_engine_close(this.#engine);
  }
}
