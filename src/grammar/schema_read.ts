/** JSON Schema (draft 2020-12) as checked data: every keyword is honoured, an annotation, or refused by name. */
import { type ErrorCode, RealizarError } from "../errors.ts";
import { type Budget, checkDepth } from "./budget.ts";

/** The types of JSON Schema; an `integer` is a `number` too. */
export const TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"] as const;
/** One of {@linkcode TYPES}. */
export type TypeName = (typeof TYPES)[number];

/** A schema, or true (anything) or false (nothing). */
export type Sub = SchemaNode | boolean;

/** One schema object with its subschemas read. Absent keywords are undefined. */
export interface SchemaNode {
  /** Number of this schema. */
  readonly id: number;
  /** JSON pointer, as a fragment: `#/properties/a`. */
  readonly pointer: string;
  types?: ReadonlySet<TypeName>;
  /** Values of `enum` or `const`. */
  values?: readonly unknown[];
  /** Numbers are whole, and multiples of this. */
  multipleOf?: number;
  ref?: string;
  allOf?: readonly Sub[];
  anyOf?: readonly Sub[];
  oneOf?: readonly Sub[];
  properties?: ReadonlyMap<string, Sub>;
  required?: readonly string[];
  additional?: Sub;
  patternProperties?: ReadonlyMap<string, Sub>;
  propertyNames?: Sub;
  prefixItems?: readonly Sub[];
  items?: Sub;
  minItems?: number;
  maxItems?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  format?: string;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
}

/** Keywords that say nothing about which values are valid. */
const ANNOTATIONS = new Set([
  ..."title description default examples $comment $schema $vocabulary deprecated readOnly writeOnly".split(" "),
  ..."contentEncoding contentMediaType contentSchema $anchor discriminator".split(" "),
]);
/** Keywords that are honoured only in the forms that say nothing. */
const EMPTY_FORMS: Readonly<Record<string, (value: unknown) => boolean>> = {
  uniqueItems: (value) => value === false,
  minProperties: (value) => value === 0,
  minContains: () => false,
  dependentRequired: (value) => isObject(value) && Object.keys(value).length === 0,
  unevaluatedItems: (value) => value === true,
  unevaluatedProperties: (value) => value === true,
};
/** Largest multipleOf: an automaton has a state for each remainder. */
export const MAX_MULTIPLE = 1000;
/** Longest name of a property, in UTF-16 units. */
const MAX_NAME = 1000;

/** Throws a RealizarError that names the place. */
export function refuse(code: ErrorCode, pointer: string, what: string): never {
  throw new RealizarError(code, `schema at ${pointer}: ${what}`);
}

/** Whether a value is a JSON object. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function count(value: unknown, at: string): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0) return value;
  return refuse("ARG", at, `got ${shown(value)}, expected a whole number of 0 or more`);
}

function finite(value: unknown, at: string): number {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  return refuse("ARG", at, `got ${shown(value)}, expected a number`);
}

function text(value: unknown, at: string): string {
  return typeof value === "string" ? value : refuse("ARG", at, `got ${shown(value)}, expected a string`);
}

function list(value: unknown, at: string): unknown[] {
  return Array.isArray(value) ? value : refuse("ARG", at, `got ${shown(value)}, expected an array`);
}

/** A value for a message: short. */
export function shown(value: unknown): string {
  if (typeof value === "object" && value !== null) return Array.isArray(value) ? "an array" : "an object";
  const all = typeof value === "string" ? JSON.stringify(value) : String(value);
  return all.length > 60 ? `${all.slice(0, 60)}...` : all;
}

/** Reads a schema with everything below it. */
export class SchemaReader {
  readonly #budget: Budget;
  readonly #nodes = new Map<object, SchemaNode>();
  readonly #root: unknown;
  readonly #readers: Readonly<Record<string, (node: SchemaNode, value: unknown, at: string, depth: number) => void>>;

  constructor(root: unknown, budget: Budget) {
    this.#root = root;
    this.#budget = budget;
    const subs = (value: unknown, at: string, depth: number): Sub[] => {
      const all = list(value, at);
      return all.map((each, i) => this.#read(each, `${at}/${i}`, depth + 1));
    };
    const options = (value: unknown, at: string, depth: number): Sub[] => {
      const all = subs(value, at, depth);
      return all.length > 0 ? all : refuse("ARG", at, "got no schemas, expected at least one");
    };
    const named = (value: unknown, at: string, depth: number): Map<string, Sub> => {
      if (!isObject(value)) refuse("ARG", at, `got ${shown(value)}, expected an object`);
      return new Map(
        Object.entries(value).map(([name, sub]) => {
          if (name.length > MAX_NAME) refuse("LIMIT", at, `a name of more than ${MAX_NAME} characters`);
          return [name, this.#read(sub, `${at}/${escaped(name)}`, depth + 1)];
        }),
      );
    };
    this.#readers = {
      type: (node, value, at) => node.types = typesOf(value, at),
      enum: (node, value, at) => addValues(node, list(value, at), at),
      const: (node, value, at) => addValues(node, [value], at),
      $ref: (node, value, at) => node.ref = text(value, at),
      $defs: (_node, value, at, depth) => void named(value, at, depth),
      definitions: (_node, value, at, depth) => void named(value, at, depth),
      allOf: (node, value, at, depth) => node.allOf = options(value, at, depth),
      anyOf: (node, value, at, depth) => node.anyOf = options(value, at, depth),
      oneOf: (node, value, at, depth) => node.oneOf = options(value, at, depth),
      properties: (node, value, at, depth) => node.properties = named(value, at, depth),
      required: (node, value, at) => node.required = list(value, at).map((name) => text(name, at)),
      additionalProperties: (node, value, at, depth) => node.additional = this.#read(value, at, depth + 1),
      patternProperties: (node, value, at, depth) => node.patternProperties = named(value, at, depth),
      propertyNames: (node, value, at, depth) => node.propertyNames = this.#read(value, at, depth + 1),
      prefixItems: (node, value, at, depth) => node.prefixItems = options(value, at, depth),
      items: (node, value, at, depth) => {
        if (Array.isArray(value)) refuse("UNSUPPORTED", at, "a list of schemas; since draft 2020-12 it is prefixItems");
        node.items = this.#read(value, at, depth + 1);
      },
      minItems: (node, value, at) => node.minItems = count(value, at),
      maxItems: (node, value, at) => node.maxItems = count(value, at),
      minLength: (node, value, at) => node.minLength = count(value, at),
      maxLength: (node, value, at) => node.maxLength = count(value, at),
      pattern: (node, value, at) => node.pattern = text(value, at),
      format: (node, value, at) => node.format = text(value, at),
      minimum: (node, value, at) => node.minimum = finite(value, at),
      maximum: (node, value, at) => node.maximum = finite(value, at),
      exclusiveMinimum: (node, value, at) => node.exclusiveMinimum = finite(value, at),
      exclusiveMaximum: (node, value, at) => node.exclusiveMaximum = finite(value, at),
      multipleOf: (node, value, at) => {
        node.multipleOf = finite(value, at);
        if (node.multipleOf <= 0) refuse("ARG", at, `got ${shown(value)}, expected a number above 0`);
        if (Number.isInteger(node.multipleOf) && node.multipleOf <= MAX_MULTIPLE) return;
        refuse("UNSUPPORTED", at, `multipleOf ${shown(value)}; whole numbers up to ${MAX_MULTIPLE} can be honoured`);
      },
      $id: (_node, value, at) => {
        text(value, at);
        if (at !== "#/$id") refuse("UNSUPPORTED", at, "an $id below the root");
      },
    };
  }

  /** The whole schema, checked. Throws `ARG`, `UNSUPPORTED`, `LIMIT`. */
  read(): Sub {
    return this.#read(this.#root, "#", 0);
  }

  /** What a reference points to. */
  resolve(node: SchemaNode): Sub {
    const ref = node.ref!;
    const at = `${node.pointer}/$ref`;
    const id = isObject(this.#root) && typeof this.#root.$id === "string"
      ? this.#root.$id.replace(/#$/, "")
      : undefined;
    const fragment = id !== undefined && ref.startsWith(`${id}#`) ? ref.slice(id.length) : ref;
    if (!/^#(\/|$)/.test(fragment)) refuse("UNSUPPORTED", at, `got ${shown(ref)}; only # and #/... can be followed`);
    let target: unknown = this.#root;
    for (const token of fragment.split("/").slice(1)) {
      const name = decoded(token).replaceAll("~1", "/").replaceAll("~0", "~");
      const inside = typeof target === "object" && target !== null && Object.hasOwn(target, name);
      if (!inside) refuse("ARG", at, `got ${shown(ref)}, which is not there`);
      target = (target as Record<string, unknown>)[name];
    }
    if (typeof target === "boolean") return target;
    const found = typeof target === "object" && target !== null ? this.#nodes.get(target) : undefined;
    return found ?? refuse("ARG", at, `got ${shown(ref)}, which is no schema`);
  }

  #read(schema: unknown, pointer: string, depth: number): Sub {
    checkDepth(depth, "schemas");
    this.#budget.charge(4);
    if (typeof schema === "boolean") return schema;
    if (!isObject(schema)) refuse("ARG", pointer, `got ${shown(schema)}, expected an object, true or false`);
    const known = this.#nodes.get(schema);
    if (known !== undefined) return known;
    const node: SchemaNode = { id: this.#nodes.size, pointer };
    this.#nodes.set(schema, node);
    for (const [keyword, value] of Object.entries(schema)) {
      const at = `${pointer}/${escaped(keyword)}`;
      const reader = Object.hasOwn(this.#readers, keyword) ? this.#readers[keyword] : undefined;
      if (reader !== undefined) reader(node, value, at, depth);
      else if (!ANNOTATIONS.has(keyword) && !keyword.startsWith("x-")) {
        const says = Object.hasOwn(EMPTY_FORMS, keyword) ? !EMPTY_FORMS[keyword]!(value) : true;
        if (says) refuse("UNSUPPORTED", at, "the keyword cannot be honoured");
      }
    }
    return node;
  }
}

function typesOf(value: unknown, at: string): Set<TypeName> {
  const names = Array.isArray(value) ? value : [value];
  for (const name of names) {
    if (!TYPES.includes(name as TypeName)) refuse("ARG", at, `got ${shown(name)}, expected ${TYPES.join(", ")}`);
  }
  if (names.length === 0) refuse("ARG", at, "got no types, expected at least one");
  return new Set(names as TypeName[]);
}

/** The types that are in both sets; an integer is a number. */
export function both(a: ReadonlySet<TypeName> | undefined, b: ReadonlySet<TypeName>): Set<TypeName> {
  if (a === undefined) return new Set(b);
  const has = (set: ReadonlySet<TypeName>, type: TypeName): boolean =>
    set.has(type) || (type === "integer" && set.has("number"));
  return new Set(TYPES.filter((type) => has(a, type) && has(b, type)));
}

function addValues(node: SchemaNode, values: readonly unknown[], at: string): void {
  if (values.length === 0) refuse("ARG", at, "got no values, expected at least one");
  const keys = node.values === undefined ? undefined : new Set(node.values.map(canonical));
  node.values = keys === undefined ? values : values.filter((value) => keys.has(canonical(value)));
}

/** Equal text for equal JSON values, whatever the order of their keys. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  if (!isObject(value)) return JSON.stringify(value) ?? "undefined";
  return `{${Object.keys(value).sort().map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join()}}`;
}

function escaped(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}

function decoded(token: string): string {
  try {
    return decodeURIComponent(token);
  } catch {
    return token;
  }
}
