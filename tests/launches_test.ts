import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { assertEquals } from "@std/assert";
import { openEngine } from "../src/engine/native_model.ts";
import { STRUCTS } from "../src/platform/abi.ts";
import { env } from "../src/platform/env.ts";
import { openLibrary } from "../src/platform/library.ts";
import { readRecord, writeRecord } from "../src/record.ts";
import { PLAN_SHAPES, planOfShape } from "./plan_shapes.ts";
import { inRoot, leakCheck, test } from "./support.ts";

const GOLDEN = inRoot("tests/golden/launches.json");

/** Fused launches of a step of each row class, by class. Nothing is allocated: weights are not needed. */
async function launchesOf(i: number): Promise<Record<string, number>> {
  const library = openLibrary();
  const { native, check } = library;
  const plan = await planOfShape(PLAN_SHAPES[i]!);
  const engine = openEngine(library, "cpu", 0, 2, 0);
  try {
    const size = STRUCTS.rz_plan_options.size;
    const options = writeRecord(STRUCTS.rz_plan_options, { size, max_tokens: 512, max_seqs: 8, max_outs: 8 });
    const out = new Uint8Array(STRUCTS.rz_plan_info.size);
    check(native.rz_plan_check(engine, plan.bytes, plan.bytes.length, options, out));
    const info = readRecord(STRUCTS.rz_plan_info, out);
    const classes = Array.from({ length: info.n_classes }, (_, c) => c);
    return Object.fromEntries(classes.map((c) => [`up to ${info.class_rows[c]} rows`, info.n_launches[c]!]));
  } finally {
    native.rz_engine_close(engine);
  }
}

// An architecture that stops fusing computes the same, only slower: nothing but the number of launches shows it.
test("launches: every architecture fuses on cpu as tests/golden/launches.json has it", async () => {
  const found: Record<string, Record<string, number>> = {};
  for (const [i, shape] of PLAN_SHAPES.entries()) found[shape.name] = await launchesOf(i);
  if (env("REALIZAR_WRITE_GOLDEN") !== undefined) {
    writeFileSync(GOLDEN, `${JSON.stringify(found, undefined, 2)}\n`);
    process.stderr.write(`${GOLDEN} was written\n`);
  }
  assertEquals(found, JSON.parse(readFileSync(GOLDEN, "utf8")));
});

leakCheck();
