/** Looking for marks in text that is not all there yet. */

/** White space that is held back because a mark may follow it, at most. */
export const SPACES_HELD_MAX = 64;

/** Length of the longest end of `text` that begins one of the marks and is none of them. */
export function possibleStart(text: string, marks: readonly string[]): number {
  let longest = 0;
  for (const mark of marks) {
    for (let n = Math.min(mark.length - 1, text.length); n > longest; n--) {
      if (text.endsWith(mark.slice(0, n))) longest = n;
    }
  }
  return longest;
}

/** The mark that stands first in a text. */
export function firstMark(text: string, marks: readonly string[]): { at: number; mark: string } | undefined {
  let first: { at: number; mark: string } | undefined;
  for (const mark of marks) {
    const at = text.indexOf(mark);
    if (at >= 0 && (first === undefined || at < first.at)) first = { at, mark };
  }
  return first;
}

/** Length of the text without the white space at its end; as much of that as may be held back. */
export function withoutSpaces(text: string): number {
  let end = text.length;
  while (end > 0 && text.length - end < SPACES_HELD_MAX && /\s/.test(text[end - 1]!)) end--;
  return end;
}
