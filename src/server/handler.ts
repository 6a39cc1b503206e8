/** The server as a function from requests to responses: no socket, no port, no signal. */
import { checkHost, KeyCheck } from "./access.ts";
import { readJson } from "./body.ts";
import { ApiError, errorResponse, isFailure, toApiError } from "./errors.ts";
import { HEALTH_ROUTES } from "./health.ts";
import { checkLimits, type Limits } from "./limits.ts";
import { METRIC } from "./metrics.ts";
import { chatCompletions } from "./openai/chat.ts";
import { completions } from "./openai/completions.ts";
import { listModels, oneModel } from "./openai/models.ts";
import { detokenize, tokenize } from "./openai/tokens.ts";
import type { Route } from "./route.ts";
import { type ServedModel, type ServerStatus, Service } from "./service.ts";

/** What a server is made of. */
export interface HandlerOptions {
  /** Models by the names that clients use. Read at each request: the owner may add and remove. */
  models: Readonly<Record<string, ServedModel>>;
  /** Keys of which each request needs one; default none, and everybody may ask. */
  apiKeys?: readonly string[] | undefined;
  /** Hosts of the `Host` and `Origin` headers; default any. Without port; IPv6 in brackets. */
  allowedHosts?: readonly string[] | undefined;
  /** Limits other than the defaults. */
  limits?: Partial<Limits> | undefined;
  /** Where the server stands, changed by its owner; default always ready. */
  status?: ServerStatus | undefined;
  /** Hears of each answer when its head is ready; never of prompts. */
  onAnswer?: ((entry: AnswerLog) => void) | undefined;
  /** Hears what went wrong that was nobody's mistake, in full: clients are told its code only. */
  onError?: ((error: unknown) => void) | undefined;
}

/** One line of a log. */
export interface AnswerLog {
  /** The request's id. */
  id: string;
  /** The request's method. */
  method: string;
  /** The route's path; undefined where there was none. */
  route: string | undefined;
  /** The answer's status. */
  status: number;
  /** Until the head of the answer. */
  ms: number;
}

/** A server. */
export interface Handler {
  /** Answers a request; never rejects, unless a callback of its owner throws. */
  (request: Request): Promise<Response>;
  /** Takes no more requests; resolves when those that run have ended, or were cut after the time. */
  drain(timeoutMs: number): Promise<void>;
}

/** Time for an engine to end what was cut. */
const CUT_MS = 5000;

const ROUTES: readonly Route[] = [
  { method: "POST", path: "/v1/chat/completions", answer: chatCompletions },
  { method: "POST", path: "/v1/completions", answer: completions },
  { method: "GET", path: "/v1/models", answer: listModels },
  { method: "GET", path: "/v1/models/", answer: oneModel },
  { method: "POST", path: "/tokenize", answer: tokenize },
  { method: "POST", path: "/detokenize", answer: detokenize },
  ...HEALTH_ROUTES,
];

function methodsOf({ method }: Route): string[] {
  return method === "GET" ? ["GET", "HEAD"] : ["POST"];
}

/** The route of a path; undefined for none. */
function routeOf(path: string): Route | undefined {
  const matches = (route: Route): boolean =>
    route.path.endsWith("/") ? path.startsWith(route.path) && path !== route.path : path === route.path;
  return ROUTES.find(matches);
}

function restOf(route: Route, path: string): string {
  try {
    return decodeURIComponent(path.slice(route.path.length));
  } catch {
    throw notFound();
  }
}

function notFound(): ApiError {
  return new ApiError(404, "invalid_request_error", "not_found", "there is nothing at this path");
}

function checkHeaderBytes(headers: Headers, bytesMax: number): void {
  let nBytes = 0;
  for (const [name, value] of headers) nBytes += name.length + value.length;
  if (nBytes <= bytesMax) return;
  throw new ApiError(431, "invalid_request_error", "headers_too_large", `the headers have more than ${bytesMax} bytes`);
}

/** The client's own id when it is a plain one, else a new one. */
function requestId(headers: Headers): string {
  const given = headers.get("x-request-id");
  return given !== null && /^[\w.:/+=-]{1,128}$/.test(given) ? given : `req-${crypto.randomUUID()}`;
}

/** Makes a server over models. Mount it anywhere a `fetch` handler goes, or call it. */
export function createHandler(options: HandlerOptions): Handler {
  const status = options.status ?? { state: "ready", loadedBytes: 0, totalBytes: 0 };
  const service = new Service(options.models, checkLimits(options.limits), status, options.onError);
  const keys = new KeyCheck(options.apiKeys ?? []);

  const answer = async (request: Request, route: Route | undefined, startedAt: number): Promise<Response> => {
    checkHeaderBytes(request.headers, service.limits.headerBytes);
    checkHost(request, options.allowedHosts);
    if (route?.open !== true) keys.check(request.headers);
    if (route === undefined) throw notFound();
    if (!methodsOf(route).includes(request.method)) {
      const message = `${route.path} takes ${route.method}`;
      const headers = { allow: methodsOf(route).join(", ") };
      throw new ApiError(405, "invalid_request_error", "method_not_allowed", message, { headers });
    }
    const rest = restOf(route, new URL(request.url).pathname);
    const body = route.method === "POST" ? await readJson(request, service.limits) : undefined;
    return await route.answer({ service, request, body, rest, startedAt });
  };

  const handle = async (request: Request): Promise<Response> => {
    const startedAt = performance.now();
    const id = requestId(request.headers);
    let route: Route | undefined;
    let response: Response;
    try {
      // A runtime may hand on what a client wrote into its Host header, and that need not be a URL.
      if (!URL.canParse(request.url)) throw new ApiError(400, "invalid_request_error", "invalid_url", "no valid URL");
      route = routeOf(new URL(request.url).pathname);
      response = await answer(request, route, startedAt);
    } catch (error) {
      if (isFailure(error)) service.report(error);
      response = errorResponse(toApiError(error));
    }
    response.headers.set("x-request-id", id);
    response.headers.set("x-content-type-options", "nosniff");
    service.metrics.add(METRIC.http, { route: route?.path ?? "none", status: String(response.status) });
    options.onAnswer?.({
      id,
      method: request.method,
      route: route?.path,
      status: response.status,
      ms: performance.now() - startedAt,
    });
    return request.method === "HEAD" ? new Response(null, response) : response;
  };

  return Object.assign(handle, {
    async drain(timeoutMs: number): Promise<void> {
      status.state = "draining";
      const late = Promise.withResolvers<void>();
      const cut = setTimeout(() => service.cutAll(), timeoutMs);
      const giveUp = setTimeout(late.resolve, timeoutMs + CUT_MS);
      await Promise.race([service.idle(), late.promise]);
      clearTimeout(cut);
      clearTimeout(giveUp);
    },
  });
}
