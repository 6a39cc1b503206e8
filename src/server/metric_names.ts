/** The metrics of this server: every name, what it means, and its buckets. Routers scrape those with vLLM's names. */
import { type FamilySource, type Labels, Metrics } from "./metrics.ts";

/** Times of whole requests, in seconds. */
const REQUEST_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];
/** Times between tokens, in seconds. */
const TOKEN_S = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5];
/** Tokens of a request. */
const TOKENS = [1, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144];

/** Names of this server's metrics. */
export const METRIC = {
  running: "vllm:num_requests_running",
  waiting: "vllm:num_requests_waiting",
  kvUsage: "vllm:kv_cache_usage_perc",
  cacheConfig: "vllm:cache_config_info",
  preemptions: "vllm:num_preemptions_total",
  promptTokens: "vllm:prompt_tokens_total",
  generationTokens: "vllm:generation_tokens_total",
  prefixQueries: "vllm:prefix_cache_queries_total",
  prefixHits: "vllm:prefix_cache_hits_total",
  success: "vllm:request_success_total",
  ttft: "vllm:time_to_first_token_seconds",
  itl: "vllm:inter_token_latency_seconds",
  e2e: "vllm:e2e_request_latency_seconds",
  queueTime: "vllm:request_queue_time_seconds",
  prefillTime: "vllm:request_prefill_time_seconds",
  decodeTime: "vllm:request_decode_time_seconds",
  requestPromptTokens: "vllm:request_prompt_tokens",
  requestGenerationTokens: "vllm:request_generation_tokens",
  http: "realizar:http_responses_total",
  errors: "realizar:http_errors_total",
  answering: "realizar:requests_answering",
  waitingTokens: "realizar:waiting_tokens",
  ready: "realizar:ready",
  kvPagesUsed: "realizar:kv_pages_used",
  kvPagesCached: "realizar:kv_pages_cached",
  kvPagesTotal: "realizar:kv_pages",
  steps: "realizar:steps_total",
  computedTokens: "realizar:computed_tokens_total",
  residentBytes: "process_resident_memory_bytes",
  startTime: "process_start_time_seconds",
  build: "realizar:build_info",
} as const;

const GAUGES: readonly [name: string, help: string][] = [
  [METRIC.running, "Generations that the engine has taken up."],
  [METRIC.waiting, "Generations waiting for a free place."],
  [METRIC.kvUsage, "Share of the KV cache's pages that running generations hold, 0 to 1."],
  [METRIC.cacheConfig, "The KV cache: its sizes are labels, the value is 1."],
  [METRIC.answering, "Requests for generations that are being answered, waiting ones included."],
  [METRIC.waitingTokens, "Prompt tokens of waiting generations."],
  [METRIC.ready, "1 when requests are taken; 0 while loading, draining, or failed."],
  [METRIC.kvPagesUsed, "Pages of the KV cache that running generations hold."],
  [METRIC.kvPagesCached, "Pages kept for prompts that begin alike, given up when they are needed."],
  [METRIC.kvPagesTotal, "Pages of the KV cache."],
  [METRIC.residentBytes, "Memory of this process, weights and cache on the CPU included."],
  [METRIC.startTime, "When the server was made, in seconds since 1970."],
  [METRIC.build, "What this is: version and runtime are labels, the value is 1."],
];

const COUNTERS: readonly [name: string, help: string][] = [
  [METRIC.preemptions, "Generations that gave their pages up and were computed again."],
  [METRIC.steps, "Steps that the engine computed."],
  [METRIC.computedTokens, "Tokens that went through the model, those computed again included."],
  [METRIC.promptTokens, "Prompt tokens, cached ones included, of generations that got to their first token."],
  [METRIC.generationTokens, "Tokens made by ended generations."],
  [METRIC.prefixQueries, "Prompt tokens looked up in the prefix cache."],
  [METRIC.prefixHits, "Prompt tokens found in the prefix cache."],
  [METRIC.success, "Ended generations by their finish reason."],
  [METRIC.http, "HTTP answers by route and status."],
  [METRIC.errors, "HTTP answers that were errors, by code."],
];

const HISTOGRAMS: readonly [name: string, help: string, buckets: readonly number[]][] = [
  [METRIC.ttft, "From a request's arrival to a generation's first token.", REQUEST_S],
  [METRIC.itl, "From a token of a generation to its next.", TOKEN_S],
  [METRIC.e2e, "From a request's arrival to a generation's end.", REQUEST_S],
  [METRIC.queueTime, "From a generation's submission to its start.", REQUEST_S],
  [METRIC.prefillTime, "From a generation's start to its first token.", REQUEST_S],
  [METRIC.decodeTime, "From a generation's first token to its last.", REQUEST_S],
  [METRIC.requestPromptTokens, "Prompt tokens of a generation.", TOKENS],
  [METRIC.requestGenerationTokens, "Tokens made by a generation.", TOKENS],
];

/** Makes the series that every model has, so that a scrape finds them at 0 before the first request. */
export function defineModel(metrics: Metrics, labels: Labels): void {
  const { promptTokens, generationTokens, prefixQueries, prefixHits } = METRIC;
  for (const name of [promptTokens, generationTokens, prefixQueries, prefixHits]) metrics.number(name, labels);
  for (const [name] of HISTOGRAMS) metrics.histogram(name, labels);
}

/** The metrics of a server, defined and empty. */
export function serverMetrics(): Metrics {
  return new Metrics([
    ...GAUGES.map(([name, help]): FamilySource => ({ type: "gauge", name, help })),
    ...COUNTERS.map(([name, help]): FamilySource => ({ type: "counter", name, help })),
    ...HISTOGRAMS.map(([name, help, buckets]): FamilySource => ({ type: "histogram", name, help, buckets })),
  ]);
}
