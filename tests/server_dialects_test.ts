/** Mistakes in the languages of Anthropic and Ollama: each gets its status, in the API's own shape, with the field. */
import { assert, assertEquals } from "@std/assert";
import { DIALECT_CASES, type DialectCase } from "./server_dialect_cases.ts";
import type { ServerStatus } from "../src/server/mod.ts";
import { ask, closeTinyModel, NAME, post, read, tinyHandler } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";

/** The error's text, and whether it names the field, when the body has the API's shape. */
function errorOf({ api, field = "" }: DialectCase, json: unknown): { message: string; names: boolean } | undefined {
  if (api === "ollama") {
    const { error, ...rest } = json as { error: unknown };
    if (typeof error !== "string" || Object.keys(rest).length > 0) return undefined;
    return { message: error, names: error.includes(field) };
  }
  const { type, error, request_id: id } = json as {
    type: string;
    error: { type: string; message: string; details: { param: string | null } };
    request_id: string;
  };
  const fits = type === "error" && /^[a-z_]+$/.test(error.type) && id.startsWith("req-");
  return fits ? { message: error.message, names: (error.details.param ?? "").endsWith(field) } : undefined;
}

test("server dialects: every hostile request gets its status and the field's name, in the API's shape", async () => {
  const handler = await tinyHandler();
  assert(DIALECT_CASES.length >= 150, `${DIALECT_CASES.length} cases`);
  const wrong: string[] = [];
  for (const one of DIALECT_CASES) {
    const { status, json, headers } = await read(await handler(post(one.path, one.body)));
    const told = `${one.path} ${JSON.stringify(one.body).slice(0, 120)}: ${status} ${JSON.stringify(json)}`;
    const error = errorOf(one, json);
    if (status !== one.status || error?.names !== true) wrong.push(told);
    else if (error.message === "" || error.message.length > 600) wrong.push(`the message: ${told}`);
    if (status < 500 && headers.get("x-should-retry") !== "false") wrong.push(`a client would try again: ${told}`);
  }
  assertEquals(wrong, []);
});

test("server dialects: an unknown version is refused, known ones and none are not", async () => {
  const handler = await tinyHandler();
  const body = { model: NAME, messages: [{ role: "user", content: "hi" }] };
  const status = async (headers: Record<string, string>): Promise<number> =>
    (await handler(post("/v1/messages/count_tokens", body, { headers }))).status;
  assertEquals(await status({}), 200);
  assertEquals(await status({ "anthropic-version": "2023-06-01" }), 200);
  assertEquals(await status({ "anthropic-version": "2026-10-21", "anthropic-beta": "anything" }), 200);
  assertEquals(await status({ "anthropic-version": "2030-01-01" }), 400);
});

test("server dialects: loading and draining are 503 in the API's own shape; probes tell which", async () => {
  const status: ServerStatus = { state: "loading", loadedBytes: 25, totalBytes: 100 };
  const handler = await tinyHandler({ status });
  const message = { model: NAME, max_tokens: 2, messages: [{ role: "user", content: "hi" }] };
  const seen = async (): Promise<unknown[]> => {
    const anthropic = await read(await handler(post("/v1/messages", message)));
    const counted = await read(await handler(post("/v1/messages/count_tokens", { ...message, max_tokens: undefined })));
    const chat = { model: NAME, messages: message.messages, options: { num_predict: 2 } };
    const ollama = await read(await handler(post("/api/chat", chat)));
    const probe = async (path: string): Promise<number> => (await ask(handler, path)).status;
    const { error } = anthropic.json;
    return [
      ...[anthropic.status, error?.type, counted.status, ollama.status, ollama.headers.get("retry-after")],
      ...[await probe("/health"), await probe("/readyz"), await probe("/livez"), await probe("/api/version")],
    ];
  };
  const refused = [503, "api_error", 503, 503, "1", 503, 503, 200, 200];
  assertEquals(await seen(), refused);
  assertEquals((await ask(handler, "/health")).json, { status: "loading", loaded_bytes: 25, total_bytes: 100 });
  status.state = "ready";
  assertEquals(await seen(), [200, undefined, 200, 200, null, 200, 200, 200, 200]);
  await handler.drain(1000);
  assertEquals(await seen(), refused);
  assertEquals((await ask(handler, "/health")).json, { status: "draining" });
});

test("the model is closed", closeTinyModel);

leakCheck();
