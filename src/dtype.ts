/** Every weight type, one row each: the numbers of the GGUF file format, and the geometry of a block. */

/** Geometry of a weight type. */
export interface DType {
  /** Name as the field writes it, e.g. `Q4_K`. */
  readonly name: string;
  /** `ggml_type` number in GGUF files, in plans and in the C ABI (`rz_dtype`). */
  readonly id: number;
  /** Weights in a block; a row is a whole number of blocks. */
  readonly blockSize: number;
  /** Bytes of a block. */
  readonly blockBytes: number;
}

/** The weight types every executor must know. csrc/dtype.c holds the same rows; tests compare them. */
export const DTYPES = [
  { name: "F32", id: 0, blockSize: 1, blockBytes: 4 },
  { name: "F16", id: 1, blockSize: 1, blockBytes: 2 },
  { name: "Q4_0", id: 2, blockSize: 32, blockBytes: 18 },
  { name: "Q4_1", id: 3, blockSize: 32, blockBytes: 20 },
  { name: "Q5_0", id: 6, blockSize: 32, blockBytes: 22 },
  { name: "Q5_1", id: 7, blockSize: 32, blockBytes: 24 },
  { name: "Q8_0", id: 8, blockSize: 32, blockBytes: 34 },
  { name: "Q2_K", id: 10, blockSize: 256, blockBytes: 84 },
  { name: "Q3_K", id: 11, blockSize: 256, blockBytes: 110 },
  { name: "Q4_K", id: 12, blockSize: 256, blockBytes: 144 },
  { name: "Q5_K", id: 13, blockSize: 256, blockBytes: 176 },
  { name: "Q6_K", id: 14, blockSize: 256, blockBytes: 210 },
  { name: "IQ4_NL", id: 20, blockSize: 32, blockBytes: 18 },
  { name: "IQ4_XS", id: 23, blockSize: 256, blockBytes: 136 },
  { name: "BF16", id: 30, blockSize: 1, blockBytes: 2 },
] as const satisfies readonly DType[];

/** Name of a supported weight type. */
export type DTypeName = (typeof DTYPES)[number]["name"];

const byId = new Map<number, DType>(DTYPES.map((row) => [row.id, Object.freeze(row)]));
const byName = new Map<string, DType>(DTYPES.map((row) => [row.name, row]));

/** The type with this `ggml_type` number, or undefined when it is not supported. */
export function dtypeOfId(id: number): DType | undefined {
  return byId.get(id);
}

/** The type with this name. */
export function dtypeOfName(name: DTypeName): DType {
  return byName.get(name)!;
}
