/** The mistakes that can be made with every route, with the status they must get there. */
import { NAME, QUESTION } from "./server_support.ts";
import type { HostileCase } from "./server_hostile_cases.ts";

const json = { "content-type": "application/json" };

/** Routes that take a body, and a good one for each. */
const POSTS: readonly [path: string, body: Record<string, unknown>][] = [
  ["/v1/chat/completions", { model: NAME, messages: QUESTION, max_tokens: 1 }],
  ["/v1/completions", { model: NAME, prompt: "a", max_tokens: 1 }],
  ["/v1/responses", { model: NAME, input: "a", max_output_tokens: 16 }],
  ["/v1/messages", { model: NAME, messages: QUESTION, max_tokens: 1 }],
  ["/v1/messages/count_tokens", { model: NAME, messages: QUESTION }],
  ["/tokenize", { model: NAME, prompt: "a" }],
  ["/detokenize", { model: NAME, tokens: [5] }],
  ["/api/chat", { model: NAME, messages: QUESTION, stream: false, options: { num_predict: 1 } }],
  ["/api/generate", { model: NAME, prompt: "a", stream: false, options: { num_predict: 1 } }],
  ["/api/show", { model: NAME }],
];

/** Routes without a body. */
const GETS = [
  "/v1/models",
  `/v1/models/${NAME}`,
  "/health",
  "/readyz",
  "/livez",
  "/version",
  "/metrics",
  "/api/tags",
  "/api/ps",
  "/api/version",
  "/",
];

function mistakesOf([path, good]: (typeof POSTS)[number]): HostileCase[] {
  const named = (model: unknown): Record<string, unknown> => ({ ...good, model });
  const deep = `{"model":"${NAME}","x":${"[".repeat(200)}${"]".repeat(200)}}`;
  const cases: Omit<HostileCase, "path">[] = [
    { name: "a good one", body: good, status: 200 },
    { name: "no JSON", body: "{", status: 400 },
    { name: "nothing", body: "", status: 400 },
    { name: "an array", body: [good], status: 400 },
    { name: "null", body: "null", status: 400 },
    { name: "a string", body: `"model"`, status: 400 },
    { name: "too deep", body: deep, status: 400 },
    { name: "a form", body: "a=b", headers: { "content-type": "application/x-www-form-urlencoded" }, status: 415 },
    { name: "compressed", body: "{}", headers: { ...json, "content-encoding": "br" }, status: 415 },
    { name: "too long", body: "{}", headers: { ...json, "content-length": "9999999999" }, status: 413 },
    { name: "long headers", body: good, headers: { ...json, "x-long": "y".repeat(40_000) }, status: 431 },
    { name: "another method", method: "GET", status: 405 },
    { name: "DELETE", method: "DELETE", status: 405 },
    { name: "an unknown model", body: named("gpt-5"), status: 404 },
    { name: "a path as model", body: named("../../etc/passwd"), status: 404 },
    { name: "an address as model", body: named("http://169.254.169.254/"), status: 404 },
    { name: "a model from the prototype", body: named("hasOwnProperty"), status: 404 },
    { name: "a model that is an object", body: named({}), status: 400 },
  ];
  return cases.map((one) => ({ ...one, path, name: `${path}: ${one.name}` }));
}

/** All of them: the API's own shape of errors is another test's matter. */
export const HOSTILE_ROUTES: readonly HostileCase[] = [
  ...POSTS.flatMap(mistakesOf),
  ...GETS.flatMap((path): HostileCase[] => [
    { name: `${path}: GET`, path, method: "GET", status: 200 },
    { name: `${path}: HEAD`, path, method: "HEAD", status: 200 },
    { name: `${path}: PUT`, path, method: "PUT", status: 405 },
    { name: `${path}: a query changes nothing`, path: `${path}?a[]=%00&__proto__=1`, method: "GET", status: 200 },
    { name: `${path}: a slash more`, path: `${path}/`, method: "GET", status: 404 },
  ]),
];
