/** Log-probabilities in the two shapes of OpenAI's API. */
import type { PartLogprob, PromptLogprob, TokenLogprob } from "../../types.ts";
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

/** The shape of chat completions. */
export function chatLogprobs(model: ServedModel, logprobs: readonly PartLogprob[]): Record<string, unknown> {
  const content = logprobs.map((one) => ({
    ...tokenOf(model, one),
    top_logprobs: one.top.map((other) => tokenOf(model, other)),
  }));
  return { content, refusal: null };
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
export interface LogprobLists {
  tokens: string[];
  token_logprobs: (number | null)[];
  top_logprobs: (Record<string, number> | null)[];
  text_offset: number[];
}

/** How far away the text of a token is looked for when it is not the next of its prompt. */
const SEARCH_LENGTH = 16;

/** The older shape of text completions, for one choice; it goes on from part to part. */
export class TextLogprobs {
  readonly #model: ServedModel;
  readonly #echo: Echo;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** Characters so far, and tokens of the prompt. */
  #end = 0;
  #nEchoed = 0;

  /** `echo`: the prompt, which is told first. */
  constructor(model: ServedModel, echo: Echo = { text: "", nTokens: 0 }) {
    this.#model = model;
    this.#echo = echo;
  }

  /** Tells about the next tokens of the prompt, and the text they stand for: all pieces together are the prompt's. */
  prompt(scores: readonly PromptLogprob[]): { text: string; logprobs: LogprobLists } {
    const { text, nTokens } = this.#echo;
    const start = this.#end;
    const logprobs = this.#lists(scores, (piece) => this.#find(piece));
    this.#nEchoed += scores.length;
    if (this.#nEchoed === nTokens) {
      this.#end = text.length;
      this.#decoder.decode(); // what was cut in the middle of a character is not the answer's
    }
    return { text: text.slice(start, this.#end), logprobs };
  }

  /** Tells about the next tokens of the answer. */
  next(logprobs: readonly PartLogprob[]): LogprobLists {
    return this.#lists(logprobs, (piece) => this.#end + piece.length);
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

  #lists(all: readonly (PromptLogprob | PartLogprob)[], endOf: (piece: string) => number): LogprobLists {
    const textOf = (token: number): string => plainTextOf(this.#model.tokenBytes(token));
    const finite = (logprob: number): number => Math.max(logprob, LOGPROB_MIN);
    return {
      tokens: all.map(({ token }) => textOf(token)),
      token_logprobs: all.map(({ logprob }) => logprob === undefined ? null : finite(logprob)),
      top_logprobs: all.map(({ logprob, top }) =>
        logprob === undefined ? null : Object.fromEntries(top.map((one) => [textOf(one.token), finite(one.logprob)]))
      ),
      text_offset: all.map(({ token }) => {
        const at = this.#end;
        this.#end = endOf(this.#decoder.decode(this.#model.tokenBytes(token), { stream: true }));
        return at;
      }),
    };
  }
}

/** The lists of a prompt and of its answer as one. */
export function joinedLists(a: LogprobLists, b: LogprobLists): LogprobLists {
  return {
    tokens: [...a.tokens, ...b.tokens],
    token_logprobs: [...a.token_logprobs, ...b.token_logprobs],
    top_logprobs: [...a.top_logprobs, ...b.top_logprobs],
    text_offset: [...a.text_offset, ...b.text_offset],
  };
}
