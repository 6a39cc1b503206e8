/**
 * Models of this library for the AI SDK (npm `ai`), in the same process: no server, no port.
 *
 * ```ts
 * import { generateText } from "ai";
 * import { Model } from "realizar";
 * import { realizar } from "realizar/ai";
 *
 * await using model = await Model.load("model.gguf");
 * const { text } = await generateText({ model: realizar(model), prompt: "Why is the sky blue?" });
 * ```
 *
 * @module
 */
export { createRealizar, realizar, type RealizarProvider, type RealizarProviderOptions } from "./provider.ts";
export type { AiModel, OwnOptions, RealizarSettings } from "./settings.ts";
