import { assert, assertEquals } from "@std/assert";
import type { Handler, ServedModel } from "../src/server/mod.ts";
import { fakeModel, metric, sleep, until } from "./server_fake.ts";
import { ask, closeTinyModel, events, GREEDY, NAME, post, QUESTION, tinyHandler, tinyModel } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";

const CHAT = "/v1/chat/completions";
const long = { model: NAME, messages: QUESTION, ...GREEDY };
const label = `{model_name="${NAME}"}`;

/** Families of the text with their types, and every series with its value; throws where the format is broken. */
function parse(text: string): { types: Map<string, string>; series: Map<string, number> } {
  const types = new Map<string, string>(), series = new Map<string, number>();
  assert(text.endsWith("\n"));
  for (const line of text.slice(0, -1).split("\n")) {
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
    if (type !== null) types.set(type[1]!, type[2]!);
    if (/^# (HELP \S+ \S.*|TYPE .*)$/.test(line)) continue;
    const pair = String.raw`[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*"`;
    const found = new RegExp(`^([a-zA-Z_:][\\w:]*)(\\{${pair}(?:,${pair})*\\})? (\\S+)$`).exec(line);
    assert(found !== null && !Number.isNaN(Number(found[3])), line);
    const family = found[1]!.replace(/_(bucket|sum|count)$/, "");
    assert(types.has(found[1]!) || types.get(family) === "histogram", `no type before ${line}`);
    assert(!series.has(`${found[1]}${found[2] ?? ""}`), `twice: ${line}`);
    series.set(`${found[1]}${found[2] ?? ""}`, Number(found[3]));
  }
  return { types, series };
}

async function scrape(handler: Handler): Promise<ReturnType<typeof parse>> {
  const { text, headers } = await ask(handler, "/metrics");
  assert(headers.get("content-type")!.startsWith("text/plain; version=0.0.4"));
  return parse(text);
}

/** Buckets of a histogram, ascending by their bounds. */
function buckets(series: Map<string, number>, name: string): [bound: number, count: number][] {
  return [...series].filter(([key]) => key.startsWith(`${name}_bucket{`)).map(([key, count]) => {
    const bound = /le="([^"]+)"/.exec(key)![1]!;
    return [bound === "+Inf" ? Infinity : Number(bound), count];
  });
}

const HISTOGRAMS = [
  "vllm:time_to_first_token_seconds",
  "vllm:inter_token_latency_seconds",
  "vllm:e2e_request_latency_seconds",
  "vllm:request_queue_time_seconds",
  "vllm:request_prefill_time_seconds",
  "vllm:request_decode_time_seconds",
  "vllm:request_prompt_tokens",
  "vllm:request_generation_tokens",
];

test("metrics: known load gives known numbers, and a server that did nothing tells zeros", async () => {
  const handler = await tinyHandler();
  const before = (await scrape(handler)).series;
  for (const name of HISTOGRAMS) assertEquals(before.get(`${name}_count${label}`), 0, name);
  assertEquals(before.get(`vllm:generation_tokens_total${label}`), 0);
  const startedAt = performance.now();
  const one = await ask(handler, CHAT, { ...long, max_tokens: 7 });
  const two = await ask(handler, CHAT, { ...long, max_tokens: 5, n: 2, stream: true });
  assertEquals([one.status, two.status], [200, 200]);
  await ask(handler, CHAT, { ...long, n: 0 });
  await ask(handler, "/nowhere");
  const prompt = one.json.usage.prompt_tokens as number;
  await until("all is counted", async () => await metric(handler, `vllm:generation_tokens_total${label}`) === 17);
  const seconds = (performance.now() - startedAt) / 1000;
  const { series } = await scrape(handler);
  const expected: Record<string, number> = {
    [`vllm:num_requests_running${label}`]: 0,
    [`vllm:num_requests_waiting${label}`]: 0,
    [`realizar:requests_answering${label}`]: 0,
    [`realizar:waiting_tokens${label}`]: 0,
    [`vllm:prompt_tokens_total${label}`]: 3 * prompt,
    [`vllm:prefix_cache_queries_total${label}`]: 3 * prompt,
    [`vllm:generation_tokens_total${label}`]: 17,
    [`vllm:request_prompt_tokens_sum${label}`]: 3 * prompt,
    [`vllm:request_generation_tokens_sum${label}`]: 17,
    [`vllm:request_success_total{model_name="${NAME}",finished_reason="length"}`]: 3,
    [`realizar:http_responses_total{route="${CHAT}",status="200"}`]: 2,
    [`realizar:http_responses_total{route="${CHAT}",status="400"}`]: 1,
    [`realizar:http_responses_total{route="none",status="404"}`]: 1,
    [`realizar:http_errors_total{code="invalid_value"}`]: 1,
    [`realizar:http_errors_total{code="not_found"}`]: 1,
    "realizar:ready": 1,
    // Every token but the first of each generation comes some time after another.
    [`vllm:inter_token_latency_seconds_count${label}`]: 17 - 3,
  };
  for (const [name, value] of Object.entries(expected)) assertEquals(series.get(name), value, name);
  const hits = series.get(`vllm:prefix_cache_hits_total${label}`)!;
  assert(hits >= 2 * 16 * Math.floor((prompt - 1) / 16) && hits <= 2 * prompt, `${hits} hits`);
  for (const name of HISTOGRAMS) {
    const counts = buckets(series, name);
    const n = series.get(`${name}_count${label}`)!;
    assertEquals([counts.at(-1)![0], counts.at(-1)![1]], [Infinity, n], name);
    assertEquals(counts, counts.toSorted((a, b) => a[0] - b[0] || a[1] - b[1]), `${name}: cumulative`);
    if (!name.includes("inter_token")) assertEquals(n, 3, name);
    // Times are seconds: none is longer than the test, and the sum of all is not nothing.
    const sum = series.get(`${name}_sum${label}`)!;
    if (name.endsWith("_seconds")) assert(sum >= 0 && sum <= n * seconds, `${name}: ${sum} s`);
  }
  const size = buckets(series, "vllm:request_generation_tokens");
  assertEquals(size.find(([bound]) => bound === 4)![1], 0);
  assertEquals(size.find(([bound]) => bound === 16)![1], 3);
  assert(series.get("process_resident_memory_bytes")! > 10e6);
  assert(Math.abs(series.get("process_start_time_seconds")! - Date.now() / 1000) < 600);
});

test("metrics: what runs and waits is told while it does", async () => {
  const handler = await tinyHandler();
  const { json } = await ask(handler, "/tokenize", { model: NAME, messages: QUESTION });
  const stop = new AbortController();
  const answers = Array.from(
    { length: 6 },
    () => handler(post(CHAT, { ...long, max_tokens: 1900 }, { signal: stop.signal })),
  );
  const get = async (name: string): Promise<number> => await metric(handler, name + label);
  await until(
    "four run and two wait",
    async () => await get("vllm:num_requests_running") === 4 && await get("realizar:waiting_tokens") === 2 * json.count,
  );
  const { series } = await scrape(handler);
  const now = (name: string): number => series.get(name + label)!;
  assertEquals([now("vllm:num_requests_waiting"), now("realizar:requests_answering")], [2, 6]);
  assert(now("vllm:kv_cache_usage_perc") > 0 && now("vllm:kv_cache_usage_perc") <= 1);
  stop.abort();
  await Promise.all(answers);
  await until("none", async () => await get("realizar:requests_answering") === 0);
  await until("no page is held", async () => await get("vllm:kv_cache_usage_perc") === 0);
});

test("metrics: the engine's own counters, where a model tells them", async () => {
  const model = await tinyModel();
  const own: ServedModel = {
    info: model.info,
    tokenBytes: (token) => model.tokenBytes(token),
    tokenize: (text, options) => model.tokenize(text, options),
    detokenize: (tokens) => model.detokenize(tokens),
    generate: (tokens, options) => model.generate(tokens, options),
    stats: () => ({ ...model.stats(), kvPagesUsed: 12, kvPagesTotal: 48, nPreemptions: 5 }),
  };
  const handler = await tinyHandler({ models: { [NAME]: own, 'odd"\\\nname': { ...own, stats: undefined! } } });
  const { series, types } = await scrape(handler);
  assertEquals(series.get(`vllm:kv_cache_usage_perc${label}`), 0.25);
  assertEquals(series.get(`realizar:kv_pages_used${label}`), 12);
  assertEquals(series.get(`realizar:kv_pages${label}`), 48);
  assertEquals(series.get(`vllm:num_preemptions_total${label}`), 5);
  const { kvPageTokens, kvDtype } = model.info;
  const sizes = `block_size="${kvPageTokens}",num_gpu_blocks="48",cache_dtype="${kvDtype}"`;
  const config = `model_name="${NAME}",${sizes}`;
  assertEquals(series.get(`vllm:cache_config_info{${config}}`), 1);
  assertEquals(series.get(String.raw`vllm:num_requests_running{model_name="odd\"\\\nname"}`), 0);
  assertEquals(types.get("vllm:num_preemptions_total"), "counter");
});

test("metrics: times between tokens are those of the tokens", async () => {
  const model = await fakeModel(async function* () {
    yield { text: "a", tokens: [1] };
    await sleep(60);
    yield { text: "b", tokens: [1, 2, 3] };
    yield { text: "", tokens: [] };
    await sleep(30);
    yield { text: "c", tokens: [1] };
  });
  const handler = await tinyHandler({ models: { [NAME]: model } });
  assertEquals(events((await ask(handler, CHAT, { ...long, stream: true })).text).length > 3, true);
  const { series } = await scrape(handler);
  assertEquals(series.get(`vllm:inter_token_latency_seconds_count${label}`), 4);
  // 60 ms for three tokens together and 30 ms for one; timers are never early by more than a millisecond or two.
  const sum = series.get(`vllm:inter_token_latency_seconds_sum${label}`)!;
  assert(sum > 0.085, `${sum} s`);
  assertEquals(buckets(series, "vllm:inter_token_latency_seconds").find(([bound]) => bound === 0.01)![1], 0);
});

test("the model is closed", closeTinyModel);

leakCheck();
