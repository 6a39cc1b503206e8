/** The synchronous core: one sequence in the caller's own thread, its own plan and cache over a model's weights. */
import { type BatchOut, BatchWriter, NO_SAMPLING, OUT_MODES } from "../engine/batch.ts";
import { type CacheSizes, NativeRunner, type PlanSizes } from "../engine/native_model.ts";
import { readProfile } from "../engine/profile.ts";
import type { OpenedModel } from "../engine/protocol.ts";
import { RealizarError } from "../errors.ts";
import type { Library } from "../platform/library.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { ROW_SYMBOLS, type RowSymbol } from "../plan/plan.ts";
import type { NamedValue } from "../plan/value_names.ts";
import type { LaunchTime, Session, TokenizeOptions, WatchedValue } from "../types.ts";

const WAIT_MS = 1000;

/** What a session needs of its model. */
export interface SessionSource {
  library: Library;
  model: OpenedModel;
  tokenizer: Tokenizer;
  plan: PlanSizes;
  cache: CacheSizes;
  /** Values that stay readable. */
  watched?: readonly NamedValue[];
  /** Of a plan that routes. */
  expertsPerToken?: number;
}

/** The {@linkcode Session} of this library. */
export class OpenSession implements Session {
  readonly #source: SessionSource;
  readonly #runner: NativeRunner;
  readonly #writer = new BatchWriter();
  readonly #tokens: number[] = [];
  /** The last step, whose values can be read. */
  #last: { ticket: number; nTokens: number; nLogits: number } | undefined;
  #closed = false;

  /** Opens a plan and a cache; throws `OOM_HOST` and leaves nothing open when they don't fit. */
  constructor(source: SessionSource) {
    const { library, model, plan, cache } = source;
    this.#source = source;
    this.#runner = new NativeRunner(library, model.handles, model.plan, plan, cache);
  }

  get length(): number {
    return this.#tokens.length;
  }

  get contextSize(): number {
    return this.#source.cache.contextSize;
  }

  evaluate(tokens: ArrayLike<number>, out?: Float32Array, options: { all?: boolean | undefined } = {}): Float32Array {
    this.#checkOpen();
    const { vocabSize } = this.#source.model.info;
    const all = options.all === true;
    this.#checkTokens(tokens, vocabSize);
    const nLogits = vocabSize * (all ? tokens.length : 1);
    const logits = out ?? new Float32Array(nLogits);
    if (logits.length < nLogits) {
      throw new RealizarError("ARG", `evaluate: out holds ${logits.length} numbers, ${nLogits} are needed`);
    }
    const { maxTokens } = this.#source.plan;
    for (let first = 0; first < tokens.length; first += maxTokens) {
      const chunk = Array.from({ length: Math.min(maxTokens, tokens.length - first) }, (_, i) => tokens[first + i]!);
      if (all) this.#step(chunk, chunk.length, logits.subarray(first * vocabSize, (first + chunk.length) * vocabSize));
      else this.#step(chunk, first + chunk.length === tokens.length ? 1 : 0, logits.subarray(0, vocabSize));
    }
    return logits;
  }

  rewind(n: number): void {
    this.#checkOpen();
    if (!Number.isInteger(n) || n < 0 || n > this.#tokens.length) {
      throw new RealizarError("ARG", `rewind: got ${n}, expected a whole number from 0 to ${this.#tokens.length}`);
    }
    this.#tokens.length = n;
  }

  fork(): OpenSession {
    this.#checkOpen();
    const copy = new OpenSession(this.#source);
    try {
      copy.#tokens.push(...this.#tokens);
      copy.#copyPages(this);
    } catch (error) {
      copy.close();
      throw error;
    }
    return copy;
  }

  profile(): LaunchTime[] {
    this.#checkOpen();
    return readProfile(this.#source.library, this.#runner.plan);
  }

  watched(name: string): WatchedValue {
    this.#checkOpen();
    const value = this.#source.watched?.find((one) => one.name === name);
    if (value === undefined) {
      throw new RealizarError("ARG", `watched: ${name} is not among the session's watched values`);
    }
    if (this.#last === undefined) {
      throw new RealizarError("ARG", `watched: nothing was computed since the session began`);
    }
    const { ticket, nTokens, nLogits } = this.#last;
    const counts: Record<RowSymbol, number> = {
      T: nTokens,
      R: nLogits,
      S: 1,
      Tk: nTokens * (this.#source.expertsPerToken ?? 0),
    };
    const rows = counts[ROW_SYMBOLS[value.rows]!];
    const data = new Float32Array(rows * value.cols);
    if (rows > 0) this.#runner.read(ticket, value.id, 0, rows, data);
    return { name, rows, cols: value.cols, data };
  }

  tokenize(text: string, options: TokenizeOptions = {}): Int32Array {
    const plain = options.addSpecial === false ? { addBos: false, addEos: false } : {};
    return this.#source.tokenizer.encode(text, { special: options.special, ...plain });
  }

  detokenize(tokens: ArrayLike<number>): string {
    return this.#source.tokenizer.decode(Array.from(tokens));
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#runner.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #checkOpen(): void {
    if (this.#closed) throw new RealizarError("CLOSED", "the session was closed");
  }

  #checkTokens(tokens: ArrayLike<number>, vocabSize: number): void {
    if (tokens.length === 0) throw new RealizarError("ARG", "evaluate: no tokens");
    const after = this.#tokens.length + tokens.length;
    if (after > this.contextSize) {
      throw new RealizarError("LIMIT", `evaluate: ${after} tokens, the session holds ${this.contextSize}`);
    }
    for (let i = 0; i < tokens.length; i++) {
      const token = tokens[i]!;
      if (!Number.isInteger(token) || token < 0 || token >= vocabSize) {
        throw new RealizarError("ARG", `evaluate: token ${i} is ${token}, expected 0 to ${vocabSize - 1}`);
      }
    }
  }

  /** Page tables of the first `length` tokens: pages are used in order, page 0 is the null page. */
  #pages(length: number): number[][] {
    const n = Math.ceil(length / this.#source.cache.pageTokens);
    const table = Array.from({ length: n }, (_, i) => i + 1);
    return this.#source.model.plan.groups.map(() => table);
  }

  /** Computes a chunk; the logits of its last `nLogits` tokens go to `out`. */
  #step(chunk: number[], nLogits: number, out: Float32Array): void {
    const nPast = this.#tokens.length;
    const outs = Array.from({ length: nLogits }, (_, i): BatchOut => ({
      row: chunk.length - nLogits + i,
      mode: OUT_MODES.logits,
      sampling: NO_SAMPLING,
      penaltyFrom: 0,
      drawPosition: 0,
    }));
    const seqs = [{ slot: 0, nPast, tokens: chunk, pages: this.#pages(nPast + chunk.length) }];
    const ticket = this.#runner.submit(this.#writer.write({ flags: 0, after: 0, copies: [], seqs, outs }));
    while (this.#runner.wait(ticket, WAIT_MS) === undefined) { /* a step ends or fails by itself */ }
    this.#tokens.push(...chunk);
    this.#last = { ticket, nTokens: chunk.length, nLogits };
    if (nLogits > 0) this.#runner.read(ticket, this.#source.model.plan.logits, 0, nLogits, out);
  }

  /** The other session's pages, one by one, through memory of the host. */
  #copyPages(from: OpenSession): void {
    const { library: { native, check }, cache } = this.#source;
    const nPages = Math.ceil(this.#tokens.length / cache.pageTokens);
    for (const group of this.#source.model.plan.groups.keys()) {
      for (let page = 1; page <= nPages; page++) {
        const bytes = this.#pageBuffer(group);
        const n = check(native.rz_cache_read(from.#runner.cache, group, page, bytes, bytes.length));
        check(native.rz_cache_write(this.#runner.cache, group, page, bytes, n));
      }
    }
  }

  /** Room for any page of a group: F32 elements and token ids are the most it can have. */
  #pageBuffer(group: number): Uint8Array {
    const { nLayers, kCols, vCols } = this.#source.model.plan.groups[group]!;
    return new Uint8Array(this.#source.cache.pageTokens * (4 * nLayers * (kCols + vCols) + 4) + 4096);
  }
}
