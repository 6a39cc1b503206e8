/** Problems with a file, collected so that all are told at once. */
import { type ErrorCode, RealizarError } from "../errors.ts";

/** One thing that is wrong. */
export interface Problem {
  readonly code: ErrorCode;
  readonly message: string;
}

/** More problems than this are counted, not listed. */
const LISTED_MAX = 200;

/**
 * Throws one error for all problems, if there are any: with the code of the first, a message that tells the first
 * and how many more, and the list in `problems`.
 */
export function throwProblems(subject: string, problems: readonly Problem[]): void {
  const [first] = problems;
  if (first === undefined) return;
  const listed = problems.slice(0, LISTED_MAX).map((problem) => problem.message);
  if (problems.length > LISTED_MAX) listed.push(`... and ${problems.length - LISTED_MAX} more`);
  const more = problems.length === 1 ? "" : ` (and ${problems.length - 1} more)`;
  throw new RealizarError(first.code, `${subject}: ${first.message}${more}`, { problems: listed });
}

/** A name from a file as it may stand in a message: quoted, control characters escaped, cut when long. */
export function quoted(name: string): string {
  const short = name.length > 100 ? `${name.slice(0, 100)}...` : name;
  // deno-lint-ignore no-control-regex
  const escape = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
  return `"${short.replace(/[\u0000-\u001f"\\\u007f-\u009f\u2028\u2029]/g, escape)}"`;
}
