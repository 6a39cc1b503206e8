/** What a file format hands on: the tensors of a model, and the files they lie in. */
import { type DType, DTYPES } from "../dtype.ts";
import type { ErrorCode } from "../errors.ts";
import { type Problems, quoted } from "./problems.ts";
import type { ByteSource } from "./reader.ts";

/** One file of a model. */
export interface FileInfo {
  /** For messages: the path, or what stands for it. */
  readonly name: string;
  /** The path when there is one: native code reopens it and compares size and time. */
  readonly path: string | null;
  /** Bytes. */
  readonly size: number;
  /** Time of the last change in ns since 1970, cut to whole milliseconds; 0n when unknown. */
  readonly mtimeNs: bigint;
  /** Where the section of tensor bytes begins. */
  readonly dataOffset: number;
  /** Every tensor begins at a multiple of this. */
  readonly alignment: number;
  /** Reads the file's bytes. */
  readonly source: ByteSource;
}

/** One entry of a tensor directory. Nothing about it is proved yet but its syntax. */
export interface TensorInfo {
  readonly name: string;
  /** `ggml_type` number, also when it is not a supported one. */
  readonly dtypeId: number;
  /** undefined when the type is not supported: then the size is unknown too. */
  readonly dtype: DType | undefined;
  /** 1 to 4 dimensions in ggml's order: `dims[0]` is the length of a row, `dims[1]` the number of rows. */
  readonly dims: readonly number[];
  /** Index into the model's files. */
  readonly file: number;
  /** From the start of the file. */
  readonly offset: number;
  /** Bytes; undefined when the type is not supported or does not divide `dims[0]`. */
  readonly bytes: number | undefined;
  /** Where the entry itself lies in the file. */
  readonly directoryOffset: number;
}

/** Product of the dimensions; above 2^53 it is only a number too large for anything. */
export function elementsOf(dims: readonly number[]): number {
  return dims.reduce((product, dim) => product * dim, 1);
}

/** Bytes of so many weights of a type in rows of `dims[0]`; undefined when a row is not a whole number of blocks. */
export function tensorBytes(dtype: DType, dims: readonly number[]): number | undefined {
  if (dims[0]! % dtype.blockSize !== 0) return undefined;
  return elementsOf(dims) / dtype.blockSize * dtype.blockBytes;
}

/**
 * Notes what is wrong with the ranges of tensors, in the order of the directory: `SHAPE` (rows that are not whole
 * blocks), `ALIGN` (not at a multiple of the file's alignment), `OFFSET` (begins outside the file, or overlaps
 * another), `TRUNCATED` (ends outside the file). Of a tensor of unknown type only the beginning can be judged.
 */
export function findRangeProblems(
  tensors: readonly TensorInfo[],
  files: readonly FileInfo[],
  problems: Problems,
): void {
  for (const tensor of tensors) {
    const { dtype, dims, offset, bytes } = tensor;
    const { alignment, dataOffset, size } = files[tensor.file]!;
    const add = (code: ErrorCode, tell: () => string) => problems.add(code, () => problemOf(tensor, tell()));
    if (dtype !== undefined && dims[0]! % dtype.blockSize !== 0) {
      add("SHAPE", () => `rows of ${dims[0]} are not whole ${dtype.name} blocks of ${dtype.blockSize}`);
    }
    if (offset % alignment !== 0) add("ALIGN", () => `begins at byte ${offset}, expected a multiple of ${alignment}`);
    const end = offset + (bytes ?? 1);
    if (offset < dataOffset || offset > Math.max(dataOffset, size)) {
      add("OFFSET", () => `begins at byte ${offset}, outside ${dataOffset} to ${size}`);
    } else if (end > size) {
      add("TRUNCATED", () => `ends at byte ${end}, the file has ${size}; is its download complete?`);
    }
  }
  findOverlaps(tensors, files, problems);
}

function findOverlaps(tensors: readonly TensorInfo[], files: readonly FileInfo[], problems: Problems): void {
  const endOf = ({ offset, bytes }: TensorInfo): number => offset + (bytes ?? 1);
  let last: TensorInfo | undefined;
  for (const tensor of [...tensors].sort((a, b) => a.file - b.file || a.offset - b.offset)) {
    if (last === undefined || last.file !== tensor.file) {
      last = tensor;
      continue;
    }
    if (tensor.offset < endOf(last)) {
      const earlier = last;
      problems.add("OFFSET", () => problemOf(tensor, overlapOf(tensor, earlier, files[earlier.file]!.alignment)));
    }
    if (endOf(tensor) > endOf(last)) last = tensor;
  }
}

function overlapOf(tensor: TensorInfo, earlier: TensorInfo, alignment: number): string {
  const gap = tensor.offset - earlier.offset;
  const fitting = dtypesThatFit(earlier.dims, gap, alignment - 1).join(" or ");
  const hint = fitting === "" ? "" : `; the ${gap} bytes between would fit ${fitting}`;
  const place = `which has ${earlier.bytes} bytes from ${earlier.offset}`;
  return `begins at byte ${tensor.offset}, inside ${quoted(earlier.name)}, ${place}${hint}`;
}

/** A problem with a tensor, in the form of all messages about tensors. */
export function problemOf(tensor: TensorInfo, problem: string): string {
  return `tensor ${quoted(tensor.name)} (directory entry at byte ${tensor.directoryOffset}): ${problem}`;
}

/**
 * For a diagnosis only: the types under which a tensor of these dimensions would take `bytes`, or up to `padding` less.
 * Types are never chosen so: Q4_0 and Q4_K take the same, and so do Q5_0 and Q5_K.
 */
export function dtypesThatFit(dims: readonly number[], bytes: number, padding = 0): string[] {
  const fits = (dtype: DType): boolean => {
    const spare = bytes - (tensorBytes(dtype, dims) ?? Infinity);
    return spare >= 0 && spare <= padding;
  };
  return DTYPES.filter(fits).map((dtype) => dtype.name);
}
