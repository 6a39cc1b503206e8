/**
 * Writes the batch of a step and reads its result: the layouts of csrc/realizar.h ("step") as two typed views over one
 * buffer that is reused. A decode of one sequence is about 200 bytes.
 */

const MAGIC = 0x31425a52;
const HEADER_WORDS = 16;
const COPY_WORDS = 4;
const SEQ_WORDS = 8;
const OUT_WORDS = 20;
const RESULT_HEADER_WORDS = 8;
const RESULT_OUT_WORDS = 8;

/** `RZ_BATCH_*`. */
export const BATCH_FLAGS = { holdSample: 1 } as const;
/** `RZ_OUT_*`. */
export const OUT_MODES = { sample: 1, logits: 2, target: 4, hidden: 8 } as const;
/** `RZ_RESULT_*`. */
export const RESULT_FLAGS = { nonFinite: 1, emptyMask: 2, noInput: 4 } as const;
/** A token that stands for the last sample of its sequence's slot. */
export const LAST_SAMPLE = -1;

/** A page copied before the forward. */
export interface BatchCopy {
  group: number;
  src: number;
  dst: number;
  nTokens: number;
}

/** One sequence of a step. */
export interface BatchSeq {
  slot: number;
  /** Tokens already in the cache; the new ones get positions nPast, nPast + 1, ... */
  nPast: number;
  /** Ids, or {@linkcode LAST_SAMPLE}. */
  tokens: ArrayLike<number>;
  /** Page table of each cache group: exactly ceil((nPast + tokens.length) / pageTokens) ids. */
  pages: readonly ArrayLike<number>[];
}

/** Sampling parameters as C takes them; see `rz_batch_out`. */
export interface OutSampling {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
  typicalP: number;
  repetition: number;
  presence: number;
  frequency: number;
  seedLow: number;
  seedHigh: number;
  nTop: number;
  /** (token, bias) pairs. */
  bias: readonly (readonly [number, number])[];
}

/** Sampling that changes nothing: for outs that only want logits. */
export const NO_SAMPLING: OutSampling = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  typicalP: 1,
  repetition: 1,
  presence: 0,
  frequency: 0,
  seedLow: 0,
  seedHigh: 0,
  nTop: 0,
  bias: [],
};

/** One wanted row of a step. */
export interface BatchOut {
  /** Token row of the batch: the sequences' tokens one after another. */
  row: number;
  mode: number;
  sampling: OutSampling;
  penaltyFrom: number;
  /** Absolute position of the token drawn. */
  drawPosition: number;
  /** Its log-probability is wanted (mode `target`). */
  target?: number;
  /** 1 + index of its mask, for a held step; 0 or absent = none. */
  mask?: number;
}

/** Everything a step needs. */
export interface Batch {
  flags: number;
  /** Ticket that must have succeeded; 0 = none. */
  after: number;
  copies: readonly BatchCopy[];
  seqs: readonly BatchSeq[];
  outs: readonly BatchOut[];
}

/** Reused memory in which batches are written. */
export class BatchWriter {
  #words = new Uint32Array(1024);
  #ints = new Int32Array(this.#words.buffer);
  #floats = new Float32Array(this.#words.buffer);

  /** The batch's bytes, valid until the next call. */
  write(batch: Batch): Uint8Array {
    const { copies, seqs, outs } = batch;
    let nTokens = 0, nPages = 0, nBias = 0;
    for (const seq of seqs) {
      nTokens += seq.tokens.length;
      for (const table of seq.pages) nPages += table.length;
    }
    for (const out of outs) nBias += out.sampling.bias.length;
    const pad = (words: number) => (words + 3) & ~3;
    const total = HEADER_WORDS + COPY_WORDS * copies.length + SEQ_WORDS * seqs.length + pad(nPages) + pad(nTokens) +
      OUT_WORDS * outs.length + pad(2 * nBias);
    this.#reserve(total);
    const words = this.#words;
    words.fill(0, 0, total);
    words.set([MAGIC, total * 4, batch.flags, seqs.length, nTokens, outs.length, nPages, copies.length, nBias]);
    words[11] = batch.after;
    let at = HEADER_WORDS;
    for (const copy of copies) {
      words[at] = copy.group;
      words[at + 1] = copy.src;
      words[at + 2] = copy.dst;
      words[at + 3] = copy.nTokens;
      at += COPY_WORDS;
    }
    at = this.#writeSeqs(seqs, at, at + SEQ_WORDS * seqs.length, pad(nPages));
    at = this.#writeTokens(seqs, at, pad(nTokens));
    this.#writeOuts(outs, at);
    return new Uint8Array(words.buffer, 0, total * 4);
  }

  #reserve(words: number): void {
    if (words <= this.#words.length) return;
    this.#words = new Uint32Array(Math.max(words, 2 * this.#words.length));
    this.#ints = new Int32Array(this.#words.buffer);
    this.#floats = new Float32Array(this.#words.buffer);
  }

  #writeSeqs(seqs: readonly BatchSeq[], seqsAt: number, pagesAt: number, pagesWords: number): number {
    const words = this.#words;
    let page = 0;
    for (const [i, seq] of seqs.entries()) {
      const at = seqsAt + SEQ_WORDS * i;
      words[at] = seq.slot;
      words[at + 1] = seq.nPast;
      words[at + 2] = seq.tokens.length;
      words[at + 6] = page;
      for (const table of seq.pages) {
        words.set(table, pagesAt + page);
        page += table.length;
      }
    }
    return pagesAt + pagesWords;
  }

  #writeTokens(seqs: readonly BatchSeq[], at: number, tokensWords: number): number {
    let row = at;
    for (const seq of seqs) {
      this.#ints.set(seq.tokens, row);
      row += seq.tokens.length;
    }
    return at + tokensWords;
  }

  #writeOuts(outs: readonly BatchOut[], outsAt: number): void {
    const words = this.#words, floats = this.#floats;
    const biasAt = outsAt + OUT_WORDS * outs.length;
    let bias = 0;
    for (const [i, out] of outs.entries()) {
      const at = outsAt + OUT_WORDS * i;
      const s = out.sampling;
      words[at] = out.row;
      words[at + 1] = out.mode;
      floats[at + 2] = s.temperature;
      words[at + 3] = s.topK;
      floats[at + 4] = s.topP;
      floats[at + 5] = s.minP;
      floats[at + 6] = s.typicalP;
      floats[at + 7] = s.repetition;
      floats[at + 8] = s.presence;
      floats[at + 9] = s.frequency;
      words[at + 10] = out.penaltyFrom;
      words[at + 11] = s.seedLow;
      words[at + 12] = s.seedHigh;
      words[at + 13] = s.nTop;
      words[at + 14] = out.target ?? 0;
      words[at + 15] = bias;
      words[at + 16] = s.bias.length;
      words[at + 17] = out.mask ?? 0;
      words[at + 18] = out.drawPosition;
      for (const [token, value] of s.bias) {
        words[biasAt + 2 * bias] = token;
        floats[biasAt + 2 * bias + 1] = value;
        bias++;
      }
    }
  }
}

/** Reused memory into which `rz_step_wait` writes, and its fields by index of the out. */
export class ResultReader {
  /** Lend this to `rz_step_wait`. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly #words: Uint32Array;
  readonly #ints: Int32Array;
  readonly #floats: Float32Array;

  /** `capacity`: `result_bytes_max` of the plan, in bytes. */
  constructor(capacity: number) {
    const buffer = new ArrayBuffer((capacity + 15) & ~15);
    this.bytes = new Uint8Array(buffer);
    this.#words = new Uint32Array(buffer);
    this.#ints = new Int32Array(buffer);
    this.#floats = new Float32Array(buffer);
  }

  /** Outs in this result. */
  get nOuts(): number {
    return this.#words[2]!;
  }
  /** Time the step ran, in microseconds. */
  get deviceUs(): number {
    return this.#words[4]!;
  }
  /** Time it waited to run, in microseconds. */
  get queueUs(): number {
    return this.#words[5]!;
  }
  /** The sampled id, -1 = none. */
  token(out: number): number {
    return this.#ints[RESULT_HEADER_WORDS + RESULT_OUT_WORDS * out]!;
  }
  /** {@linkcode RESULT_FLAGS}. */
  flags(out: number): number {
    return this.#words[RESULT_HEADER_WORDS + RESULT_OUT_WORDS * out + 2]!;
  }
  /** Natural log, before temperature and filters. */
  logprob(out: number): number {
    return this.#floats[RESULT_HEADER_WORDS + RESULT_OUT_WORDS * out + 3]!;
  }
  /** What a row says of its token and of the likeliest ones. */
  scored(out: number): { logprob: number; top: { token: number; logprob: number }[] } {
    return { logprob: this.logprob(out), top: this.top(out) };
  }
  /** The likeliest tokens of a row as (token, logprob) pairs, best first. */
  top(out: number): { token: number; logprob: number }[] {
    const at = RESULT_HEADER_WORDS + RESULT_OUT_WORDS * out;
    const first = RESULT_HEADER_WORDS + RESULT_OUT_WORDS * this.nOuts + 2 * this.#words[at + 4]!;
    return Array.from({ length: this.#words[at + 5]! }, (_, i) => ({
      token: this.#words[first + 2 * i]!,
      logprob: this.#floats[first + 2 * i + 1]!,
    }));
  }
}
