/** The weight types: one table in TypeScript, one in C, both as the format defines them. */
import { readFileSync } from "node:fs";
import { assert, assertEquals } from "@std/assert";
import { dtypeOfId, dtypeOfName, DTYPES } from "../src/dtype.ts";
import { dtypesThatFit, tensorBytes } from "../src/format/directory.ts";
import { inRoot, test } from "./support.ts";

/** Name, number, weights and bytes of a block: `GGML_QUANT_SIZES` of PyPI gguf 0.19. */
const PUBLISHED: [string, number, number, number][] = [
  ["F32", 0, 1, 4],
  ["F16", 1, 1, 2],
  ["Q4_0", 2, 32, 18],
  ["Q4_1", 3, 32, 20],
  ["Q5_0", 6, 32, 22],
  ["Q5_1", 7, 32, 24],
  ["Q8_0", 8, 32, 34],
  ["Q2_K", 10, 256, 84],
  ["Q3_K", 11, 256, 110],
  ["Q4_K", 12, 256, 144],
  ["Q5_K", 13, 256, 176],
  ["Q6_K", 14, 256, 210],
  ["IQ4_NL", 20, 32, 18],
  ["IQ4_XS", 23, 256, 136],
  ["BF16", 30, 1, 2],
];

test("dtypes: the table is the format's", () => {
  assertEquals<unknown>(DTYPES.map((row) => [row.name, row.id, row.blockSize, row.blockBytes]), PUBLISHED);
  for (const row of DTYPES) {
    assert(dtypeOfId(row.id) === row);
    assert(dtypeOfName(row.name) === row);
  }
  for (const id of [4, 5, 9, 15, 26, 31, 39, 40, -1, 0.5, NaN]) assertEquals(dtypeOfId(id), undefined);
});

test("dtypes: csrc has the same rows", () => {
  const header = readFileSync(inRoot("csrc", "dtype.h"), "utf8");
  const ids = new Map([...header.matchAll(/RZ_(\w+) = (\d+)/g)].map(([, name, id]) => [name!, Number(id)]));
  const source = readFileSync(inRoot("csrc", "dtype.c"), "utf8");
  const rows = [...source.matchAll(/\{"(\w+)", RZ_(\w+), (\d+), (\d+), \w+\}/g)];
  assertEquals(
    rows.map(([, name, id, size, bytes]) => [name, ids.get(id!), Number(size), Number(bytes)]),
    DTYPES.map((row) => [row.name, row.id, row.blockSize, row.blockBytes]),
  );
});

test("dtypes: bytes of a tensor, and what a length would fit", () => {
  assertEquals(tensorBytes(dtypeOfName("Q6_K"), [4096, 14336]), 4096 * 14336 / 256 * 210);
  assertEquals(tensorBytes(dtypeOfName("Q4_K"), [4096 + 32, 8]), undefined);
  assertEquals(tensorBytes(dtypeOfName("Q4_1"), [64, 3, 2]), 64 * 3 * 2 / 32 * 20);
  assertEquals(dtypesThatFit([512, 3], 6 * 210), ["Q6_K"]);
  // Why a type is never guessed from a length.
  assertEquals(dtypesThatFit([512, 3], 6 * 144), ["Q4_0", "Q4_K", "IQ4_NL"]);
  assertEquals(dtypesThatFit([512, 3], 6 * 176), ["Q5_0", "Q5_K"]);
  assertEquals(dtypesThatFit([512, 3], 6 * 210 + 4), []);
  assertEquals(dtypesThatFit([512, 3], 6 * 210 + 4, 31), ["Q6_K"]);
});
