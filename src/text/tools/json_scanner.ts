/** Reading JSON that comes in pieces: whether it is JSON so far, and where a value ends. */

const SPACE = " \t\n\r";
const LITERALS = ["true", "false", "null"];
/** Arrays and objects inside each other, at most. */
const DEPTH_MAX = 128;

/** What a character did: it belongs to the value, it is its last one, or the text is no JSON. */
export type Scan = "more" | "end" | "wrong";

/** States of a number, as its grammar has them; those in NUMBER_ENDS may be its last. */
const NUMBER: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "": { "-": "-", "0": "0", d: "i" },
  "-": { "0": "0", d: "i" },
  "0": { ".": ".", e: "e" },
  i: { "0": "i", d: "i", ".": ".", e: "e" },
  ".": { "0": "f", d: "f" },
  f: { "0": "f", d: "f", e: "e" },
  e: { "+": "s", "-": "s", "0": "x", d: "x" },
  s: { "0": "x", d: "x" },
  x: { "0": "x", d: "x" },
};
const NUMBER_ENDS = "0ifx";

function numberClass(char: string): string {
  if (char >= "1" && char <= "9") return "d";
  return char === "E" ? "e" : char;
}

/**
 * One JSON value, character by character, by the standard's grammar; no recursion, and no more memory than the value's
 * depth. It may begin with white space. Only objects, arrays and strings have an end of their own; a number or literal
 * at the top is `wrong`.
 */
export class JsonScanner {
  /** Closing brackets that are still to come. */
  readonly #open: string[] = [];
  /** What may come next outside of strings and scalars. */
  #expects: "value" | "value or ]" | "key" | "key or }" | ":" | ", or end" = "value";
  /** In a string: undefined, "" or what is left of an escape: a backslash, or hexadecimal digits still to come. */
  #string: "text" | "\\" | 1 | 2 | 3 | 4 | undefined;
  #isKey = false;
  /** What is left of a literal. */
  #literal = "";
  /** State of a number; undefined outside. */
  #number: string | undefined;

  /** Takes the next character, a UTF-16 unit. After `end` or `wrong` the scanner is of no use. */
  push(char: string): Scan {
    if (this.#string !== undefined) return this.#inString(char);
    if (this.#literal !== "") {
      if (char !== this.#literal[0]) return "wrong";
      this.#literal = this.#literal.slice(1);
      return "more";
    }
    if (this.#number !== undefined) {
      const next = NUMBER[this.#number]![numberClass(char)];
      if (next !== undefined) {
        this.#number = next;
        return "more";
      }
      if (!NUMBER_ENDS.includes(this.#number)) return "wrong";
      this.#number = undefined;
    }
    return SPACE.includes(char) ? "more" : this.#structure(char);
  }

  #inString(char: string): Scan {
    if (this.#string === "text") {
      if (char === "\\") this.#string = "\\";
      else if (char < " ") return "wrong";
      else if (char === '"') {
        this.#string = undefined;
        if (this.#isKey) this.#expects = ":";
        else if (this.#open.length === 0) return "end";
      }
      return "more";
    }
    if (this.#string === "\\") {
      if (char === "u") this.#string = 4;
      else if ('"\\/bfnrt'.includes(char)) this.#string = "text";
      else return "wrong";
      return "more";
    }
    if (!/[0-9a-fA-F]/.test(char)) return "wrong";
    this.#string = this.#string === 1 ? "text" : (this.#string! - 1) as 1 | 2 | 3;
    return "more";
  }

  #structure(char: string): Scan {
    const expects = this.#expects;
    if (expects === ":") {
      this.#expects = "value";
      return char === ":" ? "more" : "wrong";
    }
    if (expects === ", or end") {
      if (char === ",") {
        this.#expects = this.#open.at(-1) === "}" ? "key" : "value";
        return "more";
      }
      return this.#close(char);
    }
    if (expects === "key" || expects === "key or }") {
      if (char === '"') return this.#openString(true);
      return expects === "key or }" ? this.#close(char) : "wrong";
    }
    if (expects === "value or ]" && char === "]") return this.#close(char);
    return this.#value(char);
  }

  #value(char: string): Scan {
    if (char === "{" || char === "[") {
      if (this.#open.length === DEPTH_MAX) return "wrong";
      this.#open.push(char === "{" ? "}" : "]");
      this.#expects = char === "{" ? "key or }" : "value or ]";
      return "more";
    }
    this.#expects = ", or end";
    if (char === '"') return this.#openString(false);
    if (this.#open.length === 0) return "wrong";
    const literal = LITERALS.find((one) => one[0] === char);
    if (literal !== undefined) this.#literal = literal.slice(1);
    else this.#number = NUMBER[""]![numberClass(char)];
    return literal === undefined && this.#number === undefined ? "wrong" : "more";
  }

  #openString(isKey: boolean): Scan {
    this.#string = "text";
    this.#isKey = isKey;
    if (!isKey) this.#expects = ", or end";
    return "more";
  }

  #close(char: string): Scan {
    if (char !== this.#open.at(-1)) return "wrong";
    this.#open.pop();
    this.#expects = ", or end";
    return this.#open.length === 0 ? "end" : "more";
  }
}
