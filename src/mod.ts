/**
 * LLM inference in Bun, Deno and Node.
 *
 * ```ts
 * import { Model } from "realizar";
 *
 * await using model = await Model.load("SmolLM2-135M-Instruct.Q4_1.gguf");
 * for await (const part of model.generate("The capital of France is", { maxTokens: 16 })) {
 *   console.log(part.text);
 * }
 * ```
 *
 * @module
 */
export { Model } from "./api/model.ts";
export { ERROR_CODES, type ErrorCode, RealizarError, type RealizarErrorOptions } from "./errors.ts";
export type * from "./types.ts";
