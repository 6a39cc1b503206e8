/**
 * The text Worker: templates and encoding, away from the main thread, where they may be killed at any time. Pure
 * TypeScript: no native code, no files.
 */
import { type MessagePort, parentPort } from "node:worker_threads";
import type { GrammarSource } from "../conversation.ts";
import { errorToWire, RealizarError } from "../errors.ts";
import { compileGrammar } from "../grammar/compile.ts";
import { type TokenData, tokenDataOf } from "../grammar/token_trie.ts";
import type { WireGrammar } from "../grammar/wire.ts";
import type { ChatMessage } from "../types.ts";
import { ChatTemplate } from "./chat_template.ts";
import { escapeSpecial } from "./escape_special.ts";
import type { FromText, RenderOptions, TextPrompt, TextRequest, ToText } from "./messages.ts";
import { idOfSpecial } from "./special_trie.ts";
import { Tokenizer } from "./tokenizer.ts";
import { toolFormatOf } from "./tools/formats.ts";
import {
  type CallStyle,
  callStyleOf,
  type TemplateInput,
  templateInputs,
  templateMessages,
  templateTools,
} from "./tools/template_messages.ts";
import { Vocab } from "./vocab.ts";

/** Grammars that are kept compiled, and the longest one of them as JSON text. */
const KEPT_GRAMMARS = 32;
const KEPT_GRAMMAR_LENGTH = 65_536;

/** Renders and encodes with one vocabulary, and compiles grammars; throws RealizarErrors. */
class TextService {
  readonly #vocab: Vocab;
  readonly #tokenizer: Tokenizer;
  #template: ChatTemplate | undefined;
  #callStyle: CallStyle | undefined;
  /** Last compiled grammars by their sources, the latest at the end. */
  readonly #grammars = new Map<string, WireGrammar>();
  /** Made with the first grammar, here: in the engine Worker it would hold up running generations. */
  #tokens: TokenData | undefined;

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

  compile(source: GrammarSource): WireGrammar {
    const key = JSON.stringify(source);
    const compiled = this.#grammars.get(key) ?? compileGrammar(source);
    this.#tokens ??= tokenDataOf(this.#vocab.tables);
    const grammar = { ...compiled, tokens: this.#tokens };
    this.#grammars.delete(key);
    if (key.length <= KEPT_GRAMMAR_LENGTH) this.#grammars.set(key, grammar);
    if (this.#grammars.size > KEPT_GRAMMARS) this.#grammars.delete(this.#grammars.keys().next().value!);
    return grammar;
  }

  #render(messages: readonly ChatMessage[], options: RenderOptions): { text: string; mark: string } {
    const { tables } = this.#vocab;
    const source = tables.chatTemplate;
    if (source === undefined) {
      throw new RealizarError("TEMPLATE", "the model file has no chat template (tokenizer.chat_template)");
    }
    this.#template ??= new ChatTemplate(source);
    const hasCalls = messages.some(({ toolCalls = [] }) => toolCalls.length > 0);
    if (hasCalls) {
      this.#callStyle ??= callStyleOf((probe) => this.#write({ messages: [...probe], tools: null }, {}, true));
    }
    const style = this.#callStyle ?? { objects: true, nullContent: false };
    const { value, mark } = escapeSpecial({
      messages: templateMessages(messages, style, source.includes("length 9")),
      tools: templateTools(options.tools),
      variables: options.variables,
    }, tables);
    const inputs = templateInputs(value, source, toolFormatOf(source, (text) => idOfSpecial(tables, text) >= 0));
    for (;;) {
      const input = inputs.shift()!;
      try {
        return { text: this.#write(input, value.variables ?? {}, options.addGenerationPrompt ?? true), mark };
      } catch (error) {
        if (inputs.length === 0) throw error;
      }
    }
  }

  #write(input: TemplateInput, variables: Readonly<Record<string, unknown>>, addGenerationPrompt: boolean): string {
    const { tables } = this.#vocab;
    const textOf = (id: number | undefined): string | undefined =>
      id === undefined ? undefined : this.#vocab.textOf(id);
    return this.#template!.render({
      bos_token: textOf(tables.bosId),
      eos_token: textOf(tables.eosId),
      unk_token: textOf(tables.unkId),
      pad_token: textOf(tables.padId),
      ...variables,
      ...input,
      documents: null,
      add_generation_prompt: addGenerationPrompt,
    });
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
      return { type: "compiled", id, grammar: service.compile(request.source) };
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
