/** The routes of Anthropic's API; its models are listed beside OpenAI's. */
import { ApiError } from "../errors.ts";
import type { Route } from "../route.ts";
import { anthropicFailure } from "./errors.ts";
import { countTokens, createMessage } from "./messages.ts";

function refuse(): never {
  throw new ApiError(404, "invalid_request_error", "not_found", "there is nothing at this path");
}

/** Under /v1/messages, in this order. */
export const ANTHROPIC_ROUTES: readonly Route[] = [
  { method: "POST", path: "/v1/messages", answer: createMessage, failure: anthropicFailure },
  { method: "POST", path: "/v1/messages/count_tokens", answer: countTokens, failure: anthropicFailure },
  { method: "ANY", path: "/v1/messages/", answer: refuse, failure: anthropicFailure },
];
