/** `realizar run`: one prompt, one answer. */
import type { Model } from "../api/model.ts";
import type { ChatMessage, GenerationResult } from "../types.ts";
import { type Command, type Flags, HELP_FLAG, JSON_FLAG, note, print, textFlag, UsageError } from "./command.ts";
import { loadModel, PLACEMENT_FLAGS, placementOf, SAMPLING_FLAGS, samplingOf } from "./model_flags.ts";
import { measureDevice } from "./measure_device.ts";
import { profileRun, profileText, writeTrace } from "./profile.ts";

async function readStdin(): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const part of process.stdin) parts.push(part as Uint8Array);
  return Buffer.concat(parts).toString("utf8");
}

/** How fast it was, on one line. */
export function speedLine({ usage, timings }: GenerationResult): string {
  const cached = usage.cachedTokens > 0 ? ` (${usage.cachedTokens} cached)` : "";
  return `prompt: ${usage.promptTokens} tokens${cached} at ${timings.promptTokensPerSecond.toFixed(1)} tok/s, ` +
    `first token after ${timings.ttftMs.toFixed(0)} ms; ` +
    `answer: ${usage.completionTokens} tokens at ${timings.tokensPerSecond.toFixed(1)} tok/s`;
}

/** The object that `--json` prints. */
function jsonOf({ text, tokens, finishReason, stop, seed, usage, timings }: GenerationResult): string {
  return JSON.stringify({
    text,
    tokens,
    finish_reason: finishReason,
    stop,
    seed,
    prompt_tokens: usage.promptTokens,
    cached_tokens: usage.cachedTokens,
    completion_tokens: usage.completionTokens,
    timings: {
      queue_ms: timings.queueMs,
      ttft_ms: timings.ttftMs,
      decode_ms: timings.decodeMs,
      prompt_tok_s: timings.promptTokensPerSecond,
      tok_s: timings.tokensPerSecond,
    },
  });
}

/** `--profile`: tables on stderr, a trace into the file that was named. */
async function profile(
  model: Model,
  prompt: string | readonly ChatMessage[],
  flags: Flags,
  { tokens }: GenerationResult,
): Promise<void> {
  const parts = profileRun(model, await model.tokenize(prompt), tokens);
  note(profileText(parts, measureDevice(flags)));
  const path = textFlag(flags, "profile")!;
  if (path !== "") await writeTrace(path, model, parts);
}

async function run([path]: string[], flags: Flags): Promise<number> {
  const given = textFlag(flags, "prompt") ?? "-";
  const prompt = given === "-" ? await readStdin() : given;
  if (prompt === "") throw new UsageError("the prompt is empty; give one with -p, or on stdin");
  const stop = new AbortController();
  const onInterrupt = (): void => stop.abort(new Error("interrupted"));
  process.once("SIGINT", onInterrupt);
  await using model = await loadModel(path!, { ...placementOf(flags), signal: stop.signal });
  const messages = textFlag(flags, "system") === undefined
    ? []
    : [{ role: "system", content: textFlag(flags, "system")! }];
  const asked = flags["raw"] === true ? prompt : [...messages, { role: "user", content: prompt }];
  const generation = model.generate(asked, { ...samplingOf(flags), signal: stop.signal });
  const json = flags["json"] === true;
  if (!json) {
    for await (const part of generation) await print(part.text);
    await print("\n");
  }
  const result = await generation.result();
  if (flags["profile"] !== undefined) await profile(model, asked, flags, result);
  if (json) await print(`${jsonOf(result)}\n`);
  else note(speedLine(result));
  process.removeListener("SIGINT", onInterrupt);
  return 0;
}

export const runCommand: Command = {
  usage: "run MODEL [-p PROMPT | -p -]",
  summary: "Answers one prompt; text goes to stdout, the speed line to stderr.",
  nArguments: 1,
  flags: {
    prompt: { type: "string", short: "p", value: "TEXT", help: "the prompt; - or nothing reads stdin" },
    system: { type: "string", value: "TEXT", help: "a system message" },
    raw: { type: "boolean", help: "continue the text as it is, without the chat template" },
    ...SAMPLING_FLAGS,
    ...PLACEMENT_FLAGS,
    profile: {
      type: "string",
      optional: ".json",
      value: "[FILE.json]",
      help: "afterwards, times of all launches on stderr, and as a Chrome trace in FILE.json",
    },
    json: JSON_FLAG,
    help: HELP_FLAG,
  },
  run,
};
