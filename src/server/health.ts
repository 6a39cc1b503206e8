/** Probes, versions and metrics. */
import { jsonResponse } from "./errors.ts";
import { runtimeVersion } from "../platform/env.ts";
import type { Route, RouteContext } from "./route.ts";
import { VERSION } from "./version.ts";

function statusOf({ service }: RouteContext): Response {
  const { state, loadedBytes, totalBytes } = service.status;
  const progress = state === "loading" ? { loaded_bytes: loadedBytes, total_bytes: totalBytes } : {};
  const headers: Record<string, string> = state === "ready" ? {} : { "retry-after": "1" };
  return jsonResponse({ status: state === "ready" ? "ok" : state, ...progress }, {
    status: state === "ready" ? 200 : 503,
    headers,
  });
}

/** Routes of those who operate the server. */
export const HEALTH_ROUTES: readonly Route[] = [
  { method: "GET", path: "/health", open: true, answer: statusOf },
  { method: "GET", path: "/readyz", open: true, answer: statusOf },
  { method: "GET", path: "/livez", open: true, answer: () => jsonResponse({ status: "ok" }) },
  {
    method: "GET",
    path: "/version",
    answer: () => jsonResponse({ version: VERSION, runtime: runtimeVersion() }),
  },
  {
    method: "GET",
    path: "/metrics",
    answer: ({ service }) =>
      new Response(service.metricsText(), { headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" } }),
  },
];
