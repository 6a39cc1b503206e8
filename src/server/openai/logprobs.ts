/** Log-probabilities in the two shapes of OpenAI's API. */
import type { PartLogprob, PromptLogprob, TokenLogprob } from "../../types.ts";
import { LongList } from "../long_json.ts";
import type { ServedModel } from "../served_model.ts";

/** JSON has no infinity: what is less likely than this is told as this. */
const LOGPROB_MIN = -9999;

function tokenOf(model: ServedModel, { token, logprob }: TokenLogprob): Record<string, unknown> {
  const bytes = model.tokenBytes(token);
  return { token: textOf(bytes), logprob: Math.max(logprob, LOGPROB_MIN), bytes: [...bytes] };
}

function textOf(bytes: Uint8Array): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

/** One token in the shape of chat completions. */
function chatLogprob(model: ServedModel, one: PartLogprob): Record<string, unknown> {
  return { ...tokenOf(model, one), top_logprobs: one.top.map((other) => tokenOf(model, other)) };
}

/** Tokens in the shape of chat completions. */
export function chatLogprobs(model: ServedModel, logprobs: readonly PartLogprob[]): unknown[] {
  return logprobs.map((one) => chatLogprob(model, one));
}

/** The same of a whole answer, made when it is written. */
export function wholeChatLogprobs(model: ServedModel, logprobs: readonly PartLogprob[]): LongList {
  return new LongList(logprobs.length, (i) => chatLogprob(model, logprobs[i]!));
}

function finite(logprob: number): number {
  return Math.max(logprob, LOGPROB_MIN);
}

function logprobOf({ logprob }: Score): number | null {
  return logprob === undefined ? null : finite(logprob);
}

/** A token in the older shape, which has no bytes: parts of characters are written out. */
function plainTextOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { ignoreBOM: true, fatal: true }).decode(bytes);
  } catch {
    return `bytes:${[...bytes].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("")}`;
  }
}

/** A prompt whose text comes before the answer's. */
export interface Echo {
  /** As the client wrote it. */
  text: string;
  nTokens: number;
}

/** The older shape: four lists with an entry for each token. */
export interface LogprobLists<List = readonly unknown[]> {
  tokens: List;
  token_logprobs: List;
  top_logprobs: List;
  text_offset: List;
}

type Score = PromptLogprob | PartLogprob;

/** How far away the text of a token is looked for when it is not the next of its prompt. */
const SEARCH_LENGTH = 16;

/** The older shape of text completions, for one choice; it goes on from part to part. */
export class TextLogprobs {
  readonly #model: ServedModel;
  readonly #echo: Echo;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** Characters so far. */
  #end = 0;
  /** Tokens of the prompt so far, then 1 more. */
  #nEchoed = 0;

  /** `echo`: the prompt, which is told first. */
  constructor(model: ServedModel, echo: Echo = { text: "", nTokens: 0 }) {
    this.#model = model;
    this.#echo = echo;
  }

  /** Tells about the next tokens of the prompt, and the text they stand for: all pieces together are the prompt's. */
  prompt(scores: readonly PromptLogprob[]): { text: string; logprobs: LogprobLists } {
    const start = this.#end;
    const logprobs = this.#lists(scores);
    if (this.#nEchoed === this.#echo.nTokens) this.#end = this.#echo.text.length;
    return { text: this.#echo.text.slice(start, this.#end), logprobs };
  }

  /** Tells about the next tokens of the answer. */
  next(logprobs: readonly PartLogprob[]): LogprobLists {
    return this.#lists(logprobs);
  }

  /** The lists of a prompt and its answer, made when they are written; text offsets last. */
  whole(prompt: readonly PromptLogprob[], answer: readonly PartLogprob[]): LogprobLists<LongList> {
    const list = (of: (score: Score) => unknown): LongList =>
      new LongList(prompt.length + answer.length, (i) => of(prompt[i] ?? answer[i - prompt.length]!));
    return {
      tokens: list((score) => this.#textOf(score)),
      token_logprobs: list(logprobOf),
      top_logprobs: list((score) => this.#topOf(score)),
      text_offset: list((score) => this.#offsetOf(score)),
    };
  }

  #lists(all: readonly Score[]): LogprobLists {
    return {
      tokens: all.map((score) => this.#textOf(score)),
      token_logprobs: all.map(logprobOf),
      top_logprobs: all.map((score) => this.#topOf(score)),
      text_offset: all.map((score) => this.#offsetOf(score)),
    };
  }

  #textOf({ token }: { token: number }): string {
    return plainTextOf(this.#model.tokenBytes(token));
  }

  #topOf({ logprob, top }: Score): Record<string, number> | null {
    return logprob === undefined
      ? null
      : Object.fromEntries(top.map((one) => [this.#textOf(one), finite(one.logprob)]));
  }

  /** Where a token begins; the next one is the next. */
  #offsetOf({ token }: Score): number {
    const { text, nTokens } = this.#echo;
    const isPrompt = this.#nEchoed < nTokens;
    // What was cut in the middle of a character at the prompt's end is not the answer's.
    if (!isPrompt && this.#nEchoed++ === nTokens) [this.#end] = [text.length, this.#decoder.decode()];
    const at = this.#end;
    const piece = this.#decoder.decode(this.#model.tokenBytes(token), { stream: true });
    this.#end = isPrompt ? this.#find(piece) : at + piece.length;
    if (isPrompt) this.#nEchoed++;
    return at;
  }

  /**
   * Where the text of a token ends in the prompt. Tokens that stand for none (BOS) end where they begin; a space in
   * front that only the vocabulary wants is none of the prompt's.
   */
  #find(piece: string): number {
    const { text } = this.#echo, at = this.#end;
    if (text.startsWith(piece, at)) return at + piece.length;
    if (at === 0 && piece.startsWith(" ") && text.startsWith(piece.slice(1))) return piece.length - 1;
    const next = text.slice(at, at + SEARCH_LENGTH + piece.length).indexOf(piece);
    return next < 0 ? at : at + next + piece.length;
  }
}
