/**
 * A world for the scheduler: random requests, readers, failures and a device of a few arrays, all from one seed. What
 * must always hold is checked after every step; the first thing that does not is thrown.
 */
import { NO_SAMPLING } from "../src/engine/batch.ts";
import type { PlannedStep } from "../src/engine/planned_step.ts";
import { Scheduler } from "../src/engine/scheduler.ts";
import type { Sequence } from "../src/engine/sequence.ts";
import { OVERTAKES_MAX, PASSES_MAX } from "../src/engine/waiting.ts";
import { ArrayDevice } from "./array_device.ts";
import { Dice, must } from "./dice.ts";
import { mix, sampleOf } from "./fake_device.ts";
import { checkScores, Guests } from "./scheduler_checks.ts";

const VOCAB = 50;
/** Places in the queue, in most worlds and in those of one client with many requests beside guests. */
const QUEUE_MAX = 6, CROWD_MAX = 100;

interface Life {
  sequence: Sequence;
  /** Of its known tokens. */
  hash: number;
  /** Its reader comes back once in so many steps; 0 = it always reads. */
  slowness: number;
  /** Steps in which it could go on and did not. */
  idle: number;
  /** What it had computed when it last went on. */
  seen: number;
}

const NOTHING = {
  steps: 0,
  tokens: 0,
  ended: 0,
  expired: 0,
  failedSteps: 0,
  preemptions: 0,
  found: 0,
  /** Prompt tokens whose log-probabilities came. */
  scored: 0,
  /** Clients with one request that got a place. */
  guests: 0,
  /** The longest idleness, as a share of what is allowed. */
  worstIdle: 0,
};

/** What a world counted. */
export type Tally = typeof NOTHING;

/** One scheduler, its device and its users. */
export class SchedulerWorld {
  readonly tally: Tally = { ...NOTHING };
  readonly #dice: Dice;
  readonly #pageTokens: number;
  readonly #window: number;
  readonly #maxSequences: number;
  readonly #lengthMax: number;
  readonly #tableEntries: number;
  readonly #scheduler: Scheduler;
  readonly #device: ArrayDevice;
  readonly #lives = new Map<Sequence, Life>();
  readonly #flights: PlannedStep[] = [];
  readonly #guests = new Guests();
  readonly #holders: Uint16Array;
  readonly #arrivals: number;
  readonly #trouble: number;
  /** `one`: nobody says who asks. `few`: several who share. `crowd`: one who asks for much, and guests. */
  readonly #clients: "one" | "few" | "crowd";
  readonly #queueMax: number;
  #nAdded = 0;
  #now = 0;

  /** Everything about the world follows from the seed. */
  constructor(seed: number) {
    const dice = this.#dice = new Dice(seed);
    this.#pageTokens = 2 << dice.roll(3);
    this.#window = dice.once(5) ? 3 + dice.roll(12) : 0;
    this.#maxSequences = 1 + dice.roll(6);
    this.#lengthMax = 8 + dice.roll(32);
    const alone = Math.ceil(this.#lengthMax / this.#pageTokens);
    // From just enough for one sequence to enough for all.
    const nPages = 1 + alone + dice.roll(alone * (this.#maxSequences - 1) + 1);
    this.#arrivals = 1 + dice.roll(12);
    this.#trouble = 10 + dice.roll(200);
    this.#clients = dice.once(20) ? "crowd" : dice.once(2) ? "few" : "one";
    this.#queueMax = this.#clients === "crowd" ? CROWD_MAX : QUEUE_MAX;
    this.#tableEntries = dice.once(3) ? alone + 1 + dice.roll(2 * alone) : Infinity;
    this.#scheduler = new Scheduler({
      maxSequences: this.#maxSequences,
      room: { tableEntries: this.#tableEntries, biases: Infinity, outs: this.#maxSequences },
      groups: [{ pageTokens: this.#pageTokens, nPages, window: this.#window }],
    });
    const sizes = { pageTokens: this.#pageTokens, nPages, nSlots: this.#maxSequences, window: this.#window };
    this.#device = new ArrayDevice({ vocabSize: VOCAB, ...sizes }, dice);
    this.#holders = new Uint16Array(nPages);
  }

  /**
   * Steps in which a sequence that could go on may stand still: all before it, twice, and a few that passed it; each
   * that waits may have been overtaken.
   */
  get #idleMax(): number {
    const each = this.#clients === "one" ? 1 : 1 + OVERTAKES_MAX;
    return 2 * this.#lengthMax * (each * this.#queueMax + 2 * this.#maxSequences + PASSES_MAX);
  }

  /** Runs `nSteps` steps with arrivals, then until everything has ended; then nothing may be held. */
  run(nSteps: number): Tally {
    for (let i = 0; i < nSteps; i++) this.#turn(true);
    for (let i = 0; this.#lives.size > 0; i++) {
      must(i < 10 * this.#idleMax, () => `${this.#lives.size} sequences do not end`);
      this.#turn(false);
    }
    while (this.#flights.length > 0) this.#land();
    const { pages, nRunning, nWaiting, counts } = this.#scheduler;
    must(pages.used === 0 && nRunning === 0 && nWaiting === 0, () => `${pages.used} pages are still held`);
    must(this.tally.ended === this.#nAdded, () => `${this.#nAdded} came, ${this.tally.ended} ended`);
    this.tally.preemptions = counts.nPreemptions;
    this.tally.found = counts.nFound;
    return this.tally;
  }

  #turn(isOpen: boolean): void {
    this.#now++;
    if (isOpen && this.#dice.once(this.#arrivals)) this.#arrive();
    if (this.#dice.once(this.#trouble)) this.#someone((life) => this.#end(life));
    this.#read(isOpen);
    for (const sequence of this.#scheduler.expire(this.#now)) {
      this.tally.expired++;
      must(sequence.nPlaced === 0, () => "it had a place and was told that it waited too long");
      this.#ended(sequence);
    }
    while (this.#flights.length < 2) {
      const oldest = this.#scheduler.sequences.find((one) => one.state === "running" && !one.isParked);
      const started: Sequence[] = [];
      const step = this.#scheduler.next(Math.max(this.#maxSequences, 16), 1 + this.#dice.roll(16), started);
      this.tally.guests += this.#guests.placed(started);
      must(oldest === undefined || oldest.state === "running", () => `the oldest, ${oldest?.id}, lost its place`);
      if (step === undefined) break;
      this.#checkStep(step);
      this.#flights.push(step);
    }
    if (this.#flights.length > 0) this.#land();
    else for (const { credit, id } of this.#lives.keys()) must(credit <= 0, () => `${id} was forgotten`);
    this.#checkPages();
    for (const life of this.#lives.values()) this.#checkPatience(life);
  }

  #arrive(): void {
    const isCrowd = this.#clients === "crowd" && this.#dice.once(2);
    for (let n = isCrowd ? 40 : this.#dice.once(4) ? 4 : 1; n > 0; n--) {
      if (this.#scheduler.nWaiting >= this.#queueMax) return;
      const client = isCrowd ? "crowd" : this.#clientOf();
      const nPrompt = 1 + this.#dice.roll(this.#lengthMax - 1);
      const nShared = this.#dice.once(2) ? this.#dice.roll(nPrompt + 1) : 0;
      const tokens = Array.from({ length: nPrompt }, (_, i) => i < nShared ? i % 7 : this.#dice.roll(VOCAB));
      const slowness = this.#dice.once(4) ? 1 + this.#dice.roll(60) : 0;
      const sequence = this.#scheduler.add({
        id: this.#nAdded++,
        tokens,
        sampling: NO_SAMPLING,
        penaltyWindow: 0,
        maxTokens: 1 + this.#dice.roll(this.#lengthMax - nPrompt),
        credit: slowness === 0 ? 1000 : 1 + this.#dice.roll(4),
        constrained: false,
        salt: this.#dice.once(3) ? "other" : "",
        client,
        promptTop: this.#dice.once(4) ? 0 : undefined,
        queueTimeoutMs: this.#dice.once(3) ? 1 + this.#dice.roll(60) : 0,
      }, this.#now);
      if (client.startsWith("guest")) this.#guests.came(sequence, [...this.#lives.keys()]);
      this.#lives.set(sequence, { sequence, hash: tokens.reduce(mix, 0), slowness, idle: 0, seen: -1 });
    }
  }

  #clientOf(): string {
    if (this.#clients === "crowd") return `guest ${this.#nAdded}`;
    return this.#clients === "few" ? `client ${this.#dice.roll(3)}` : "";
  }

  /** Slow readers come back; when the world closes all do. */
  #read(isOpen: boolean): void {
    for (const { sequence, slowness } of this.#lives.values()) {
      if (sequence.credit <= 0 && (!isOpen || this.#dice.once(slowness))) sequence.credit += 3;
    }
  }

  #someone(act: (life: Life) => void): void {
    const lives = [...this.#lives.values()];
    if (lives.length > 0) act(lives[this.#dice.roll(lives.length)]!);
  }

  #end({ sequence }: Life): void {
    this.#scheduler.end(sequence);
    this.#ended(sequence);
  }

  #ended(sequence: Sequence): void {
    this.#guests.ended(sequence);
    must(this.#lives.delete(sequence), () => `sequence ${sequence.id} ended twice`);
    must(sequence.pages.length === 0 && sequence.slot < 0, () => `sequence ${sequence.id} ended and holds something`);
    this.tally.ended++;
  }

  #land(): void {
    const step = this.#flights.shift()!;
    if (this.#dice.once(this.#trouble)) return this.#fail(step);
    const tokens = this.#device.compute(step, false);
    const scored = (sequence: Sequence, first: number, n: number): void => {
      checkScores(step, sequence, first, n);
      this.tally.scored += n;
    };
    this.#scheduler.finished(step, (sequence, out) => this.#accept(sequence, tokens[out]!), scored);
    this.tally.steps++;
    this.tally.tokens += step.nTokens;
  }

  /** A step fails or is cancelled: some of its sequences end, and what was to come after it is lost. */
  #fail(step: PlannedStep): void {
    this.tally.failedSteps++;
    this.#device.compute(step, true);
    if (this.#dice.once(3)) {
      for (const { sequence, epoch } of step.entries) {
        const life = this.#lives.get(sequence);
        if (life !== undefined && sequence.epoch === epoch && sequence.state === "running") this.#end(life);
      }
    }
    for (const lost of [step, ...this.#flights.splice(0)]) this.#scheduler.undo(lost);
  }

  #accept(sequence: Sequence, token: number): void {
    const life = this.#lives.get(sequence)!;
    const expected = sampleOf(life.hash, VOCAB);
    must(
      token === expected,
      () => `sequence ${sequence.id}: token ${token} at ${sequence.tokens.length}, not ${expected}`,
    );
    must(!sequence.isScoring, () => `sequence ${sequence.id} has a token before its prompt is scored`);
    life.hash = mix(life.hash, token);
    sequence.tokens.push(token);
    sequence.credit--;
    must(sequence.credit >= 0, () => `sequence ${sequence.id} ran ahead of its credit`);
    must(sequence.tokens.length <= sequence.lengthMax, () => `sequence ${sequence.id} is too long`);
    if (sequence.tokens.length === sequence.lengthMax || this.#dice.once(40)) this.#end(life);
  }

  #checkStep({ seqs, outs, entries, nTokens }: PlannedStep): void {
    must(outs.length <= this.#maxSequences, () => `${outs.length} outs, there is room for ${this.#maxSequences}`);
    this.#countHolders();
    let n = 0, nEntries = 0;
    for (const [i, { nPast, tokens, pages }] of seqs.entries()) {
      const { sequence } = entries[i]!;
      must(sequence.state === "running", () => `sequence ${sequence.id} is in a step and has no place`);
      n += tokens.length;
      nEntries += pages[0]!.length;
      for (let j = Math.floor(nPast / this.#pageTokens); j < pages[0]!.length; j++) {
        const page = pages[0]![j]!;
        must(
          page > 0 && this.#holders[page] === 1,
          () => `page ${page} is written and has ${this.#holders[page]} holders`,
        );
      }
    }
    const room = this.#tableEntries;
    must(nEntries <= room, () => `${nEntries} entries of tables, there is room for ${room}`);
    must(n === nTokens && n > 0, () => `${n} tokens, the step says ${nTokens}`);
  }

  #countHolders(): number {
    this.#holders.fill(0);
    let n = 0;
    for (const { pages } of this.#scheduler.sequences) {
      for (const page of pages[0] ?? []) if (page !== 0 && this.#holders[page]!++ === 0) n++;
    }
    return n;
  }

  #checkPages(): void {
    const { pages, nWaiting, nRunning } = this.#scheduler;
    const held = this.#countHolders();
    must(held === pages.used, () => `${held} pages are in tables, ${pages.used} are counted as used`);
    must(
      pages.used + pages.cached <= pages.total,
      () => `${pages.used} used and ${pages.cached} kept of ${pages.total}`,
    );
    must(nRunning <= this.#maxSequences, () => `${nRunning} have a place`);
    must(nWaiting <= this.#queueMax + this.#maxSequences, () => `${nWaiting} wait`);
    must(nRunning + nWaiting === this.#lives.size, () => "somebody is forgotten");
  }

  #checkPatience(life: Life): void {
    const { sequence } = life;
    const has = sequence.nPast + sequence.tokens.length + (sequence.nPlaced << 10);
    if (has !== life.seen || sequence.credit <= 0) life.idle = 0;
    else life.idle++;
    life.seen = has;
    this.tally.worstIdle = Math.max(this.tally.worstIdle, life.idle / this.#idleMax);
    must(life.idle <= this.#idleMax, () => `sequence ${sequence.id} stood still for ${life.idle} steps`);
  }
}
