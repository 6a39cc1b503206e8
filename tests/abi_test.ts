import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { BatchWriter, NO_SAMPLING, ResultReader } from "../src/engine/batch.ts";
import { ERROR_CODES, RealizarError } from "../src/errors.ts";
import { DTYPES } from "../src/dtype.ts";
import { ABI_VERSION, BACKENDS, ISAS, PLAN_FLAGS, STRUCTS, SYMBOLS, TEST_SYMBOLS } from "../src/platform/abi.ts";
import { openLibrary } from "../src/platform/library.ts";
import { PLAN_RECORDS } from "../src/plan/layout.ts";
import { inRoot, leakCheck, LIBRARY_PATH, test, TEST_LIBRARY_PATH } from "./support.ts";

const header = readFileSync(inRoot("csrc/realizar.h"), "utf8").replace(/\/\*[\s\S]*?\*\//g, "");

/** The type of a C parameter or result in the words of the table. */
function abiType(c: string): string {
  const type = c.trim().replace(/\s+/g, " ");
  if (type.includes("*")) return type.startsWith("const ") ? "in" : "out";
  const known: Record<string, string> = { int32_t: "i32", uint32_t: "u32", float: "f32", double: "f64" };
  return known[type] ?? `unknown ${type}`;
}

function prototypes(text: string): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const [, returns, name, params] of text.matchAll(/RZ_API ([\w ]+?) (rz_\w+)\(([^)]*)\);/g)) {
    const args = params!.trim() === "void" ? [] : params!.split(",").map((p) => abiType(p.replace(/\w+\s*$/, "")));
    found[name!] = { args, returns: abiType(returns!) };
  }
  return found;
}

/** Names a library exports, by nm. */
function exportsOf(path: string): string[] {
  const out = execFileSync("nm", ["-D", "--defined-only", path], { encoding: "utf8" });
  return out.split("\n").map((line) => line.split(" ")[2] ?? "").filter((name) => name !== "").sort();
}

/** `struct name size`, `field struct.name offset`, `enum NAME value`, as the C compiler has them. */
function compiled(): Map<string, number> {
  const out = execFileSync(inRoot("zig-out/bin/abi_layout"), { encoding: "utf8" });
  return new Map(
    out.trim().split("\n").map((line) => {
      const [kind, name, value] = line.split(" ");
      return [`${kind} ${name}`, Number(value)] as const;
    }),
  );
}

const [plain, testOnly] = header.split("#ifdef RZ_TEST") as [string, string];

test("abi: the symbol tables equal the prototypes of realizar.h, both ways", () => {
  assertEquals(prototypes(plain), SYMBOLS);
  assertEquals(prototypes(testOnly), TEST_SYMBOLS);
});

test("abi: the library exports exactly the table; rz_test_* only the test library", () => {
  assertEquals(exportsOf(LIBRARY_PATH), Object.keys(SYMBOLS).sort());
  assertEquals(exportsOf(TEST_LIBRARY_PATH), Object.keys({ ...SYMBOLS, ...TEST_SYMBOLS }).sort());
});

test("abi: the library imports nothing that could end or disturb the process", () => {
  const out = execFileSync("nm", ["-D", "--undefined-only", LIBRARY_PATH], { encoding: "utf8" });
  const names = out.split("\n").map((line) => line.trim().split(/\s+/).at(-1)!.split("@")[0]!);
  const banned = ["abort", "exit", "_exit", "raise", "kill", "__assert_fail", "signal", "sigaction", "puts", "printf"];
  assertEquals(names.filter((name) => banned.includes(name)), []);
  assert(names.includes("pthread_create"), "the list is not empty: it is the right one");
});

test("abi: struct sizes and field offsets equal what the C compiler says", () => {
  const c = compiled();
  const ours: [string, { size: number; fields: Record<string, readonly [string, number, ...unknown[]]> }][] = [
    ...Object.entries(STRUCTS),
    ...Object.entries(PLAN_RECORDS),
  ];
  for (const [name, { size, fields }] of ours) {
    assertEquals(c.get(`struct ${name}`), size, `sizeof ${name}`);
    for (const [field, [, offset]] of Object.entries(fields)) {
      assertEquals(c.get(`field ${name}.${field}`), offset, `${name}.${field}`);
    }
  }
});

test("abi: statuses, backends, ISAs, flags and dtypes have the same numbers", () => {
  const c = compiled();
  assertEquals(c.get("enum RZ_ABI_VERSION"), ABI_VERSION);
  ERROR_CODES.forEach((code, i) => assertEquals(c.get(`enum ${code === "OK" ? "RZ_OK" : `RZ_E_${code}`}`), i, code));
  for (const [name, id] of Object.entries(BACKENDS)) assertEquals(c.get(`enum RZ_BACKEND_${name.toUpperCase()}`), id);
  for (const [name, id] of Object.entries(ISAS)) assertEquals(c.get(`enum RZ_ISA_${name.toUpperCase()}`), id);
  assertEquals(c.get("enum RZ_PLAN_DETERMINISTIC"), PLAN_FLAGS.deterministic);
  assertEquals(c.get("enum RZ_PLAN_PROFILE"), PLAN_FLAGS.profile);
  assertEquals(c.get("enum RZ_PLAN_NO_FUSION"), PLAN_FLAGS.noFusion);
  for (const { name, id } of DTYPES) assertEquals(c.get(`enum RZ_${name}`), id, name);
});

test("abi: a batch is laid out as the C compiler has its records", () => {
  const c = compiled();
  const at = (name: string): number => c.get(name)!;
  const sampling = { ...NO_SAMPLING, temperature: 0.5, topK: 7, topP: 0.25, nTop: 3, seedLow: 11, seedHigh: 12 };
  const bytes = new BatchWriter().write({
    flags: 1,
    after: 9,
    copies: [{ group: 0, src: 4, dst: 5, nTokens: 6 }],
    seqs: [
      { slot: 2, nPast: 17, tokens: [100, -1], pages: [[8, 9]] },
      { slot: 3, nPast: 0, tokens: [200], pages: [[10]] },
    ],
    outs: [{
      row: 2,
      mode: 5,
      sampling: { ...sampling, bias: [[42, -1.5]] },
      penaltyFrom: 13,
      drawPosition: 14,
      target: 15,
    }],
  });
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const u32 = (offset: number): number => view.getUint32(offset, true);
  const head = (field: string): number => u32(at(`field rz_batch_header.${field}`));
  assertEquals(["flags", "n_seqs", "n_tokens", "n_outs", "n_pages", "n_copies", "n_bias", "after"].map(head), [
    1,
    2,
    3,
    1,
    3,
    1,
    1,
    9,
  ]);
  assertEquals(head("bytes"), bytes.length);
  const copyAt = at("struct rz_batch_header"), seqAt = copyAt + at("struct rz_batch_copy");
  assertEquals(u32(copyAt + at("field rz_batch_copy.dst_page")), 5);
  const second = seqAt + at("struct rz_batch_seq");
  assertEquals(u32(second + at("field rz_batch_seq.slot")), 3);
  assertEquals(u32(second + at("field rz_batch_seq.first_page")), 2);
  assertEquals(u32(seqAt + at("field rz_batch_seq.n_past")), 17);
  const pagesAt = second + at("struct rz_batch_seq"), tokensAt = pagesAt + 16, outAt = tokensAt + 16;
  assertEquals([0, 4, 8].map((i) => u32(pagesAt + i)), [8, 9, 10]);
  assertEquals([0, 4, 8].map((i) => view.getInt32(tokensAt + i, true)), [100, -1, 200]);
  const out = (field: string): number => outAt + at(`field rz_batch_out.${field}`);
  assertEquals(
    ["row", "mode", "top_k", "penalty_from", "seed_lo", "seed_hi", "target", "bias_n", "draw_position"].map((f) =>
      u32(out(f))
    ),
    [2, 5, 7, 13, 11, 12, 15, 1, 14],
  );
  assertEquals([view.getFloat32(out("temperature"), true), view.getFloat32(out("top_p"), true)], [0.5, 0.25]);
  assertEquals([view.getUint16(out("n_top"), true), view.getUint16(out("n_draft"), true)], [3, 0]);
  const biasAt = outAt + at("struct rz_batch_out");
  assertEquals([u32(biasAt), view.getFloat32(biasAt + 4, true)], [42, -1.5]);
});

test("abi: a result is read where the C compiler puts it", () => {
  const c = compiled();
  const headerBytes = c.get("struct rz_result_header")!, outBytes = c.get("struct rz_result_out")!;
  const reader = new ResultReader(headerBytes + 2 * outBytes + 16);
  const view = new DataView(reader.bytes.buffer);
  view.setUint32(c.get("field rz_result_header.n_outs")!, 2, true);
  view.setUint32(c.get("field rz_result_header.device_us")!, 77, true);
  const second = headerBytes + outBytes;
  view.setInt32(second + c.get("field rz_result_out.token")!, -1, true);
  view.setUint32(second + c.get("field rz_result_out.flags")!, 2, true);
  view.setFloat32(second + c.get("field rz_result_out.logprob")!, -0.5, true);
  view.setUint32(second + c.get("field rz_result_out.top_first")!, 1, true);
  view.setUint32(second + c.get("field rz_result_out.n_top")!, 1, true);
  view.setUint32(headerBytes + 2 * outBytes + 8, 31, true);
  view.setFloat32(headerBytes + 2 * outBytes + 12, -0.25, true);
  assertEquals([reader.nOuts, reader.deviceUs, reader.token(1), reader.flags(1), reader.logprob(1)], [
    2,
    77,
    -1,
    2,
    -0.5,
  ]);
  assertEquals(reader.top(1), [{ token: 31, logprob: -0.25 }]);
});

test("abi: a file that is no library, and one that is missing, are IO errors that name it", () => {
  for (const path of [inRoot("package.json"), inRoot("no/such/file.so")]) {
    assert(path.endsWith(".json") === existsSync(path));
    const error = assertThrows(() => openLibrary(path), RealizarError);
    assertEquals(error.code, "IO");
    assert(error.message.includes(path), error.message);
  }
});

leakCheck();
