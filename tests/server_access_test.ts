import { assert, assertEquals, assertThrows } from "@std/assert";
import { RealizarError } from "../src/errors.ts";
import { createHandler } from "../src/server/mod.ts";
import { closeTinyModel, NAME, post, QUESTION, read, tinyHandler } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";

const CHAT = "/v1/chat/completions";
const body = { model: NAME, messages: QUESTION, max_tokens: 2 };

test("server: API keys, as Bearer and as x-api-key; probes need none", async () => {
  const handler = await tinyHandler({ apiKeys: ["first-key", "second-key"] });
  const status = async (headers: Record<string, string>, path = "/v1/models"): Promise<number> =>
    (await handler(new Request(`http://localhost${path}`, { headers }))).status;
  const refused = await read(await handler(new Request("http://localhost/v1/models")));
  assertEquals([refused.status, refused.json.error.code], [401, "invalid_api_key"]);
  assertEquals(refused.headers.get("www-authenticate"), "Bearer");
  assertEquals(await status({ authorization: "Bearer first-key" }), 200);
  assertEquals(await status({ authorization: "bearer second-key" }), 200);
  assertEquals(await status({ "x-api-key": "second-key" }), 200);
  for (const wrong of ["", "first", "first-key2", "First-key", "first-key second-key", "undefined"]) {
    assertEquals(await status({ authorization: `Bearer ${wrong}` }), 401, wrong);
    assertEquals(await status({ "x-api-key": wrong }), 401, wrong);
  }
  assertEquals(await status({ authorization: "Basic first-key" }), 401);
  for (const path of ["/metrics", "/version", "/nothing"]) assertEquals(await status({}, path), 401, path);
  for (const path of ["/health", "/livez", "/readyz"]) assertEquals(await status({}, path), 200, path);
});

test("server: under another name than the allowed nobody is answered", async () => {
  const handler = await tinyHandler({ allowedHosts: ["localhost", "127.0.0.1", "[::1]"] });
  const status = async (url: string, headers: Record<string, string> = {}): Promise<number> =>
    (await handler(new Request(url, { headers }))).status;
  assertEquals(await status("http://localhost:8080/health"), 200);
  assertEquals(await status("http://127.0.0.1/health"), 200);
  assertEquals(await status("http://[::1]:8080/health"), 200);
  assertEquals(await status("http://evil.example/health"), 403);
  assertEquals(await status("http://localhost.evil.example/health"), 403);
  assertEquals(await status("http://localhost/health", { origin: "http://localhost:3000" }), 200);
  for (const origin of ["http://evil.example", "null", "http://localhost@evil.example", "file://"]) {
    assertEquals(await status("http://localhost/health", { origin }), 403, origin);
  }
  const preflight = await handler(
    new Request("http://localhost/v1/models", { headers: { origin: "http://localhost" } }),
  );
  assertEquals(preflight.headers.get("access-control-allow-origin"), null);
});

const PAGE = "https://app.example";
const preflight = (origin: string, path = CHAT): Request =>
  new Request(`http://localhost${path}`, {
    method: "OPTIONS",
    headers: {
      origin,
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization,content-type",
    },
  });
const corsOf = (headers: Headers): string[] => [...headers.keys()].filter((name) => name.startsWith("access-control"));

test("server: pages from elsewhere are let in only when they are named", async () => {
  const handler = await tinyHandler({ corsOrigins: [PAGE], apiKeys: ["key"], allowedHosts: ["localhost"] });
  const asked = await handler(preflight(PAGE));
  assertEquals([asked.status, await asked.text()], [204, ""]);
  assertEquals(asked.headers.get("access-control-allow-origin"), PAGE);
  assertEquals(asked.headers.get("access-control-allow-headers"), "authorization,content-type");
  assertEquals(asked.headers.get("access-control-allow-methods"), "GET, HEAD, POST");
  assertEquals(asked.headers.get("access-control-allow-credentials"), null);
  const headers = { origin: PAGE, authorization: "Bearer key" };
  for (const [sent, status] of [[body, 200], [{ ...body, stream: true }, 200], [{}, 400]] as const) {
    const answer = await handler(post(CHAT, sent, { headers }));
    assertEquals(answer.status, status);
    assertEquals(answer.headers.get("access-control-allow-origin"), PAGE, "errors and streams can be read too");
    assertEquals(answer.headers.get("vary"), "origin");
    await answer.text();
  }
  // A preflight opens nothing: without a key the request itself is refused, in words that the page may read.
  const unkeyed = await handler(post(CHAT, body, { headers: { origin: PAGE } }));
  assertEquals([unkeyed.status, unkeyed.headers.get("access-control-allow-origin")], [401, PAGE]);
  for (const origin of ["https://app.example.evil.example", "http://app.example", "https://app.example:8443", "null"]) {
    const refused = await handler(preflight(origin));
    assertEquals([refused.status, corsOf(refused.headers)], [403, []], origin);
    const answer = await handler(post(CHAT, body, { headers: { ...headers, origin } }));
    assertEquals([answer.status, corsOf(answer.headers)], [403, []], origin);
  }
  // Being named is no way around the name of the server.
  const rebound = new Request("http://evil.example/v1/models", { headers });
  assertEquals((await handler(rebound)).status, 403);
});

test("server: all pages, and none", async () => {
  const all = await tinyHandler({ corsOrigins: ["*"] });
  const asked = await all(preflight("https://any.example", "/nowhere"));
  assertEquals([asked.status, asked.headers.get("access-control-allow-origin")], [204, "https://any.example"]);
  const none = await tinyHandler();
  assertEquals((await none(preflight(PAGE))).status, 405);
  const answer = await none(post(CHAT, body, { headers: { origin: PAGE } }));
  assertEquals([answer.status, corsOf(answer.headers), answer.headers.get("vary")], [200, [], null]);
  for (const wrong of ["app.example", "https://app.example/", "https://app.example/a", "null", ""]) {
    const error = assertThrows(() => createHandler({ models: {}, corsOrigins: [wrong] }), RealizarError);
    assertEquals(error.code, "ARG", wrong);
  }
});

test("server: ids of requests are echoed when they are plain, and made otherwise", async () => {
  const handler = await tinyHandler();
  const id = async (given: string): Promise<string> => {
    const request = new Request("http://localhost/livez", { headers: { "x-request-id": given } });
    return (await read(await handler(request))).headers.get("x-request-id")!;
  };
  assertEquals(await id("trace-1/a:b"), "trace-1/a:b");
  for (const odd of ["a b", "<script>", "x".repeat(200), ""]) assert(/^req-[0-9a-f-]{36}$/.test(await id(odd)), odd);
});

test("the model is closed", closeTinyModel);

leakCheck();
