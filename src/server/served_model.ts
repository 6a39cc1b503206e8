/** What a server serves, and where it stands: what its owner gives it. */
import type { ChatMessage, GenerateOptions, Generation, ModelInfo, ModelStats, TokenizeOptions } from "../types.ts";

/** What the server needs of a model; a `Model` of this library is one. */
export interface ServedModel {
  /** Its sizes. */
  readonly info: ModelInfo;
  /** Continues tokens. */
  generate(tokens: Int32Array, options: GenerateOptions): Generation;
  /** Token ids of a text, or of a conversation as the chat template writes it. */
  tokenize(text: string | readonly ChatMessage[], options: TokenizeOptions): Promise<Int32Array>;
  /** Text of token ids. */
  detokenize(tokens: ArrayLike<number>): Promise<string>;
  /** Bytes of one token's text. */
  tokenBytes(token: number): Uint8Array;
  /** Counters of its engine. */
  stats?(): ModelStats;
}

/** Where a server stands; its owner changes it, the handler reads it at each request. */
export interface ServerStatus {
  /** Requests for generations are taken in `ready` only. */
  state: "loading" | "ready" | "draining" | "failed";
  /** Progress of loading: bytes in place. */
  loadedBytes: number;
  /** Bytes to bring. */
  totalBytes: number;
}

/** A model under its public name. */
export interface NamedModel {
  /** What clients call it. */
  name: string;
  /** The model. */
  model: ServedModel;
}
