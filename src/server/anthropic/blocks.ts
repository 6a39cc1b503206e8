/** The content of an answer in blocks, built piece by piece: a stream tells each step, a whole answer keeps the end. */
import type { AnswerPart } from "../../types.ts";

/** A content block of Anthropic's API. */
export type Block =
  | { type: "thinking"; thinking: string; signature: string }
  | { type: "text"; text: string; citations: null }
  | { type: "tool_use"; id: string; name: string; input: unknown; caller: { type: "direct" } };

/** One step of the content, as a stream's event tells it. */
export type BlockEvent =
  | { type: "content_block_start"; index: number; content_block: Block }
  | { type: "content_block_delta"; index: number; delta: Readonly<Record<string, string>> }
  | { type: "content_block_stop"; index: number };

/** What a call's arguments are when the model was cut off in them. */
function inputOf(json: string): unknown {
  try {
    return JSON.parse(json) as unknown;
  } catch {
    return {};
  }
}

/** Turns an answer's parts into blocks. */
export class BlockBuilder {
  /** Blocks that have begun; complete after {@linkcode BlockBuilder.end}. */
  readonly blocks: Block[] = [];
  readonly #showsThinking: boolean;
  #open: Block | undefined;
  /** Of the call that is open, its index in the answer. */
  #callIndex = -1;
  #json = "";
  /** White space that may turn out to stand alone: clients can't send a block of that back. */
  #blank = "";

  /** Without `showsThinking` a block tells that the model thought, and not what. */
  constructor(showsThinking: boolean) {
    this.#showsThinking = showsThinking;
  }

  /** Whether the model called tools. */
  get hasCalls(): boolean {
    return this.blocks.some(({ type }) => type === "tool_use");
  }

  /** Takes the next part. */
  *push(part: AnswerPart): Generator<BlockEvent, void, undefined> {
    if (part.kind === "reasoning") yield* this.#thinking(part.text);
    else if (part.kind === "text") yield* this.#text(part.text);
    else if (part.kind === "toolCall") yield* this.#call(part.index, part.id, part.name);
    else if (part.json !== "" && this.#open?.type === "tool_use" && this.#callIndex === part.index) {
      this.#json += part.json;
      yield this.#delta({ type: "input_json_delta", partial_json: part.json });
    }
  }

  /** The answer is complete. */
  *end(): Generator<BlockEvent, void, undefined> {
    yield* this.#close();
  }

  *#thinking(text: string): Generator<BlockEvent, void, undefined> {
    if (text === "") return;
    if (this.#open?.type !== "thinking") yield* this.#start({ type: "thinking", thinking: "", signature: "" });
    if (!this.#showsThinking || this.#open?.type !== "thinking") return;
    this.#open.thinking += text;
    yield this.#delta({ type: "thinking_delta", thinking: text });
  }

  *#text(text: string): Generator<BlockEvent, void, undefined> {
    let piece = text;
    if (this.#open?.type !== "text") {
      this.#blank += text;
      if (this.#blank.trim() === "") return;
      piece = this.#blank;
      yield* this.#start({ type: "text", text: "", citations: null });
    }
    if (piece === "" || this.#open?.type !== "text") return;
    this.#open.text += piece;
    yield this.#delta({ type: "text_delta", text: piece });
  }

  *#call(index: number, id: string, name: string): Generator<BlockEvent, void, undefined> {
    yield* this.#start({ type: "tool_use", id, name, input: {}, caller: { type: "direct" } });
    this.#callIndex = index;
  }

  *#start(block: Block): Generator<BlockEvent, void, undefined> {
    yield* this.#close();
    this.#open = block;
    this.blocks.push(block);
    yield { type: "content_block_start", index: this.blocks.length - 1, content_block: { ...block } };
  }

  *#close(): Generator<BlockEvent, void, undefined> {
    const block = this.#open;
    this.#open = undefined;
    this.#blank = "";
    if (block === undefined) return;
    const index = this.blocks.length - 1;
    if (block.type === "tool_use") {
      block.input = inputOf(this.#json);
      this.#json = "";
    }
    // Clients wait for one before they send a thinking block back.
    if (block.type === "thinking") {
      yield { type: "content_block_delta", index, delta: { type: "signature_delta", signature: block.signature } };
    }
    yield { type: "content_block_stop", index };
  }

  #delta(delta: Readonly<Record<string, string>>): BlockEvent {
    return { type: "content_block_delta", index: this.blocks.length - 1, delta };
  }
}
