import { assert, assertEquals } from "@std/assert";
import { NO_SAMPLING, ResultReader } from "../src/engine/batch.ts";
import type { StepRunner } from "../src/engine/flights.ts";
import { EngineLoop } from "../src/engine/loop.ts";
import { CREDIT, type FromEngine, type GenerationRequest, QUEUE_MAX, type ToEngine } from "../src/engine/protocol.ts";
import { Scheduler } from "../src/engine/scheduler.ts";
import { createStats } from "../src/engine/stats.ts";
import { RealizarError } from "../src/errors.ts";
import { test } from "./support.ts";

const EOG = 99;

/** A device in this process: reads batches by the layout of realizar.h, samples what `sample` says. */
class FakeDevice implements StepRunner {
  sample: (position: number, slot: number) => number = (position) => position;
  failNext: RealizarError | undefined;
  onWait: (() => void) | undefined;
  /** A wait is not over at once: messages are heard before each result. */
  chains = false;
  steps = 0;
  readonly #waited = new Set<number>();
  readonly #failed = new Set<number>();
  readonly #queue = new Map<
    number,
    { after: number; positions: number[]; slots: number[]; cancelled: boolean; error?: RealizarError }
  >();

  submit(batch: Uint8Array): number {
    const words = new Uint32Array(batch.slice().buffer);
    assertEquals(words[0], 0x31425a52, "magic");
    assertEquals(words[1], batch.length, "bytes");
    const [nSeqs, nTokens, nOuts, nPages] = [words[3]!, words[4]!, words[5]!, words[6]!];
    const pad = (n: number): number => (n + 3) & ~3;
    const outsAt = 16 + 8 * nSeqs + pad(nPages) + pad(nTokens);
    const rows: { position: number; slot: number }[] = [];
    for (let s = 0; s < nSeqs; s++) {
      const [slot, nPast, nNew] = [words[16 + 8 * s]!, words[17 + 8 * s]!, words[18 + 8 * s]!];
      for (let i = 0; i < nNew; i++) rows.push({ position: nPast + i, slot });
    }
    assertEquals(rows.length, nTokens, "tokens of all sequences");
    const picked = Array.from({ length: nOuts }, (_, i) => rows[words[outsAt + 20 * i]!]!);
    const ticket = ++this.steps;
    const after = words[11]!;
    const error = this.failNext;
    this.failNext = undefined;
    this.#queue.set(ticket, {
      after,
      positions: picked.map(({ position }) => position),
      slots: picked.map(({ slot }) => slot),
      cancelled: false,
      ...(error === undefined ? {} : { error }),
    });
    return ticket;
  }

  wait(ticket: number): ResultReader | undefined {
    this.onWait?.();
    if (this.chains && !this.#waited.has(ticket)) {
      this.#waited.add(ticket);
      return undefined;
    }
    const step = this.#queue.get(ticket)!;
    this.#queue.delete(ticket);
    if (step.error !== undefined) throw step.error;
    if (step.cancelled || this.#failed.has(step.after)) {
      this.#failed.add(ticket);
      throw new RealizarError("CANCELLED", "step cancelled");
    }
    const reader = new ResultReader(32 + 32 * step.positions.length);
    const ints = new Int32Array(reader.bytes.buffer);
    ints[2] = step.positions.length;
    step.positions.forEach((position, i) => ints[8 + 8 * i] = this.sample(position, step.slots[i]!));
    return reader;
  }

  release(): void {}

  cancel(ticket: number): void {
    const step = this.#queue.get(ticket);
    if (step !== undefined) step.cancelled = true;
  }
}

function setUp(maxSequences = 2) {
  const device = new FakeDevice();
  const posted: FromEngine[] = [];
  const inbox: ToEngine[] = [];
  const loop = new EngineLoop({
    runner: device,
    scheduler: new Scheduler({ maxSequences, groups: [{ pageTokens: 16, nPages: 8 * maxSequences + 1, window: 0 }] }),
    contextSize: 128,
    maxStepTokens: 64,
    vocabSize: 100,
    isEog: (token) => token === EOG,
    constrain: () => {
      throw new RealizarError("UNSUPPORTED", "no grammar");
    },
    pieces: () => ({ push: (token) => `${token} `, flush: () => "" }),
    post: (message) => void posted.push(message),
    poll: () => inbox.shift(),
    now: () => performance.now(),
    stats: new Float64Array(createStats()),
  });
  return { device, posted, inbox, loop };
}

function request(id: number, more: Partial<GenerationRequest> = {}): ToEngine {
  const tokens = Int32Array.from({ length: 10 }, (_, i) => 1000 * id + i);
  const plain = { sampling: NO_SAMPLING, penaltyWindow: 0, stops: [], maxTokens: 5, credit: CREDIT, ignoreEos: false };
  const free = { logprobs: false, grammar: undefined, salt: "", client: "", queueTimeoutMs: 0 };
  return { type: "submit", request: { id, tokens, ...plain, ...free, ...more } };
}

/** Text and ending of an id. */
function told(posted: FromEngine[], id: number): { text: string; tokens: number[]; last: FromEngine | undefined } {
  let text = "", last: FromEngine | undefined;
  const tokens: number[] = [];
  for (const message of posted) {
    if (message.type === "step") {
      message.ids.forEach((one, i) => {
        if (one !== id) return;
        assert(last === undefined, "nothing comes after the ending");
        text += message.texts[i]!;
        tokens.push(...message.tokens.slice(i === 0 ? 0 : message.tokenEnds[i - 1]!, message.tokenEnds[i]!));
      });
    } else if ((message.type === "ended" || message.type === "failed") && message.id === id) {
      assert(last === undefined, "an id ends once");
      last = message;
    }
  }
  return { text, tokens, last };
}

test("loop: tokens come in order, and the ending last", () => {
  const { loop, posted } = setUp();
  loop.handle(request(1));
  loop.run();
  const { text, tokens, last } = told(posted, 1);
  assertEquals(tokens, [9, 10, 11, 12, 13]);
  assertEquals(text, "9 10 11 12 13 ");
  assert(last?.type === "ended" && last.finishReason === "length");
  assertEquals(last.usage, { promptTokens: 10, cachedTokens: 0, completionTokens: 5 });
});

test("loop: the token that ends a text is not shown, unless it is to be ignored", () => {
  const { loop, posted, device } = setUp();
  device.sample = (position) => position === 11 ? EOG : position;
  loop.handle(request(1));
  loop.handle(request(2, { ignoreEos: true }));
  loop.run();
  const first = told(posted, 1);
  assertEquals(first.tokens, [9, 10]);
  assert(first.last?.type === "ended" && first.last.finishReason === "stop" && first.last.usage.completionTokens === 2);
  assertEquals(told(posted, 2).tokens, [9, 10, EOG, 12, 13]);
});

test("loop: a stop string ends the text before it and is named", () => {
  const { loop, posted } = setUp();
  loop.handle(request(1, { stops: ["11"] }));
  loop.run();
  const { text, last } = told(posted, 1);
  assertEquals(text, "9 10 ");
  assert(last?.type === "ended" && last.finishReason === "stop" && last.stop === "11");
});

test("loop: without credit a generation pauses, and goes on when it comes", () => {
  const { loop, posted, device } = setUp();
  loop.handle(request(1, { credit: 2 }));
  loop.run();
  assertEquals(told(posted, 1).tokens, [9, 10]);
  assertEquals(device.steps, 2, "no step is wasted on a paused generation");
  loop.handle({ type: "credit", id: 1, n: 10 });
  loop.run();
  assertEquals(told(posted, 1).tokens, [9, 10, 11, 12, 13]);
});

test("loop: cancel is heard while a step runs, and ends with what was made", () => {
  const { loop, posted, device, inbox } = setUp();
  let waits = 0;
  device.onWait = () => {
    if (++waits === 3) inbox.push({ type: "cancel", id: 1 }, { type: "cancel", id: 77 });
  };
  loop.handle(request(1, { maxTokens: 50 }));
  loop.run();
  const { tokens, last } = told(posted, 1);
  assert(tokens.length >= 1 && tokens.length <= 4, `${tokens.length} tokens`);
  assert(last?.type === "ended" && last.finishReason === "abort");
});

test("loop: a cancelled neighbour does not change a stream, also when its step is lost", () => {
  const { loop, posted, device, inbox } = setUp(1);
  let waits = 0;
  device.onWait = () => {
    if (++waits === 2) inbox.push({ type: "cancel", id: 1 }, request(2));
  };
  loop.handle(request(1, { maxTokens: 50 }));
  loop.run();
  assertEquals(told(posted, 2).tokens, [9, 10, 11, 12, 13]);
});

test("loop: a request that comes while a cancelled step is in the queue is not lost in a chain of lost steps", () => {
  const { loop, posted, device, inbox } = setUp(1);
  let waits = 0;
  device.chains = true;
  device.onWait = () => {
    waits++;
    if (waits === 2) inbox.push({ type: "cancel", id: 1 });
    if (waits === 3) inbox.push(request(2));
    assert(waits < 100, "it goes on for ever");
  };
  loop.handle(request(1, { maxTokens: 50 }));
  loop.run();
  assertEquals(told(posted, 2).tokens, [9, 10, 11, 12, 13]);
});

test("loop: a step's failure fails its generations with its error, later ones work", () => {
  const { loop, posted, device } = setUp();
  device.failNext = new RealizarError("DEVICE", "it broke");
  loop.handle(request(1));
  loop.run();
  const { last } = told(posted, 1);
  assert(last?.type === "failed" && last.error.code === "DEVICE");
  loop.handle(request(2));
  loop.run();
  assertEquals(told(posted, 2).tokens.length, 5);
});

test("loop: a row without a token fails that generation only", () => {
  const { loop, posted, device } = setUp();
  let bad = -1;
  device.sample = (position, slot) => {
    if (position === 11 && bad < 0) bad = slot;
    return position === 11 && slot === bad ? -1 : position;
  };
  loop.handle(request(1));
  loop.handle(request(2));
  loop.run();
  const endings = [told(posted, 1).last, told(posted, 2).last].map((message) => message?.type);
  assertEquals(endings.toSorted(), ["ended", "failed"]);
});

test("loop: prompts that are empty or fill the context are refused with what is needed", () => {
  const { loop, posted } = setUp();
  loop.handle(request(1, { tokens: new Int32Array(0) }));
  loop.handle(request(2, { tokens: new Int32Array(128) }));
  loop.handle(request(3, { tokens: new Int32Array(127), maxTokens: undefined }));
  loop.run();
  const codes = [1, 2].map((id) => {
    const { last } = told(posted, id);
    return last?.type === "failed" ? last.error.code : undefined;
  });
  assertEquals(codes, ["ARG", "LIMIT"]);
  assertEquals(told(posted, 3).tokens.length, 1, "the context has room for one more");
});

test("loop: a full queue is BUSY, and close ends everything", () => {
  const { loop, posted } = setUp(1);
  for (let id = 1; id <= QUEUE_MAX + 1; id++) loop.handle(request(id));
  const { last } = told(posted, QUEUE_MAX + 1);
  assert(last?.type === "failed" && last.error.code === "BUSY");
  loop.handle({ type: "close" });
  loop.run();
  const ended = posted.filter((message) => message.type === "ended" && message.finishReason === "abort");
  assertEquals(ended.length, QUEUE_MAX);
  assert(loop.closing);
  loop.handle(request(5000));
  const after = told(posted, 5000).last;
  assert(after?.type === "failed" && after.error.code === "CLOSED");
});
