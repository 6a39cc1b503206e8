/** From a model's files to everything that is decided before native code sees it: config, proved weights, plan. */
import { architectureOf } from "../arch/mod.ts";
import type { FileInfo } from "../format/directory.ts";
import { type GgufFile, openGguf } from "../format/gguf.ts";
import type { Plan } from "../plan/plan.ts";
import { Vocab } from "../text/vocab.ts";
import type { SamplingOptions } from "../types.ts";
import { type ModelConfig, readConfig } from "../weights/config.ts";
import { readSamplingDefaults } from "../weights/sampling_defaults.ts";
import { validateWeights, type WeightBinding } from "../weights/validate.ts";
import { readVocabSource } from "../weights/vocab_source.ts";
import type { WireSource } from "./protocol.ts";

/** A proved model. */
export interface PreparedModel {
  file: GgufFile;
  config: ModelConfig;
  files: readonly FileInfo[];
  /** Every weight, in the order of their ids. */
  table: readonly WeightBinding[];
  plan: Plan;
  vocab: Vocab;
  /** Settings of the file's own. */
  sampling: SamplingOptions;
}

/** Reads and proves; throws with every problem found. No tensor bytes are read but those that the plan needs itself. */
export async function prepareModel(source: WireSource, onVocab?: (vocab: Vocab) => void): Promise<PreparedModel> {
  const file = await openGguf(
    source.kind === "path" ? source.path : source.kind === "bytes" ? source.bytes : source.blob,
  );
  const { metadata, files } = file;
  const architecture = architectureOf(metadata.string("general.architecture"));
  const config = readConfig(metadata, architecture.variants);
  const weights = await validateWeights(architecture.roles(config), file);
  const vocab = Vocab.build(readVocabSource(metadata));
  onVocab?.(vocab);
  const plan = architecture.build(config, weights);
  return { file, config, files, table: weights.table, plan, vocab, sampling: readSamplingDefaults(metadata) };
}
