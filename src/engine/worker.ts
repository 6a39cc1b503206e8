/** The engine Worker: opens one model and runs its token loop. Every failure is posted; nothing is thrown. */
import { isMainThread, type MessagePort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { errorToWire, RealizarError } from "../errors.ts";
import { createConstraint } from "../grammar/constraint.ts";
import { Detokenizer } from "../text/detokenize.ts";
import { EngineLoop } from "./loop.ts";
import { stepRoom } from "./native_model.ts";
import { estimateModel, openModel } from "./open_model.ts";
import { prepareModel } from "./prepare.ts";
import type { FromEngine, Placement, ToEngine, WireSource } from "./protocol.ts";
import { Scheduler } from "./scheduler.ts";
import { createStats } from "./stats.ts";

/** Serves the main thread at the other end of `port` until it says close. */
class EngineWorker {
  readonly #port: MessagePort;
  #loop: EngineLoop | undefined;
  #close: (() => void) | undefined;
  #opening = false;
  #closing = false;

  constructor(port: MessagePort) {
    this.#port = port;
    port.on("message", (message: ToEngine) => void this.#hear(message));
  }

  #post(message: FromEngine): void {
    this.#port.postMessage(message);
  }

  async #hear(message: ToEngine): Promise<void> {
    try {
      if (message.type === "close") this.#closing = true;
      if (message.type === "open") await this.#open(message.source, message.placement);
      else if (message.type === "estimate") {
        const model = await prepareModel(message.source);
        this.#post({ type: "estimated", estimate: estimateModel(model, message.placement) });
      } else if (this.#loop !== undefined) {
        this.#loop.handle(message);
        this.#loop.run();
      }
    } catch (error) {
      this.#post({ type: "refused", error: errorToWire(error) });
    }
    // Close may have come in the middle of opening, or inside the loop.
    if ((this.#closing || this.#loop?.closing === true) && !this.#opening) this.#end();
  }

  async #open(source: WireSource, placement: Placement): Promise<void> {
    this.#opening = true;
    try {
      await this.#openModel(source, placement);
    } finally {
      this.#opening = false;
    }
  }

  async #openModel(source: WireSource, placement: Placement): Promise<void> {
    const prepared = await prepareModel(source, (vocab) => this.#post({ type: "vocab", tables: vocab.tables }));
    const model = await openModel(prepared, placement, {
      onEngine: (engine, libraryPath) => this.#post({ type: "engine", engine, libraryPath }),
      onProgress: (progress) => this.#post({ type: "progress", ...progress }),
      tick: async () => {
        await new Promise((resolve) => setImmediate(resolve)); // hears close
        if (this.#closing) throw new RealizarError("CANCELLED", "loading was cancelled");
      },
    });
    const { library, handles, runner, info, facts } = model;
    this.#close = () => void library.native.rz_engine_close(handles.engine);
    const { vocab, sampling } = prepared;
    const stats = createStats();
    this.#loop = new EngineLoop({
      runner,
      scheduler: new Scheduler({
        maxSequences: info.maxSequences,
        groups: model.groups,
        room: stepRoom(model.groups.map(({ nPages }) => nPages), info.maxSequences),
      }),
      contextSize: info.contextSize,
      maxStepTokens: model.maxStepTokens,
      vocabSize: info.vocabSize,
      isEog: (token) => vocab.isEog(token),
      constrain: (grammar) => createConstraint(grammar, vocab.tables),
      pieces: ({ shown }) => new Detokenizer(vocab, { continues: true, shown }),
      post: (message) => this.#post(message),
      poll: () => receiveMessageOnPort(this.#port)?.message as ToEngine | undefined,
      now: () => performance.now(),
      stats: new Float64Array(stats),
    });
    this.#post({ type: "opened", model: { info, handles, plan: facts, sampling, stats, libraryPath: library.path } });
  }

  #end(): void {
    this.#close?.();
    this.#post({ type: "closed" });
    this.#port.close();
  }
}

if (!isMainThread) new EngineWorker((workerData as { port: MessagePort }).port);
