/** How large a model's parts are on a device: the sizes of its plan and cache, and whether they fit. */
import { RealizarError } from "../errors.ts";
import type { BACKENDS } from "../platform/abi.ts";
import type { Library } from "../platform/library.ts";
import type { KvDtype } from "../types.ts";
import {
  cacheBytes,
  type CacheSizes,
  checkPlan,
  defaultKvTokens,
  type EngineFacts,
  engineFacts,
  type PlanSizes,
} from "./native_model.ts";
import type { PreparedModel } from "./prepare.ts";
import type { Placement, PlanFacts } from "./protocol.ts";

const CONTEXT_DEFAULT = 4096;
/** Tokens of one step. Longer prompts come in chunks. */
const STEP_TOKENS_MAX = { ref: 512, cpu: 256, cuda: 2048 } as const;
/** Share of the free memory that `contextSize: "auto"` takes: the rest is for everything else that runs. */
const AUTO_SHARE = 0.9;

/** The executors. */
export type Backend = keyof typeof BACKENDS;

/** Sizes of a model on an open engine. */
export interface Layout {
  backend: Backend;
  device: EngineFacts;
  plan: PlanSizes;
  cache: CacheSizes;
  /** Bytes of the weights in their final layout. */
  weightsBytes: number;
  kvBytes: number;
  scratchBytes: number;
}

/** A model's plan as native calls need it. */
export function planFacts(model: PreparedModel): PlanFacts {
  const { bytes, logitsValue, groups, weightNames } = model.plan;
  return { bytes, logits: logitsValue, groups: groups.map((g) => ({ ...g })), weightNames };
}

function chooseKvDtype(model: PreparedModel, placement: Placement, backend: Backend): KvDtype {
  const kvDtype = placement.kvDtype ?? (backend === "ref" ? "f32" : "f16");
  const { headDim } = model.config;
  if (backend !== "ref" && kvDtype === "q8_0" && headDim % 32 !== 0) {
    throw new RealizarError(
      "UNSUPPORTED",
      `kvDtype "q8_0": heads of ${headDim} columns, the ${backend} executor needs 32 n`,
    );
  }
  return kvDtype;
}

/** Tokens of context of a sequence; `roomBytes`: what the cache may take. */
function chooseContext(
  model: PreparedModel,
  placement: Placement,
  cache: Omit<CacheSizes, "contextSize">,
  roomBytes: number,
): number {
  const trained = model.config.contextLength;
  if (placement.contextSize !== "auto") {
    const contextSize = placement.contextSize || Math.min(trained, CONTEXT_DEFAULT);
    if (contextSize <= trained) return contextSize;
    throw new RealizarError("ARG", `contextSize: got ${contextSize}, the model was made for at most ${trained}`);
  }
  if (placement.kvTokens !== 0) return Math.min(trained, placement.kvTokens);
  // One page is the null page; what is left must hold at least one page of a sequence.
  const pageBytes = cacheBytes(planFacts(model), { ...cache, contextSize: 1, kvTokens: 0 });
  const pages = Math.floor(roomBytes / pageBytes) - 1;
  return Math.min(trained, Math.max(1, pages) * cache.pageTokens);
}

/** Lays a model out on an engine; allocates nothing. */
export function layOut(
  library: Library,
  engine: number,
  model: PreparedModel,
  placement: Placement,
  backend: Backend,
): Layout {
  const device = engineFacts(library, engine);
  const facts = planFacts(model);
  const { maxSequences, deterministic, contextSize: asked } = placement;
  const kvDtype = chooseKvDtype(model, placement, backend);
  const planOf = (contextSize: number): PlanSizes => {
    const maxTokens = Math.max(maxSequences, Math.min(STEP_TOKENS_MAX[backend], contextSize));
    return { maxTokens, maxSequences, maxOuts: maxSequences, deterministic };
  };
  let plan = planOf(asked === "auto" ? model.config.contextLength : asked || CONTEXT_DEFAULT);
  let { weightsBytes, scratchBytes } = checkPlan(library, engine, facts.bytes, plan);
  const empty = { kvDtype, maxSequences, pageTokens: device.pageTokens };
  const roomBytes = device.freeBytes * AUTO_SHARE - weightsBytes - scratchBytes;
  const cache: CacheSizes = { ...empty, contextSize: chooseContext(model, placement, empty, roomBytes) };
  if (planOf(cache.contextSize).maxTokens !== plan.maxTokens) {
    plan = planOf(cache.contextSize);
    scratchBytes = checkPlan(library, engine, facts.bytes, plan).scratchBytes;
  }
  const left = device.totalBytes === 0 ? Infinity : device.freeBytes - weightsBytes - scratchBytes;
  cache.kvTokens = placement.kvTokens || defaultKvTokens(facts, cache, left);
  return { backend, device, plan, cache, weightsBytes, kvBytes: cacheBytes(facts, cache), scratchBytes };
}

/** Refuses what cannot fit, before any weight is read. */
export function checkFits({ backend, device, weightsBytes, kvBytes, scratchBytes, cache }: Layout): void {
  const needed = weightsBytes + kvBytes + scratchBytes;
  if (device.totalBytes === 0 || needed <= device.freeBytes) return; // 0: the system does not tell
  throw new RealizarError(
    backend === "cuda" ? "OOM_DEVICE" : "OOM_HOST",
    `the model needs ${needed} bytes on ${device.name} (weights ${weightsBytes}, KV cache ${kvBytes} for ` +
      `${cache.kvTokens} tokens, scratch ${scratchBytes}), ${device.freeBytes} are free: a smaller contextSize, ` +
      `kvTokens or kvDtype "q8_0" needs less`,
  );
}
