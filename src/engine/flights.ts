/**
 * Steps in the native queue, oldest first: submitted one behind the other, let sample when their masks are known,
 * dropped when nobody wants their results. A step with a constrained row is held: its forward runs while the step
 * before it is read and the masks are filled, and nothing but its sampling waits.
 */
import { RealizarError } from "../errors.ts";
import type { Constraint } from "../grammar/wire.ts";
import { BATCH_FLAGS, BatchWriter, type ResultReader } from "./batch.ts";
import { MaskBuffer } from "./masks.ts";
import type { PlannedStep, StepEntry } from "./planned_step.ts";
import type { Sequence } from "./sequence.ts";

/** The native half of a step. */
export interface StepRunner {
  /** Queues a batch; returns its ticket. Throws what C refuses. */
  submit(batch: Uint8Array): number;
  /** The result, or undefined when it is not there after `timeoutMs`. Throws the step's failure. */
  wait(ticket: number, timeoutMs: number): ResultReader | undefined;
  /** Lets a held step sample; `masks` as in rz_step_sample. */
  release(ticket: number, masks: Uint32Array): void;
  cancel(ticket: number): void;
}

/** A step in the queue. */
interface Flight {
  ticket: number;
  step: PlannedStep;
  cancelled: boolean;
  /** Its sampling waits for masks. */
  held: boolean;
}

/** How a step ended. */
export type Landing =
  | { step: PlannedStep; result: ResultReader }
  /** `error` is undefined when the step was dropped. `lost` are the steps that were to run after it. */
  | { step: PlannedStep; result: undefined; error: unknown; lost: PlannedStep[] };

/** What the queue asks of its owner. */
export interface FlightHooks {
  /** What constrains a sequence, in the state of its known tokens. */
  constraintOf(sequence: Sequence): Constraint | undefined;
  /** This sequence cannot go on. */
  failed(sequence: Sequence, error: unknown): void;
}

/** Whether the sequence of a planned row is still in the state the row was planned for. */
export function isLive({ sequence, epoch }: StepEntry): boolean {
  return sequence.state === "running" && sequence.epoch === epoch;
}

/** The queue of one plan and cache. */
export class Flights {
  readonly #runner: StepRunner;
  readonly #hooks: FlightHooks;
  readonly #writer = new BatchWriter();
  readonly #masks: MaskBuffer;
  readonly #flights: Flight[] = [];

  /** `vocabSize`: of the plan's logits. */
  constructor(runner: StepRunner, vocabSize: number, hooks: FlightHooks) {
    this.#runner = runner;
    this.#hooks = hooks;
    this.#masks = new MaskBuffer(vocabSize);
  }

  /** Steps that have not landed. */
  get length(): number {
    return this.#flights.length;
  }

  /** A step that comes after one being cancelled would be lost with it, and the next with that. */
  get mayFollow(): boolean {
    return !this.#flights.some(({ cancelled }) => cancelled);
  }

  /** Queues a step behind the others. Throws what C refuses. */
  submit(step: PlannedStep): void {
    const held = step.nMasks > 0;
    const flags = held ? BATCH_FLAGS.holdSample : 0;
    const after = this.#flights.at(-1)?.ticket ?? 0;
    const batch = this.#writer.write({ flags, after, copies: [], seqs: step.seqs, outs: step.outs });
    this.#flights.push({ ticket: this.#runner.submit(batch), step, cancelled: false, held });
    this.release();
  }

  /** Lets held steps sample whose masks can be known: every constraint has seen the token before. */
  release(): void {
    for (const flight of this.#flights) {
      if (!flight.held || flight.cancelled) continue;
      const masked = flight.step.entries.filter(({ out }) => out >= 0 && flight.step.outs[out]!.mask! > 0);
      const isEarly = masked.some((entry) => isLive(entry) && entry.sequence.tokens.length < entry.nPastAfter);
      if (isEarly) break;
      const constraints = masked.map((entry) => isLive(entry) ? this.#hooks.constraintOf(entry.sequence) : undefined);
      const masks = this.#masks.fill(constraints, (row, error) => this.#hooks.failed(masked[row]!.sequence, error));
      flight.held = false;
      this.#let(flight, masks);
    }
    this.dropIdle();
  }

  #let(flight: Flight, masks: Uint32Array): void {
    try {
      this.#runner.release(flight.ticket, masks);
    } catch (error) {
      for (const entry of flight.step.entries) if (isLive(entry)) this.#hooks.failed(entry.sequence, error);
      this.#drop(flight);
    }
  }

  /** Drops steps whose every sequence has ended. */
  dropIdle(): void {
    for (const flight of this.#flights) {
      if (flight.step.entries.every(({ sequence }) => sequence.state !== "running")) this.#drop(flight);
    }
  }

  /** For somebody who came: drops the first step of one generation that is too long to wait for, and what is behind. */
  giveWay(isTooLong: (nTokens: number) => boolean): void {
    const alone = this.#flights.filter(({ step, cancelled }) => !cancelled && step.entries.length === 1);
    const long = alone.find(({ step }) => isTooLong(step.nTokens));
    if (long !== undefined) this.#drop(long);
  }

  #drop(flight: Flight): void {
    if (flight.cancelled) return;
    flight.cancelled = true;
    this.#runner.cancel(flight.ticket);
  }

  /** The end of the oldest step, or undefined when it is not there after `timeoutMs`. */
  land(timeoutMs: number): Landing | undefined {
    const flight = this.#flights[0]!;
    let result: ResultReader | undefined;
    try {
      result = this.#runner.wait(flight.ticket, timeoutMs);
    } catch (error) {
      this.#flights.shift();
      // What was to run after this one fails as well. Held, it must not wait for ever.
      for (const next of this.#flights) this.#drop(next);
      const isDropped = flight.cancelled && error instanceof RealizarError && error.code === "CANCELLED";
      const lost = this.#flights.map(({ step }) => step);
      return { step: flight.step, result: undefined, error: isDropped ? undefined : error, lost };
    }
    if (result === undefined) return undefined;
    this.#flights.shift();
    return { step: flight.step, result };
  }
}
