import { writeFileSync } from "node:fs";
import { assert, assertEquals, assertRejects } from "@std/assert";
import { Model, type ModelSource } from "../src/mod.ts";
import { RealizarError } from "../src/errors.ts";
import { noGpu } from "./gpu.ts";
import { inRoot, leakCheck, tempFolder, test } from "./support.ts";
import { tinyGguf } from "./tiny_gguf.ts";

const bytes = tinyGguf({ seed: 3 });
const GREEDY = { temperature: 0, maxTokens: 5, ignoreEos: true };

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return (await assertRejects(() => promise, RealizarError)).code;
}

test("load: a path, bytes and a Blob are the same model", async () => {
  using folder = tempFolder();
  const path = folder.file("tiny.gguf");
  writeFileSync(path, bytes);
  const texts: string[] = [];
  for (const source of [path, bytes, new Blob([bytes as BlobPart])]) {
    await using model = await Model.load(source, { device: "ref" });
    texts.push((await model.generate([1, 2, 3], GREEDY).result()).text);
    assertEquals(model.info.architecture, "llama");
    assertEquals(model.info.fileBytes, bytes.length);
  }
  assertEquals([texts[1], texts[2]], [texts[0], texts[0]]);
});

test("load: two models at once don't know of each other", async () => {
  await using one = await Model.load(bytes, { device: "ref" });
  await using two = await Model.load(tinyGguf({ seed: 4, arch: "qwen3" }), { device: "cpu" });
  const both = await Promise.all([one, two].map((model) => model.generate([1, 2, 3], GREEDY).result()));
  assertEquals(both.map(({ tokens }) => tokens.length), [5, 5]);
  assertEquals([one.info.architecture, two.info.architecture], ["llama", "qwen3"]);
});

test("load: progress ends at all bytes", async () => {
  const seen: [number, number][] = [];
  await using model = await Model.load(bytes, {
    device: "ref",
    onProgress: ({ loadedBytes, totalBytes }) => seen.push([loadedBytes, totalBytes]),
  });
  const [loaded, total] = seen.at(-1)!;
  assertEquals(loaded, total);
  assert(total > 0 && model.info.weightsBytes > 0);
});

test("load: sources that are not there, not models or not supported yet", async () => {
  assertEquals(await codeOf(Model.load(inRoot("no-such-file.gguf"))), "IO");
  assertEquals(await codeOf(Model.load(inRoot("package.json"))), "MAGIC");
  assertEquals(await codeOf(Model.load(new Uint8Array(0))), "TRUNCATED");
  assertEquals(await codeOf(Model.load("hf:user/repo")), "UNSUPPORTED");
  assertEquals(await codeOf(Model.load(new URL("https://example.com/m.gguf"))), "UNSUPPORTED");
  assertEquals(await codeOf(Model.load(new ReadableStream())), "UNSUPPORTED");
  assertEquals(await codeOf(Model.load(5 as unknown as ModelSource)), "ARG");
});

test("load: options out of range are refused by name", async () => {
  const bad: [string, object, string][] = [
    ["contextSize", { contextSize: 0 }, "ARG"],
    ["contextSize", { contextSize: 1 << 20 }, "ARG"],
    ["maxSequences", { maxSequences: 1000 }, "ARG"],
    ["threads", { threads: 1.5 }, "ARG"],
    ["kvDtype", { kvDtype: "q2" }, "ARG"],
    ["device", { device: "tpu" }, "ARG"],
  ];
  if (noGpu() !== undefined) bad.push(["device", { device: "cuda" }, "UNSUPPORTED"]);
  for (const [name, options, code] of bad) {
    const error = await assertRejects(() => Model.load(bytes, options), RealizarError);
    assertEquals(error.code, code, error.message);
    assert(error.message.includes(name), error.message);
  }
  assertEquals(await codeOf(Model.load(bytes, { libraryPath: "/no/such/library.so" })), "IO");
});

test("load: an aborted signal rejects with CANCELLED and its reason", async () => {
  const reason = new Error("enough");
  const error = await assertRejects(() => Model.load(bytes, { signal: AbortSignal.abort(reason) }), RealizarError);
  assertEquals([error.code, error.cause], ["CANCELLED", reason]);
  const stop = new AbortController();
  const loading = Model.load(bytes, { device: "ref", signal: stop.signal });
  stop.abort(reason);
  assertEquals(await codeOf(loading), "CANCELLED");
});

test("load: a model without a usable chat template still continues text", async () => {
  for (const chatTemplate of [false, "{% if %}"] as const) {
    await using model = await Model.load(tinyGguf({ chatTemplate }), { device: "ref" });
    assertEquals((await model.generate("a", GREEDY).result()).tokens.length, 5);
    assertEquals(await codeOf(model.generate([{ role: "user", content: "a" }]).result()), "TEMPLATE");
    assertEquals(await codeOf(model.applyTemplate([{ role: "user", content: "a" }])), "TEMPLATE");
  }
});

test("estimate: tells before loading what loading then takes", async () => {
  const options = { device: "ref", contextSize: 100, maxSequences: 3 } as const;
  const estimate = await Model.estimate(bytes, options);
  await using model = await Model.load(bytes, options);
  const { weightsBytes, kvBytes, scratchBytes, contextSize } = model.info;
  assertEquals({ weightsBytes, kvBytes, scratchBytes, contextSize }, {
    weightsBytes: estimate.weightsBytes,
    kvBytes: estimate.kvBytes,
    scratchBytes: estimate.scratchBytes,
    contextSize: 100,
  });
  assert(estimate.fits && estimate.totalBytes < estimate.freeBytes);
});

leakCheck();
