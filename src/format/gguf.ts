/** GGUF files, versions 2 and 3, whole or split: header, metadata and tensor directory. Tensor bytes are not read. */
import { dtypeOfId } from "../dtype.ts";
import { RealizarError } from "../errors.ts";
import { type Cursor, readHeader, readHeaderSync } from "./cursor.ts";
import { elementsOf, type FileInfo, findRangeProblems, tensorBytes, type TensorInfo } from "./directory.ts";
import { Metadata } from "./metadata.ts";
import { readName } from "./metadata_reader.ts";
import { Problems, quoted } from "./problems.ts";
import { blobSource, type ByteSource, bytesSource, pathSource } from "./reader.ts";
import { siblingPaths, splitOf } from "./split.ts";

/** What a model's files say; a split model is told as one. */
export interface GgufFile {
  /** 2 or 3. */
  readonly version: number;
  /** Of the tensors in the first file, in bytes. */
  readonly alignment: number;
  /** Of the first file; the others only repeat their place in the split. */
  readonly metadata: Metadata;
  /** In the order of the files. Names are unique; ranges are aligned, inside their file, and don't overlap. */
  readonly tensors: readonly TensorInfo[];
  readonly files: readonly FileInfo[];
}

const TENSORS_MAX = 2 ** 20;
const ENTRIES_MAX = 65536;
const NAME_BYTES_MAX = 64;
const DIMS_MAX = 4;
const ALIGNMENT_DEFAULT = 32;
/** Least bytes of a directory entry: name of one byte, one dimension. */
const TENSOR_ENTRY_BYTES = 8 + 1 + 4 + 8 + 4 + 8;
/** Least bytes of a metadata entry: key of one byte, a u8. */
const METADATA_ENTRY_BYTES = 8 + 1 + 4 + 1;

/**
 * Opens a model from a path, bytes, a Blob, or all parts of a split model as bytes or Blobs. A path may be any part
 * of a split model; the others are found by name beside it.
 *
 * Throws `IO`, `MAGIC`, `VERSION`, `UNSUPPORTED` (big-endian), `TRUNCATED`, `LIMIT`, `OVERFLOW`, `TYPE`, `DUPLICATE`,
 * `ALIGN`, `SHAPE`, `OFFSET`, each with file and byte offset.
 */
export async function openGguf(
  model: string | Uint8Array | Blob | readonly (Uint8Array | Blob)[],
): Promise<GgufFile> {
  if (typeof model === "string" || model instanceof Uint8Array) return openGgufSync(model);
  const sources = Array.isArray(model) ? model.map(sourceOf) : [sourceOf(model as Blob)];
  const parts: Part[] = [];
  for (const source of sources) parts.push(await readHeader(source, (cursor) => parsePart(cursor, source)));
  return assemble(parts);
}

/** {@linkcode openGguf} without waiting, for what can be read so. */
export function openGgufSync(model: string | Uint8Array): GgufFile {
  const open = (path: string): Part => {
    const source = pathSource(path);
    return readHeaderSync(source, (cursor) => parsePart(cursor, source));
  };
  if (typeof model === "string") {
    const first = open(model);
    const paths = siblingPaths(model, first.split, first.file.name);
    return assemble(paths.map((path) => path === model ? first : open(path)));
  }
  const source = bytesSource(model);
  return assemble([readHeaderSync(source, (cursor) => parsePart(cursor, source))]);
}

function sourceOf(model: Uint8Array | Blob): ByteSource {
  return model instanceof Uint8Array ? bytesSource(model) : blobSource(model);
}

/** One file of a model. */
interface Part {
  version: number;
  metadata: Metadata;
  tensors: Omit<TensorInfo, "file">[];
  file: FileInfo;
  split: ReturnType<typeof splitOf>;
}

function parsePart(cursor: Cursor, source: ByteSource): Part {
  const version = readPreamble(cursor);
  const nTensors = readCount(cursor, "tensors", TENSORS_MAX, TENSOR_ENTRY_BYTES);
  const nEntries = readCount(cursor, "metadata entries", ENTRIES_MAX, METADATA_ENTRY_BYTES);
  const metadata = new Metadata(cursor, nEntries);
  const alignment = readAlignment(metadata);
  const tensors: Omit<TensorInfo, "file">[] = [];
  for (let i = 0; i < nTensors; i++) tensors.push(readTensor(cursor, i, nTensors));
  const dataOffset = Math.ceil(cursor.position / alignment) * alignment;
  const { name, path, size, mtimeNs } = source;
  return {
    version,
    metadata,
    tensors: tensors.map((tensor) => ({ ...tensor, offset: dataOffset + tensor.offset })),
    file: { name, path, size, mtimeNs, dataOffset, alignment, source },
    split: splitOf(metadata),
  };
}

/** Starts of files that are often taken for GGUF, and what they are. */
const OTHER_FORMATS: readonly (readonly [start: string, what: string])[] = [
  ["FUGG", "a byte-swapped GGUF file"],
  ["lmgg", "a GGML file, older than GGUF"],
  ["tjgg", "a GGJT file, older than GGUF"],
  ["fmgg", "a GGMF file, older than GGUF"],
  ["algg", "a GGLA adapter, older than GGUF"],
  ["PK\u0003\u0004", "a ZIP archive, perhaps a PyTorch checkpoint"],
  ["<!DO", "an HTML page: the download did not bring the file"],
  ["<htm", "an HTML page: the download did not bring the file"],
  ["vers", "text, perhaps a Git LFS pointer: the file itself was not fetched"],
];

/** Magic and version. */
function readPreamble(cursor: Cursor): number {
  const start = cursor.take(Math.min(4, cursor.fileSize), "the magic");
  const text = String.fromCharCode(...start);
  if (!"GGUF".startsWith(text)) {
    const hint = OTHER_FORMATS.find(([other]) => other === text)?.[1];
    const got = hint ?? [...start].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    throw new RealizarError("MAGIC", `${cursor.name}: at byte 0: not a GGUF file but ${got}, expected "GGUF"`);
  }
  const version = cursor.u32("the version");
  if (version === 2 || version === 3) return version;
  const where = `${cursor.name}: at byte 4: `;
  if (version !== 0 && version % 65536 === 0) {
    throw new RealizarError("UNSUPPORTED", `${where}a big-endian GGUF file; convert it to little-endian`);
  }
  throw new RealizarError("VERSION", `${where}GGUF version ${version}, expected 2 or 3`);
}

function readCount(cursor: Cursor, what: string, max: number, leastBytes: number): number {
  const at = cursor.position;
  const n = cursor.u64(`the number of ${what}`);
  if (n > max) throw cursor.error("LIMIT", `${n} ${what}, at most ${max}`, at);
  if (n * leastBytes > cursor.remaining) {
    throw cursor.error(
      "TRUNCATED",
      `${n} ${what} take at least ${n * leastBytes} bytes, ${cursor.remaining} are left`,
      at,
    );
  }
  return n;
}

function readAlignment(metadata: Metadata): number {
  const key = "general.alignment";
  const alignment = metadata.int(key, ALIGNMENT_DEFAULT);
  const inRange = alignment >= 8 && alignment <= 2 ** 20;
  if (!inRange || (alignment & (alignment - 1)) !== 0) {
    throw metadata.errorAt("ALIGN", key, `${alignment}, expected a power of two from 8 to ${2 ** 20}`);
  }
  return alignment;
}

/** One directory entry; `offset` still counts from the start of the data section. */
function readTensor(cursor: Cursor, i: number, n: number): Omit<TensorInfo, "file"> {
  const directoryOffset = cursor.position;
  const name = readName(cursor, `the name of tensor ${i} of ${n}`, NAME_BYTES_MAX);
  const what = `tensor ${quoted(name)}`;
  const fail = (code: "SHAPE" | "OVERFLOW", problem: string): RealizarError =>
    new RealizarError(code, `${cursor.name}: at byte ${directoryOffset}: ${what} ${problem}`);
  const nDims = cursor.u32(what);
  if (nDims < 1 || nDims > DIMS_MAX) throw fail("SHAPE", `has ${nDims} dimensions, expected 1 to ${DIMS_MAX}`);
  const dims = Array.from({ length: nDims }, () => cursor.u64(what));
  if (dims.includes(0)) throw fail("SHAPE", `has shape [${dims}]: a dimension is 0`);
  const dtypeId = cursor.u32(what);
  const dtype = dtypeOfId(dtypeId);
  const bytes = dtype === undefined ? undefined : tensorBytes(dtype, dims);
  if (Math.max(elementsOf(dims), bytes ?? 0) > Number.MAX_SAFE_INTEGER) {
    throw fail("OVERFLOW", `has shape [${dims}], more than 2^53 bytes or elements`);
  }
  const offset = cursor.u64(what);
  if (offset + (bytes ?? 0) + cursor.fileSize > Number.MAX_SAFE_INTEGER) {
    throw fail("OVERFLOW", `begins at ${offset} in the data section, above 2^53`);
  }
  return { name, dtypeId, dtype, dims, offset, bytes, directoryOffset };
}

/** The model of these parts, in any order: all parts of one split, or a whole file. */
function assemble(parts: readonly Part[]): GgufFile {
  const ordered = [...parts].sort((a, b) => a.split.no - b.split.no);
  const first = ordered[0];
  if (first === undefined) throw new RealizarError("ARG", "a model of no files");
  checkSplit(ordered);
  const files = ordered.map((part) => part.file);
  const tensors = ordered.flatMap((part, file) => part.tensors.map((tensor): TensorInfo => ({ ...tensor, file })));
  const seen = new Set<string>();
  for (const { name, file, directoryOffset } of tensors) {
    if (seen.has(name)) {
      const where = `${files[file]!.name}: at byte ${directoryOffset}`;
      throw new RealizarError("DUPLICATE", `${where}: tensor ${quoted(name)} is there twice`);
    }
    seen.add(name);
  }
  const expected = first.split.nTensors;
  if (expected !== undefined && expected !== tensors.length) {
    const problem = `${expected} tensors are announced, the files have ${tensors.length}`;
    throw first.metadata.errorAt("TRUNCATED", "split.tensors.count", problem);
  }
  const problems = new Problems();
  findRangeProblems(tensors, files, problems);
  problems.throwIfAny(first.file.name);
  return { version: first.version, alignment: first.file.alignment, metadata: first.metadata, tensors, files };
}

function checkSplit(ordered: readonly Part[]): void {
  for (const [i, { split, metadata, file }] of ordered.entries()) {
    if (split.count !== ordered.length) {
      const given = `the file is one of ${split.count} parts, ${ordered.length} given; open it by its path`;
      if (ordered.length === 1) throw metadata.errorAt("UNSUPPORTED", "split.count", given);
      throw metadata.errorAt("SHAPE", "split.count", `${split.count}, but the model has ${ordered.length} parts`);
    }
    if (split.no !== i) {
      throw new RealizarError("DUPLICATE", `${file.name}: is part ${split.no} by its split.no, expected part ${i}`);
    }
  }
}
