/** One flipped bit in the first 4 KiB of a small model: it loads, or fails with a typed error, and soon. */
import { assert, assertEquals } from "@std/assert";
import { prepareModel } from "../src/engine/prepare.ts";
import { RealizarError } from "../src/errors.ts";
import { openGgufSync } from "../src/format/gguf.ts";
import { SMALL, small } from "./corpus/gguf/base.ts";
import { encodeGguf, removeEntry, setEntry } from "./gguf_writer.ts";
import { test } from "./support.ts";
import { tinyGguf } from "./tiny_gguf.ts";

const SWEPT_BYTES = 4096;
/** Far more than any of these files takes. */
const LOAD_MS_MAX = 5000;

interface Sweep {
  loaded: number;
  /** Loads that ended in this code. */
  codes: Map<string, number>;
  surprises: string[];
}

/** A change of the file: bytes that are written over its own. */
interface Change {
  name: string;
  offset: number;
  bytes: Uint8Array;
}

/** Loads the file with each of these changes in turn. */
async function sweep(good: Uint8Array, changes: Iterable<Change>): Promise<Sweep> {
  const result: Sweep = { loaded: 0, codes: new Map(), surprises: [] };
  const bytes = good.slice();
  for (const { name, offset, bytes: written } of changes) {
    const start = performance.now();
    bytes.set(written, offset);
    try {
      await prepareModel({ kind: "bytes", bytes });
      result.loaded++;
    } catch (thrown) {
      if (thrown instanceof RealizarError && thrown.code !== "INTERNAL") {
        result.codes.set(thrown.code, (result.codes.get(thrown.code) ?? 0) + 1);
      } else {
        result.surprises.push(`${name}: ${(thrown as Error)?.stack ?? thrown}`);
      }
    }
    bytes.set(good.subarray(offset, offset + written.length), offset);
    const took = performance.now() - start;
    if (took > LOAD_MS_MAX) result.surprises.push(`${name}: took ${took} ms`);
  }
  assertEquals(bytes, good);
  return result;
}

/** Flips of these bits, numbered from the first byte's lowest on. */
function* flips(good: Uint8Array, bits: Iterable<number>): Generator<Change> {
  for (const bit of bits) {
    const offset = bit >> 3;
    yield { name: `byte ${offset} bit ${bit & 7}`, offset, bytes: Uint8Array.of(good[offset]! ^ (1 << (bit & 7))) };
  }
}

/** A model whose header and directory, with a SentencePiece vocabulary of 16 tokens, fit into 4 KiB. */
function compactModel(): Uint8Array {
  const image = small();
  const n = 16;
  const tokens = ["<unk>", "<s>", "</s>", "▁", ..."etaoinshrdlu"];
  setEntry(image, { key: "tokenizer.ggml.model", type: "string", value: "llama" });
  setEntry(image, { key: "tokenizer.ggml.tokens", type: "array", of: "string", values: tokens });
  const types = tokens.map((_, i) => i === 0 ? 2 : i < 3 ? 3 : 1);
  setEntry(image, { key: "tokenizer.ggml.token_type", type: "array", of: "i32", values: types });
  setEntry(image, { key: "tokenizer.ggml.scores", type: "array", of: "f32", values: tokens.map((_, i) => -i) });
  for (const [i, name] of ["bos", "eos", "padding"].entries()) {
    setEntry(image, { key: `tokenizer.ggml.${name}_token_id`, type: "u32", value: i });
  }
  removeEntry(image, "tokenizer.ggml.merges");
  removeEntry(image, "tokenizer.chat_template");
  for (const tensor of image.tensors) {
    if (tensor.name !== "token_embd.weight" && tensor.name !== "output.weight") continue;
    tensor.dims = [32, n];
    tensor.data = tensor.data.slice(0, n * 32 * 4);
  }
  return encodeGguf(image);
}

test("bit flips: every bit of header, metadata and directory", async () => {
  const good = compactModel();
  const end = openGgufSync(good).files[0]!.dataOffset;
  assert(end < SWEPT_BYTES, `the header has ${end} bytes`);
  // Behind it lie the embeddings, which are not read here: a sample shows that they don't matter.
  const data = Array.from({ length: 64 }, (_, i) => end * 8 + i * Math.floor((SWEPT_BYTES - end) * 8 / 64));
  const { loaded, codes, surprises } = await sweep(good, flips(good, [...Array(end * 8).keys(), ...data]));
  assertEquals(surprises, []);
  const refused = [...codes.values()].reduce((sum, n) => sum + n, 0);
  assertEquals(loaded + refused, end * 8 + 64);
  assert(loaded > 64 && refused > end, `${loaded} loaded, ${refused} refused`);
  for (const code of ["MAGIC", "VERSION", "TRUNCATED", "LIMIT", "TYPE", "SHAPE", "ALIGN", "OFFSET", "KEY_MISSING"]) {
    assert(codes.has(code), `no flip gave ${code}`);
  }
});

test("bit flips: one bit in every byte of the first 4 KiB of a byte-level model", async () => {
  const good = tinyGguf(SMALL);
  const bits = Array.from({ length: SWEPT_BYTES }, (_, byte) => byte * 8 + byte % 8);
  const { loaded, codes, surprises } = await sweep(good, flips(good, bits));
  assertEquals(surprises, []);
  assert(loaded > 0 && codes.size > 3, `${loaded} loaded, ${codes.size} codes`);
});

test("bit flips: counts, lengths and offsets at the edges of their types, at every byte of the header", async () => {
  const good = compactModel();
  const end = openGgufSync(good).files[0]!.dataOffset;
  const edges = [0n, 2n ** 26n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n, 2n ** 63n - 1n, 2n ** 64n - 1n];
  function* changes(): Generator<Change> {
    for (let offset = 0; offset < end; offset++) {
      // Two of the edges at each place, all of them within every four bytes.
      for (const value of [edges[2 * offset % 7]!, edges[(2 * offset + 1) % 7]!]) {
        const bytes = new Uint8Array(BigUint64Array.of(value).buffer);
        yield { name: `${value} at byte ${offset}`, offset, bytes };
      }
    }
  }
  const { loaded, codes, surprises } = await sweep(good, changes());
  assertEquals(surprises, []);
  assert(loaded > 0 && codes.size > 5, `${loaded} loaded, ${codes.size} codes`);
});
