import { assert, assertEquals } from "@std/assert";
import { RealizarError } from "../src/errors.ts";
import { fakeModel, metric, running, sleep, until, waiting } from "./server_fake.ts";
import { ask, closeTinyModel, events, GREEDY, NAME, post, QUESTION, read, tinyHandler } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";

const CHAT = "/v1/chat/completions";
const long = { model: NAME, messages: QUESTION, ...GREEDY };
const stream = { ...long, stream: true };

test("server: a full queue is 503 with the time to wait, and free again when its requests have ended", async () => {
  const handler = await tinyHandler({ limits: { queuedRequests: 2 } });
  const stops = Array.from({ length: 6 }, () => new AbortController());
  // Nobody reads: the generations run as far as their credit and stay.
  const kept = await Promise.all(stops.map(({ signal }) => handler(post(CHAT, stream, { signal }))));
  assertEquals(kept.map(({ status }) => status), [200, 200, 200, 200, 200, 200]);
  const refused = await ask(handler, CHAT, long);
  assertEquals([refused.status, refused.json.error.type], [503, "overloaded_error"]);
  assertEquals([refused.headers.get("retry-after"), refused.headers.get("retry-after-ms")], ["1", "1000"]);
  assertEquals(await running(handler) + await waiting(handler), 6);
  for (const response of kept) await response.body!.cancel();
  await until("all are gone", async () => await running(handler) + await waiting(handler) === 0);
  assertEquals((await ask(handler, CHAT, { ...long, max_tokens: 2 })).status, 200);
});

test("server: a client that goes away ends its generation, streaming or not, running or waiting", async () => {
  const handler = await tinyHandler();
  const stops = Array.from({ length: 8 }, () => new AbortController());
  const answers = stops.map(({ signal }) => handler(post(CHAT, { ...long, max_tokens: 1900 }, { signal })));
  await until("some run and some wait", async () => await running(handler) === 4 && await waiting(handler) === 4);
  for (const stop of stops) stop.abort();
  assertEquals((await Promise.all(answers)).map(({ status }) => status), stops.map(() => 499));
  await until("all are gone", async () => await running(handler) + await waiting(handler) === 0);
  const stop = new AbortController();
  const response = await handler(post(CHAT, stream, { signal: stop.signal }));
  const reader = response.body!.getReader();
  await reader.read();
  await until("it runs", async () => await running(handler) === 1);
  stop.abort();
  await until("it is gone", async () => await running(handler) === 0);
  await reader.cancel();
  const aborted = `vllm:request_success_total{model_name="${NAME}",finished_reason="abort"}`;
  // Those whose prompt was still being encoded never became generations.
  await until("they are counted", async () => await metric(handler, aborted) >= 5);
  assert(await metric(handler, aborted) <= 9);
});

test("server: streams that nobody reads give their places to others", async () => {
  const handler = await tinyHandler();
  const kept = await Promise.all(Array.from({ length: 4 }, () => handler(post(CHAT, stream))));
  await until("all places are taken", async () => await running(handler) === 4);
  assertEquals((await ask(handler, CHAT, { ...long, max_tokens: 3 })).json.usage.completion_tokens, 3);
  // And when they are read after all, nothing is missing.
  const alone = await ask(handler, CHAT, { ...long, max_tokens: 600 });
  const late = await ask(handler, CHAT, { ...stream, max_tokens: 600 });
  const joined = events(late.text).map((chunk) => chunk.choices[0].delta.content ?? "").join("");
  assertEquals(joined, alone.json.choices[0].message.content);
  for (const response of kept) {
    const reader = response.body!.getReader();
    let text = "";
    while (text.length < 150_000) text += new TextDecoder().decode((await reader.read()).value);
    const pieces = text.split("\n\n").slice(1, -1).map((event) => JSON.parse(event.replace("data: ", "")));
    const begin = pieces.map((chunk) => chunk.choices[0].delta.content).join("");
    assertEquals(begin.slice(0, joined.length), joined.slice(0, begin.length));
    await reader.cancel();
  }
});

test("server: a thousand streams at once, none lost, none cut short", async () => {
  const handler = await tinyHandler({ limits: { queuedRequests: 1000 } });
  const alone = await ask(handler, CHAT, { ...long, max_tokens: 6 });
  const texts = await Promise.all(Array.from({ length: 1000 }, async () => {
    const { text } = await ask(handler, CHAT, { ...stream, max_tokens: 6 });
    return events(text).map((chunk) => chunk.choices[0].delta.content ?? "").join("");
  }));
  assertEquals(texts.length, 1000);
  assertEquals(new Set(texts), new Set([alone.json.choices[0].message.content as string]));
  await until("all are gone", async () => await running(handler) + await waiting(handler) === 0);
});

test("server: an abort after the last byte, as Deno signals it, is no cancel", async () => {
  const handler = await tinyHandler();
  const stop = new AbortController();
  const { text } = await read(await handler(post(CHAT, { ...stream, max_tokens: 5 }, { signal: stop.signal })));
  stop.abort();
  assertEquals(events(text).at(-1).choices[0].finish_reason, "length");
  const aborted = `vllm:request_success_total{model_name="${NAME}",finished_reason="abort"}`;
  await until("it is counted", async () => await metric(handler, aborted.replace("abort", "length")) === 1);
  assertEquals(await metric(handler, aborted), 0);
});

test("server: a quiet stream is kept open by comments", async () => {
  const model = await fakeModel(async function* () {
    await sleep(100);
    yield { text: "late", tokens: [1] };
  });
  const handler = await tinyHandler({ models: { [NAME]: model }, limits: { pingMs: 10 } });
  const { text } = await ask(handler, CHAT, stream);
  assert(text.split(": ping\n\n").length > 3, text);
  const said = events(text).map((chunk) => chunk.choices[0].delta.content ?? "").join("");
  assertEquals(said, "late");
});

test("server: what fails in the middle of a stream ends it with an error event, and tells no secret", async () => {
  const told: unknown[] = [];
  const model = await fakeModel(async function* () {
    yield { text: "a", tokens: [1] };
    throw new RealizarError("DEVICE", "at /secret/place");
  });
  const handler = await tinyHandler({ models: { [NAME]: model }, onError: (error) => void told.push(error) });
  const { status, text } = await ask(handler, CHAT, stream);
  assertEquals(status, 200);
  const last = JSON.parse(text.trim().split("\n\n").at(-1)!.replace("data: ", "")) as { error: { code: string } };
  assertEquals([last.error.code, text.includes("secret"), text.includes("[DONE]")], ["device", false, false]);
  const whole = await ask(handler, CHAT, long);
  assertEquals([whole.status, whole.json.error.code, whole.text.includes("secret")], [500, "device", false]);
  assertEquals(told.length, 2);
});

test("server: a model whose template refuses the conversation is 422", async () => {
  const model = await fakeModel(async function* () {});
  model.tokenize = () => Promise.reject(new RealizarError("TEMPLATE", "roles must alternate"));
  const handler = await tinyHandler({ models: { [NAME]: model } });
  const { status, json } = await ask(handler, CHAT, long);
  assertEquals([status, json.error.param, json.error.message], [422, "messages", "roles must alternate"]);
  assertEquals(await waiting(handler), 0);
});

test("server: draining takes nothing new, waits for what runs, and cuts it after the time", async () => {
  const model = await fakeModel(async function* (gate) {
    yield { text: "a", tokens: [1] };
    while (!gate.aborted) await sleep(5);
  });
  const gone = await tinyHandler();
  const slow = gone(post(CHAT, { ...long, max_tokens: 300 }));
  await until("it runs", async () => await running(gone) === 1);
  const drained = gone.drain(60_000);
  const refused = await ask(gone, CHAT, long);
  assertEquals([refused.status, refused.json.error.code], [503, "unavailable"]);
  assertEquals([(await ask(gone, "/readyz")).status, (await ask(gone, "/livez")).status], [503, 200]);
  assertEquals((await read(await slow)).json.usage.completion_tokens, 300);
  await drained;
  const handler = await tinyHandler({ models: { [NAME]: model } });
  const body = ask(handler, CHAT, stream);
  await until("it runs", async () => await running(handler) === 1);
  await handler.drain(20);
  assert((await body).text.trim().endsWith(`"code":"shutdown"}}`), (await body).text);
});

test("the model is closed", closeTinyModel);

leakCheck();
