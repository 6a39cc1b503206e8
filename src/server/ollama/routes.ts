/** The routes of Ollama's API. */
import { ApiError } from "../errors.ts";
import type { Route, RouteContext } from "../route.ts";
import { chat } from "./chat.ts";
import { ollamaFailure } from "./errors.ts";
import { generate } from "./generate.ts";
import { ps, show, tags, version } from "./models.ts";

/** What the API has and this server has not: it serves what it was started with. */
const MISSING = ["blobs", "copy", "create", "delete", "embed", "embeddings", "pull", "push"];

function refuse({ rest }: RouteContext): never {
  const name = rest.split("/")[0]!;
  if (MISSING.includes(name)) {
    throw new ApiError(501, "invalid_request_error", "not_implemented", `/api/${name} is not supported by this server`);
  }
  throw new ApiError(404, "invalid_request_error", "not_found", "there is nothing at this path");
}

/** Under /api, in this order. */
export const OLLAMA_ROUTES: readonly Route[] = [
  { method: "POST", path: "/api/chat", answer: chat, failure: ollamaFailure },
  { method: "POST", path: "/api/generate", answer: generate, failure: ollamaFailure },
  { method: "POST", path: "/api/show", answer: show, failure: ollamaFailure },
  { method: "GET", path: "/api/tags", answer: tags, failure: ollamaFailure },
  { method: "GET", path: "/api/ps", answer: ps, failure: ollamaFailure },
  { method: "GET", path: "/api/version", answer: version, failure: ollamaFailure },
  { method: "ANY", path: "/api/", answer: refuse, failure: ollamaFailure },
];
