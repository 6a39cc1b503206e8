/** A model that answers as it is told, and remembers what it was asked: for tests of the server's protocols. */
import type {
  Answer,
  AnswerPart,
  ChatMessage,
  FinishReason,
  GenerateOptions,
  Generation,
  GenerationPart,
  RealizarError,
  TokenizeOptions,
  Usage,
} from "../src/mod.ts";
import type { ServedModel } from "../src/server/mod.ts";
import { tinyModel } from "./server_support.ts";
import { ToldGeneration } from "./told_generation.ts";

/** What a scripted generation tells. */
export interface Script {
  /** Each is a part of the generation, with one token. */
  parts?: readonly (readonly AnswerPart[])[];
  /** Raw text for generations that are not split. */
  text?: string;
  finishReason?: FinishReason;
  stop?: string;
  usage?: Partial<Usage>;
  /** Thrown instead of the end; after the parts. */
  error?: RealizarError;
  /** Nothing comes before it. */
  gate?: Promise<void>;
}

/** What the model was asked. */
export interface Asked {
  tokenized: { prompt: string | readonly ChatMessage[]; options: TokenizeOptions }[];
  generated: { tokens: number[]; options: GenerateOptions }[];
}

function answerOf(parts: readonly AnswerPart[]): Answer {
  const answer: Answer = { text: "", reasoning: "", toolCalls: [] };
  for (const part of parts) {
    if (part.kind === "text") answer.text += part.text;
    else if (part.kind === "reasoning") answer.reasoning += part.text;
    else if (part.kind === "toolCall") answer.toolCalls.push({ id: part.id, name: part.name, arguments: "" });
    else answer.toolCalls[part.index]!.arguments += part.json;
  }
  return answer;
}

function scripted(script: Script, options: GenerateOptions, nTokens: number): Generation {
  const { parts = [], text = "raw text" } = script;
  const pieces: GenerationPart[] = options.answer === true
    ? parts.map((answer) => ({ text: "", tokens: [1], answer }))
    : [...text].map((one) => ({ text: one, tokens: [1] }));
  if (options.logprobs !== undefined) {
    for (const piece of pieces) piece.logprobs = [{ token: 65, logprob: -0.5, top: [{ token: 66, logprob: -1 }] }];
  }
  const timings = { queueMs: 1, ttftMs: 2, decodeMs: 3, promptTokensPerSecond: 4, tokensPerSecond: 5 };
  const usage = { promptTokens: nTokens, cachedTokens: 0, completionTokens: pieces.length, ...script.usage };
  return new ToldGeneration({
    finishReason: script.finishReason,
    async *parts() {
      await script.gate;
      for (const piece of pieces) {
        yield piece;
        await Promise.resolve();
      }
      if (script.error !== undefined) throw script.error;
    },
    result: (finishReason) => ({
      text,
      tokens: [],
      finishReason,
      seed: 0,
      usage,
      timings,
      ...(script.stop === undefined ? {} : { stop: script.stop }),
      ...(options.answer === true ? { answer: answerOf(parts.flat()) } : {}),
      ...(options.logprobs === undefined ? {} : { logprobs: pieces.flatMap(({ logprobs }) => logprobs!) }),
    }),
  });
}

/** The template that the scripted model has: one token for each UTF-16 unit of this JSON. */
export function scriptedPrompt(prompt: string | readonly ChatMessage[], { tools, templateValues }: TokenizeOptions) {
  return typeof prompt === "string" ? prompt : JSON.stringify([prompt, tools, templateValues]);
}

/** A model that tells the script's parts, and what it was asked. */
export async function scriptedModel(script: Script): Promise<{ model: ServedModel; asked: Asked }> {
  const { info } = await tinyModel();
  const asked: Asked = { tokenized: [], generated: [] };
  const model: ServedModel = {
    info,
    tokenBytes: (token) => Uint8Array.of(token),
    tokenize(prompt, options) {
      asked.tokenized.push({ prompt, options });
      const text = scriptedPrompt(prompt, options);
      return Promise.resolve(Int32Array.from({ length: text.length }, (_, i) => text.charCodeAt(i)));
    },
    detokenize: () => Promise.resolve(""),
    generate(tokens, options) {
      asked.generated.push({ tokens: [...tokens], options });
      return scripted(script, options, tokens.length);
    },
  };
  return { model, asked };
}

/** Reads a stream to its end; calls `onMark` when `mark` has come. */
export async function readUntilMark(response: Response, mark: string, onMark: () => void): Promise<string> {
  let text = "";
  for await (const piece of response.body!.pipeThrough(new TextDecoderStream())) {
    text += piece;
    if (text.includes(mark)) onMark();
  }
  return text;
}

/** A conversation with one call, as the APIs' tests tell it: thinking, text, a call in pieces. */
export const CALLING: readonly (readonly AnswerPart[])[] = [
  [{ kind: "reasoning", text: "I need " }],
  [{ kind: "reasoning", text: "the weather" }, { kind: "text", text: "\n\n" }],
  [{ kind: "text", text: "Let me " }],
  [{ kind: "text", text: "look." }],
  [{ kind: "text", text: "\n" }, { kind: "toolCall", index: 0, id: "call_1", name: "weather" }],
  [{ kind: "toolArguments", index: 0, json: `{"city":` }],
  [{ kind: "toolArguments", index: 0, json: `"Paris"}` }, { kind: "text", text: "\n" }],
  [{ kind: "toolCall", index: 1, id: "call_2", name: "time" }, { kind: "toolArguments", index: 1, json: "{}" }],
];
