/** Keeping user text from forging special tokens on its way through a chat template. */
import { RealizarError } from "../errors.ts";
import { SpecialMatcher } from "./special_trie.ts";
import { TOKEN_TYPE } from "./token_type.ts";
import type { VocabTables } from "./vocab.ts";

/** Characters that no text means: U+FDD0 ... U+FDEF, and the last two of every plane. */
const NONCHARACTERS: readonly string[] = [
  ...Array.from({ length: 32 }, (_, i) => String.fromCodePoint(0xfdd0 + i)),
  ...Array.from({ length: 17 }, (_, plane) => String.fromCodePoint(plane * 0x10000 + 0xfffe, plane * 0x10000 + 0xffff)),
].join("").match(/./gsu)!;

const CONTROL: readonly boolean[] = Object.values(TOKEN_TYPE).map((type) =>
  type === TOKEN_TYPE.control || type === TOKEN_TYPE.unknown
);

/** What was escaped, and the mark that did it. */
export interface Escaped<T> {
  readonly value: T;
  /** The character to be removed once special tokens have been split off: `EncodeOptions.escape`. */
  readonly mark: string;
}

/**
 * A copy of plain data in which every special token's text is broken up, in all strings and keys at any depth: a
 * mark stands after its first character. Rendered by a template and encoded with `special` and this `escape`, the
 * template's own special tokens become tokens and the user's become plain text. Throws `ARG` when the data uses every
 * character that could serve as a mark.
 */
export function escapeSpecial<T>(value: T, tables: VocabTables): Escaped<T> {
  const text = JSON.stringify(value) ?? "";
  const mark = NONCHARACTERS.find((character) => !text.includes(character));
  if (mark === undefined) throw new RealizarError("ARG", "messages: the text uses every Unicode noncharacter");
  const matcher = new SpecialMatcher(tables);
  const utf8 = new TextEncoder();
  const escape = (part: unknown): unknown => {
    if (typeof part === "string") return escapeText(part, matcher, utf8, mark);
    if (Array.isArray(part)) return part.map(escape);
    if (typeof part !== "object" || part === null) return part;
    return Object.fromEntries(
      Object.entries(part).map(([key, inner]) => [escapeText(key, matcher, utf8, mark), escape(inner)]),
    );
  };
  return { value: escape(value) as T, mark };
}

function escapeText(text: string, matcher: SpecialMatcher, utf8: TextEncoder, mark: string): string {
  const bytes = utf8.encode(text);
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let result = "";
  let from = 0;
  // Every place counts, also inside a token already found: what is left there must not be one either.
  for (let at = 0; (at = matcher.nextStart(bytes, at, bytes.length)) < bytes.length; at++) {
    if (matcher.match(bytes, at, bytes.length, CONTROL) < 0) continue;
    let next = at + 1;
    while (next < bytes.length && (bytes[next]! & 0xc0) === 0x80) next++;
    result += decoder.decode(bytes.subarray(from, next)) + mark;
    from = next;
  }
  return from === 0 ? text : result + decoder.decode(bytes.subarray(from));
}
