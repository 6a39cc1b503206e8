/** Who asks: how clients are told apart, what they share, and what one of them can't take from the others. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { RealizarError } from "../src/errors.ts";
import { createHandler, type Handler, type HandlerOptions, type Sender, serve } from "../src/server/mod.ts";
import { siteOf } from "../src/server/sender.ts";
import { fakeModel, running, sleep, until, waiting } from "./server_fake.ts";
import { closeTinyModel, GREEDY, NAME, post, QUESTION, read, tinyHandler } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";

const CHAT = "/v1/chat/completions";
const body = { model: NAME, messages: QUESTION, ...GREEDY };

/** A handler over a model that answers nothing, and the clients that it was asked for, one a request. */
async function listening(options: Partial<HandlerOptions>): Promise<{ handler: Handler; clients: unknown[] }> {
  const clients: unknown[] = [];
  const model = await fakeModel(async function* () {});
  const { generate } = model;
  model.generate = (tokens, given) => {
    clients.push(given.client);
    return generate(tokens, given);
  };
  return { handler: createHandler({ models: { [NAME]: model }, ...options }), clients };
}

test("clients: addresses as far as their owners can't choose them", () => {
  const cases = {
    "192.0.2.7": "192.0.2.7",
    "::ffff:192.0.2.7": "192.0.2.7",
    "::FFFF:192.0.2.7": "192.0.2.7",
    "2001:db8:0:1:2:3:4:5": "2001:db8:0:1::/64",
    "2001:0DB8::0001": "2001:db8:0:0::/64",
    "2001:db8:0:1::": "2001:db8:0:1::/64",
    "::1": "0:0:0:0::/64",
    "fe80::1%eth0": "fe80:0:0:0::/64",
    "some.host": "some.host",
  };
  for (const [address, site] of Object.entries(cases)) assertEquals(siteOf(address), site, address);
});

test("clients: told apart by key, else by address; what a request says of itself changes nothing", async () => {
  const open = await listening({});
  const ask = async (handler: Handler, headers: Record<string, string>, sender?: Sender, more = {}): Promise<void> => {
    const request = post(CHAT, { ...body, ...more }, { headers });
    assertEquals((await (sender === undefined ? handler(request) : handler(request, sender))).status, 200);
  };
  const a = { address: "192.0.2.1" }, b = { address: "192.0.2.2" };
  await ask(open.handler, {});
  await ask(open.handler, {}, a, { user: "me" });
  await ask(open.handler, { authorization: "Bearer any", "x-forwarded-for": "9.9.9.9" }, a, { user: "you" });
  await ask(open.handler, {}, b);
  assertEquals(open.clients, [undefined, "address 192.0.2.1", "address 192.0.2.1", "address 192.0.2.2"]);
  const keyed = await listening({ apiKeys: ["one", "two"] });
  await ask(keyed.handler, { authorization: "Bearer one" }, a);
  await ask(keyed.handler, { "x-api-key": "one" }, b);
  await ask(keyed.handler, { authorization: "Bearer two" }, a);
  const [first, same, other] = keyed.clients as [string, string, string];
  assertEquals(same, first);
  assert(first !== other && /^key [0-9a-f]{16}$/.test(first), first);
  const proxied = await listening({ clientHeader: "x-forwarded-for" });
  await ask(proxied.handler, { "x-forwarded-for": "6.6.6.6, 192.0.2.9" }, a);
  await ask(proxied.handler, {}, a);
  assertEquals(proxied.clients, ["proxy 192.0.2.9", "address 192.0.2.1"]);
  const error = assertThrows(() => createHandler({ models: {}, clientHeader: "no header" }), RealizarError);
  assertEquals(error.code, "ARG");
});

test("clients: a listener tells the peer's address", async () => {
  const { handler, clients } = await listening({});
  const server = await serve(handler, { port: 0, shutdownMs: 1000 });
  const headers = { "content-type": "application/json", connection: "close" };
  const response = await fetch(`${server.url}${CHAT}`, { method: "POST", headers, body: JSON.stringify(body) });
  assertEquals([response.status, await response.text() !== ""], [200, true]);
  await server.shutdown();
  assertEquals(clients, ["address 127.0.0.1"]);
});

test("clients: who fills the queue does not shut the others out", async () => {
  const model = await fakeModel(async function* (gate) {
    while (!gate.aborted) await sleep(5);
    yield { text: "", tokens: [] };
  });
  const handler = createHandler({ models: { [NAME]: model }, limits: { queuedRequests: 2 } });
  const stop = new AbortController();
  const send = (address: string): Promise<Response> => handler(post(CHAT, body, { signal: stop.signal }), { address });
  const kept = Array.from({ length: 6 }, () => send("192.0.2.1"));
  await until("the queue is full", async () => await running(handler) + await waiting(handler) === 6);
  assertEquals((await send("192.0.2.1")).status, 503);
  // As many others as there are places, each with one request.
  for (let i = 0; i < 4; i++) {
    kept.push(send(`192.0.2.${10 + i}`));
    await until("it is taken", async () => await running(handler) + await waiting(handler) === 7 + i);
    assertEquals((await send(`192.0.2.${10 + i}`)).status, 503, "a second one is as any other");
  }
  assertEquals((await send("192.0.2.99")).status, 503, "that is all there is");
  stop.abort();
  await Promise.all(kept);
});

test("clients: one with a single request is answered before most of another's forty", async () => {
  const handler = await tinyHandler({ limits: { queuedRequests: 200 } });
  let nDone = 0;
  const many = Array.from({ length: 40 }, async () => {
    const { status } = await read(await handler(post(CHAT, { ...body, max_tokens: 200 }), { address: "192.0.2.1" }));
    nDone++;
    return status;
  });
  await until("they wait", async () => await waiting(handler) > 32);
  const before = nDone;
  const one = await read(await handler(post(CHAT, { ...body, max_tokens: 200 }), { address: "192.0.2.2" }));
  const passed = nDone - before;
  assertEquals([one.status, new Set(await Promise.all(many))], [200, new Set([200])]);
  assert(passed < 20, `${passed} of the others were answered first`);
});

/** A body that comes byte by byte until it is cut, and what was cut. */
function drip(everyMs: number): { stream: ReadableStream<Uint8Array>; isCut: () => boolean } {
  let cut = false;
  const stream = new ReadableStream<Uint8Array>({
    async pull(controller) {
      await sleep(everyMs);
      if (!cut) controller.enqueue(Uint8Array.of(0x20));
    },
    cancel() {
      cut = true;
    },
  });
  return { stream, isCut: () => cut };
}

test("bodies: one that comes byte by byte is cut after a time in all, one that stalls after less", async () => {
  const handler = await tinyHandler({ limits: { bodyMs: 150, bodyStallMs: 10_000 } });
  const { stream, isCut } = drip(5);
  const init = { body: stream, duplex: "half" } as RequestInit;
  const slow = await read(await handler(post(CHAT, "", init)));
  assertEquals([slow.status, slow.json.error.code, slow.headers.get("connection")], [408, "body_timeout", "close"]);
  assert(slow.json.error.message.includes("whole after 150 ms"), slow.json.error.message);
  await until("it is not read any more", () => Promise.resolve(isCut()));
  const stalls = await tinyHandler({ limits: { bodyMs: 60_000, bodyStallMs: 50 } });
  const stalled = await read(await stalls(post(CHAT, "", { body: drip(2000).stream, duplex: "half" } as RequestInit)));
  assertEquals([stalled.status, stalled.json.error.message], [408, "no byte of the body came for 50 ms"]);
});

test("the model is closed", closeTinyModel);

leakCheck();
