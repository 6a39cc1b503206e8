/**
 * Bad plans through the public ABI. Every rule of the verifier has its bad plan in tests/native/plan_test.c; here is
 * one of each kind, and that the message names op and operand, in every runtime; and plans with random bits in them.
 */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { openEngine, openWeights } from "../src/engine/native_model.ts";
import { type ErrorCode, RealizarError } from "../src/errors.ts";
import { OPS } from "../src/plan/op_table.ts";
import { type Plan, type PlanRecords, readPlan, writePlan } from "../src/plan/plan.ts";
import { ISAS, STRUCTS } from "../src/platform/abi.ts";
import { openLibrary } from "../src/platform/library.ts";
import { writeRecord } from "../src/record.ts";
import { tinyPlan } from "./plan_support.ts";
import { Random } from "./random_blocks.ts";
import { leakCheck, test } from "./support.ts";

const SIZES = { size: STRUCTS.rz_plan_options.size, max_tokens: 32, max_seqs: 2, max_outs: 8 };

/** Runs `use` with rz_plan_check of one engine, which throws what the library says. */
function withCheck(use: (check: (bytes: Uint8Array, n?: number) => void) => void): void {
  const library = openLibrary();
  const engine = openEngine(library, "ref", 0, 1, ISAS.auto);
  const options = writeRecord(STRUCTS.rz_plan_options, SIZES);
  const info = new Uint8Array(STRUCTS.rz_plan_info.size);
  try {
    use((bytes, n = bytes.length) => library.check(library.native.rz_plan_check(engine, bytes, n, options, info)));
  } finally {
    library.native.rz_engine_close(engine);
  }
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer U)[] ? Mutable<U>[] : T[K] };
type Records = Mutable<PlanRecords>;

/** The first op of a name. */
function opOf(records: Records, name: keyof typeof OPS) {
  return records.ops.find(({ code }) => code === OPS[name].code)!;
}

interface BadPlan {
  what: string;
  code: ErrorCode;
  /** What the message has. */
  says: RegExp;
  change: (records: Records) => void;
}

const BAD: readonly BadPlan[] = [
  {
    what: "an unknown op",
    code: "UNSUPPORTED",
    says: /op 1 \(\?, layer 0\): unknown op code 99/,
    change: (r) => r.ops[1]!.code = 99,
  },
  {
    what: "an operand that is missing",
    code: "KEY_MISSING",
    says: /op \d+ \(matmul, layer 0\): in0 is 0/,
    change: (r) => opOf(r, "matmul").in = [0],
  },
  {
    what: "an operand that comes later",
    code: "KEY_MISSING",
    says: /\(rmsNorm, layer 0\): in0 \(value \d+\) is not defined yet/,
    change: (r) => opOf(r, "rmsNorm").in = [r.values.length],
  },
  {
    what: "a value defined twice",
    code: "DUPLICATE",
    says: /\(rmsNorm, layer 0\): out0 \(value 1\) was defined by op 0/,
    change: (r) => opOf(r, "rmsNorm").out = [1],
  },
  {
    what: "a weight id out of range",
    code: "ARG",
    says: /\(matmul, layer 0\): w0 is 1000, expected an id up to \d+/,
    change: (r) => opOf(r, "matmul").w = [1000],
  },
  {
    what: "a weight of another use",
    code: "TYPE",
    says: /\(embed\): w0 \(weight 2\) has use bits 8, expected bit 1/,
    change: (r) => opOf(r, "embed").w = [2],
  },
  {
    what: "a shape",
    code: "SHAPE",
    says: /\(glu, layer 0\): in1 \(value 1\) is F32 \[T, \d+\], expected F32 \[T, \d+\]/,
    change: (r) => opOf(r, "glu").in[1] = 1,
  },
  {
    what: "rows of another symbol",
    code: "SHAPE",
    says: /\(logits\): in0 \(value \d+\) is F32 \[T, \d+\], expected F32 \[R, \d+\]/,
    change: (r) => opOf(r, "logits").in = [1],
  },
  {
    what: "a type of value",
    code: "TYPE",
    says: /\(embed\): out0 \(value 1\) is I32/,
    change: (r) => r.values[0]!.dtype = 26,
  },
  {
    what: "a number out of range",
    code: "ARG",
    says: /\(attention, layer 0\): n3 is 0, expected 1\.\./,
    change: (r) => opOf(r, "attention").n[3] = 0,
  },
  {
    what: "an unused number",
    code: "ARG",
    says: /\(add, layer 0\): n5 is 1, expected 0/,
    change: (r) => opOf(r, "add").n[5] = 1,
  },
  {
    what: "an epsilon",
    code: "ARG",
    says: /\(rmsNorm, layer 0\): f0 is nan/i,
    change: (r) => opOf(r, "rmsNorm").f = [NaN],
  },
  {
    what: "a constant of another length",
    code: "SHAPE",
    says: /\(rope, layer 0\): n3 \(constant 1\) has \d+ numbers, expected 2/,
    change: (r) => opOf(r, "rope").n[1] = 2,
  },
  {
    what: "attention before its kvWrite",
    code: "KEY_MISSING",
    says: /\(attention, layer 0\): layer 1 of group 0 has no kvWrite before/,
    change: (r) => opOf(r, "attention").n[1] = 1,
  },
  {
    what: "a weight's bytes",
    code: "SHAPE",
    says: /weight 1: \d+ bytes, expected \d+/,
    change: (r) => r.weights[0]!.bytes += 1,
  },
  { what: "an infinite constant", code: "ARG", says: /number 0/, change: (r) => r.constants[0]!.numbers[0] = Infinity },
];

function bad(plan: Plan, { change }: BadPlan): Uint8Array {
  const records = readPlan(plan.bytes) as Records;
  change(records);
  return writePlan(records as PlanRecords);
}

test("bad plans: refused with the place, op and operand", async () => {
  const plan = await tinyPlan();
  withCheck((check) => {
    check(plan.bytes);
    for (const of of BAD) {
      const error = assertThrows(() => check(bad(plan, of)), RealizarError);
      assertEquals(error.code, of.code, `${of.what}: ${error.message}`);
      assert(of.says.test(error.message), `${of.what}: ${error.message}`);
    }
  });
});

test("bad plans: cut, empty, foreign", async () => {
  const { bytes } = await tinyPlan();
  withCheck((check) => {
    const codeOf = (run: () => void) => assertThrows(run, RealizarError).code;
    assertEquals(codeOf(() => check(new Uint8Array(0))), "TRUNCATED");
    for (const n of [1, 63, 64, 100, bytes.length - 1]) assertEquals(codeOf(() => check(bytes, n)), "TRUNCATED");
    assertEquals(codeOf(() => check(new Uint8Array(4096))), "MAGIC");
  });
});

test("bad plans: random bits never do harm", async () => {
  const random = new Random(1);
  const { bytes } = await tinyPlan();
  withCheck((check) => {
    let refused = 0;
    for (let i = 0; i < 3000; i++) {
      const copy = bytes.slice();
      for (let k = random.below(3); k >= 0; k--) copy[random.below(copy.length)]! ^= 1 << random.below(8);
      try {
        check(copy);
      } catch (error) {
        assert(error instanceof RealizarError && error.code !== "INTERNAL", String(error));
        refused++;
      }
    }
    assert(refused > 1000, `${refused} of 3000 were refused`);
  });
});

test("bad plans: a plan runs over its own weights only", async () => {
  const [plan, other] = [await tinyPlan(), await tinyPlan({ arch: "qwen3" })];
  const library = openLibrary();
  const { native, check } = library;
  const engine = openEngine(library, "ref", 0, 1, ISAS.auto);
  try {
    const { weights } = readPlan(plan.bytes);
    const weightsId = openWeights(library, engine, plan.weightTable, []);
    weights.forEach(({ bytes }, i) =>
      check(native.rz_weights_write(weightsId, i + 1, 0, new Uint8Array(bytes), bytes))
    );
    const progress = new Uint8Array(STRUCTS.rz_progress.size);
    while (check(native.rz_weights_poll(weightsId, 1000, progress)) === 0) { /* it ends or fails by itself */ }
    const options = writeRecord(STRUCTS.rz_plan_options, SIZES);
    const open = (bytes: Uint8Array) => check(native.rz_plan_open(weightsId, bytes, bytes.length, options));
    check(native.rz_plan_close(open(plan.bytes)));
    assertEquals(assertThrows(() => open(other.bytes), RealizarError).code, "SHAPE");
    const records = readPlan(plan.bytes) as Records;
    records.weights[0]!.dtype = 1;
    records.weights[0]!.bytes /= 2;
    const error = assertThrows(() => open(writePlan(records as PlanRecords)), RealizarError);
    assertEquals(error.code, "TYPE");
    assert(/weight 1: dtype 1, use \d+, but the open one has dtype 0/.test(error.message), error.message);
  } finally {
    native.rz_engine_close(engine);
  }
});

leakCheck();
