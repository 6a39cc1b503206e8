/** Giving others their turn in the middle of long work on the event loop. */

/** Work between two turns, in milliseconds: well below what anybody notices. */
const SLICE_MS = 2;

/** Resolves after everybody else had a turn. */
export function othersFirst(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/** Looks at the clock now and then in the course of long work. */
export class Turns {
  #startedAt = performance.now();

  /** Whether it is time for {@linkcode Turns.pass}. */
  get isOver(): boolean {
    return performance.now() - this.#startedAt > SLICE_MS;
  }

  /** Lets the others have their turn, and begins a new one. */
  async pass(): Promise<void> {
    await othersFirst();
    this.#startedAt = performance.now();
  }
}
