/** Files whose metadata is not well-formed, or has values of the wrong type. */
import { ByteWriter, type GgufEntry } from "../../gguf_writer.ts";
import { changed, withEntry } from "./base.ts";
import type { CorpusCase } from "./make_corpus.ts";

/** An entry whose bytes after the key are written by hand. */
function raw(key: string, write: (out: ByteWriter) => void): GgufEntry {
  const out = new ByteWriter();
  write(out);
  return { key, type: "raw", raw: out.finish() };
}

const STRING = 8;
const ARRAY = 9;
const U8 = 0;
const BOOL = 7;
const U64 = 10;

/** Broken keys, values and arrays. */
export function metadataCases(): CorpusCase[] {
  const cases: CorpusCase[] = [
    withEntry("an empty key", "LIMIT", { key: "", type: "u32", value: 1 }, /0 bytes/),
    withEntry("a key of 65,536 bytes", "LIMIT", { key: "k".repeat(65536), type: "u32", value: 1 }, /65536 bytes/),
    withEntry("a key that is not UTF-8", "TYPE", { key: Uint8Array.of(0x67, 0xff, 0x80), type: "u32", value: 1 }),
    changed(
      "a key twice",
      "DUPLICATE",
      (image) => image.metadata.push({ key: "llama.block_count", type: "u32", value: 1 }),
      /llama\.block_count/,
    ),
    changed("a foreign key twice", "DUPLICATE", (image) => {
      image.metadata.push({ key: "x", type: "u8", value: 1 }, { key: "x", type: "string", value: "1" });
    }),
  ];
  for (const type of [13, 14, 255, 2 ** 31, 2 ** 32 - 1]) {
    cases.push(withEntry(`value type ${type}`, "TYPE", raw("x", (out) => out.u32(type).u64(0)), /value type/));
    cases.push(
      withEntry(`array of type ${type}`, "TYPE", raw("x", (out) => out.u32(ARRAY).u32(type).u64(0)), /value type/),
    );
  }
  for (const n of [2 ** 26 + 1, 2 ** 32, 2n ** 63n, 2n ** 64n - 1n]) {
    cases.push(withEntry(`a string of ${n} bytes`, "LIMIT", raw("x", (out) => out.u32(STRING).u64(n)), /bytes/));
    const nested = raw("x", (out) => out.u32(ARRAY).u32(STRING).u64(2).string("a").u64(n));
    cases.push(withEntry(`a string of ${n} bytes in an array`, "LIMIT", nested, /bytes/));
  }
  cases.push(
    withEntry("a string longer than the file", "TRUNCATED", raw("x", (out) => out.u32(STRING).u64(2 ** 26))),
    withEntry(
      "a string in an array longer than the file",
      "TRUNCATED",
      raw("x", (out) => {
        out.u32(ARRAY).u32(STRING).u64(2).string("a").u64(2 ** 25);
      }),
    ),
  );
  for (
    const [name, type] of [["u8", U8], ["bool", BOOL], ["string", STRING], ["array", ARRAY], ["u64", U64]] as const
  ) {
    for (const n of [2 ** 24, 2 ** 32, 2n ** 61n, 2n ** 64n - 1n]) {
      const entry = raw("x", (out) => out.u32(ARRAY).u32(type).u64(n));
      cases.push(withEntry(`an array of ${n} ${name}`, "TRUNCATED", entry, /announces/));
    }
  }
  const nest = (depth: number) =>
    raw("x", (out) => {
      out.u32(ARRAY);
      for (let i = 1; i < depth; i++) out.u32(ARRAY).u64(1);
      out.u32(U8).u64(0);
    });
  cases.push(
    withEntry("arrays nested 5 deep", "LIMIT", nest(5), /nests/),
    withEntry("arrays nested 2,000 deep", "LIMIT", nest(2000), /nests/),
    withEntry(
      "a nested array of 2^40",
      "TRUNCATED",
      raw("x", (out) => out.u32(ARRAY).u32(ARRAY).u64(1).u32(U8).u64(2 ** 40)),
    ),
    withEntry("a bool of 2", "TYPE", raw("x", (out) => out.u32(BOOL).bytes(Uint8Array.of(2))), /bool/),
    withEntry(
      "a bool of 255 in an array",
      "TYPE",
      raw("x", (out) => out.u32(ARRAY).u32(BOOL).u64(3).bytes(Uint8Array.of(0, 1, 255))),
    ),
  );
  return [...cases, ...typeCases()];
}

/** Well-formed entries of another type than what they are read as. */
function typeCases(): CorpusCase[] {
  const wrong: GgufEntry[] = [
    { key: "general.architecture", type: "u32", value: 7 },
    { key: "general.architecture", type: "array", of: "string", values: ["llama"] },
    { key: "general.name", type: "f32", value: 1 },
    { key: "general.alignment", type: "string", value: "32" },
    { key: "general.alignment", type: "f32", value: 32 },
    { key: "llama.block_count", type: "f32", value: 1 },
    { key: "llama.block_count", type: "string", value: "1" },
    { key: "llama.context_length", type: "bool", value: true },
    { key: "llama.attention.layer_norm_rms_epsilon", type: "u32", value: 1 },
    { key: "llama.attention.head_count", type: "array", of: "f32", values: [2] },
    { key: "llama.rope.freq_base", type: "string", value: "10000" },
    { key: "llama.rope.scaling.type", type: "u32", value: 1 },
    { key: "tokenizer.ggml.model", type: "u32", value: 1 },
    { key: "tokenizer.ggml.tokens", type: "string", value: "a b c" },
    { key: "tokenizer.ggml.tokens", type: "array", of: "i32", values: new Array<number>(282).fill(1) },
    { key: "tokenizer.ggml.token_type", type: "array", of: "string", values: new Array<string>(282).fill("1") },
    { key: "tokenizer.ggml.token_type", type: "u32", value: 1 },
    { key: "tokenizer.ggml.scores", type: "array", of: "i32", values: new Array<number>(282).fill(1) },
    { key: "tokenizer.ggml.merges", type: "array", of: "u32", values: [1, 2] },
    { key: "tokenizer.ggml.bos_token_id", type: "string", value: "1" },
    { key: "tokenizer.ggml.add_bos_token", type: "u32", value: 1 },
    { key: "tokenizer.chat_template", type: "array", of: "string", values: ["{{ x }}"] },
    { key: "general.sampling.temp", type: "string", value: "1" },
  ];
  return wrong.map((entry) => {
    const type = entry.type === "array" ? `an array of ${entry.of}` : entry.type;
    return withEntry(`${entry.key} as ${type}`, "TYPE", entry, new RegExp(`${entry.key}`));
  });
}
