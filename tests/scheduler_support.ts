/** What the tests of the scheduler's rules share: requests, and steps that succeed. */
import { NO_SAMPLING } from "../src/engine/batch.ts";
import type { PlannedStep } from "../src/engine/planned_step.ts";
import { Scheduler } from "../src/engine/scheduler.ts";
import type { SequenceRequest } from "../src/engine/sequence.ts";

/** Tokens of a page. */
export const PAGE = 16;

let nextId = 1;
/** A request with tokens of its own. */
export function request(nPrompt: number, more: Partial<SequenceRequest> = {}): SequenceRequest {
  const id = nextId++;
  const tokens = Array.from({ length: nPrompt }, (_, i) => 1000 * id + i);
  const plain = { sampling: NO_SAMPLING, penaltyWindow: 0, maxTokens: 8, credit: 256, constrained: false };
  return { id, tokens, ...plain, salt: "", client: "", queueTimeoutMs: 0, ...more };
}

/** `nPages` usable pages. */
export function scheduler(maxSequences: number, nPages: number): Scheduler {
  return new Scheduler({ maxSequences, groups: [{ pageTokens: PAGE, nPages: nPages + 1, window: 0 }] });
}

/** Runs one step; ids of its sequences, in order. */
export function step(s: Scheduler, nPromptMax = 64): number[] {
  const planned: PlannedStep | undefined = s.next(256, nPromptMax, []);
  if (planned === undefined) return [];
  s.finished(planned, (sequence) => {
    sequence.tokens.push(sequence.tokens.length);
    sequence.credit--;
    if (sequence.tokens.length >= sequence.lengthMax) s.end(sequence);
  });
  return planned.entries.map(({ sequence }) => sequence.id);
}
