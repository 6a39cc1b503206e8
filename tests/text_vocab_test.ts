/** Vocabularies: what is refused, what odd ones mean, and that threads can share one. */
import { Worker } from "node:worker_threads";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { RealizarError } from "../src/errors.ts";
import { bytesAt, stringAt, stringTableOf } from "../src/string_table.ts";
import { TOKEN_TYPE, Vocab, type VocabSource } from "../src/text/vocab.ts";
import { test } from "./support.ts";
import { smallSource, smallSpmSource } from "./text_support.ts";

function problemsOf(source: VocabSource): readonly string[] {
  const error = assertThrows(() => Vocab.build(source), RealizarError);
  assertEquals(error.code, "VOCAB");
  return error.problems;
}

test("vocab: every problem is listed", () => {
  const problems = problemsOf(smallSource({
    tokenTypes: new Int32Array(3),
    merges: stringTableOf(["h e", "nospace", " x", "x ", ""]),
    bosId: 100_000,
    eosId: -2,
    eogIds: [999_999],
  }));
  assertEquals(problems.length, 8);
  for (const [i, part] of ["token_type has 3", "merges[1]", "merges[2]", "merges[3]", "merges[4]", "bosId"].entries()) {
    assert(problems[i]!.includes(part), problems[i]!);
  }
});

test("vocab: more than 50 problems are counted", () => {
  const problems = problemsOf(smallSource({ merges: stringTableOf(Array.from({ length: 80 }, () => "x")) }));
  assertEquals(problems.length, 51);
  assertEquals(problems[50], "... and 30 more");
});

test("vocab: what a model needs must be there", () => {
  assert(problemsOf(smallSource({ merges: undefined }))[0]!.includes("merges is missing"));
  assert(problemsOf(smallSpmSource(["a"], { scores: undefined }))[0]!.includes("scores is missing"));
  assert(problemsOf(smallSpmSource(["a"], { scores: new Float32Array(1) }))[0]!.includes("scores has 1"));
  const nan = Float32Array.from({ length: 260 }, (_, i) => i === 7 ? NaN : 0);
  assert(problemsOf(smallSpmSource(["a"], { scores: nan }))[0]!.includes("scores[7]"));
  const empty = {
    tokens: stringTableOf([]),
    tokenTypes: undefined,
    bosId: undefined,
    eosId: undefined,
    unkId: undefined,
  };
  assert(problemsOf(smallSource(empty))[0]!.includes("tokens is empty"));
  const error = assertThrows(() => Vocab.build(smallSource({ pre: "what" })), RealizarError, "what");
  assertEquals(error.code, "UNSUPPORTED");
});

test("vocab: odd ones load: duplicates, bytes that are not UTF-8, empty tokens, unknown types, 'none' ids", () => {
  const raw = Uint8Array.from([0xff, 0xfe]);
  const tokens = stringTableOf(["a", "a", raw, "", "b"]);
  const tokenTypes = Int32Array.from([1, 1, 1, 1, 99]);
  const none = { bosId: 0xffffffff, eosId: -1, unkId: undefined, merges: stringTableOf(["a b"]) };
  const vocab = Vocab.build(smallSource({ tokens, tokenTypes, ...none }));
  assertEquals(vocab.tables.bosId, undefined);
  assertEquals(vocab.tables.byteIds["a".charCodeAt(0)], 0);
  assertEquals([...vocab.bytesOf(2)], [0xff, 0xfe]);
  assertEquals(vocab.textOf(2), "\ufffd\ufffd");
  assertEquals(vocab.textOf(3), "");
  assertEquals(vocab.typeOf(4), TOKEN_TYPE.undefined);
  assertEquals([...vocab.bytesOf(99)], []);
});

test("vocab: end-of-generation tokens are those named, and those with a known text", () => {
  const tokens = ["a", "<|im_end|>", "<|endoftext|>", "</s>", "<|file_sep|>", "<|fim_pad|>"];
  const tokenTypes = Int32Array.from([1, 1, TOKEN_TYPE.userDefined, 1, 1, TOKEN_TYPE.control]);
  const ids = { bosId: undefined, eosId: undefined, unkId: undefined, merges: stringTableOf([]) };
  const vocab = Vocab.build(smallSource({ tokens: stringTableOf(tokens), tokenTypes, ...ids, eogIds: [0] }));
  assertEquals([...vocab.tables.eogIds], [0, 1, 2, 5]);
  assert(vocab.isSpecial(1) && vocab.isSpecial(2), "ends of turns are control tokens");
  assert(!vocab.isEog(3) && !vocab.isEog(4));
  const harmony = stringTableOf(["<|end|>", "<|return|>", "<|call|>"]);
  assertEquals([...Vocab.build(smallSource({ tokens: harmony, tokenTypes: undefined, ...ids })).tables.eogIds], [1, 2]);
});

test("vocab: defaults of BOS by model and pre-tokenizer", () => {
  const addBos = (change: Partial<VocabSource>): boolean =>
    Vocab.build(smallSource({ addBos: undefined, ...change })).tables.addBos;
  assertEquals(addBos({}), false);
  assertEquals(addBos({ pre: "llama-bpe" }), true);
  assertEquals(Vocab.build(smallSpmSource(["a"], { addBos: undefined })).tables.addBos, true);
});

test("vocab: another thread sees the same memory", async () => {
  const { tables } = Vocab.build(smallSource());
  const code = `import { parentPort, workerData } from "node:worker_threads";
    workerData.tables.pieceBytes[0] = 77;
    parentPort.postMessage(workerData.tables.size);`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`), { workerData: { tables } });
  const size = await new Promise((resolve, reject) => worker.on("message", resolve).on("error", reject));
  await worker.terminate();
  assertEquals(size, tables.size);
  assertEquals(tables.pieceBytes[0], 77);
});

test("string table: strings are read in place", () => {
  const table = stringTableOf(["", "é", Uint8Array.from([0x80])]);
  assertEquals([stringAt(table, 0), stringAt(table, 1), stringAt(table, 2)], ["", "é", "\ufffd"]);
  assertEquals([...bytesAt(table, 1)], [0xc3, 0xa9]);
});
