/** What a file format hands on: the tensors of a model, and the files they lie in. */
import { type DType, DTYPES } from "../dtype.ts";
import type { ErrorCode } from "../errors.ts";
import { type Problem, quoted } from "./problems.ts";
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
 * What is wrong with the ranges of tensors, in the order of the directory: `ALIGN` (not at a multiple of the file's
 * alignment), `OFFSET` (begins outside the file, or overlaps another), `TRUNCATED` (ends outside the file), `SHAPE`
 * (rows that are not whole blocks). Of a tensor of unknown type only the beginning can be judged.
 */
export function rangeProblems(tensors: readonly TensorInfo[], files: readonly FileInfo[]): Problem[] {
  const problems: Problem[] = [];
  for (const tensor of tensors) {
    const { dtype, dims, offset, bytes } = tensor;
    const file = files[tensor.file]!;
    const add = (code: ErrorCode, problem: string) => problems.push({ code, message: problemOf(tensor, problem) });
    if (dtype !== undefined && dims[0]! % dtype.blockSize !== 0) {
      add("SHAPE", `rows of ${dims[0]} are not whole ${dtype.name} blocks of ${dtype.blockSize}`);
    }
    if (offset % file.alignment !== 0) {
      add("ALIGN", `begins at byte ${offset}, expected a multiple of ${file.alignment}`);
    }
    const end = offset + (bytes ?? 1);
    if (offset < file.dataOffset || offset > Math.max(file.dataOffset, file.size)) {
      add("OFFSET", `begins at byte ${offset}, outside ${file.dataOffset} to ${file.size}`);
    } else if (end > file.size) {
      add("TRUNCATED", `ends at byte ${end}, the file has ${file.size}; is its download complete?`);
    }
  }
  return [...problems, ...overlapProblems(tensors, files)];
}

function overlapProblems(tensors: readonly TensorInfo[], files: readonly FileInfo[]): Problem[] {
  const problems: Problem[] = [];
  const ordered = [...tensors].sort((a, b) => a.file - b.file || a.offset - b.offset);
  let last: TensorInfo | undefined;
  for (const tensor of ordered) {
    if (last !== undefined && last.file === tensor.file) {
      const gap = tensor.offset - last.offset;
      if (gap < (last.bytes ?? 1)) {
        const fitting = dtypesThatFit(last.dims, gap, files[last.file]!.alignment - 1).join(" or ");
        const hint = fitting === "" ? "" : `; the ${gap} bytes between would fit ${fitting}`;
        const problem = `begins at byte ${tensor.offset}, inside ${quoted(last.name)}, ` +
          `which has ${last.bytes} bytes from ${last.offset}${hint}`;
        problems.push({ code: "OFFSET", message: problemOf(tensor, problem) });
      }
    }
    const isFarther = last === undefined || last.file !== tensor.file ||
      tensor.offset + (tensor.bytes ?? 1) > last.offset + (last.bytes ?? 1);
    if (isFarther) last = tensor;
  }
  return problems;
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
