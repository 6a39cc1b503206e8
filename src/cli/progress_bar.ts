/** A progress bar on stderr; silent where stderr is no terminal. */

const WIDTH = 32;
const EVERY_MS = 50;

/** One bar, on one line that is wiped at the end. */
export class ProgressBar {
  readonly #what: string;
  #shownAt = 0;

  constructor(what: string) {
    this.#what = what;
  }

  /** Bytes done of bytes in all. */
  update(done: number, total: number): void {
    const now = performance.now();
    if (!process.stderr.isTTY || total === 0 || now - this.#shownAt < EVERY_MS) return;
    this.#shownAt = now;
    const share = Math.min(done / total, 1);
    const filled = Math.round(share * WIDTH);
    const bar = "#".repeat(filled).padEnd(WIDTH, ".");
    process.stderr.write(`\r${this.#what} [${bar}] ${Math.round(share * 100)} % of ${(total / 1e6).toFixed(0)} MB`);
  }

  /** Wipes the line. */
  clear(): void {
    if (this.#shownAt > 0) process.stderr.write("\r\x1b[K");
  }
}
