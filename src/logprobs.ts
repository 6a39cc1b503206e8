/** Public interfaces of log-probabilities. */

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
