/**
 * Messages between the main thread (M) and a model's engine Worker (E). Everything is cloneable data. Ids of
 * generations are chosen by M. Exactly one of `ended` and `failed` comes for each id, as its last message.
 */
import type { WireError } from "../errors.ts";
import type { WireGrammar } from "../grammar/wire.ts";
import type { VocabTables } from "../text/vocab.ts";
import type {
  FinishReason,
  MemoryEstimate,
  ModelInfo,
  SamplingOptions,
  Timings,
  TokenLogprob,
  Usage,
} from "../types.ts";
import type { OutSampling } from "./batch.ts";

/** Tokens a generation may be ahead of its reader; the reader returns half of it when drained. */
export const CREDIT = 256;
/** Generations waiting for a place; one more is `BUSY`. */
export const QUEUE_MAX = 1024;

/** Where the bytes of a model come from, as it can be posted. */
export type WireSource = { kind: "path"; path: string } | { kind: "bytes"; bytes: Uint8Array } | {
  kind: "blob";
  blob: Blob;
};

/** Placement after checking: every value is in its range. */
export interface Placement {
  device: "auto" | "cpu" | "ref" | "cuda";
  /** CUDA ordinal. */
  deviceIndex: number;
  /** 0 = min(the model's, 4096); "auto" = what fits. */
  contextSize: number | "auto";
  maxSequences: number;
  /** Tokens that the KV cache holds; 0 = as many as all sequences can have, within half of the free memory. */
  kvTokens: number;
  /** 0 = what C finds. */
  threads: number;
  /** Undefined = the backend's default. */
  kvDtype: "f32" | "f16" | "q8_0" | undefined;
  deterministic: boolean;
  libraryPath: string | undefined;
}

/** What a generation asks for, after checking. */
export interface GenerationRequest {
  id: number;
  /** The whole prompt. */
  tokens: Int32Array;
  sampling: OutSampling;
  /** Tokens that penalties look back; 0 = all. */
  penaltyWindow: number;
  stops: readonly string[];
  /** Undefined = the rest of the context; 0 = none, only the prompt is computed. */
  maxTokens: number | undefined;
  /** Tokens that may be sampled before the reader returns credit: {@linkcode CREDIT}. */
  credit: number;
  /** Tokens that end a text are tokens like others. */
  ignoreEos: boolean;
  /** Whether log-probabilities travel with the tokens. */
  logprobs: boolean;
  /** Log-probabilities of the prompt's tokens are wanted, and of so many others each; undefined = they are not. */
  promptTop?: number | undefined;
  /** What may be generated; undefined = anything. */
  grammar: WireGrammar | undefined;
  /** Control tokens that are shown as their texts: marks of an answer that is split. */
  shown?: readonly number[];
  /** Prefixes are shared among requests of one salt. */
  salt: string;
  /** Who asks: places and prompts are shared among clients. */
  client: string;
  /** Fails with `BUSY` when it got no place after so long; 0 = waits. */
  queueTimeoutMs: number;
}

/** M to E. */
export type ToEngine =
  | { type: "open"; source: WireSource; placement: Placement }
  | { type: "estimate"; source: WireSource; placement: Placement }
  | { type: "submit"; request: GenerationRequest }
  | { type: "credit"; id: number; n: number }
  | { type: "cancel"; id: number }
  | { type: "close" };

/** What M needs to use an open model. */
export interface OpenedModel {
  info: ModelInfo;
  /** Native handles, valid in every thread: M closes `engine` when E is gone; sessions run over `weights`. */
  handles: { engine: number; weights: number };
  /** The plan's bytes and what a session's own cache needs. */
  plan: PlanFacts;
  /** Sampling settings of the model file. */
  sampling: SamplingOptions;
  /** Counters, see stats.ts. */
  stats: SharedArrayBuffer;
  /** The library's file. */
  libraryPath: string;
}

/** A plan as native calls need it. */
export interface PlanFacts {
  bytes: Uint8Array;
  /** `weightNames[id - 1]`: tensor names. */
  weightNames: readonly string[];
  /** Id of the logits value. */
  logits: number;
  /** Cache groups it uses. */
  groups: { nLayers: number; window: number; kCols: number; vCols: number }[];
}

/** One step's news of all sequences, flat: entry i is about id ids[i]; its tokens end at tokenEnds[i]. */
export interface StepMessage {
  type: "step";
  ids: number[];
  texts: string[];
  tokenEnds: number[];
  tokens: number[];
  /** One entry a token when its generation asked; undefined otherwise. Absent when nobody asked. */
  logprobs?: (WireLogprob | undefined)[];
}

/** A log-probability with those of the likeliest tokens, best first. */
export interface WireLogprob {
  logprob: number;
  top: TokenLogprob[];
}

/** E to M. */
export type FromEngine =
  | { type: "vocab"; tables: VocabTables }
  | { type: "engine"; engine: number; libraryPath: string }
  | { type: "progress"; loadedBytes: number; totalBytes: number }
  | { type: "opened"; model: OpenedModel }
  | { type: "estimated"; estimate: MemoryEstimate }
  | { type: "refused"; error: WireError }
  | { type: "started"; id: number; cachedTokens: number }
  /** Of the next tokens of its prompt, from the second on; all come before its first token. */
  | { type: "scored"; id: number; scores: WireLogprob[] }
  | StepMessage
  | { type: "ended"; id: number; finishReason: FinishReason; stop?: string; usage: Usage; timings: Timings }
  | { type: "failed"; id: number; error: WireError }
  | { type: "closed" };
