/** Text to tokens and back, for one vocabulary. */
import { RealizarError } from "../errors.ts";
import { BpeEncoder } from "./bpe.ts";
import { Detokenizer } from "./detokenize.ts";
import { preTokenizerRow } from "./pretokenizer_table.ts";
import { SpecialMatcher } from "./special_trie.ts";
import { SpmEncoder } from "./spm.ts";
import { TokenBuffer } from "./token_buffer.ts";
import { TOKEN_TYPE } from "./token_type.ts";
import type { Vocab } from "./vocab.ts";

/** Longest text: its bytes must fit positions of 30 bits (merge_loop.ts). */
const MAX_TEXT_BYTES = 2 ** 29;
/** A fragment is copied before cutting only where it has something to remove or to normalize. */
const NON_ASCII = 0x80;

/** How to encode. */
export interface EncodeOptions {
  /**
   * True: texts of control tokens become those tokens. False (default): they are plain text; only user-defined tokens
   * are still recognized, as every tokenizer does.
   */
  readonly special?: boolean | undefined;
  /** Begin with the beginning-of-text token; default: what the vocabulary says. Nothing is added if it has none. */
  readonly addBos?: boolean | undefined;
  /** End with the end-of-text token; default: what the vocabulary says. */
  readonly addEos?: boolean | undefined;
  /** A character that breaks up special tokens in parts of the text (escape_special.ts); it is removed. */
  readonly escape?: string | undefined;
}

const PLAIN: readonly boolean[] = wantedTypes([TOKEN_TYPE.userDefined]);
const SPECIAL: readonly boolean[] = wantedTypes([TOKEN_TYPE.userDefined, TOKEN_TYPE.control, TOKEN_TYPE.unknown]);

function wantedTypes(types: readonly number[]): boolean[] {
  return Object.values(TOKEN_TYPE).map((type) => types.includes(type));
}

/** Appends the tokens of text without special tokens; `first` as in {@linkcode SpmEncoder.encode}. */
type FragmentEncoder = (bytes: Uint8Array, start: number, end: number, first: boolean, out: TokenBuffer) => void;

function fragmentEncoder({ tables }: Vocab): FragmentEncoder {
  if (tables.model === "llama") {
    const spm = new SpmEncoder(tables);
    return (bytes, start, end, first, out) => spm.encode(bytes, start, end, first, out);
  }
  const bpe = new BpeEncoder(tables);
  return (bytes, start, end, _first, out) => bpe.encode(bytes, start, end, out);
}

/** A tokenizer. Synchronous; has caches of its own: one per thread, over shared tables. */
export class Tokenizer {
  readonly vocab: Vocab;
  readonly #matcher: SpecialMatcher;
  readonly #nfc: boolean;
  /** Made at the first `encode`: a pre-tokenizer takes some milliseconds to build, and who only decodes needs none. */
  #encode: FragmentEncoder | undefined;
  readonly #utf8 = new TextEncoder();
  readonly #out = new TokenBuffer();

  constructor(vocab: Vocab) {
    const { tables } = vocab;
    this.vocab = vocab;
    this.#matcher = new SpecialMatcher(tables);
    this.#nfc = tables.model === "gpt2" && preTokenizerRow(tables.pre).nfc;
  }

  /**
   * Tokens of a text; the array is the caller's. Lone surrogates count as U+FFFD. Throws `LIMIT` for a text of more
   * than 512 MiB.
   */
  encode(text: string, options: EncodeOptions = {}): Int32Array<ArrayBuffer> {
    const { addBos, addEos, bosId, eosId } = this.vocab.tables;
    if (text.length > MAX_TEXT_BYTES / 3) {
      const limit = Math.floor(MAX_TEXT_BYTES / 3);
      throw new RealizarError("LIMIT", `the text has ${text.length} UTF-16 units; at most ${limit} can be encoded`);
    }
    const out = this.#out;
    out.clear();
    if ((options.addBos ?? addBos) && bosId !== undefined) out.push(bosId);
    this.#encodeText(this.#utf8.encode(text), options.special === true ? SPECIAL : PLAIN, options.escape);
    if ((options.addEos ?? addEos) && eosId !== undefined) out.push(eosId);
    return out.toArray();
  }

  /** Text of tokens; ids out of range are `ARG`. Control tokens are left out unless `special`. */
  decode(ids: Iterable<number>, options: { special?: boolean | undefined } = {}): string {
    const detokenizer = new Detokenizer(this.vocab, { special: options.special === true });
    let text = "";
    for (const id of ids) text += detokenizer.push(id);
    return text + detokenizer.flush();
  }

  #encodeText(bytes: Uint8Array, wanted: readonly boolean[], escape: string | undefined): void {
    const removed = escape === undefined ? undefined : this.#utf8.encode(escape);
    const end = bytes.length;
    let from = 0;
    let first = true;
    let at = 0;
    while ((at = this.#matcher.nextStart(bytes, at, end)) < end) {
      const token = this.#matcher.match(bytes, at, end, wanted);
      if (token < 0) {
        at++;
        continue;
      }
      this.#encodeFragment(bytes, from, at, first, removed);
      this.#out.push(token);
      const { pieceOffsets } = this.vocab.tables;
      at += pieceOffsets[token + 1]! - pieceOffsets[token]!;
      from = at;
      first = true;
    }
    this.#encodeFragment(bytes, from, end, first, removed);
  }

  /** Text between special tokens; `first` as in {@linkcode SpmEncoder.encode}. */
  #encodeFragment(
    bytes: Uint8Array,
    start: number,
    end: number,
    first: boolean,
    removed: Uint8Array | undefined,
  ): void {
    let text = bytes;
    if (removed !== undefined) {
      text = withoutBytes(bytes, start, end, removed);
      [start, end] = [0, text.length];
    }
    if (this.#nfc && !isAscii(text, start, end)) {
      text = this.#utf8.encode(
        new TextDecoder("utf-8", { ignoreBOM: true }).decode(text.subarray(start, end)).normalize("NFC"),
      );
      [start, end] = [0, text.length];
    }
    this.#encode ??= fragmentEncoder(this.vocab);
    this.#encode(text, start, end, first, this.#out);
  }
}

function isAscii(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    if (bytes[i]! >= NON_ASCII) return false;
  }
  return true;
}

/** `bytes[start ... end)` without every occurrence of `removed`. */
function withoutBytes(bytes: Uint8Array, start: number, end: number, removed: Uint8Array): Uint8Array {
  const kept = new Uint8Array(end - start);
  let n = 0;
  for (let i = start; i < end; i++) {
    let same = 0;
    while (same < removed.length && bytes[i + same] === removed[same]) same++;
    if (same === removed.length) i += removed.length - 1;
    else kept[n++] = bytes[i]!;
  }
  return kept.subarray(0, n);
}
