/**
 * An open-loop load generator: requests are sent at times drawn before the first of them, whatever becomes of those
 * sent earlier, and every latency counts from the time at which its request was to be sent. A server that stalls can't
 * slow the arrivals down, and so can't hide that it stalled.
 */

/** What is to be asked, and how often. */
export interface LoadPlan {
  /** Requests a second on average, their distances exponential; Infinity = all at once. */
  rate: number;
  /** Requests in all. */
  requests: number;
  /** Words of a prompt, from and to; each is a token or two. */
  promptWords: readonly [min: number, max: number];
  /** Words at the beginning that all prompts share. */
  sharedWords: number;
  /** Tokens of an answer, from and to. */
  answerTokens: readonly [min: number, max: number];
  /** The same seed gives the same times, prompts and lengths. */
  seed: number;
}

/** One request of a plan. */
export interface PlannedRequest {
  /** When it is to be sent, in milliseconds from the start. */
  atMs: number;
  prompt: string;
  maxTokens: number;
}

/** What became of one request; times are milliseconds from its intended sending. */
export interface Outcome {
  /** HTTP status; 0 when there was no whole answer. */
  status: number;
  /** Why it failed; undefined for a whole answer. */
  error?: string;
  /** How late it was sent: the generator's own lag. */
  lagMs: number;
  ttftMs: number;
  endMs: number;
  /** Times between pieces of the answer. */
  gapsMs: number[];
  promptTokens: number;
  completionTokens: number;
}

/** Asks once and streams; resolves with what became of it. `dueAt` is on the clock of `performance.now()`. */
export type Sender = (request: PlannedRequest, dueAt: number) => Promise<Outcome>;

/** Draws from 0 to 1 (1 excluded), the same from the same seed. */
export function drawer(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
  };
}

const WORDS = (
  "the of and to in is that for it as was with be by on not he his but at are this have from or had an they which " +
  "one you were all her she there would their we him been has when who will no more if out so up said what its about"
).split(" ");

/** Draws the whole plan. */
export function planLoad(plan: LoadPlan): PlannedRequest[] {
  const draw = drawer(plan.seed);
  const between = ([min, max]: readonly [number, number]): number => min + Math.floor(draw() * (max - min + 1));
  const words = (n: number): string[] => Array.from({ length: n }, () => WORDS[Math.floor(draw() * WORDS.length)]!);
  const shared = words(plan.sharedWords);
  let atMs = 0;
  return Array.from({ length: plan.requests }, () => {
    if (plan.rate !== Infinity) atMs += -Math.log(1 - draw()) * 1000 / plan.rate;
    const own = words(Math.max(1, between(plan.promptWords) - plan.sharedWords));
    return { atMs, prompt: [...shared, ...own].join(" "), maxTokens: between(plan.answerTokens) };
  });
}

/** Sends a plan; resolves when the last answer has ended. */
export async function generateLoad(requests: readonly PlannedRequest[], send: Sender): Promise<Outcome[]> {
  const startedAt = performance.now();
  return await Promise.all(requests.map(async (request) => {
    const dueAt = startedAt + request.atMs;
    await new Promise<void>((resolve) => setTimeout(resolve, Math.max(0, dueAt - performance.now())));
    return await send(request, dueAt);
  }));
}

/** A server of OpenAI's text completions. */
export interface Target {
  /** Up to `/v1`, without a slash at the end. */
  url: string;
  model: string;
  headers?: Readonly<Record<string, string>>;
  /** Default the runtime's own. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

interface Chunk {
  choices?: { text?: string }[];
  usage?: { prompt_tokens: number; completion_tokens: number } | null;
  error?: { message: string };
}

/** The data of server-sent events up to `[DONE]`; throws when they stop before it. */
async function* dataOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Chunk, void, undefined> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const bytes of body) {
    text += decoder.decode(bytes, { stream: true });
    const blocks = text.split("\n\n");
    text = blocks.pop()!;
    for (const block of blocks) {
      if (block === "data: [DONE]") return;
      if (block.startsWith("data: ")) yield JSON.parse(block.slice(6)) as Chunk;
    }
  }
  throw new Error("the stream ended before its end");
}

/** Sends a request as a streaming text completion that does not end before its length. */
export function completionSender(target: Target): Sender {
  const ask = target.fetch ?? fetch;
  return async ({ prompt, maxTokens }, dueAt) => {
    const outcome: Outcome = {
      status: 0,
      lagMs: Math.max(0, performance.now() - dueAt),
      ttftMs: NaN,
      endMs: NaN,
      gapsMs: [],
      promptTokens: 0,
      completionTokens: 0,
    };
    const body = { model: target.model, prompt, max_tokens: maxTokens, temperature: 0, ignore_eos: true, stream: true };
    let lastAt = 0;
    try {
      const response = await ask(`${target.url}/v1/completions`, {
        method: "POST",
        headers: { "content-type": "application/json", ...target.headers },
        body: JSON.stringify({ ...body, stream_options: { include_usage: true } }),
      });
      outcome.status = response.status;
      if (response.status !== 200) {
        throw new Error(`status ${response.status}: ${(await response.text()).slice(0, 200)}`);
      }
      for await (const { choices, usage, error } of dataOf(response.body!)) {
        if (error !== undefined) throw new Error(error.message);
        const now = performance.now();
        if ((choices?.length ?? 0) > 0 && choices![0]!.text !== "") {
          if (lastAt === 0) outcome.ttftMs = now - dueAt;
          else outcome.gapsMs.push(now - lastAt);
          lastAt = now;
        }
        if (usage === undefined || usage === null) continue;
        outcome.promptTokens = usage.prompt_tokens;
        outcome.completionTokens = usage.completion_tokens;
      }
    } catch (error) {
      outcome.error = error instanceof Error ? error.message : String(error);
      if (outcome.status === 200) outcome.status = 0;
    }
    outcome.endMs = performance.now() - dueAt;
    return outcome;
  };
}
