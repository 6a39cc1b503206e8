/** Splitting what a model writes into text, reasoning and calls of tools, as it comes. */
import { CallScanner } from "../text/tools/call_scanner.ts";
import { XmlCallScanner } from "../text/tools/xml_call_scanner.ts";
import type { ReasoningMarks, ToolFormat } from "../text/tools/formats.ts";
import { firstMark, possibleStart, SPACES_HELD_MAX, withoutSpaces } from "../text/tools/marks.ts";
import { AnswerParts } from "./answer_parts.ts";
import type { Answer, AnswerPart, PartLogprob } from "../types.ts";

/** How an answer is read. */
export interface AnswerOptions {
  /** How calls are written; undefined = nothing is a call. */
  readonly format: ToolFormat | undefined;
  /** Tools that may be called, with the schemas of their arguments; what names another one is text. */
  readonly tools: ReadonlyMap<string, Readonly<Record<string, unknown>>>;
  /** Marks of reasoning; undefined = nothing is reasoning. */
  readonly reasoning: ReasoningMarks | undefined;
  /** The prompt opened the reasoning already. */
  readonly startsInReasoning: boolean;
  /** The answer ends with its first call. */
  readonly single: boolean;
  /** A new id for a call. */
  makeId(): string;
}

/**
 * Reads one answer. Text goes in by {@linkcode AnswerReader.push} in pieces of any size, parts come out at once; only
 * what may be the beginning of a mark waits. White space around marks belongs to them. What is no call in the end is
 * text again, and so are marks in the middle of text: nothing gets lost.
 */
export class AnswerReader {
  readonly #options: AnswerOptions;
  readonly #callMarks: readonly string[];
  /**
   * `between`: where reasoning or a call may begin, at the very start and after each of them. `text` ends only with the
   * mark of a call.
   */
  #state: "between" | "text" | "reasoning" | "call" = "between";
  /** Nothing but white space came so far. */
  #fresh = true;
  /** Text that is not decided upon. */
  #buffer = "";
  /** In a call: how much of the buffer its scanner has seen. */
  #scanned = 0;
  #call: CallScanner | XmlCallScanner | undefined;
  #inList = false;
  #certain = false;
  /** In a certain call: what came after its last known argument. */
  #tail = "";
  #done = false;
  /** Reasoning was opened, and nothing of it has come. */
  #opening = true;
  readonly #parts = new AnswerParts();
  /** Characters decided upon, and log-probabilities of tokens that end later: `at` is their last character. */
  #at = 0;
  #logprobs: { at: number; logprob: PartLogprob }[] = [];

  constructor(options: AnswerOptions) {
    this.#options = options;
    this.#callMarks = options.format?.begins ?? [];
    if (options.startsInReasoning && options.reasoning !== undefined) this.#state = "reasoning";
  }

  /** The answer so far. */
  get answer(): Answer {
    return this.#parts.answer;
  }

  /** Whether nothing that comes counts any more: the one call there may be is complete. */
  get done(): boolean {
    return this.#done;
  }

  /** What a piece of text adds. The log-probabilities are those of the tokens that came with it. */
  push(text: string, logprobs: readonly PartLogprob[] = []): AnswerPart[] {
    if (this.#done) return [];
    this.#buffer += text;
    const at = this.#at + this.#buffer.length - 1;
    for (const logprob of logprobs) this.#logprobs.push({ at, logprob });
    this.#read(false);
    return this.#parts.take();
  }

  /** What was held back, when nothing more comes. */
  end(): AnswerPart[] {
    if (this.#done) return [];
    this.#read(true);
    if (this.#state === "text" || this.#fresh) {
      this.#parts.text(
        "",
        this.#logprobs.splice(0).map(({ logprob }) => logprob),
      );
    }
    return this.#parts.take();
  }

  #read(final: boolean): void {
    let goesOn = true;
    while (goesOn && !this.#done) {
      if (this.#state === "call") goesOn = this.#readCall(final);
      else if (this.#buffer === "") return;
      else if (this.#state === "text") goesOn = this.#readText(final);
      else if (this.#state === "reasoning") goesOn = this.#readReasoning(final);
      else goesOn = this.#readBetween(final);
    }
  }

  /** Takes n characters of the buffer; the tokens that end in them are gone, or the text's. */
  #consume(n: number): { text: string; logprobs: { at: number; logprob: PartLogprob }[] } {
    const text = this.#buffer.slice(0, n);
    this.#buffer = this.#buffer.slice(n);
    this.#at += n;
    const end = this.#logprobs.findIndex(({ at }) => at >= this.#at);
    return { text, logprobs: this.#logprobs.splice(0, end < 0 ? this.#logprobs.length : end) };
  }

  #toText(n: number): void {
    if (n === 0) return;
    const { text, logprobs } = this.#consume(n);
    this.#parts.text(text, logprobs.map(({ logprob }) => logprob));
  }

  /** Text up to the mark of a call. */
  #readText(final: boolean): boolean {
    const found = firstMark(this.#buffer, this.#callMarks);
    if (found !== undefined) {
      this.#toText(withoutSpaces(this.#buffer.slice(0, found.at)));
      this.#beginCall(this.#buffer.indexOf(found.mark) + found.mark.length);
      return true;
    }
    const { length } = this.#buffer;
    if (final || this.#callMarks.length === 0) this.#toText(length);
    else this.#toText(withoutSpaces(this.#buffer.slice(0, length - possibleStart(this.#buffer, this.#callMarks))));
    return false;
  }

  #readReasoning(final: boolean): boolean {
    const { open, close } = this.#options.reasoning!;
    if (this.#opening) {
      this.#consume(this.#buffer.length - this.#buffer.trimStart().length);
      // Some models open what the prompt has opened already.
      if (this.#buffer.startsWith(open)) this.#consume(open.length);
      else if (!final && open.startsWith(this.#buffer)) return false;
      else this.#opening = false;
      return true;
    }
    const at = this.#buffer.indexOf(close);
    if (at < 0 && final) {
      this.#parts.reasoning(this.#consume(this.#buffer.length).text);
      return false;
    }
    const known = this.#buffer.slice(0, at >= 0 ? at : this.#buffer.length - possibleStart(this.#buffer, [close]));
    const { text } = this.#consume(withoutSpaces(known));
    if (text !== "") this.#parts.reasoning(text);
    if (at < 0) return false;
    this.#consume(this.#buffer.indexOf(close) + close.length);
    this.#state = "between";
    this.#fresh = false;
    return true;
  }

  /** At the start, or after reasoning or a call: another one, or text. */
  #readBetween(final: boolean): boolean {
    const { format, reasoning } = this.#options;
    const rest = this.#buffer.trimStart();
    let space = this.#buffer.length - rest.length;
    // What a text begins with is its own; after reasoning and calls white space only stands between.
    if (!this.#fresh) {
      this.#consume(space);
      space = 0;
    } else if (space > SPACES_HELD_MAX) return this.#beginText();
    const afterCall = this.answer.toolCalls.length > 0;
    const opens = reasoning === undefined ? [] : [reasoning.open];
    const closers = afterCall ? [...format?.closers ?? [], ...(this.#inList ? ["]"] : [])] : [];
    const opened = opens.find((mark) => rest.startsWith(mark));
    const closed = closers.find((mark) => rest.startsWith(mark));
    const begun = this.#callMarks.find((mark) => rest.startsWith(mark));
    if (opened !== undefined) return this.#beginReasoning(space + opened.length);
    if (closed !== undefined) {
      if (closed === "]") this.#inList = false;
      this.#consume(closed.length);
      return true;
    }
    if (begun !== undefined) return this.#beginCall(space + begun.length);
    if (this.#inList && rest.startsWith(",")) return this.#beginCall(1);
    const bare = format?.bare !== true ? null : (afterCall ? /^[;,]?\s*(?=\{)/ : /^(?=\{)/).exec(rest);
    if (bare !== null) return this.#beginCall(space + bare[0].length, !afterCall);
    const mayBegin = [...opens, ...closers, ...this.#callMarks].some((mark) => mark.startsWith(rest)) ||
      (format?.bare === true && afterCall && rest.length <= SPACES_HELD_MAX && /^[;,]\s*$/.test(rest));
    return (mayBegin && !final) || this.#buffer === "" ? false : this.#beginText();
  }

  #beginText(): boolean {
    this.#state = "text";
    return true;
  }

  #beginReasoning(n: number): boolean {
    this.#consume(n);
    if (this.answer.reasoning !== "") this.#parts.reasoning("\n");
    this.#state = "reasoning";
    this.#opening = true;
    return true;
  }

  /** A call may begin after the next n characters. */
  #beginCall(n: number, strict = false): boolean {
    const { format, tools } = this.#options;
    this.#call = format!.elements
      ? new XmlCallScanner((name) => tools.get(name))
      : new CallScanner(format!, (name) => tools.has(name), { strict, inList: this.#inList });
    this.#scanned = n;
    this.#certain = false;
    this.#tail = "";
    this.#state = "call";
    return true;
  }

  #readCall(final: boolean): boolean {
    let json = "";
    for (; this.#scanned < this.#buffer.length; this.#scanned++) {
      const char = this.#buffer[this.#scanned]!;
      const news = this.#call!.push(char);
      if (news.kind === "tail") {
        this.#tail += char;
        continue;
      }
      if (news.kind === "head") continue;
      if (news.kind === "call") {
        this.#certain = true;
        this.#parts.call(this.#options.makeId(), news.name);
      }
      if (news.kind === "call" || news.kind === "arguments") {
        json += news.json;
        this.#tail = "";
        if (!news.ends) continue;
      }
      this.#parts.arguments(json);
      if (news.kind === "wrong") return this.#endWrong();
      return news.kind === "end" && news.again ? this.#endMisfit() : this.#endCall(this.#scanned + 1);
    }
    if (final && this.#certain) json += this.#call!.cut();
    this.#parts.arguments(json);
    if (this.#certain) {
      this.#consume(this.#scanned);
      this.#scanned = 0;
      if (final && json === "" && this.#tail.trim() !== "") this.#parts.text(this.#tail);
    } else if (final) {
      this.#state = "text";
      this.#toText(this.#buffer.length);
    }
    return false;
  }

  #endCall(n: number): boolean {
    this.#consume(n);
    this.#inList = this.#call!.inList;
    this.#fresh = false;
    this.#state = "between";
    this.#done = this.#options.single;
    return true;
  }

  /** The call is over without its wrapping; what there was of it, but white space, is text. */
  #endMisfit(): boolean {
    return this.#tail.trim() === "" ? this.#endCall(this.#scanned) : this.#endWrong();
  }

  /** What looked like a call is text; of one whose arguments broke off, only what follows them. */
  #endWrong(): boolean {
    this.#state = "text";
    this.#inList = false;
    this.#fresh = false;
    if (this.#certain) {
      this.#consume(this.#scanned);
      this.#parts.text(this.#tail);
    } else this.#toText(this.#scanned);
    return true;
  }
}
