/**
 * Tokens that `ref` chose on the real model, committed with the head of each distribution, since computing them takes
 * minutes: what tools/golden/make_ref_tokens.ts wrote.
 */
import { readFileSync } from "node:fs";
import { logSumExp, topTwo } from "./divergence.ts";
import { inRoot } from "./support.ts";

/** Tokens of a distribution that are kept. */
export const HEAD = 32;
/** Numbers of a position: logsumexp, then the ids of the head, best first, then their logits. */
export const POSITION_NUMBERS = 1 + 2 * HEAD;
/** Where the file lies, in the checkout. */
export const REF_TOKENS_PATH = ["tests", "golden", "logits", "smollm2_ref.bin"] as const;

/** Beginnings that models are measured on. */
export const RAW_TEXTS: readonly string[] = [
  "The capital of France is",
  "Once upon a time there was a little girl who",
  "def fibonacci(n):\n",
  "The three laws of thermodynamics are",
  "Water boils at 100 degrees Celsius because",
  "In 1969, Neil Armstrong",
  "Die Hauptstadt von Deutschland ist",
  "To make pancakes, you need flour,",
  "SELECT name, COUNT(*) FROM",
  "The quick brown fox",
  "1, 1, 2, 3, 5, 8, 13,",
  "A good friend is someone who",
  "function add(a, b) {\n  return",
  "The mitochondria is",
  "Roses are red,\n",
];

/** The file. */
export interface RefTokens {
  readonly model: string;
  readonly sha256: string;
  readonly prompts: readonly (readonly number[])[];
  /** The prompts' tokens and ref's own after them. */
  readonly tokens: readonly (readonly number[])[];
  /** [prompts][tokens after each][POSITION_NUMBERS] */
  readonly numbers: Float32Array;
}

/** Reads the file. */
export function readRefTokens(): RefTokens {
  const bytes = new Uint8Array(readFileSync(inRoot(...REF_TOKENS_PATH)));
  const end = bytes.indexOf(10) + 1;
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end))) as Omit<RefTokens, "numbers">;
  return { ...header, numbers: new Float32Array(bytes.slice(end).buffer) };
}

/** How many of ref's tokens after prompt `i` come before its first one whose two best logits are not `gap` apart. */
export function firstNear({ prompts, tokens, numbers }: RefTokens, i: number, gap: number): number {
  const nTokens = tokens[i]!.length - prompts[i]!.length;
  for (let n = 0; n < nTokens; n++) {
    const logits = POSITION_NUMBERS * (i * nTokens + n) + 1 + HEAD;
    if (numbers[logits]! - numbers[logits + 1]! < gap) return n;
  }
  return nTokens;
}

/** Greedy tokens of llama.cpp after the same prompts: what tools/golden/make_peer_tokens.mjs wrote. */
export interface PeerTokens {
  readonly source: string;
  readonly sha256: string;
  readonly greedy: readonly (readonly number[])[];
}

/** Reads them. */
export function readPeerTokens(): PeerTokens {
  return JSON.parse(readFileSync(inRoot("tests", "golden", "logits", "smollm2_llama_cpp.json"), "utf8")) as PeerTokens;
}

/** The numbers of one row of logits. */
export function headOf(row: Float32Array): number[] {
  const ids = Array.from(row, (_, id) => id).sort((a, b) => row[b]! - row[a]! || a - b).slice(0, HEAD);
  return [logSumExp(row), ...ids, ...ids.map((id) => row[id]!)];
}

/**
 * What `judged` is against such a position: the KL divergence over the tokens of the head and "any other token" (all of
 * it but what happens inside the tail), whether the arg-max is the same, and the gap between the first two.
 */
export function compareHead(head: Float32Array, judged: Float32Array): { kl: number; same: boolean; gap: number } {
  const total = logSumExp(judged);
  let kl = 0, pRest = 1, qRest = 1;
  for (let i = 1; i <= HEAD; i++) {
    const logP = head[HEAD + i]! - head[0]!;
    const logQ = judged[head[i]!]! - total;
    kl += Math.exp(logP) * (logP - logQ);
    pRest -= Math.exp(logP);
    qRest -= Math.exp(logQ);
  }
  // A tail of less than 1e-6 is the rounding of the sum.
  if (pRest > 1e-6) kl += pRest * Math.log(pRest / Math.max(qRest, 1e-9));
  return { kl, same: topTwo(judged).argmax === head[1], gap: head[HEAD + 1]! - head[HEAD + 2]! };
}
