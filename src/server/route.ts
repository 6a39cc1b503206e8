/** What routes are and get. */
import type { Service } from "./service.ts";

/** A request on its way to a route. */
export interface RouteContext {
  /** The state of the server. */
  service: Service;
  /** The request; its body is read already. */
  request: Request;
  /** The JSON body of a POST; undefined otherwise. */
  body: unknown;
  /** What follows the route's path, e.g. a model's name. */
  rest: string;
  /** When the request came, on the clock of `performance.now()`. */
  startedAt: number;
}

/** One route. */
export interface Route {
  /** GET routes answer HEAD too. */
  method: "GET" | "POST";
  /** The whole path, or its beginning when it ends with a slash. */
  path: string;
  /** Answers without an API key: probes of load balancers have none. */
  open?: boolean;
  /** Makes the answer; what it throws becomes one. */
  answer(context: RouteContext): Response | Promise<Response>;
}
