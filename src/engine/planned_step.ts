/** A step to submit: which tokens of which sequences, and of which rows what is wanted. */
import { type BatchOut, type BatchSeq, LAST_SAMPLE, NO_SAMPLING, OUT_MODES } from "./batch.ts";
import type { PageTables } from "./page_tables.ts";
import type { Sequence } from "./sequence.ts";

/** What a step can hold beside its tokens. */
export interface StepRoom {
  /** Entries of all page tables. */
  tableEntries: number;
  /** Biases of all outs. */
  biases: number;
  /** Rows whose logits are wanted; at least one for each sequence. */
  outs: number;
}

/** A sequence's part in a step. */
export interface StepEntry {
  sequence: Sequence;
  epoch: number;
  /** Tokens submitted after this step. */
  nPastAfter: number;
  /** Index of its out; -1 = none, a prompt chunk that is not the last. */
  out: number;
  /** Its outs for the prompt's tokens `token`, `token` + 1, ...: from `out` on, `n` of them. */
  scores?: { out: number; token: number; n: number };
}

/** A step to submit. */
export interface PlannedStep {
  seqs: BatchSeq[];
  outs: BatchOut[];
  entries: StepEntry[];
  nTokens: number;
  /** Outs that have a mask: their `mask` is 1 ... nMasks. */
  nMasks: number;
  /** What is taken of the step's room. */
  taken: Omit<StepRoom, "outs">;
}

/** A step with nothing in it. */
export function emptyStep(): PlannedStep {
  return { seqs: [], outs: [], entries: [], nTokens: 0, nMasks: 0, taken: { tableEntries: 0, biases: 0 } };
}

/** Whether a step has room for a sequence's tables and biases; who is left out comes when older ones have ended. */
export function hasRoom({ taken }: PlannedStep, { pages, sampling }: Sequence, room: StepRoom): boolean {
  const entries = pages.reduce((sum, table) => sum + table.length + 1, 0);
  return taken.tableEntries + entries <= room.tableEntries && taken.biases + sampling.bias.length <= room.biases;
}

/** Adds the next n tokens of a sequence, for which it has pages. */
export function addTokens(step: PlannedStep, sequence: Sequence, n: number, tables: PageTables): void {
  const { nPast } = sequence;
  const nPastAfter = nPast + n;
  const tokens = sequence.nKnownLeft > 0 ? sequence.tokens.slice(nPast, nPastAfter) : [LAST_SAMPLE];
  tables.trim(sequence);
  const pages = tables.upTo(sequence, nPastAfter);
  step.seqs.push({ slot: sequence.slot, nPast, tokens, pages });
  step.taken.tableEntries += pages.reduce((sum, table) => sum + table.length, 0);
  step.nTokens += n;
  sequence.nPast = nPastAfter;
  const scores = sequence.isScoring ? addScores(step, sequence, nPast) : undefined;
  const out = nPastAfter >= sequence.tokens.length ? addSample(step, sequence) : -1;
  step.entries.push({ sequence, epoch: sequence.epoch, nPastAfter, out, ...(scores === undefined ? {} : { scores }) });
}

/** The out of a sequence whose last known token is the step's last. */
function addSample(step: PlannedStep, sequence: Sequence): number {
  const { sampling, penaltyWindow, nPast } = sequence;
  step.taken.biases += sampling.bias.length;
  sequence.nPending++;
  return step.outs.push({
    row: step.nTokens - 1,
    mode: OUT_MODES.sample,
    sampling,
    penaltyFrom: penaltyWindow === 0 ? 0 : Math.max(0, nPast - penaltyWindow),
    drawPosition: nPast,
    mask: sequence.constrained ? ++step.nMasks : 0,
  }) - 1;
}

/** Outs for the tokens of a prompt that the step's last rows, of positions `from` ... nPast - 1, tell about. */
function addScores(step: PlannedStep, sequence: Sequence, from: number): StepEntry["scores"] {
  const { tokens, nPrompt, nPast, nScored } = sequence;
  const sampling = { ...NO_SAMPLING, nTop: sequence.promptTop! };
  const token = Math.max(from + 1, nScored), end = Math.min(nPast + 1, nPrompt);
  const out = step.outs.length;
  for (let i = token; i < end; i++) {
    const row = step.nTokens - 1 - (nPast - i);
    step.outs.push({ row, mode: OUT_MODES.target, sampling, penaltyFrom: 0, drawPosition: i, target: tokens[i]! });
  }
  return end > token ? { out, token, n: end - token } : undefined;
}
