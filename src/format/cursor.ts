/** Reading a header whose size is not known before it was parsed, from the first part of a file. */
import { type ErrorCode, RealizarError } from "../errors.ts";
import type { ByteSource, SyncByteSource } from "./reader.ts";

/** The part of a file that is read at first; what is in memory doubles from there as it is needed. */
const FIRST_BYTES = 2 ** 20;
/** Room made at first: header and directory of nearly all models fit, and what is not filled takes no memory. */
const ROOM_BYTES = 16 * 2 ** 20;
/** A header and tensor directory are never larger; real ones stay below 32 MiB. Files in memory have no such limit. */
export const HEADER_BYTES_MAX = 512 * 2 ** 20;

/** Parses the start of a file. Where reading has to wait, it is called again, from the start, with more in memory. */
export type HeaderParser<T> = (cursor: Cursor) => T;

/** Thrown by a cursor that can't read more by itself. Never leaves {@linkcode readHeader}. */
class NeedMore extends Error {
  /** Bytes of the file, from its start, that are needed at least. */
  readonly end: number;

  constructor(end: number) {
    super("more of the file is needed");
    this.end = end;
  }
}

/** What `parse` makes of the start of a source. Views that it keeps stay valid. */
export async function readHeader<T>(source: ByteSource, parse: HeaderParser<T>): Promise<T> {
  const cursor = new Cursor(source);
  for (;;) {
    try {
      return parse(cursor);
    } catch (thrown) {
      if (!(thrown instanceof NeedMore)) throw thrown;
      const { offset, room } = cursor.makeRoom(thrown.end);
      room.set(await source.read(offset, room.length));
      cursor.position = 0;
    }
  }
}

/** The same without waiting. */
export function readHeaderSync<T>(source: SyncByteSource, parse: HeaderParser<T>): T {
  return parse(new Cursor(source, source));
}

/**
 * A position in a file of which the first part is in memory. Every read is checked against the file's size first
 * (`TRUNCATED`) and moves the position. Little-endian.
 */
export class Cursor {
  /** Name of the file, for messages. */
  readonly name: string;
  /** Bytes of the whole file. */
  readonly fileSize: number;
  /** Offset of the next read. */
  position = 0;
  /** The file from offset 0 on, as far as it is in memory; replaced when it grows. */
  bytes: Uint8Array;
  #view: DataView;
  /** How much of `bytes` is the file's. */
  #filled: number;
  readonly #source: SyncByteSource | undefined;

  /** `readable` is the source again when it can be read without waiting. */
  constructor(source: ByteSource, readable?: SyncByteSource) {
    this.name = source.name;
    this.fileSize = source.size;
    this.#source = readable;
    this.bytes = readable?.inMemory ?? new Uint8Array(Math.min(source.size, ROOM_BYTES));
    this.#filled = readable?.inMemory?.length ?? 0;
    this.#view = viewOf(this.bytes);
  }

  /** Bytes of the file after the position. */
  get remaining(): number {
    return this.fileSize - this.position;
  }

  /** Makes sure that `n` more bytes are in memory; `what` is named when the file ends before. */
  need(n: number, what: string): void {
    const end = this.position + n;
    if (end <= this.#filled) return;
    if (end > this.fileSize) {
      throw this.error("TRUNCATED", `${what} takes ${n} bytes, ${this.remaining} are left in the file`);
    }
    if (this.#source === undefined) throw new NeedMore(end);
    const { offset, room } = this.makeRoom(end);
    this.#source.readInto(offset, room);
  }

  /** The next part of the file to read, at least up to `end`, and where to put it. Counts as filled from now on. */
  makeRoom(end: number): { offset: number; room: Uint8Array } {
    if (end > HEADER_BYTES_MAX) {
      throw new RealizarError("LIMIT", `${this.name}: header and directory have more than ${HEADER_BYTES_MAX} bytes`);
    }
    const most = Math.min(this.fileSize, HEADER_BYTES_MAX);
    const offset = this.#filled;
    this.#filled = Math.min(most, Math.max(end, 2 * offset, FIRST_BYTES));
    if (this.#filled > this.bytes.length) {
      const grown = new Uint8Array(Math.min(most, 4 * this.#filled));
      grown.set(this.bytes.subarray(0, offset));
      this.bytes = grown;
      this.#view = viewOf(grown);
    }
    return { offset, room: this.bytes.subarray(offset, this.#filled) };
  }

  /** An error at a place in this file: by default, at the position. */
  error(code: ErrorCode, problem: string, offset = this.position): RealizarError {
    return new RealizarError(code, `${this.name}: at byte ${offset}: ${problem}`);
  }

  u32(what: string): number {
    this.need(4, what);
    return this.#view.getUint32(this.#advance(4), true);
  }

  /** A u64 as a number: exact up to 2^53, above that only a number too large for any limit. */
  u64(what: string): number {
    this.need(8, what);
    const at = this.#advance(8);
    return this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32;
  }

  /** A view of the next `n` bytes. */
  take(n: number, what: string): Uint8Array {
    this.need(n, what);
    const at = this.#advance(n);
    return this.bytes.subarray(at, at + n);
  }

  /** Passes over the next `n` bytes. */
  skip(n: number, what: string): void {
    this.need(n, what);
    this.position += n;
  }

  /**
   * Passes over `offsets.length` strings, each a u64 length and its bytes, and notes where they lie. Returns the first
   * length above `bytesMax`, at which it stops with the position before it, or undefined. This loop is most of the
   * time that opening a model takes.
   */
  strings(offsets: Float64Array, lengths: Uint32Array, bytesMax: number, what: string): number | undefined {
    // No closure over these: captured variables don't live in registers.
    let view = this.#view;
    let filled = this.#filled;
    let at = this.position;
    for (let i = 0; i < offsets.length; i++) {
      if (at + 8 > filled) {
        this.position = at;
        this.need(8, what);
        [view, filled] = [this.#view, this.#filled];
      }
      const length = view.getUint32(at, true);
      const high = view.getUint32(at + 4, true);
      if (high !== 0 || length > bytesMax) {
        this.position = at;
        return high * 2 ** 32 + length;
      }
      at += 8;
      if (at + length > filled) {
        this.position = at;
        this.need(length, what);
        [view, filled] = [this.#view, this.#filled];
      }
      offsets[i] = at;
      lengths[i] = length;
      at += length;
    }
    this.position = at;
    return undefined;
  }

  #advance(n: number): number {
    const at = this.position;
    this.position += n;
    return at;
  }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
