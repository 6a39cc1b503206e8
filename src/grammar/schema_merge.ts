/** Several schemas that all hold, as one set of keywords. */
import type { Bound } from "./number_range.ts";
import {
  both,
  canonical,
  MAX_MULTIPLE,
  refuse,
  type SchemaNode,
  type Sub,
  type TypeName,
  TYPES,
} from "./schema_read.ts";

/** What several schemas ask for together. */
export interface Merged {
  /** Where to point in messages. */
  readonly pointer: string;
  readonly types: ReadonlySet<TypeName>;
  /** Whether some schema says `type`, or lists values. */
  readonly typed: boolean;
  readonly values: readonly unknown[] | undefined;
  readonly min: Bound;
  readonly max: Bound;
  /** 1 = any; numbers that are not whole have no other. */
  readonly multipleOf: number;
  readonly minLength: number;
  /** -1 = any. */
  readonly maxLength: number;
  readonly patterns: readonly string[];
  readonly formats: readonly string[];
  readonly minItems: number;
  /** -1 = any. */
  readonly maxItems: number;
}

/** The larger of two lower bounds, or the smaller of two upper bounds with `sign` = -1. */
function tighter(a: Bound, b: Bound, sign: 1 | -1): Bound {
  if (a.value === b.value) return a.open ? a : b;
  return a.value * sign > b.value * sign ? a : b;
}

/** The different values of a keyword. */
function allOf(nodes: readonly SchemaNode[], keyword: "pattern" | "format"): string[] {
  return [...new Set(nodes.flatMap((node) => node[keyword] ?? []))];
}

/** The smallest number that all `multipleOf` divide; 1 where there is none. */
function commonMultiple(nodes: readonly SchemaNode[]): number {
  const divisor = (a: number, b: number): number => b === 0 ? a : divisor(b, a % b);
  let common = 1;
  for (const { multipleOf = 1, pointer } of nodes) {
    common *= multipleOf / divisor(common, multipleOf);
    if (common > MAX_MULTIPLE) {
      refuse("UNSUPPORTED", `${pointer}/multipleOf`, `a common multiple above ${MAX_MULTIPLE}`);
    }
  }
  return common;
}

const least = (values: readonly (number | undefined)[]): number => {
  const said = values.filter((value) => value !== undefined);
  return said.length === 0 ? -1 : Math.min(...said);
};
const most = (values: readonly (number | undefined)[]): number => Math.max(0, ...values.map((value) => value ?? 0));

/** Merges the keywords of single values; those of objects and items are merged name by name where they are needed. */
export function merge(nodes: readonly SchemaNode[]): Merged {
  let types: ReadonlySet<TypeName> = new Set(TYPES);
  let values: readonly unknown[] | undefined;
  let min: Bound = { value: -Infinity, open: false }, max: Bound = { value: Infinity, open: false };
  for (const node of nodes) {
    if (node.types !== undefined) types = both(types, node.types);
    if (node.multipleOf !== undefined) types = both(types, new Set(TYPES.filter((type) => type !== "number")));
    if (node.values !== undefined) {
      const keys = new Set(node.values.map(canonical));
      values = values === undefined ? node.values : values.filter((value) => keys.has(canonical(value)));
    }
    if (node.minimum !== undefined) min = tighter(min, { value: node.minimum, open: false }, 1);
    if (node.exclusiveMinimum !== undefined) min = tighter(min, { value: node.exclusiveMinimum, open: true }, 1);
    if (node.maximum !== undefined) max = tighter(max, { value: node.maximum, open: false }, -1);
    if (node.exclusiveMaximum !== undefined) max = tighter(max, { value: node.exclusiveMaximum, open: true }, -1);
  }
  return {
    pointer: nodes[0]!.pointer,
    types,
    typed: nodes.some((node) => node.types !== undefined),
    values,
    min,
    max,
    multipleOf: commonMultiple(nodes),
    minLength: most(nodes.map((node) => node.minLength)),
    maxLength: least(nodes.map((node) => node.maxLength)),
    patterns: allOf(nodes, "pattern"),
    formats: allOf(nodes, "format"),
    minItems: most(nodes.map((node) => node.minItems)),
    maxItems: least(nodes.map((node) => node.maxItems)),
  };
}

/** Types that the keywords of a schema without `type` are about: it is read as being of one of these. */
export function impliedTypes(nodes: readonly SchemaNode[]): Set<TypeName> {
  const about = (type: TypeName, keywords: readonly (keyof SchemaNode)[]): TypeName[] =>
    nodes.some((node) => keywords.some((keyword) => node[keyword] !== undefined)) ? [type] : [];
  const implied = [
    ...about("object", ["properties", "required", "additional", "patternProperties", "propertyNames"]),
    ...about("array", ["items", "prefixItems", "minItems", "maxItems"]),
    ...about("string", ["pattern", "format", "minLength", "maxLength"]),
    ...about("number", ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]),
  ];
  return new Set(implied.length === 0 ? TYPES : implied);
}

/** Type of a JSON value. */
export function typeOf(value: unknown): TypeName {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value as TypeName;
}

/** Whether a listed value agrees with the other keywords. Throws `UNSUPPORTED` where that is not looked at. */
export function agrees(value: unknown, merged: Merged, nodes: readonly SchemaNode[]): boolean {
  const type = typeOf(value);
  if (!merged.types.has(type) && !(type === "integer" && merged.types.has("number"))) return false;
  if (typeof value === "number") {
    const { min, max } = merged;
    if (value % merged.multipleOf !== 0) return false;
    return value >= min.value && value <= max.value && !(min.open && value === min.value) &&
      !(max.open && value === max.value);
  }
  const others: Partial<Record<TypeName, readonly (keyof SchemaNode)[]>> = {
    string: ["pattern", "format"],
    object: ["properties", "required", "additional", "patternProperties", "propertyNames"],
    array: ["items", "prefixItems", "minItems", "maxItems"],
  };
  for (const node of nodes) {
    const other = others[type]?.find((keyword) => node[keyword] !== undefined);
    if (other !== undefined) refuse("UNSUPPORTED", node.pointer, `${other} beside listed values of type ${type}`);
  }
  if (typeof value !== "string") return true;
  const length = Array.from(value).length;
  return length >= merged.minLength && (merged.maxLength < 0 || length <= merged.maxLength);
}

/** A schema's facts that can tell it from another one. */
interface Facts {
  types: ReadonlySet<TypeName> | undefined;
  values: readonly unknown[] | undefined;
  nodes: readonly SchemaNode[];
}

/** How deep properties are compared. */
const MAX_COMPARED_DEPTH = 6;

/**
 * Whether no value can be valid by both schemas: by their types, their listed values, or a property that both require
 * and that has no value in common. `expand` follows references and allOf.
 */
export function disjoint(a: Sub, b: Sub, expand: (sub: Sub) => SchemaNode[] | undefined, depth = 0): boolean {
  const left = expand(a), right = expand(b);
  if (left === undefined || right === undefined) return true;
  const [x, y] = [factsOf(left), factsOf(right)];
  const has = (facts: Facts, value: unknown): boolean => {
    const type = typeOf(value);
    if (facts.values !== undefined && !facts.values.some((one) => canonical(one) === canonical(value))) return false;
    return facts.types === undefined || facts.types.has(type) || (type === "integer" && facts.types.has("number"));
  };
  if (x.values !== undefined) return !x.values.some((value) => has(x, value) && has(y, value));
  if (y.values !== undefined) return !y.values.some((value) => has(x, value) && has(y, value));
  if (x.types === undefined || y.types === undefined) return false;
  const common = both(x.types, y.types);
  if (common.size === 0) return true;
  if (common.size > 1 || !common.has("object") || depth >= MAX_COMPARED_DEPTH) return false;
  const required = (nodes: readonly SchemaNode[]): Set<string> => new Set(nodes.flatMap((node) => node.required ?? []));
  const rightRequired = required(right);
  const subsOf = (nodes: readonly SchemaNode[], name: string): Sub[] =>
    nodes.flatMap((node) => node.properties?.get(name) ?? (node.additional === undefined ? [] : [node.additional]));
  const forbids = (nodes: readonly SchemaNode[], name: string): boolean => subsOf(nodes, name).includes(false);
  for (const name of required(left)) {
    if (forbids(right, name)) return true;
    if (!rightRequired.has(name)) continue;
    const theirs = subsOf(right, name);
    if (subsOf(left, name).some((mine) => theirs.some((other) => disjoint(mine, other, expand, depth + 1)))) {
      return true;
    }
  }
  return [...rightRequired].some((name) => forbids(left, name));
}

function factsOf(nodes: readonly SchemaNode[]): Facts {
  const merged = nodes.length === 0 ? undefined : merge(nodes);
  return { types: merged?.typed === true ? merged.types : undefined, values: merged?.values, nodes };
}
