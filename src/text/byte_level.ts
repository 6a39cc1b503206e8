/**
 * The byte-level alphabet: vocabularies of byte-level BPE write each byte as one printable character
 * (a space as U+0120), so that pieces are text. This is its inverse.
 */

/** Byte that a character of the alphabet stands for, -1 for characters outside it; [324]. */
const BYTE_OF_CODE_POINT = alphabet();

function alphabet(): Int16Array {
  const table = new Int16Array(324).fill(-1);
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte > 32 && byte < 127) || (byte > 160 && byte !== 173);
    table[printable ? byte : next++] = byte;
  }
  return table;
}

/**
 * Writes the bytes that `from[start ... end)`, UTF-8 text in the byte-level alphabet, stands for to `to[at ...]`.
 * Returns the end of what was written, or -1 when a character is outside the alphabet. Never writes more than
 * `end - start` bytes.
 */
export function decodeByteLevel(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): number {
  for (let i = start; i < end; i++) {
    let code = from[i]!;
    if (code >= 0x80) {
      // Every character of the alphabet takes at most two bytes.
      const second = i + 1 < end ? from[i + 1]! : 0;
      if (code < 0xc2 || code > 0xc5 || (second & 0xc0) !== 0x80) return -1;
      code = ((code & 0x1f) << 6) | (second & 0x3f);
      i++;
    }
    const byte = code < 324 ? BYTE_OF_CODE_POINT[code]! : -1;
    if (byte < 0) return -1;
    to[at++] = byte;
  }
  return at;
}
