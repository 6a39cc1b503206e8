/** Turns of clients, and prompts whose log-probabilities are wanted. */
import { assert, assertEquals } from "@std/assert";
import { Scheduler } from "../src/engine/scheduler.ts";
import type { Sequence } from "../src/engine/sequence.ts";
import { OVERTAKES_MAX } from "../src/engine/waiting.ts";
import { PAGE, request, scheduler, step } from "./scheduler_support.ts";
import { test } from "./support.ts";

/** Runs until n more have a place; their clients, in order. */
function placesOf(s: Scheduler, n: number): string[] {
  const clients: string[] = [];
  while (clients.length < n) {
    const started: Sequence[] = [];
    const planned = s.next(256, 64, started)!;
    clients.push(...started.map(({ client }) => client));
    s.finished(planned, (sequence) => {
      sequence.tokens.push(1);
      if (sequence.tokens.length >= sequence.lengthMax) s.end(sequence);
    });
  }
  return clients.slice(0, n);
}

test("clients: one with a single request goes after one of those of a client with a hundred", () => {
  const s = scheduler(1, 8);
  for (let i = 0; i < 100; i++) s.add(request(10, { client: "many" }), 0);
  assertEquals(placesOf(s, 3), ["many", "many", "many"]);
  s.add(request(10, { client: "one" }), 0);
  assertEquals(placesOf(s, 2), ["one", "many"]);
});

test("clients: turns are shared by tokens, not by requests, and nobody saves up what he did not ask for", () => {
  const s = scheduler(1, 40);
  // A request of 10 + 4 * 10 against one of 160 + 4 * 10: four for one.
  for (let i = 0; i < 40; i++) s.add(request(10, { client: "short", maxTokens: 10 }), 0);
  for (let i = 0; i < 10; i++) s.add(request(160, { client: "long", maxTokens: 10 }), 0);
  const turns = placesOf(s, 20);
  assertEquals(turns.filter((client) => client === "long").length, 4, turns.join(" "));
  s.add(request(10, { client: "late" }), 0);
  s.add(request(10, { client: "late" }), 0);
  assertEquals(placesOf(s, 3).filter((client) => client === "late").length, 1, "the second waits for its turn");
});

test("clients: coming again does not undo what one had", () => {
  const s = scheduler(2, 200);
  s.add(request(10, { client: "other", maxTokens: 400 }), 0);
  const big = s.add(request(400, { client: "big", maxTokens: 1 }), 0);
  while (big.state !== "ended") step(s);
  const filler = s.add(request(10, { client: "filler", maxTokens: 400 }), 0);
  step(s);
  s.add(request(10, { client: "big" }), 0);
  s.add(request(10, { client: "other" }), 0);
  s.end(filler);
  assertEquals(placesOf(s, 1), ["other"], "it came later, and had less");
});

test("clients: a client's oldest is overtaken by few, whoever comes", () => {
  const s = scheduler(1, 100);
  s.add(request(10, { client: "poor" }), 0);
  const waits = s.add(request(1000, { client: "poor", maxTokens: 1 }), 0);
  let nGuests = 0;
  for (; waits.nPlaced === 0; nGuests++) {
    s.add(request(2, { client: `guest ${nGuests}`, maxTokens: 1 }), 0);
    assert(nGuests < 1000, "it waits for ever");
    step(s);
  }
  assert(nGuests <= OVERTAKES_MAX + 40, `${nGuests} steps`);
});

/** Runs until a sequence has ended; the tokens of its prompt that were scored, in order. */
function scoresOf(s: Scheduler, scored: Sequence, outsMax: number): number[] {
  const seen: number[] = [];
  while (scored.state !== "ended") {
    const planned = s.next(64, 64, [])!;
    assert(planned.outs.length <= outsMax);
    const take = (sequence: Sequence): void => {
      sequence.tokens.push(sequence.tokens.length);
      if (sequence.tokens.length >= sequence.lengthMax) s.end(sequence);
    };
    s.finished(planned, take, (sequence, first, n) => {
      assertEquals(sequence.id, scored.id);
      for (let i = 0; i < n; i++) seen.push(planned.outs[first + i]!.target!);
    });
  }
  return seen;
}

test("scores: a prompt is scored once, in chunks of the outs there are, also when it loses its place", () => {
  const groups = [{ pageTokens: PAGE, nPages: 6, window: 0 }];
  const s = new Scheduler({ maxSequences: 2, groups, room: { tableEntries: Infinity, biases: Infinity, outs: 2 } });
  const old = s.add(request(30, { maxTokens: 40 }), 0);
  const scored = s.add(request(30, { maxTokens: 2, promptTop: 0 }), 0);
  assertEquals(scoresOf(s, scored, 2), scored.tokens.slice(1, 30));
  assertEquals([old.state, scored.nPlaced], ["ended", 2], "it lost its place");
});

test("scores: a prompt that is cached, or being computed by another, is computed from its start", () => {
  const s = scheduler(3, 100);
  const { tokens } = request(60);
  const first = s.add(request(0, { tokens, maxTokens: 1 }), 0);
  while (first.state !== "ended") step(s);
  s.add(request(0, { tokens, maxTokens: 20 }), 0);
  const scored = s.add(request(0, { tokens, maxTokens: 1, promptTop: 3 }), 0);
  assertEquals(scoresOf(s, scored, 60), Array.from(tokens).slice(1));
  assertEquals(scored.nCached, 0);
});
