/** The loop under random traffic, with constraints and too few pages, over a device that would show any mix-up. */
import { assert, assertEquals } from "@std/assert";
import { NO_SAMPLING } from "../src/engine/batch.ts";
import { EngineLoop } from "../src/engine/loop.ts";
import type { FromEngine, GenerationRequest, ToEngine, WireLogprob } from "../src/engine/protocol.ts";
import { Scheduler } from "../src/engine/scheduler.ts";
import { createStats, readStats } from "../src/engine/stats.ts";
import { RealizarError } from "../src/errors.ts";
import type { Constraint } from "../src/grammar/wire.ts";
import { Dice } from "./dice.ts";
import { FakeDevice, mix, sampleOf, scoreOf } from "./fake_device.ts";
import { test } from "./support.ts";

const VOCAB = 64;
const MAX_SEQUENCES = 4;
const CONTEXT = 64;
const N_REQUESTS = 30;
const N_SEEDS = 60;

/** Every second token is even, the others free. */
class EvenConstraint implements Constraint {
  #n = 0;

  fill(mask: Uint32Array): boolean {
    if (this.#n % 2 === 1) return false;
    mask.fill(0x55555555);
    return true;
  }

  accept(token: number): void {
    assert(this.#n % 2 === 1 || token % 2 === 0, `token ${token} was not allowed`);
    this.#n++;
  }
}

/** What a generation must be, by the definitions of device and constraint. */
function expectedTokens({ tokens, maxTokens, grammar }: GenerationRequest): number[] {
  let hash = 0;
  for (const token of tokens) hash = mix(hash, token);
  return Array.from({ length: maxTokens! }, (_, n) => {
    let token = sampleOf(hash, VOCAB);
    if (grammar !== undefined && n % 2 === 0 && token % 2 === 1) token = (token + 1) % VOCAB;
    hash = mix(hash, token);
    return token;
  });
}

/** What is to be told of a prompt. */
function expectedScores({ tokens, promptTop }: GenerationRequest): WireLogprob[] {
  let hash = 0;
  return promptTop === undefined ? [] : Array.from(tokens.subarray(1), (token, i) => {
    hash = mix(hash, tokens[i]!);
    return scoreOf(hash, token, promptTop);
  });
}

interface Told {
  request: GenerationRequest;
  scores: WireLogprob[];
  tokens: number[];
  last: FromEngine | undefined;
  /** Given so far. */
  credit: number;
}

/** One run; everything follows from the seed. */
class Traffic {
  readonly told = new Map<number, Told>();
  readonly stats = new Float64Array(createStats());
  readonly #dice: Dice;
  readonly #device: FakeDevice;
  readonly #loop: EngineLoop;
  readonly #inbox: ToEngine[] = [];
  /** Requests after which the model is closed. */
  #closesAt: number;
  #now = 0;
  #waits = 0;

  constructor(seed: number) {
    const dice = this.#dice = new Dice(seed);
    this.#closesAt = dice.once(5) ? 5 + dice.roll(20) : -1;
    const sizes = { vocabSize: VOCAB, pageTokens: 8, nPages: 9 + dice.roll(24), nSlots: MAX_SEQUENCES };
    this.#device = new FakeDevice(sizes);
    this.#device.idleWaits = dice.roll(2);
    this.#device.onWait = () => this.#meanwhile();
    this.#loop = new EngineLoop({
      runner: this.#device,
      scheduler: new Scheduler({
        maxSequences: MAX_SEQUENCES,
        groups: [{ ...sizes, window: 0 }],
        room: { tableEntries: Infinity, biases: Infinity, outs: MAX_SEQUENCES },
      }),
      contextSize: CONTEXT,
      maxStepTokens: 32,
      vocabSize: VOCAB,
      isEog: () => false,
      constrain: () => new EvenConstraint(),
      pieces: () => ({ push: () => "", flush: () => "" }),
      post: (message) => this.#hear(message),
      poll: () => this.#inbox.shift(),
      now: () => this.#now,
      stats: this.stats,
    });
  }

  run(): void {
    while (this.told.size < N_REQUESTS || this.#open().length > 0) {
      this.#meanwhile();
      this.#loop.run();
      for (const { request, tokens, credit } of this.#open()) {
        assertEquals(credit - tokens.length, 0, `generation ${request.id} has a reader and was left alone`);
      }
    }
    const { kvPagesUsed, nRunning, nWaiting } = readStats(this.stats);
    assertEquals([kvPagesUsed, nRunning, nWaiting, this.#device.inFlight], [0, 0, 0, 0]);
  }

  #open(): Told[] {
    return [...this.told.values()].filter(({ last }) => last === undefined);
  }

  /** What clients do while a step runs. */
  #meanwhile(): void {
    assert(++this.#waits < 20_000, "it goes on for ever");
    this.#now += this.#dice.roll(10);
    if (this.told.size < N_REQUESTS && this.#dice.once(2)) this.#submit();
    if (this.#closesAt === this.told.size) {
      this.#closesAt = -1;
      this.#inbox.push({ type: "close" });
    }
    const open = this.#open();
    if (open.length === 0) return;
    const one = open[this.#dice.roll(open.length)]!;
    const { id } = one.request;
    if (this.#dice.once(20)) this.#inbox.push({ type: "cancel", id });
    else if (this.#dice.once(3)) {
      const n = 1 + this.#dice.roll(8);
      one.credit += n;
      this.#inbox.push({ type: "credit", id, n });
    }
    if (this.#dice.once(60)) this.#device.failNext = new RealizarError("DEVICE", "it broke");
  }

  #submit(): void {
    const dice = this.#dice, id = this.told.size;
    const nPrompt = 1 + dice.roll(CONTEXT - 12);
    const request: GenerationRequest = {
      id,
      tokens: Int32Array.from({ length: nPrompt }, (_, i) => i < 20 && id % 2 === 0 ? i : dice.roll(VOCAB)),
      sampling: NO_SAMPLING,
      penaltyWindow: 0,
      stops: [],
      maxTokens: dice.roll(12),
      credit: dice.once(3) ? 2 : 100,
      ignoreEos: false,
      logprobs: false,
      grammar: dice.once(3) ? { words: new Int32Array(0) } : undefined,
      promptTop: dice.once(3) ? dice.roll(3) : undefined,
      salt: "",
      client: dice.once(2) ? "often" : `client ${dice.roll(5)}`,
      queueTimeoutMs: dice.once(4) ? 1 + dice.roll(100) : 0,
    };
    this.told.set(id, { request, scores: [], tokens: [], last: undefined, credit: request.credit });
    this.#inbox.push({ type: "submit", request });
  }

  #hear(message: FromEngine): void {
    if (message.type === "step") {
      message.ids.forEach((id, i) => {
        const one = this.told.get(id)!;
        assert(one.last === undefined, `generation ${id} goes on after its end`);
        one.tokens.push(...message.tokens.slice(i === 0 ? 0 : message.tokenEnds[i - 1]!, message.tokenEnds[i]!));
      });
    } else if (message.type === "scored") {
      const one = this.told.get(message.id)!;
      assert(one.last === undefined && one.tokens.length === 0, `prompt ${message.id} is scored too late`);
      one.scores.push(...message.scores);
    } else if (message.type === "ended" || message.type === "failed") {
      const one = this.told.get(message.id)!;
      assert(one.last === undefined, `generation ${message.id} ended twice`);
      one.last = message;
    }
  }
}

test("traffic: every generation ends once and is what it is alone, whatever happens around it", () => {
  const endings = new Map<string, number>();
  let nPreemptions = 0, nScored = 0;
  for (let seed = 1; seed <= N_SEEDS; seed++) {
    const traffic = new Traffic(seed);
    traffic.run();
    nPreemptions += readStats(traffic.stats).nPreemptions;
    for (const { request, scores, tokens, last } of traffic.told.values()) {
      const expected = expectedTokens(request);
      const what = last!.type === "ended" ? last!.finishReason : last!.type === "failed" ? last!.error.code : "?";
      endings.set(what, (endings.get(what) ?? 0) + 1);
      assertEquals(tokens, expected.slice(0, tokens.length), `seed ${seed}, generation ${request.id}`);
      if (what === "length") assertEquals(tokens.length, expected.length);
      const expectedOfPrompt = expectedScores(request);
      const nTold = tokens.length > 0 || what === "length" ? expectedOfPrompt.length : scores.length;
      assertEquals(scores, expectedOfPrompt.slice(0, nTold), `seed ${seed}, prompt ${request.id}`);
      nScored += scores.length;
    }
  }
  for (
    const [what, atLeast] of [["length", 500], ["abort", 50], ["DEVICE", 20], ["BUSY", 20], ["CLOSED", 20]] as const
  ) {
    assert(endings.get(what)! >= atLeast, `${what}: ${endings.get(what)}`);
  }
  assert(nPreemptions > 50 && nScored > 5000, `${nPreemptions} preemptions, ${nScored} tokens of prompts`);
});
