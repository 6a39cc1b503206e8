/** What the tests of grammars share: vocabularies, random walks through masks, acceptance byte by byte, a validator. */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import type { GrammarSource } from "../src/conversation.ts";
import { RealizarError } from "../src/errors.ts";
import { compileGrammar } from "../src/grammar/compile.ts";
import { createConstraint } from "../src/grammar/constraint.ts";
import type { Constraint, WireGrammar } from "../src/grammar/wire.ts";
import { Vocab } from "../src/text/vocab.ts";
import { inRoot } from "./support.ts";
import { smallSpmSource } from "./text_support.ts";

/** Ids of a SentencePiece vocabulary: the end of a text, and the token of byte 0. */
export const END = 2;
const BYTE_0 = 3;

/** A vocabulary of the 256 bytes alone. */
export const BYTES: Vocab = Vocab.build(smallSpmSource([]));

/** Pieces that lie across the joints of JSON: ends of strings with what follows, several brackets, parts of words. */
// deno-fmt-ignore
const PIECES = [
  '{"', '":', '": ', '","', '", "', '"}', '"},', "}}", "]}", "}]", "]]", "[[", '["', '"]', '{}', "[]", ", ", ": ",
  '"\n', '",\n', "{\n", "\n ", "\n  ", "  ", "    ", '\\"', "\\\\", "\\u", "\\n", 'a"', 'b":', "ab", "abc", "abcd",
  "a\\", "true", "true,", "false}", "null]", "nu", "12", "123", "1.5", "-1", "0.", "e5", "12}", "3,", "é", "éa", "日本",
  '日"', "😀", "name", 'name"', '"name":', "id", "kind", "red", 'red"', "green", "2024", "-01", "T1", "<t", "<tool>",
  "tool>{", "x<tool>", "l>",
];

/** The same with pieces of several bytes, many of them across the joints of JSON. */
export const PIECEWISE: Vocab = Vocab.build(smallSpmSource(PIECES.map((piece) => piece.replaceAll(" ", "▁"))));

/** Numbers from 0 to 1, the same for the same seed. */
export function randomOf(seed: number): () => number {
  let state = (seed * 2654435769) >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32;
  };
}

/** Compiles with so much time that a busy machine cannot run out of it. */
export function compile(source: GrammarSource): WireGrammar {
  return compileGrammar(source, 60_000);
}

/** The allowed tokens, ascending. */
export function allowedTokens(constraint: Constraint, vocab: Vocab): number[] {
  const mask = new Uint32Array(Math.ceil(vocab.size / 32));
  const all = Array.from({ length: vocab.size }, (_, id) => id);
  if (!constraint.fill(mask)) return all;
  return all.filter((id) => ((mask[id >> 5]! >>> (id & 31)) & 1) === 1);
}

/** Whether one token is allowed. */
export function allows(constraint: Constraint, vocab: Vocab, token: number): boolean {
  const mask = new Uint32Array(Math.ceil(vocab.size / 32));
  return !constraint.fill(mask) || ((mask[token >> 5]! >>> (token & 31)) & 1) === 1;
}

/** What a random walk came to. */
export interface Walk {
  /** Whether it took the end of the text. */
  readonly ended: boolean;
  readonly bytes: Uint8Array;
  readonly tokens: readonly number[];
}

/**
 * A walk of random allowed tokens. After `patience` tokens it prefers the end, and tokens that close something, so that
 * it comes to an end.
 */
export function randomWalk(grammar: WireGrammar, vocab: Vocab, seed: number, patience = 60, limit = 2000): Walk {
  const random = randomOf(seed);
  const constraint = createConstraint(grammar, vocab.tables);
  const bytes: number[] = [], tokens: number[] = [];
  for (let n = 0; n < limit; n++) {
    const allowed = allowedTokens(constraint, vocab);
    if (allowed.length === 0) throw new Error(`a dead end after ${textOf(bytes)}`);
    let from = allowed;
    if (n >= patience && allowed.includes(END)) from = [END];
    else if (n >= patience) {
      const closing = allowed.filter((id) => /^["\]}]+$/.test(vocab.textOf(id)));
      if (closing.length > 0) from = closing;
    }
    const token = from[Math.floor(random() * from.length)]!;
    if (token === END) return { ended: true, bytes: Uint8Array.from(bytes), tokens };
    constraint.accept(token);
    tokens.push(token);
    bytes.push(...vocab.bytesOf(token));
  }
  return { ended: false, bytes: Uint8Array.from(bytes), tokens };
}

/** Bytes as text; throws for bytes that are not UTF-8. */
export function textOf(bytes: ArrayLike<number>): string {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
}

/**
 * Where a grammar refuses a text, byte by byte: the index of the first byte that is not allowed, the length when only
 * the end is not, -1 when it accepts.
 */
export function refusedAt(grammar: WireGrammar, text: string | Uint8Array): number {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  const constraint = createConstraint(grammar, BYTES.tables);
  for (const [i, byte] of bytes.entries()) {
    if (!allows(constraint, BYTES, BYTE_0 + byte)) return i;
    constraint.accept(BYTE_0 + byte);
  }
  return allows(constraint, BYTES, END) ? -1 : bytes.length;
}

/** The error that compiling a grammar throws. */
export function refusalOf(source: GrammarSource): RealizarError {
  try {
    compile(source);
  } catch (error) {
    if (error instanceof RealizarError) return error;
    throw error;
  }
  throw new Error(`compiled: ${JSON.stringify(source).slice(0, 200)}`);
}

const AJV = inRoot("tests", "schemas", "node_modules", "ajv", "dist", "2020.js");

/** Why schemas can't be judged here, or undefined. */
export const AJV_MISSING: string | undefined = existsSync(AJV)
  ? undefined
  : "not installed: npm ci --prefix tests/schemas";

interface Ajv {
  compile(schema: unknown): (value: unknown) => boolean;
}

let ajv: Ajv | undefined;
let nCompiled = 0;

function makeAjv(): Ajv {
  const require = createRequire(AJV);
  const { Ajv2020 } = require("ajv/dist/2020") as { Ajv2020: new (options: object) => Ajv };
  const { default: addFormats } = require("ajv-formats") as { default: (ajv: object) => void };
  const made = new Ajv2020({ strict: false, unicodeRegExp: true, logger: false });
  addFormats(made);
  return made;
}

/** A validator of a schema, by ajv with its formats. */
export function validatorOf(schema: unknown): (value: unknown) => boolean {
  ajv ??= makeAjv();
  // It keeps schemas by their $id: each gets one of its own.
  const named = typeof schema === "object" ? { ...schema, $id: `https://example.org/${nCompiled++}` } : schema;
  return ajv.compile(named);
}
