/** Log-probabilities in the two shapes of OpenAI's API. */
import type { PartLogprob, TokenLogprob } from "../../types.ts";
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

/** The older shape of text completions, for one choice; it goes on from part to part. */
export class TextLogprobs {
  readonly #model: ServedModel;
  readonly #decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  /** Characters so far. */
  #end = 0;

  constructor(model: ServedModel) {
    this.#model = model;
  }

  /** Tells about the next tokens. */
  next(logprobs: readonly PartLogprob[]): Record<string, unknown> {
    const textOf = (token: number): string => plainTextOf(this.#model.tokenBytes(token));
    const finite = (logprob: number): number => Math.max(logprob, LOGPROB_MIN);
    return {
      tokens: logprobs.map(({ token }) => textOf(token)),
      token_logprobs: logprobs.map(({ logprob }) => finite(logprob)),
      top_logprobs: logprobs.map(({ top }) =>
        Object.fromEntries(top.map(({ token, logprob }) => [textOf(token), finite(logprob)]))
      ),
      text_offset: logprobs.map(({ token }) => {
        const at = this.#end;
        this.#end += this.#decoder.decode(this.#model.tokenBytes(token), { stream: true }).length;
        return at;
      }),
    };
  }
}
