/** Public interfaces of log-probabilities. */

/** A token and its natural-log probability before temperature and filters. */
export interface TokenLogprob {
  /** Id of the token. */
  token: number;
  /** Natural logarithm of its probability. */
  logprob: number;
}

/** Log-probabilities of one token of a prompt. */
export interface PromptLogprob {
  /** Id of the token. */
  token: number;
  /** Natural logarithm of its probability after the tokens before it; undefined for the first, before which is none. */
  logprob: number | undefined;
  /** The likeliest tokens at its place, best first; none for the first. */
  top: TokenLogprob[];
}

/** Log-probabilities of one generated token. */
export interface PartLogprob extends TokenLogprob {
  /** The likeliest tokens, best first. */
  top: TokenLogprob[];
}
