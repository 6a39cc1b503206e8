/** Files that are wrong in their first 24 bytes, or end too early. */
import { encodeGguf } from "../../gguf_writer.ts";
import { changed, patched, small } from "./base.ts";
import type { CorpusCase } from "./make_corpus.ts";

/** Wrong starts, wrong counts, and a good file cut off everywhere. */
export function headerCases(): CorpusCase[] {
  const good = encodeGguf(small());
  const text = (start: string) => patched(good, 0, [...start].map((char) => char.charCodeAt(0)));
  const cases: CorpusCase[] = [
    { name: "empty file", expect: "TRUNCATED", bytes: new Uint8Array(0) },
    { name: "three bytes of magic", expect: "TRUNCATED", bytes: good.slice(0, 3) },
    { name: "magic only", expect: "TRUNCATED", bytes: good.slice(0, 4) },
    { name: "zeros", expect: "MAGIC", bytes: new Uint8Array(4096) },
    { name: "one zero", expect: "MAGIC", bytes: new Uint8Array(1) },
    { name: "magic in lower case", expect: "MAGIC", bytes: text("gguf") },
    { name: "magic backwards", expect: "MAGIC", message: /byte-swapped/, bytes: text("FUGG") },
    { name: "GGJT file", expect: "MAGIC", message: /older than GGUF/, bytes: text("tjgg") },
    { name: "ZIP archive", expect: "MAGIC", message: /ZIP/, bytes: text("PK\u0003\u0004") },
    { name: "HTML page", expect: "MAGIC", message: /HTML/, bytes: text("<!DOCTYPE html>") },
    { name: "Git LFS pointer", expect: "MAGIC", message: /LFS/, bytes: text("version https://git-lfs.") },
    { name: "safetensors file", expect: "MAGIC", bytes: patched(good, 0, [0x40, 0, 0, 0, 0, 0, 0, 0, 0x7b]) },
    {
      name: "big-endian version 3",
      expect: "UNSUPPORTED",
      message: /big-endian/,
      bytes: patched(good, 4, [0, 0, 0, 3]),
    },
    {
      name: "big-endian version 2",
      expect: "UNSUPPORTED",
      message: /big-endian/,
      bytes: patched(good, 4, [0, 0, 0, 2]),
    },
  ];
  for (const version of [0, 1, 4, 99, 2 ** 31 + 3, 2 ** 32 - 1]) {
    cases.push(changed(`version ${version}`, "VERSION", (image) => image.version = version));
  }
  for (const n of [2 ** 20 + 1, 2 ** 32, 2 ** 53 + 2, 2n ** 63n, 2n ** 64n - 1n]) {
    cases.push(changed(`${n} tensors`, "LIMIT", (image) => image.nTensors = n));
  }
  for (const n of [65537, 2 ** 32, 2n ** 63n, 2n ** 64n - 1n]) {
    cases.push(changed(`${n} metadata entries`, "LIMIT", (image) => image.nKv = n));
  }
  cases.push(
    changed("2^20 tensors in a small file", "TRUNCATED", (image) => image.nTensors = 2 ** 20),
    changed("65536 metadata entries in a small file", "TRUNCATED", (image) => image.nKv = 65536),
  );
  return [...cases, ...cutCases(good)];
}

/** Offsets inside each kind of field of the good file, from its first bytes to its last tensor. */
function cutCases(good: Uint8Array): CorpusCase[] {
  const find = (text: string) => new TextDecoder("latin1").decode(good).indexOf(text);
  const lastEntry = new TextDecoder("latin1").decode(good).lastIndexOf("output.weight");
  const places: Record<string, number> = {
    "the version": 6,
    "the number of tensors": 12,
    "the number of metadata entries": 20,
    "the length of the first key": 28,
    "the first key": 40,
    "the type of the first value": find("general.architecture") + 22,
    "the length of the first value": find("general.architecture") + 28,
    "the first value": find("general.architecture") + 33,
    "a u32": find("llama.block_count") + 17 + 6,
    "the type of an array": find("tokenizer.ggml.tokens") + 21 + 6,
    "the length of an array": find("tokenizer.ggml.tokens") + 21 + 12,
    "the strings of an array": find("tokenizer.ggml.tokens") + 300,
    "the integers of an array": find("tokenizer.ggml.token_type") + 100,
    "the chat template": find("tokenizer.chat_template") + 60,
    "the name of a tensor": find("token_embd.weight") + 5,
    "the number of dimensions": find("token_embd.weight") + 17 + 2,
    "a dimension": find("token_embd.weight") + 17 + 9,
    "the type of a tensor": find("token_embd.weight") + 17 + 22,
    "the offset of a tensor": find("token_embd.weight") + 17 + 28,
    "the last directory entry": lastEntry + 20,
    "the padding before the first tensor": lastEntry + 13 + 32 + 3,
    "the last tensor": good.length - 100,
    "the last byte": good.length - 1,
  };
  return Object.entries(places).map(([place, end]) => ({
    name: `cut off in ${place}`,
    expect: "TRUNCATED",
    bytes: good.slice(0, end),
  }));
}
