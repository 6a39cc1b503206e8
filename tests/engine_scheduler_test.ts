import { assert, assertEquals } from "@std/assert";
import { NO_SAMPLING } from "../src/engine/batch.ts";
import { PagePool } from "../src/engine/pages.ts";
import { PrefixIndex } from "../src/engine/prefix_index.ts";
import type { PlannedStep } from "../src/engine/planned_step.ts";
import { Scheduler } from "../src/engine/scheduler.ts";
import type { Sequence } from "../src/engine/sequence.ts";
import { test } from "./support.ts";

const PAGE = 16;

function scheduler(maxSequences: number, contextSize = 128, window = 0): Scheduler {
  const nPages = maxSequences * Math.ceil(contextSize / PAGE) + 1;
  return new Scheduler({ maxSequences, groups: [{ pageTokens: PAGE, nPages, window }] });
}

let nextId = 1;
function request(tokens: number[], maxTokens = 8, credit = 256) {
  return {
    id: nextId++,
    tokens,
    sampling: NO_SAMPLING,
    penaltyWindow: 0,
    maxTokens,
    credit,
    constrained: false,
    salt: "",
    client: "",
    queueTimeoutMs: 0,
  };
}

const range = (n: number, first = 0): number[] => Array.from({ length: n }, (_, i) => first + i);

/** Every token position of every sequence must be submitted in order, with a page for it, no page shared by writers. */
function checkStep(step: PlannedStep): void {
  const written = new Set<string>();
  for (const [i, { nPast, tokens, pages }] of step.seqs.entries()) {
    const { sequence, nPastAfter } = step.entries[i]!;
    assertEquals(nPastAfter, nPast + tokens.length);
    assertEquals(pages[0]!.length, Math.ceil(nPastAfter / PAGE));
    for (let page = Math.floor(nPast / PAGE); page < pages[0]!.length; page++) {
      const id = pages[0]![page]!;
      assert(id > 0, `sequence ${sequence.id} writes to the null page`);
      assert(!written.has(`${id}`), `page ${id} is written by two sequences`);
      written.add(`${id}`);
    }
  }
}

/** A device that samples 1000 + position. */
function finish(s: Scheduler, step: PlannedStep, ended: (sequence: Sequence) => boolean = () => false): void {
  s.finished(step, (sequence) => {
    sequence.tokens.push(1000 + sequence.tokens.length);
    sequence.credit--;
    if (ended(sequence) || sequence.tokens.length >= sequence.lengthMax) s.end(sequence);
  });
}

test("scheduler: a prompt comes in chunks, then one token a step, up to maxTokens", () => {
  const s = scheduler(2);
  const sequence = s.add(request(range(50), 3), 0);
  const sizes: number[] = [];
  for (let step = s.next(64, 20, []); step !== undefined; step = s.next(64, 20, [])) {
    checkStep(step);
    sizes.push(step.nTokens);
    finish(s, step);
  }
  assertEquals(sizes, [20, 20, 10, 1, 1]);
  assertEquals(sequence.nGenerated, 3);
  assertEquals(sequence.state, "ended");
});

test("scheduler: runs one step ahead with the last sample as input, never past maxTokens", () => {
  const s = scheduler(1);
  s.add(request(range(4), 3), 0);
  const first = s.next(64, 64, [])!;
  const second = s.next(64, 64, [])!;
  assertEquals(second.seqs[0]!.tokens, [-1]);
  assertEquals(second.seqs[0]!.nPast, 4);
  finish(s, first);
  const third = s.next(64, 64, [])!;
  assertEquals(third.seqs[0]!.tokens, [-1]);
  finish(s, second);
  assertEquals(s.next(64, 64, []), undefined, "three samples are submitted, and no more may be");
  finish(s, third);
  assertEquals(s.sequences.length, 0);
});

test("scheduler: decodes go before prompts, and the token budget holds", () => {
  const s = scheduler(4);
  s.add(request(range(4)), 0);
  finish(s, s.next(64, 64, [])!);
  s.add(request(range(60, 100)), 0);
  const step = s.next(32, 64, [])!;
  checkStep(step);
  assertEquals(step.seqs.map(({ tokens }) => tokens.length), [1, 31]);
  assertEquals(step.outs.map(({ row }) => row), [0], "a chunk that is not the last wants no logits");
});

test("scheduler: more sequences than places wait in order of arrival", () => {
  const s = scheduler(2);
  const three = [1, 2, 3].map((k) => s.add(request(range(8, k * 100), 1), 0));
  const started: Sequence[] = [];
  const step = s.next(64, 64, started)!;
  assertEquals(started.map(({ id }) => id), [three[0]!.id, three[1]!.id]);
  assertEquals(s.nWaiting, 1);
  finish(s, step);
  s.next(64, 64, started);
  assertEquals(started.at(-1)!.id, three[2]!.id);
});

test("scheduler: a finished prompt's full pages are found by the next one, the last token is computed anyway", () => {
  const s = scheduler(2);
  s.add(request(range(40), 1), 0);
  finish(s, s.next(64, 64, [])!);
  const same = s.add(request(range(32), 1), 0);
  const step = s.next(64, 64, [])!;
  assertEquals(same.nCached, 16, "of two full pages one, since the last token's logits are wanted");
  assertEquals(step.seqs[0]!.nPast, 16);
  checkStep(step);
  const other = s.add(request([...range(20), 7, ...range(19, 50)], 1), 0);
  s.next(64, 64, []);
  assertEquals(other.nCached, 16, "a prefix that parts in the second page keeps the first");
});

test("scheduler: an ended sequence's part in a step in flight is ignored", () => {
  const s = scheduler(1);
  const sequence = s.add(request(range(4)), 0);
  const first = s.next(64, 64, [])!;
  const second = s.next(64, 64, [])!;
  finish(s, first, () => true);
  let accepted = 0;
  s.finished(second, () => accepted++);
  assertEquals(accepted, 0);
  assertEquals(sequence.nGenerated, 1);
});

test("scheduler: a step that did not happen is planned again from known tokens", () => {
  const s = scheduler(1);
  const sequence = s.add(request(range(20)), 0);
  finish(s, s.next(64, 64, [])!);
  const lost = s.next(64, 64, [])!;
  const after = s.next(64, 64, [])!;
  s.undo(lost);
  s.undo(after);
  const again = s.next(64, 64, [])!;
  assertEquals(again.seqs[0]!.nPast, 20);
  assertEquals(again.seqs[0]!.tokens, [sequence.tokens[20]!], "the token is known now");
});

test("scheduler: a reader without credit leaves its place to one that waits, and goes on later", () => {
  const s = scheduler(1);
  const slow = s.add(request(range(20), 8, 1), 0);
  finish(s, s.next(64, 64, [])!);
  assertEquals(s.next(64, 64, []), undefined, "it has no credit");
  const quick = s.add(request(range(8, 500), 1), 0);
  const step = s.next(64, 64, [])!;
  assertEquals(step.entries[0]!.sequence, quick);
  finish(s, step);
  assertEquals(s.next(64, 64, []), undefined);
  slow.credit += 4;
  const resumed = s.next(64, 64, [])!;
  assertEquals(resumed.entries[0]!.sequence, slow);
  assertEquals(resumed.seqs[0]!.nPast, 16, "its full page was still there");
  assertEquals(resumed.seqs[0]!.tokens, slow.tokens.slice(16));
});

test("scheduler: pages that a window has passed are given back and are 0 in the table", () => {
  const s = scheduler(1, 256, 20);
  s.add(request(range(100), 4), 0);
  let last: PlannedStep | undefined;
  for (let step = s.next(16, 16, []); step !== undefined; step = s.next(16, 16, [])) {
    finish(s, step);
    last = step;
  }
  const { nPast, pages } = last!.seqs[0]!;
  const firstSeen = nPast - 20 + 1;
  for (const [i, page] of Array.from(pages[0]!).entries()) {
    assertEquals(page === 0, (i + 1) * PAGE <= firstSeen, `page ${i} at n_past ${nPast}`);
  }
});

test("scheduler: random traffic keeps every invariant and gives every page back", () => {
  const s = scheduler(4, 128);
  let state = 12345;
  const random = (n: number): number => (state = Math.imul(state, 1103515245) + 12345 >>> 0) % n;
  const flights: PlannedStep[] = [];
  let added = 0;
  while (added < 200 || s.sequences.length > 0) {
    if (added < 200 && random(3) === 0) {
      const shared = random(2) * 32;
      s.add(request([...range(shared), ...range(1 + random(60), 1000 * random(50))], 1 + random(20)), 0);
      added++;
    }
    if (random(10) === 0) {
      const victim = s.sequences[random(s.sequences.length || 1)];
      if (victim !== undefined) s.end(victim);
    }
    while (flights.length < 2) {
      const step = s.next(32, 1 + random(32), []);
      if (step === undefined) break;
      checkStep(step);
      flights.push(step);
    }
    const done = flights.shift();
    if (done !== undefined && random(20) === 0) [done, ...flights.splice(0)].forEach((step) => s.undo(step));
    else if (done !== undefined) finish(s, done, () => random(15) === 0);
  }
  const fill = Array.from({ length: 4 }, (_, i) => s.add(request(range(120, 100_000 * (i + 1)), 1), 0));
  const step = s.next(10_000, 10_000, [])!;
  checkStep(step);
  assertEquals(step.seqs.length, fill.length, "all four contexts fit again");
});

test("pages: shared pages are free when the last holder lets go", () => {
  const pool = new PagePool(3);
  assertEquals([pool.allocate(), pool.allocate(), pool.allocate()], [1, 2, 0]);
  pool.retain(1);
  pool.release(1);
  assertEquals(pool.free, 0);
  pool.release(1);
  assertEquals(pool.allocate(), 1);
  pool.release(0);
  assertEquals(pool.free, 0);
});

test("prefix index: evicts the least recently used page that nothing else holds, leaves first", () => {
  const pool = new PagePool(8);
  const index = new PrefixIndex(pool, 2);
  const pages = [pool.allocate(), pool.allocate(), pool.allocate()];
  index.put("", [1, 2, 3, 4], pages, 2);
  index.put("", [1, 2, 9, 9], [pages[0]!, pages[2]!], 2);
  pages.forEach((page) => pool.release(page));
  assertEquals(pool.free, 4);
  assertEquals(index.take("", [1, 2, 3, 4, 5], 2), [pages[0], pages[1]]);
  assert(index.evict(), "[9, 9] is held by the index alone");
  assertEquals(pool.free, 5);
  assert(!index.evict(), "what is left is in use");
  pool.release(pages[0]!);
  pool.release(pages[1]!);
  assert(index.evict() && index.evict() && !index.evict());
  assertEquals([pool.free, index.size], [7, 0]);
});
