/** Every public interface of the library: what goes in, what comes back, and what conversations are made of. */
export type * from "./conversation.ts";
export type * from "./inputs.ts";
export type * from "./logprobs.ts";
export type * from "./outputs.ts";
