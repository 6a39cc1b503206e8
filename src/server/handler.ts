/** The server as a function from requests to responses: no socket, no port, no signal. */
import { anthropicFailure } from "./anthropic/errors.ts";
import { ANTHROPIC_ROUTES } from "./anthropic/routes.ts";
import { checkHost, Cors, KeyCheck } from "./access.ts";
import { readJson } from "./body.ts";
import { ApiError, errorResponse, isFailure, toApiError } from "./errors.ts";
import { HEALTH_ROUTES } from "./health.ts";
import { checkLimits, type Limits } from "./limits.ts";
import { METRIC } from "./metric_names.ts";
import { OLLAMA_ROUTES } from "./ollama/routes.ts";
import { chatCompletions } from "./openai/chat.ts";
import { completions } from "./openai/completions.ts";
import { listModels, oneModel } from "./openai/models.ts";
import { detokenize, tokenize } from "./openai/tokens.ts";
import { PAGE_ROUTES } from "./page/mod.ts";
import { createResponse } from "./responses/mod.ts";
import type { Route } from "./route.ts";
import { checkClientHeader, clientOf, type Sender } from "./sender.ts";
import { Service } from "./service.ts";
import type { ServedModel, ServerStatus } from "./served_model.ts";

/** What a server is made of. */
export interface HandlerOptions {
  /** Models by the names that clients use. Read at each request: the owner may add and remove. */
  models: Readonly<Record<string, ServedModel>>;
  /** Keys of which each request needs one; default none, and everybody may ask. */
  apiKeys?: readonly string[] | undefined;
  /** Hosts of the `Host` and `Origin` headers; default any. Without port; IPv6 in brackets. */
  allowedHosts?: readonly string[] | undefined;
  /** Origins of pages that may ask and read answers, such as `https://app.example`; `*` is all. Default none. */
  corsOrigins?: readonly string[] | undefined;
  /**
   * Header in which a proxy names who asks, such as `x-real-ip`; of a list the last counts. Only where every request
   * comes through a proxy that sets it. Default none: clients are told apart by API keys, else by addresses.
   */
  clientHeader?: string | undefined;
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
  /** The same, with what a listener knows of its sender: clients without API keys share by it. */
  (request: Request, sender: Sender): Promise<Response>;
  /** Takes no more requests; resolves when those that run have ended, or were cut after the time. */
  drain(timeoutMs: number): Promise<void>;
}

/** Time for what was cut to end: engines to stop, and clients to take the event that says so. */
const CUT_MS = 2000;

const ROUTES: readonly Route[] = [
  { method: "POST", path: "/v1/chat/completions", answer: chatCompletions },
  { method: "POST", path: "/v1/completions", answer: completions },
  { method: "POST", path: "/v1/responses", answer: createResponse },
  { method: "GET", path: "/v1/models", answer: listModels },
  { method: "GET", path: "/v1/models/", answer: oneModel },
  { method: "POST", path: "/tokenize", answer: tokenize },
  { method: "POST", path: "/detokenize", answer: detokenize },
  ...ANTHROPIC_ROUTES,
  ...OLLAMA_ROUTES,
  ...HEALTH_ROUTES,
  ...PAGE_ROUTES,
];

function checkMethod(method: string, route: Route): void {
  const allowed = route.method === "GET" ? ["GET", "HEAD"] : [route.method];
  if (route.method === "ANY" || allowed.includes(method)) return;
  const message = `${route.path} takes ${route.method}`;
  const headers = { allow: allowed.join(", ") };
  throw new ApiError(405, "invalid_request_error", "method_not_allowed", message, { headers });
}

/** The body of a failure: in the shape of the route's API, or of the one whose client asks. */
function failureBody(error: ApiError, { headers }: Request, route: Route | undefined, id: string): unknown {
  const isAnthropic = headers.has("anthropic-version");
  return (route?.failure ?? (isAnthropic ? anthropicFailure : undefined))?.(error, id);
}

/** The route of a path; undefined for none. */
function routeOf(path: string): Route | undefined {
  const matches = (route: Route): boolean =>
    route.path.endsWith("/") && route.path !== "/"
      ? path.startsWith(route.path) && path !== route.path
      : path === route.path;
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
  const cors = new Cors(options.corsOrigins ?? []);
  checkClientHeader(options.clientHeader);

  const answer = async (
    request: Request,
    route: Route | undefined,
    id: string,
    startedAt: number,
    sender: Sender | undefined,
  ): Promise<Response> => {
    checkHeaderBytes(request.headers, service.limits.headerBytes);
    checkHost(request, options.allowedHosts, cors);
    const preflight = cors.preflight(request);
    if (preflight !== undefined) return preflight;
    const key = route?.open === true ? undefined : keys.check(request.headers);
    if (route === undefined) throw notFound();
    checkMethod(request.method, route);
    const rest = restOf(route, new URL(request.url).pathname);
    const body = route.method === "POST" ? await readJson(request, service.limits) : undefined;
    const client = clientOf(key, request.headers, options.clientHeader, sender);
    return await route.answer({ service, request, id, body, rest, client, startedAt });
  };

  const handle = async (request: Request, sender?: Sender): Promise<Response> => {
    const startedAt = performance.now();
    const id = requestId(request.headers);
    let route: Route | undefined;
    let response: Response;
    try {
      // A runtime may hand on what a client wrote into its Host header, and that need not be a URL.
      if (!URL.canParse(request.url)) throw new ApiError(400, "invalid_request_error", "invalid_url", "no valid URL");
      route = routeOf(new URL(request.url).pathname);
      response = await answer(request, route, id, startedAt, sender);
    } catch (error) {
      if (isFailure(error)) service.report(error);
      const told = toApiError(error);
      service.metrics.add(METRIC.errors, { code: told.code });
      response = errorResponse(told, failureBody(told, request, route, id));
    }
    cors.mark(request, response.headers);
    for (const name of ["x-request-id", "request-id"]) response.headers.set(name, id);
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
