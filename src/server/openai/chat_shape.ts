/** How chat completions write an answer: text, reasoning and calls, whole or piece by piece. */
import type { AnswerPart, GenerationPart, GenerationResult, PartLogprob, ToolCall } from "../../types.ts";
import type { NamedModel } from "../served_model.ts";
import { chatLogprobs, wholeChatLogprobs } from "./logprobs.ts";
import { finishReasonOf, type Shape } from "./respond.ts";

interface CallDelta {
  index: number;
  id?: string;
  type?: "function";
  function: { name?: string; arguments: string };
}

/** What pieces of an answer add to a message. */
interface Delta {
  content?: string;
  reasoning_content?: string;
  tool_calls?: CallDelta[];
  function_call?: CallDelta["function"];
}

/** One delta for all pieces; calls that go on stay one entry. */
function deltaOf(parts: readonly AnswerPart[]): Delta {
  const delta: Delta = {};
  const calls: CallDelta[] = [];
  for (const part of parts) {
    if (part.kind === "text") delta.content = (delta.content ?? "") + part.text;
    else if (part.kind === "reasoning") delta.reasoning_content = (delta.reasoning_content ?? "") + part.text;
    else if (part.kind === "toolCall") {
      const { index, id, name } = part;
      calls.push({ index, id, type: "function", function: { name, arguments: "" } });
    } else {
      const last = calls.at(-1);
      if (last?.index === part.index) last.function.arguments += part.json;
      else calls.push({ index: part.index, function: { arguments: part.json } });
    }
  }
  if (calls.length > 0) delta.tool_calls = calls;
  return delta;
}

/** In the elder API there is one call, without an id. */
function withoutTools({ tool_calls, ...delta }: Delta): Delta {
  return tool_calls === undefined ? delta : { ...delta, function_call: tool_calls[0]!.function };
}

function callOf({ id, name, arguments: json }: ToolCall): CallDelta | Record<string, unknown> {
  return { id, type: "function", function: { name, arguments: json } };
}

function messageOf(result: GenerationResult, isLegacy: boolean): Record<string, unknown> {
  const { text, reasoning, toolCalls } = result.answer ?? { text: result.text, reasoning: "", toolCalls: [] };
  const [first] = toolCalls;
  const calls = first === undefined
    ? {}
    : isLegacy
    ? { function_call: { name: first.name, arguments: first.arguments } }
    : { tool_calls: toolCalls.map(callOf) };
  return {
    role: "assistant",
    content: text === "" && first !== undefined ? null : text,
    refusal: null,
    ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
    ...calls,
  };
}

function reasonOf(result: GenerationResult, isLegacy: boolean): string {
  const reason = finishReasonOf(result);
  if (reason !== "stop" || result.answer === undefined || result.answer.toolCalls.length === 0) return reason;
  return isLegacy ? "function_call" : "tool_calls";
}

function logprobsField(content: unknown): Record<string, unknown> {
  return { content, refusal: null };
}

/** The shape of chat completions. `isLegacy`: calls are written as the one function call of the elder API. */
export function chatShape({ name, model }: NamedModel, asksLogprobs: boolean, isLegacy: boolean): Shape {
  const id = `chatcmpl-${crypto.randomUUID().replaceAll("-", "")}`;
  const common = { id, created: Math.floor(Date.now() / 1000), model: name };
  const choice = (index: number, delta: unknown, finish: string | null, logprobs: unknown = null) => ({
    index,
    delta,
    logprobs,
    finish_reason: finish,
  });
  /** Of the text, by choice. */
  const logprobs = new Map<number, PartLogprob[]>();
  // A model that does not split its answers writes text only.
  const partsOf = ({ text, logprobs, answer }: GenerationPart): readonly AnswerPart[] =>
    answer ?? [{ kind: "text", text, ...(logprobs === undefined ? {} : { logprobs }) }];
  const logprobsOf = (parts: readonly AnswerPart[]): PartLogprob[] =>
    parts.flatMap((part) => part.kind === "text" ? part.logprobs ?? [] : []);
  return {
    whole: { ...common, object: "chat.completion" },
    chunk: { ...common, object: "chat.completion.chunk" },
    begin: (index) => choice(index, { role: "assistant", content: "" }, null),
    see(index, part) {
      const all = logprobs.get(index) ?? [];
      if (all.length === 0) logprobs.set(index, all);
      if (asksLogprobs) all.push(...logprobsOf(partsOf(part)));
    },
    part(index, part) {
      const parts = partsOf(part);
      const whole = deltaOf(parts);
      const told = logprobsOf(parts);
      if (Object.values(whole).every((value) => value === "") && told.length === 0) return undefined;
      const delta = isLegacy ? withoutTools(whole) : whole;
      return choice(
        index,
        delta,
        null,
        asksLogprobs && told.length > 0 ? logprobsField(chatLogprobs(model, told)) : null,
      );
    },
    end: (index, result) => choice(index, {}, reasonOf(result, isLegacy)),
    complete: (index, result) => ({
      index,
      message: messageOf(result, isLegacy),
      logprobs: asksLogprobs ? logprobsField(wholeChatLogprobs(model, logprobs.get(index) ?? [])) : null,
      finish_reason: reasonOf(result, isLegacy),
    }),
  };
}
