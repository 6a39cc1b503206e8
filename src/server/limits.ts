/** What a request may take. */
import { RealizarError } from "../errors.ts";

/** Limits of a server; what is beyond is refused with 400, 413, 431 or 503. */
export interface Limits {
  /** Bytes of a body; default 8 MiB. */
  bodyBytes: number;
  /** Arrays and objects inside each other; default 128. */
  jsonDepth: number;
  /** Strings (names too), arrays and objects of a body, and 10 times as many values in all; default 50,000. */
  jsonValues: number;
  /** Bytes of all header names and values; default 32 KiB. */
  headerBytes: number;
  /** Bytes of a request's messages, or of its prompts together; default 4 MiB. */
  promptBytes: number;
  /** Generations of one request: n times its prompts; default 128. */
  choices: number;
  /** Requests in the server at once beyond `maxSequences` of the model; default 4 x `maxSequences`. */
  queuedRequests: number | undefined;
  /** Prompt tokens of all waiting generations together; default as many contexts as requests may wait. */
  queuedTokens: number | undefined;
  /** Who got no place in the engine after so long is answered 503; default: waits. Up to 2^31 - 1 ms. */
  queueTimeoutMs: number | undefined;
  /** A body that brings no byte for so long is cut; default 10 s. */
  bodyStallMs: number;
  /** A body that is not whole after so long is cut, however steadily it comes; default 60 s. */
  bodyMs: number;
  /** Silence of an event stream until a comment is sent; default 5 s. */
  pingMs: number;
}

const DEFAULTS: Limits = {
  bodyBytes: 8 * 2 ** 20,
  jsonDepth: 128,
  jsonValues: 50_000,
  headerBytes: 32 * 2 ** 10,
  promptBytes: 4 * 2 ** 20,
  choices: 128,
  queuedRequests: undefined,
  queuedTokens: undefined,
  queueTimeoutMs: undefined,
  bodyStallMs: 10_000,
  bodyMs: 60_000,
  pingMs: 5_000,
};

/** Limits that may be 0: nobody waits then. */
const FROM_ZERO: readonly (keyof Limits)[] = ["queuedRequests", "queuedTokens"];
/** What a timer can hold; beyond it one fires at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Limits with the defaults filled in; throws `ARG` for what is no whole number above 0 (queues: 0 is allowed). */
export function checkLimits(given: Partial<Limits> = {}): Limits {
  const limits = { ...DEFAULTS };
  for (const name of Object.keys(DEFAULTS) as (keyof Limits)[]) {
    const value = given[name];
    if (value === undefined) continue;
    const min = FROM_ZERO.includes(name) ? 0 : 1;
    const max = name.endsWith("Ms") ? TIMER_MS_MAX : Number.MAX_SAFE_INTEGER;
    if (!Number.isInteger(value) || value < min || value > max) {
      throw new RealizarError("ARG", `limits.${name}: got ${value}, expected a whole number from ${min} to ${max}`);
    }
    limits[name] = value;
  }
  return limits;
}
