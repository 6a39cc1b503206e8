/** The items of a response, built piece by piece: a stream tells each step, a whole answer keeps the end. */
import { RealizarError } from "../../errors.ts";
import type { AnswerPart, PartLogprob } from "../../types.ts";

/** An event of a stream, without its sequence number. */
export type ResponseEvent = { readonly type: string } & Readonly<Record<string, unknown>>;

type Status = "in_progress" | "completed" | "incomplete";

/** A text in an item. */
interface TextPart {
  type: "output_text" | "reasoning_text";
  text: string;
  annotations?: unknown[];
  logprobs?: unknown[];
}

/** An item of a response. */
export interface OutputItem {
  readonly type: "message" | "reasoning" | "function_call";
  readonly id: string;
  status: Status;
  /** Of messages and reasoning. */
  content?: TextPart[];
  /** Of calls: JSON text. */
  arguments?: string;
  readonly [field: string]: unknown;
}

/** An id as the API has them. */
export function newId(prefix: string): string {
  return `${prefix}_${crypto.randomUUID().replaceAll("-", "")}`;
}

/** Builds the items. */
export class OutputBuilder {
  /** What was told so far. */
  readonly items: OutputItem[] = [];
  readonly #logprobsOf: ((logprobs: readonly PartLogprob[]) => unknown[]) | undefined;
  #open: OutputItem | undefined;
  /** Index of the call that is open, as the library counts them. */
  #call = -1;

  /** `logprobsOf` writes log-probabilities; undefined = they are not asked for. */
  constructor(logprobsOf: ((logprobs: readonly PartLogprob[]) => unknown[]) | undefined) {
    this.#logprobsOf = logprobsOf;
  }

  /** Events for one piece of the answer. */
  *push(piece: AnswerPart): Generator<ResponseEvent, void, undefined> {
    switch (piece.kind) {
      case "text":
        return yield* this.#text("message", piece.text, this.#logprobsOf?.(piece.logprobs ?? []) ?? []);
      case "reasoning":
        return yield* this.#text("reasoning", piece.text, []);
      case "toolCall":
        yield* this.end("completed");
        this.#call = piece.index;
        return yield* this.#begin({
          type: "function_call",
          id: newId("fc"),
          call_id: piece.id,
          name: piece.name,
          arguments: "",
          status: "in_progress",
        });
      case "toolArguments": {
        const item = this.#open;
        if (item?.type !== "function_call" || this.#call !== piece.index) {
          throw new RealizarError("INTERNAL", `arguments came for tool call ${piece.index}, which is not open`);
        }
        if (piece.json === "") return;
        item.arguments += piece.json;
        yield { type: "response.function_call_arguments.delta", ...this.#at(item), delta: piece.json };
      }
    }
  }

  /** Events for the end of the item that is open. */
  *end(status: Exclude<Status, "in_progress">): Generator<ResponseEvent, void, undefined> {
    const item = this.#open;
    if (item === undefined) return;
    this.#open = undefined;
    const at = this.#at(item);
    const part = item.content?.[0];
    if (part === undefined) {
      const { name, arguments: json } = item;
      yield { type: "response.function_call_arguments.done", ...at, name, arguments: json };
    } else {
      const { text, logprobs } = part;
      const told = logprobs === undefined ? { text } : { text, logprobs };
      yield { type: `response.${part.type}.done`, ...at, content_index: 0, ...told };
      yield { type: "response.content_part.done", ...at, content_index: 0, part };
    }
    item.status = status;
    yield { type: "response.output_item.done", output_index: at.output_index, item };
  }

  *#text(type: "message" | "reasoning", text: string, logprobs: unknown[]): Generator<ResponseEvent, void, undefined> {
    if (text === "" && logprobs.length === 0) return;
    if (this.#open?.type !== type) {
      yield* this.end("completed");
      yield* this.#beginText(type);
    }
    const item = this.#open!;
    const part = item.content![0]!;
    part.text += text;
    part.logprobs?.push(...logprobs);
    const delta = part.logprobs === undefined ? { delta: text } : { delta: text, logprobs };
    yield { type: `response.${part.type}.delta`, ...this.#at(item), content_index: 0, ...delta };
  }

  *#beginText(type: "message" | "reasoning"): Generator<ResponseEvent, void, undefined> {
    const isMessage = type === "message";
    const item: OutputItem = isMessage
      ? { type, id: newId("msg"), role: "assistant", status: "in_progress", content: [] }
      : { type, id: newId("rs"), summary: [], status: "in_progress", content: [] };
    yield* this.#begin(item);
    const part: TextPart = isMessage
      ? { type: "output_text", text: "", annotations: [], logprobs: [] }
      : { type: "reasoning_text", text: "" };
    item.content!.push(part);
    yield { type: "response.content_part.added", ...this.#at(item), content_index: 0, part };
  }

  *#begin(item: OutputItem): Generator<ResponseEvent, void, undefined> {
    this.items.push(item);
    this.#open = item;
    yield { type: "response.output_item.added", output_index: this.items.length - 1, item };
  }

  #at(item: OutputItem): { item_id: string; output_index: number } {
    return { item_id: item.id, output_index: this.items.length - 1 };
  }
}
