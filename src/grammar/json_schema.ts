/**
 * JSON Schema to parts. Schemas that must all hold (a schema, what its `$ref` and `allOf` name, one option of each
 * `anyOf`) are compiled as one set; equal sets are one rule, so recursive schemas come to an end.
 */
import { type Part, Rule } from "./automaton.ts";
import type { Budget } from "./budget.ts";
import { FORMATS } from "./formats.ts";
import { NUMBER, oneOfValues, STRING, stringOf, VALUE } from "./json_text.ts";
import { integerBetween, numberBetween } from "./number_range.ts";
import { choice, NEVER } from "./parts.ts";
import { stringMatching } from "./regex_part.ts";
import { arrayPart, objectPart, type SetOf } from "./schema_containers.ts";
import { agrees, disjoint, impliedTypes, merge, type Merged } from "./schema_merge.ts";
import { refuse, type SchemaNode, SchemaReader, type Sub, type TypeName } from "./schema_read.ts";

/** Combinations of options of several `anyOf` that hold together. */
const MAX_COMBINATIONS = 256;

const CIRCLE = "it stands for itself: its references lead back to it";

/** A schema in a set: with all it says, or only with what it says itself (its options were chosen already). */
interface Member {
  readonly sub: Sub;
  readonly own: boolean;
}

/** Rules of scalars by what is said of them: schemas of one grammar share them. */
export type ScalarRules = Map<string, Rule>;

class SchemaCompiler {
  readonly #reader: SchemaReader;
  readonly #budget: Budget;
  readonly #scalars: ScalarRules;
  readonly #rules = new Map<string, Rule>();

  constructor(schema: unknown, budget: Budget, scalars: ScalarRules) {
    this.#budget = budget;
    this.#scalars = scalars;
    this.#reader = new SchemaReader(schema, budget);
  }

  compile(): Part {
    return this.#set([{ sub: this.#reader.read(), own: false }]);
  }

  /** What all of these schemas accept. */
  readonly #setOf: SetOf = (subs) => this.#set(subs.map((sub) => ({ sub, own: false })));

  #set(members: readonly Member[]): Part {
    if (members.some(({ sub }) => sub === false)) return NEVER;
    const byKey = new Map<string, Member>();
    for (const member of members) {
      if (typeof member.sub === "object") byKey.set(`${member.sub.id}${member.own ? "o" : ""}`, member);
    }
    if (byKey.size === 0) return VALUE;
    const key = [...byKey.keys()].join();
    let rule = this.#rules.get(key);
    if (rule === undefined) {
      const all = [...byKey.values()];
      rule = new Rule(() => this.#make(all));
      this.#rules.set(key, rule);
    }
    return rule;
  }

  /** The schemas that hold together with `sub`: references and allOf followed. Undefined when nothing is valid. */
  readonly #expand = (sub: Sub): SchemaNode[] | undefined => {
    const found = new Set<SchemaNode>();
    const way = new Set<SchemaNode>();
    /** Schemas to look at, and those whose references were all followed when it is their turn. */
    const open: { sub: Sub; left?: SchemaNode }[] = [{ sub }];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      this.#budget.charge();
      const { sub: each, left } = next;
      if (left !== undefined) way.delete(left);
      if (each === false) return undefined;
      if (each === true) continue;
      if (way.has(each)) refuse("ARG", each.pointer, CIRCLE);
      if (found.has(each)) continue;
      found.add(each);
      way.add(each);
      open.push({ sub: true, left: each });
      // In the order in which they are written: it is the order of members.
      for (const one of each.allOf?.toReversed() ?? []) open.push({ sub: one });
      if (each.ref !== undefined) open.push({ sub: this.#reader.resolve(each) });
    }
    return [...found];
  };

  #make(members: readonly Member[]): Part {
    const nodes = new Set<SchemaNode>();
    const groups = new Map<readonly Sub[], SchemaNode>();
    for (const { sub, own } of members) {
      const expanded = own ? [sub as SchemaNode] : this.#expand(sub);
      if (expanded === undefined) return NEVER;
      for (const node of expanded) {
        nodes.add(node);
        if (own) continue;
        if (node.anyOf !== undefined) groups.set(node.anyOf, node);
        if (node.oneOf !== undefined) groups.set(this.#checkedOneOf(node), node);
      }
    }
    for (const { sub, own } of members) {
      // Chosen options of a schema that another member names again are not chosen anew.
      if (own && typeof sub === "object") {
        for (const group of [sub.anyOf, sub.oneOf]) if (group !== undefined) groups.delete(group);
      }
    }
    const own = [...nodes];
    if (groups.size === 0) return own.length === 0 ? VALUE : this.#plain(own);
    for (const [options, node] of groups) {
      if (options.some((option) => this.#expand(option)?.includes(node))) refuse("ARG", node.pointer, CIRCLE);
    }
    const base = own.map((sub): Member => ({ sub, own: true }));
    return choice(
      this.#combinations(groups).map((options) =>
        this.#set([...base, ...options.map((sub): Member => ({ sub, own: false }))])
      ),
    );
  }

  #combinations(groups: ReadonlyMap<readonly Sub[], SchemaNode>): Sub[][] {
    let all: Sub[][] = [[]];
    for (const [options, { pointer }] of groups) {
      if (groups.size > 1 && all.length * options.length > MAX_COMBINATIONS) {
        refuse("LIMIT", pointer, `more than ${MAX_COMBINATIONS} combinations of options`);
      }
      this.#budget.charge(all.length * options.length);
      all = all.flatMap((chosen) => options.map((option) => [...chosen, option]));
    }
    return all;
  }

  /** The options of a oneOf, which must exclude each other: then it is an anyOf. */
  #checkedOneOf(node: SchemaNode): readonly Sub[] {
    const options = node.oneOf!;
    for (const [i, a] of options.entries()) {
      for (let j = 0; j < i; j++) {
        this.#budget.charge();
        if (disjoint(a, options[j]!, this.#expand)) continue;
        const at = `${node.pointer}/oneOf`;
        refuse("UNSUPPORTED", at, `nothing shows that options ${j} and ${i} exclude each other; anyOf asks for less`);
      }
    }
    return options;
  }

  /** Schemas without options. */
  #plain(nodes: readonly SchemaNode[]): Part {
    const merged = merge(nodes);
    if (merged.values !== undefined) {
      return oneOfValues(merged.values.filter((value) => agrees(value, merged, nodes)));
    }
    const implied = merged.typed ? merged.types : impliedTypes(nodes);
    if (!merged.typed && implied.size > 4) return VALUE;
    const types = [...implied].filter((type) =>
      merged.types.has(type) || (type === "number" && merged.types.has("integer"))
    );
    const parts = types.filter((type) => type !== "integer" || !implied.has("number"))
      .map((type) => this.#ofType(merged.types.has("number") || type !== "number" ? type : "integer", merged, nodes));
    return parts.length === 1 ? parts[0]! : choice(parts);
  }

  /** Values of one type; scalars of the same bounds are one rule, wherever they stand. */
  #ofType(type: TypeName, merged: Merged, nodes: readonly SchemaNode[]): Part {
    if (type === "array") return arrayPart(nodes, merged, this.#setOf);
    if (type === "object") return objectPart(nodes, this.#setOf, this.#budget);
    const { pointer: _pointer, types: _types, typed: _typed, minItems: _min, maxItems: _max, ...bounds } = merged;
    const key = `${type} ${JSON.stringify(bounds)}`;
    let rule = this.#scalars.get(key);
    if (rule === undefined) {
      const scalar = this.#scalar(type, merged);
      rule = scalar instanceof Rule ? scalar : new Rule(() => scalar);
      this.#scalars.set(key, rule);
    }
    return rule;
  }

  #scalar(type: Exclude<TypeName, "array" | "object">, merged: Merged): Part {
    switch (type) {
      case "null":
        return oneOfValues([null]);
      case "boolean":
        return oneOfValues([true, false]);
      case "integer":
        return integerPart(merged);
      case "number":
        return merged.min.value === -Infinity && merged.max.value === Infinity
          ? NUMBER
          : numberBetween(merged.min, merged.max);
      case "string":
        return this.#stringPart(merged);
    }
  }

  #stringPart({ patterns, formats, minLength, maxLength, pointer }: Merged): Part {
    if (maxLength >= 0 && minLength > maxLength) return NEVER;
    const all = [...patterns];
    for (const format of formats) {
      const known = Object.hasOwn(FORMATS, format) ? FORMATS[format] : undefined;
      if (known !== undefined) all.push(known);
      // Beside a pattern, the name of a format that is not known here tells nothing more.
      else if (patterns.length === 0) {
        refuse("UNSUPPORTED", `${pointer}/format`, `the format ${JSON.stringify(format)}`);
      }
    }
    if (all.length > 0) return stringMatching(all, minLength, maxLength, this.#budget);
    return minLength === 0 && maxLength < 0 ? STRING : stringOf(minLength, maxLength);
  }
}

function integerPart({ min, max, multipleOf }: Merged): Part {
  const lo = Math.ceil(min.value), hi = Math.floor(max.value);
  const from = min.open && lo === min.value ? lo + 1 : lo, to = max.open && hi === max.value ? hi - 1 : hi;
  return integerBetween(from, to, multipleOf);
}

/**
 * Text of the JSON values that a schema accepts. Throws `ARG` for what is no schema, `UNSUPPORTED` for what cannot be
 * honoured, both with the JSON pointer, and `LIMIT`. Schemas of one grammar may share `scalars`.
 */
export function schemaPart(schema: unknown, budget: Budget, scalars: ScalarRules = new Map()): Part {
  return new SchemaCompiler(schema, budget, scalars).compile();
}
