/** What a load came to: rates, latencies by percentile, and how many requests were served as well as they should be. */
import type { Outcome, PlannedRequest } from "./load_generator.ts";

/** Latencies of one kind, in milliseconds. */
export interface Spread {
  mean: number;
  p50: number;
  p95: number;
  p99: number;
  max: number;
}

/** What is good enough: a request that keeps all of it counts for the goodput. */
export interface Objective {
  /** Until the first piece, in milliseconds. */
  ttftMs: number;
  /** Mean time between pieces, in milliseconds. */
  itlMs: number;
}

/** The result of one load. Rates are by the second, from the first intended sending to the last end. */
export interface LoadReport {
  requests: number;
  ok: number;
  /** Failures by their text, with how often each came. */
  failures: Record<string, number>;
  seconds: number;
  requests_s: number;
  prompt_tok_s: number;
  output_tok_s: number;
  ttft_ms: Spread;
  itl_ms: Spread;
  e2e_ms: Spread;
  /** How late requests were sent; above a few milliseconds the figures are about the generator. */
  lag_ms: Spread;
  goodput_requests_s: number;
  /** Share of all requests that kept the objective. */
  good_share: number;
}

/** The value below which a share of the values lies, by the nearest rank; NaN of none. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? NaN;
}

/** Percentiles of values in any order. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  const sum = sorted.reduce((total, value) => total + value, 0);
  return {
    mean: sum / sorted.length,
    p50: percentile(sorted, 0.5),
    p95: percentile(sorted, 0.95),
    p99: percentile(sorted, 0.99),
    max: sorted.at(-1) ?? NaN,
  };
}

function isGood({ error, ttftMs, gapsMs }: Outcome, objective: Objective): boolean {
  if (error !== undefined || !(ttftMs <= objective.ttftMs)) return false;
  return gapsMs.length === 0 || gapsMs.reduce((sum, gap) => sum + gap, 0) / gapsMs.length <= objective.itlMs;
}

/** Sums a load up. `outcomes` are those of `requests`, in their order. */
export function reportOf(
  requests: readonly PlannedRequest[],
  outcomes: readonly Outcome[],
  objective: Objective,
): LoadReport {
  const whole = outcomes.filter(({ error }) => error === undefined);
  const failures: Record<string, number> = {};
  for (const { error } of outcomes) if (error !== undefined) failures[error] = (failures[error] ?? 0) + 1;
  const first = Math.min(...requests.map(({ atMs }) => atMs));
  const seconds = (Math.max(...outcomes.map(({ endMs }, i) => requests[i]!.atMs + endMs)) - first) / 1000;
  const sum = (count: (outcome: Outcome) => number): number => whole.reduce((total, one) => total + count(one), 0);
  const nGood = outcomes.filter((outcome) => isGood(outcome, objective)).length;
  return {
    requests: outcomes.length,
    ok: whole.length,
    failures,
    seconds,
    requests_s: whole.length / seconds,
    prompt_tok_s: sum(({ promptTokens }) => promptTokens) / seconds,
    output_tok_s: sum(({ completionTokens }) => completionTokens) / seconds,
    ttft_ms: spreadOf(whole.map(({ ttftMs }) => ttftMs)),
    itl_ms: spreadOf(whole.flatMap(({ gapsMs }) => gapsMs)),
    e2e_ms: spreadOf(whole.map(({ endMs }) => endMs)),
    lag_ms: spreadOf(outcomes.map(({ lagMs }) => lagMs)),
    goodput_requests_s: nGood / seconds,
    good_share: nGood / outcomes.length,
  };
}

/** The report as a table for people. */
export function tableOf(report: LoadReport, objective: Objective): string {
  const columns = ["mean", "p50", "p95", "p99", "max"] as const;
  const line = (name: string, cells: readonly string[]): string =>
    `${name.padEnd(22)}${cells.map((cell) => cell.padStart(10)).join("")}`;
  const row = (name: string, spread: Spread): string => line(name, columns.map((column) => spread[column].toFixed(1)));
  const failures = Object.entries(report.failures).map(([text, n]) => `  ${n} x ${text}`);
  return [
    `${report.ok} of ${report.requests} requests in ${report.seconds.toFixed(1)} s`,
    ...failures,
    `${report.requests_s.toFixed(2)} requests/s, ${report.prompt_tok_s.toFixed(0)} prompt tokens/s, ` +
    `${report.output_tok_s.toFixed(1)} tokens/s`,
    line("milliseconds", columns),
    row("to the first token", report.ttft_ms),
    row("between tokens", report.itl_ms),
    row("to the end", report.e2e_ms),
    row("sent late by", report.lag_ms),
    `goodput ${report.goodput_requests_s.toFixed(2)} requests/s (${(100 * report.good_share).toFixed(0)} %): ` +
    `first token within ${objective.ttftMs} ms, ${objective.itlMs} ms between tokens on average`,
  ].join("\n");
}
