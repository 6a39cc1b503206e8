/** Streams of texts as response bodies, with something harmless while nothing happens; server-sent events. */

const PING = ": ping\n\n";
/** What ends a stream of OpenAI's API. */
export const DONE = "data: [DONE]\n\n";

/** One event. */
export function eventOf(data: unknown): string {
  return `data: ${JSON.stringify(data)}\n\n`;
}

/** What is sent while nothing happens. */
export interface Ping {
  /** Silence until it is sent, and between two. */
  ms: number;
  /** What readers of the format skip. */
  text(): string;
}

/**
 * A response that sends the texts as they come and asks for the next only when the client has taken the last.
 * `onEnd` is called once: at the end, or when the client has gone.
 */
export function textStream(
  texts: AsyncGenerator<string>,
  contentType: string,
  ping: Ping,
  onEnd: () => void,
): Response {
  const encoder = new TextEncoder();
  let next: Promise<IteratorResult<string>> | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      next ??= texts.next();
      const quiet = new Promise<undefined>((resolve) => timer = setTimeout(() => resolve(undefined), ping.ms));
      try {
        const result = await Promise.race([next, quiet]);
        if (result === undefined) return controller.enqueue(encoder.encode(ping.text()));
        next = undefined;
        if (result.done !== true) return controller.enqueue(encoder.encode(result.value));
        onEnd();
        controller.close();
      } finally {
        clearTimeout(timer);
      }
    },
    async cancel() {
      clearTimeout(timer);
      onEnd();
      await texts.return(undefined);
    },
  }, { highWaterMark: 0 });
  const headers = {
    "content-type": contentType,
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
  };
  return new Response(body, { headers });
}

/** Server-sent events; `ping` is a comment unless the API has an event for it. */
export function eventStream(texts: AsyncGenerator<string>, pingMs: number, onEnd: () => void, ping = PING): Response {
  return textStream(texts, "text/event-stream; charset=utf-8", { ms: pingMs, text: () => ping }, onEnd);
}
