/** The two ways to a language model: of one model, or by name among several. */
import type { EmbeddingModelV4, ImageModelV4, LanguageModelV4, ProviderV4 } from "@ai-sdk/provider";
import { RealizarError } from "../errors.ts";
import { RealizarLanguageModel } from "./language_model.ts";
import type { AiModel, RealizarSettings } from "./settings.ts";

/**
 * A loaded model as a language model of the AI SDK. The model stays its owner's: closing it is theirs, and language
 * models hold nothing that would have to be freed.
 */
export function realizar(model: AiModel, settings: RealizarSettings = {}): LanguageModelV4 {
  const { modelId = model.info.name ?? model.info.architecture, ...defaults } = settings;
  return new RealizarLanguageModel(model, modelId, defaults);
}

/** What a provider is made of. */
export interface RealizarProviderOptions {
  /** Models by the names that `languageModel` takes. Read at each call: the owner may add and remove. */
  models: Readonly<Record<string, AiModel>>;
  /** Settings of all of them. */
  settings?: Omit<RealizarSettings, "modelId"> | undefined;
}

/** A provider for the AI SDK's registry; called as a function it is `languageModel`. */
export interface RealizarProvider extends ProviderV4 {
  /** The language model of that name; throws `ARG` when there is none. */
  (modelId: string): LanguageModelV4;
  /** The same. */
  languageModel(modelId: string): LanguageModelV4;
  /** Throws `UNSUPPORTED`. */
  embeddingModel(modelId: string): EmbeddingModelV4;
  /** Throws `UNSUPPORTED`. */
  imageModel(modelId: string): ImageModelV4;
}

function none(kind: string, modelId: string): never {
  throw new RealizarError("UNSUPPORTED", `${JSON.stringify(modelId)}: this provider has no ${kind} models`);
}

/** A provider of several models by name. */
export function createRealizar({ models, settings = {} }: RealizarProviderOptions): RealizarProvider {
  const languageModel = (modelId: string): LanguageModelV4 => {
    if (!Object.hasOwn(models, modelId)) {
      const names = Object.keys(models).join(", ");
      throw new RealizarError("ARG", `there is no model ${JSON.stringify(modelId)}; there are ${names || "none"}`);
    }
    return realizar(models[modelId]!, { ...settings, modelId });
  };
  return Object.assign((modelId: string) => languageModel(modelId), {
    specificationVersion: "v4" as const,
    languageModel,
    embeddingModel: (modelId: string) => none("embedding", modelId),
    imageModel: (modelId: string) => none("image", modelId),
  });
}
