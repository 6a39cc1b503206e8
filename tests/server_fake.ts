/** For tests of the server: generations that tell what they are told to, numbers out of the metrics, and waiting. */
import type { Generation, GenerationPart } from "../src/mod.ts";
import type { Handler, ServedModel } from "../src/server/mod.ts";
import { ask, NAME, tinyModel } from "./server_support.ts";
import { ToldGeneration } from "./told_generation.ts";

/** What a generation tells; the signal fires when it is cancelled. */
export type FakeScript = (gate: AbortSignal) => AsyncGenerator<GenerationPart>;

/** A generation that tells what it is told to, when it is told to. */
export function fakeGeneration(script: FakeScript): Generation {
  const usage = { promptTokens: 1, cachedTokens: 0, completionTokens: 1 };
  const timings = { queueMs: 0, ttftMs: 0, decodeMs: 0, promptTokensPerSecond: 0, tokensPerSecond: 0 };
  return new ToldGeneration({
    parts: script,
    result: (finishReason) => ({ text: "", tokens: [], finishReason, seed: 0, usage, timings }),
  });
}

/** A model of such generations. */
export async function fakeModel(script: FakeScript): Promise<ServedModel> {
  const model = await tinyModel();
  return {
    info: model.info,
    tokenBytes: () => new Uint8Array(),
    tokenize: () => Promise.resolve(Int32Array.of(1)),
    detokenize: () => Promise.resolve(""),
    generate: () => fakeGeneration(script),
  };
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** A number out of the metrics; 0 when it is not there. */
export async function metric(handler: Handler, series: string): Promise<number> {
  const { text } = await ask(handler, "/metrics");
  const line = text.split("\n").find((one) => one.startsWith(`${series} `));
  return line === undefined ? 0 : Number(line.slice(series.length + 1));
}

export const running = (handler: Handler): Promise<number> =>
  metric(handler, `vllm:num_requests_running{model_name="${NAME}"}`);
export const waiting = (handler: Handler): Promise<number> =>
  metric(handler, `vllm:num_requests_waiting{model_name="${NAME}"}`);

/** Waits for something that is to come, with a limit that only a defect reaches. */
export async function until(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  for (let i = 0; !(await isTrue()); i++) {
    if (i > 2000) throw new Error(`never: ${what}`);
    await sleep(5);
  }
}
