/**
 * Many strings read in place: the bytes of a file's string array and where each string lies in them.
 * A vocabulary of 256,000 tokens stays bytes; no JavaScript string is made for it.
 */

/**
 * An array of byte strings inside one buffer. String `i` is `bytes[offsets[i] ... offsets[i] + lengths[i])`.
 * The bytes are UTF-8 by convention only: token bytes in real files may be anything.
 */
export interface StringTable {
  /** Number of strings. */
  readonly length: number;
  /** What the offsets count in; borrowed, may be the whole file or a part of it. */
  readonly bytes: Uint8Array;
  /** Start of each string, in bytes; at least `length` elements. */
  readonly offsets: Float64Array;
  /** Bytes of each string; at least `length` elements. */
  readonly lengths: Uint32Array;
}

/** String `i` as a view into the table's bytes. `i` must be below `table.length`. */
export function bytesAt(table: StringTable, i: number): Uint8Array {
  const start = table.offsets[i]!;
  return table.bytes.subarray(start, start + table.lengths[i]!);
}

/** String `i` as text; bytes that are not UTF-8 become U+FFFD. */
export function stringAt(table: StringTable, i: number): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytesAt(table, i).slice());
}

/** A table over copies of these strings. */
export function stringTableOf(strings: readonly (string | Uint8Array)[]): StringTable {
  const encoder = new TextEncoder();
  const parts = strings.map((part) => typeof part === "string" ? encoder.encode(part) : part);
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  const offsets = new Float64Array(parts.length);
  const lengths = new Uint32Array(parts.length);
  let end = 0;
  for (const [i, part] of parts.entries()) {
    bytes.set(part, end);
    offsets[i] = end;
    lengths[i] = part.length;
    end += part.length;
  }
  return { length: parts.length, bytes, offsets, lengths };
}
