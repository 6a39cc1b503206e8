import { assert, assertEquals, assertThrows } from "@std/assert";
import { BatchWriter, NO_SAMPLING, OUT_MODES } from "../src/engine/batch.ts";
import { NativeRunner, openEngine, openWeights } from "../src/engine/native_model.ts";
import { prepareModel } from "../src/engine/prepare.ts";
import { RealizarError } from "../src/errors.ts";
import { STRUCTS } from "../src/platform/abi.ts";
import { readRecord } from "../src/record.ts";
import { leakCheck, test, testLibrary } from "./support.ts";
import { tinyGguf } from "./tiny_gguf.ts";

const bytes = tinyGguf({ seed: 3 });
const prepared = prepareModel({ kind: "bytes", bytes });

interface Opened {
  engine: number;
  weights: number;
  runner: NativeRunner;
}

/** Opens everything; what was opened before a failure is closed through the engine. */
async function openAll(backend: "ref" | "cpu"): Promise<Opened> {
  const { plan, table } = await prepared;
  const library = testLibrary();
  const { native, check } = library;
  const engine = openEngine(library, backend, 0, 2, 0);
  try {
    const weights = openWeights(library, engine, plan.weightTable, []);
    for (const [i, { offset, bytes: length }] of table.entries()) {
      check(native.rz_weights_write(weights, i + 1, 0, bytes.subarray(offset, offset + length), length));
    }
    const progress = new Uint8Array(STRUCTS.rz_progress.size);
    while (check(native.rz_weights_poll(weights, 1000, progress)) === 0) { /* ends by itself */ }
    const { logitsValue: logits, weightNames } = plan;
    const facts = { bytes: plan.bytes, logits, groups: [...plan.groups], weightNames };
    const sizes = { maxTokens: 64, maxSequences: 2, maxOuts: 2, deterministic: false };
    const cache = { kvDtype: "f32", maxSequences: 2, contextSize: 64, pageTokens: 16 } as const;
    return { engine, weights, runner: new NativeRunner(library, { engine, weights }, facts, sizes, cache) };
  } catch (error) {
    native.rz_engine_close(engine);
    throw error;
  }
}

function batch(): Uint8Array {
  const out = { row: 2, mode: OUT_MODES.sample, sampling: NO_SAMPLING, penaltyFrom: 0, drawPosition: 3 };
  const seqs = [{ slot: 0, nPast: 0, tokens: [1, 2, 3], pages: [[1]] }];
  return new BatchWriter().write({ flags: 0, after: 0, copies: [], seqs, outs: [out] }).slice();
}

function codeOf(run: () => unknown): string {
  return assertThrows(run, RealizarError).code;
}

function live(): Record<string, number> {
  const out = new Uint8Array(STRUCTS.rz_stats.size);
  testLibrary().native.rz_library_stats(out, out.length);
  const { peak_bytes: _, ...rest } = readRecord(STRUCTS.rz_stats, out);
  return Object.fromEntries(Object.entries(rest).filter(([, n]) => n !== 0));
}

test("handles: stale, doubly closed, foreign and invented ones are HANDLE", async () => {
  const { native, check } = testLibrary();
  const { engine, weights, runner } = await openAll("ref");
  const result = new Uint8Array(4096), info = new Uint8Array(128);
  runner.close();
  check(native.rz_weights_close(weights));
  check(native.rz_engine_close(engine));
  const calls: (() => number)[] = [
    () => native.rz_engine_close(engine),
    () => native.rz_engine_info_read(engine, info),
    () => native.rz_weights_close(weights),
    () => native.rz_weights_poll(weights, 0, info),
    () => native.rz_plan_close(runner.plan),
    () => native.rz_plan_info_read(runner.plan, info),
    () => native.rz_cache_close(runner.cache),
    () => native.rz_step_submit(runner.plan, runner.cache, batch(), batch().length),
    () => native.rz_step_wait(engine, 1, 0, result, result.length),
    () => native.rz_step_cancel(engine, 0),
  ];
  for (const call of calls) assertEquals(codeOf(() => check(call())), "HANDLE");
  for (const id of [0, 1, 0x7fffffff, 0xffffffff]) {
    assertEquals(codeOf(() => check(native.rz_engine_close(id))), "HANDLE");
  }
  const again = await openAll("ref");
  assert(again.engine !== engine, "a closed id does not come back at once");
  assertEquals(codeOf(() => check(native.rz_weights_close(again.engine))), "HANDLE", "an engine is no weights");
  assertEquals(codeOf(() => check(native.rz_engine_close(again.runner.plan))), "HANDLE", "a plan is no engine");
  check(native.rz_engine_close(again.engine));
  assertEquals(live(), {});
});

test("handles: whatever the order of closing, everything is freed", async () => {
  const { native } = testLibrary();
  const closers: ((o: Opened) => number)[] = [
    (o) => native.rz_plan_close(o.runner.plan),
    (o) => native.rz_cache_close(o.runner.cache),
    (o) => native.rz_weights_close(o.weights),
    (o) => native.rz_engine_close(o.engine),
  ];
  for (let order = 0; order < 24; order++) {
    const opened = await openAll("ref");
    const left = [...closers];
    for (let n = 4, rest = order; n > 0; n--, rest = Math.floor(rest / (n + 1))) left.splice(rest % n, 1)[0]!(opened);
    native.rz_engine_close(opened.engine);
    assertEquals(live(), {}, `order ${order}`);
  }
});

test("handles: closing plan, cache, weights or engine while a step runs cancels it", async () => {
  const { native, check } = testLibrary();
  for (
    const close of [
      (o: Opened) => native.rz_plan_close(o.runner.plan),
      (o: Opened) => native.rz_cache_close(o.runner.cache),
      (o: Opened) => native.rz_weights_close(o.weights),
      (o: Opened) => native.rz_engine_close(o.engine),
    ]
  ) {
    const opened = await openAll("ref");
    check(native.rz_test_hold(20_000));
    const ticket = opened.runner.submit(batch());
    check(close(opened));
    const code = codeOf(() => opened.runner.wait(ticket, 1000));
    assert(code === "CLOSED" || code === "HANDLE" || code === "CANCELLED", code);
    native.rz_engine_close(opened.engine);
    assertEquals(live(), {});
  }
});

test("handles: an allocation that fails, at every n, leaves nothing behind, and then all works", async () => {
  const { native, check } = testLibrary();
  for (const backend of ["ref", "cpu"] as const) {
    let n = 1;
    for (;; n++) {
      check(native.rz_test_fail_after(0, n));
      let opened: Opened | undefined;
      try {
        opened = await openAll(backend);
        opened.runner.wait(opened.runner.submit(batch()), 10_000);
      } catch (error) {
        assert(error instanceof RealizarError && error.code === "OOM_HOST", String(error));
      }
      const seen = check(native.rz_test_fail_after(0, 0));
      if (opened !== undefined) check(native.rz_engine_close(opened.engine));
      assertEquals(live(), {}, `${backend}, allocation ${n}`);
      if (opened !== undefined && seen < n) break;
      assert(n < 5000, "it never passes");
    }
    assert(n > 5, `${backend}: only ${n} allocations were seen`);
  }
});

test("handles: a step's result is told once, and a buffer that is too small loses nothing", async () => {
  const { native, check } = testLibrary();
  const { engine, runner } = await openAll("ref");
  const ticket = runner.submit(batch());
  const small = new Uint8Array(16), result = new Uint8Array(4096);
  assertEquals(
    codeOf(() => {
      for (;;) if (check(native.rz_step_wait(engine, ticket, 1000, small, small.length)) > 0) return;
    }),
    "ARG",
  );
  assert(check(native.rz_step_wait(engine, ticket, 1000, result, result.length)) > 0);
  assertEquals(codeOf(() => check(native.rz_step_wait(engine, ticket, 0, result, result.length))), "ARG");
  check(native.rz_engine_close(engine));
});

test("handles: the queue holds four steps, the fifth is BUSY and changes nothing", async () => {
  const { native, check } = testLibrary();
  const { engine, runner } = await openAll("ref");
  const tickets = Array.from({ length: 4 }, () => runner.submit(batch()));
  assertEquals(codeOf(() => runner.submit(batch())), "BUSY");
  for (const ticket of tickets) while (runner.wait(ticket, 1000) === undefined) { /* ends by itself */ }
  assert(runner.submit(batch()) > tickets[3]!);
  check(native.rz_engine_close(engine));
});

leakCheck(testLibrary);
