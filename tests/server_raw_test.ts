import { connect } from "node:net";
import { assert, assertEquals } from "@std/assert";
import { type AnswerLog, LOOPBACK_HOSTS, type RunningServer, serve } from "../src/server/mod.ts";
import { HIDDEN, PIPELINED, RAW } from "./server_raw_cases.ts";
import { ask, closeTinyModel, tinyHandler } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";

/** What a server answers to bytes; the connection is half closed after them, and given up when nothing comes. */
function raw(url: string, bytes: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    let got = "";
    const socket = connect(Number(port), hostname, () => socket.write(bytes, "latin1"));
    socket.setEncoding("latin1");
    socket.setTimeout(400, () => socket.destroy());
    socket.on("data", (chunk: string) => got += chunk);
    socket.on("error", () => {});
    socket.on("close", () => resolve(got));
  });
}

const statusesOf = (answer: string): number[] =>
  [...answer.matchAll(/HTTP\/1\.[01] (\d{3}) /g)].map(([, status]) => Number(status));

async function withServer(run: (server: RunningServer, log: AnswerLog[]) => Promise<void>): Promise<void> {
  const log: AnswerLog[] = [];
  const handler = await tinyHandler({ allowedHosts: LOOPBACK_HOSTS, onAnswer: (entry) => void log.push(entry) });
  const server = await serve(handler, { port: 0, shutdownMs: 100 });
  try {
    await run(server, log);
    assertEquals((await ask(handler, "/livez")).status, 200);
  } finally {
    await server.shutdown();
  }
}

test("server on a port: bytes that are no honest HTTP are refused, and hide no request", () =>
  withServer(async ({ url }, log) => {
    const wrong: string[] = [];
    await Promise.all(RAW.map(async ({ name, bytes, allowed }) => {
      const statuses = statusesOf(await raw(url, bytes));
      const first = statuses.find((status) => status !== 100) ?? 0;
      if (!allowed.includes(first)) wrong.push(`${name}: ${statuses.join(", ") || "nothing"}`);
      if (statuses.some((status) => status >= 500 && status !== 501 && status !== 505)) {
        wrong.push(`${name}: ${statuses}`);
      }
    }));
    assertEquals(wrong.sort(), []);
    assertEquals(log.filter(({ route }) => route === HIDDEN), [], "a hidden request was answered");
    assertEquals(statusesOf(await raw(url, `GET ${HIDDEN} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)), [
      200,
    ]);
    assertEquals(log.filter(({ route }) => route === HIDDEN).length, 1, "an honest one was");
  }));

test("server on a port: requests in one piece are answered in their order", () =>
  withServer(async ({ url }) => {
    const answer = await raw(url, PIPELINED);
    assertEquals(statusesOf(answer), [200, 400, 200]);
    assert(
      answer.indexOf(`"ok"`) < answer.indexOf(`"error"`) && answer.lastIndexOf(`"ok"`) > answer.indexOf(`"error"`),
    );
  }));

test("the model is closed", closeTinyModel);

leakCheck();
