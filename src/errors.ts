/** The one error class of the library, its codes, and their way across the C ABI and between Workers. */

/**
 * Every code a {@linkcode RealizarError} can carry. Codes are stable: programs may switch on them.
 * The index of a code is its native status: C returns `-index` (csrc/realizar.h, `rz_status`).
 */
export const ERROR_CODES = [
  "OK", // never thrown; keeps index 0 for success
  "TRUNCATED", // the file or buffer ends before what it announces
  "MAGIC", // not a file of this format
  "VERSION", // a version of the format, or of the library's ABI, that is not supported
  "LIMIT", // a count, length or budget above its limit
  "OVERFLOW", // a product or sum of sizes does not fit
  "TYPE", // a value or tensor of the wrong type
  "DUPLICATE", // a name or key given twice
  "ALIGN", // an offset or alignment that is not allowed
  "OFFSET", // a range that overlaps another, or lies outside its file
  "SHAPE", // dimensions that disagree with the architecture
  "KEY_MISSING", // metadata or a tensor that must be there is not
  "UNSUPPORTED", // understood, but not something this build can do
  "VOCAB", // vocabulary arrays that contradict each other
  "TEMPLATE", // a chat template that is missing, broken, or over budget
  "ARG", // an argument out of its range
  "HANDLE", // a stale, foreign or unknown native handle
  "OOM_HOST", // no host memory
  "OOM_DEVICE", // no device memory
  "DEVICE", // a device call failed
  "DEVICE_LOST", // the device cannot be used any more
  "CANCELLED", // stopped by the caller
  "BUSY", // a queue is full, or a second reader came
  "CLOSED", // the object, or what it belongs to, was closed
  "FORKED", // used in a process forked from the one that opened it
  "IO", // reading a file failed, or it changed since it was validated
  "INTERNAL", // a bug in realizar
] as const;

/** One of {@linkcode ERROR_CODES}. */
export type ErrorCode = Exclude<(typeof ERROR_CODES)[number], "OK">;

/** Optional parts of a {@linkcode RealizarError}. */
export interface RealizarErrorOptions {
  /** Every problem found, when there is more than one. */
  problems?: readonly string[] | undefined;
  /** What led to this error; `signal.reason` for `CANCELLED`. */
  cause?: unknown;
}

/**
 * Every failure of the library. `message` says what was wrong, where (file, byte offset, tensor or key),
 * what was found and what was expected.
 */
export class RealizarError extends Error {
  /** Always `RealizarError`. */
  override readonly name = "RealizarError";
  /** The stable code. */
  readonly code: ErrorCode;
  /** Every problem found; the message alone when there is just one. */
  readonly problems: readonly string[];

  /** `message` is one line; `options.problems` lists all of several. */
  constructor(code: ErrorCode, message: string, options: RealizarErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.problems = options.problems ?? [message];
  }
}

/** A {@linkcode RealizarError} as plain data: structured clone loses `code` in every runtime. */
export interface WireError {
  code: ErrorCode;
  message: string;
  problems: readonly string[];
  stack?: string | undefined;
}

/** Anything thrown, as data that can be posted to another thread. */
export function errorToWire(thrown: unknown): WireError {
  if (thrown instanceof RealizarError) {
    return { code: thrown.code, message: thrown.message, problems: thrown.problems, stack: thrown.stack };
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  const stack = thrown instanceof Error ? thrown.stack : undefined;
  return { code: "INTERNAL", message, problems: [message], stack };
}

/** The class again, on the receiving thread. */
export function errorFromWire(wire: WireError): RealizarError {
  const error = new RealizarError(wire.code, wire.message, { problems: wire.problems });
  if (wire.stack !== undefined) error.stack = wire.stack;
  return error;
}

/** The code of a native status (`status` is the positive number); unknown numbers are `INTERNAL`. */
export function codeOfStatus(status: number): ErrorCode {
  const code = ERROR_CODES[status];
  return code === undefined || code === "OK" ? "INTERNAL" : code;
}
