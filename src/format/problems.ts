/** Problems with a file, collected so that all are told at once. */
import { type ErrorCode, RealizarError } from "../errors.ts";

/** More problems than this are counted, not told: a hostile file can have millions. */
const TOLD_MAX = 200;

/** A growing list of problems. */
export class Problems {
  #code: ErrorCode | undefined;
  readonly #told: string[] = [];
  #count = 0;

  /** Notes a problem; `tell` is called for those that are told. */
  add(code: ErrorCode, tell: () => string): void {
    this.#code ??= code;
    if (this.#count++ < TOLD_MAX) this.#told.push(tell());
  }

  /**
   * Throws one error for all problems, if there are any: with the code of the first, a message that tells the first
   * and how many more there are, and the list in `problems`.
   */
  throwIfAny(subject: string): void {
    if (this.#code === undefined) return;
    const problems = [...this.#told];
    if (this.#count > problems.length) problems.push(`... and ${this.#count - problems.length} more`);
    const more = this.#count === 1 ? "" : ` (and ${this.#count - 1} more)`;
    throw new RealizarError(this.#code, `${subject}: ${problems[0]}${more}`, { problems });
  }
}

/** A name from a file as it may stand in a message: quoted, control characters escaped, cut when long. */
export function quoted(name: string): string {
  const short = name.length > 100 ? `${name.slice(0, 100)}...` : name;
  const escape = (char: string) => `\\u{${char.codePointAt(0)!.toString(16)}}`;
  return `"${short.replace(/["\\\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, escape)}"`;
}
