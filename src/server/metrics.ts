/** Counters and histograms of a server, and their Prometheus text. Every number was measured by the handler itself. */

/** Upper bounds of the histograms' buckets, in seconds. */
const BUCKETS_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300];

/** Labels of one series. */
export type Labels = Readonly<Record<string, string>>;

interface Histogram {
  /** Observations at most as large as each bound, not cumulated. */
  counts: number[];
  sum: number;
  n: number;
}

interface Series<T> {
  labels: Labels;
  value: T;
}

/** A family of metrics: one name, one meaning. */
interface Family {
  name: string;
  help: string;
  type: "counter" | "gauge" | "histogram";
  counters: Map<string, Series<number>>;
  histograms: Map<string, Series<Histogram>>;
}

function labelText(labels: Labels): string {
  const escape = (value: string): string =>
    value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
  return Object.entries(labels).map(([name, value]) => `${name}="${escape(value)}"`).join(",");
}

function line(name: string, labels: Labels, value: number): string {
  const text = labelText(labels);
  return `${name}${text === "" ? "" : `{${text}}`} ${value}`;
}

function histogramLines(name: string, { labels, value }: Series<Histogram>): string[] {
  const lines: string[] = [];
  let below = 0;
  for (const [i, bound] of BUCKETS_S.entries()) {
    below += value.counts[i]!;
    lines.push(line(`${name}_bucket`, { ...labels, le: String(bound) }, below));
  }
  lines.push(line(`${name}_bucket`, { ...labels, le: "+Inf" }, value.n));
  return [...lines, line(`${name}_sum`, labels, value.sum), line(`${name}_count`, labels, value.n)];
}

/** All metrics of one server. */
export class Metrics {
  readonly #families = new Map<string, Family>();

  /** Names a family; must come before its numbers. */
  define(type: Family["type"], name: string, help: string): void {
    this.#families.set(name, { name, help, type, counters: new Map(), histograms: new Map() });
  }

  /** Adds to a counter. */
  add(name: string, labels: Labels, n = 1): void {
    const { counters } = this.#families.get(name)!;
    const key = labelText(labels);
    const series = counters.get(key);
    if (series === undefined) counters.set(key, { labels, value: n });
    else series.value += n;
  }

  /** Sets a gauge. */
  set(name: string, labels: Labels, value: number): void {
    this.#families.get(name)!.counters.set(labelText(labels), { labels, value });
  }

  /** Puts a time into a histogram. */
  observe(name: string, labels: Labels, seconds: number): void {
    const { histograms } = this.#families.get(name)!;
    const key = labelText(labels);
    let series = histograms.get(key);
    if (series === undefined) {
      series = { labels, value: { counts: BUCKETS_S.map(() => 0), sum: 0, n: 0 } };
      histograms.set(key, series);
    }
    const bucket = BUCKETS_S.findIndex((bound) => seconds <= bound);
    if (bucket >= 0) series.value.counts[bucket]!++;
    series.value.sum += seconds;
    series.value.n++;
  }

  /** The text format that Prometheus scrapes. */
  text(): string {
    const lines: string[] = [];
    for (const { name, help, type, counters, histograms } of this.#families.values()) {
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
      for (const { labels, value } of counters.values()) lines.push(line(name, labels, value));
      for (const series of histograms.values()) lines.push(...histogramLines(name, series));
    }
    return `${lines.join("\n")}\n`;
  }
}

/** Names of this server's metrics. Those that routers scrape carry vLLM's names. */
export const METRIC = {
  running: "vllm:num_requests_running",
  waiting: "vllm:num_requests_waiting",
  promptTokens: "vllm:prompt_tokens_total",
  generationTokens: "vllm:generation_tokens_total",
  prefixQueries: "vllm:prefix_cache_queries_total",
  prefixHits: "vllm:prefix_cache_hits_total",
  success: "vllm:request_success_total",
  ttft: "vllm:time_to_first_token_seconds",
  e2e: "vllm:e2e_request_latency_seconds",
  queueTime: "vllm:request_queue_time_seconds",
  http: "realizar:http_responses_total",
} as const;

/** The metrics of a server, defined and empty. */
export function serverMetrics(): Metrics {
  const metrics = new Metrics();
  metrics.define("gauge", METRIC.running, "Generations that the engine has taken up.");
  metrics.define("gauge", METRIC.waiting, "Generations waiting for a free place.");
  metrics.define(
    "counter",
    METRIC.promptTokens,
    "Prompt tokens, cached ones included, of generations that got to their first token.",
  );
  metrics.define("counter", METRIC.generationTokens, "Tokens made by ended generations.");
  metrics.define("counter", METRIC.prefixQueries, "Prompt tokens looked up in the prefix cache.");
  metrics.define("counter", METRIC.prefixHits, "Prompt tokens found in the prefix cache.");
  metrics.define("counter", METRIC.success, "Ended generations by their finish reason.");
  metrics.define("histogram", METRIC.ttft, "From a request's arrival to a generation's first token.");
  metrics.define("histogram", METRIC.e2e, "From a request's arrival to a generation's end.");
  metrics.define("histogram", METRIC.queueTime, "From a generation's submission to its start.");
  metrics.define("counter", METRIC.http, "HTTP answers by route and status.");
  return metrics;
}
