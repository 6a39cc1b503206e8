/**
 * Regular expressions of pre-tokenizers, parsed. JavaScript's own are not used: each runtime has another version of
 * Unicode, and backtracking over a megabyte of one letter can exhaust a stack. The subset is what the published
 * patterns need: literals, classes (nested, with `&&`), `\s \S \d \p{..} \P{..}`, groups, `(?i:...)`,
 * `* + ? {n} {n,m}`, and a lookahead of one class, `(?=...)` or `(?!...)`, and `$`.
 */
import { type CodePointSet, complementOf, intersectionOf, namedSet, unionOf } from "./code_points.ts";

/** A parsed pattern. */
export type PatternNode =
  | { readonly kind: "set"; readonly set: CodePointSet }
  | { readonly kind: "sequence"; readonly items: readonly PatternNode[] }
  | { readonly kind: "choice"; readonly items: readonly PatternNode[] }
  | { readonly kind: "repeat"; readonly item: PatternNode; readonly min: number; readonly max: number }
  /** Matches nothing, if the next code point is in the set, or if the text ends here and `end` is true. */
  | { readonly kind: "next"; readonly set: CodePointSet; readonly end: boolean };

/** Letters that fold to an ASCII letter beside its two cases. */
const FOLDED: Readonly<Record<string, number>> = { s: 0x17f, k: 0x212a };
const ESCAPES: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t" };

class PatternParser {
  readonly #chars: readonly string[];
  #at = 0;
  #ignoreCase = false;

  constructor(pattern: string) {
    this.#chars = [...pattern];
  }

  parse(): PatternNode {
    const node = this.#choice();
    if (this.#at < this.#chars.length) this.#fail("an unmatched )");
    return node;
  }

  #fail(what: string): never {
    throw new SyntaxError(`${what} at character ${this.#at} of the pattern ${this.#chars.join("")}`);
  }

  #peek(text: string): boolean {
    return this.#chars.slice(this.#at, this.#at + text.length).join("") === text;
  }

  #take(text: string): boolean {
    if (!this.#peek(text)) return false;
    this.#at += text.length;
    return true;
  }

  #next(): string {
    const char = this.#chars[this.#at++];
    if (char === undefined) this.#fail("an unexpected end");
    return char;
  }

  #choice(): PatternNode {
    const items = [this.#sequence()];
    while (this.#take("|")) items.push(this.#sequence());
    return items.length === 1 ? items[0]! : { kind: "choice", items };
  }

  #sequence(): PatternNode {
    const items: PatternNode[] = [];
    while (this.#at < this.#chars.length && !this.#peek("|") && !this.#peek(")")) {
      items.push(this.#quantified(this.#atom()));
    }
    return items.length === 1 ? items[0]! : { kind: "sequence", items };
  }

  #quantified(item: PatternNode): PatternNode {
    let min = 1;
    let max = 1;
    if (this.#take("*")) [min, max] = [0, Infinity];
    else if (this.#take("+")) [min, max] = [1, Infinity];
    else if (this.#take("?")) [min, max] = [0, 1];
    else if (this.#take("{")) {
      let body = "";
      while (!this.#take("}")) body += this.#next();
      const parts = /^(\d+)(,(\d*))?$/.exec(body);
      if (parts === null) this.#fail(`an unknown quantifier {${body}}`);
      min = Number(parts[1]);
      max = parts[2] === undefined ? min : parts[3] === "" ? Infinity : Number(parts[3]);
    } else return item;
    if (this.#peek("+") || this.#peek("?")) this.#fail("a possessive or lazy quantifier");
    return { kind: "repeat", item, min, max };
  }

  #atom(): PatternNode {
    if (this.#take("(?:")) return this.#group();
    if (this.#take("(?i:")) {
      const outer = this.#ignoreCase;
      this.#ignoreCase = true;
      const node = this.#group();
      this.#ignoreCase = outer;
      return node;
    }
    if (this.#take("(?!")) {
      // Nothing in the set follows: something outside it does, or the end.
      const set = this.#lookahead();
      return { kind: "next", set: complementOf(set), end: true };
    }
    if (this.#take("(?=")) return { kind: "next", set: this.#lookahead(), end: false };
    if (this.#peek("(?")) this.#fail("an unknown kind of group");
    if (this.#take("(")) return this.#group();
    if (this.#take("$")) return { kind: "next", set: [0x0a, 0x0a], end: true };
    return { kind: "set", set: this.#singleSet() };
  }

  #group(): PatternNode {
    const node = this.#choice();
    if (!this.#take(")")) this.#fail("an unclosed group");
    return node;
  }

  #lookahead(): CodePointSet {
    const node = this.#group();
    if (node.kind !== "set") this.#fail("a lookahead of more than one class");
    return node.set;
  }

  /** One class, escape or literal character. */
  #singleSet(): CodePointSet {
    if (this.#take("[")) return this.#class();
    const char = this.#next();
    if (char === "\\") return this.#escape();
    if (char === ".") return complementOf([0x0a, 0x0a]);
    if ("*+?{".includes(char)) this.#fail(`nothing to repeat before ${char}`);
    return this.#literal(char);
  }

  #literal(char: string): CodePointSet {
    const code = char.codePointAt(0)!;
    const lower = char.toLowerCase();
    if (!this.#ignoreCase || !/^[a-z]$/.test(lower)) return [code, code];
    const codes = [lower.codePointAt(0)!, lower.toUpperCase().codePointAt(0)!, FOLDED[lower] ?? code];
    return unionOf(codes.map((each) => [each, each]));
  }

  /** What follows a backslash. */
  #escape(): CodePointSet {
    const char = this.#next();
    if (char === "s" || char === "d") return namedSet(char)!;
    if (char === "S" || char === "D") return complementOf(namedSet(char.toLowerCase())!);
    if (char === "p" || char === "P") {
      let name = "";
      if (!this.#take("{")) this.#fail("a property without a name");
      while (!this.#take("}")) name += this.#next();
      const set = namedSet(name);
      if (set === undefined) this.#fail(`an unknown property ${name}`);
      return char === "p" ? set : complementOf(set);
    }
    if (/[a-zA-Z0-9]/.test(char) && ESCAPES[char] === undefined) this.#fail(`an unknown escape \\${char}`);
    return this.#literal(ESCAPES[char] ?? char);
  }

  /** The rest of a class whose `[` was read. */
  #class(): CodePointSet {
    const negated = this.#take("^");
    let set: CodePointSet | undefined;
    do {
      const part = this.#classUnion();
      set = set === undefined ? part : intersectionOf(set, part);
    } while (this.#take("&&"));
    if (!this.#take("]")) this.#fail("an unclosed class");
    return negated ? complementOf(set) : set;
  }

  #classUnion(): CodePointSet {
    const sets: CodePointSet[] = [];
    while (!this.#peek("]") && !this.#peek("&&")) {
      const low = this.#singleSetInClass();
      const isRange = low.length === 2 && low[0] === low[1] && this.#peek("-") && this.#chars[this.#at + 1] !== "]";
      if (!isRange) {
        sets.push(low);
        continue;
      }
      this.#at++;
      const high = this.#singleSetInClass();
      if (high.length !== 2 || high[0] !== high[1] || high[0]! < low[0]!) this.#fail("a bad range");
      sets.push([low[0]!, high[0]!]);
    }
    return unionOf(sets);
  }

  #singleSetInClass(): CodePointSet {
    if (this.#take("[")) return this.#class();
    const char = this.#next();
    return char === "\\" ? this.#escape() : this.#literal(char);
  }
}

/** Parses a pattern of the subset; throws a SyntaxError that names what is outside it. */
export function parsePattern(pattern: string): PatternNode {
  return new PatternParser(pattern).parse();
}
