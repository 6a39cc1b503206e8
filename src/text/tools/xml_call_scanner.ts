/** One call of a tool whose arguments are elements: `<function=NAME><parameter=KEY>value</parameter></function>`. */
import type { CallNews } from "./call_scanner.ts";
import { possibleStart } from "./marks.ts";

const FUNCTION = "<function=";
const PARAMETER = "<parameter=";
const VALUE_ENDS = ["\n</parameter>", "</parameter>"];
const CALL_END = "</function>";
/** Characters of a name or key, at most. */
const NAME_LENGTH_MAX = 256;

const HEAD: CallNews = { kind: "head" };
const TAIL: CallNews = { kind: "tail" };
const WRONG: CallNews = { kind: "wrong" };

/** The JSON Schema of a tool's arguments; undefined where there is no such tool. */
export type ParametersOf = (name: string) => Readonly<Record<string, unknown>> | undefined;

function isStringType(schema: unknown): boolean {
  return typeof schema === "object" && schema !== null && (schema as { type?: unknown }).type === "string";
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** A text inside of a JSON string. */
function escaped(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

/**
 * Reads what follows the mark of a call. Arguments come out as JSON: texts of strings as they are written, other values
 * when they are whole. A value that is no string by its schema is JSON when it can be read as such, else a string.
 */
export class XmlCallScanner {
  /** Calls of this format have marks of their own, each. */
  readonly inList = false;
  readonly #parametersOf: ParametersOf;
  #state: "open" | "name" | "between" | "key" | "value" = "open";
  /** What was read of a name, key or mark, or of a value and is not told. */
  #text = "";
  #name = "";
  #properties: Readonly<Record<string, unknown>> = {};
  #nParameters = 0;
  #isString = false;
  /** Nothing of the value came yet. */
  #valueBegins = false;
  #keys = new Set<string>();

  constructor(parametersOf: ParametersOf) {
    this.#parametersOf = parametersOf;
  }

  /** Takes the next character. After `end` or `wrong` the scanner is of no use. */
  push(char: string): CallNews {
    switch (this.#state) {
      case "open":
        return this.#mark(char, [FUNCTION]);
      case "between":
        return this.#mark(char, [PARAMETER, CALL_END]);
      case "name":
      case "key":
        return this.#named(char);
      case "value":
        return this.#value(char);
    }
  }

  /** What is left of the arguments when nothing more comes. */
  cut(): string {
    if (this.#state !== "value") return "";
    return this.#isString ? escaped(this.#text) : this.#text;
  }

  /** One of the marks, after white space. */
  #mark(char: string, marks: readonly string[]): CallNews {
    if (this.#text === "" && /\s/.test(char)) return this.#quiet();
    this.#text += char;
    const found = marks.find((mark) => mark === this.#text);
    if (found === undefined) return marks.some((mark) => mark.startsWith(this.#text)) ? this.#quiet() : WRONG;
    this.#text = "";
    if (found === CALL_END) {
      if (this.#nParameters === 0) return { kind: "call", name: this.#name, json: "{}", ends: true };
      return { kind: "arguments", json: "}", ends: true };
    }
    this.#state = found === FUNCTION ? "name" : "key";
    return this.#quiet();
  }

  #quiet(): CallNews {
    return this.#nParameters === 0 ? HEAD : TAIL;
  }

  #named(char: string): CallNews {
    if (char !== ">") {
      this.#text += char;
      return this.#text.length > NAME_LENGTH_MAX ? WRONG : this.#quiet();
    }
    const name = this.#text.trim();
    this.#text = "";
    return this.#state === "name" ? this.#tookName(name) : this.#tookKey(name);
  }

  #tookName(name: string): CallNews {
    const parameters = this.#parametersOf(name);
    if (parameters === undefined) return WRONG;
    this.#name = name;
    const properties = parameters["properties"];
    if (typeof properties === "object" && properties !== null) this.#properties = { ...properties };
    this.#state = "between";
    return HEAD;
  }

  #tookKey(key: string): CallNews {
    if (this.#keys.has(key)) return WRONG;
    this.#keys.add(key);
    this.#state = "value";
    this.#valueBegins = true;
    this.#isString = Object.hasOwn(this.#properties, key) && isStringType(this.#properties[key]);
    const json = `${JSON.stringify(key)}: ${this.#isString ? '"' : ""}`;
    if (this.#nParameters++ === 0) return { kind: "call", name: this.#name, json: `{${json}`, ends: false };
    return { kind: "arguments", json: `, ${json}`, ends: false };
  }

  #value(char: string): CallNews {
    if (this.#valueBegins && char === "\n") {
      this.#valueBegins = false;
      return TAIL;
    }
    this.#valueBegins = false;
    this.#text += char;
    const end = char === ">" ? VALUE_ENDS.find((mark) => this.#text.endsWith(mark)) : undefined;
    if (end !== undefined) {
      const rest = this.#text.slice(0, -end.length);
      this.#text = "";
      this.#state = "between";
      return { kind: "arguments", json: this.#isString ? `${escaped(rest)}"` : this.#whole(rest), ends: false };
    }
    if (!this.#isString) return TAIL;
    const known = this.#text.length - possibleStart(this.#text, VALUE_ENDS);
    const told = this.#text.slice(0, known);
    this.#text = this.#text.slice(known);
    return told === "" ? TAIL : { kind: "arguments", json: escaped(told), ends: false };
  }

  #whole(value: string): string {
    const trimmed = value.trim();
    return isJson(trimmed) ? trimmed : JSON.stringify(value);
  }
}
