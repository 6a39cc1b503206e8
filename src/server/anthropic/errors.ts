/** Failures in the shape of Anthropic's API: `{ type: "error", error: { type, message, details }, request_id }`. */
import type { ApiError } from "../errors.ts";

const TYPES: Readonly<Record<number, string>> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  431: "request_too_large",
  504: "timeout_error",
};

function typeOf({ status, type }: ApiError): string {
  if (type === "overloaded_error") return type;
  return TYPES[status] ?? (status < 500 ? "invalid_request_error" : "api_error");
}

/** The body of a failure, and of a stream's `error` event. `details` tells programs the code and the field. */
export function anthropicFailure(error: ApiError, id: string): Readonly<Record<string, unknown>> {
  const details = { error_code: error.code, param: error.param ?? null };
  return { type: "error", error: { type: typeOf(error), message: error.message, details }, request_id: id };
}
