/** Bytes of a model file by position: from a path, from memory or from a Blob. */
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
  /** Time of the last change in ns, cut to whole milliseconds (Deno may know no finer); 0n when unknown. */
  readonly mtimeNs: bigint;
  /** Bytes `offset ... offset + n`, which must lie inside the source; may be a view of memory that others own. */
  read(offset: number, n: number): Promise<Uint8Array>;
}

/** A source that can be read without waiting: a path or bytes. */
export interface SyncByteSource extends ByteSource {
  /** All of them, when they are in memory. */
  readonly inMemory: Uint8Array | undefined;
  /** {@linkcode ByteSource.read} without waiting. */
  readSync(offset: number, n: number): Uint8Array;
  /** Fills `target` with the bytes from `offset` on. */
  readInto(offset: number, target: Uint8Array): void;
}

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
    inMemory: bytes,
    readSync,
    readInto: (offset, target) => target.set(readSync(offset, target.length)),
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
  const mtimeNs = wholeMilliseconds(stat.mtimeNs);
  const fill = (offset: number, target: Uint8Array): void => {
    const fd = openSync(path, "r");
    try {
      const now = fstatSync(fd, { bigint: true });
      if (Number(now.size) !== size || wholeMilliseconds(now.mtimeNs) !== mtimeNs) {
        throw new RealizarError("IO", `${path}: changed since it was opened (${size} bytes then, ${now.size} now)`);
      }
      const n = target.length;
      for (let done = 0; done < n;) {
        const got = readSync(fd, target, done, Math.min(READ_MAX, n - done), offset + done);
        if (got === 0) throw shorter(path, offset, n, done);
        done += got;
      }
    } finally {
      closeSync(fd);
    }
  };
  const readInto = (offset: number, target: Uint8Array): void => io(path, "reading", () => fill(offset, target));
  const readNow = (offset: number, n: number): Uint8Array => {
    const bytes = new Uint8Array(n);
    readInto(offset, bytes);
    return bytes;
  };
  // deno-lint-ignore require-await -- what readNow throws must reject
  const read = async (offset: number, n: number): Promise<Uint8Array> => readNow(offset, n);
  return { name: path, path, size, mtimeNs, inMemory: undefined, readSync: readNow, readInto, read };
}

function wholeMilliseconds(ns: bigint): bigint {
  return ns / 1_000_000n * 1_000_000n;
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
