import { assert, assertEquals } from "@std/assert";
import { NO_SAMPLING } from "../src/engine/batch.ts";
import { EngineLoop } from "../src/engine/loop.ts";
import { CREDIT, type FromEngine, type GenerationRequest, type ToEngine } from "../src/engine/protocol.ts";
import { Scheduler } from "../src/engine/scheduler.ts";
import { createStats } from "../src/engine/stats.ts";
import { RealizarError } from "../src/errors.ts";
import type { Constraint, WireGrammar } from "../src/grammar/wire.ts";
import { FakeDevice, followers } from "./fake_device.ts";
import { test } from "./support.ts";

const VOCAB = 100;
const EOG = 99;

/** What the words of these grammars mean: a step each, `allow` token t when its bit of the row is 1. */
type Behaviour = (tokens: readonly number[]) => number[] | undefined;

/** Behaviours by the number in a grammar's words: the tokens that may come next, or undefined for all. */
const BEHAVIOURS: Behaviour[] = [
  // 0: even and odd tokens in turns
  (tokens) => Array.from({ length: 49 }, (_, i) => 2 * i + tokens.length % 2),
  // 1: three tokens of 40-49, then the end
  (tokens) => tokens.length === 3 ? [EOG] : Array.from({ length: 10 }, (_, i) => 40 + i),
  // 2: free for two tokens, then only 7
  (tokens) => tokens.length < 2 ? undefined : [7],
  // 3: throws at the third mask
  (tokens) => {
    if (tokens.length === 2) throw new RealizarError("LIMIT", "too many states");
    return undefined;
  },
  // 4: nothing at the second token
  (tokens) => tokens.length === 1 ? [] : undefined,
];

class FakeConstraint implements Constraint {
  readonly seen: number[] = [];
  readonly #behaviour: Behaviour;

  constructor(behaviour: Behaviour) {
    this.#behaviour = behaviour;
  }

  fill(mask: Uint32Array): boolean {
    assertEquals(mask.length, 4);
    assert(mask.every((word) => word === 0), "the mask is zero on entry");
    const allowed = this.#behaviour(this.seen);
    for (const token of allowed ?? []) mask[token >> 5]! |= 1 << (token & 31);
    return allowed !== undefined;
  }

  accept(token: number): void {
    if (this.seen.length === 5 && this.#behaviour === BEHAVIOURS[0]) throw new RealizarError("INTERNAL", "no more");
    this.seen.push(token);
  }
}

function grammar(kind: number): WireGrammar {
  return { words: Int32Array.of(kind) };
}

function setUp(maxSequences = 4) {
  const sizes = { vocabSize: VOCAB, pageTokens: 16, nPages: 8 * maxSequences + 1, nSlots: maxSequences };
  const device = new FakeDevice(sizes);
  const posted: FromEngine[] = [], inbox: ToEngine[] = [];
  const made: FakeConstraint[] = [];
  const loop = new EngineLoop({
    runner: device,
    scheduler: new Scheduler({ maxSequences, groups: [{ ...sizes, window: 0 }] }),
    contextSize: 128,
    maxStepTokens: 64,
    vocabSize: VOCAB,
    isEog: (token) => token === EOG,
    constrain({ words }) {
      const behaviour = BEHAVIOURS[words[0]!];
      if (behaviour === undefined) throw new RealizarError("ARG", `grammar ${words[0]} is not known`);
      made.push(new FakeConstraint(behaviour));
      return made.at(-1)!;
    },
    pieces: () => ({ push: (token) => `${token} `, flush: () => "" }),
    post: (message) => void posted.push(message),
    poll: () => inbox.shift(),
    now: () => 0,
    stats: new Float64Array(createStats()),
  });
  return { device, posted, inbox, loop, made };
}

const prompt = (id: number): Int32Array => Int32Array.from({ length: 10 }, (_, i) => (7 * id + i) % VOCAB);

function request(id: number, more: Partial<GenerationRequest> = {}): ToEngine {
  const plain = { sampling: NO_SAMPLING, penaltyWindow: 0, stops: [], maxTokens: 5, credit: CREDIT, ignoreEos: true };
  const free = { logprobs: false, grammar: undefined, salt: "", client: "", queueTimeoutMs: 0 };
  return { type: "submit", request: { id, tokens: prompt(id), ...plain, ...free, ...more } };
}

function told(posted: FromEngine[], id: number): { tokens: number[]; last: FromEngine | undefined } {
  const tokens: number[] = [];
  let last: FromEngine | undefined;
  for (const message of posted) {
    if (message.type === "step") {
      message.ids.forEach((one, i) => {
        const first = i === 0 ? 0 : message.tokenEnds[i - 1]!;
        if (one === id) tokens.push(...message.tokens.slice(first, message.tokenEnds[i]!));
      });
    } else if ("id" in message && message.id === id && message.type !== "started") last = message;
  }
  return { tokens, last };
}

test("constraint: each token is one that its mask allowed, and the constraint sees every one", () => {
  const { loop, posted, made } = setUp();
  loop.handle(request(1, { grammar: grammar(0) }));
  loop.run();
  const { tokens, last } = told(posted, 1);
  assertEquals(tokens.map((token) => token % 2), [0, 1, 0, 1, 0]);
  assertEquals(made[0]!.seen, tokens);
  assert(last?.type === "ended" && last.finishReason === "length");
});

test("constraint: a text that must end ends, and unconstrained neighbours are what they are alone", () => {
  const { loop, posted } = setUp();
  for (let id = 1; id <= 4; id++) {
    loop.handle(request(id, id % 2 === 1 ? { grammar: grammar(1), ignoreEos: false } : {}));
  }
  loop.run();
  for (const id of [1, 3]) {
    const { tokens, last } = told(posted, id);
    assert(tokens.length === 3 && tokens.every((token) => token >= 40 && token < 50), `${tokens}`);
    assert(last?.type === "ended" && last.finishReason === "stop");
  }
  for (const id of [2, 4]) assertEquals(told(posted, id).tokens, followers(prompt(id), 5, VOCAB));
});

test("constraint: a mask that was not written allows everything", () => {
  const { loop, posted } = setUp();
  loop.handle(request(1, { grammar: grammar(2) }));
  loop.run();
  assertEquals(told(posted, 1).tokens, [...followers(prompt(1), 2, VOCAB), 7, 7, 7]);
});

test("constraint: step n + 1 is in the queue before step n landed, and gets its masks after it", () => {
  const { loop, device } = setUp();
  loop.handle(request(1, { grammar: grammar(2) }));
  let deepest = 0;
  device.onWait = () => deepest = Math.max(deepest, device.inFlight);
  loop.run();
  assertEquals(deepest, 2, "one step ahead");
  assertEquals([...device.releasedAt], [[1, 0], [2, 1], [3, 2], [4, 3], [5, 4]]);
});

test("constraint: one that throws fails its own generation only, by mask or by token", () => {
  const { loop, posted } = setUp();
  loop.handle(request(1, { grammar: grammar(3) }));
  loop.handle(request(2, { grammar: grammar(2) }));
  loop.handle(request(3));
  loop.handle(request(4, { grammar: grammar(0), maxTokens: 9 }));
  loop.run();
  const [first, , , fourth] = [1, 2, 3, 4].map((id) => told(posted, id).last);
  assert(first?.type === "failed" && first.error.code === "LIMIT");
  assertEquals(told(posted, 1).tokens.length, 2, "what it made before was told");
  assert(fourth?.type === "failed" && fourth.error.code === "INTERNAL");
  assertEquals(told(posted, 2).tokens.length, 5);
  assertEquals(told(posted, 3).tokens, followers(prompt(3), 5, VOCAB));
});

test("constraint: a grammar that cannot be made, and one that allows nothing, fail with what is wrong", () => {
  const { loop, posted } = setUp();
  loop.handle(request(1, { grammar: grammar(12) }));
  loop.handle(request(2, { grammar: grammar(4) }));
  loop.run();
  const made = told(posted, 1).last, empty = told(posted, 2).last;
  assert(made?.type === "failed" && made.error.code === "ARG");
  assert(empty?.type === "failed" && empty.error.message.includes("position 11"), JSON.stringify(empty));
});

test("constraint: a held step never blocks the queue when the step before it fails", () => {
  const { loop, posted, device } = setUp();
  let waits = 0;
  device.onWait = () => {
    assert(++waits < 100, "it goes on for ever");
    if (waits === 1) loop.handle(request(2, { grammar: grammar(2) }));
    if (waits === 2) device.failNext = new RealizarError("DEVICE", "it broke");
  };
  loop.handle(request(1, { grammar: grammar(2), maxTokens: 20 }));
  loop.run();
  const last = told(posted, 1).last;
  assert(last?.type === "failed" && last.error.code === "DEVICE");
  loop.handle(request(3, { grammar: grammar(1), ignoreEos: false }));
  loop.run();
  assertEquals(told(posted, 3).tokens.length, 3);
});

test("constraint: an abort in front of a held step, of its own or of a neighbour's generation", () => {
  for (const victims of [[1], [2], [1, 2]]) {
    for (let when = 1; when < 9; when++) {
      const { loop, posted, device, inbox } = setUp();
      device.idleWaits = 1;
      let waits = 0;
      device.onWait = () => {
        assert(++waits < 200, "it goes on for ever");
        if (waits === when) { for (const id of victims) inbox.push({ type: "cancel", id }); }
        if (waits === when + 1) inbox.push(request(3, { grammar: grammar(2) }));
      };
      loop.handle(request(1, { grammar: grammar(2), maxTokens: 10 }));
      loop.handle(request(2, { grammar: grammar(2), maxTokens: 10 }));
      loop.run();
      for (const id of [1, 2]) {
        const { tokens, last } = told(posted, id);
        const expected = [...followers(prompt(id), 2, VOCAB), ...Array.from({ length: 8 }, () => 7)];
        assertEquals(tokens, expected.slice(0, tokens.length), `at wait ${when}`);
        assert(last?.type === "ended" && last.finishReason === (victims.includes(id) ? "abort" : "length"));
      }
      assertEquals(told(posted, 3).tokens.length, 5);
    }
  }
});
