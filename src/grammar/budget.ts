/** What compiling one grammar may cost. A budget that is used up ends it with `LIMIT`, whatever the input. */
import { RealizarError } from "../errors.ts";

/** How deep schemas, groups and rules may nest. */
export const MAX_DEPTH = 64;
/** States of an automaton, and units of other work that grow with it. */
export const MAX_STATES = 1_000_000;
/** Wall time of one compilation, in milliseconds. */
export const MAX_COMPILE_MS = 250;

/** Work between two looks at the clock. */
const CLOCK_EVERY = 512;
/** Work that the clock does not end: some milliseconds, which a busy machine may stretch. */
const CLOCK_FROM = 20_000;

/** Counts the work of one compilation and looks at the clock now and then. */
export class Budget {
  readonly #deadline: number;
  readonly #limitMs: number;
  #spent = 0;
  #nextLook = CLOCK_EVERY;

  /** The clock starts now. */
  constructor(limitMs: number = MAX_COMPILE_MS) {
    this.#limitMs = limitMs;
    this.#deadline = performance.now() + limitMs;
  }

  /** Counts `units` of work, each about one state of the automaton. Throws `LIMIT`. */
  charge(units = 1): void {
    this.#spent += units;
    if (this.#spent > MAX_STATES) {
      throw new RealizarError("LIMIT", `the grammar needs more than ${MAX_STATES} states`);
    }
    if (this.#spent < this.#nextLook) return;
    this.#nextLook = this.#spent + CLOCK_EVERY;
    this.look();
  }

  /** Looks at the clock. Throws `LIMIT`. */
  look(): void {
    if (this.#spent < CLOCK_FROM || performance.now() < this.#deadline) return;
    throw new RealizarError("LIMIT", `the grammar could not be compiled in ${this.#limitMs} ms`);
  }
}

/** Refuses a nesting of more than {@linkcode MAX_DEPTH} with `LIMIT`; `what` nests. */
export function checkDepth(depth: number, what: string): void {
  if (depth > MAX_DEPTH) throw new RealizarError("LIMIT", `${what} nest more than ${MAX_DEPTH} deep`);
}
