/** Hostile and mistaken requests to the server, with the status they must get and the field that must be named. */
import { CHAT_FIELDS, MESSAGES } from "./server_hostile_fields.ts";
import { NAME, QUESTION } from "./server_support.ts";

export interface HostileCase {
  name: string;
  path: string;
  /** Default POST. */
  method?: string;
  /** A string is sent as it is. */
  body?: unknown;
  headers?: Record<string, string>;
  status: number;
  /** `error.param` of the answer; undefined = any. */
  param?: string | null;
  /** `error.code` of the answer; undefined = any. */
  code?: string;
}

const CHAT = "/v1/chat/completions", TEXT = "/v1/completions";

const PROMPTS: readonly [name: string, prompt: unknown, code?: string][] = [
  ["none", undefined, "missing_required_parameter"],
  ["empty list", []],
  ["empty text", ""],
  ["lists that are empty", [[]]],
  ["an object", {}],
  ["text and tokens mixed", ["a", 5]],
  ["a token that is none", [1e9]],
  ["a negative token", [-1]],
  ["half a token", [1.5]],
  ["a list in a list in a list", [[[1]]]],
  ["more prompts than allowed", Array.from({ length: 129 }, () => "a")],
  ["too many tokens", "q".repeat(5000), "context_length_exceeded"],
];

const good = { model: NAME, messages: QUESTION, max_tokens: 2 };
const json = { "content-type": "application/json" };

/** `{"a":[[...]]}`, `depth` deep in all. */
const nested = (depth: number): string => `{"a":${"[".repeat(depth - 1)}${"]".repeat(depth - 1)}}`;

/** A good request, filled up to so many bytes. */
const filled = (nBytes: number): string => JSON.stringify(good).padEnd(nBytes, " ");

/** Bodies, paths, methods and headers. */
const TRANSPORT: readonly HostileCase[] = [
  { name: "no JSON", path: CHAT, body: "hello", status: 400, code: "invalid_json" },
  { name: "an empty body", path: CHAT, body: "", status: 400, code: "invalid_json" },
  { name: "a body cut short", path: CHAT, body: `{"model": "ti`, status: 400, code: "invalid_json" },
  { name: "two values", path: CHAT, body: "{} {}", status: 400, code: "invalid_json" },
  { name: "an array", path: CHAT, body: [], status: 400, param: "body" },
  { name: "null", path: CHAT, body: "null", status: 400, param: "body" },
  { name: "a number", path: CHAT, body: "1", status: 400, param: "body" },
  {
    name: "__proto__",
    path: CHAT,
    body: `{"model":"${NAME}","messages":[{"role":"user","content":"x"}],"__proto__":{}}`,
    status: 400,
    param: "__proto__",
  },
  { name: "100,000 brackets", path: CHAT, body: "[".repeat(100_000), status: 400, code: "json_too_deep" },
  { name: "100,000 objects", path: CHAT, body: `{"a":`.repeat(100_000), status: 400, code: "json_too_deep" },
  { name: "as deep as allowed", path: CHAT, body: nested(128), status: 400, code: "missing_required_parameter" },
  { name: "one deeper", path: CHAT, body: nested(129), status: 400, code: "json_too_deep" },
  { name: "as long as allowed", path: CHAT, body: filled(8 << 20), status: 200 },
  { name: "one byte longer", path: CHAT, body: filled((8 << 20) + 1), status: 413 },
  { name: "brackets in a string are no depth", path: CHAT, body: { ...good, user: "[{".repeat(500) }, status: 200 },
  { name: "a body above 8 MiB", path: CHAT, body: { ...good, user: "x".repeat(9 << 20) }, status: 413 },
  {
    name: "a content-length above 8 MiB",
    path: CHAT,
    body: "{}",
    headers: { ...json, "content-length": "9999999999" },
    status: 413,
  },
  {
    name: "a prompt above 4 MiB",
    path: CHAT,
    body: { ...good, messages: [{ role: "user", content: "x".repeat(5 << 20) }] },
    status: 413,
    code: "request_too_large",
  },
  { name: "a text prompt above 4 MiB", path: TEXT, body: { model: NAME, prompt: "é".repeat(3 << 20) }, status: 413 },
  {
    name: "form data",
    path: CHAT,
    body: "a=b",
    headers: { "content-type": "application/x-www-form-urlencoded" },
    status: 415,
  },
  {
    name: "plain text, as pages may send unasked",
    path: CHAT,
    body: "{}",
    headers: { "content-type": "text/plain" },
    status: 415,
  },
  {
    name: "JSON of another kind",
    path: CHAT,
    body: "{}",
    headers: { "content-type": "application/jsonp" },
    status: 415,
  },
  { name: "a compressed body", path: CHAT, body: "{}", headers: { ...json, "content-encoding": "gzip" }, status: 415 },
  {
    name: "a charset is fine",
    path: CHAT,
    body: good,
    headers: { "content-type": "Application/JSON; charset=utf-8" },
    status: 200,
  },
  { name: "long headers", path: CHAT, body: good, headers: { ...json, "x-long": "y".repeat(40_000) }, status: 431 },
  { name: "no model", path: CHAT, body: { messages: QUESTION }, status: 400, param: "model" },
  { name: "an empty model", path: CHAT, body: { ...good, model: "" }, status: 400, param: "model" },
  { name: "a model that is a number", path: CHAT, body: { ...good, model: 5 }, status: 400, param: "model" },
  { name: "an unknown model", path: CHAT, body: { ...good, model: "gpt-5" }, status: 404, param: "model" },
  { name: "a path as model", path: CHAT, body: { ...good, model: "../../etc/passwd" }, status: 404, param: "model" },
  { name: "a model from the prototype", path: CHAT, body: { ...good, model: "constructor" }, status: 404 },
  { name: "two limits that differ", path: CHAT, body: { ...good, max_completion_tokens: 3 }, status: 400 },
  {
    name: "a number that JSON can't hold",
    path: CHAT,
    body: JSON.stringify(good).replace("2}", "1e999}"),
    status: 400,
    param: "max_tokens",
  },
  { name: "GET on chat", path: CHAT, method: "GET", status: 405 },
  { name: "DELETE on models", path: `/v1/models/${NAME}`, method: "DELETE", status: 405 },
  { name: "a preflight", path: CHAT, method: "OPTIONS", headers: { origin: "http://evil.example" }, status: 405 },
  { name: "POST on models", path: "/v1/models", body: {}, status: 405 },
  { name: "no such path", path: "/v1/images/generations", body: {}, status: 404, code: "not_found" },
  { name: "POST on the page", path: "/", body: {}, status: 405 },
  { name: "a folder of nothing", path: "//", method: "GET", status: 404 },
  { name: "dots in a path", path: "/v1/models/..%2f..%2fetc", method: "GET", status: 404, code: "model_not_found" },
  { name: "a broken escape", path: "/v1/models/%ff", method: "GET", status: 404 },
  { name: "a model's name that is no model", path: "/v1/models/toString", method: "GET", status: 404 },
  { name: "a trailing slash", path: "/v1/models/", method: "GET", status: 404 },
  { name: "tokenize without anything", path: "/tokenize", body: {}, status: 400, param: "messages" },
  { name: "tokenize with both", path: "/tokenize", body: { prompt: "a", messages: QUESTION }, status: 400 },
  { name: "detokenize without tokens", path: "/detokenize", body: {}, status: 400, param: "tokens" },
  { name: "detokenize strings", path: "/detokenize", body: { tokens: ["a"] }, status: 400, param: "tokens[0]" },
  { name: "detokenize no token", path: "/detokenize", body: { tokens: [1, 320] }, status: 400, param: "tokens[1]" },
  {
    name: "completions: suffix",
    path: TEXT,
    body: { model: NAME, prompt: "a", suffix: "b" },
    status: 400,
    param: "suffix",
  },
  {
    name: "completions: best_of",
    path: TEXT,
    body: { model: NAME, prompt: "a", best_of: 3 },
    status: 400,
    param: "best_of",
  },
  {
    name: "completions: logprobs as in chat",
    path: TEXT,
    body: { model: NAME, prompt: "a", logprobs: true },
    status: 400,
    param: "logprobs",
  },
  {
    name: "completions: no token wanted, and no echo",
    path: TEXT,
    body: { model: NAME, prompt: "a", max_tokens: 0, logprobs: 1 },
    status: 400,
    param: "max_tokens",
  },
  {
    name: "completions: prompts times n",
    path: TEXT,
    body: { model: NAME, prompt: ["a", "b"], n: 100 },
    status: 400,
    param: "n",
  },
  { name: "completions: messages", path: TEXT, body: good, status: 400, param: "prompt" },
];

/** All of them. */
export const HOSTILE: readonly HostileCase[] = [
  ...TRANSPORT,
  ...CHAT_FIELDS.map(([field, value, param, code]): HostileCase => ({
    name: `chat: ${field} ${JSON.stringify(value).slice(0, 40)}`,
    path: CHAT,
    body: { model: NAME, messages: QUESTION, [field]: value },
    status: 400,
    param: param ?? field,
    ...(code === undefined ? {} : { code }),
  })),
  ...MESSAGES.map(([name, messages, param, code]): HostileCase => ({
    name: `chat: messages: ${name}`,
    path: CHAT,
    body: { model: NAME, messages },
    status: 400,
    param,
    ...(code === undefined ? {} : { code }),
  })),
  ...PROMPTS.map(([name, prompt, code]): HostileCase => ({
    name: `completions: prompt: ${name}`,
    path: TEXT,
    body: { model: NAME, prompt },
    status: 400,
    param: name.startsWith("more") ? "n" : "prompt",
    ...(code === undefined ? {} : { code }),
  })),
];
