/** From a model's files to everything that is decided before native code sees it: config, proved weights, plan. */
import { architectureOf } from "../arch/mod.ts";
import type { FileInfo } from "../format/directory.ts";
import { openGguf } from "../format/gguf.ts";
import type { Plan } from "../plan/plan.ts";
import { Vocab } from "../text/vocab.ts";
import type { SamplingOptions } from "../types.ts";
import { type ModelConfig, readConfig } from "../weights/config.ts";
import { validateWeights, type WeightBinding } from "../weights/validate.ts";
import { readSamplingDefaults, readVocabSource } from "../weights/vocab_source.ts";
import type { WireSource } from "./protocol.ts";

/** A proved model. */
export interface PreparedModel {
  config: ModelConfig;
  files: readonly FileInfo[];
  table: readonly WeightBinding[];
  plan: Plan;
  vocab: Vocab;
  sampling: SamplingOptions;
}

/** Reads and proves; throws with every problem found. No tensor bytes are read but those that the plan needs itself. */
export async function prepareModel(source: WireSource, onVocab?: (vocab: Vocab) => void): Promise<PreparedModel> {
  const input = source.kind === "path" ? source.path : source.kind === "bytes" ? source.bytes : source.blob;
  const file = await openGguf(input);
  const config = readConfig(file.metadata, file.tensors);
  const architecture = architectureOf(config.architecture);
  const weights = await validateWeights(architecture.roles(config), file.tensors, file.files);
  const vocab = Vocab.build(readVocabSource(file.metadata, config));
  onVocab?.(vocab);
  const plan = architecture.build(config, weights);
  return { config, files: file.files, table: weights.table, plan, vocab, sampling: readSamplingDefaults(file.metadata) };
}
