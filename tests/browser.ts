/** A real browser for tests: Debian's chromium, driven through its own debugging protocol. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { env } from "../src/platform/env.ts";
import { tempFolder } from "./support.ts";

const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Where a browser is: `REALIZAR_TEST_BROWSER`, or where packages put it; undefined = nowhere. */
export function browserPath(): string | undefined {
  return [env("REALIZAR_TEST_BROWSER"), ...PLACES].find((path) => path !== undefined && existsSync(path));
}

/** A page of a browser. */
export interface Page extends AsyncDisposable {
  /** What an expression is worth in the page; promises are awaited. */
  // deno-lint-ignore no-explicit-any
  value(expression: string): Promise<any>;
  /** Waits until an expression is true. */
  until(expression: string): Promise<void>;
  goto(url: string): Promise<void>;
  /** Types into what has the focus. */
  type(text: string): Promise<void>;
  /** Presses a key, e.g. Enter, Escape, Tab. */
  press(key: string, modifiers?: number): Promise<void>;
  /** Sends a command of the protocol. */
  send(method: string, params?: object): Promise<unknown>;
  /** Errors that the page's own code, or its security policy, told the console. */
  errors: string[];
}

const KEYS: Record<string, { code: number; text?: string }> = {
  Enter: { code: 13, text: "\r" },
  Escape: { code: 27 },
  Tab: { code: 9 },
  ArrowUp: { code: 38 },
};

function start(path: string, folder: string): { child: ChildProcess; url: Promise<string> } {
  const flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"];
  const own = ["--remote-debugging-port=0", `--user-data-dir=${folder}`, "about:blank"];
  const child = spawn(path, [...flags, ...own], { stdio: ["ignore", "ignore", "pipe"] });
  const url = new Promise<string>((resolve, reject) => {
    let log = "";
    child.stderr!.setEncoding("utf8").on("data", (chunk: string) => {
      log += chunk;
      const found = /DevTools listening on (ws:\S+)/.exec(log);
      if (found !== null) resolve(found[1]!);
    });
    child.on("exit", () => reject(new Error(`the browser ended: ${log}`)));
  });
  return { child, url };
}

interface Answer {
  id?: number;
  method?: string;
  params?: { exceptionDetails?: { exception?: { description?: string } }; entry?: { level: string; text: string } };
  result?: unknown;
  error?: { message: string };
}

/** The protocol over a socket: numbered commands, and events. */
async function connect(url: string, onEvent: (answer: Answer) => void) {
  const socket = new WebSocket(url);
  await new Promise<void>((resolve, reject) => {
    socket.onopen = () => resolve();
    socket.onerror = () => reject(new Error(`no connection to ${url}`));
  });
  const waiting = new Map<number, PromiseWithResolvers<unknown>>();
  let nSent = 0;
  socket.onmessage = ({ data }) => {
    const answer = JSON.parse(String(data)) as Answer;
    if (answer.id === undefined) return onEvent(answer);
    const { resolve, reject } = waiting.get(answer.id)!;
    waiting.delete(answer.id);
    if (answer.error === undefined) resolve(answer.result);
    else reject(new Error(answer.error.message));
  };
  const send = (method: string, params: object = {}, sessionId?: string): Promise<unknown> => {
    const id = ++nSent;
    const one = Promise.withResolvers<unknown>();
    waiting.set(id, one);
    socket.send(JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) }));
    return one.promise;
  };
  return { send, close: () => socket.close() };
}

/** Opens a page of its own browser, whose profile is gone with it. */
export async function openPage(path: string): Promise<Page> {
  const folder = tempFolder();
  const { child, url } = start(path, folder.path);
  const ended = new Promise<void>((resolve) => child.on("exit", () => resolve()));
  const errors: string[] = [];
  const { send, close } = await connect(await url, ({ params }) => {
    const { exceptionDetails, entry } = params ?? {};
    if (exceptionDetails !== undefined) errors.push(exceptionDetails.exception?.description ?? "an exception");
    if (entry?.level === "error") errors.push(entry.text);
  });
  const { targetId } = await send("Target.createTarget", { url: "about:blank" }) as { targetId: string };
  const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true }) as { sessionId: string };
  const own = (method: string, params: object = {}): Promise<unknown> => send(method, params, sessionId);
  for (const domain of ["Page", "Runtime", "Log"]) await own(`${domain}.enable`);
  const value: Page["value"] = async (expression) => {
    const options = { expression, awaitPromise: true, returnByValue: true, userGesture: true };
    const { result, exceptionDetails } = await own("Runtime.evaluate", options) as {
      result: { value: unknown };
      exceptionDetails?: { exception?: { description?: string }; text: string };
    };
    if (exceptionDetails !== undefined) throw new Error(exceptionDetails.exception?.description ?? expression);
    return result.value;
  };
  const until = async (expression: string): Promise<void> => {
    for (let i = 0; (await value(expression)) !== true; i++) {
      if (i > 1500) {
        const shown = await value("document.body.innerText");
        throw new Error(`never: ${expression}; ${errors.join("; ")}; the page shows ${shown}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  return {
    errors,
    send: own,
    value,
    until,
    async goto(address) {
      await own("Page.navigate", { url: address });
      await until(`location.href === ${JSON.stringify(address)} && document.readyState === "complete"`);
    },
    async type(text) {
      await own("Input.insertText", { text });
    },
    async press(key, modifiers = 0) {
      const { code, text } = KEYS[key]!;
      const event = { key, code: key, windowsVirtualKeyCode: code, modifiers };
      await own("Input.dispatchKeyEvent", { type: "keyDown", ...event, ...(text === undefined ? {} : { text }) });
      await own("Input.dispatchKeyEvent", { type: "keyUp", ...event });
    },
    async [Symbol.asyncDispose]() {
      await send("Browser.close").catch(() => {});
      close();
      await ended;
      folder[Symbol.dispose]();
    },
  };
}
