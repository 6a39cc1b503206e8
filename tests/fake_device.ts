/**
 * A device in this process, for the loop and the scheduler: reads batches by the layout of csrc/realizar.h and keeps
 * what a cache keeps. The "key and value" of a position is a hash of the position before it and its token, so a page
 * that somebody else wrote to, or that was never computed, shows in every token sampled after it.
 */
import { assert, assertEquals } from "@std/assert";
import { ResultReader } from "../src/engine/batch.ts";
import type { StepRunner } from "../src/engine/flights.ts";
import type { WireLogprob } from "../src/engine/protocol.ts";
import { RealizarError } from "../src/errors.ts";

const MAGIC = 0x31425a52;
const HOLD_SAMPLE = 1;
const GARBAGE = 0x5bd1e995;
const TARGET = 4;

/** The hash after one more token. */
export function mix(hash: number, token: number): number {
  const x = Math.imul(hash ^ token ^ 0x9e3779b9, 0x85ebca6b);
  return (x ^ (x >>> 13)) >>> 0;
}

/** The token a device of `vocabSize` tokens samples after this hash, when everything is allowed. */
export function sampleOf(hash: number, vocabSize: number): number {
  return mix(hash, 77) % vocabSize;
}

/** The log-probability that a device has for a token after this hash, and its likeliest tokens: numbers to compare. */
export function scoreOf(hash: number, token: number, nTop: number): WireLogprob {
  const top = Array.from({ length: nTop }, (_, i) => ({ token: mix(hash, 1000 + i) % 1024, logprob: -i }));
  return { logprob: -(mix(hash, token) % 4096), top };
}

/** The `n` tokens that follow a prompt when nothing interferes: what a generation must be. */
export function followers(prompt: ArrayLike<number>, n: number, vocabSize: number): number[] {
  let hash = 0;
  for (let i = 0; i < prompt.length; i++) hash = mix(hash, prompt[i]!);
  return Array.from({ length: n }, () => {
    const token = sampleOf(hash, vocabSize);
    hash = mix(hash, token);
    return token;
  });
}

/** Sizes of a {@linkcode FakeDevice}. */
export interface FakeSizes {
  vocabSize: number;
  pageTokens: number;
  /** With the null page. */
  nPages: number;
  nSlots: number;
  /** 0 = all tokens. */
  window?: number;
}

interface Queued {
  words: Uint32Array;
  ints: Int32Array;
  after: number;
  held: boolean;
  masks: Uint32Array | undefined;
  cancelled: boolean;
  error: RealizarError | undefined;
}

/** Runs steps in order when one is waited for. */
export class FakeDevice implements StepRunner {
  readonly sizes: FakeSizes;
  /** The next step submitted fails with this. */
  failNext: RealizarError | undefined;
  /** Called by each wait. */
  onWait: (() => void) | undefined;
  /** Waits that are not over at once, before each result. */
  idleWaits = 0;
  /** What is sampled in place of the token that the hash says. */
  sample: ((position: number, slot: number, token: number) => number) | undefined;
  steps = 0;
  tokens = 0;
  /** Of held steps: whether the forward had been waited for already when the masks came. */
  readonly releasedAt = new Map<number, number>();
  readonly #hashes: Uint32Array;
  readonly #ids: Int32Array;
  readonly #last: Int32Array;
  readonly #queue = new Map<number, Queued>();
  readonly #failed = new Set<number>();
  #waits = 0;
  #landed = 0;

  constructor(sizes: FakeSizes) {
    this.sizes = sizes;
    this.#hashes = new Uint32Array(sizes.nPages * sizes.pageTokens);
    this.#ids = new Int32Array(sizes.nPages * sizes.pageTokens);
    this.#last = new Int32Array(sizes.nSlots).fill(-1);
  }

  /** Steps that were not waited for. */
  get inFlight(): number {
    return this.#queue.size;
  }

  submit(batch: Uint8Array): number {
    const words = new Uint32Array(batch.slice().buffer);
    assert(words[0] === MAGIC && words[1] === batch.length, "magic and length");
    assert(this.#queue.size < 4, "four steps are in the queue already");
    const ticket = ++this.steps;
    this.tokens += words[4]!;
    this.#queue.set(ticket, {
      words,
      ints: new Int32Array(words.buffer),
      after: words[11]!,
      held: (words[2]! & HOLD_SAMPLE) !== 0,
      masks: undefined,
      cancelled: false,
      error: this.failNext,
    });
    this.failNext = undefined;
    return ticket;
  }

  release(ticket: number, masks: Uint32Array): void {
    const step = this.#queue.get(ticket);
    assert(step !== undefined && step.held && step.masks === undefined, `ticket ${ticket} waits for no masks`);
    step.masks = masks.slice();
    this.releasedAt.set(ticket, this.#landed);
  }

  cancel(ticket: number): void {
    const step = this.#queue.get(ticket);
    if (step !== undefined) step.cancelled = true;
  }

  wait(ticket: number): ResultReader | undefined {
    this.onWait?.();
    if (++this.#waits <= this.idleWaits) return undefined;
    this.#waits = 0;
    const step = this.#queue.get(ticket)!;
    const isLost = this.#failed.has(step.after) || step.cancelled;
    assert(!step.held || step.masks !== undefined || isLost, `step ${ticket} is held and nobody lets it go on`);
    assertEquals(Math.min(...this.#queue.keys()), ticket, "steps are waited for in order");
    this.#queue.delete(ticket);
    this.#landed = ticket;
    if (step.error === undefined && !isLost) return this.#run(step);
    this.#failed.add(ticket);
    // A step that was stopped may have got anywhere.
    if (!this.#failed.has(step.after)) this.#forward(step, true);
    throw step.error ?? new RealizarError("CANCELLED", "step cancelled");
  }

  #run(step: Queued): ResultReader {
    const rows = this.#forward(step, false);
    const { words } = step;
    const nOuts = words[5]!;
    const outsAt = 16 + 8 * words[3]! + pad(words[6]!) + pad(words[4]!);
    const nTopOf = (i: number): number => words[outsAt + 20 * i + 13]!;
    let topAt = 0;
    for (let i = 0; i < nOuts; i++) topAt += nTopOf(i);
    const reader = new ResultReader(32 + 32 * nOuts + 8 * topAt);
    const ints = new Int32Array(reader.bytes.buffer);
    const floats = new Float32Array(reader.bytes.buffer);
    ints[2] = nOuts;
    ints[4] = 1000;
    topAt = 0;
    for (let i = 0; i < nOuts; i++) {
      const at = outsAt + 20 * i;
      const { position, slot, hash } = rows[words[at]!]!;
      assertEquals(words[at + 18], position + 1, "the draw's position");
      if (words[at + 1] === TARGET) {
        const { logprob, top } = scoreOf(hash, words[at + 14]!, nTopOf(i));
        ints[8 + 8 * i] = -1;
        floats[11 + 8 * i] = logprob;
        ints.set([topAt, top.length], 12 + 8 * i);
        for (const [j, one] of top.entries()) {
          ints[8 + 8 * nOuts + 2 * (topAt + j)] = one.token;
          floats[9 + 8 * nOuts + 2 * (topAt + j)] = one.logprob;
        }
        topAt += top.length;
        continue;
      }
      let token = this.#choose(sampleOf(hash, this.sizes.vocabSize), words[at + 17]!, step.masks);
      if (this.sample !== undefined) token = this.sample(position, slot, token);
      this.#last[slot] = token;
      ints[8 + 8 * i] = token;
      if (token < 0) ints[10 + 8 * i] = 2;
    }
    return reader;
  }

  /** The first allowed token at or after the one wanted, around the end; -1 = none. */
  #choose(wanted: number, mask: number, masks: Uint32Array | undefined): number {
    if (mask === 0) return wanted;
    const { vocabSize } = this.sizes;
    const first = (mask - 1) * Math.ceil(vocabSize / 32);
    for (let i = 0; i < vocabSize; i++) {
      const token = (wanted + i) % vocabSize;
      if ((masks![first + (token >> 5)]! >>> (token & 31) & 1) === 1) return token;
    }
    return -1;
  }

  #forward({ words, ints }: Queued, isGarbage: boolean): { position: number; slot: number; hash: number }[] {
    const [nSeqs, nTokens, nPages] = [words[3]!, words[4]!, words[6]!];
    const { pageTokens } = this.sizes;
    const pagesAt = 16 + 8 * nSeqs;
    let tokenAt = pagesAt + pad(nPages);
    const rows: { position: number; slot: number; hash: number }[] = [];
    const written = new Set<number>(), slots = new Set<number>();
    for (let s = 0; s < nSeqs; s++) {
      const at = 16 + 8 * s;
      const [slot, nPast, nNew] = [words[at]!, words[at + 1]!, words[at + 2]!];
      const table = words.subarray(pagesAt + words[at + 6]!);
      assert(!slots.has(slot) && slot < this.sizes.nSlots, `slot ${slot} twice, or not there`);
      slots.add(slot);
      this.#checkTable(table, nPast, nNew, written);
      let hash = nPast === 0 ? 0 : this.#at(this.#hashes, table, nPast - 1);
      for (let i = 0; i < nNew; i++) {
        const position = nPast + i, given = ints[tokenAt++]!;
        const token = given === -1 ? this.#last[slot]! : given;
        assert(isGarbage || token >= 0, "the slot has no last sample");
        hash = isGarbage ? GARBAGE : mix(hash, token);
        const cell = table[Math.floor(position / pageTokens)]! * pageTokens + position % pageTokens;
        this.#hashes[cell] = hash;
        this.#ids[cell] = token;
        rows.push({ position, slot, hash });
      }
    }
    assertEquals(rows.length, nTokens, "tokens of all sequences");
    return rows;
  }

  #at(array: Uint32Array | Int32Array, table: Uint32Array, position: number): number {
    const { pageTokens } = this.sizes;
    return array[table[Math.floor(position / pageTokens)]! * pageTokens + position % pageTokens]!;
  }

  /** No page is written twice, none is missing, and those before are the pages of this very sequence. */
  #checkTable(table: Uint32Array, nPast: number, nNew: number, written: Set<number>): void {
    const { pageTokens, nPages, window = 0 } = this.sizes;
    const firstSeen = window === 0 ? 0 : Math.max(0, nPast - window + 1);
    for (let i = Math.floor(nPast / pageTokens); i < Math.ceil((nPast + nNew) / pageTokens); i++) {
      const page = table[i]!;
      assert(page > 0 && page < nPages && !written.has(page), `page ${page} is written twice, or is none`);
      written.add(page);
    }
    for (let i = Math.floor(firstSeen / pageTokens); i * pageTokens < nPast; i++) {
      assert(table[i] !== 0, `page ${i} is seen and was given back`);
      const position = i * pageTokens;
      if (i === 0 || position - 1 < firstSeen) continue;
      const expected = mix(this.#at(this.#hashes, table, position - 1), this.#at(this.#ids, table, position));
      assertEquals(this.#at(this.#hashes, table, position), expected, `page ${i} holds another sequence`);
    }
  }
}

function pad(n: number): number {
  return (n + 3) & ~3;
}
