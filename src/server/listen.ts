/** A handler on a port, until a signal ends it. */
import process from "node:process";
import { RealizarError } from "../errors.ts";
import { listenHttp } from "../platform/serve.ts";
import type { Handler } from "./handler.ts";

/** Where to listen and how to end. */
export interface ServeOptions {
  /** Default 127.0.0.1. */
  hostname?: string | undefined;
  /** Default 8080; 0 = any free port. */
  port?: number | undefined;
  /** Time for running requests after the first signal; default 30 s. */
  shutdownMs?: number | undefined;
  /** Bytes of a body that the handler takes, for what the runtime checks before it; default 8 MiB. */
  bodyBytes?: number | undefined;
  /** The same for a request's head; default 32 KiB. */
  headerBytes?: number | undefined;
}

/** A running server. */
export interface RunningServer {
  /** Its address, e.g. `http://127.0.0.1:8080`. */
  url: string;
  /** Resolves when the port is closed. */
  closed: Promise<void>;
  /** Takes nothing new, lets running requests end within the time, closes the port. May be called again. */
  shutdown(): Promise<void>;
  /** Closes the port and every connection now. */
  cut(): Promise<void>;
}

const SHUTDOWN_MS = 30_000;
/** After the last request has ended: for clients that keep their connections. */
const CLOSE_MS = 1000;

/** Serves a handler. Throws `IO` when the address can't be had. */
export async function serve(handler: Handler, options: ServeOptions = {}): Promise<RunningServer> {
  const { hostname = "127.0.0.1", port = 8080, shutdownMs = SHUTDOWN_MS } = options;
  const { bodyBytes = 8 * 2 ** 20, headerBytes = 32 * 2 ** 10 } = options;
  let listening: Awaited<ReturnType<typeof listenHttp>>;
  try {
    // The handler answers in the API's own shape, so it is the first to see a body that is too large.
    listening = await listenHttp((request, address) => handler(request, { address }), {
      hostname,
      port,
      bodyBytes: 2 * bodyBytes,
      headerBytes,
    });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new RealizarError("IO", `cannot listen on ${hostname}:${port}: ${why}`, { cause: error });
  }
  const shown = hostname.includes(":") && !hostname.startsWith("[") ? `[${hostname}]` : hostname;
  const closed = Promise.withResolvers<void>();
  const stop = async (force: boolean): Promise<void> => {
    await listening.stop(force);
    closed.resolve();
  };
  const end = async (): Promise<void> => {
    await handler.drain(shutdownMs);
    const cut = setTimeout(() => void stop(true), CLOSE_MS);
    await stop(false);
    clearTimeout(cut);
  };
  let ending: Promise<void> | undefined;
  return {
    url: `http://${shown}:${listening.port}`,
    closed: closed.promise,
    shutdown: () => ending ??= end(),
    async cut() {
      void handler.drain(0);
      await stop(true);
    },
  };
}

/** Ends a server by SIGTERM or SIGINT: the first drains it, a second cuts. Resolves when it is closed, by whom ever. */
export async function untilSignal(server: RunningServer, onSignal: (name: string) => void): Promise<void> {
  let nSignals = 0;
  const onEach = (name: string): void => {
    onSignal(name);
    void (++nSignals === 1 ? server.shutdown() : server.cut());
  };
  const names = ["SIGTERM", "SIGINT"] as const;
  for (const name of names) process.on(name, onEach);
  await server.closed;
  for (const name of names) process.removeListener(name, onEach);
}
