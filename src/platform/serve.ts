/** Listening for HTTP, with what each runtime has for it. */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { runtime } from "./env.ts";

/** Answers a request that came from an address; never rejects. */
export type FetchHandler = (request: Request, address: string | undefined) => Promise<Response>;

/** Where to listen, and what a connection may take. */
export interface ListenOptions {
  /** A name or address. */
  hostname: string;
  /** 0 = any free port. */
  port: number;
  /** Bytes of a body, at most: beyond it the runtime may answer 413 by itself. */
  bodyBytes: number;
  /** Bytes of a request's head, at most; Node only, the others have limits of their own. */
  headerBytes: number;
}

/** A port that is listened on. */
export interface Listening {
  port: number;
  /** Closes the port; resolves when the last connection has ended. `force` cuts them. May be called again. */
  stop(force: boolean): Promise<void>;
}

/** Seconds that a connection may take for the head of a request. */
const IDLE_S = 10;

/** What Bun hands to the function that answers. */
interface BunServer {
  timeout(request: Request, seconds: number): void;
  requestIP(request: Request): { address: string } | null;
}

/** The part of Bun that is used. */
interface BunServe {
  serve(options: {
    hostname: string;
    port: number;
    idleTimeout: number;
    maxRequestBodySize: number;
    development: boolean;
    reusePort: boolean;
    fetch(request: Request, server: BunServer): Promise<Response>;
  }): { port: number; stop(force?: boolean): Promise<void> };
}

/** What Deno tells of a request. */
interface DenoInfo {
  completed: Promise<void>;
  remoteAddr: { hostname?: string };
}

/** The part of Deno that is used. */
interface DenoServe {
  serve(
    options: { hostname: string; port: number; signal: AbortSignal; onListen(): void },
    handler: (request: Request, info: DenoInfo) => Promise<Response>,
  ): { addr: { port: number }; finished: Promise<void>; shutdown(): Promise<void> };
}

function listenBun(handler: FetchHandler, options: ListenOptions): Listening {
  const { Bun } = globalThis as unknown as { Bun: BunServe };
  const server = Bun.serve({
    hostname: options.hostname,
    port: options.port,
    idleTimeout: IDLE_S,
    maxRequestBodySize: options.bodyBytes,
    development: false,
    // Out of development its default is to share the port with who has it already.
    reusePort: false,
    fetch(request, own) {
      // The timeout is for connections that ask nothing; it would cut answers that are quiet for a while.
      own.timeout(request, 0);
      return handler(request, own.requestIP(request)?.address);
    },
  });
  return { port: server.port, stop: (force) => server.stop(force) };
}

function listenDeno(handler: FetchHandler, options: ListenOptions): Listening {
  const { Deno } = globalThis as unknown as { Deno: DenoServe };
  const cut = new AbortController();
  const { hostname, port } = options;
  let nOpen = 0, isShutDown = false;
  let onIdle = (): void => {};
  const close = (): void => void (--nOpen === 0 && onIdle());
  const server = Deno.serve(
    { hostname, port, signal: cut.signal, onListen() {} },
    (request, { completed, remoteAddr }) => {
      nOpen++;
      completed.then(close, close);
      return handler(request, remoteAddr.hostname);
    },
  );
  return {
    port: server.addr.port,
    async stop(force) {
      // A listener that shuts down can't be cut any more (it throws, uncaught), so answers end first.
      if (force && isShutDown) return;
      if (force) cut.abort();
      else if (nOpen > 0) await new Promise<void>((resolve) => onIdle = resolve);
      if (!cut.signal.aborted) {
        isShutDown = true;
        await server.shutdown();
      }
      await server.finished;
    },
  };
}

/** The request as the handler takes it; its signal fires when the client goes away. */
function requestOf(message: IncomingMessage, signal: AbortSignal, toWeb: ToWeb): Request {
  const headers = new Headers();
  for (let i = 0; i < message.rawHeaders.length; i += 2) {
    headers.append(message.rawHeaders[i]!, message.rawHeaders[i + 1]!);
  }
  const { method = "GET", url = "/" } = message;
  const address = new URL(url.startsWith("/") ? `http://${headers.get("host") ?? "localhost"}${url}` : url);
  if (method === "GET" || method === "HEAD") return new Request(address, { method, headers, signal });
  return new Request(address, { method, headers, signal, body: toWeb(message), duplex: "half" } as RequestInit);
}

type ToWeb = (message: IncomingMessage) => ReadableStream<Uint8Array>;

/** Resolves when the client has taken what waits for it, or has gone. */
function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      response.off("drain", done);
      response.off("close", done);
      resolve();
    };
    response.on("drain", done);
    response.on("close", done);
  });
}

/** Sends the answer as fast as the client takes it; ends quietly when the client has gone. */
async function send(answer: Response, response: ServerResponse, isGone: () => boolean): Promise<void> {
  response.writeHead(answer.status, [...answer.headers].flat());
  if (answer.body === null) {
    response.end();
    return;
  }
  response.flushHeaders();
  const reader = answer.body.getReader();
  const gone = (): void => void reader.cancel().catch(() => {});
  response.once("close", gone);
  try {
    for (let part = await reader.read(); !part.done && !isGone(); part = await reader.read()) {
      if (response.write(part.value)) continue;
      await drained(response);
    }
    response.end();
  } finally {
    response.off("close", gone);
  }
}

async function answerNode(
  handler: FetchHandler,
  toWeb: ToWeb,
  message: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const gone = new AbortController();
  response.once("close", () => {
    if (!response.writableFinished) gone.abort(new Error("the client went away"));
  });
  let request: Request;
  try {
    request = requestOf(message, gone.signal, toWeb);
  } catch {
    response.writeHead(400, { connection: "close" }).end();
    return;
  }
  const answer = await handler(request, message.socket.remoteAddress);
  // What was not read of the body would be taken for the next request.
  if (!message.complete) answer.headers.set("connection", "close");
  await send(answer, response, () => gone.signal.aborted);
}

async function listenNode(handler: FetchHandler, options: ListenOptions): Promise<Listening> {
  const [{ createServer }, { Readable }] = await Promise.all([import("node:http"), import("node:stream")]);
  const toWeb: ToWeb = (message) => Readable.toWeb(message) as unknown as ReadableStream<Uint8Array>;
  const limits = {
    maxHeaderSize: options.headerBytes,
    requestTimeout: 0,
    headersTimeout: IDLE_S * 1000,
    connectionsCheckingInterval: 1000, // by default it is looked at every 30 s only
  };
  const server: Server = createServer(limits, (message, response) => {
    answerNode(handler, toWeb, message, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.hostname, resolve);
  });
  const address = server.address();
  const closed = new Promise<void>((resolve) => server.once("close", resolve));
  return {
    port: typeof address === "object" && address !== null ? address.port : options.port,
    async stop(force) {
      server.close();
      if (force) server.closeAllConnections();
      else server.closeIdleConnections();
      await closed;
    },
  };
}

/** Listens; throws what the runtime throws when it can't. */
export async function listenHttp(handler: FetchHandler, options: ListenOptions): Promise<Listening> {
  const here = runtime();
  if (here === "bun") return listenBun(handler, options);
  return here === "deno" ? listenDeno(handler, options) : await listenNode(handler, options);
}
