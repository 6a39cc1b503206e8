import { assert, assertEquals } from "@std/assert";
import { HOSTILE, type HostileCase } from "./server_hostile_cases.ts";
import { HOSTILE_ROUTES } from "./server_hostile_routes.ts";
import { ask, closeTinyModel, NAME, post, QUESTION, read, tinyHandler } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";

const CHAT = "/v1/chat/completions";

function requestOf({ path, method = "POST", body, headers }: HostileCase): Request {
  const init = headers === undefined ? {} : { headers };
  if (method !== "POST") return new Request(`http://localhost${path}`, { method, ...init });
  return post(path, body, init);
}

test("server: every hostile request gets its status, and the field's name in the API's own shape", async () => {
  const handler = await tinyHandler();
  assert(HOSTILE.length >= 120, `${HOSTILE.length} cases`);
  const wrong: string[] = [];
  for (const one of HOSTILE) {
    const { status, json, headers } = await read(await handler(requestOf(one)));
    const error = json?.error;
    const told = `${one.name}: ${status} ${JSON.stringify(error)}`;
    if (status !== one.status) wrong.push(told);
    if (one.status < 400) continue;
    const shape = Object.keys(error ?? {}).join();
    if (shape !== "message,type,param,code" || typeof error.message !== "string") wrong.push(told);
    else if (one.param !== undefined && error.param !== one.param) wrong.push(told);
    else if (one.code !== undefined && error.code !== one.code) wrong.push(told);
    else if (error.message.length > 600) wrong.push(`${one.name}: a message of ${error.message.length} characters`);
    if (headers.get("x-should-retry") !== "false") wrong.push(`${one.name}: a client would try again`);
  }
  assertEquals(wrong, []);
  assertEquals((await ask(handler, CHAT, { model: NAME, messages: QUESTION, max_tokens: 2 })).status, 200);
});

test("server: every route refuses the mistakes that can be made with any, in the shape of its API", async () => {
  const handler = await tinyHandler();
  const wrong: string[] = [];
  for (const one of HOSTILE_ROUTES) {
    const { status, json, headers, text } = await read(await handler(requestOf(one)));
    const told = `${one.name}: ${status} ${text.slice(0, 200)}`;
    if (status !== one.status) wrong.push(told);
    if (one.status < 400) continue;
    const { error } = json ?? {};
    const shape = one.path.startsWith("/api/")
      ? typeof error === "string"
      : one.path.startsWith("/v1/messages")
      ? json?.type === "error" && typeof error?.type === "string" && typeof error.message === "string"
      : Object.keys(error ?? {}).join() === "message,type,param,code";
    if (!shape || headers.get("x-should-retry") !== "false") wrong.push(`${told}: not in its shape`);
  }
  assertEquals(wrong, []);
  assert(HOSTILE.length + HOSTILE_ROUTES.length >= 300);
});

test("server: bytes that are no UTF-8, and a body that stops in the middle", async () => {
  const handler = await tinyHandler({ limits: { bodyStallMs: 50 } });
  const headers = { "content-type": "application/json" };
  const init = { method: "POST", headers, duplex: "half" } as RequestInit;
  const invalid = new Request(`http://localhost${CHAT}`, { ...init, body: Uint8Array.of(0x22, 0xff, 0x22) });
  assertEquals((await read(await handler(invalid))).json.error.code, "invalid_json");
  const stalled = new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(Uint8Array.of(0x7b)) });
  const cut = await read(await handler(new Request(`http://localhost${CHAT}`, { ...init, body: stalled })));
  assertEquals([cut.status, cut.json.error.code], [408, "body_timeout"]);
  const broken = new ReadableStream<Uint8Array>({ pull: (controller) => controller.error(new Error("reset")) });
  const ended = await read(await handler(new Request(`http://localhost${CHAT}`, { ...init, body: broken })));
  assertEquals([ended.status, ended.json.error.code], [400, "body_unreadable"]);
  // Endless: it is cut at the limit, whatever it would go on to send.
  let nSent = 0;
  const endless = new ReadableStream<Uint8Array>({
    pull(controller) {
      nSent += 1 << 16;
      controller.enqueue(new Uint8Array(1 << 16).fill(0x20));
    },
  });
  const large = await read(await handler(new Request(`http://localhost${CHAT}`, { ...init, body: endless })));
  assertEquals(large.status, 413);
  assert(nSent < 10 << 20, `${nSent} bytes were read`);
});

test("server: depth is counted right wherever a body is cut", async () => {
  const handler = await tinyHandler({ limits: { jsonDepth: 3 } });
  const encoder = new TextEncoder();
  const code = async (text: string, cut: number): Promise<string> => {
    const bytes = encoder.encode(text);
    const parts = [bytes.subarray(0, cut), bytes.subarray(cut)].filter(({ length }) => length > 0);
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        const part = parts.shift();
        if (part === undefined) controller.close();
        else controller.enqueue(part);
      },
    });
    const headers = { "content-type": "application/json" };
    const init = { method: "POST", headers, body, duplex: "half" } as RequestInit;
    return (await read(await handler(new Request(`http://localhost${CHAT}`, init)))).json.error.code;
  };
  const deep = [
    String.raw`{"\\\\":"\\","b":{"c":[[1]]}}`,
    String.raw`{"a\"[":[{"é":{}}],"b":[[[]]]}`,
    `["",[[[]]]]`,
  ];
  const shallow = [
    String.raw`{"a":"[[[[{{{{","b":"\"[[[[","c":"\\\"[[[["}`,
    String.raw`{"\\":[[1]],"d":"]]]]","é[[[":"\u005b"}`,
    `{"a":[{}],"b":[{}],"c":[[]]}`,
  ];
  for (const text of [...deep, ...shallow]) JSON.parse(text);
  for (const text of deep) {
    for (let cut = 0; cut <= encoder.encode(text).length; cut++) {
      assertEquals(await code(text, cut), "json_too_deep", `${text} cut at ${cut}`);
    }
  }
  for (const text of shallow) {
    for (let cut = 0; cut <= encoder.encode(text).length; cut++) {
      assertEquals(await code(text, cut), "missing_required_parameter", `${text} cut at ${cut}`);
    }
  }
});

test("the model is closed", closeTinyModel);

leakCheck();
