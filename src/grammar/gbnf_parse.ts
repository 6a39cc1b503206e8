/** GBNF, the grammar language of llama.cpp, as a tree. */
import { RealizarError } from "../errors.ts";
import { type CodePointSet, complementOf, unionOf } from "../text/code_points.ts";
import { type Budget, checkDepth } from "./budget.ts";

/** A parsed expression; `max` of a repetition is -1 for any number. */
export type GbnfNode =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "set"; readonly set: CodePointSet }
  | { readonly kind: "rule"; readonly name: string; readonly at: number }
  | { readonly kind: "sequence" | "choice"; readonly items: readonly GbnfNode[] }
  | { readonly kind: "repeat"; readonly item: GbnfNode; readonly min: number; readonly max: number };

/** The rules of a grammar by name, with where each begins. */
export type GbnfRules = ReadonlyMap<string, { readonly node: GbnfNode; readonly at: number }>;

const ESCAPES: Readonly<Record<string, string>> = {
  n: "\n",
  r: "\r",
  t: "\t",
  "\\": "\\",
  '"': '"',
  "[": "[",
  "]": "]",
};
const HEX_DIGITS: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };
const NAME = /[a-zA-Z0-9_-]*/y;
const ANY: CodePointSet = [0, 0x10ffff];
const MAX_COUNT = 1_000_000;

/** An error of a grammar's text, with line and column counted from 1. */
export function gbnfError(
  source: string,
  at: number,
  what: string,
  code: "ARG" | "UNSUPPORTED" = "ARG",
): RealizarError {
  const before = source.slice(0, at);
  const line = before.split("\n").length;
  const column = at - before.lastIndexOf("\n");
  return new RealizarError(code, `grammar, line ${line}, column ${column}: ${what}`);
}

class GbnfParser {
  readonly #source: string;
  readonly #budget: Budget;
  #at = 0;

  constructor(source: string, budget: Budget) {
    this.#source = source;
    this.#budget = budget;
  }

  parse(): GbnfRules {
    const rules = new Map<string, { node: GbnfNode; at: number }>();
    this.#space(true);
    while (this.#at < this.#source.length) {
      const at = this.#at;
      const name = this.#name();
      this.#space(false);
      if (!this.#take("::=")) this.#fail("expected ::=");
      this.#space(true);
      if (rules.has(name)) throw gbnfError(this.#source, at, `rule ${name} for the second time`);
      rules.set(name, { node: this.#choice(0), at });
      if (this.#at < this.#source.length && !/[\r\n]/.test(this.#source[this.#at]!)) {
        this.#fail("expected a line's end");
      }
      this.#space(true);
    }
    return rules;
  }

  #fail(what: string): never {
    const got = this.#at < this.#source.length ? JSON.stringify(this.#source[this.#at]) : "the end";
    throw gbnfError(this.#source, this.#at, `${what}, got ${got}`);
  }

  #take(text: string): boolean {
    if (!this.#source.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  /** Skips blanks and comments, and line ends where a rule goes on. */
  #space(lines: boolean): void {
    for (;;) {
      const char = this.#source[this.#at];
      if (char === " " || char === "\t" || (lines && (char === "\n" || char === "\r"))) this.#at++;
      else if (char === "#") {
        while (this.#at < this.#source.length && !/[\r\n]/.test(this.#source[this.#at]!)) this.#at++;
      } else return;
    }
  }

  #name(): string {
    NAME.lastIndex = this.#at;
    const name = NAME.exec(this.#source)![0];
    if (name === "") this.#fail("expected a rule's name");
    this.#at += name.length;
    return name;
  }

  #choice(depth: number): GbnfNode {
    checkDepth(depth, "groups of a grammar");
    const items = [this.#sequence(depth)];
    while (this.#take("|")) {
      this.#space(true);
      items.push(this.#sequence(depth));
    }
    return items.length === 1 ? items[0]! : { kind: "choice", items };
  }

  #sequence(depth: number): GbnfNode {
    const items: GbnfNode[] = [];
    for (;;) {
      this.#budget.charge();
      let item = this.#atom(depth);
      if (item === undefined) return { kind: "sequence", items };
      this.#space(depth > 0);
      for (let count = this.#quantifier(); count !== undefined; count = this.#quantifier()) {
        if (item.kind === "repeat") this.#fail("expected one repetition at a time");
        item = { kind: "repeat", item, ...count };
        this.#space(depth > 0);
      }
      items.push(item);
    }
  }

  #atom(depth: number): GbnfNode | undefined {
    const at = this.#at;
    const char = this.#source[at];
    if (char === '"') return { kind: "text", text: this.#text() };
    if (char === "[") return { kind: "set", set: this.#class() };
    if (this.#take(".")) return { kind: "set", set: ANY };
    if (this.#take("(")) {
      this.#space(true);
      const node = this.#choice(depth + 1);
      if (!this.#take(")")) this.#fail("expected )");
      return node;
    }
    if (char === "<" || char === "!") {
      throw gbnfError(this.#source, at, "tokens in grammars cannot be honoured", "UNSUPPORTED");
    }
    return char !== undefined && /[a-zA-Z0-9_-]/.test(char) ? { kind: "rule", name: this.#name(), at } : undefined;
  }

  #quantifier(): { min: number; max: number } | undefined {
    if (this.#take("*")) return { min: 0, max: -1 };
    if (this.#take("+")) return { min: 1, max: -1 };
    if (this.#take("?")) return { min: 0, max: 1 };
    if (this.#source[this.#at] !== "{") return undefined;
    const parts = /^\{\s*(\d{1,9})\s*(,?)\s*(\d{0,9})\s*\}/.exec(this.#source.slice(this.#at, this.#at + 64));
    if (parts === null || (parts[2] === "" && parts[3] !== "")) this.#fail("expected {m}, {m,} or {m,n}");
    const min = Number(parts[1]);
    const max = parts[2] === "" ? min : parts[3] === "" ? -1 : Number(parts[3]);
    if (max >= 0 && max < min) this.#fail(`${parts[0]} is out of order`);
    if (Math.max(min, max) > MAX_COUNT) {
      throw new RealizarError("LIMIT", `grammar: ${parts[0]} is more than ${MAX_COUNT}`);
    }
    this.#at += parts[0].length;
    return { min, max };
  }

  #text(): string {
    this.#at++;
    let text = "";
    while (!this.#take('"')) text += this.#character();
    return text;
  }

  /** One character, maybe escaped. */
  #character(): string {
    const code = this.#source.codePointAt(this.#at);
    if (code === undefined) this.#fail("expected a closing sign");
    const char = String.fromCodePoint(code);
    this.#at += char.length;
    if (char !== "\\") return char;
    const letter = this.#source[this.#at] ?? "";
    const nDigits = HEX_DIGITS[letter];
    if (nDigits !== undefined) {
      const digits = this.#source.slice(this.#at + 1, this.#at + 1 + nDigits);
      const value = parseInt(digits, 16);
      if (digits.length < nDigits || !/^[0-9a-fA-F]+$/.test(digits) || value > 0x10ffff) {
        this.#fail(`expected ${nDigits} hexadecimal digits of a character`);
      }
      this.#at += 1 + nDigits;
      return String.fromCodePoint(value);
    }
    const plain = ESCAPES[letter];
    if (plain === undefined) this.#fail("an unknown escape");
    this.#at++;
    return plain;
  }

  #class(): CodePointSet {
    this.#at++;
    const negated = this.#take("^");
    const ranges: CodePointSet[] = [];
    while (!this.#take("]")) {
      this.#budget.charge();
      const low = this.#character().codePointAt(0)!;
      const isRange = this.#source[this.#at] === "-" && this.#source[this.#at + 1] !== "]";
      if (isRange) this.#at++;
      const high = isRange ? this.#character().codePointAt(0)! : low;
      if (high < low) this.#fail("a range out of order");
      ranges.push([low, high]);
    }
    const set = unionOf(ranges);
    return negated ? complementOf(set) : set;
  }
}

/** Parses a grammar. Throws `ARG` or `UNSUPPORTED` with line and column, and `LIMIT`. */
export function parseGbnf(source: string, budget: Budget): GbnfRules {
  return new GbnfParser(source, budget).parse();
}
