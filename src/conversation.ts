/** Public interfaces of conversations: messages, tools, and the answer split into what it is made of. */
import type { PartLogprob } from "./logprobs.ts";

/** A call of a tool, as the model wrote it. */
export interface ToolCall {
  /** Unique within the conversation; the result names it. */
  id: string;
  /** The tool's name. */
  name: string;
  /** JSON text of the arguments: an object, unless the model was cut off. */
  arguments: string;
}

/** One message of a conversation. */
export interface ChatMessage {
  /** `system`, `user`, `assistant`, `tool` or what the model's template knows. */
  role: string;
  /** Its text. */
  content: string;
  /** Who speaks, where a template tells several apart. */
  name?: string | undefined;
  /** What the assistant thought before it answered; whether it is shown to the model again is the template's choice. */
  reasoning?: string | undefined;
  /** Calls that this answer of the assistant made. */
  toolCalls?: readonly ToolCall[] | undefined;
  /** In a message of role `tool`: the call it is the result of. */
  toolCallId?: string | undefined;
  /** Set on an answer that was stopped before its end. */
  aborted?: boolean | undefined;
}

/** A tool that the model may call. */
export interface ToolDefinition {
  /** 1-64 characters of `a-z A-Z 0-9 _ -`. */
  name: string;
  /** What it does, for the model. */
  description?: string | undefined;
  /** JSON Schema of its arguments, an object; default: any object. */
  parameters?: Readonly<Record<string, unknown>> | undefined;
}

/** Whether tools may, must not or must be called; or the one that must be called. */
export type ToolChoice = "auto" | "none" | "required" | { readonly name: string };

/** A value that a chat template may be given by name. */
export type TemplateValue = string | number | boolean | null;

/** A piece of an answer, in order. The pieces of one kind (of one call) add up to the whole. */
export type AnswerPart =
  | { readonly kind: "text"; readonly text: string; readonly logprobs?: readonly PartLogprob[] }
  | { readonly kind: "reasoning"; readonly text: string }
  | { readonly kind: "toolCall"; readonly index: number; readonly id: string; readonly name: string }
  | { readonly kind: "toolArguments"; readonly index: number; readonly json: string };

/** An answer in its parts. */
export interface Answer {
  /** Text for the user. */
  text: string;
  /** What came between the model's marks of reasoning; "" when nothing did. */
  reasoning: string;
  /** Calls, in order. */
  toolCalls: ToolCall[];
}

/**
 * What text may be generated, as data. Parts nest; a schema describes JSON text, a `gbnf` grammar any text.
 * `lazy` leaves the text free until it contains one of `triggers`, constrains what follows, and is free again after it.
 */
export type GrammarSource =
  | { readonly kind: "schema"; readonly schema: unknown }
  | { readonly kind: "gbnf"; readonly grammar: string }
  | {
    readonly kind: "text";
    readonly text: string;
    /** A control token with this name may stand for it, as models write the marks of their templates. */
    readonly control?: boolean | undefined;
  }
  | { readonly kind: "sequence"; readonly parts: readonly GrammarSource[] }
  | { readonly kind: "choice"; readonly options: readonly GrammarSource[] }
  | {
    readonly kind: "repeat";
    readonly of: GrammarSource;
    readonly min: number;
    readonly max: number | undefined;
    readonly separator: string;
  }
  | {
    /** Anything up to the first occurrence of the text, and that. */
    readonly kind: "until";
    readonly text: string;
    /** Control tokens may be in it, and one with the text's name ends it. */
    readonly control?: boolean | undefined;
  }
  | { readonly kind: "lazy"; readonly triggers: readonly string[]; readonly then: GrammarSource };
