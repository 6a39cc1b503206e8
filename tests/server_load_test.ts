import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { completionSender, generateLoad, type LoadPlan, type Outcome, planLoad } from "../src/cli/load_generator.ts";
import { percentile, reportOf, spreadOf, tableOf } from "../src/cli/load_report.ts";
import { metric, sleep } from "./server_fake.ts";
import { closeTinyModel, NAME, tinyHandler } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";

const PLAN: LoadPlan = {
  rate: 50,
  requests: 2000,
  promptWords: [3, 9],
  sharedWords: 2,
  answerTokens: [4, 6],
  seed: 7,
};

test("load: arrivals are Poisson, lengths are in range, and a seed draws the same again", () => {
  const plan = planLoad(PLAN);
  assertEquals(plan, planLoad(PLAN));
  assert(JSON.stringify(plan) !== JSON.stringify(planLoad({ ...PLAN, seed: 8 })));
  const gaps = plan.map(({ atMs }, i) => atMs - (plan[i - 1]?.atMs ?? 0));
  const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
  const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
  // Exponential: mean 1/rate, deviation the same, and a share of 1 - 1/e below the mean. 2,000 draws: 5 % is 2.2 sigma.
  assertAlmostEquals(mean, 20, 1.5);
  assertAlmostEquals(Math.sqrt(variance), mean, 2);
  assertAlmostEquals(gaps.filter((gap) => gap < mean).length / gaps.length, 1 - 1 / Math.E, 0.04);
  for (const { prompt, maxTokens } of plan) {
    const n = prompt.split(" ").length;
    assert(n >= 3 && n <= 9 && maxTokens >= 4 && maxTokens <= 6, `${n} words, ${maxTokens} tokens`);
    assertEquals(prompt.split(" ").slice(0, 2), plan[0]!.prompt.split(" ").slice(0, 2));
  }
  assertEquals(new Set(plan.map(({ prompt }) => prompt.split(" ").length)).size, 7);
  assertEquals(new Set(planLoad({ ...PLAN, rate: Infinity, requests: 9 }).map(({ atMs }) => atMs)), new Set([0]));
});

test("load: a server that stalls neither slows the arrivals nor hides what it cost", async () => {
  const requests = planLoad({ ...PLAN, rate: 200, requests: 40 });
  const stall = sleep(600);
  const sentAt: number[] = [];
  const startedAt = performance.now();
  const outcomes = await generateLoad(requests, async (_, dueAt) => {
    sentAt.push(performance.now() - startedAt);
    await stall; // all of them end at once
    const endMs = performance.now() - dueAt;
    return { status: 200, lagMs: 0, ttftMs: endMs, endMs, gapsMs: [], promptTokens: 1, completionTokens: 1 };
  });
  for (const [i, { atMs }] of requests.entries()) assert(sentAt[i]! >= atMs - 2, "sent before its time");
  // One after another would take 40 stalls; and the latency is what was left of the stall at each intended time.
  for (const [i, { endMs }] of outcomes.entries()) assert(endMs >= 600 - requests[i]!.atMs - 200, `${endMs}`);
});

test("load: percentiles are the nearest rank, and the report counts what it says", () => {
  const sorted = Array.from({ length: 200 }, (_, i) => i + 1);
  assertEquals([0.5, 0.95, 0.99, 1].map((share) => percentile(sorted, share)), [100, 190, 198, 200]);
  assertEquals(spreadOf([3, 1, 2]), { mean: 2, p50: 2, p95: 3, p99: 3, max: 3 });
  const one = (atMs: number) => ({ atMs, prompt: "a", maxTokens: 3 });
  const good: Outcome = {
    status: 200,
    lagMs: 1,
    ttftMs: 100,
    endMs: 900,
    gapsMs: [10, 30],
    promptTokens: 5,
    completionTokens: 3,
  };
  const outcomes = [good, { ...good, ttftMs: 101 }, { ...good, gapsMs: [40, 1] }, {
    ...good,
    error: "gone",
    status: 0,
  }];
  const requests = [one(500), one(600), one(1000), one(1600)];
  const objective = { ttftMs: 100, itlMs: 20 };
  const report = reportOf(requests, outcomes, objective);
  assertEquals([report.requests, report.ok, report.failures], [4, 3, { gone: 1 }]);
  assertEquals([report.seconds, report.requests_s, report.output_tok_s, report.prompt_tok_s], [2, 1.5, 4.5, 7.5]);
  assertEquals([report.goodput_requests_s, report.good_share], [0.5, 0.25]);
  assertEquals([report.ttft_ms.p50, report.ttft_ms.p99, report.itl_ms.max, report.itl_ms.p50], [100, 101, 40, 10]);
  const table = tableOf(report, objective);
  for (const words of ["3 of 4 requests", "1 x gone", "goodput 0.50 requests/s (25 %)"]) assert(table.includes(words));
});

test("load: a real server's tokens are all counted; its failures are told, not averaged away", async () => {
  const handler = await tinyHandler({ limits: { queuedRequests: 100 } });
  const target = {
    url: "http://localhost",
    model: NAME,
    fetch: (url: string, init: RequestInit) => handler(new Request(url, init)),
  };
  const requests = planLoad({ ...PLAN, rate: 500, requests: 30 });
  const outcomes = await generateLoad(requests, completionSender(target));
  const report = reportOf(requests, outcomes, { ttftMs: 1e9, itlMs: 1e9 });
  assertEquals([report.ok, report.good_share, report.failures], [30, 1, {}]);
  assertEquals(outcomes.map(({ completionTokens }) => completionTokens), requests.map(({ maxTokens }) => maxTokens));
  const label = `{model_name="${NAME}"}`;
  const made = requests.reduce((sum, { maxTokens }) => sum + maxTokens, 0);
  assertEquals(await metric(handler, `vllm:generation_tokens_total${label}`), made);
  for (const { ttftMs, endMs, gapsMs } of outcomes) {
    assert(gapsMs.reduce((sum, gap) => sum + gap, ttftMs) <= endMs + 1);
  }
  const unknown = await completionSender({ ...target, model: "other" })(requests[0]!, performance.now());
  assertEquals([unknown.status, unknown.error!.startsWith("status 404")], [404, true]);
  const cut = new Response(`data: {"choices":[{"text":"a"}]}\n\n`);
  const ended = await completionSender({ ...target, fetch: () => Promise.resolve(cut) })(
    requests[0]!,
    performance.now(),
  );
  assertEquals([ended.status, ended.error], [0, "the stream ended before its end"]);
});

test("the model is closed", closeTinyModel);

leakCheck();
