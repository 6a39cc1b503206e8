/** Starts Workers, always as `node:worker_threads`. */
import { type Transferable, Worker } from "node:worker_threads";
import type { WorkerLike } from "../worker_like.ts";

/**
 * Starts the module at `url`. A file URL is started as it is; any other (a module that came over https) through a data
 * URL that imports it, since Workers take nothing else. `data` is the Worker's `workerData`.
 */
export function spawnWorker(url: URL, data: unknown = undefined, transfer: readonly Transferable[] = []): WorkerLike {
  const start = url.protocol === "file:" ? url : new URL(`data:text/javascript,import ${JSON.stringify(url.href)}`);
  return new Worker(start, { workerData: data, transferList: [...transfer] }) as unknown as WorkerLike;
}
