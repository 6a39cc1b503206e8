/**
 * Memory of a GPU: what cannot fit is refused with the bytes that are needed and free, before anything is allocated,
 * and nothing else notices; an estimate is what is then used; what is closed comes back.
 */
import { assert, assertEquals } from "@std/assert";
import { engineFacts, openEngine } from "../src/engine/native_model.ts";
import { Model, RealizarError } from "../src/mod.ts";
import { openLibrary } from "../src/platform/library.ts";
import type { MemoryEstimate } from "../src/types.ts";
import { gpuIsa, noGpu } from "./gpu.ts";
import { leakCheck, testUnless } from "./support.ts";
import { tinyGguf } from "./tiny_gguf.ts";

const missing = noGpu();
const GREEDY = { temperature: 0, maxTokens: 6, ignoreEos: true };
/** A token of its context takes 32 KB in F16: no GPU has memory for all of them, but for a part. */
const ENDLESS = tinyGguf({ contextLength: 1 << 24, nKvHeads: 16, nHeads: 16, headDim: 64, nLayers: 8 });
const LONG = tinyGguf({ contextLength: 8192, headDim: 32, nLayers: 12 });

/** What loading fails with. */
async function failure(load: Promise<Model>): Promise<RealizarError> {
  try {
    await (await load).close();
  } catch (error) {
    if (error instanceof RealizarError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

/** Bytes free on the GPU, beside an engine. */
function freeBytes(): number {
  const library = openLibrary(), engine = openEngine(library, "cuda", 0, 0, gpuIsa());
  try {
    return engineFacts(library, engine).freeBytes;
  } finally {
    library.native.rz_engine_close(engine);
  }
}

function assertTold(error: RealizarError, needed: number): void {
  assertEquals(error.code, "OOM_DEVICE", error.message);
  assert(error.message.includes(`needs ${needed} bytes`), error.message);
  assert(/\d+ are free/.test(error.message), error.message);
}

testUnless(
  missing,
  "cuda: a context that cannot fit is refused before the GPU is touched, and others live on",
  async () => {
    await using first = await Model.load(LONG, { device: "cuda" });
    const expected = (await first.generate([1, 2, 3], GREEDY).result()).tokens;
    const options = { device: "cuda", contextSize: 1 << 24, maxSequences: 1 } as const;
    const estimate: MemoryEstimate = await Model.estimate(ENDLESS, options);
    assert(!estimate.fits && estimate.totalBytes > estimate.freeBytes);
    const before = freeBytes();
    let heard = 0;
    assertTold(await failure(Model.load(ENDLESS, { ...options, onProgress: () => void heard++ })), estimate.totalBytes);
    assertEquals(heard, 0);
    assert(Math.abs(freeBytes() - before) <= 4 << 20, "nothing was taken");
    assertEquals((await first.generate([1, 2, 3], GREEDY).result()).tokens, expected);
  },
);

testUnless(
  missing,
  "cuda: a second model that doesn't fit beside the first is refused, and the first goes on",
  async () => {
    const tokens = 1 << 20, options = { device: "cuda", maxSequences: 1 } as const;
    const { kvBytes, freeBytes: free } = await Model.estimate(ENDLESS, { ...options, contextSize: tokens });
    const most = Math.floor(0.8 * free / (kvBytes / tokens) / 64) * 64;
    await using first = await Model.load(ENDLESS, { ...options, contextSize: most });
    const expected = (await first.generate([1, 2, 3], GREEDY).result()).tokens;
    const { totalBytes } = await Model.estimate(ENDLESS, { ...options, contextSize: Math.floor(most / 2) });
    assertTold(await failure(Model.load(ENDLESS, { ...options, contextSize: Math.floor(most / 2) })), totalBytes);
    assertEquals((await first.generate([1, 2, 3], GREEDY).result()).tokens, expected);
    // "auto" takes what is left.
    await using second = await Model.load(ENDLESS, { ...options, contextSize: "auto" });
    assert(second.info.contextSize > 1024 && second.info.contextSize < most / 2, `${second.info.contextSize} tokens`);
    assertEquals((await second.generate([1, 2, 3], GREEDY).result()).tokens, expected);
  },
);

testUnless(
  missing,
  "cuda: an estimate is within 2 % of what a model then takes of the GPU, and it comes back",
  async () => {
    const options = { device: "cuda", maxSequences: 16 } as const;
    const taken: number[] = [], estimated: number[] = [];
    for (const contextSize of [1024, 8192]) {
      estimated.push((await Model.estimate(LONG, { ...options, contextSize })).totalBytes);
      const before = freeBytes(), model = await Model.load(LONG, { ...options, contextSize });
      taken.push(before - freeBytes());
      await model.close();
      assert(Math.abs(freeBytes() - before) <= 4 << 20, "it comes back");
    }
    // The context and the code of an engine are in both.
    const [took, told] = [taken[1]! - taken[0]!, estimated[1]! - estimated[0]!];
    assert(told > 300e6 && Math.abs(took / told - 1) < 0.02, `estimated ${told} more, took ${took} more`);
  },
);

testUnless(missing, "cuda: 50 engines opened and closed leave the GPU's memory as it was", () => {
  freeBytes();
  const before = freeBytes();
  for (let i = 0; i < 48; i++) freeBytes();
  assert(Math.abs(before - freeBytes()) <= 4 << 20, "other programs aside, everything comes back");
});

leakCheck();
