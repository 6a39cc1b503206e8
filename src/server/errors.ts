/** Failures as HTTP answers, in the shape of OpenAI's API: `{ error: { message, type, param, code } }`. */
import { RealizarError } from "../errors.ts";

/** Optional parts of an {@linkcode ApiError}. */
export interface ApiErrorOptions {
  /** The request's field that is wrong, e.g. `messages[0].content`. */
  param?: string | undefined;
  /** Further headers of the answer. */
  headers?: Readonly<Record<string, string>> | undefined;
}

/** A failure with the answer that it gets. */
export class ApiError extends Error {
  /** HTTP status. */
  readonly status: number;
  /** OpenAI's class of errors, e.g. `invalid_request_error`. */
  readonly type: string;
  /** What was wrong, for programs. */
  readonly code: string;
  /** The field that is wrong. */
  readonly param: string | undefined;
  /** Further headers. */
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, type: string, code: string, message: string, options: ApiErrorOptions = {}) {
    super(message);
    this.status = status;
    this.type = type;
    this.code = code;
    this.param = options.param;
    this.headers = options.headers ?? {};
  }

  /** The body, as clients of the API expect it. */
  body(): { error: { message: string; type: string; param: string | null; code: string } } {
    return { error: { message: this.message, type: this.type, param: this.param ?? null, code: this.code } };
  }
}

/** A field whose value is wrong: 400. */
export function invalid(param: string, message: string, code = "invalid_value"): ApiError {
  return new ApiError(400, "invalid_request_error", code, message, { param });
}

/** Something the API defines and this server can't do: 400, by name. */
export function unsupported(param: string, message = `${param} is not supported by this server`): ApiError {
  return invalid(param, message, "unsupported_parameter");
}

/** Something is too large: 413. */
export function tooLarge(message: string): ApiError {
  return new ApiError(413, "invalid_request_error", "request_too_large", message);
}

/** Try again later: 503 with the time to wait. */
export function unavailable(type: string, code: string, message: string, retryMs = 1000): ApiError {
  const headers = { "retry-after": String(Math.ceil(retryMs / 1000)), "retry-after-ms": String(retryMs) };
  return new ApiError(503, type, code, message, { headers });
}

/** Every place and every place in the queue is taken. */
export function overloaded(message: string): ApiError {
  return unavailable("overloaded_error", "overloaded", message);
}

/** What went wrong, as an answer. Failures of the server's own say no more than their code. */
export function toApiError(thrown: unknown): ApiError {
  if (thrown instanceof ApiError) return thrown;
  const code = thrown instanceof RealizarError ? thrown.code : "INTERNAL";
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  switch (code) {
    case "ARG":
      return new ApiError(400, "invalid_request_error", "invalid_value", message);
    case "LIMIT":
      return new ApiError(400, "invalid_request_error", "limit_exceeded", message);
    case "UNSUPPORTED":
      return new ApiError(400, "invalid_request_error", "unsupported_parameter", message);
    case "TEMPLATE":
      return new ApiError(422, "invalid_request_error", "template_error", message, { param: "messages" });
    case "BUSY":
      return overloaded(message);
    case "CLOSED":
      return unavailable("server_error", "unavailable", "the model is closed");
    case "CANCELLED":
      return new ApiError(499, "invalid_request_error", "cancelled", "the client went away");
    default:
      return new ApiError(500, "server_error", code.toLowerCase(), `the server failed (${code})`);
  }
}

/** Whether the server's owner should hear of it: what is nobody's mistake and no matter of load. */
export function isFailure(thrown: unknown): boolean {
  if (thrown instanceof ApiError) return false;
  return !(thrown instanceof RealizarError) || (thrown.code !== "BUSY" && toApiError(thrown).status >= 500);
}

/** An answer with data; runtimes differ in the content-type that `Response.json` writes. */
export function jsonResponse(data: unknown, init: { status?: number; headers?: HeadersInit } = {}): Response {
  const headers = new Headers(init.headers);
  headers.set("content-type", "application/json");
  return new Response(JSON.stringify(data), { ...init, headers });
}

/**
 * The answer to a failure, with another body than OpenAI's where an API has its own. Clients that retry by themselves
 * are told when that is of no use: what is wrong with the request stays wrong.
 */
export function errorResponse(error: ApiError, body: unknown = error.body()): Response {
  const headers = new Headers(error.headers);
  if (error.status < 500 && error.status !== 408) headers.set("x-should-retry", "false");
  return jsonResponse(body, { status: error.status, headers });
}
