/**
 * `--profile`: the tokens of a finished run computed once more in a session that times its launches, as a table by
 * kind of launch, and as a trace that Chrome and Perfetto open. The run itself is not slowed down.
 */
import { writeFile } from "node:fs/promises";
import type { Model } from "../api/model.ts";
import type { LaunchTime } from "../types.ts";

/** Tokens of the answer that are computed again, at most. */
const DECODES_MAX = 32;

/** Times of one part of a run. */
interface Part {
  /** `prompt` or `decode`. */
  name: string;
  /** What one step computes: the whole prompt, or one token. */
  nTokens: number;
  nSteps: number;
  launches: LaunchTime[];
  /** Time of the calls that ran them, in milliseconds. */
  wallMs: number;
}

/** Computes the prompt and the tokens after it again, timed. Blocks this thread meanwhile. */
export function profileRun(model: Model, prompt: ArrayLike<number>, answer: readonly number[]): Part[] {
  const decodes = answer.slice(0, Math.min(DECODES_MAX, answer.length - 1));
  using session = model.session({ profile: true, contextSize: prompt.length + decodes.length + 1 });
  const logits = new Float32Array(model.info.vocabSize);
  const timed = (name: string, steps: readonly ArrayLike<number>[]): Part => {
    const from = performance.now();
    for (const tokens of steps) session.evaluate(tokens, logits);
    const wallMs = performance.now() - from;
    return { name, nTokens: steps[0]?.length ?? 0, nSteps: steps.length, launches: session.profile(), wallMs };
  };
  session.evaluate([prompt[0]!], logits); // the first step of a plan has its own costs
  session.rewind(0);
  session.profile();
  const parts = [timed("prompt", [prompt])];
  if (decodes.length > 0) parts.push(timed("decode", decodes.map((token) => [token])));
  return parts;
}

/** Launches of one name together. */
interface Brick {
  name: string;
  calls: number;
  ms: number;
  bytes: number;
}

function bricksOf(launches: readonly LaunchTime[]): Brick[] {
  const bricks = new Map<string, Brick>();
  for (const { name, calls, ms, weightBytes } of launches) {
    const brick = bricks.get(name) ?? { name, calls: 0, ms: 0, bytes: 0 };
    bricks.set(name, brick);
    brick.calls += calls;
    brick.ms += ms;
    brick.bytes += weightBytes;
  }
  return [...bricks.values()].sort((a, b) => b.ms - a.ms);
}

/** A part as a table: milliseconds of one step, share of all launches, weights read and how fast. */
function tableOf({ name, nTokens, nSteps, launches, wallMs }: Part, readGbs: number): string {
  const bricks = bricksOf(launches);
  const total = bricks.reduce((sum, { ms }) => sum + ms, 0);
  const width = Math.max(...bricks.map((brick) => brick.name.length), 6);
  const rows = bricks.map((brick) => {
    const gbs = brick.bytes / brick.ms / 1e6;
    const read = brick.bytes === 0
      ? ""
      : `${(brick.bytes / nSteps / 1e6).toFixed(1).padStart(9)} MB ${gbs.toFixed(1).padStart(7)} GB/s ${
        (100 * gbs / readGbs).toFixed(0).padStart(4)
      } %`;
    return `  ${brick.name.padEnd(width)} ${(brick.calls / nSteps).toFixed(0).padStart(5)} x ${
      (brick.ms / nSteps).toFixed(3).padStart(9)
    } ms ${(100 * brick.ms / total).toFixed(1).padStart(5)} %  ${read}`.trimEnd();
  });
  const head = `${name}: ${nTokens} ${nTokens === 1 ? "token" : "tokens"} a step, ${nSteps} ` +
    `${nSteps === 1 ? "step" : "steps"}: ${(total / nSteps).toFixed(3)} ms of launches, ` +
    `${(wallMs / nSteps).toFixed(3)} ms in all`;
  return [head, ...rows].join("\n");
}

/** The tables; `readGbs` is what the device reads, in 1e9 bytes a second. */
export function profileText(parts: readonly Part[], readGbs: number): string {
  return `${parts.map((part) => tableOf(part, readGbs)).join("\n\n")}\nshares of weights read: of ${
    readGbs.toFixed(1)
  } GB/s, as measured here\n`;
}

/** The mean step of each part as a trace: launches one after another, a row a part. */
export async function writeTrace(path: string, model: Model, parts: readonly Part[]): Promise<void> {
  const traceEvents = parts.flatMap(({ name, nSteps, launches }, tid) => {
    let ts = 0;
    const label = { ph: "M", pid: 1, tid, name: "thread_name", args: { name: `${name}, mean step` } };
    const events = launches.map(({ name, layer, op, calls, ms, weightBytes }) => {
      const dur = 1000 * ms / nSteps;
      ts += dur;
      const args = { op, calls: calls / nSteps, weight_bytes: weightBytes / nSteps };
      return { ph: "X", pid: 1, tid, ts: ts - dur, dur, name, cat: layer === undefined ? "-" : `layer ${layer}`, args };
    });
    return [label, ...events];
  });
  const metadata = { model: model.info.name, device: model.info.device };
  await writeFile(path, JSON.stringify({ traceEvents, displayTimeUnit: "ms", metadata }));
}
