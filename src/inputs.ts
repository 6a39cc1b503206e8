/** Public interfaces of what goes in: sources, placement, options. */
import type { ChatMessage, GrammarSource, TemplateValue, ToolChoice, ToolDefinition } from "./conversation.ts";

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
  /**
   * Tokens of context for each sequence, 1 up to the model's own; default min(the model's, 4096). `auto`: the longest
   * that one sequence can have in nine tenths of the free memory, up to the model's own.
   */
  contextSize?: number | "auto" | undefined;
  /** Sequences that can run at once, 1-256; default 8. */
  maxSequences?: number | undefined;
  /**
   * Tokens whose keys and values are kept, all sequences together, 1-2^28. Sequences take pages of it as they grow;
   * when it is full the youngest waits and is computed again. Default: the whole context of every sequence, as far as
   * half of the free memory goes.
   */
  kvTokens?: number | undefined;
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
  /**
   * At most this many new tokens; default the rest of the context. 0 computes the prompt and makes nothing: for its
   * log-probabilities, or so that later prompts that begin alike find it in the cache.
   */
  maxTokens?: number | undefined;
  /** Text ends before the first of these. */
  stop?: string | readonly string[] | undefined;
  /** Log-probabilities of the tokens, and of this many others (0-256); `true` is 0. Default off. */
  logprobs?: boolean | number | undefined;
  /**
   * Log-probabilities of the prompt's tokens, and of this many others (0-256); `true` is 0. The prompt is then computed
   * in small pieces, and from its start whatever the cache has of it. Default off.
   */
  promptLogprobs?: boolean | number | undefined;
  /** Read special tokens in a text prompt as such. Default false: they are plain text. */
  special?: boolean | undefined;
  /** Go on past tokens that end a text, up to `maxTokens`: for measurements. Default false. */
  ignoreEos?: boolean | undefined;
  /** Aborting ends the generation; its result then has `finishReason: "abort"`. */
  signal?: AbortSignal | undefined;
  /** JSON Schema (draft 2020-12), or a Standard JSON Schema: the answer is JSON text that it accepts. */
  schema?: unknown;
  /** The answer's text is in this language; not together with `schema`. A string is a GBNF grammar. */
  grammar?: string | GrammarSource | undefined;
  /** Tools the model may call; for conversations, and with `answer` for the tokens of one that was told of them. */
  tools?: readonly ToolDefinition[] | undefined;
  /** Default `auto` with tools, `none` without. With `none` a conversation is not told of tools at all. */
  toolChoice?: ToolChoice | undefined;
  /** Whether one answer may call several tools. Default true. */
  parallelToolCalls?: boolean | undefined;
  /**
   * Split the answer into text, reasoning and tool calls, as the model's template writes them. Default: true for
   * conversations, false for text and tokens; say true for the tokens of a conversation.
   */
  answer?: boolean | undefined;
  /** Variables for the chat template, e.g. `{ enable_thinking: false }`. */
  templateValues?: Readonly<Record<string, TemplateValue>> | undefined;
  /** Cached prefixes are shared only among generations of the same salt. Default "", up to 256 characters. */
  cacheSalt?: string | undefined;
  /**
   * Who asks: places, and what is left of a step for prompts, are shared evenly among clients, however many generations
   * one has. Default "", one client like others; up to 256 characters.
   */
  client?: string | undefined;
  /** Fails with `BUSY` when it got no place after so long, 1 to 2^31 - 1 ms; default: waits. */
  queueTimeoutMs?: number | undefined;
}

/** Type of the JSON values that a Standard JSON Schema accepts; `unknown` for other schemas. */
export type JsonOf<Schema> = Schema extends { readonly "~standard": { readonly types?: infer Types } }
  ? NonNullable<Types> extends { readonly output: infer Output } ? Output : unknown
  : unknown;

/** Text to continue, token ids, or a conversation. */
export type Prompt = string | readonly number[] | Int32Array | readonly ChatMessage[];

/** Options of {@linkcode Model.chat}. */
export interface ChatOptions extends GenerateOptions {
  /** A system message. */
  system?: string | undefined;
  /** A conversation to go on from. */
  history?: readonly ChatMessage[] | undefined;
}

/** Options of {@linkcode Model.session}. */
export interface SessionOptions {
  /** Tokens of context; default the model's `contextSize`. */
  contextSize?: number | undefined;
  /** Longest run of tokens computed in one step; default 512. */
  maxBatch?: number | undefined;
  /** Time each launch for {@linkcode Session.profile}; steps are slower. Default false. */
  profile?: boolean | undefined;
  /** Values to keep for {@linkcode Session.watched}, by their names in {@linkcode Model.valueNames}; up to 16. */
  watch?: readonly string[] | undefined;
}

/** Options of {@linkcode Model.tokenize}. */
export interface TokenizeOptions {
  /** Read special tokens as such; default false. */
  special?: boolean | undefined;
  /** Put BOS (and EOS) where the file asks for it; default true. */
  addSpecial?: boolean | undefined;
  /** For conversations: tools the model is told of. */
  tools?: readonly ToolDefinition[] | undefined;
  /** For conversations: variables for the chat template. */
  templateValues?: Readonly<Record<string, TemplateValue>> | undefined;
  /** Aborting rejects with `CANCELLED`. */
  signal?: AbortSignal | undefined;
}

/** Options of {@linkcode Model.applyTemplate}. */
export interface TemplateOptions {
  /** Open the assistant's turn; default true. */
  addGenerationPrompt?: boolean | undefined;
  /** Tools the model is told of. */
  tools?: readonly ToolDefinition[] | undefined;
  /** Variables for the chat template. */
  templateValues?: Readonly<Record<string, TemplateValue>> | undefined;
  /** Aborting rejects with `CANCELLED`. */
  signal?: AbortSignal | undefined;
}
