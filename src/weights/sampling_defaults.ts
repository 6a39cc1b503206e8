/** How a model's makers want it sampled: the `general.sampling.*` metadata. */
import type { Metadata } from "../format/metadata.ts";
import type { SamplingOptions } from "../types.ts";
import { Fields } from "./fields.ts";

/** The settings that a file can give. */
export type SamplingDefaults = Pick<
  SamplingOptions,
  "temperature" | "topK" | "topP" | "minP" | "repetitionPenalty" | "penaltyWindow"
>;

/**
 * What the file gives; settings that it leaves out, and samplers that are not built here (mirostat, XTC), are absent.
 * Throws `TYPE` for a value of the wrong type and `LIMIT` for one out of its range.
 */
export function readSamplingDefaults(metadata: Metadata): SamplingDefaults {
  const f = new Fields(metadata, "general.sampling.");
  const found: SamplingDefaults = {};
  if (f.has("temp")) found.temperature = f.float("temp", 0, 100);
  // Files say "all" by -1 where the options have 0.
  if (f.has("top_k")) found.topK = Math.max(0, f.int("top_k", -1, 2 ** 31 - 1));
  if (f.has("top_p")) found.topP = f.float("top_p", 0, 1);
  if (f.has("min_p")) found.minP = f.float("min_p", 0, 1);
  if (f.has("penalty_repeat")) found.repetitionPenalty = f.float("penalty_repeat", 0.01, 100);
  if (f.has("penalty_last_n")) found.penaltyWindow = Math.max(0, f.int("penalty_last_n", -1, 2 ** 31 - 1));
  f.throwProblems();
  return found;
}
