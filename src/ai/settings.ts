/** What the provider needs of a model, and what a caller may set beyond the AI SDK's own settings. */
import type { ChatMessage, GenerateOptions, Generation, ModelInfo, TokenizeOptions } from "../types.ts";

/** What the provider needs of a model; a `Model` of this library is one. */
export interface AiModel {
  /** Its sizes and name. */
  readonly info: ModelInfo;
  /** Answers a conversation. */
  generate(messages: readonly ChatMessage[], options: GenerateOptions): Generation;
  /** Token ids of a conversation as the chat template writes it. */
  tokenize(messages: readonly ChatMessage[], options: TokenizeOptions): Promise<Int32Array>;
}

/** Options that the AI SDK has no name for: of a call as `providerOptions.realizar`, or of a language model. */
export type OwnOptions = Pick<
  GenerateOptions,
  | "minP"
  | "typicalP"
  | "repetitionPenalty"
  | "penaltyWindow"
  | "logitBias"
  | "ignoreEos"
  | "parallelToolCalls"
  | "templateValues"
  | "cacheSalt"
  | "queueTimeoutMs"
>;

const OWN: Readonly<Record<keyof OwnOptions, true>> = {
  minP: true,
  typicalP: true,
  repetitionPenalty: true,
  penaltyWindow: true,
  logitBias: true,
  ignoreEos: true,
  parallelToolCalls: true,
  templateValues: true,
  cacheSalt: true,
  queueTimeoutMs: true,
};

/** Their names. */
export const OWN_OPTIONS: readonly string[] = Object.keys(OWN);

/** Settings of a language model; what a call sets itself comes first. */
export interface RealizarSettings extends OwnOptions {
  /** The model's name in results; default `general.name` of its file, else its architecture. */
  modelId?: string | undefined;
}
