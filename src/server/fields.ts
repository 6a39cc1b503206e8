/** Fields of a request's body: each is read with its type and range, and what nobody read is refused by name. */
import { checkNumber } from "../api/options.ts";
import { RealizarError } from "../errors.ts";
import { invalid, unsupported } from "./errors.ts";

/** A value in words, short. */
function shown(value: unknown): string {
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object") return value === null ? "null" : "an object";
  return typeof value === "string" ? `the string ${JSON.stringify(value.slice(0, 40))}` : String(value);
}

/** An object of a request. `null` counts as not given. */
export class Fields {
  readonly #value: Readonly<Record<string, unknown>>;
  readonly #path: string;
  readonly #left: Set<string>;

  /** `path` is where the object stands, e.g. `messages[0]`; empty for the body. Throws 400 for anything else. */
  constructor(value: unknown, path = "") {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw invalid(path || "body", `${path || "body"}: got ${shown(value)}, expected an object`, "invalid_type");
    }
    this.#value = value as Readonly<Record<string, unknown>>;
    this.#path = path;
    this.#left = new Set(Object.keys(value));
  }

  /** The name as a client would write it. */
  param(name: string): string {
    return this.#path === "" ? name : `${this.#path}.${name}`;
  }

  /** Any value; undefined when not given. */
  any(name: string): unknown {
    this.#left.delete(name);
    const value = Object.hasOwn(this.#value, name) ? this.#value[name] : undefined;
    return value === null ? undefined : value;
  }

  /** The error for a value of the wrong kind. */
  wrong(name: string, value: unknown, expected: string): never {
    const code = value === undefined ? "missing_required_parameter" : "invalid_type";
    const got = value === undefined ? "nothing" : shown(value);
    throw invalid(this.param(name), `${this.param(name)}: got ${got}, expected ${expected}`, code);
  }

  /** A value that has to be there. */
  required<T>(name: string, value: T | undefined, expected: string): T {
    return value ?? this.wrong(name, undefined, expected);
  }

  /** A string, or undefined. */
  string(name: string): string | undefined {
    const value = this.any(name);
    if (value !== undefined && typeof value !== "string") this.wrong(name, value, "a string");
    return value;
  }

  /** A boolean, or undefined. */
  boolean(name: string): boolean | undefined {
    const value = this.any(name);
    if (value !== undefined && typeof value !== "boolean") this.wrong(name, value, "true or false");
    return value;
  }

  /** An array, or undefined. */
  array(name: string): readonly unknown[] | undefined {
    const value = this.any(name);
    if (value !== undefined && !Array.isArray(value)) this.wrong(name, value, "an array");
    return value as readonly unknown[] | undefined;
  }

  /** An object, or undefined. */
  object(name: string): Fields | undefined {
    const value = this.any(name);
    return value === undefined ? undefined : new Fields(value, this.param(name));
  }

  /** Names and values of an object, all taken as read. */
  entries(): [string, unknown][] {
    this.#left.clear();
    return Object.entries(this.#value);
  }

  /** A number within a range, or undefined. */
  number(name: string, min: number, max: number, integer = false): number | undefined {
    const value = this.any(name);
    if (value === undefined) return undefined;
    const what = `${integer ? "a whole number" : "a number"} from ${min} to ${max}`;
    if (typeof value !== "number") return this.wrong(name, value, what);
    if (!(value >= min && value <= max) || (integer && !Number.isInteger(value))) {
      throw invalid(this.param(name), `${this.param(name)}: got ${value}, expected ${what}`);
    }
    return value;
  }

  /** A number within the range that the library has for it, or undefined. */
  option(name: string, option: Parameters<typeof checkNumber>[0]): number | undefined {
    const value = this.any(name);
    if (value === undefined) return undefined;
    if (typeof value !== "number") return this.wrong(name, value, "a number");
    try {
      return checkNumber(option, value);
    } catch (error) {
      if (!(error instanceof RealizarError)) throw error;
      throw invalid(this.param(name), error.message.replace(option, this.param(name)));
    }
  }

  /** A field that this server takes only where it changes nothing; else it is refused as unsupported. */
  neutral(name: string, changesNothing: (value: unknown) => boolean, accepted: string): void {
    const value = this.any(name);
    if (value === undefined || changesNothing(value)) return;
    throw unsupported(this.param(name), `${this.param(name)}: got ${shown(value)}, this server takes ${accepted} only`);
  }

  /** Refuses every field that was not read: as unsupported when the API has it, else as unknown. `null` may stand. */
  refuseRest(defined: readonly string[] = []): void {
    for (const name of this.#left) {
      if (defined.includes(name)) {
        if (this.any(name) !== undefined) throw unsupported(this.param(name));
      } else throw invalid(this.param(name), `${this.param(name)}: there is no such parameter`, "unknown_parameter");
    }
  }
}
