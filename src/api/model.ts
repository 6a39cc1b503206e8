/** A loaded model: generations, chats, tokens, sessions. Its work is done in two Workers; nothing here blocks. */
import { EngineClient } from "../engine/client.ts";
import type { OpenedModel } from "../engine/protocol.ts";
import { RealizarError } from "../errors.ts";
import { engineFacts } from "../engine/native_model.ts";
import type { WireGrammar } from "../grammar/wire.ts";
import { type NamedValues, readNamedValues } from "../plan/value_names.ts";
import { openLibrary } from "../platform/library.ts";
import { spawnWorker } from "../platform/spawn.ts";
import { TextClient } from "../text/client.ts";
import { Tokenizer } from "../text/tokenizer.ts";
import { Vocab, type VocabTables } from "../text/vocab.ts";
import type {
  Chat,
  ChatMessage,
  ChatOptions,
  GenerateOptions,
  Generation,
  GrammarSource,
  JsonOf,
  LoadOptions,
  MemoryEstimate,
  ModelInfo,
  ModelSource,
  ModelStats,
  PlacementOptions,
  Prompt,
  Session,
  SessionOptions,
  TemplateOptions,
  TokenizeOptions,
  WatchFinding,
  WatchOptions,
} from "../types.ts";
import { type AnswerMarks, answerMarksOf, checkTools, compileAnswer, planAnswer } from "./answer_plan.ts";
import { Conversation, type StartGeneration } from "./chat.ts";
import { RunningGeneration } from "./generation.ts";
import { checkGenerate, checkNumber, checkPlacement, checkSource, checkValues } from "./options.ts";
import { checkTokens, decodeInTurns, isMessages, throwIfAborted } from "./prompt.ts";
import { OpenSession } from "./session.ts";
import { watchValues } from "./watch.ts";

const SESSION_BATCH = 512;

/** A model, loaded. Made by {@linkcode Model.load}; free it with `await using` or `close()`. */
export class Model implements AsyncDisposable {
  readonly #engine: EngineClient;
  readonly #text: TextClient;
  readonly #opened: OpenedModel;
  readonly #tokenizer: Tokenizer;
  readonly #sessions = new Set<OpenSession>();
  #marks: AnswerMarks | undefined;
  /** Read from the plan when they are first asked for. */
  #namedValues: NamedValues | undefined;
  #closed = false;

  private constructor(engine: EngineClient, text: TextClient, opened: OpenedModel, tables: VocabTables) {
    this.#engine = engine;
    this.#text = text;
    this.#opened = opened;
    this.#tokenizer = new Tokenizer(new Vocab(tables));
  }

  /**
   * Loads a model. Rejects with a {@linkcode RealizarError} that lists every problem of the file, `OOM_HOST` or
   * `OOM_DEVICE` when it does not fit, `CANCELLED` when the signal is aborted.
   */
  static async load(source: ModelSource, options: LoadOptions = {}): Promise<Model> {
    const wire = checkSource(source);
    const placement = checkPlacement(options);
    const { signal } = options;
    throwIfAborted(signal);
    const engine = new EngineClient();
    const text = new TextClient(spawnWorker);
    let tables: VocabTables | undefined;
    const onAbort = (): void => void engine.close();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      const opened = await engine.open(wire, placement, {
        vocab(got) {
          tables = got;
          text.setVocab(got);
        },
        progress: (progress) => options.onProgress?.(progress),
      });
      return new Model(engine, text, opened, tables!);
    } catch (error) {
      await Promise.all([engine.close(), text.close()]);
      throwIfAborted(signal);
      throw error;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /** Bytes the model would take with these options, before loading it: its files are checked, no weights are read. */
  static async estimate(source: ModelSource, options: PlacementOptions = {}): Promise<MemoryEstimate> {
    const wire = checkSource(source);
    const placement = checkPlacement(options);
    const engine = new EngineClient();
    try {
      return await engine.estimate(wire, placement);
    } finally {
      await engine.close();
    }
  }

  /** What the model is. */
  get info(): ModelInfo {
    return this.#opened.info;
  }

  /** What the engine does now, and has done so far. Costs about a microsecond: the numbers lie in shared memory. */
  stats(): ModelStats {
    return this.#engine.stats();
  }

  /**
   * Continues text, token ids or a conversation; it starts at once. Text is continued raw: BOS as the file says,
   * special tokens are plain text unless `special`. Messages go through the model's chat template. With `schema` the
   * answer is JSON that it accepts, and the result has its value. Whatever is wrong is told by the generation: its
   * iteration throws and its result rejects.
   */
  generate<Schema = unknown>(
    prompt: Prompt,
    options: GenerateOptions & { readonly schema?: Schema } = {},
  ): Generation<JsonOf<Schema>> {
    return this.#start(prompt, options, {}) as Generation<JsonOf<Schema>>;
  }

  /** A conversation that keeps its history. */
  chat(options: ChatOptions = {}): Chat {
    const start: StartGeneration = (messages, merged, hooks) => this.#start(messages, merged, hooks);
    return new Conversation(start, options);
  }

  /** Token ids of a text, or of a conversation as the chat template writes it. */
  async tokenize(text: string | readonly ChatMessage[], options: TokenizeOptions = {}): Promise<Int32Array> {
    this.#checkOpen();
    throwIfAborted(options.signal);
    const { special = false, addSpecial = true, signal } = options;
    if (typeof text !== "string") return await this.#encodeMessages(text, options, signal);
    return await this.#text.encode({ kind: "text", text, special, addSpecial }, signal);
  }

  /** Bytes of one token's text, maybe a part of a character; empty for an id outside the vocabulary. */
  tokenBytes(token: number): Uint8Array {
    return this.#tokenizer.vocab.bytesOf(token).slice();
  }

  /** Text of token ids; bytes that are no characters become U+FFFD. */
  async detokenize(tokens: ArrayLike<number>, options: { signal?: AbortSignal } = {}): Promise<string> {
    this.#checkOpen();
    throwIfAborted(options.signal);
    return await decodeInTurns(tokens, this.#tokenizer.vocab, options.signal);
  }

  /** The text that the chat template makes of a conversation. */
  async applyTemplate(messages: readonly ChatMessage[], options: TemplateOptions = {}): Promise<string> {
    this.#checkOpen();
    throwIfAborted(options.signal);
    const { addGenerationPrompt = true, templateValues: variables, signal } = options;
    return await this.#text.render(messages, {
      addGenerationPrompt,
      tools: checkTools(options.tools),
      variables: checkValues(variables),
    }, signal);
  }

  /** A sequence driven synchronously in this thread. Model.close() closes it too. */
  session(options: SessionOptions = {}): Session {
    this.#checkOpen();
    const { info } = this.#opened;
    const contextSize = checkNumber("contextSize", options.contextSize) ?? info.contextSize;
    if (contextSize > info.contextLength) {
      throw new RealizarError(
        "ARG",
        `contextSize: got ${contextSize}, the model was made for at most ${info.contextLength}`,
      );
    }
    const maxTokens = Math.min(checkNumber("maxBatch", options.maxBatch) ?? SESSION_BATCH, contextSize);
    const library = openLibrary(this.#opened.libraryPath);
    const { pageTokens } = engineFacts(library, this.#opened.handles.engine);
    const watched = (options.watch ?? []).map((name) => {
      const value = this.#values.named.find((one) => one.name === name);
      if (value === undefined) throw new RealizarError("ARG", `watch: the model has no value ${JSON.stringify(name)}`);
      return value;
    });
    const session = new OpenSession({
      library,
      model: this.#opened,
      tokenizer: this.#tokenizer,
      plan: {
        maxTokens,
        maxSequences: 1,
        maxOuts: maxTokens,
        deterministic: false,
        profile: options.profile ?? false,
        watched: watched.map(({ id }) => id),
      },
      cache: { kvDtype: info.kvDtype, maxSequences: 1, contextSize, pageTokens },
      watched,
      expertsPerToken: watched.length === 0 ? 0 : this.#values.expertsPerToken,
    });
    this.#sessions.add(session);
    return session;
  }

  /** Names of all values of a forward pass, in the order in which they are made: `layers.3.ffn_down`. */
  valueNames(): string[] {
    return this.#values.named.map(({ name }) => name);
  }

  /**
   * Computes tokens (up to 4,096) and looks at every value on the way: the first one that is not finite, out of range
   * or unlike the other model's, in the order of the plan; undefined when all are fine. Runs in this thread, in
   * sessions of its own: nothing else becomes slower. Watched values are computed one by one, not joined with others.
   */
  watch(tokens: ArrayLike<number>, options: WatchOptions = {}): WatchFinding | undefined {
    return watchValues(this, tokens, options);
  }

  /** Ends running generations, closes sessions, frees everything. May be called again. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const session of this.#sessions) session.close();
    this.#sessions.clear();
    await Promise.all([this.#engine.close(), this.#text.close()]);
  }

  /** {@linkcode Model.close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The values of the plan with their names. */
  get #values(): NamedValues {
    return this.#namedValues ??= readNamedValues(this.#opened.plan.bytes, this.#opened.plan.weightNames);
  }

  #checkOpen(): void {
    if (this.#closed) throw new RealizarError("CLOSED", "the model was closed");
  }

  #start(prompt: Prompt, options: GenerateOptions, hooks: Parameters<StartGeneration>[2]): Generation {
    return new RunningGeneration({
      client: this.#engine,
      signal: options.signal,
      prepare: async (signal) => {
        if (hooks.refusal !== undefined) throw hooks.refusal;
        this.#checkOpen();
        const request = checkGenerate(options, this.#opened.sampling, this.info.vocabSize);
        const tokens = await this.#encode(prompt, options, signal);
        this.#marks ??= answerMarksOf(this.#tokenizer.vocab);
        const { grammar: source, ...plan } = planAnswer(
          options,
          isMessages(prompt),
          tokens,
          this.#tokenizer.vocab,
          this.#marks,
        );
        const compile = (one: GrammarSource): Promise<WireGrammar> => this.#text.compile(one, signal);
        const grammar = source === undefined ? undefined : await compileAnswer(source, options.tools, compile);
        return { ...request, ...plan, grammar, tokens };
      },
      json: options.schema !== undefined,
      ...(hooks.onEnd === undefined ? {} : { onEnd: hooks.onEnd }),
    });
  }

  #encodeMessages(
    messages: readonly ChatMessage[],
    { tools, templateValues }: TokenizeOptions,
    signal: AbortSignal | undefined,
  ): Promise<Int32Array> {
    const options = { tools: checkTools(tools), variables: checkValues(templateValues) };
    return this.#text.encode({ kind: "messages", messages, options }, signal);
  }

  async #encode(prompt: Prompt, options: GenerateOptions, signal: AbortSignal): Promise<Int32Array> {
    if (typeof prompt === "string") {
      return await this.#text.encode({
        kind: "text",
        text: prompt,
        special: options.special ?? false,
        addSpecial: true,
      }, signal);
    }
    if (prompt.length === 0) throw new RealizarError("ARG", "prompt: got an empty list, expected tokens or messages");
    if (isMessages(prompt)) {
      const isOffered = options.toolChoice !== "none";
      return await this.#encodeMessages(prompt, isOffered ? options : { ...options, tools: undefined }, signal);
    }
    return checkTokens(prompt, this.info.vocabSize);
  }
}
