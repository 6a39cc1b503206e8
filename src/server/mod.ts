/**
 * The OpenAI-compatible server.
 *
 * ```ts
 * import { Model } from "realizar";
 * import { createHandler } from "realizar/server";
 *
 * await using model = await Model.load("model.gguf");
 * Bun.serve({ port: 8080, idleTimeout: 0, fetch: createHandler({ models: { mine: model } }) });
 * ```
 *
 * @module
 */
export { type AnswerLog, createHandler, type Handler, type HandlerOptions } from "./handler.ts";
export { LOOPBACK_HOSTS } from "./access.ts";
export type { Limits } from "./limits.ts";
export type { Sender } from "./sender.ts";
export type { ServedModel, ServerStatus } from "./served_model.ts";
export { warmUp } from "./warm_up.ts";
export { type RunningServer, serve, type ServeOptions } from "./listen.ts";
