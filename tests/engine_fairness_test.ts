/** Who gets a place, pages and a share of a step, and who waits: rules that random traffic would not tell apart. */
import { assert, assertEquals } from "@std/assert";
import { NO_SAMPLING } from "../src/engine/batch.ts";
import { shareChunk } from "../src/engine/chunk_size.ts";
import { PagePool } from "../src/engine/pages.ts";
import { PrefixIndex } from "../src/engine/prefix_index.ts";
import { Scheduler } from "../src/engine/scheduler.ts";
import type { Sequence } from "../src/engine/sequence.ts";
import { PASSES_MAX } from "../src/engine/waiting.ts";
import { PAGE, request, scheduler, step } from "./scheduler_support.ts";
import { test } from "./support.ts";

test("pages: sequences grow as long as there are pages, then the youngest starts again later", () => {
  const s = scheduler(3, 4);
  const [a, b, c] = [16, 16, 16].map((n) => s.add(request(n - 2, { maxTokens: 24 }), 0)) as [
    Sequence,
    Sequence,
    Sequence,
  ];
  assertEquals(step(s), [a.id, b.id], "the third would be the first to go: two may still grow");
  while (b.state === "running") step(s);
  assertEquals([a.state, b.state, c.state], ["running", "waiting", "waiting"]);
  assertEquals(s.counts.nPreemptions, 1);
  const had = b.tokens.length;
  for (let i = 0; s.sequences.length > 0; i++) {
    assert(i < 200, "it goes on for ever");
    step(s);
    assert(c.nPlaced === 0 || b.nPlaced === 2, "it waits before those that came after it");
  }
  assert(had < b.lengthMax && b.tokens.length === b.lengthMax, "it went on from its tokens");
  assertEquals([s.pages.used, s.pages.total], [0, 4]);
});

test("pages: the index gives up its pages before anybody loses a place", () => {
  const s = scheduler(2, 4);
  s.add(request(48, { maxTokens: 1 }), 0);
  step(s);
  assertEquals([s.pages.used, s.pages.cached], [0, 3]);
  const [a, b] = [s.add(request(20, { maxTokens: 12 }), 0), s.add(request(20, { maxTokens: 12 }), 0)];
  while (s.sequences.length > 0) step(s);
  assertEquals([a.nGenerated, b.nGenerated, s.counts.nPreemptions], [12, 12, 0]);
});

test("pages: a reader that stopped goes before the youngest, though it is the oldest", () => {
  const s = scheduler(3, 5);
  const slow = s.add(request(10, { credit: 1, maxTokens: 30 }), 0);
  const a = s.add(request(14, { maxTokens: 30 }), 0), b = s.add(request(4, { maxTokens: 30 }), 0);
  assertEquals(step(s), [slow.id, a.id, b.id]);
  for (let i = 0; slow.state === "running"; i++) {
    assert(i < 100, "it holds on to its pages");
    step(s);
  }
  assertEquals([a.state, b.state, s.counts.nPreemptions], ["running", "running", 1]);
});

test("prefix index: sequences of another salt find nothing, those of the same one do", () => {
  const s = scheduler(1, 8);
  const tokens = Array.from({ length: 40 }, (_, i) => i);
  const cachedOf = (salt: string): number => {
    const sequence = s.add(request(0, { tokens, salt, maxTokens: 1 }), 0);
    step(s);
    return sequence.nCached;
  };
  assertEquals(["a", "b", "", "a", "b", ""].map(cachedOf), [0, 0, 0, 32, 32, 32]);
  assertEquals([s.counts.nLookedUp, s.counts.nFound], [240, 96]);
});

test("prefix index: equal hashes are not equal tokens", () => {
  const prime = 0x01000193, start = 0x811c9dc5;
  const [a, b, other] = [5, 6, 77];
  const collides = b ^ Math.imul(start ^ a, prime) ^ Math.imul(start ^ other, prime);
  const pool = new PagePool(8), index = new PrefixIndex(pool, 2);
  const pages = [pool.allocate()], others = [pool.allocate()];
  index.put("", [a, b], pages, 1);
  assertEquals(index.take("", [other, collides, 0], 1), []);
  index.put("", [other, collides], others, 1);
  assertEquals([index.take("", [a, b, 0], 1), index.take("", [other, collides, 0], 1)], [[1], [2]]);
});

test("prefix index: a prefix computed twice is held once", () => {
  const pool = new PagePool(8), index = new PrefixIndex(pool, 2);
  const mine = [pool.allocate(), pool.allocate()], yours = [pool.allocate(), pool.allocate()];
  index.put("", [1, 2, 3, 4], mine, 2);
  index.put("", [1, 2, 5, 6], yours, 2);
  assertEquals(yours, [mine[0], 4], "the first page is the one that the index has");
  assertEquals(pool.free, 4, "the other is free again");
});

test("chunks: the oldest gets half, the shortest of the others are served first, nothing is wasted", () => {
  const share = (left: number[], budget: number): number[] => shareChunk(left, left.map(() => 7), budget);
  assertEquals(share([1000], 64), [64]);
  assertEquals(share([1000, 1000], 64), [32, 32]);
  assertEquals(share([1000, 500, 20], 64), [32, 12, 20]);
  assertEquals(share([1000, 10, 20], 64), [34, 10, 20]);
  assertEquals(share([10, 500, 500], 64), [10, 54, 0]);
  assertEquals(share([3, 4], 64), [3, 4]);
  assertEquals(share([9, 9], 1), [1, 0]);
  assertEquals([share([], 64), share([5], 0)], [[], [0]]);
});

test("chunks: beside the oldest the client that was given least is served first, then the next", () => {
  assertEquals(shareChunk([1000, 20, 500], [5, 5, 4], 64), [32, 0, 32]);
  assertEquals(shareChunk([1000, 20, 500], [0, 4, 5], 64), [32, 20, 12]);
  assertEquals(shareChunk([1000, 30, 10, 25], [9, 9, 9, 8], 64), [32, 0, 7, 25]);
});

test("fair: a short prompt that comes after a long one ends first, and short ones don't hold up the long one", () => {
  const s = scheduler(4, 200);
  const long = s.add(request(1024, { maxTokens: 1 }), 0);
  step(s);
  const short = s.add(request(20, { maxTokens: 1 }), 0);
  assertEquals(step(s), [long.id, short.id]);
  assertEquals([short.state, long.state], ["ended", "running"]);
  let steps = 2;
  for (; long.state !== "ended"; steps++) {
    // There are always two prompts that are shorter.
    while (s.nRunning + s.nWaiting < 3) s.add(request(64, { maxTokens: 1 }), 0);
    step(s);
  }
  assert(steps <= 1024 / 32, `${steps} steps: it got less than half of each`);
});

test("fair: a sequence that needs many pages is passed by few, then they come to it", () => {
  const s = scheduler(4, 8);
  for (let i = 0; i < 3; i++) s.add(request(20, { maxTokens: 12 }), 0);
  step(s);
  const big = s.add(request(110, { maxTokens: 2 }), 0);
  const passed: number[] = [];
  for (let i = 0; big.nPlaced === 0; i++) {
    assert(i < 500, "it waits for ever");
    while (s.nWaiting < 3) s.add(request(20, { maxTokens: 12 }), 0);
    const before = new Set(s.sequences.filter(({ state }) => state === "running").map(({ id }) => id));
    step(s);
    for (const { id, state } of s.sequences) {
      if (state === "running" && !before.has(id) && id !== big.id) passed.push(id);
    }
  }
  assertEquals(passed.length, PASSES_MAX);
});

test("room: what does not fit into a step comes later, by biases as by tables", () => {
  const groups = [{ pageTokens: PAGE, nPages: 101, window: 0 }];
  const bias = (n: number) => ({ ...NO_SAMPLING, bias: Array.from({ length: n }, (_, i) => [i, 1] as const) });
  const s = new Scheduler({ maxSequences: 4, groups, room: { tableEntries: 100, biases: 10, outs: 4 } });
  const [a, b, c] = [6, 6, 4].map((n) => s.add(request(4, { sampling: bias(n), maxTokens: 2 }), 0)) as Sequence[];
  assertEquals([step(s), step(s), step(s)], [[a!.id, c!.id], [a!.id, c!.id], [b!.id]]);
  const t = new Scheduler({ maxSequences: 4, groups, room: { tableEntries: 5, biases: 0, outs: 4 } });
  const [d, e, f] = [40, 40, 4].map((n) => t.add(request(n, { maxTokens: 1 }), 0)) as Sequence[];
  assertEquals([step(t), step(t), step(t)], [[d!.id, f!.id], [d!.id], [e!.id]]);
});

test("queue: those that waited too long for their first place are told, in time and no others", () => {
  const s = scheduler(1, 8);
  const running = s.add(request(4, { queueTimeoutMs: 10 }), 0);
  assertEquals(step(s), [running.id]);
  const [patient, late, later] = [0, 50, 20].map((queueTimeoutMs, i) =>
    s.add(request(4, { queueTimeoutMs }), 100 * i)
  ) as [Sequence, Sequence, Sequence];
  assertEquals(s.expire(149), []);
  assertEquals(s.expire(150), [late]);
  assertEquals(late.state, "ended");
  assertEquals(s.expire(219), []);
  assertEquals(s.expire(1e9), [later]);
  assertEquals(s.sequences, [running, patient]);
});

test("queue: one that lost its place is not told that it waited too long", () => {
  const s = scheduler(2, 3);
  s.add(request(14, { maxTokens: 30 }), 0);
  const young = s.add(request(14, { maxTokens: 30, queueTimeoutMs: 5 }), 0);
  while (young.nPlaced === 0 || young.state === "running") step(s);
  assertEquals(young.state, "waiting");
  assertEquals(s.expire(1e9), []);
});

/** `n` prompts that begin with the same `nShared` tokens and go on with 10 of their own. */
function alike(s: Scheduler, n: number, nShared: number): Sequence[] {
  const shared = Array.from({ length: nShared }, (_, i) => i);
  return Array.from({ length: n }, (_, k) => {
    const own = Array.from({ length: 10 }, (_, i) => 5000 + 100 * k + i);
    return s.add(request(0, { tokens: [...shared, ...own], maxTokens: 1 }), 0);
  });
}

test("prefix: prompts that come together compute their common beginning once", () => {
  const s = scheduler(4, 100);
  const all = alike(s, 4, 160);
  let nTokens = 0;
  for (let planned = s.next(256, 64, []); planned !== undefined; planned = s.next(256, 64, [])) {
    nTokens += planned.nTokens;
    s.finished(planned, (sequence) => s.end(sequence));
  }
  assertEquals(all.map(({ state, nCached }) => [state, nCached]), [
    ["ended", 0],
    ["ended", 160],
    ["ended", 160],
    ["ended", 160],
  ]);
  assertEquals(nTokens, 160 + 4 * 10);
  assertEquals(s.pages.used, 0);
});

test("prefix: when the one that computes a common beginning is gone, the next goes on from there", () => {
  const s = scheduler(3, 100);
  const [first, second, third] = alike(s, 3, 160) as [Sequence, Sequence, Sequence];
  assertEquals([step(s), step(s)], [[first.id], [first.id]]);
  s.end(first);
  const computed = [first, second, third].map(() => 0);
  while (s.sequences.length > 0) {
    const planned = s.next(256, 64, [])!;
    planned.entries.forEach(({ sequence }, i) => computed[sequence.id - first.id]! += planned.seqs[i]!.tokens.length);
    s.finished(planned, (sequence) => s.end(sequence));
  }
  assertEquals(second.nCached, 128, "two chunks of 64 were there");
  assertEquals(computed, [0, 42, 10]);
  assertEquals(third.nCached, 160);
});
