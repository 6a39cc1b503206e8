/** The GGUF reader against files that PyPI `gguf` wrote, and against what it must do with each kind of source. */
import { readFileSync, truncateSync, utimesSync, writeFileSync } from "node:fs";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { RealizarError } from "../src/errors.ts";
import { type Cursor, readHeader, readHeaderSync } from "../src/format/cursor.ts";
import { type GgufFile, openGguf, openGgufSync } from "../src/format/gguf.ts";
import { blobSource, type ByteSource, bytesSource, type SyncByteSource } from "../src/format/reader.ts";
import { bytesAt, stringAt, type StringTable } from "../src/string_table.ts";
import { encodeGguf, type GgufEntry } from "./gguf_writer.ts";
import { inRoot, tempFolder, test } from "./support.ts";
import { tinyGguf, tinyImage, tinyTokens } from "./tiny_gguf.ts";

const REFERENCE = inRoot("tests", "corpus", "gguf", "reference");

interface Expected {
  data_offset: number;
  values: Record<string, unknown>;
  tensors: { name: string; dtype: number; dims: number[]; offset: number; bytes: number; first: number[] }[];
}

const expected = (): Record<string, Expected> => JSON.parse(readFileSync(`${REFERENCE}/expected.json`, "utf8"));

function all(table: StringTable): string[] {
  return Array.from({ length: table.length }, (_, i) => stringAt(table, i));
}

/** The code and message of what a call throws. */
function failure(call: () => unknown): { code: string; message: string } {
  const error = assertThrows(call, RealizarError);
  return { code: error.code, message: error.message };
}

async function failureOf(promise: Promise<unknown>): Promise<{ code: string; message: string }> {
  const error = await promise.then(() => undefined, (thrown) => thrown);
  assert(error instanceof RealizarError, `expected a RealizarError, got ${error}`);
  return { code: error.code, message: error.message };
}

test("gguf: every value type as PyPI gguf wrote it", () => {
  const { metadata } = openGgufSync(`${REFERENCE}/all_types.gguf`);
  const { values } = expected()["all_types.gguf"]!;
  const seen: Record<string, unknown> = {};
  for (const { key, type, of } of metadata.entries()) {
    if (!key.startsWith("t.")) continue;
    if (type === "array") {
      if (of === "string") seen[key] = all(metadata.strings(key));
      else if (of === "f32") seen[key] = [...metadata.floats(key)];
      else seen[key] = metadata.preview(key, 100);
    } else if (type === "string") seen[key] = metadata.string(key);
    else if (type === "bool") seen[key] = metadata.bool(key);
    else if (type === "f32" || type === "f64") seen[key] = metadata.float(key);
    else seen[key] = metadata.int(key);
  }
  assertEquals(seen, values);
  assertEquals(metadata.preview("t.f32s", 100), values["t.f32s"]);
  assertEquals([...metadata.ints("t.i32s")], values["t.i32s"]);
  assertEquals([...metadata.ints("t.u8s")], values["t.u8s"]);
  assertEquals([...metadata.floats("t.f64s")], [...Float32Array.of(0.1, 2)]);
});

test("gguf: the directory as PyPI gguf wrote it", () => {
  const file = openGgufSync(`${REFERENCE}/all_types.gguf`);
  const { data_offset, tensors } = expected()["all_types.gguf"]!;
  assertEquals(file.files[0]!.dataOffset, data_offset);
  assertEquals([file.version, file.alignment], [3, 64]);
  checkTensors(file, tensors.map((tensor) => ({ ...tensor, file: 0 })));
});

function checkTensors(file: GgufFile, expected: (Expected["tensors"][number] & { file: number })[]): void {
  const found = file.tensors.map(({ name, dtypeId, dims, offset, bytes, file: i }) => {
    const source = file.files[i]!.source as ReturnType<typeof bytesSource>;
    const first = [...source.readSync(offset, 4)];
    return { name, dtype: dtypeId, dims: [...dims], offset, bytes, first, file: i };
  });
  assertEquals(found, expected);
}

test("gguf: a split model is found from any of its parts", () => {
  const name = (part: number) => `split-0000${part}-of-00003.gguf`;
  const parts = [1, 2, 3].map((part) => expected()[name(part)]!);
  const tensors = parts.flatMap((part, file) => part.tensors.map((tensor) => ({ ...tensor, file })));
  for (const part of [1, 2, 3]) {
    const file = openGgufSync(`${REFERENCE}/${name(part)}`);
    assertEquals(file.files.map((one) => one.path), [1, 2, 3].map((n) => `${REFERENCE}/${name(n)}`));
    assertEquals(file.metadata.string("general.name"), "in three parts");
    checkTensors(file, tensors);
  }
});

test("gguf: a split model from bytes, in any order, and with parts that don't belong together", async () => {
  const [a, b, c] = [1, 2, 3].map((part) =>
    new Uint8Array(readFileSync(`${REFERENCE}/split-0000${part}-of-00003.gguf`))
  );
  const file = await openGguf([c!, new Blob([a as BlobPart]), b!]);
  assertEquals(file.tensors.map((tensor) => tensor.name), ["t0", "t1", "t2", "t3", "t4"]);
  assertEquals(file.metadata.string("general.name"), "in three parts");
  assertEquals((await failureOf(openGguf([a!, b!]))).code, "SHAPE");
  assertEquals((await failureOf(openGguf([a!, b!, b!]))).code, "DUPLICATE");
  assertEquals((await failureOf(openGguf([a!, a!, c!]))).code, "DUPLICATE");
  assertEquals((await failureOf(openGguf([a!, tinyGguf()]))).code, "SHAPE");
  assertEquals((await failureOf(openGguf([]))).code, "ARG");
  const alone = await failureOf(openGguf(a!));
  assertEquals(alone.code, "UNSUPPORTED");
  assert(/split\.count.*by its path/.test(alone.message), alone.message);
});

test("gguf: a split model with a missing, renamed or shortened part", () => {
  using folder = tempFolder();
  const part = (n: number) => readFileSync(`${REFERENCE}/split-0000${n}-of-00003.gguf`);
  const path = (n: number) => folder.file(`m-0000${n}-of-00003.gguf`);
  writeFileSync(path(1), part(1));
  writeFileSync(path(3), part(3));
  const missing = failure(() => openGgufSync(path(1)));
  assertEquals(missing.code, "IO");
  assert(missing.message.includes(path(2)), missing.message);
  writeFileSync(path(2), part(3));
  assertEquals(failure(() => openGgufSync(path(1))).code, "DUPLICATE");
  writeFileSync(path(2), part(2).subarray(0, -32));
  assertEquals(failure(() => openGgufSync(path(1))).code, "TRUNCATED");
  writeFileSync(path(2), part(2));
  assertEquals(openGgufSync(path(2)).tensors.length, 5);
  writeFileSync(folder.file("other.gguf"), part(1));
  const renamed = failure(() => openGgufSync(folder.file("other.gguf")));
  assertEquals(renamed.code, "UNSUPPORTED");
  assert(/-00001-of-00003\.gguf/.test(renamed.message), renamed.message);
});

test("gguf: path, bytes and Blob give the same directory", async () => {
  using folder = tempFolder();
  const bytes = tinyGguf({ arch: "qwen3", headDim: 32 });
  writeFileSync(folder.file("m.gguf"), bytes);
  const tensorsOf = (file: GgufFile) => file.tensors;
  const fromBytes = tensorsOf(openGgufSync(bytes));
  assert(fromBytes.length > 20);
  assertEquals(tensorsOf(openGgufSync(folder.file("m.gguf"))), fromBytes);
  assertEquals(tensorsOf(await openGguf(folder.file("m.gguf"))), fromBytes);
  assertEquals(tensorsOf(await openGguf(new Blob([bytes as BlobPart]))), fromBytes);
  assertEquals(tensorsOf(await openGguf([bytes])), fromBytes);
  // A view in the middle of a larger buffer, at an odd address.
  const shifted = new Uint8Array(bytes.length + 99).subarray(33, 33 + bytes.length);
  shifted.set(bytes);
  const file = openGgufSync(shifted);
  assertEquals(file.tensors, fromBytes);
  assertEquals(all(file.metadata.strings("tokenizer.ggml.tokens")), tinyTokens(320));
  assertEquals(file.metadata.ints("tokenizer.ggml.token_type").length, 320);
});

test("gguf: string arrays are views of the file", () => {
  const bytes = tinyGguf();
  const table = openGgufSync(bytes).metadata.strings("tokenizer.ggml.tokens");
  assert(table.bytes.buffer === bytes.buffer);
  assertEquals([...bytesAt(table, 0)], [0xc4, 0x80]);
});

/** A source that is not in memory and notes what is read of it. */
function noting(bytes: Uint8Array): { later: ByteSource; now: SyncByteSource; reads: [number, number][] } {
  const reads: [number, number][] = [];
  const inner = bytesSource(bytes);
  const { name, path, size, mtimeNs } = inner;
  const later: ByteSource = {
    name,
    path,
    size,
    mtimeNs,
    read: (offset, n) => {
      reads.push([offset, n]);
      return inner.read(offset, n);
    },
  };
  const readInto = (offset: number, target: Uint8Array) => {
    reads.push([offset, target.length]);
    inner.readInto(offset, target);
  };
  return { later, now: { ...inner, inMemory: undefined, readInto }, reads };
}

test("gguf: a header is read in growing pieces, each byte once, waiting or not", async () => {
  const MiB = 2 ** 20;
  const bytes = new Uint8Array(40 * MiB);
  const marks = [0, MiB - 3, MiB - 2, MiB, 2 * MiB + 1, 17 * MiB, 39 * MiB];
  marks.forEach((at, i) => bytes[at] = i + 1);
  const parse = (cursor: Cursor) =>
    marks.map((at) => {
      cursor.skip(at - cursor.position, "what lies between");
      return cursor.take(1, "a mark");
    });
  const pieces: [number, number][] = [[0, 1], [1, 1], [2, 2], [4, 13], [17, 17], [34, 6]];
  for (const waiting of [true, false]) {
    const { later, now, reads } = noting(bytes);
    const views = waiting ? await readHeader(later, parse) : readHeaderSync(now, parse);
    assertEquals(views.map((view) => view[0]), [1, 2, 3, 4, 5, 6, 7]);
    assertEquals(reads, pieces.map(([offset, n]) => [offset * MiB, n * MiB]));
  }
});

test("gguf: strings that straddle the pieces in which a header is read", async () => {
  const values = Array.from({ length: 20_000 }, (_, i) => `${i}`.padEnd(i % 397, "x"));
  const metadata: GgufEntry[] = [
    { key: "before", type: "u32", value: 7 },
    { key: "strings", type: "array", of: "string", values },
    { key: "after", type: "string", value: "end" },
  ];
  const bytes = encodeGguf({ metadata, tensors: [] });
  assert(bytes.length > 2 ** 21);
  using folder = tempFolder();
  writeFileSync(folder.file("m.gguf"), bytes);
  for (const file of [openGgufSync(folder.file("m.gguf")), await openGguf(new Blob([bytes as BlobPart]))]) {
    assertEquals(all(file.metadata.strings("strings")), values);
    assertEquals([file.metadata.int("before"), file.metadata.string("after")], [7, "end"]);
  }
});

test("gguf: a file of 5 GiB opens, with tensors beyond 4 GiB; what is not header is not read", () => {
  using folder = tempFolder();
  const path = folder.file("m.gguf");
  const image = tinyImage();
  const last = image.tensors.at(-1)!;
  last.offset = 2 ** 32 + 4096;
  writeFileSync(path, encodeGguf(image));
  truncateSync(path, 5 * 2 ** 30); // a hole: takes no disk
  const { tensors, files } = openGgufSync(path);
  const { offset, bytes, file } = tensors.at(-1)!;
  assertEquals([offset, bytes], [files[0]!.dataOffset + 2 ** 32 + 4096, last.data.length]);
  assertEquals(files[file]!.size, 5 * 2 ** 30);
  const source = files[0]!.source as ReturnType<typeof bytesSource>;
  assertEquals([...source.readSync(5 * 2 ** 30 - 3, 3)], [0, 0, 0]);
  truncateSync(path, 2 ** 32);
  assertEquals(failure(() => openGgufSync(path)).code, "OFFSET");
});

test("gguf: a file that changes after it was opened is noticed", async () => {
  using folder = tempFolder();
  const path = folder.file("m.gguf");
  writeFileSync(path, tinyGguf());
  const { files } = openGgufSync(path);
  const { source, size, mtimeNs } = files[0]!;
  assertEquals(size, tinyGguf().length);
  assertEquals(mtimeNs % 1_000_000n, 0n);
  assertEquals((await source.read(0, 4)).length, 4);
  utimesSync(path, 1_000_000, 1_000_000.5);
  assertEquals((await failureOf(source.read(0, 4))).code, "IO");
  assertEquals(openGgufSync(path).files[0]!.mtimeNs, 1_000_000_500_000_000n);
  writeFileSync(path, tinyGguf().subarray(0, 9000));
  assertEquals((await failureOf(source.read(0, 4))).code, "IO");
});

test("gguf: what is no file", async () => {
  using folder = tempFolder();
  const missing = failure(() => openGgufSync(folder.file("none.gguf")));
  assertEquals(missing.code, "IO");
  assert(missing.message.includes(folder.file("none.gguf")), missing.message);
  assertEquals(failure(() => openGgufSync(folder.path)).code, "IO");
  assertEquals(failure(() => openGgufSync("/dev/null")).code, "IO");
  writeFileSync(folder.file("empty.gguf"), "");
  assertEquals(failure(() => openGgufSync(folder.file("empty.gguf"))).code, "TRUNCATED");
  assertEquals((await failureOf(openGguf(new Blob([])))).code, "TRUNCATED");
  const broken: Blob = Object.assign(new Blob(["GGUF"]), {
    slice: () => ({ arrayBuffer: () => Promise.reject(new Error("gone")) }) as unknown as Blob,
  });
  assertEquals((await failureOf(blobSource(broken).read(0, 4))).code, "IO");
});

test("gguf: errors name file, byte offset, key or tensor, what was found and what was expected", () => {
  using folder = tempFolder();
  const path = folder.file("m.gguf");
  const fail = (image: ReturnType<typeof tinyImage>) => {
    writeFileSync(path, encodeGguf(image));
    return failure(() => openGgufSync(path)).message;
  };
  const image = tinyImage();
  image.metadata.unshift({ key: "general.alignment", type: "u32", value: 24 });
  assertEquals(
    fail(image),
    `${path}: key "general.alignment" at byte 24: 24, expected a power of two from 8 to 1048576`,
  );
  image.metadata[0] = { key: "evil\n\u001b[31m", type: "bool", value: 7 };
  assertEquals(
    fail(image),
    `${path}: at byte 46: the value of "evil\\u{a}\\u{1b}[31m" has 7 as a bool, expected 0 or 1`,
  );
});
