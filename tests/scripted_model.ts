/** A model that answers what a test wrote down, and remembers what it was asked: for what stands above the engine. */
import type { RealizarError } from "../src/errors.ts";
import type {
  Answer,
  AnswerPart,
  ChatMessage,
  FinishReason,
  GenerateOptions,
  Generation,
  ModelInfo,
  TokenizeOptions,
} from "../src/types.ts";
import { ToldGeneration } from "./told_generation.ts";

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

function generationOf(script: Script, nPrompt: number, signal: AbortSignal | undefined): ToldGeneration {
  const { pieces, error, hangs = false, finishReason } = script;
  const told: AnswerPart[] = [];
  let nTokens = 0;
  return new ToldGeneration({
    finishReason,
    async *parts(cancelled) {
      for (const piece of pieces) {
        await new Promise((resolve) => setTimeout(resolve, 0));
        if (cancelled.aborted) return;
        if (piece !== null) told.push(piece);
        const logprobs = piece?.kind === "text" ? piece.logprobs : undefined;
        yield {
          text: piece === null ? "<mark>" : "text" in piece ? piece.text : "",
          tokens: [nTokens++],
          answer: piece === null ? [] : [piece],
          ...(logprobs === undefined ? {} : { logprobs: [...logprobs] }),
        };
      }
      if (error !== undefined) throw error;
      if (hangs && !cancelled.aborted) await new Promise((resolve) => cancelled.addEventListener("abort", resolve));
    },
    result: (reason) => ({
      text: told.map((piece) => "text" in piece ? piece.text : "").join(""),
      tokens: Array.from({ length: nTokens }, (_, i) => i),
      answer: answerOf(told),
      finishReason: reason,
      seed: 7,
      usage: { promptTokens: nPrompt, cachedTokens: 3, completionTokens: nTokens },
      timings: { queueMs: 1, ttftMs: 2, decodeMs: 3, promptTokensPerSecond: 4, tokensPerSecond: 5 },
    }),
  }, signal);
}

/** The model; scripts are taken in turn, the last one again and again. */
export class ScriptedModel {
  readonly info: ModelInfo = INFO;
  readonly asked: Asked[] = [];
  readonly tokenized: { text: unknown; options: TokenizeOptions }[] = [];
  readonly generations: ToldGeneration[] = [];
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
    const generation = generationOf(script, 10, options.signal);
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
