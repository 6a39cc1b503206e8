/** Regular expressions of ECMAScript (with the flag `u`), as far as an automaton can honour them. */
import { RealizarError } from "../errors.ts";
import { type CodePointSet, complementOf, namedSet, unionOf } from "../text/code_points.ts";
import { type Budget, checkDepth } from "./budget.ts";

/** A parsed expression; `max` of a repetition is -1 for any number. */
export type RegexNode =
  | { readonly kind: "set"; readonly set: CodePointSet }
  | { readonly kind: "sequence" | "choice"; readonly items: readonly RegexNode[] }
  | { readonly kind: "repeat"; readonly item: RegexNode; readonly min: number; readonly max: number }
  | { readonly kind: "start" | "end" };

const DIGIT: CodePointSet = [0x30, 0x39];
const WORD: CodePointSet = [0x30, 0x39, 0x41, 0x5a, 0x5f, 0x5f, 0x61, 0x7a];
// deno-fmt-ignore
const WHITE_SPACE: CodePointSet = [
  0x09, 0x0d, 0x20, 0x20, 0xa0, 0xa0, 0x1680, 0x1680, 0x2000, 0x200a, 0x2028, 0x2029, 0x202f, 0x202f, 0x205f, 0x205f,
  0x3000, 0x3000, 0xfeff, 0xfeff,
];
const LINE_ENDS: CodePointSet = [0x0a, 0x0a, 0x0d, 0x0d, 0x2028, 0x2029];
const CLASSES: Readonly<Record<string, CodePointSet>> = { d: DIGIT, w: WORD, s: WHITE_SPACE };
const CONTROLS: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13 };
/** Repetitions above this are beyond any budget of states. */
const MAX_COUNT = 1_000_000;

class RegexParser {
  readonly #source: string;
  readonly #chars: readonly string[];
  readonly #budget: Budget;
  #at = 0;

  constructor(source: string, budget: Budget) {
    this.#source = source;
    this.#chars = Array.from(source);
    this.#budget = budget;
    budget.charge(this.#chars.length);
  }

  parse(): RegexNode {
    const node = this.#choice(0);
    if (this.#at < this.#chars.length) this.#fail("an unmatched )");
    return node;
  }

  #fail(what: string): never {
    throw new RealizarError("ARG", `pattern ${shown(this.#source)}: ${what} at character ${this.#at}`);
  }

  #unsupported(what: string): never {
    throw new RealizarError("UNSUPPORTED", `pattern ${shown(this.#source)}: ${what} cannot be an automaton`);
  }

  #take(text: string): boolean {
    for (let i = 0; i < text.length; i++) if (this.#chars[this.#at + i] !== text[i]) return false;
    this.#at += text.length;
    return true;
  }

  #next(): string {
    const char = this.#chars[this.#at++];
    if (char === undefined) this.#fail("an unexpected end");
    return char;
  }

  #choice(depth: number): RegexNode {
    checkDepth(depth, "groups of a pattern");
    const items = [this.#sequence(depth)];
    while (this.#take("|")) items.push(this.#sequence(depth));
    return items.length === 1 ? items[0]! : { kind: "choice", items };
  }

  #sequence(depth: number): RegexNode {
    const items: RegexNode[] = [];
    for (;;) {
      const char = this.#chars[this.#at];
      if (char === undefined || char === "|" || char === ")") return { kind: "sequence", items };
      this.#budget.charge();
      items.push(this.#quantified(this.#atom(depth)));
    }
  }

  #quantified(item: RegexNode): RegexNode {
    const count = this.#quantifier();
    if (count === undefined) return item;
    if (item.kind === "start" || item.kind === "end") this.#fail("nothing to repeat");
    this.#take("?"); // a lazy quantifier fits the same texts
    return { kind: "repeat", item, ...count };
  }

  #quantifier(): { min: number; max: number } | undefined {
    if (this.#take("*")) return { min: 0, max: -1 };
    if (this.#take("+")) return { min: 1, max: -1 };
    if (this.#take("?")) return { min: 0, max: 1 };
    if (!this.#take("{")) return undefined;
    let body = "";
    while (!this.#take("}")) body += this.#next();
    const parts = /^(\d+)(?:(,)(\d*))?$/.exec(body);
    if (parts === null) this.#fail(`a quantifier {${body.slice(0, 20)}} that is none,`);
    const min = Number(parts[1]);
    const max = parts[2] === undefined ? min : parts[3] === "" ? -1 : Number(parts[3]);
    if (max >= 0 && max < min) this.#fail("a quantifier out of order");
    if (Math.max(min, max) > MAX_COUNT) {
      throw new RealizarError("LIMIT", `pattern ${shown(this.#source)}: {${body}} is more than ${MAX_COUNT}`);
    }
    return { min, max };
  }

  #atom(depth: number): RegexNode {
    if (this.#take("(")) return this.#group(depth);
    if (this.#take("^")) return { kind: "start" };
    if (this.#take("$")) return { kind: "end" };
    return { kind: "set", set: this.#single() };
  }

  #group(depth: number): RegexNode {
    if (this.#take("?")) {
      if (this.#take("=") || this.#take("!") || this.#take("<=") || this.#take("<!")) this.#unsupported("a lookaround");
      if (this.#take("<")) {
        let name = "";
        while (!this.#take(">")) name += this.#next();
        if (!/^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(name)) this.#fail("a bad name of a group");
      } else if (!this.#take(":")) this.#unsupported("a group with flags");
    }
    const node = this.#choice(depth + 1);
    if (!this.#take(")")) this.#fail("an unclosed group");
    return node;
  }

  /** One class, escape or literal character outside of brackets. */
  #single(): CodePointSet {
    if (this.#take("[")) return this.#class();
    const char = this.#next();
    if (char === "\\") return this.#escape(false);
    if (char === ".") return complementOf(LINE_ENDS);
    if ("*+?{}]".includes(char)) this.#fail(`a ${char} that is not escaped`);
    return literal(char);
  }

  #escape(inClass: boolean): CodePointSet {
    const char = this.#next();
    const named = CLASSES[char.toLowerCase()];
    if (named !== undefined) return char === char.toLowerCase() ? named : complementOf(named);
    if (char === "b" && inClass) return [8, 8];
    if (char === "b" || char === "B") this.#unsupported("a word boundary");
    if (/[1-9k]/.test(char)) this.#unsupported("a back reference");
    if (char === "p" || char === "P") return this.#property(char === "P");
    if (char === "0") return [0, 0];
    const control = CONTROLS[char];
    if (control !== undefined) return [control, control];
    if (char === "c") {
      const code = this.#next().charCodeAt(0) & 31;
      return [code, code];
    }
    if (char === "x") return this.#code(2);
    if (char === "u") return this.#unicode();
    if (/[A-Za-z0-9]/.test(char)) this.#fail(`an unknown escape \\${char}`);
    return literal(char);
  }

  #code(nDigits: number): CodePointSet {
    let digits = "";
    for (let i = 0; i < nDigits; i++) digits += this.#next();
    if (!/^[0-9a-fA-F]+$/.test(digits)) this.#fail("bad hexadecimal digits");
    const code = parseInt(digits, 16);
    return [code, code];
  }

  #unicode(): CodePointSet {
    if (this.#take("{")) {
      let digits = "";
      while (!this.#take("}")) digits += this.#next();
      if (!/^0*[0-9a-fA-F]{1,6}$/.test(digits) || parseInt(digits, 16) > 0x10ffff) this.#fail("a bad code point");
      const code = parseInt(digits, 16);
      return [code, code];
    }
    const [high] = this.#code(4);
    if (high! < 0xd800 || high! > 0xdbff || !this.#take("\\u")) return [high!, high!];
    const [low] = this.#code(4);
    if (low! < 0xdc00 || low! > 0xdfff) this.#fail("half a surrogate pair");
    const code = 0x10000 + ((high! - 0xd800) << 10) + low! - 0xdc00;
    return [code, code];
  }

  #property(negated: boolean): CodePointSet {
    if (!this.#take("{")) this.#fail("a property without a name");
    let name = "";
    while (!this.#take("}")) name += this.#next();
    const short = name.replace(/^(gc|General_Category|sc|Script)=/, "");
    const set = /^[A-Z]/.test(short) ? namedSet(short) : undefined;
    if (set === undefined) this.#unsupported(`the property \\p{${name.slice(0, 40)}}`);
    return negated ? complementOf(set) : set;
  }

  /** The rest of a class whose `[` was read. */
  #class(): CodePointSet {
    const negated = this.#take("^");
    const sets: CodePointSet[] = [];
    while (!this.#take("]")) {
      this.#budget.charge();
      const low = this.#classAtom();
      if (this.#chars[this.#at] !== "-" || this.#chars[this.#at + 1] === "]") sets.push(low);
      else {
        this.#at++;
        const high = this.#classAtom();
        if (!isOne(low) || !isOne(high) || low[0]! > high[0]!) this.#fail("a bad range");
        sets.push([low[0]!, high[0]!]);
      }
    }
    const set = unionOf(sets);
    return negated ? complementOf(set) : set;
  }

  #classAtom(): CodePointSet {
    const char = this.#next();
    return char === "\\" ? this.#escape(true) : literal(char);
  }
}

function isOne(set: CodePointSet): boolean {
  return set.length === 2 && set[0] === set[1];
}

function literal(char: string): CodePointSet {
  const code = char.codePointAt(0)!;
  return [code, code];
}

function shown(source: string): string {
  return JSON.stringify(source.length > 60 ? `${source.slice(0, 60)}...` : source);
}

/** Parses an expression. Throws `ARG` when it is none, `UNSUPPORTED` for what no automaton can do, `LIMIT`. */
export function parseRegex(source: string, budget: Budget): RegexNode {
  return new RegexParser(source, budget).parse();
}
