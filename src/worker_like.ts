/** What the library needs of a Worker, so that modules which talk to one need not know how it was started. */

/** The part of a `node:worker_threads` Worker that is used; `src/platform/spawn.ts` makes them. */
export interface WorkerLike {
  /** Sends a cloneable value; buffers in `transfer` move instead of being copied. */
  postMessage(value: unknown, transfer?: readonly ArrayBuffer[]): void;
  /** A message from the Worker. */
  on(event: "message", listener: (value: unknown) => void): unknown;
  /** The Worker threw where nothing caught it; it has ended or is about to. */
  on(event: "error", listener: (error: unknown) => void): unknown;
  /** The Worker has ended. */
  on(event: "exit", listener: (code: number) => void): unknown;
  /** Ends the Worker, also in the middle of a computation. */
  terminate(): Promise<unknown>;
  /** Lets the Worker keep the process alive. */
  ref(): void;
  /** Lets the process end although the Worker lives. */
  unref(): void;
}
