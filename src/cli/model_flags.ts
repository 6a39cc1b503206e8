/** Flags that place a model and choose tokens, for every command that loads one. */
import { Model } from "../api/model.ts";
import type { Device, GenerateOptions, LoadOptions } from "../types.ts";
import { type Flag, type Flags, numberFlag, textFlag } from "./command.ts";
import { ProgressBar } from "./progress_bar.ts";

export const PLACEMENT_FLAGS: Record<string, Flag> = {
  device: { type: "string", value: "D", help: "auto, cpu, cuda, cuda:N or ref (default auto, or REALIZAR_DEVICE)" },
  threads: { type: "string", value: "N", help: "CPU threads (default: the physical cores this process may use)" },
  ctx: { type: "string", value: "N", help: "tokens of context, auto = what fits (default: the model's, up to 4096)" },
  "kv-tokens": { type: "string", value: "N", help: "tokens the KV cache holds (default: ctx for every sequence)" },
  kv: { type: "string", value: "T", help: "type of the KV cache: f32, f16 or q8_0" },
};

export const SAMPLING_FLAGS: Record<string, Flag> = {
  n: { type: "string", short: "n", value: "N", help: "tokens at most (default: the rest of the context)" },
  temp: { type: "string", value: "T", help: "temperature, 0 = greedy (default: the model's, else 0.8)" },
  "top-k": { type: "string", value: "K", help: "keep the K likeliest tokens, 0 = off (default 40)" },
  "top-p": { type: "string", value: "P", help: "keep the likeliest tokens up to this mass (default 0.95)" },
  "min-p": { type: "string", value: "P", help: "drop tokens below this share of the likeliest (default 0.05)" },
  "repeat-penalty": { type: "string", value: "R", help: "penalty on tokens seen before, 1 = off (default 1)" },
  seed: { type: "string", value: "S", help: "seed of the sampler (default: random)" },
};

/** Placement as the API takes it. */
export function placementOf(flags: Flags): Omit<LoadOptions, "signal" | "onProgress"> {
  return {
    device: textFlag(flags, "device") as Device | undefined,
    threads: numberFlag(flags, "threads"),
    contextSize: flags["ctx"] === "auto" ? "auto" : numberFlag(flags, "ctx"),
    kvTokens: numberFlag(flags, "kv-tokens"),
    kvDtype: textFlag(flags, "kv") as LoadOptions["kvDtype"],
  };
}

/** Sampling as the API takes it. */
export function samplingOf(flags: Flags): GenerateOptions {
  return {
    maxTokens: numberFlag(flags, "n"),
    temperature: numberFlag(flags, "temp"),
    topK: numberFlag(flags, "top-k"),
    topP: numberFlag(flags, "top-p"),
    minP: numberFlag(flags, "min-p"),
    repetitionPenalty: numberFlag(flags, "repeat-penalty"),
    seed: numberFlag(flags, "seed"),
  };
}

/** Loads a model with a progress bar on a terminal's stderr. */
export async function loadModel(path: string, options: LoadOptions): Promise<Model> {
  const bar = new ProgressBar("loading");
  try {
    return await Model.load(path, { ...options, onProgress: (p) => bar.update(p.loadedBytes, p.totalBytes) });
  } finally {
    bar.clear();
  }
}
