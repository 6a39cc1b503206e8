/** What a model will take is told before it takes it, what cannot fit is refused first, and `auto` takes what fits. */
import { assert, assertEquals } from "@std/assert";
import { Model, RealizarError } from "../src/mod.ts";
import { STRUCTS } from "../src/platform/abi.ts";
import { openLibrary } from "../src/platform/library.ts";
import { readRecord } from "../src/record.ts";
import type { MemoryEstimate, ModelInfo } from "../src/types.ts";
import { leakCheck, realModel, test, testUnless } from "./support.ts";
import { tinyGguf } from "./tiny_gguf.ts";

function nativeBytes(): number {
  const out = new Uint8Array(STRUCTS.rz_stats.size);
  openLibrary().native.rz_library_stats(out, out.length);
  return readRecord(STRUCTS.rz_stats, out).total_bytes;
}

/** Bytes of a long context would be hundreds of GB: no machine of this suite has them. */
const ENDLESS = tinyGguf({ contextLength: 1 << 24, nKvHeads: 16, nHeads: 16, headDim: 64, nLayers: 4 });
const LONG = tinyGguf({ contextLength: 8192, headDim: 32, nLayers: 12 });

for (const device of ["cpu", "ref"] as const) {
  for (const kvDtype of ["f16", "q8_0"] as const) {
    test(`memory: an estimate is within 2 % of what is then used: ${device}, ${kvDtype} cache`, async () => {
      const options = { device, kvDtype, contextSize: 8192, maxSequences: 4 } as const;
      const { totalBytes } = await Model.estimate(LONG, options);
      const before = nativeBytes();
      await using model = await Model.load(LONG, options);
      const used = nativeBytes() - before;
      assert(Math.abs(used / totalBytes - 1) < 0.02, `estimated ${totalBytes}, used ${used}`);
      assert(model.info.kvBytes > totalBytes / 2, "a test that looks at the cache");
    });
  }
}

const real = realModel();
testUnless(
  "missing" in real ? real.missing : undefined,
  "memory: the demo's model takes its file and its cache, and little more",
  async () => {
    const { path } = real as { path: string };
    const before = nativeBytes();
    await using model = await Model.load(path, { device: "cpu", contextSize: 8192 });
    const { fileBytes, kvBytes } = model.info;
    const used = nativeBytes() - before;
    assert(used <= 1.05 * (fileBytes + kvBytes), `${used} bytes for a file of ${fileBytes} and a cache of ${kvBytes}`);
  },
);

test('memory: contextSize "auto" is the longest context that fits', async () => {
  const auto = await Model.estimate(ENDLESS, { device: "cpu", contextSize: "auto", maxSequences: 1 });
  assert(auto.fits, "it fits");
  assert(auto.contextSize < 1 << 24 && auto.contextSize % 64 === 0, `${auto.contextSize} tokens`);
  const share = auto.totalBytes / auto.freeBytes;
  assert(share > 0.85 && share <= 0.9 + 1e-3, `${share} of the free memory`);
  const less = await Model.estimate(ENDLESS, { device: "cpu", contextSize: "auto", maxSequences: 1, kvDtype: "q8_0" });
  assert(less.contextSize > 1.5 * auto.contextSize, "half the bytes a token, nearly twice the tokens");
});

test('memory: contextSize "auto" stops at the model\'s own, and at kvTokens', async () => {
  await using model = await Model.load(LONG, { device: "cpu", contextSize: "auto", maxSequences: 2 });
  assertEquals(model.info.contextSize, 8192);
  assertEquals((await model.generate([1, 2, 3], { maxTokens: 3, ignoreEos: true }).result()).tokens.length, 3);
  const few = await Model.estimate(LONG, { device: "cpu", contextSize: "auto", kvTokens: 640 });
  assertEquals(few.contextSize, 640);
});

/** What loading fails with. */
async function failure(load: Promise<{ close(): Promise<void> } | MemoryEstimate>): Promise<RealizarError> {
  try {
    await load;
  } catch (error) {
    if (error instanceof RealizarError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

test("memory: what cannot fit is refused before weights are read, with the bytes needed and free", async () => {
  const options = { device: "cpu", contextSize: 1 << 24, maxSequences: 1 } as const;
  const estimate = await Model.estimate(ENDLESS, options);
  assert(!estimate.fits && estimate.totalBytes > estimate.freeBytes);
  let heard = 0;
  const before = nativeBytes();
  const error = await failure(Model.load(ENDLESS, { ...options, onProgress: () => void heard++ }));
  assertEquals([error.code, heard], ["OOM_HOST", 0]);
  assert(error.message.includes(`needs ${estimate.totalBytes} bytes`), error.message);
  assert(/\d+ are free/.test(error.message), error.message);
  assertEquals(nativeBytes(), before);
});

test("memory: a cache in q8_0 needs heads of whole blocks on cpu, and says so before loading", async () => {
  const odd = tinyGguf({ headDim: 48 });
  const error = await failure(Model.load(odd, { device: "cpu", kvDtype: "q8_0" }));
  assertEquals(error.code, "UNSUPPORTED");
  assert(error.message.includes("48 columns"), error.message);
  await using model = await Model.load(LONG, { device: "cpu", kvDtype: "q8_0" });
  assertEquals((model.info as ModelInfo).kvDtype, "q8_0");
});

leakCheck();
