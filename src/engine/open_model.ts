/** Opens a prepared model on a device: picks the backend, estimates, loads weights, opens plan and cache. */
import { RealizarError } from "../errors.ts";
import { ISAS, STRUCTS } from "../platform/abi.ts";
import { env } from "../platform/env.ts";
import { type Library, openLibrary, readAll } from "../platform/library.ts";
import { readRecord } from "../record.ts";
import type { LoadProgress, MemoryEstimate, ModelInfo } from "../types.ts";
import { USE_ROWS } from "../weights/roles.ts";
import { type Backend, checkFits, type Layout, layOut, planFacts } from "./layout.ts";
import { NativeRunner, openEngine, openWeights, pagesOf } from "./native_model.ts";
import type { PreparedModel } from "./prepare.ts";
import type { Placement, PlanFacts } from "./protocol.ts";
import type { SchedulerGroup } from "./page_tables.ts";

const POLL_MS = 5;
const WRITE_BYTES = 16 << 20;
/** Pieces of rz_weights_write begin at multiples of this many rows. */
const WRITE_ROWS = 64;

/** A model that can run. */
export interface OpenModel {
  library: Library;
  handles: { engine: number; weights: number };
  runner: NativeRunner;
  info: ModelInfo;
  facts: PlanFacts;
  groups: SchedulerGroup[];
  maxStepTokens: number;
}

/** Why no GPU can be used here; undefined when one can. */
export function whyNoGpu(library: Library): string | undefined {
  const bytes = readAll(library, (out, cap) => library.native.rz_library_info(out, cap));
  const { backends } = JSON.parse(new TextDecoder().decode(bytes)) as {
    backends: { name: string; usable: boolean; why?: string }[];
  };
  const cuda = backends.find(({ name }) => name === "cuda");
  return cuda?.usable ? undefined : cuda?.why ?? "not in this build";
}

/** "auto" is the GPU when there is one that works and the model fits into its memory. */
function chooseBackend(library: Library, model: PreparedModel, placement: Placement): Backend {
  const missing = placement.device === "ref" || placement.device === "cpu" ? undefined : whyNoGpu(library);
  if (placement.device === "cuda" && missing !== undefined) {
    throw new RealizarError("UNSUPPORTED", `device "cuda": ${missing}`);
  }
  if (placement.device !== "auto") return placement.device;
  if (missing !== undefined) return "cpu";
  try {
    return estimateOn(library, model, placement, "cuda").fits ? "cuda" : "cpu";
  } catch (error) {
    const isGpus = error instanceof RealizarError &&
      ["DEVICE", "DEVICE_LOST", "OOM_DEVICE", "UNSUPPORTED"].includes(error.code);
    if (isGpus) return "cpu";
    throw error;
  }
}

function isaMax(): number {
  const name = env("REALIZAR_ISA");
  if (name === undefined) return ISAS.auto;
  const isa = (ISAS as Record<string, number>)[name];
  if (isa === undefined) {
    throw new RealizarError("ARG", `REALIZAR_ISA: got "${name}", expected one of ${Object.keys(ISAS).join(", ")}`);
  }
  return isa;
}

/** What loading would take. Opens and closes an engine; reads no weights. */
export function estimateModel(model: PreparedModel, placement: Placement): MemoryEstimate {
  const library = openLibrary(placement.libraryPath);
  return estimateOn(library, model, placement, chooseBackend(library, model, placement));
}

function estimateOn(library: Library, model: PreparedModel, placement: Placement, backend: Backend): MemoryEstimate {
  const engine = openEngine(library, backend, placement.deviceIndex, placement.threads, isaMax());
  try {
    const { device, cache, weightsBytes, kvBytes, scratchBytes } = layOut(library, engine, model, placement, backend);
    const totalBytes = weightsBytes + scratchBytes + kvBytes;
    return {
      device: device.name,
      weightsBytes,
      kvBytes,
      scratchBytes,
      totalBytes,
      contextSize: cache.contextSize,
      maxSequences: cache.maxSequences,
      freeBytes: device.freeBytes,
      fits: totalBytes <= device.freeBytes,
    };
  } finally {
    library.native.rz_engine_close(engine);
  }
}

/** Weights of a model that does not lie in files: read from its source piece by piece and handed to C. */
async function writeWeights(
  library: Library,
  weights: number,
  model: PreparedModel,
  tick: () => Promise<void>,
): Promise<void> {
  for (const [i, { source, offset, bytes, rows, nExperts }] of model.table.entries()) {
    const rowBytes = bytes / (rows * nExperts);
    const piece = Math.max(1, Math.floor(WRITE_BYTES / rowBytes / WRITE_ROWS)) * WRITE_ROWS;
    for (let row = 0; row < rows * nExperts;) {
      const n = Math.min(piece, rows - row % rows); // a piece ends with its expert
      const at = row * rowBytes;
      const data = await model.files[source]!.source.read(offset + at, n * rowBytes);
      library.check(library.native.rz_weights_write(weights, i + 1, at, data, data.length));
      row += n;
      await tick();
    }
  }
}

/** Brings all weights. */
async function loadWeights(
  library: Library,
  engine: number,
  model: PreparedModel,
  hooks: OpenHooks,
): Promise<number> {
  const files = model.files.flatMap(({ path, size, mtimeNs }) => path === null ? [] : [{ path, size, mtimeNs }]);
  const weights = openWeights(library, engine, model.plan.weightTable, files);
  const out = new Uint8Array(STRUCTS.rz_progress.size);
  const poll = (ms: number): boolean => {
    const ready = library.check(library.native.rz_weights_poll(weights, ms, out)) === 1;
    const progress = readRecord(STRUCTS.rz_progress, out);
    hooks.onProgress({ loadedBytes: progress.done_bytes, totalBytes: progress.total_bytes });
    return ready;
  };
  if (files.length === 0) {
    await writeWeights(library, weights, model, async () => {
      poll(0);
      await hooks.tick();
    });
  }
  while (!poll(POLL_MS)) await hooks.tick();
  return weights;
}

/** What hears of a model being opened. */
export interface OpenHooks {
  /** The engine is open: whoever knows its handle can close it from any thread. */
  onEngine(engine: number, libraryPath: string): void;
  onProgress(progress: LoadProgress): void;
  /** Called between polls; may throw to stop. */
  tick(): Promise<void>;
}

/** Opens everything; what was opened is closed again when a part fails. */
export async function openModel(model: PreparedModel, placement: Placement, hooks: OpenHooks): Promise<OpenModel> {
  const library = openLibrary(placement.libraryPath);
  const backend = chooseBackend(library, model, placement);
  const engine = openEngine(library, backend, placement.deviceIndex, placement.threads, isaMax());
  try {
    hooks.onEngine(engine, library.path);
    const layout = layOut(library, engine, model, placement, backend);
    checkFits(layout);
    const weights = await loadWeights(library, engine, model, hooks);
    const facts = planFacts(model);
    const runner = new NativeRunner(library, { engine, weights }, facts, layout.plan, layout.cache);
    return {
      library,
      handles: { engine, weights },
      runner,
      info: modelInfo(model, layout, runner.scratchBytes),
      facts,
      groups: facts.groups.map((g) => ({
        pageTokens: layout.cache.pageTokens,
        nPages: pagesOf(layout.cache),
        window: g.window,
      })),
      maxStepTokens: layout.plan.maxTokens,
    };
  } catch (error) {
    library.native.rz_engine_close(engine);
    throw error;
  }
}

function modelInfo(model: PreparedModel, layout: Layout, scratchBytes: number): ModelInfo {
  const { config, table, files } = model;
  const dtypes: Record<string, number> = {};
  for (const { dtype, bytes } of table) dtypes[dtype.name] = (dtypes[dtype.name] ?? 0) + bytes;
  return {
    architecture: config.architecture,
    name: config.name,
    device: layout.device.name,
    nLayers: config.nLayers,
    hiddenSize: config.hiddenSize,
    nHeads: config.nHeads,
    nKvHeads: config.nKvHeads,
    headDim: config.headDim,
    vocabSize: config.vocabSize,
    nParameters: table.reduce((sum, w) => sum + w.rows * w.cols * w.nExperts, 0),
    dtypes,
    fileBytes: files.reduce((sum, file) => sum + file.size, 0),
    readBytesPerToken: table.reduce((sum, w) => sum + (w.use === USE_ROWS ? 0 : w.bytes), 0),
    contextLength: config.contextLength,
    contextSize: layout.cache.contextSize,
    maxSequences: layout.cache.maxSequences,
    kvTokens: (pagesOf(layout.cache) - 1) * layout.cache.pageTokens,
    kvDtype: layout.cache.kvDtype,
    weightsBytes: layout.weightsBytes,
    kvBytes: layout.kvBytes,
    kvPageTokens: layout.cache.pageTokens,
    scratchBytes,
    hasChatTemplate: model.vocab.tables.chatTemplate !== undefined,
  };
}
