/** Models split over several GGUF files: `name-00001-of-00003.gguf` and so on. */
import { RealizarError } from "../errors.ts";
import type { Metadata } from "./metadata.ts";

/** A file's place in a split. */
export interface Split {
  /** 0 for the first; 0 in a whole file. */
  readonly no: number;
  /** Number of parts; 1 in a whole file. */
  readonly count: number;
  /** Tensors in all parts together; undefined where the file does not say. */
  readonly nTensors: number | undefined;
}

const PARTS_MAX = 4096;

/** Reads the `split.*` keys. Throws `LIMIT` for a number of parts or a part outside 1 to 4096. */
export function splitOf(metadata: Metadata): Split {
  const count = metadata.int("split.count", 1);
  // Writers that split by nothing leave a count of 0 or 1.
  if (count === 0 || count === 1) return { no: 0, count: 1, nTensors: undefined };
  if (count < 0 || count > PARTS_MAX) {
    throw metadata.errorAt("LIMIT", "split.count", `${count}, expected 1 to ${PARTS_MAX}`);
  }
  const no = metadata.int("split.no");
  if (no < 0 || no >= count) throw metadata.errorAt("LIMIT", "split.no", `${no}, expected 0 to ${count - 1}`);
  return { no, count, nTensors: metadata.int("split.tensors.count", undefined) };
}

/**
 * Paths of all parts, in order, given the path of any. Throws `UNSUPPORTED` when its name does not follow the pattern
 * that leads to the others.
 */
export function siblingPaths(path: string, split: Split, name: string): string[] {
  if (split.count === 1) return [path];
  const number = (n: number): string => String(n).padStart(5, "0");
  const suffix = (no: number): string => `-${number(no + 1)}-of-${number(split.count)}.gguf`;
  const own = suffix(split.no);
  if (!path.endsWith(own)) {
    const problem = `part ${split.no + 1} of ${split.count} of a split model, but its name does not end in ${own}`;
    throw new RealizarError("UNSUPPORTED", `${name}: ${problem}, so the other parts can't be found`);
  }
  const base = path.slice(0, -own.length);
  return Array.from({ length: split.count }, (_, no) => base + suffix(no));
}
