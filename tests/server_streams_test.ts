import { assert, assertEquals } from "@std/assert";
import { type RunningServer, serve } from "../src/server/mod.ts";
import { open, rest } from "./server_connection.ts";
import { metric, running, sleep, until } from "./server_fake.ts";
import { ask, closeTinyModel, events, GREEDY, NAME, post, QUESTION, tinyHandler } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";

const CHAT = "/v1/chat/completions";
const base = { model: NAME, messages: QUESTION, ...GREEDY };

async function withServer(
  limits: { queuedRequests?: number },
  run: (server: RunningServer, handler: Awaited<ReturnType<typeof tinyHandler>>) => Promise<void>,
): Promise<void> {
  const handler = await tinyHandler({ limits });
  const server = await serve(handler, { port: 0, shutdownMs: 5000 });
  try {
    await run(server, handler);
  } finally {
    await server.shutdown();
  }
}

test("streams: 200 on connections of their own, none lost, none cut short, no page kept", () =>
  withServer({ queuedRequests: 200 }, async ({ url }, handler) => {
    const body = { ...base, stream: true, max_tokens: 12 };
    const whole = (await ask(handler, CHAT, { ...base, max_tokens: 12 })).json.choices[0].message.content as string;
    const texts = await Promise.all(Array.from({ length: 200 }, async () => {
      const chunks = events((await rest(open(url, body))).trimEnd());
      return chunks.map(({ choices: [choice] }) => choice.delta.content ?? "").join("");
    }));
    assertEquals([texts.length, new Set(texts)], [200, new Set([whole])]);
    const label = `{model_name="${NAME}"}`;
    await until("all are counted", async () => await metric(handler, `realizar:requests_answering${label}`) === 0);
    await until("no page is held", async () => await metric(handler, `realizar:kv_pages_used${label}`) === 0);
  }));

test("streams: a reader that stops is parked, slows nobody, and loses nothing", () =>
  withServer({}, async ({ url }, handler) => {
    // About 12 MB: more than the buffers of a connection hold, and so it can't end unread.
    const large = { ...base, n: 3, max_tokens: 1900, logprobs: true, top_logprobs: 20, stream: true };
    const socket = open(url, large);
    await new Promise<void>((resolve) => socket.once("readable", resolve)); // and nothing is read
    let before = -1;
    await until("it stands still", async () => {
      const now = await metric(handler, `vllm:inter_token_latency_seconds_count{model_name="${NAME}"}`);
      const stands = now === before && now > 0;
      before = now;
      await sleep(200);
      return stands;
    });
    assert(before < 3 * 1899, `${before} tokens were sent to nobody`);
    for (const stream of [false, true]) {
      const answer = await ask(handler, CHAT, { ...base, max_tokens: 5, stream });
      assertEquals(answer.status, 200);
    }
    const chunks = events((await rest(socket)).trimEnd());
    const finished = chunks.filter(({ choices: [one] }) => one.finish_reason === "length").length;
    assertEquals(finished, 3);
    const nTokens = chunks.reduce((sum, { choices: [one] }) => sum + (one.logprobs?.content?.length ?? 0), 0);
    assertEquals(nTokens, 3 * 1900);
  }));

test("streams: a client that hangs up in the middle frees its place and its pages", () =>
  withServer({}, async ({ url }, handler) => {
    const sockets = Array.from({ length: 4 }, () => open(url, { ...base, stream: true }));
    await until("they run", async () => await running(handler) === 4);
    for (const socket of sockets) socket.destroy();
    await until("they are gone", async () => await running(handler) === 0);
    const label = `{model_name="${NAME}"}`;
    await until("no page is held", async () => await metric(handler, `realizar:kv_pages_used${label}`) === 0);
    const answer = await handler(post(CHAT, { ...base, max_tokens: 2 }));
    assertEquals([answer.status, (await answer.text()).includes("length")], [200, true]);
  }));

test("the model is closed", closeTinyModel);

leakCheck();
