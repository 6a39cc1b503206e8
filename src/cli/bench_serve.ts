/** `realizar bench --serve`: a server under load, from outside. */
import { readFileSync } from "node:fs";
import { createHandler } from "../server/handler.ts";
import { serve } from "../server/listen.ts";
import { type Flag, type Flags, note, numberFlag, print, textFlag, UsageError } from "./command.ts";
import { completionSender, generateLoad, type LoadPlan, planLoad, type Target } from "./load_generator.ts";
import { type Objective, reportOf, tableOf } from "./load_report.ts";
import { loadModel, placementOf } from "./model_flags.ts";

/** Flags of `bench --serve`. */
export const SERVE_FLAGS: Record<string, Flag> = {
  serve: { type: "boolean", help: "load on a server: MODEL is a URL, or a file that is served in this process" },
  rate: { type: "string", value: "R", help: "--serve: requests a second on average, inf = all at once (default 2)" },
  requests: { type: "string", value: "N", help: "--serve: requests in all (default 50)" },
  prompt: { type: "string", value: "A-B", help: "--serve: words of a prompt (default 64-128)" },
  shared: { type: "string", value: "N", help: "--serve: words that all prompts begin with (default 0)" },
  answer: { type: "string", value: "A-B", help: "--serve: tokens of an answer (default 32-64)" },
  "slo-ttft": { type: "string", value: "MS", help: "--serve: the first token is good within (default 1000)" },
  "slo-itl": { type: "string", value: "MS", help: "--serve: tokens are good within, on average (default 100)" },
  seed: { type: "string", value: "S", help: "--serve: of times, prompts and lengths (default 1)" },
  name: { type: "string", value: "NAME", help: "--serve: the model's name (default: the server's first)" },
  "api-key-file": { type: "string", value: "F", help: "--serve: file whose first line is the API key" },
  parallel: { type: "string", value: "N", help: "--serve MODEL: generations that run at once (default 8)" },
};

function rangeFlag(flags: Flags, name: string, otherwise: readonly [number, number]): readonly [number, number] {
  const text = textFlag(flags, name);
  if (text === undefined) return otherwise;
  const found = /^(\d{1,6})(?:-(\d{1,6}))?$/.exec(text);
  const min = Number(found?.[1]), max = Number(found?.[2] ?? found?.[1]);
  if (found === null || min < 1 || max < min) {
    throw new UsageError(`--${name}: got ${JSON.stringify(text)}, expected a number or a range such as 32-64`);
  }
  return [min, max];
}

function countFlag(flags: Flags, name: string, min: number, otherwise: number): number {
  const value = numberFlag(flags, name) ?? otherwise;
  if (Number.isSafeInteger(value) && value >= min) return value;
  throw new UsageError(`--${name}: got ${value}, expected a whole number from ${min}`);
}

function positiveFlag(flags: Flags, name: string, otherwise: number): number {
  const value = numberFlag(flags, name) ?? otherwise;
  if (value > 0) return value;
  throw new UsageError(`--${name}: got ${value}, expected a number above 0`);
}

function planOf(flags: Flags): LoadPlan {
  return {
    rate: textFlag(flags, "rate") === "inf" ? Infinity : positiveFlag(flags, "rate", 2),
    requests: countFlag(flags, "requests", 1, 50),
    promptWords: rangeFlag(flags, "prompt", [64, 128]),
    sharedWords: countFlag(flags, "shared", 0, 0),
    answerTokens: rangeFlag(flags, "answer", [32, 64]),
    seed: countFlag(flags, "seed", 0, 1),
  };
}

function headersOf(flags: Flags): Record<string, string> {
  const path = textFlag(flags, "api-key-file");
  if (path === undefined) return {};
  const key = readFileSync(path, "utf8").split("\n").map((line) => line.trim()).find((line) => /^[^#]/.test(line));
  if (key === undefined) throw new UsageError(`--api-key-file: ${path} has no key in it`);
  return { authorization: `Bearer ${key}` };
}

async function firstModel(url: string, headers: Record<string, string>): Promise<string> {
  const response = await fetch(`${url}/v1/models`, { headers });
  if (!response.ok) throw new Error(`${url}/v1/models answers ${response.status}`);
  const { data: [first] } = await response.json() as { data: { id: string }[] };
  if (first === undefined) throw new Error(`${url} serves no model yet`);
  return first.id;
}

async function measure(target: Target, flags: Flags): Promise<number> {
  const plan = planOf(flags);
  const objective: Objective = {
    ttftMs: positiveFlag(flags, "slo-ttft", 1000),
    itlMs: positiveFlag(flags, "slo-itl", 100),
  };
  const send = completionSender(target);
  const [warm] = planLoad({ ...plan, requests: 1, seed: plan.seed + 1 });
  const first = await send(warm!, performance.now());
  if (first.error !== undefined) throw new Error(`the first request failed: ${first.error}`);
  const requests = planLoad(plan);
  const report = reportOf(requests, await generateLoad(requests, send), objective);
  if (flags["json"] !== true) await print(`${tableOf(report, objective)}\n`);
  else {
    const rate = plan.rate === Infinity ? "inf" : plan.rate;
    const facts = { model: target.model, ...plan, rate, slo_ttft_ms: objective.ttftMs, slo_itl_ms: objective.itlMs };
    await print(`${JSON.stringify({ test: "serve", ...report, ...facts })}\n`);
  }
  return report.ok === report.requests ? 0 : 1;
}

/** Measures a server; resolves with the exit status: 1 when a request failed. */
export async function benchServe(where: string, flags: Flags): Promise<number> {
  if (/^https?:\/\//.test(where)) {
    const url = where.replace(/\/(v1\/?)?$/, ""), headers = headersOf(flags);
    return await measure({ url, headers, model: textFlag(flags, "name") ?? await firstModel(url, headers) }, flags);
  }
  const maxSequences = countFlag(flags, "parallel", 1, 8);
  await using model = await loadModel(where, { ...placementOf(flags), maxSequences });
  note("the load comes from the process that serves: it takes time from the server, which a URL would not");
  const name = textFlag(flags, "name") ?? "model";
  const limits = { queuedRequests: 100_000 };
  const server = await serve(createHandler({ models: { [name]: model }, limits }), { port: 0, shutdownMs: 0 });
  try {
    return await measure({ url: server.url, model: name }, flags);
  } finally {
    await server.cut();
  }
}
