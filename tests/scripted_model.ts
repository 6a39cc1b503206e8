/** A model that answers what a test wrote down, and remembers what it was asked: for what stands above the engine. */
import { RealizarError } from "../src/errors.ts";
import type {
  Answer,
  AnswerPart,
  ChatMessage,
  FinishReason,
  GenerateOptions,
  Generation,
  GenerationPart,
  GenerationResult,
  ModelInfo,
  TokenizeOptions,
} from "../src/types.ts";

/** One answer. */
export interface Script {
  /** What is told, one piece a token; `null` is a token that adds nothing, such as a mark. */
  pieces: readonly (AnswerPart | null)[];
  /** Default stop. */
  finishReason?: FinishReason;
  /** Thrown after the pieces. */
  error?: RealizarError;
  /** The answer hangs after its pieces until it is cancelled. */
  hangs?: boolean;
}

/** What a generation was asked for. */
export interface Asked {
  prompt: Int32Array | readonly ChatMessage[];
  options: GenerateOptions;
}

export const text = (content: string): AnswerPart => ({ kind: "text", text: content });
export const thought = (content: string): AnswerPart => ({ kind: "reasoning", text: content });

/** A call of a tool, its arguments in two pieces. */
export function call(index: number, id: string, name: string, args: object): AnswerPart[] {
  const json = JSON.stringify(args);
  const half = json.length >> 1;
  return [
    { kind: "toolCall", index, id, name },
    { kind: "toolArguments", index, json: json.slice(0, half) },
    { kind: "toolArguments", index, json: json.slice(half) },
  ];
}

const INFO = {
  architecture: "scripted",
  name: "Scripted",
  vocabSize: 70_000,
  contextSize: 4096,
  contextLength: 4096,
  maxSequences: 4,
} as ModelInfo;

function answerOf(pieces: readonly AnswerPart[]): Answer {
  const textOf = (kind: "text" | "reasoning"): string =>
    pieces.map((piece) => piece.kind === kind ? piece.text : "").join("");
  const toolCalls = pieces.flatMap((piece) => {
    if (piece.kind !== "toolCall") return [];
    const args = pieces.map((one) => one.kind === "toolArguments" && one.index === piece.index ? one.json : "");
    return [{ id: piece.id, name: piece.name, arguments: args.join("") }];
  });
  return { text: textOf("text"), reasoning: textOf("reasoning"), toolCalls };
}

class ScriptedGeneration implements Generation {
  state: Generation["state"] = "running";
  cancelled = false;
  readonly #script: Script;
  readonly #nPrompt: number;
  readonly #told: AnswerPart[] = [];
  readonly #stopped = Promise.withResolvers<void>();
  readonly #result = Promise.withResolvers<GenerationResult>();
  #nTokens = 0;
  #isRead = false;

  constructor(script: Script, nPrompt: number, signal: AbortSignal | undefined) {
    this.#script = script;
    this.#nPrompt = nPrompt;
    this.#result.promise.catch(() => {});
    if (signal?.aborted === true) this.cancel();
    signal?.addEventListener("abort", () => this.cancel(), { once: true });
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GenerationPart, void, undefined> {
    const { pieces, error, hangs = false } = this.#script;
    this.#isRead = true;
    try {
      for (const piece of pieces) {
        await new Promise((resolve) => setTimeout(resolve, 0));
        if (this.cancelled) return;
        if (piece !== null) this.#told.push(piece);
        const logprobs = piece?.kind === "text" ? piece.logprobs : undefined;
        yield {
          text: piece === null ? "<mark>" : "text" in piece ? piece.text : "",
          tokens: [this.#nTokens++],
          answer: piece === null ? [] : [piece],
          ...(logprobs === undefined ? {} : { logprobs: [...logprobs] }),
        };
      }
      if (error !== undefined) throw error;
      if (hangs) await this.#stopped.promise;
      else this.#settle(this.#script.finishReason ?? "stop");
    } catch (thrown) {
      this.#result.reject(thrown);
      throw thrown;
    } finally {
      this.#settle("abort");
    }
  }

  #settle(finishReason: FinishReason): void {
    this.state = "ended";
    this.#result.resolve({
      text: this.#told.map((piece) => "text" in piece ? piece.text : "").join(""),
      tokens: Array.from({ length: this.#nTokens }, (_, i) => i),
      answer: answerOf(this.#told),
      finishReason,
      seed: 7,
      usage: { promptTokens: this.#nPrompt, cachedTokens: 3, completionTokens: this.#nTokens },
      timings: { queueMs: 1, ttftMs: 2, decodeMs: 3, promptTokensPerSecond: 4, tokensPerSecond: 5 },
    });
  }

  result(): Promise<GenerationResult> {
    return this.#result.promise;
  }

  stream(): ReadableStream<string> {
    throw new RealizarError("UNSUPPORTED", "a scripted generation has no stream");
  }

  toResponse(): Response {
    throw new RealizarError("UNSUPPORTED", "a scripted generation has no response");
  }

  cancel(): void {
    this.cancelled ||= this.state !== "ended";
    this.#stopped.resolve();
    if (!this.#isRead) this.#settle("abort");
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.cancel();
    return Promise.resolve();
  }
}

/** The model; scripts are taken in turn, the last one again and again. */
export class ScriptedModel {
  readonly info: ModelInfo = INFO;
  readonly asked: Asked[] = [];
  readonly tokenized: { text: unknown; options: TokenizeOptions }[] = [];
  readonly generations: ScriptedGeneration[] = [];
  readonly #scripts: readonly Script[];
  /** Template variables that change what is written. */
  readonly #variables: readonly string[];

  constructor(scripts: readonly Script[], variables: readonly string[] = []) {
    this.#scripts = scripts;
    this.#variables = variables;
  }

  /** What the last generation was asked for. */
  get last(): Asked {
    return this.asked.at(-1)!;
  }

  generate(prompt: Int32Array | readonly ChatMessage[], options: GenerateOptions): Generation {
    const script = this.#scripts[Math.min(this.asked.length, this.#scripts.length - 1)]!;
    this.asked.push({ prompt, options });
    const generation = new ScriptedGeneration(script, 10, options.signal);
    this.generations.push(generation);
    return generation;
  }

  tokenize(given: string | readonly ChatMessage[], options: TokenizeOptions): Promise<Int32Array> {
    this.tokenized.push({ text: given, options });
    const values = Object.entries(options.templateValues ?? {}).filter(([name]) => this.#variables.includes(name));
    return Promise.resolve(Int32Array.from(JSON.stringify([given, values]), (char) => char.charCodeAt(0)));
  }

  detokenize(tokens: ArrayLike<number>): Promise<string> {
    return Promise.resolve(String.fromCharCode(...Array.from(tokens)));
  }

  tokenBytes(token: number): Uint8Array {
    return new TextEncoder().encode(`<${token}>`);
  }
}
