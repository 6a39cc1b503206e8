/** Messages between the main thread (M) and the text Worker (T); all cloneable data. */
import type { GrammarSource } from "../conversation.ts";
import type { WireError } from "../errors.ts";
import type { WireGrammar } from "../grammar/wire.ts";
import type { ChatMessage, ToolDefinition } from "../types.ts";
import type { VocabTables } from "./vocab.ts";

/** What a template gets beside the messages. */
export interface RenderOptions {
  /** End with what begins an answer. */
  addGenerationPrompt?: boolean | undefined;
  /** Tools the model is told of. */
  tools?: readonly ToolDefinition[] | undefined;
  /** Further variables, such as `enable_thinking`. */
  variables?: Readonly<Record<string, unknown>> | undefined;
}

/** What is to be encoded. */
export type TextPrompt =
  /** Raw text: `special` = texts of special tokens become them; `addSpecial` = BOS and EOS as the vocabulary says. */
  | { kind: "text"; text: string; special: boolean; addSpecial: boolean }
  /** A conversation, by the chat template; an answer is asked for unless the options say otherwise. */
  | { kind: "messages"; messages: readonly ChatMessage[]; options?: RenderOptions | undefined };

/** A question that T answers with exactly one message of the same id. */
export type TextRequest =
  | { type: "encode"; id: number; prompt: TextPrompt }
  | { type: "render"; id: number; messages: readonly ChatMessage[]; options: RenderOptions }
  | { type: "compile"; id: number; source: GrammarSource };

/** M to T. `vocab` comes first; requests come one at a time. */
export type ToText = { type: "vocab"; tables: VocabTables } | TextRequest;

/** T to M. */
export type FromText =
  /** The vocabulary is set; requests may come. */
  | { type: "ready" }
  /** The tokens' buffer is transferred. */
  | { type: "encoded"; id: number; tokens: Int32Array<ArrayBuffer> }
  | { type: "rendered"; id: number; text: string }
  /** The grammar lies on shared memory. */
  | { type: "compiled"; id: number; grammar: WireGrammar }
  | { type: "failed"; id: number; error: WireError };
