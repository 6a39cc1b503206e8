/** Public interfaces of what comes back: generations, chats, sessions, facts about a model. */
import type { Answer, AnswerPart, ChatMessage } from "./conversation.ts";
import type { GenerateOptions, KvDtype, SessionOptions, TokenizeOptions } from "./inputs.ts";
import type { PartLogprob, PromptLogprob } from "./logprobs.ts";

/** A piece of a generation: whole characters, and the tokens that were accepted with it. */
export interface GenerationPart {
  /** Always valid Unicode; may be empty while a character or a possible stop string is incomplete. */
  text: string;
  /** Ids of the tokens; without the one that ends a text. */
  tokens: number[];
  /** One entry a token, when asked for. */
  logprobs?: PartLogprob[];
  /** Of the next tokens of the prompt, when asked for; such pieces come before all others. */
  promptLogprobs?: PromptLogprob[];
  /** What this piece adds to an answer that is split; marks between its parts are in `text` only. */
  answer?: readonly AnswerPart[];
}

/** Why a generation ended. */
export type FinishReason = "stop" | "length" | "abort";

/** Token counts of a generation. */
export interface Usage {
  /** Tokens of the whole prompt. */
  promptTokens: number;
  /** Prompt tokens whose keys and values were still in the cache. */
  cachedTokens: number;
  /** Tokens made; without the one that ends a text. */
  completionTokens: number;
}

/** Times of a generation, in milliseconds. */
export interface Timings {
  /** Waiting for a free place. */
  queueMs: number;
  /** From the start of work to the first token. */
  ttftMs: number;
  /** From the first token to the last. */
  decodeMs: number;
  /** Prompt tokens computed (not cached) per second until the first token. */
  promptTokensPerSecond: number;
  /** Tokens after the first, per second. */
  tokensPerSecond: number;
}

/** What a finished generation was. */
export interface GenerationResult<Json = unknown> {
  /** The whole text. */
  text: string;
  /** With a schema: the value that the text is. Absent when it was not ended by the model but cut off. */
  json?: Json;
  /** Its tokens. */
  tokens: number[];
  /** The answer in its parts, when it is split: see {@linkcode GenerateOptions.answer}. */
  answer?: Answer;
  /** Why it ended. */
  finishReason: FinishReason;
  /** The stop string that was found; absent when the model ended by itself. */
  stop?: string;
  /** The seed that was used. */
  seed: number;
  /** One entry a token, when asked for. */
  logprobs?: PartLogprob[];
  /** One entry a token of the prompt, when asked for. */
  promptLogprobs?: PromptLogprob[];
  /** Token counts. */
  usage: Usage;
  /** How long it took. */
  timings: Timings;
}

/**
 * A running generation. It starts at once. Iterate it, or take {@linkcode Generation.result}; leaving the loop,
 * `cancel()`, an aborted signal or `await using` end it.
 */
export interface Generation<Json = unknown> extends AsyncIterable<GenerationPart>, AsyncDisposable {
  /** `waiting` for its prompt's tokens or a free place, `running` since the engine took it up, or `ended`. */
  readonly state: "waiting" | "running" | "ended";
  /** The whole answer once it ended. Rejects with what went wrong; never unhandled. */
  result(): Promise<GenerationResult<Json>>;
  /** The text, as a stream; takes the place of iterating. */
  stream(): ReadableStream<string>;
  /** A streaming `text/plain` response. */
  toResponse(init?: ResponseInit): Response;
  /** Ends it; the result has `finishReason: "abort"`. */
  cancel(): void;
}

/** A conversation: history is kept and the common prefix is not computed again. */
export interface Chat {
  /** Messages so far, the system message first. An answer is added with its question, when it has ended. */
  readonly history: readonly ChatMessage[];
  /**
   * Answers a user's message, or messages of any roles: the results of tools that the last answer called, one of role
   * `tool` with `toolCallId` for each. `BUSY` while an answer runs.
   */
  send(content: string | readonly ChatMessage[], options?: GenerateOptions): Generation;
}

/** What a model is. */
export interface ModelInfo {
  /** `general.architecture` of the file. */
  architecture: string;
  /** `general.name` of the file, or undefined. */
  name: string | undefined;
  /** What runs it, e.g. a processor's name. */
  device: string;
  /** Layers. */
  nLayers: number;
  /** Columns of the residual stream. */
  hiddenSize: number;
  /** Query heads of a layer. */
  nHeads: number;
  /** Key and value heads of a layer. */
  nKvHeads: number;
  /** Columns of a head. */
  headDim: number;
  /** Tokens of the vocabulary. */
  vocabSize: number;
  /** Weights in all. */
  nParameters: number;
  /** Bytes of the file's tensors, by dtype name. */
  dtypes: Readonly<Record<string, number>>;
  /** Bytes of the model's files. */
  fileBytes: number;
  /** Weight bytes, as stored, that a decode step reads. */
  readBytesPerToken: number;
  /** Context the model was trained for. */
  contextLength: number;
  /** Context of each sequence here. */
  contextSize: number;
  /** Sequences that can run at once. */
  maxSequences: number;
  /** Tokens that the KV cache holds, all sequences together. */
  kvTokens: number;
  /** Element type of the KV cache. */
  kvDtype: KvDtype;
  /** Bytes on the device. */
  weightsBytes: number;
  /** Bytes of the KV cache. */
  kvBytes: number;
  /** Tokens of one page of the KV cache. */
  kvPageTokens: number;
  /** Bytes of activations and buffers. */
  scratchBytes: number;
  /** Whether the file has a chat template. */
  hasChatTemplate: boolean;
}

/** Time of one launch of a plan: an op, or several that run as one. */
export interface LaunchTime {
  /** The ops, with the name of the pattern that joined them. */
  name: string;
  /** Index of its first op in the plan. */
  op: number;
  /** Layer of the model; undefined for what lies outside the layers. */
  layer: number | undefined;
  /** How often it ran. */
  calls: number;
  /** Milliseconds, all calls together. */
  ms: number;
  /** Bytes of weights it read, all calls together. */
  weightBytes: number;
}

/** A value of a forward pass, as F32. */
export interface WatchedValue {
  /** Its name in {@linkcode Model.valueNames}. */
  name: string;
  /** Rows: tokens, or of what follows the last attention the rows whose logits were asked for. */
  rows: number;
  /** Columns. */
  cols: number;
  /** `[rows x cols]`. */
  data: Float32Array;
}

/** What values can be looked at in: a {@linkcode Model}. */
export interface Watchable {
  /** Names of all values of a forward pass, in the order in which they are made. */
  valueNames(): string[];
  /** A sequence of its own. */
  session(options?: SessionOptions): Session;
}

/** Options of {@linkcode Model.watch}. */
export interface WatchOptions {
  /** Names, or their ends such as `.ffn_down`; default every value of the model. */
  names?: readonly string[] | undefined;
  /** Largest absolute value that is still fine; default any finite one. */
  range?: number | undefined;
  /** The same model on another device, e.g. `ref`: values are compared with its. */
  compare?: Watchable | undefined;
  /** Largest error of a row of a value, relative to the row's size, in a comparison. Default 0.01. */
  tolerance?: number | undefined;
}

/** What {@linkcode Model.watch} found. */
export interface WatchFinding {
  /** The value's name. */
  name: string;
  /** A number that is NaN or infinite, one beyond `range`, or a row too far from the other model's. */
  what: "not finite" | "range" | "differs";
  /** Its row, from 0. */
  row: number;
  /** Its column; undefined where a whole row differs. */
  col: number | undefined;
  /** The number, or the relative error of the row. */
  value: number;
  /** What it should not exceed. */
  limit: number;
}

/** Counters of a model's engine, since it was loaded. */
export interface ModelStats {
  /** Pages of the KV cache that running sequences hold. */
  kvPagesUsed: number;
  /** Pages kept for prompts that begin alike; they are given up when they are needed. */
  kvPagesCached: number;
  /** Pages of the KV cache. */
  kvPagesTotal: number;
  /** Generations that have a place. */
  nRunning: number;
  /** Generations that wait for one, or for their reader. */
  nWaiting: number;
  /** Times a generation lost its place, to go on later. */
  nPreemptions: number;
  /** Tokens of the prompts that got a place. */
  nPromptTokens: number;
  /** Of these, tokens whose keys and values were in the cache. */
  nCachedTokens: number;
  /** Steps that were computed. */
  nSteps: number;
  /** Tokens that went through the model. */
  nTokensComputed: number;
  /** Tokens that were sampled. */
  nTokensGenerated: number;
}

/** Bytes a model would take, before loading it. */
export interface MemoryEstimate {
  /** What would run it. */
  device: string;
  /** Bytes of the weights in their final layout. */
  weightsBytes: number;
  /** Bytes of the KV cache for all sequences. */
  kvBytes: number;
  /** Bytes of activations and buffers. */
  scratchBytes: number;
  /** The sum of the three. */
  totalBytes: number;
  /** Tokens of context of each sequence. */
  contextSize: number;
  /** Sequences that can run at once. */
  maxSequences: number;
  /** Native memory free now. */
  freeBytes: number;
  /** Whether `totalBytes` is free now. */
  fits: boolean;
}

/**
 * One sequence, driven synchronously from the thread that opened it, with a cache of its own over the model's weights.
 * Close it with `using` or `close()`.
 */
export interface Session extends Disposable {
  /** Tokens so far. */
  readonly length: number;
  /** Tokens it can hold. */
  readonly contextSize: number;
  /**
   * Computes tokens and returns the logits after the last: `[vocabSize]`, into `out` when given. With `all`, logits
   * after every token: `[tokens.length x vocabSize]`.
   */
  evaluate(tokens: ArrayLike<number>, out?: Float32Array, options?: { all?: boolean | undefined }): Float32Array;
  /** Forgets everything from position n on, 0 to `length`. */
  rewind(n: number): void;
  /** A second session that starts as a copy of this one. */
  fork(): Session;
  /**
   * Times of the launches since the last call, in the order of the plan. `ARG` unless the session was opened with
   * `profile`.
   */
  profile(): LaunchTime[];
  /** A value of the last step, which a longer run of tokens may have had several of. `ARG` unless it is watched. */
  watched(name: string): WatchedValue;
  /** Token ids of a text. */
  tokenize(text: string, options?: TokenizeOptions): Int32Array;
  /** Text of token ids. */
  detokenize(tokens: ArrayLike<number>): string;
  /** Frees its plan and cache. May be called again. */
  close(): void;
}
