/** Answers whose JSON is long: written piece by piece, with a turn for others in between. */
import { Turns } from "../turns.ts";
import { jsonResponse } from "./errors.ts";

/** Elements from which on a list is long, and characters from which on a text is. */
const LONG = 500, LONG_TEXT = 1 << 18;
/** Characters of a piece. */
const PIECE_LENGTH = 1 << 15;

/** A list whose elements are made when they are written: each once, in their order. */
export class LongList {
  /** How many there are. */
  readonly length: number;
  readonly #at: (index: number) => unknown;

  constructor(length: number, at: (index: number) => unknown) {
    this.length = length;
    this.#at = at;
  }

  /** The elements. */
  *[Symbol.iterator](): Generator<unknown, void, undefined> {
    for (let i = 0; i < this.length; i++) yield this.#at(i);
  }

  /** The list for `JSON.stringify`. */
  toJSON(): unknown[] {
    return [...this];
  }
}

type Json = Readonly<Record<string, unknown>>;

function isList(value: unknown): value is LongList | readonly unknown[] {
  return Array.isArray(value) || value instanceof LongList;
}

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !isList(value);
}

/** Whether there is a long list or text in data. */
export function isLong(value: unknown): boolean {
  if (typeof value === "string") return value.length >= LONG_TEXT;
  if (isList(value)) return value.length >= LONG || (Array.isArray(value) && value.some(isLong));
  return isObject(value) && Object.values(value).some(isLong);
}

/** The JSON of data in small pieces. */
function* tokensOf(value: unknown): Generator<string, void, undefined> {
  if (isList(value)) {
    const isShort = value.length < LONG;
    let before = "[";
    for (const one of value) {
      yield before;
      if (isShort) yield* tokensOf(one);
      else yield JSON.stringify(one) ?? "null";
      before = ",";
    }
    yield before === "[" ? "[]" : "]";
  } else if (isObject(value)) {
    let before = "{";
    for (const [name, one] of Object.entries(value)) {
      if (one === undefined) continue;
      yield `${before}${JSON.stringify(name)}:`;
      yield* tokensOf(one);
      before = ",";
    }
    yield before === "{" ? "{}" : "}";
  } else if (typeof value === "string" && value.length > PIECE_LENGTH) {
    yield '"';
    // A pair of surrogates that is cut is written as two escapes.
    for (let i = 0; i < value.length; i += PIECE_LENGTH) {
      yield JSON.stringify(value.slice(i, i + PIECE_LENGTH)).slice(1, -1);
    }
    yield '"';
  } else yield JSON.stringify(value) ?? "null";
}

/** The JSON of data in pieces of some size; others have their turn between two when it is time. */
export async function* jsonPieces(data: unknown): AsyncGenerator<string, void, undefined> {
  const turns = new Turns();
  let piece = "";
  for (const token of tokensOf(data)) {
    piece += token;
    if (turns.isOver) await turns.pass();
    if (piece.length < PIECE_LENGTH) continue;
    yield piece;
    piece = "";
  }
  yield piece;
}

/** An answer with data; where there is a long list or text in it, its body comes in pieces. */
export function answerWith(data: unknown): Response {
  if (!isLong(data)) return jsonResponse(data);
  const pieces = jsonPieces(data), utf8 = new TextEncoder();
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await pieces.next();
      if (done === true) controller.close();
      else controller.enqueue(utf8.encode(value));
    },
    async cancel() {
      await pieces.return(undefined);
    },
  }, { highWaterMark: 0 });
  return new Response(body, { headers: { "content-type": "application/json" } });
}
