/** Every public interface of the library. */

/** Where a model's bytes come from: a path, bytes, or a Blob. The other forms answer `UNSUPPORTED` so far. */
export type ModelSource = string | URL | Blob | Uint8Array | ReadableStream<Uint8Array>;

/** What runs the model. `auto` takes the best device that is usable here. */
export type Device = "auto" | "cpu" | "ref" | "cuda" | `cuda:${number}`;

/** Element type of the KV cache. */
export type KvDtype = "f32" | "f16" | "q8_0";

/** Progress of loading; called at most every few milliseconds. */
export interface LoadProgress {
  /** Weight bytes in place. */
  loadedBytes: number;
  /** Weight bytes to bring. */
  totalBytes: number;
}

/** Sizes and placement, shared by {@linkcode LoadOptions} and estimates. */
export interface PlacementOptions {
  /** Default `auto`, or the variable `REALIZAR_DEVICE`. */
  device?: Device | undefined;
  /** Tokens of context for each sequence, 1 up to the model's own; default min(the model's, 4096). */
  contextSize?: number | undefined;
  /** Sequences that can run at once, 1-256; default 8. */
  maxSequences?: number | undefined;
  /** CPU threads, 1-256; default the physical cores within this process's quota, or `REALIZAR_THREADS`. */
  threads?: number | undefined;
  /** Default f16 (f32 on `ref`). */
  kvDtype?: KvDtype | undefined;
  /** Results that do not depend on neighbours, chunking or cache hits. Always so on `ref` and `cpu`. Default false. */
  deterministic?: boolean | undefined;
  /** Path of librealizar; default `REALIZAR_LIB`, else where the package has it. */
  libraryPath?: string | undefined;
}

/** Options of {@linkcode Model.load}. */
export interface LoadOptions extends PlacementOptions {
  /** Aborting rejects with `CANCELLED`. */
  signal?: AbortSignal | undefined;
  /** Called while weights are read. */
  onProgress?: ((progress: LoadProgress) => void) | undefined;
}

/** How the next token is chosen. Defaults come from the model file, else those given here. */
export interface SamplingOptions {
  /** 0 is greedy; up to 100. Default 0.8. */
  temperature?: number | undefined;
  /** Keep the k likeliest tokens; 0 is off. Default 40. */
  topK?: number | undefined;
  /** Keep the likeliest tokens up to this mass, 0-1; 1 is off. Default 0.95. */
  topP?: number | undefined;
  /** Drop tokens less likely than this share of the likeliest, 0-1; 0 is off. Default 0.05. */
  minP?: number | undefined;
  /** Locally typical sampling, 0-1; 1 is off. Default 1. */
  typicalP?: number | undefined;
  /** Divides (multiplies when negative) the logits of tokens seen before; 1 is off. Default 1. */
  repetitionPenalty?: number | undefined;
  /** Subtracted once from the logits of tokens seen before, -100 to 100. Default 0. */
  presencePenalty?: number | undefined;
  /** Subtracted for each time a token was seen, -100 to 100. Default 0. */
  frequencyPenalty?: number | undefined;
  /** How many of the last tokens penalties look at; 0 = all of the sequence. Default 64. */
  penaltyWindow?: number | undefined;
  /** Added to the logits of single tokens; `-Infinity` forbids one. */
  logitBias?: Readonly<Record<number, number>> | undefined;
  /** 0 to 2^53 - 1. Same logits, seed and position give the same token. Default random; told in the result. */
  seed?: number | undefined;
}

/** Options of {@linkcode Model.generate}. */
export interface GenerateOptions extends SamplingOptions {
  /** At most this many new tokens; default the rest of the context. */
  maxTokens?: number | undefined;
  /** Text ends before the first of these. */
  stop?: string | readonly string[] | undefined;
  /** Log-probabilities of the tokens, and of this many others (0-256); `true` is 0. Default off. */
  logprobs?: boolean | number | undefined;
  /** Read special tokens in a text prompt as such. Default false: they are plain text. */
  special?: boolean | undefined;
  /** Go on past tokens that end a text, up to `maxTokens`: for measurements. Default false. */
  ignoreEos?: boolean | undefined;
  /** Aborting ends the generation; its result then has `finishReason: "abort"`. */
  signal?: AbortSignal | undefined;
  /** A JSON Schema for the answer. `UNSUPPORTED` so far. */
  schema?: unknown;
  /** Tools the model may call. `UNSUPPORTED` so far. */
  tools?: readonly unknown[] | undefined;
}

/** One message of a conversation. */
export interface ChatMessage {
  /** `system`, `user`, `assistant` or what the model's template knows. */
  role: string;
  /** Its text. */
  content: string;
  /** Set on an answer that was stopped before its end. */
  aborted?: boolean | undefined;
}

/** Text to continue, token ids, or a conversation. */
export type Prompt = string | readonly number[] | Int32Array | readonly ChatMessage[];

/** A token and its natural-log probability before temperature and filters. */
export interface TokenLogprob {
  /** Id of the token. */
  token: number;
  /** Natural logarithm of its probability. */
  logprob: number;
}

/** Log-probabilities of one generated token. */
export interface PartLogprob extends TokenLogprob {
  /** The likeliest tokens, best first. */
  top: TokenLogprob[];
}

/** A piece of a generation: whole characters, and the tokens that were accepted with it. */
export interface GenerationPart {
  /** Always valid Unicode; may be empty while a character or a possible stop string is incomplete. */
  text: string;
  /** Ids of the tokens; without the one that ends a text. */
  tokens: number[];
  /** One entry a token, when asked for. */
  logprobs?: PartLogprob[];
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
export interface GenerationResult {
  /** The whole text. */
  text: string;
  /** Its tokens. */
  tokens: number[];
  /** Why it ended. */
  finishReason: FinishReason;
  /** The stop string that was found; absent when the model ended by itself. */
  stop?: string;
  /** The seed that was used. */
  seed: number;
  /** One entry a token, when asked for. */
  logprobs?: PartLogprob[];
  /** Token counts. */
  usage: Usage;
  /** How long it took. */
  timings: Timings;
}

/**
 * A running generation. It starts at once. Iterate it, or take {@linkcode Generation.result}; leaving the loop,
 * `cancel()`, an aborted signal or `await using` end it.
 */
export interface Generation extends AsyncIterable<GenerationPart>, AsyncDisposable {
  /** The whole answer once it ended. Rejects with what went wrong; never unhandled. */
  result(): Promise<GenerationResult>;
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
  /** Answers a user's message. `BUSY` while an answer runs. */
  send(content: string, options?: GenerateOptions): Generation;
}

/** Options of {@linkcode Model.chat}. */
export interface ChatOptions extends GenerateOptions {
  /** A system message. */
  system?: string | undefined;
  /** A conversation to go on from. */
  history?: readonly ChatMessage[] | undefined;
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
  /** Element type of the KV cache. */
  kvDtype: KvDtype;
  /** Bytes on the device. */
  weightsBytes: number;
  /** Bytes of the KV cache. */
  kvBytes: number;
  /** Bytes of activations and buffers. */
  scratchBytes: number;
  /** Whether the file has a chat template. */
  hasChatTemplate: boolean;
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

/** Options of {@linkcode Model.session}. */
export interface SessionOptions {
  /** Tokens of context; default the model's `contextSize`. */
  contextSize?: number | undefined;
  /** Longest run of tokens computed in one step; default 512. */
  maxBatch?: number | undefined;
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
  /** Token ids of a text. */
  tokenize(text: string, options?: TokenizeOptions): Int32Array;
  /** Text of token ids. */
  detokenize(tokens: ArrayLike<number>): string;
  /** Frees its plan and cache. May be called again. */
  close(): void;
}

/** Options of {@linkcode Model.tokenize}. */
export interface TokenizeOptions {
  /** Read special tokens as such; default false. */
  special?: boolean | undefined;
  /** Put BOS (and EOS) where the file asks for it; default true. */
  addSpecial?: boolean | undefined;
  /** Aborting rejects with `CANCELLED`. */
  signal?: AbortSignal | undefined;
}

/** Options of {@linkcode Model.applyTemplate}. */
export interface TemplateOptions {
  /** Open the assistant's turn; default true. */
  addGenerationPrompt?: boolean | undefined;
  /** `UNSUPPORTED` so far. */
  tools?: readonly unknown[] | undefined;
  /** Aborting rejects with `CANCELLED`. */
  signal?: AbortSignal | undefined;
}
