/** Server-sent events: a stream of texts as a response body, with comments while nothing happens. */

const PING = ": ping\n\n";
/** What ends a stream of OpenAI's API. */
export const DONE = "data: [DONE]\n\n";

/** One event. */
export function eventOf(data: unknown): string {
  return `data: ${JSON.stringify(data)}\n\n`;
}

/**
 * A response that sends the texts as they come and asks for the next only when the client has taken the last.
 * `onEnd` is called once: at the end, or when the client has gone.
 */
export function eventStream(texts: AsyncGenerator<string>, pingMs: number, onEnd: () => void): Response {
  const encoder = new TextEncoder();
  let next: Promise<IteratorResult<string>> | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      next ??= texts.next();
      const quiet = new Promise<undefined>((resolve) => timer = setTimeout(() => resolve(undefined), pingMs));
      try {
        const result = await Promise.race([next, quiet]);
        if (result === undefined) return controller.enqueue(encoder.encode(PING));
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
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
  };
  return new Response(body, { headers });
}
