/**
 * Writes GGUF files in memory, right or wrong on purpose. A file is described as plain data, so that tests can
 * change any field of a good file before it is encoded.
 */

/** Value types of GGUF metadata and their numbers. */
export const GGUF_TYPE_ID = {
  u8: 0,
  i8: 1,
  u16: 2,
  i16: 3,
  u32: 4,
  i32: 5,
  f32: 6,
  bool: 7,
  string: 8,
  array: 9,
  u64: 10,
  i64: 11,
  f64: 12,
} as const;

/** Name of a metadata value type. */
export type GgufTypeName = keyof typeof GGUF_TYPE_ID;
/** Name of an element type of an array. */
export type GgufScalarName = Exclude<GgufTypeName, "array">;
/** A scalar; strings may be bytes that are not UTF-8. */
export type GgufScalar = number | bigint | boolean | string | Uint8Array;

/** One metadata entry. `raw` replaces everything after the key (type and value) by bytes of the test's own. */
export type GgufEntry =
  | { key: string | Uint8Array; type: GgufScalarName; value: GgufScalar }
  | { key: string | Uint8Array; type: "array"; of: GgufScalarName; values: readonly GgufScalar[] }
  | { key: string | Uint8Array; type: "raw"; raw: Uint8Array };

/** One tensor; fields left out are computed. */
export interface GgufTensor {
  name: string | Uint8Array;
  /** ggml order: dims[0] is the length of a row. */
  dims: readonly (number | bigint)[];
  /** `ggml_type` number. */
  dtype: number;
  /** The tensor's bytes, exactly. */
  data: Uint8Array;
  /** Offset in the data section, in place of the next aligned one. */
  offset?: number | bigint;
  /** n_dims as written, in place of dims.length. */
  nDims?: number;
}

/** A whole file; fields left out are computed. */
export interface GgufImage {
  magic?: Uint8Array;
  version?: number;
  nTensors?: number | bigint;
  nKv?: number | bigint;
  /** Padding unit of the data section; write `general.alignment` yourself. Default 32. */
  alignment?: number;
  metadata: GgufEntry[];
  tensors: GgufTensor[];
  /** Bytes after the last tensor. */
  trailer?: Uint8Array;
  /** No padding after the last tensor. */
  noFinalPadding?: boolean;
}

/** A buffer that grows; little-endian. */
export class ByteWriter {
  #bytes = new Uint8Array(1024);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  #room(n: number): number {
    const start = this.#length;
    this.#length += n;
    if (this.#length > this.#bytes.length) {
      const bigger = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      bigger.set(this.#bytes);
      this.#bytes = bigger;
      this.#view = new DataView(bigger.buffer);
    }
    return start;
  }

  u32(value: number): this {
    const start = this.#room(4);
    this.#view.setUint32(start, value, true);
    return this;
  }

  u64(value: number | bigint): this {
    const start = this.#room(8);
    this.#view.setBigUint64(start, BigInt.asUintN(64, BigInt(value)), true);
    return this;
  }

  bytes(value: Uint8Array): this {
    const start = this.#room(value.length);
    this.#bytes.set(value, start);
    return this;
  }

  /** u64 length and bytes, as GGUF v2 and v3 have them. */
  string(value: string | Uint8Array): this {
    const bytes = typeof value === "string" ? new TextEncoder().encode(value) : value;
    return this.u64(bytes.length).bytes(bytes);
  }

  /** Zeros up to a multiple of `alignment`. */
  pad(alignment: number): this {
    this.#room((alignment - this.#length % alignment) % alignment);
    return this;
  }

  scalar(type: GgufScalarName, value: GgufScalar): this {
    if (type === "string") return this.string(value as string | Uint8Array);
    if (type === "u64" || type === "i64") return this.u64(value as number | bigint);
    const n = Number(value);
    const size = { u8: 1, i8: 1, bool: 1, u16: 2, i16: 2, u32: 4, i32: 4, f32: 4, f64: 8 }[type];
    const start = this.#room(size);
    if (type === "f32") this.#view.setFloat32(start, n, true);
    else if (type === "f64") this.#view.setFloat64(start, n, true);
    else if (size === 1) this.#view.setUint8(start, n);
    else if (size === 2) this.#view.setUint16(start, n, true);
    else this.#view.setUint32(start, n, true);
    return this;
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }
}

function writeEntry(out: ByteWriter, entry: GgufEntry): void {
  out.string(entry.key);
  if (entry.type === "raw") {
    out.bytes(entry.raw);
  } else if (entry.type === "array") {
    out.u32(GGUF_TYPE_ID.array).u32(GGUF_TYPE_ID[entry.of]).u64(entry.values.length);
    for (const value of entry.values) out.scalar(entry.of, value);
  } else {
    out.u32(GGUF_TYPE_ID[entry.type]).scalar(entry.type, entry.value);
  }
}

/** The file, as bytes. */
export function encodeGguf(image: GgufImage): Uint8Array {
  const alignment = image.alignment ?? 32;
  const out = new ByteWriter();
  out.bytes(image.magic ?? new TextEncoder().encode("GGUF")).u32(image.version ?? 3);
  out.u64(image.nTensors ?? image.tensors.length).u64(image.nKv ?? image.metadata.length);
  for (const entry of image.metadata) writeEntry(out, entry);
  let end = 0;
  for (const tensor of image.tensors) {
    out.string(tensor.name).u32(tensor.nDims ?? tensor.dims.length);
    for (const dim of tensor.dims) out.u64(dim);
    out.u32(tensor.dtype).u64(tensor.offset ?? end);
    end = Math.ceil((end + tensor.data.length) / alignment) * alignment;
  }
  if (image.tensors.length > 0) out.pad(alignment);
  for (const [i, tensor] of image.tensors.entries()) {
    out.bytes(tensor.data);
    if (i + 1 < image.tensors.length || image.noFinalPadding !== true) out.pad(alignment);
  }
  if (image.trailer !== undefined) out.bytes(image.trailer);
  return out.finish();
}

/** The entry with this key, for tests that change it. */
export function entryOf(image: GgufImage, key: string): GgufEntry {
  const entry = image.metadata.find((candidate) => candidate.key === key);
  if (entry === undefined) throw new Error(`the image has no key ${key}`);
  return entry;
}

/** Sets or replaces an entry; the order of the others stays. */
export function setEntry(image: GgufImage, entry: GgufEntry): void {
  const i = image.metadata.findIndex((candidate) => candidate.key === entry.key);
  if (i < 0) image.metadata.push(entry);
  else image.metadata[i] = entry;
}

/** Removes the entry with this key, which must exist. */
export function removeEntry(image: GgufImage, key: string): void {
  image.metadata.splice(image.metadata.indexOf(entryOf(image, key)), 1);
}

/** The tensor with this name, for tests that change it. */
export function tensorOf(image: GgufImage, name: string): GgufTensor {
  const tensor = image.tensors.find((candidate) => candidate.name === name);
  if (tensor === undefined) throw new Error(`the image has no tensor ${name}`);
  return tensor;
}
