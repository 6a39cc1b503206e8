/** From sampled tokens to text that may be shown: whole characters, and nothing that could begin a stop string. */

/** What turns ids into text piece by piece; text/detokenize.ts makes them. */
export interface TextPieces {
  /** Text completed by this token: whole characters only. */
  push(token: number): string;
  /** What is left at the end. */
  flush(): string;
}

/** The text of one sequence, with stop strings held back. */
export class Output {
  readonly #pieces: TextPieces;
  readonly #stops: readonly string[];
  #held = "";
  #stop: string | undefined;

  constructor(pieces: TextPieces, stops: readonly string[]) {
    this.#pieces = pieces;
    this.#stops = stops;
  }

  /** The stop string that was found. */
  get stop(): string | undefined {
    return this.#stop;
  }

  /** Text that may be shown after this token; look at {@linkcode Output.stop} after it. */
  push(token: number): string {
    this.#held += this.#pieces.push(token);
    if (this.#found()) return this.#take(this.#held.length);
    return this.#take(this.#held.length - this.#possibleStart());
  }

  /** The rest, when the sequence ended without a stop string. */
  finish(): string {
    this.#held += this.#pieces.flush();
    this.#found();
    return this.#take(this.#held.length);
  }

  /** Cuts the held text before the first stop string in it. */
  #found(): boolean {
    let first = -1;
    for (const stop of this.#stops) {
      const at = this.#held.indexOf(stop);
      if (at >= 0 && (first < 0 || at < first)) {
        first = at;
        this.#stop = stop;
      }
    }
    if (first >= 0) this.#held = this.#held.slice(0, first);
    return first >= 0;
  }

  /** Length of the longest end of the held text that begins a stop string. */
  #possibleStart(): number {
    let longest = 0;
    for (const stop of this.#stops) {
      for (let n = Math.min(stop.length - 1, this.#held.length); n > longest; n--) {
        if (this.#held.endsWith(stop.slice(0, n))) longest = n;
      }
    }
    return longest;
  }

  #take(n: number): string {
    const text = this.#held.slice(0, n);
    this.#held = this.#held.slice(n);
    return text;
  }
}
