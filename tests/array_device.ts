/** A device of a few arrays for the scheduler: keys and values are hashes of everything before, see fake_device.ts. */
import type { PlannedStep } from "../src/engine/planned_step.ts";
import { type Dice, must } from "./dice.ts";
import { mix, sampleOf } from "./fake_device.ts";

const GARBAGE = 0x5bd1e995;

/** Sizes of an {@linkcode ArrayDevice}. */
export interface ArraySizes {
  vocabSize: number;
  pageTokens: number;
  /** With the null page. */
  nPages: number;
  nSlots: number;
  /** 0 = all tokens. */
  window: number;
}

/** Computes planned steps, in the order in which a queue would. */
export class ArrayDevice {
  readonly #sizes: ArraySizes;
  readonly #dice: Dice;
  readonly #hashes: Uint32Array;
  readonly #ids: Int32Array;
  readonly #last: Int32Array;

  constructor(sizes: ArraySizes, dice: Dice) {
    this.#sizes = sizes;
    this.#dice = dice;
    this.#hashes = new Uint32Array(sizes.nPages * sizes.pageTokens);
    this.#ids = new Int32Array(sizes.nPages * sizes.pageTokens);
    this.#last = new Int32Array(sizes.nSlots).fill(-1);
  }

  /** The samples of a step; one that fails leaves garbage wherever it writes. */
  compute(step: PlannedStep, isGarbage: boolean): number[] {
    const { pageTokens, vocabSize } = this.#sizes, samples: number[] = [];
    for (const [s, { slot, nPast, tokens, pages }] of step.seqs.entries()) {
      const table = pages[0]!;
      const cell = (position: number): number =>
        table[Math.floor(position / pageTokens)]! * pageTokens + position % pageTokens;
      if (!isGarbage) this.#checkHistory(nPast, cell);
      let hash = nPast === 0 ? 0 : this.#hashes[cell(nPast - 1)]!;
      for (let i = 0; i < tokens.length; i++) {
        const token = tokens[i]! === -1 ? this.#last[slot]! : tokens[i]!;
        hash = isGarbage ? GARBAGE : mix(hash, token);
        this.#hashes[cell(nPast + i)] = hash;
        this.#ids[cell(nPast + i)] = token;
      }
      const { out } = step.entries[s]!;
      if (out >= 0 && !isGarbage) this.#last[slot] = samples[out] = sampleOf(hash, vocabSize);
    }
    return samples;
  }

  /** Somewhere in what a sequence sees, a position must follow from the one before it. */
  #checkHistory(nPast: number, cell: (position: number) => number): void {
    const { window } = this.#sizes;
    const first = window === 0 ? 0 : Math.max(0, nPast - window + 1);
    if (nPast - first < 2) return;
    const at = first + 1 + this.#dice.roll(nPast - first - 1);
    const expected = mix(this.#hashes[cell(at - 1)]!, this.#ids[cell(at)]!);
    must(this.#hashes[cell(at)] === expected, () => `position ${at} of ${nPast} is another sequence's`);
  }
}
