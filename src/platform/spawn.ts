/** Starts Workers, always as `node:worker_threads`. */
import { type Transferable, Worker } from "node:worker_threads";
import type { WorkerLike } from "../worker_like.ts";

/**
 * V8 lets the youngest part of each Worker's heap grow to three times 16 MiB while there is garbage, and gives none of
 * it back: a server's memory would grow over its first ten thousand requests. Bun ignores the limit.
 */
const YOUNG_HEAP_MIB = 8;

/**
 * Starts the module at `url`. A file URL is started as it is; any other (a module that came over https) through a data
 * URL that imports it, since Workers take nothing else. `data` is the Worker's `workerData`.
 */
export function spawnWorker(url: URL, data: unknown = undefined, transfer: readonly Transferable[] = []): WorkerLike {
  const start = url.protocol === "file:" ? url : new URL(`data:text/javascript,import ${JSON.stringify(url.href)}`);
  const resourceLimits = { maxYoungGenerationSizeMb: YOUNG_HEAP_MIB };
  return new Worker(start, { workerData: data, transferList: [...transfer], resourceLimits }) as unknown as WorkerLike;
}
