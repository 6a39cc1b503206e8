/**
 * Bytes of a model file by position, from a path, from memory or from a Blob, and the reading of a header whose size
 * is not known before it was parsed.
 */
import { closeSync, fstatSync, openSync, readSync, statSync } from "node:fs";
import { RealizarError } from "../errors.ts";

/** Bytes by position. Reads never return less than was asked for: a source that got shorter is `IO`. */
export interface ByteSource {
  /** For messages: the path, or what stands for it. */
  readonly name: string;
  /** The path when there is one. */
  readonly path: string | null;
  /** Bytes in all. */
  readonly size: number;
  /** Time of the last change in ns, cut to whole microseconds (Deno knows no finer); 0n when unknown. */
  readonly mtimeNs: bigint;
  /** How much of the start to read at first when a header is wanted. */
  readonly windowBytes: number;
  /** Bytes `offset ... offset + n`, which must lie inside the source; may be a view of memory that others own. */
  read(offset: number, n: number): Promise<Uint8Array>;
}

/** A source that can be read without waiting: a path or bytes. */
export interface SyncByteSource extends ByteSource {
  readSync(offset: number, n: number): Uint8Array;
}

/** The part of a file that is read at first: enough for header and directory of most models. */
const WINDOW_BYTES = 8 << 20;
/** No single read is larger than this: Linux stops at 2 GiB, some runtimes before. */
const READ_MAX = 1 << 30;

/** Bytes in memory, borrowed: they must not change while they are used. */
export function bytesSource(bytes: Uint8Array, name = "bytes"): SyncByteSource {
  const readSync = (offset: number, n: number): Uint8Array => bytes.subarray(offset, offset + n);
  return {
    name,
    path: null,
    size: bytes.length,
    mtimeNs: 0n,
    windowBytes: bytes.length,
    readSync,
    read: (offset, n) => Promise.resolve(readSync(offset, n)),
  };
}

/** A Blob or File, read in slices. */
export function blobSource(blob: Blob): ByteSource {
  const name = "name" in blob && typeof blob.name === "string" && blob.name !== "" ? blob.name : "blob";
  return {
    name,
    path: null,
    size: blob.size,
    mtimeNs: 0n,
    windowBytes: WINDOW_BYTES,
    async read(offset, n) {
      let bytes: Uint8Array;
      try {
        bytes = new Uint8Array(await blob.slice(offset, offset + n).arrayBuffer());
      } catch (cause) {
        throw new RealizarError("IO", `${name}: reading ${n} bytes at ${offset} failed`, { cause });
      }
      if (bytes.length !== n) throw shorter(name, offset, n, bytes.length);
      return bytes;
    },
  };
}

/**
 * A regular file. It is opened for each read and closed again, so a source owns nothing; a read fails with `IO` when
 * size or time differ from what they were here. Throws `IO` when there is no such file, or it is none.
 */
export function pathSource(path: string): SyncByteSource {
  const stat = io(path, "opening", () => statSync(path, { bigint: true }));
  if (!stat.isFile()) throw new RealizarError("IO", `${path}: not a regular file`);
  const size = Number(stat.size);
  const mtimeNs = wholeMicroseconds(stat.mtimeNs);
  const readAt = (offset: number, n: number): Uint8Array => {
    const fd = openSync(path, "r");
    try {
      const now = fstatSync(fd, { bigint: true });
      if (Number(now.size) !== size || wholeMicroseconds(now.mtimeNs) !== mtimeNs) {
        throw new RealizarError("IO", `${path}: changed since it was opened (${size} bytes then, ${now.size} now)`);
      }
      const bytes = new Uint8Array(n);
      for (let done = 0; done < n;) {
        const got = readSync(fd, bytes, done, Math.min(READ_MAX, n - done), offset + done);
        if (got === 0) throw shorter(path, offset, n, done);
        done += got;
      }
      return bytes;
    } finally {
      closeSync(fd);
    }
  };
  const read = (offset: number, n: number): Uint8Array => io(path, "reading", () => readAt(offset, n));
  // deno-lint-ignore require-await -- what readSync throws must reject
  const readLater = async (offset: number, n: number): Promise<Uint8Array> => read(offset, n);
  return { name: path, path, size, mtimeNs, windowBytes: WINDOW_BYTES, readSync: read, read: readLater };
}

function wholeMicroseconds(ns: bigint): bigint {
  return ns / 1000n * 1000n;
}

function shorter(name: string, offset: number, n: number, got: number): RealizarError {
  return new RealizarError("IO", `${name}: only ${got} of ${n} bytes at ${offset} could be read`);
}

function io<T>(path: string, doing: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    if (cause instanceof RealizarError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new RealizarError("IO", `${path}: ${doing} failed: ${why}`, { cause });
  }
}

/** Thrown by a {@linkcode Cursor} that ran off the part of the file in memory. Never leaves this module's readers. */
class NeedMore extends Error {
  /** Bytes of the file, from its start, that are needed at least. */
  readonly end: number;

  constructor(end: number) {
    super("more of the file is needed");
    this.end = end;
  }
}

/** Factor by which the part of the file in memory grows until header and directory fit. */
const WINDOW_GROWTH = 4;
/** A header and tensor directory are never larger. Real ones stay below 32 MiB. */
export const HEADER_BYTES_MAX = 512 * 2 ** 20;

/** Parses the start of a file: called again, from the beginning, with more of the file when that was too little. */
export type HeaderParser<T> = (cursor: Cursor) => T;

function* windows<T>(source: ByteSource, parse: HeaderParser<T>): Generator<[number, number], T, Uint8Array> {
  let window = new Uint8Array(0);
  let size = Math.min(source.size, source.windowBytes);
  for (;;) {
    const rest = yield [window.length, size - window.length];
    if (window.length === 0) {
      window = rest as Uint8Array<ArrayBuffer>;
    } else {
      const grown = new Uint8Array(size);
      grown.set(window);
      grown.set(rest, window.length);
      window = grown;
    }
    try {
      return parse(new Cursor(source.name, window, source.size));
    } catch (thrown) {
      if (!(thrown instanceof NeedMore)) throw thrown;
      if (thrown.end > HEADER_BYTES_MAX) {
        throw new RealizarError(
          "LIMIT",
          `${source.name}: header and directory take more than ${HEADER_BYTES_MAX} bytes`,
        );
      }
      size = Math.min(source.size, HEADER_BYTES_MAX, Math.max(thrown.end, size * WINDOW_GROWTH));
    }
  }
}

/** What `parse` makes of the start of a source. Views it keeps stay valid: they are of bytes in memory. */
export async function readHeader<T>(source: ByteSource, parse: HeaderParser<T>): Promise<T> {
  const run = windows(source, parse);
  let step = run.next();
  while (!step.done) step = run.next(await source.read(...step.value));
  return step.value;
}

/** The same without waiting. */
export function readHeaderSync<T>(source: SyncByteSource, parse: HeaderParser<T>): T {
  const run = windows(source, parse);
  let step = run.next();
  while (!step.done) step = run.next(source.readSync(...step.value));
  return step.value;
}

/**
 * A position in a file of which the first part is in memory. Every read is checked against the file's size first
 * (`TRUNCATED`) and moves the position. Little-endian.
 */
export class Cursor {
  /** Name of the file, for messages. */
  readonly name: string;
  /** The part in memory, from offset 0. */
  readonly bytes: Uint8Array;
  /** Bytes of the whole file. */
  readonly fileSize: number;
  /** Offset of the next read. */
  position = 0;
  readonly #view: DataView;

  constructor(name: string, bytes: Uint8Array, fileSize: number) {
    this.name = name;
    this.bytes = bytes;
    this.fileSize = fileSize;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Bytes of the file after the position. */
  get remaining(): number {
    return this.fileSize - this.position;
  }

  /** Makes sure that `n` more bytes are in memory; `what` is named when the file ends before. */
  need(n: number, what: string): void {
    const end = this.position + n;
    if (end > this.fileSize) {
      throw this.error("TRUNCATED", `${what} takes ${n} bytes, ${this.remaining} are left in the file`);
    }
    if (end > this.bytes.length) throw new NeedMore(end);
  }

  /** An error at a place in this file: by default, at the position. */
  error(code: "TRUNCATED" | "LIMIT" | "TYPE" | "OVERFLOW", problem: string, offset = this.position): RealizarError {
    return new RealizarError(code, `${this.name}: at byte ${offset}: ${problem}`);
  }

  u8(what: string): number {
    this.need(1, what);
    return this.#view.getUint8(this.#advance(1));
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
    const view = this.#view;
    const end = this.bytes.length;
    let at = this.position;
    for (let i = 0; i < offsets.length; i++) {
      this.position = at;
      if (at + 8 > end) this.need(8, what);
      const length = view.getUint32(at, true);
      const high = view.getUint32(at + 4, true);
      if (high !== 0 || length > bytesMax) return high * 2 ** 32 + length;
      at += 8;
      offsets[i] = at;
      lengths[i] = length;
      at += length;
      if (at > end) {
        this.position = at - length;
        this.need(length, what);
      }
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
