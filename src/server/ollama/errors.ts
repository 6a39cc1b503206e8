/** Failures in the shape of Ollama's API: `{ error: "..." }`, with the field's name in the text. */
import type { ApiError } from "../errors.ts";

/** The body of a failure, and of the last line of a stream that failed. */
export function ollamaFailure({ message, param }: ApiError): { error: string } {
  return { error: param === undefined || message.includes(param) ? message : `${param}: ${message}` };
}
