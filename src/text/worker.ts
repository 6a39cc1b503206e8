/**
 * The text Worker: templates and encoding, away from the main thread, where they may be killed at any time. Pure
 * TypeScript: no native code, no files.
 */
import { type MessagePort, parentPort } from "node:worker_threads";
import { errorToWire, RealizarError } from "../errors.ts";
import type { ChatMessage } from "../types.ts";
import { ChatTemplate } from "./chat_template.ts";
import { escapeSpecial } from "./escape_special.ts";
import type { FromText, RenderOptions, TextPrompt, TextRequest, ToText } from "./messages.ts";
import { Tokenizer } from "./tokenizer.ts";
import { Vocab } from "./vocab.ts";

/** Renders and encodes with one vocabulary; throws RealizarErrors. */
class TextService {
  readonly #vocab: Vocab;
  readonly #tokenizer: Tokenizer;
  #template: ChatTemplate | undefined;

  constructor(vocab: Vocab) {
    this.#vocab = vocab;
    this.#tokenizer = new Tokenizer(vocab);
    // The first text builds the pre-tokenizer; no request should pay for that out of its time.
    this.#tokenizer.encode("a");
  }

  encode(prompt: TextPrompt): Int32Array<ArrayBuffer> {
    const none = { addBos: false, addEos: false };
    if (prompt.kind === "text") {
      return this.#tokenizer.encode(prompt.text, { special: prompt.special, ...(prompt.addSpecial ? {} : none) });
    }
    const { text, mark } = this.#render(prompt.messages, prompt.options ?? {});
    // A template writes the beginning-of-text token itself where its model wants one.
    return this.#tokenizer.encode(text, { special: true, escape: mark, ...none });
  }

  render(messages: readonly ChatMessage[], options: RenderOptions): string {
    const { text, mark } = this.#render(messages, options);
    return text.replaceAll(mark, "");
  }

  #render(messages: readonly ChatMessage[], options: RenderOptions): { text: string; mark: string } {
    const { tables } = this.#vocab;
    if (tables.chatTemplate === undefined) {
      throw new RealizarError("TEMPLATE", "the model file has no chat template (tokenizer.chat_template)");
    }
    this.#template ??= new ChatTemplate(tables.chatTemplate);
    const { value, mark } = escapeSpecial({ messages, tools: options.tools, variables: options.variables }, tables);
    const textOf = (id: number | undefined): string | undefined =>
      id === undefined ? undefined : this.#vocab.textOf(id);
    const text = this.#template.render({
      bos_token: textOf(tables.bosId),
      eos_token: textOf(tables.eosId),
      unk_token: textOf(tables.unkId),
      pad_token: textOf(tables.padId),
      ...value.variables,
      messages: value.messages,
      tools: value.tools ?? null,
      documents: null,
      add_generation_prompt: options.addGenerationPrompt ?? true,
    });
    return { text, mark };
  }
}

function answer(service: TextService, request: TextRequest): FromText {
  const { id } = request;
  switch (request.type) {
    case "encode":
      return { type: "encoded", id, tokens: service.encode(request.prompt) };
    case "render":
      return { type: "rendered", id, text: service.render(request.messages, request.options) };
    case "compile":
      throw new RealizarError("UNSUPPORTED", "grammars and JSON schemas are not supported yet");
  }
}

function serve(port: MessagePort): void {
  let service: TextService | undefined;
  const post = (message: FromText): void => {
    port.postMessage(message, message.type === "encoded" ? [message.tokens.buffer] : []);
  };
  port.on("message", (message: ToText) => {
    if (message.type === "vocab") {
      service = new TextService(new Vocab(message.tables));
      post({ type: "ready" });
      return;
    }
    try {
      post(answer(service!, message));
    } catch (error) {
      post({ type: "failed", id: message.id, error: errorToWire(error) });
    }
  });
}

if (parentPort !== null) serve(parentPort);
