/** What routes are and get. */
import type { ApiError } from "./errors.ts";
import type { Service } from "./service.ts";

/** A request on its way to a route. */
export interface RouteContext {
  /** The state of the server. */
  service: Service;
  /** The request; its body is read already. */
  request: Request;
  /** The request's id, as the answer's `x-request-id` tells it. */
  id: string;
  /** The JSON body of a POST; undefined otherwise. */
  body: unknown;
  /** What follows the route's path, e.g. a model's name. */
  rest: string;
  /** Who asks, for the engine: sender.ts. */
  client: string;
  /** When the request came, on the clock of `performance.now()`. */
  startedAt: number;
}

/** One route. */
export interface Route {
  /** GET routes answer HEAD too; `ANY` routes take every method and no body. */
  method: "GET" | "POST" | "ANY";
  /** The whole path, or its beginning when it ends with a slash and is not the root. */
  path: string;
  /** Answers without an API key: probes of load balancers have none, and a page is asked for before it has one. */
  open?: boolean;
  /** Makes the answer; what it throws becomes one. */
  answer(context: RouteContext): Response | Promise<Response>;
  /** The JSON body of a failure, in the API's own shape; default OpenAI's, {@linkcode ApiError.body}. */
  failure?(error: ApiError, id: string): unknown;
}
