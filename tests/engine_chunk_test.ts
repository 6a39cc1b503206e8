/** How long steps are: alone they are long, and whoever comes makes them give way. */
import { assert, assertEquals } from "@std/assert";
import { NO_SAMPLING, type ResultReader } from "../src/engine/batch.ts";
import { ChunkSize, companyOf } from "../src/engine/chunk_size.ts";
import { EngineLoop } from "../src/engine/loop.ts";
import { CREDIT, type FromEngine, type ToEngine } from "../src/engine/protocol.ts";
import { Scheduler } from "../src/engine/scheduler.ts";
import { createStats } from "../src/engine/stats.ts";
import { FakeDevice, followers } from "./fake_device.ts";
import { test } from "./support.ts";

test("chunk size: as many tokens as fit the time, and never so few that reading weights is all there is", () => {
  assertEquals([[], [0], [0, 0], [3, 0]].map(companyOf), ["alone", "alone", "prompts", "decodes"]);
  const slow = new ChunkSize(512), fast = new ChunkSize(512);
  for (let i = 0; i < 20; i++) slow.observe(128, 640_000), fast.observe(128, 20_000);
  assertEquals((["alone", "prompts", "decodes"] as const).map((company) => slow.next(company)), [128, 32, 16]);
  assertEquals((["alone", "prompts", "decodes"] as const).map((company) => fast.next(company)), [320, 320, 128]);
  assertEquals(new ChunkSize(40).next("alone"), 40, "no more than the plan has room for");
});

test("chunk size: a long step gives way, and then no more is lost than was done since", () => {
  const slow = new ChunkSize(512), fast = new ChunkSize(512);
  for (let i = 0; i < 20; i++) slow.observe(128, 640_000), fast.observe(128, 20_000);
  assertEquals([fast.yields(320), slow.yields(64), slow.next("alone")], [false, false, 128]);
  assertEquals([slow.yields(128), slow.next("alone")], [true, 32]);
  const sizes = [32, 32, 32, 32].map(() => {
    const n = slow.next("alone");
    slow.observe(n, n * 5000);
    return n;
  });
  assertEquals(sizes, [32, 64, 128, 128]);
});

/** A device on which a token takes 5 ms. */
class SlowDevice extends FakeDevice {
  /** Tokens of each step that was waited for to its end. */
  readonly done: number[] = [];
  readonly #nTokens = new Map<number, number>();

  override submit(batch: Uint8Array): number {
    const ticket = super.submit(batch);
    this.#nTokens.set(ticket, new DataView(batch.buffer, batch.byteOffset).getUint32(16, true));
    return ticket;
  }

  override wait(ticket: number): ResultReader | undefined {
    const result = super.wait(ticket);
    if (result === undefined) return undefined;
    const n = this.#nTokens.get(ticket)!;
    this.done.push(n);
    new DataView(result.bytes.buffer).setInt32(16, 5000 * n, true);
    return result;
  }
}

function setUp(device: SlowDevice, maxSequences: number) {
  const { vocabSize, pageTokens, nPages } = device.sizes;
  const posted: FromEngine[] = [], inbox: ToEngine[] = [];
  const loop = new EngineLoop({
    runner: device,
    scheduler: new Scheduler({ maxSequences, groups: [{ pageTokens, nPages, window: 0 }] }),
    contextSize: 2048,
    maxStepTokens: 512,
    vocabSize,
    isEog: () => false,
    constrain: () => {
      throw new Error("no grammar here");
    },
    pieces: () => ({ push: (token) => `${token} `, flush: () => "" }),
    post: (message) => void posted.push(message),
    poll: () => inbox.shift(),
    now: () => performance.now(),
    stats: new Float64Array(createStats()),
  });
  const submit = (id: number, nTokens: number, maxTokens = 3): ToEngine => ({
    type: "submit",
    request: {
      id,
      tokens: Int32Array.from({ length: nTokens }, (_, i) => (7 * id + i) % vocabSize),
      ...{ sampling: NO_SAMPLING, penaltyWindow: 0, stops: [], maxTokens, credit: CREDIT, ignoreEos: false },
      ...{ logprobs: false, grammar: undefined, salt: "", client: "", queueTimeoutMs: 0 },
    } as Extract<ToEngine, { type: "submit" }>["request"],
  });
  return { loop, posted, inbox, submit };
}

test("loop: a long prompt alone takes long steps; a short one that comes does not wait for them", () => {
  const vocabSize = 50;
  const device = new SlowDevice({ vocabSize, pageTokens: 16, nPages: 200, nSlots: 2 });
  const { loop, posted, inbox, submit } = setUp(device, 2);
  let waits = 0, before = 0;
  device.idleWaits = 1;
  device.onWait = () => {
    if (++waits !== 8) return;
    before = device.done.length;
    inbox.push(submit(2, 10));
  };
  loop.handle(submit(1, 1500));
  loop.run();
  assertEquals(device.done.slice(0, 3), [128, 128, 128]);
  // The step that ends in that moment has ended; the one behind it is given up.
  assert(device.done[before + 1]! <= 64, `steps of ${device.done.slice(before, before + 4)} after somebody came`);
  const tokensOf = (id: number): number[] =>
    posted.flatMap((message) => {
      if (message.type !== "step") return [];
      const ends = [0, ...message.tokenEnds];
      return message.ids.flatMap((one, i) => one === id ? [...message.tokens.slice(ends[i]!, ends[i + 1]!)] : []);
    });
  for (const [id, n] of [[1, 1500], [2, 10]] as const) {
    const prompt = Array.from({ length: n }, (_, i) => (7 * id + i) % vocabSize);
    assertEquals(tokensOf(id), followers(prompt, 3, vocabSize), `generation ${id}`);
  }
  const ends = posted.flatMap((message) => message.type === "ended" ? [message.id] : []);
  assertEquals(ends, [2, 1], "the short one ends first");
});

test("loop: steps of many generations, however long, are not given up for one more", () => {
  const vocabSize = 50, pageTokens = 16, nPages = 400, nRunning = 70;
  const device = new SlowDevice({ vocabSize, pageTokens, nPages, nSlots: nRunning + 1 });
  const { loop, inbox, submit } = setUp(device, nRunning + 1);
  let cancelled = 0;
  const cancel = device.cancel.bind(device);
  device.cancel = (ticket) => {
    cancelled++;
    cancel(ticket);
  };
  let waits = 0;
  device.onWait = () => {
    if (++waits > 40 && waits < 50) inbox.push(submit(1000 + waits, 3));
  };
  for (let id = 1; id <= nRunning; id++) loop.handle(submit(id, 3, 60));
  loop.run();
  assert(device.done.some((n) => n >= nRunning), "all decode together");
  assertEquals(cancelled, 0);
});
