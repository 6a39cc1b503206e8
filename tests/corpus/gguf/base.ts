/** What the cases of the corpus are made with. */
import type { ErrorCode } from "../../../src/errors.ts";
import { encodeGguf, type GgufEntry, type GgufImage, removeEntry, setEntry } from "../../gguf_writer.ts";
import { tinyImage, type TinyOptions } from "../../tiny_gguf.ts";
import type { CorpusCase } from "./make_corpus.ts";

/** The good model that cases vary: one layer, 16 heads' worth of nothing. */
export const SMALL: TinyOptions = {
  nLayers: 1,
  hiddenSize: 32,
  intermediateSize: 32,
  nHeads: 2,
  nKvHeads: 1,
  vocabSize: 282,
  contextLength: 64,
};

/** A fresh image of it. */
export function small(options: TinyOptions = {}): GgufImage {
  return tinyImage({ ...SMALL, ...options });
}

/** A case from a changed image. */
export function changed(
  name: string,
  expect: ErrorCode | "OK",
  change: (image: GgufImage) => void,
  message?: RegExp,
  options?: TinyOptions,
): CorpusCase {
  const image = small(options);
  change(image);
  return { name, expect, bytes: encodeGguf(image), ...(message === undefined ? {} : { message }) };
}

/** A case in which one entry is set or replaced. */
export function withEntry(name: string, expect: ErrorCode | "OK", entry: GgufEntry, message?: RegExp): CorpusCase {
  return changed(name, expect, (image) => setEntry(image, entry), message);
}

/** A case in which one entry is not there. */
export function without(key: string, expect: ErrorCode | "OK"): CorpusCase {
  return changed(`${key} is missing`, expect, (image) => removeEntry(image, key));
}

/** A copy with some bytes replaced. */
export function patched(bytes: Uint8Array, offset: number, values: readonly number[]): Uint8Array {
  const copy = bytes.slice();
  copy.set(values, offset);
  return copy;
}
