/** Plans for tests: of tiny model files, of real models by their shapes alone, and of single ops. */
import { architectureOf } from "../src/arch/mod.ts";
import { type DTypeName, dtypeOfName } from "../src/dtype.ts";
import type { FileInfo, TensorInfo } from "../src/format/directory.ts";
import { openGguf } from "../src/format/gguf.ts";
import { bytesSource } from "../src/format/reader.ts";
import { PlanBuilder } from "../src/plan/ops.ts";
import type { Plan } from "../src/plan/plan.ts";
import { type ModelConfig, readConfig } from "../src/weights/config.ts";
import { type RoleSpec, USE_HOST, USE_VECTOR } from "../src/weights/roles.ts";
import { type ValidatedWeights, validateWeights } from "../src/weights/validate.ts";
import { tinyGguf, type TinyOptions } from "./tiny_gguf.ts";

/** The plan of a tiny model's file, by the way that every file takes. */
export async function tinyPlan(options: TinyOptions = {}): Promise<Plan> {
  const file = await openGguf(tinyGguf(options));
  const architecture = architectureOf(options.arch ?? "llama");
  const config = readConfig(file.metadata, architecture.variants);
  return architecture.build(config, await validateWeights(architecture.roles(config), file));
}

/** What a made-up model file holds. */
export interface MadeUp {
  /** Type of a matrix; vectors are F32. Default F32. */
  readonly dtypeOf?: (spec: RoleSpec) => DTypeName;
  /** Values of host tensors, by role; without, the file lacks the tensor. */
  readonly host?: Readonly<Record<string, Float32Array>>;
  /** Optional tensors that the file has, by role. Default none. */
  readonly has?: (role: string) => boolean;
}

/** Proved weights without data: a directory that has what the specs ask for, in a file as large as that takes. */
export function weightsOf(specs: readonly RoleSpec[], made: MadeUp = {}): Promise<ValidatedWeights> {
  const host = made.host ?? {};
  const present = specs.filter((spec) => {
    if (spec.use === USE_HOST) return spec.role in host;
    return (spec.optional !== true && spec.tiedTo === undefined) || made.has?.(spec.role) === true;
  });
  const tensors: TensorInfo[] = [];
  let end = 4096;
  for (const spec of present) {
    const isMatrix = (spec.use & (USE_HOST | USE_VECTOR)) === 0;
    const dtype = dtypeOfName(isMatrix ? made.dtypeOf?.(spec) ?? "F32" : "F32");
    const dims = [spec.cols, ...(isMatrix ? [spec.rows] : []), ...(spec.nExperts === undefined ? [] : [spec.nExperts])];
    const bytes = dims.reduce((product, dim) => product * dim, 1) / dtype.blockSize * dtype.blockBytes;
    const at = { file: 0, offset: end, bytes, directoryOffset: 0 };
    tensors.push({ name: spec.tensor, dtypeId: dtype.id, dtype, dims, ...at });
    end = Math.ceil((end + bytes) / 32) * 32;
  }
  const read = (offset: number): Promise<Uint8Array> => {
    const spec = present.find((_, i) => tensors[i]!.offset === offset)!;
    return Promise.resolve(new Uint8Array(host[spec.role]!.buffer));
  };
  const source = { ...bytesSource(new Uint8Array(0)), size: end, read };
  const times = { mtimeNs: 0n, dataOffset: 4096, alignment: 32 };
  const file: FileInfo = { name: "made-up", path: "/made-up.gguf", size: end, source, ...times };
  return validateWeights(specs, { tensors, files: [file] });
}

/** A small model of the Llama form, to be changed where a test needs it. */
export const SMALL: ModelConfig = {
  architecture: "llama",
  name: undefined,
  nLayers: 2,
  hiddenSize: 64,
  layers: [{ nHeads: 4, nKvHeads: 2, intermediateSize: 96 }, { nHeads: 4, nKvHeads: 2, intermediateSize: 96 }],
  intermediateSize: 96,
  nHeads: 4,
  nKvHeads: 2,
  headDim: 16,
  valueDim: 16,
  vocabSize: 320,
  contextLength: 256,
  rmsEps: 1e-5,
  rope: {
    freqBase: 10000,
    nRot: 16,
    scaling: "none",
    factor: 1,
    origContext: 256,
    attnFactor: 1,
    extFactor: 0,
    betaFast: 32,
    betaSlow: 1,
    logMultiplier: 0,
  },
  slidingWindow: 0,
  nExperts: 0,
  nExpertsUsed: 0,
  expertIntermediateSize: 0,
};

/** The plan of a model of which only the shape exists. */
export async function shapePlan(config: ModelConfig, made: MadeUp = {}): Promise<Plan> {
  const architecture = architectureOf(config.architecture);
  return architecture.build(config, await weightsOf(architecture.roles(config), made));
}

/** A builder over weights of these shapes, and the ids of their roles. */
export async function builderOf(
  specs: readonly RoleSpec[],
  made: MadeUp = {},
): Promise<{ p: PlanBuilder; id: (role: string) => number }> {
  const weights = await weightsOf(specs, made);
  return { p: new PlanBuilder(SMALL, weights), id: (role) => weights.global.get(role) };
}
