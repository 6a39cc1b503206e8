import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import process from "node:process";
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { EngineClient } from "../src/engine/client.ts";
import { checkPlacement } from "../src/api/options.ts";
import { NO_SAMPLING } from "../src/engine/batch.ts";
import { CREDIT } from "../src/engine/protocol.ts";
import { Model } from "../src/mod.ts";
import { RealizarError } from "../src/errors.ts";
import { runtime } from "../src/platform/env.ts";
import { inRoot, leakCheck, tempFolder, test, TEST_LIBRARY_PATH, testLibrary } from "./support.ts";
import { tinyGguf } from "./tiny_gguf.ts";

const bytes = tinyGguf({ seed: 3 });
const ON_TEST_LIBRARY = { device: "ref", libraryPath: TEST_LIBRARY_PATH } as const;
const GREEDY = { temperature: 0, maxTokens: 4, ignoreEos: true };
/** Longer than any wait of a test: a step that is not stopped would be noticed. */
const HOLD_MS = 20_000;

/** The next step runs at least this long. */
function hold(ms: number): void {
  const { native, check } = testLibrary();
  check(native.rz_test_hold(ms));
}

test("a step that runs for half a second leaves the event loop alone", async () => {
  await using model = await Model.load(bytes, ON_TEST_LIBRARY);
  hold(500);
  let ticks = 0;
  const timer = setInterval(() => ticks++, 2);
  await model.generate([1, 2, 3], GREEDY).result();
  clearInterval(timer);
  assert(ticks >= 50, `${ticks} timer ticks`);
});

test("abort is heard in the middle of a step, others go on, and the model works afterwards", async () => {
  await using model = await Model.load(bytes, ON_TEST_LIBRARY);
  hold(HOLD_MS);
  const stop = new AbortController();
  const generation = model.generate([1, 2, 3], { ...GREEDY, signal: stop.signal });
  setTimeout(() => stop.abort(), 100);
  assertEquals((await generation.result()).finishReason, "abort");
  assertEquals((await model.generate([1, 2, 3], GREEDY).result()).tokens.length, 4);
});

test("close in the middle of a step ends it", async () => {
  const model = await Model.load(bytes, ON_TEST_LIBRARY);
  hold(HOLD_MS);
  const generation = model.generate([1, 2, 3], GREEDY);
  await new Promise((resolve) => setTimeout(resolve, 100));
  await model.close();
  assertEquals((await generation.result()).finishReason, "abort");
});

test("a Worker terminated in the middle of a step: its streams fail, everything native is closed", async () => {
  const client = new EngineClient();
  const placement = checkPlacement(ON_TEST_LIBRARY);
  await client.open({ kind: "bytes", bytes }, placement, { vocab() {}, progress() {} });
  hold(HOLD_MS);
  const failed = Promise.withResolvers<RealizarError>();
  const request = { sampling: NO_SAMPLING, penaltyWindow: 0, stops: [], maxTokens: 4, credit: CREDIT, ignoreEos: true };
  const free = { logprobs: false, grammar: undefined, salt: "", client: "", queueTimeoutMs: 0 };
  client.submit({ ...request, ...free, tokens: Int32Array.of(1, 2, 3) }, {
    started() {},
    scored() {},
    step() {},
    ended: () => failed.reject(new Error("it ended")),
    failed: failed.resolve,
  });
  await new Promise((resolve) => setTimeout(resolve, 100));
  await client.kill(new RealizarError("CLOSED", "killed by a test"));
  assertEquals((await failed.promise).code, "CLOSED");
  await client.close();
  await using model = await Model.load(bytes, ON_TEST_LIBRARY);
  assertEquals((await model.generate([1, 2, 3], GREEDY).result()).tokens.length, 4);
});

/** Runs a script under this runtime; resolves with status, signal and output. */
function runScript(path: string): Promise<{ status: number | string; output: string }> {
  const args =
    { bun: ["run", path], deno: ["run", "-A", "--no-check", path], node: ["--no-warnings", path] }[runtime()];
  return new Promise((resolve) =>
    execFile(
      process.execPath,
      args,
      { cwd: inRoot(), timeout: 60_000 },
      (error, stdout, stderr) =>
        resolve({ status: error === null ? 0 : error.code ?? error.signal ?? "?", output: stdout + stderr }),
    )
  );
}

function script(body: string): string {
  return `import { Model } from ${JSON.stringify(inRoot("src/mod.ts"))};
import { testLibrary, TEST_LIBRARY_PATH } from ${JSON.stringify(inRoot("tests/support.ts"))};
import { tinyGguf } from ${JSON.stringify(inRoot("tests/tiny_gguf.ts"))};
const model = await Model.load(tinyGguf({ seed: 3 }), { device: "ref", libraryPath: TEST_LIBRARY_PATH });
${body}`;
}

test("a process that exits in the middle of a step exits as it says", async () => {
  using folder = tempFolder();
  const path = inRoot("tests", `.exit_${process.pid}.ts`);
  try {
    writeFileSync(
      path,
      script(`testLibrary().native.rz_test_hold(${HOLD_MS});
model.generate([1, 2, 3]);
setTimeout(() => process.exit(7), 200);`),
    );
    assertEquals((await runScript(path)).status, 7, folder.path);
  } finally {
    (await import("node:fs")).rmSync(path, { force: true });
  }
});

test("a process with a model and nothing to do ends by itself, also when the model was not closed", async () => {
  const path = inRoot("tests", `.idle_${process.pid}.ts`);
  try {
    writeFileSync(
      path,
      script(`const { text } = await model.generate([1, 2, 3], { maxTokens: 3 }).result();
console.log("done", text.length >= 0);`),
    );
    const { status, output } = await runScript(path);
    assertEquals(status, 0, output);
    assert(output.includes("done true"), output);
  } finally {
    (await import("node:fs")).rmSync(path, { force: true });
  }
});

test("an allocation that fails: loading rejects with OOM_HOST, nothing is left, the next one works", async () => {
  const { native, check } = testLibrary();
  const nLoads = 6; // every n is tried natively in handles_test; here the way through the Workers
  for (let i = 0; i < nLoads; i++) {
    check(native.rz_test_fail_after(0, 1 + i * 5));
    const error = await assertRejects(() => Model.load(bytes, ON_TEST_LIBRARY), RealizarError);
    assertEquals(error.code, "OOM_HOST", error.message);
  }
  check(native.rz_test_fail_after(0, 0));
  await using model = await Model.load(bytes, ON_TEST_LIBRARY);
  assertEquals((await model.generate([1, 2, 3], GREEDY).result()).tokens.length, 4);
  assertThrows(() => model.session({ contextSize: 1 << 30 }), RealizarError);
});

leakCheck(testLibrary);
