/** Bodies that are parsed in pieces are what JSON.parse makes of them, or are refused as it refuses them. */
import { assert, assertEquals } from "@std/assert";
import { parsePieces } from "../src/server/json_pieces.ts";
import { JsonScan, PIECE_BYTES } from "../src/server/json_scan.ts";
import { Dice } from "./dice.ts";
import { ask, closeTinyModel, NAME, tinyHandler } from "./server_support.ts";
import { leakCheck, test } from "./support.ts";

const UTF8 = new TextEncoder();

/** A text parsed in pieces; its bytes come in chunks of `chunk`. Undefined when it is refused. */
async function parsed(text: string | Uint8Array, chunk = 10_000): Promise<{ value: unknown } | undefined> {
  const bytes = typeof text === "string" ? UTF8.encode(text) : text;
  const scan = new JsonScan(128);
  for (let at = 0; at < bytes.length; at += chunk) scan.push(bytes.subarray(at, at + chunk));
  try {
    return { value: await parsePieces(bytes, scan) };
  } catch (error) {
    assert(error instanceof SyntaxError || error instanceof TypeError, String(error));
    return undefined;
  }
}

function whole(text: string): { value: unknown } | undefined {
  try {
    return { value: JSON.parse(text.toWellFormed()) as unknown }; // as it is in UTF-8
  } catch {
    return undefined;
  }
}

const CHARACTERS = [
  "a",
  " ",
  "\\n",
  '\\"',
  "\\\\",
  "\\u0041",
  "\\ud83d\\ude00",
  "\\ud83d",
  "é",
  "中",
  "😀",
  "\\u00e9",
  "[",
  "}",
];
const SPACES = ["", "", "", " ", "\n", "\t\r "];

/** Random JSON text, right or a little wrong, of some depth. */
class Writer {
  readonly #dice: Dice;
  /** How long strings and lists may be. */
  readonly #size: number;

  constructor(seed: number, size: number) {
    this.#dice = new Dice(seed);
    this.#size = size;
  }

  #of<T>(all: readonly T[]): T {
    return all[this.#dice.roll(all.length)]!;
  }

  space(): string {
    return this.#of(SPACES);
  }

  string(): string {
    const n = this.#dice.once(12) ? this.#dice.roll(this.#size) : this.#dice.roll(12);
    const repeated = this.#of(CHARACTERS).repeat(n);
    return `"${repeated}${Array.from({ length: this.#dice.roll(9) }, () => this.#of(CHARACTERS)).join("")}"`;
  }

  value(depth: number): string {
    const kind = this.#dice.roll(depth > 5 ? 4 : 7);
    if (kind === 0) return this.#of(["1", "-0.5e3", "true", "false", "null", "12345678901234567890"]);
    if (kind < 4) return this.string();
    const n = this.#dice.once(6) ? this.#dice.roll(24) : this.#dice.roll(5);
    const members = Array.from({ length: n }, () => {
      const name = this.#dice.once(9) ? '"__proto__"' : this.#dice.once(4) ? '"same"' : this.string();
      const value = `${this.space()}${this.value(depth + 1)}${this.space()}`;
      return kind === 4 ? `${this.space()}${name}${this.space()}:${value}` : value;
    });
    return kind === 4 ? `{${members.join(",") || this.space()}}` : `[${members.join(",") || this.space()}]`;
  }

  /** A text with a byte more, less or another one. */
  broken(text: string): string {
    const at = this.#dice.roll(text.length), sign = this.#of([...',:[]{}"\\ 1x']);
    return text.slice(0, at) + (this.#dice.once(3) ? "" : sign) + text.slice(at + this.#dice.roll(2));
  }
}

test("json: random texts, right and wrong ones, are what the runtime's parser makes of them", async () => {
  let nRight = 0, nWrong = 0, nLarge = 0;
  for (let seed = 1; seed <= 24; seed++) {
    const writer = new Writer(seed, 5_000);
    let text = writer.value(0);
    while (text.length < 2 * PIECE_BYTES) text = `[${text},${writer.value(1)},{"k${seed}":${writer.value(2)}}]`;
    const scan = new JsonScan(1000);
    scan.push(UTF8.encode(text));
    if (scan.depth > 120) continue;
    nLarge += scan.large.size;
    for (const one of [text, writer.broken(text), ` ${writer.broken(writer.broken(text))}\n`]) {
      const expected = whole(one), got = await parsed(one, 97 + 997 * (seed % 7));
      // Wrong nesting may close more or less than the parser gets to see.
      assertEquals(got === undefined, expected === undefined, `seed ${seed}`);
      if (got === undefined || expected === undefined) nWrong++;
      else {
        assertEquals(JSON.stringify(got.value), JSON.stringify(expected.value), `seed ${seed}`);
        nRight++;
      }
    }
  }
  assert(nRight > 24 && nWrong > 12 && nLarge > 30, `${nRight} right, ${nWrong} wrong, ${nLarge} large`);
});

test("json: long strings are cut between characters and escapes, wherever those stand", async () => {
  for (const unit of ["\\u00e9", "\\\\", '\\"', "é", "😀", "\\ud83d\\ude00", "a\\n", "\\\\u0041", "\\\\\\u0041"]) {
    for (let shift = 0; shift < 8; shift++) {
      const text = `{"${"x".repeat(shift)}":"${"y".repeat(shift)}${
        unit.repeat(Math.ceil(2.2 * PIECE_BYTES / unit.length))
      }"}`;
      assertEquals(JSON.stringify((await parsed(text))?.value), JSON.stringify(JSON.parse(text)), `${unit}, ${shift}`);
    }
  }
});

test("json: names that mean something to JavaScript are members like others", async () => {
  const filler = `"${"z".repeat(PIECE_BYTES)}"`;
  const text = `{"__proto__":{"a":1},"constructor":2,"x":${filler},"__proto__":${filler},"toString":null}`;
  const { value } = (await parsed(text))!;
  assertEquals(Object.keys(value as object), Object.keys(JSON.parse(text) as object));
  assertEquals(Object.getPrototypeOf(value), Object.prototype);
});

test("json: what is no JSON or no UTF-8 is refused, and so is what would take for ever", async () => {
  const long = `"${"a".repeat(PIECE_BYTES)}"`, many = Array(40_000).fill("1").join(",");
  const wrong = [
    `[${many},]`,
    `[,${many}]`,
    `[${many}`,
    `[${many}}`,
    `[${many}]]`,
    `[${many}] 1`,
    `[${long},,${long}]`,
    `[${long}${long}]`,
    `[${long} ${long}]`,
    `{"a":${long},}`,
    `{"a":${long} "b":1}`,
    `{${long}}`,
    `{${long}:}`,
    `{"a" ${long}}`,
    `{1:${long}}`,
    `[${long.slice(0, -1)}\\"]`,
    `[${long.slice(0, -1)}\n"]`,
    `[${"1".repeat(PIECE_BYTES + 1)},${many}]`,
    `{"a"${" ".repeat(PIECE_BYTES + 1)}:1,"b":${long}}`,
    `{"a":${" ".repeat(PIECE_BYTES + 1)}1,"b":${long}}`,
    `${many}`,
  ];
  for (const text of wrong) assertEquals(await parsed(text), undefined, `${text.slice(0, 12)}...${text.slice(-12)}`);
  for (const bytes of [[0xff], [0xc3], [0xed, 0xa0, 0x80]]) {
    const text = Uint8Array.from([...UTF8.encode(`[${many},"`), ...bytes, ...UTF8.encode(`",${many}]`)]);
    assertEquals(await parsed(text), undefined, String(bytes));
  }
  const space = " \n".repeat(PIECE_BYTES);
  assertEquals((await parsed(`${space}[${space}${long}${space},1${space}]${space}`))?.value, JSON.parse(`[${long},1]`));
  const marked = Uint8Array.from([0xef, 0xbb, 0xbf, ...UTF8.encode(`[${many}]`)]);
  assertEquals((await parsed(marked))?.value, JSON.parse(`[${many}]`), "a mark in front is none of it");
});

test("server: a body of too many values is 413; one that is large as such is answered", async () => {
  const handler = await tinyHandler({ limits: { jsonValues: 100 } });
  const many = { model: NAME, prompt: Array(100).fill("a"), max_tokens: 1 };
  const { status, json } = await ask(handler, "/v1/completions", many);
  assertEquals([status, json.error.code], [413, "request_too_large"]);
  assertEquals((await ask(handler, "/v1/completions", { ...many, prompt: ["a", "b"] })).status, 200);
  const { status: numbers } = await ask(handler, "/detokenize", { tokens: Array(1100).fill(40) });
  assertEquals(numbers, 413);
  const usual = await tinyHandler();
  const text = "the rain ".repeat(100_000);
  const { json: tokens } = await ask(usual, "/tokenize", { prompt: text });
  assertEquals(tokens.count, tokens.tokens.length);
  const back = await ask(usual, "/detokenize", { tokens: tokens.tokens.slice(0, 200_000) });
  assert(back.json.prompt.length > 300_000 && text.startsWith(back.json.prompt));
});

test("the model is closed", closeTinyModel);

leakCheck();
