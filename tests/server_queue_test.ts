import { assert, assertEquals, assertThrows } from "@std/assert";
import { RealizarError } from "../src/errors.ts";
import { createHandler, type Handler, warmUp } from "../src/server/mod.ts";
import { metric, running, until, waiting } from "./server_fake.ts";
import { ask, closeTinyModel, GREEDY, NAME, post, QUESTION, tinyHandler, tinyModel } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";

const CHAT = "/v1/chat/completions";
const long = { model: NAME, messages: QUESTION, ...GREEDY };

/** Takes every place of the model with answers that go on for a while; resolves with what ends them. */
async function occupy(handler: Handler, n = 4): Promise<() => Promise<void>> {
  const stop = new AbortController();
  const body = { ...long, max_tokens: 1900, logprobs: true, top_logprobs: 20 }; // which takes its time
  const answers = Array.from({ length: n }, () => handler(post(CHAT, body, { signal: stop.signal })));
  await until("all places are taken", async () => await running(handler) === 4);
  return async () => {
    stop.abort();
    await Promise.all(answers);
    await until("all are gone", async () => await running(handler) + await waiting(handler) === 0);
  };
}

test("queue: who gets no place in time is 503, streaming or not; who gets one is served", async () => {
  const leave = await occupy(await tinyHandler());
  const handler = await tinyHandler({ limits: { queueTimeoutMs: 30 } });
  for (const stream of [false, true]) {
    const { status, json, headers } = await ask(handler, CHAT, { ...long, stream });
    assertEquals([status, json.error.type, json.error.code], [503, "overloaded_error", "overloaded"], `${stream}`);
    assertEquals(headers.get("retry-after-ms"), "1000");
    assertEquals(headers.get("x-should-retry"), null);
  }
  await leave();
  const patient = await tinyHandler({ limits: { queueTimeoutMs: 60_000 } });
  for (const stream of [false, true]) {
    const { status, text } = await ask(patient, CHAT, { ...long, max_tokens: 3, stream });
    assertEquals(status, 200, text);
  }
});

test("queue: tokens that wait are bounded; what runs at once is not", async () => {
  const prompt = (await ask(await tinyHandler(), "/tokenize", { model: NAME, messages: QUESTION })).json
    .count as number;
  const handler = await tinyHandler({ limits: { queuedTokens: 2 * prompt, queuedRequests: 100 } });
  const leave = await occupy(handler);
  const stop = new AbortController();
  const kept = [1, 2].map(() => handler(post(CHAT, long, { signal: stop.signal })));
  await until(
    "two wait",
    async () => await metric(handler, `realizar:waiting_tokens{model_name="${NAME}"}`) === 2 * prompt,
  );
  const { status, json } = await ask(handler, CHAT, long);
  assertEquals([status, json.error.type], [503, "overloaded_error"]);
  assert(json.error.message.includes(`${2 * prompt} tokens`), json.error.message);
  stop.abort();
  await Promise.all(kept);
  await leave();
  const none = await tinyHandler({ limits: { queuedTokens: 0 } });
  assertEquals((await ask(none, CHAT, { ...long, max_tokens: 2 })).status, 200);
});

test("queue: a request that waits never starts when its client has gone", async () => {
  const handler = await tinyHandler();
  const leave = await occupy(handler);
  const { nPromptTokens } = (await tinyModel()).stats();
  const stop = new AbortController();
  const gone = [1, 2, 3].map(() => handler(post(CHAT, { ...long, stream: true }, { signal: stop.signal })));
  await until("three wait", async () => await waiting(handler) === 3);
  stop.abort();
  assertEquals((await Promise.all(gone)).map(({ status }) => status), [499, 499, 499]);
  await until("none waits", async () => await waiting(handler) === 0);
  await leave();
  assertEquals((await ask(handler, CHAT, { ...long, max_tokens: 2 })).status, 200);
  // Only the last request's prompt was taken up meanwhile.
  const prompt = (await ask(handler, "/tokenize", { model: NAME, messages: QUESTION })).json.count as number;
  assertEquals((await tinyModel()).stats().nPromptTokens - nPromptTokens, prompt);
});

test("queue: limits are whole numbers in range, and refused otherwise", () => {
  const make = (limits: object): Handler => createHandler({ models: {}, limits });
  make({ queuedRequests: 0, queuedTokens: 0, queueTimeoutMs: 1, choices: 1 });
  const wrong = [{ queuedRequests: -1 }, { queueTimeoutMs: 0 }, { queueTimeoutMs: 2 ** 31 }, { bodyBytes: 1.5 }, {
    jsonDepth: NaN,
  }];
  for (const limits of wrong) {
    assertEquals(assertThrows(() => make(limits), RealizarError).code, "ARG", JSON.stringify(limits));
  }
});

test("server: warming a model up samples under grammars, and leaves nothing that runs", async () => {
  const model = await tinyModel();
  const before = model.stats();
  await warmUp(model);
  const { nTokensGenerated, nRunning, nWaiting, kvPagesUsed } = model.stats();
  assert(nTokensGenerated > before.nTokensGenerated);
  assertEquals([nRunning, nWaiting, kvPagesUsed], [0, 0, 0]);
});

test("the model is closed", closeTinyModel);

leakCheck();
