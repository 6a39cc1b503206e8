/** One call of a tool, character by character, as far as it can be read. */
import { JsonScanner } from "./json_scanner.ts";
import type { ToolFormat } from "./formats.ts";

/** Characters of a call before its arguments, at most: more is no call. */
const HEAD_LENGTH_MAX = 1 << 16;
const NAME_LENGTH_MAX = 256;
const ARGUMENTS_KEYS = ["arguments", "parameters"];
/** Keys that some models write and nobody needs. */
const IGNORED_KEYS = ["id", "type"];

/** What a character did. */
export type CallNews =
  /** Nothing is known yet. */
  | { readonly kind: "head" }
  /** The call is certain; `json` is what is known of its arguments. */
  | { readonly kind: "call"; readonly name: string; readonly json: string; readonly ends: boolean }
  /** The arguments go on; `ends`: it is the call's last character. */
  | { readonly kind: "arguments"; readonly json: string; readonly ends: boolean }
  /** The character belongs to the call's wrapping. */
  | { readonly kind: "tail" }
  /** The call is over; the character belongs to it or, when `again`, has to be looked at again. */
  | { readonly kind: "end"; readonly again: boolean }
  /** The character does not fit: no call, or its arguments broke off. */
  | { readonly kind: "wrong" };

const HEAD: CallNews = { kind: "head" };
const TAIL: CallNews = { kind: "tail" };
const END: CallNews = { kind: "end", again: false };
const END_BEFORE: CallNews = { kind: "end", again: true };
const WRONG: CallNews = { kind: "wrong" };

function isSpace(char: string): boolean {
  return char === " " || char === "\n" || char === "\t" || char === "\r";
}

function isScalar(json: string): boolean {
  return /^(true|false|null|-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?)$/.test(json);
}

/** The JSON text of an object, which may be wrapped in a string as some models do; undefined for anything else. */
function objectText(json: string): string | undefined {
  try {
    const value = JSON.parse(json) as unknown;
    if (value === null) return "{}";
    if (typeof value === "string") return objectText(value);
    return typeof value === "object" && !Array.isArray(value) ? json : undefined;
  } catch {
    return undefined;
  }
}

/** Reads what follows the mark of a call. `accepts` says whether there is a tool of that name. */
export class CallScanner {
  readonly #format: ToolFormat;
  readonly #accepts: (name: string) => boolean;
  /** Whether an object needs arguments to be a call. */
  readonly #strict: boolean;
  #state: "open" | "name" | "key" | "in key" | "colon" | "value" | "in value" | "scalar" | "arguments" | "comma" =
    "open";
  #scanner = new JsonScanner();
  /** Where the call stands inside an array. */
  inList = false;
  #length = 0;
  /** Text of the name, key or value being read. */
  #text = "";
  #key = "";
  #name: string | undefined;
  /** Arguments that came before the name. */
  #early: string | undefined;
  #certain = false;
  /** Whether the call is an object with keys. */
  #isObject = true;
  #mayClose = true;

  constructor(
    format: ToolFormat,
    accepts: (name: string) => boolean,
    options: { strict?: boolean; inList?: boolean } = {},
  ) {
    this.#format = format;
    this.#accepts = accepts;
    this.#strict = options.strict === true;
    this.inList = options.inList === true;
  }

  /** Takes the next character. After `end` or `wrong` the scanner is of no use. */
  push(char: string): CallNews {
    if (!this.#certain && ++this.#length > HEAD_LENGTH_MAX) return WRONG;
    switch (this.#state) {
      case "open":
        return this.#open(char);
      case "name":
        return this.#bareName(char);
      case "key":
        return this.#beginKey(char);
      case "in key":
      case "in value":
        return this.#inside(char);
      case "colon":
        if (isSpace(char)) return this.#quiet();
        this.#state = "value";
        return char === ":" ? this.#quiet() : this.#misfit();
      case "value":
        return isSpace(char) ? this.#quiet() : this.#beginValue(char);
      case "scalar":
        return this.#scalar(char);
      case "arguments":
        return this.#inArguments(char);
      case "comma":
        return this.#comma(char);
    }
  }

  /** What is left of the arguments when nothing more comes: all of them were told. */
  cut(): string {
    return "";
  }

  #quiet(): CallNews {
    return this.#certain ? TAIL : HEAD;
  }

  /** After its arguments a call is one, whatever follows. */
  #misfit(): CallNews {
    return this.#certain ? END_BEFORE : WRONG;
  }

  #open(char: string): CallNews {
    if (isSpace(char)) return HEAD;
    if (char === "{") {
      this.#state = "key";
      return HEAD;
    }
    if (char === "[" && !this.inList) {
      this.inList = true;
      return HEAD;
    }
    if (this.#format.nameEnds.length === 0 || this.inList) return WRONG;
    this.#isObject = false;
    this.#state = "name";
    return this.#bareName(char);
  }

  #bareName(char: string): CallNews {
    this.#text += char;
    const { nameEnds, namePrefix, begins } = this.#format;
    const again = begins.find((begin) => this.#text === begin);
    if (again !== undefined) { // a list's mark, and then that of its first call
      this.#text = "";
      return HEAD;
    }
    const end = nameEnds.find((one) => this.#text.endsWith(one));
    if (end === undefined) return this.#text.length > NAME_LENGTH_MAX ? WRONG : HEAD;
    const whole = this.#text.slice(0, -end.length).replace(/\[CALL_ID\].*$/s, "").trim();
    this.#name = whole.startsWith(namePrefix) ? whole.slice(namePrefix.length) : whole;
    if (!this.#accepts(this.#name)) return WRONG;
    this.#state = "value";
    this.#key = ARGUMENTS_KEYS[0]!;
    return end === "{" ? this.#beginValue(char) : HEAD;
  }

  #beginKey(char: string): CallNews {
    if (isSpace(char)) return this.#quiet();
    if (char === "}" && this.#mayClose) return this.#close();
    if (char !== '"') return this.#misfit();
    this.#begin("in key", char);
    return this.#quiet();
  }

  #begin(state: "in key" | "in value", char: string): void {
    this.#state = state;
    this.#text = char;
    this.#scanner = new JsonScanner();
    this.#scanner.push(char);
  }

  #inside(char: string): CallNews {
    const scan = this.#scanner.push(char);
    if (scan === "wrong") return this.#misfit();
    this.#text += char;
    if (scan === "more") return this.#quiet();
    if (this.#state === "in value") return this.#took(this.#text);
    this.#key = JSON.parse(this.#text) as string;
    const isKnown = this.#key === "name" || IGNORED_KEYS.includes(this.#key) || ARGUMENTS_KEYS.includes(this.#key);
    this.#state = "colon";
    return isKnown ? this.#quiet() : this.#misfit();
  }

  #beginValue(char: string): CallNews {
    const isArguments = ARGUMENTS_KEYS.includes(this.#key);
    if (isArguments && (this.#certain || this.#early !== undefined)) return this.#misfit();
    if (isArguments && char === "{" && this.#name !== undefined) {
      this.#scanner = new JsonScanner();
      this.#scanner.push(char);
      this.#state = "arguments";
      this.#certain = true;
      return { kind: "call", name: this.#name, json: char, ends: false };
    }
    if (!this.#isObject) return WRONG;
    if (char === '"' || char === "{" || char === "[") this.#begin("in value", char);
    else {
      this.#state = "scalar";
      this.#text = char;
    }
    return this.#quiet();
  }

  #scalar(char: string): CallNews {
    if (char !== "," && char !== "}" && !isSpace(char)) {
      this.#text += char;
      return this.#text.length > NAME_LENGTH_MAX ? this.#misfit() : this.#quiet();
    }
    if (!isScalar(this.#text)) return this.#misfit();
    const taken = this.#took(this.#text);
    return taken.kind === "head" || taken.kind === "tail" ? this.#comma(char) : taken;
  }

  /** A whole value of the object. */
  #took(json: string): CallNews {
    this.#state = "comma";
    if (this.#key === "name") {
      if (this.#name !== undefined || !json.startsWith('"')) return this.#misfit();
      this.#name = JSON.parse(json) as string;
      return this.#accepts(this.#name) ? this.#quiet() : WRONG;
    }
    if (ARGUMENTS_KEYS.includes(this.#key)) {
      this.#early = objectText(json);
      if (this.#early === undefined) return WRONG;
    }
    return this.#quiet();
  }

  #inArguments(char: string): CallNews {
    const scan = this.#scanner.push(char);
    if (scan === "wrong") return WRONG;
    if (scan === "end") {
      if (!this.#isObject) return { kind: "arguments", json: char, ends: true };
      this.#state = "comma";
    }
    return { kind: "arguments", json: char, ends: false };
  }

  #comma(char: string): CallNews {
    if (isSpace(char)) return this.#quiet();
    if (char === "}") return this.#close();
    if (char !== ",") return this.#misfit();
    this.#state = "key";
    this.#mayClose = false;
    return this.#quiet();
  }

  #close(): CallNews {
    if (this.#certain) return END;
    if (this.#name === undefined || (this.#strict && this.#early === undefined)) return WRONG;
    return { kind: "call", name: this.#name, json: this.#early ?? "{}", ends: true };
  }
}
