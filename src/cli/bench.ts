/** `realizar bench`: prompt and decode speed through the public path, a line a test. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Model } from "../api/model.ts";
import type { GenerationResult } from "../types.ts";
import { PLOT_FLAGS, readResults, writePlot } from "./bench_plot.ts";
import { benchServe, SERVE_FLAGS } from "./bench_serve.ts";
import { type Command, type Flag, type Flags, HELP_FLAG, listFlag, numberFlag, print, textFlag } from "./command.ts";
import { measureDevice } from "./measure_device.ts";
import { loadModel, PLACEMENT_FLAGS, placementOf } from "./model_flags.ts";

/** One measured row; the names are those of the JSON line. */
interface Row {
  /** `pp512`, `tg128`, `tg64@4096` (at depth 4096), `b8` (8 sequences). */
  test: string;
  /** Median. */
  tok_s: number;
  min: number;
  max: number;
  reps: number;
  /** Bytes of weights, keys and values read per second, for decode tests; null otherwise. */
  gb_s: number | null;
  /** Of the device's plain read bandwidth, measured in the same sitting. */
  share_of_bandwidth: number | null;
}

/** Tokens that look like nothing; the same in every run. */
function prompt(n: number, vocabSize: number, salt: number): number[] {
  let state = 0x9e3779b9 ^ salt;
  return Array.from({ length: n }, () => {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x6d2b79f5 | 0;
    return (state >>> 0) % vocabSize;
  });
}

let salt = 0;

/** Every call has a prompt of its own, so nothing is found in the cache. */
function generate(model: Model, nPrompt: number, nTokens: number): Promise<GenerationResult> {
  const tokens = prompt(nPrompt, model.info.vocabSize, salt++);
  return model.generate(tokens, { maxTokens: nTokens, temperature: 0, ignoreEos: true }).result();
}

async function prefill(model: Model, n: number): Promise<number> {
  return (await generate(model, n, 1)).timings.promptTokensPerSecond;
}

async function decode(model: Model, n: number, depth: number): Promise<number> {
  return (await generate(model, Math.max(depth, 1), n + 1)).timings.tokensPerSecond;
}

/** Tokens a second of `width` sequences together, from the moment when all decode to the first one's end. */
async function batch(model: Model, width: number, n: number): Promise<number> {
  const starts: number[] = [], ends: number[] = [];
  let startedAt = 0, counted = 0;
  await Promise.all(Array.from({ length: width }, async () => {
    const tokens = prompt(16, model.info.vocabSize, salt++);
    let first = true;
    for await (const part of model.generate(tokens, { maxTokens: n, temperature: 0, ignoreEos: true })) {
      if (startedAt !== 0 && ends.length === 0) counted += part.tokens.length;
      if (first) {
        starts.push(performance.now());
        if (starts.length === width) startedAt = starts.at(-1)!;
      }
      first = false;
    }
    ends.push(performance.now());
  }));
  return counted / ((ends[0]! - startedAt) / 1000);
}

/** One untimed run, then `reps` timed ones. */
async function repeat(
  test: string,
  reps: number,
  once: () => Promise<number>,
): Promise<Omit<Row, "gb_s" | "share_of_bandwidth">> {
  await once();
  const rates: number[] = [];
  for (let i = 0; i < reps; i++) rates.push(await once());
  rates.sort((a, b) => a - b);
  return { test, tok_s: rates[rates.length >> 1]!, min: rates[0]!, max: rates.at(-1)!, reps };
}

function commit(): string {
  try {
    const cwd = fileURLToPath(new URL("../..", import.meta.url));
    return execFileSync("git", ["rev-parse", "--short", "HEAD"], { cwd, encoding: "utf8", stdio: "pipe" }).trim();
  } catch {
    return "unknown";
  }
}

async function bench([path]: string[], flags: Flags): Promise<number> {
  if (flags["serve"] === true) return await benchServe(path!, flags);
  const plot = textFlag(flags, "plot"), rows: object[] = [];
  if (plot !== undefined && path!.endsWith(".jsonl")) {
    writePlot(plot, readResults(path!));
    return 0;
  }
  const reps = numberFlag(flags, "reps") ?? 5;
  const pp = listFlag(flags, "pp") ?? [512], tg = listFlag(flags, "tg") ?? [128];
  const depths = listFlag(flags, "depth") ?? [0], widths = listFlag(flags, "batch") ?? [];
  const longest = Math.max(...pp, ...depths.map((depth) => depth + Math.max(...tg, 0)), 128) + 16;
  await using model = await loadModel(path!, {
    contextSize: longest,
    ...withoutUndefined(placementOf(flags)),
    maxSequences: Math.max(1, ...widths),
  });
  const { info } = model;
  const bandwidth = measureDevice(flags);
  const common = { device: info.device, dtype: mainDtype(info.dtypes), model: info.name ?? path!, commit: commit() };
  const kvTokenBytes = info.kvBytes / (info.kvTokens + info.kvPageTokens); // one page is the null page
  const tell = async (
    row: Omit<Row, "gb_s" | "share_of_bandwidth">,
    readsPerToken: number,
    depth = 0,
  ): Promise<void> => {
    const bytes = readsPerToken * info.readBytesPerToken + depth * kvTokenBytes;
    const gbs = readsPerToken === 0 ? null : row.tok_s * bytes / 1e9;
    const full: Row = { ...row, gb_s: gbs, share_of_bandwidth: gbs === null ? null : gbs / bandwidth };
    rows.push({ ...full, ...common });
    await print(flags["json"] === true ? `${JSON.stringify({ ...full, ...common })}\n` : line(full));
  };
  if (flags["json"] !== true) {
    await print(`${common.model}, ${common.dtype}, ${info.device}, read ${bandwidth.toFixed(1)} GB/s\n`);
  }
  for (const n of pp) await tell(await repeat(`pp${n}`, reps, () => prefill(model, n)), 0);
  for (const depth of depths) {
    for (const n of tg) {
      const test = `tg${n}${depth === 0 ? "" : `@${depth}`}`;
      await tell(await repeat(test, reps, () => decode(model, n, depth)), 1, depth + n / 2);
    }
  }
  for (const width of widths) await tell(await repeat(`b${width}`, reps, () => batch(model, width, 64)), 1 / width);
  if (plot !== undefined) writePlot(plot, rows);
  return 0;
}

function withoutUndefined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

/** The dtype with the most bytes. */
function mainDtype(dtypes: Readonly<Record<string, number>>): string {
  return Object.entries(dtypes).sort((a, b) => b[1] - a[1])[0]?.[0] ?? "none";
}

function line({ test, tok_s, min, max, gb_s, share_of_bandwidth }: Row): string {
  const share = gb_s === null ? "" : `  ${gb_s.toFixed(1)} GB/s, ${(100 * share_of_bandwidth!).toFixed(0)} % of read`;
  return `${test.padEnd(12)} ${tok_s.toFixed(1).padStart(9)} tok/s  (${min.toFixed(1)} to ${max.toFixed(1)})${share}\n`;
}

const NUMBERS: Record<string, Flag> = {
  pp: { type: "string", value: "N,..", help: "prompt lengths (default 512)" },
  tg: { type: "string", value: "N,..", help: "tokens to decode (default 128)" },
  depth: { type: "string", value: "N,..", help: "tokens in the context before decoding (default 0)" },
  batch: { type: "string", value: "N,..", help: "sequences at once (default none)" },
  reps: { type: "string", value: "N", help: "timed repetitions (default 5); the median is told" },
};

export const benchCommand: Command = {
  usage: "bench MODEL",
  summary: "Prompt, decode and batch speed, sampling included; --serve: a server under load; --plot: a chart.",
  nArguments: 1,
  flags: {
    ...NUMBERS,
    ...PLOT_FLAGS,
    ...SERVE_FLAGS,
    ...PLACEMENT_FLAGS,
    json: { type: "boolean", help: "print a JSON object a test" },
    help: HELP_FLAG,
  },
  run: bench,
};
