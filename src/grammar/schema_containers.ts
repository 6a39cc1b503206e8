/** Objects and arrays of a schema: members in the schema's order, items by their places. */
import type { Graph, Part } from "./automaton.ts";
import type { Budget } from "./budget.ts";
import { arrayOf, closing, OBJECT, oneOfValues, sign, SPACE, STRING, stringExcept } from "./json_text.ts";
import { NEVER, part, sequence, text } from "./parts.ts";
import type { Merged } from "./schema_merge.ts";
import { refuse, type SchemaNode, type Sub } from "./schema_read.ts";
import { stringMatching } from "./regex_part.ts";

/** What all of these schemas accept. */
export type SetOf = (subs: readonly Sub[]) => Part;

interface Member {
  readonly name: string;
  readonly value: Part;
  readonly required: boolean;
}

/** A string and nothing else said of it. */
const ANY_NAME: SchemaNode = { id: -1, pointer: "#", types: new Set(["string"]) };

/** Members that no schema declares: their names and values. */
interface Others {
  readonly name: Part;
  readonly value: Part;
}

/**
 * An object: declared members in the order of the schema, then others. Others are allowed where a schema says
 * `additionalProperties`, or no schema declares any; a schema that declares members and says nothing of others gets
 * none.
 */
export function objectPart(nodes: readonly SchemaNode[], setOf: SetOf, budget: Budget): Part {
  const allowed = namesOf(nodes);
  const required = new Set(nodes.flatMap((node) => node.required ?? []));
  const names = new Set([...nodes.flatMap((node) => [...node.properties?.keys() ?? []]), ...required]);
  if (names.size > 0 && allowed.checks !== undefined) {
    refuse(
      "UNSUPPORTED",
      `${allowed.checks.pointer}/propertyNames`,
      "names other than listed ones, beside declared ones",
    );
  }
  const members: Member[] = [];
  for (const name of names) {
    const subs = nodes.map((node) => node.properties?.get(name) ?? node.additional ?? true);
    if (!subs.includes(false) && allowed.list?.has(name) !== false) {
      members.push({ name, value: setOf(subs), required: required.has(name) });
    } else if (required.has(name)) return NEVER;
  }
  const patterned = nodes.find((node) => (node.patternProperties?.size ?? 0) > 0);
  if (patterned !== undefined) return membersPart(members, patternedMembers(patterned, nodes, names, setOf, budget));
  const said = nodes.flatMap((node) => node.additional ?? []);
  const closed = said.length === 0 ? nodes.some((node) => node.properties !== undefined) : said.includes(false);
  if (closed) return membersPart(members, undefined);
  if (allowed.list !== undefined) {
    const left = [...allowed.list].filter((name) => !names.has(name));
    return membersPart(members, { name: oneOfValues(left), value: setOf(said) });
  }
  if (allowed.checks !== undefined) {
    return membersPart([], { name: setOf([...allowed.subs, ANY_NAME]), value: setOf(said) });
  }
  if (names.size === 0 && said.length === 0) return OBJECT;
  return membersPart(members, { name: names.size === 0 ? STRING : stringExcept([...names]), value: setOf(said) });
}

/** What `propertyNames` allow: listed names, or names that a schema checks; neither when any name is fine. */
function namesOf(nodes: readonly SchemaNode[]): { list?: Set<string>; checks?: SchemaNode; subs: readonly Sub[] } {
  const saying = nodes.filter(({ propertyNames: sub = true }) =>
    sub === false || (sub !== true && !saysOnlyString(sub))
  );
  const subs = saying.map((node) => node.propertyNames!);
  if (saying.length === 0) return { subs };
  let list: string[] | undefined;
  for (const sub of subs) {
    if (sub !== false && (typeof sub !== "object" || sub.values === undefined)) return { checks: saying[0]!, subs };
    const names = sub === false ? [] : sub.values!.filter((value) => typeof value === "string");
    list = list === undefined ? names : list.filter((name) => names.includes(name));
  }
  return { list: new Set(list), subs };
}

function saysOnlyString(node: SchemaNode): boolean {
  const { id: _id, pointer: _pointer, types, ...others } = node;
  return Object.keys(others).length === 0 && types?.has("string") !== false;
}

/** Members whose names one expression tells; what it leaves over is not generated. */
function patternedMembers(
  owner: SchemaNode,
  nodes: readonly SchemaNode[],
  names: ReadonlySet<string>,
  setOf: SetOf,
  budget: Budget,
): Others | undefined {
  const at = `${owner.pointer}/patternProperties`;
  const [[pattern, value], ...more] = [...owner.patternProperties!] as [[string, Sub], ...[string, Sub][]];
  const others = nodes.filter((node) => node !== owner);
  const alone = more.length === 0 && names.size === 0 &&
    others.every((node) => node.patternProperties === undefined && node.propertyNames === undefined);
  if (!alone || owner.propertyNames !== undefined) {
    refuse("UNSUPPORTED", at, "more than one expression, or one beside declared names or propertyNames");
  }
  const subs = [value, ...others.map((node) => node.additional ?? true)];
  if (subs.includes(false)) return undefined;
  return { name: stringMatching([pattern], 0, -1, budget), value: setOf(subs) };
}

function membersPart(members: readonly Member[], others: Others | undefined): Part {
  return part((graph, next) => {
    const close = closing("}").build(graph, next);
    const comma = (then: number): number => graph.byte(0x2c, SPACE.build(graph, then));
    /** After a member when `i` of the declared ones are past, and where the next one must begin. */
    let after = graph.hole();
    let begin: number | undefined;
    if (others === undefined) graph.patch(after, close);
    else {
      begin = sequence(others.name, sign(":"), others.value).build(graph, after);
      graph.patch(after, graph.split([close, comma(begin)]));
    }
    let mayEnd = true;
    for (const { name, value, required } of members.toReversed()) {
      const key = text(JSON.stringify(name));
      const member = sequence(key, sign(":"), value).build(graph, after);
      begin = required || begin === undefined ? member : graph.split([member, begin]);
      mayEnd &&= !required;
      after = graph.split(mayEnd ? [close, comma(begin)] : [comma(begin)]);
    }
    const empty = mayEnd ? [graph.byte(0x7d, next)] : [];
    return sign("{").build(graph, graph.split(begin === undefined ? empty : [...empty, begin]));
  });
}

/** An array: the items of `prefixItems` in their places, then others unless a schema that has a prefix names none. */
export function arrayPart(nodes: readonly SchemaNode[], { minItems: min, maxItems: max }: Merged, setOf: SetOf): Part {
  if (max >= 0 && min > max) return NEVER;
  const nPlaces = Math.max(0, ...nodes.map((node) => node.prefixItems?.length ?? 0));
  const placed = Array.from(
    { length: nPlaces },
    (_, i) => setOf(nodes.map((node) => node.prefixItems?.[i] ?? node.items ?? true)),
  );
  const said = nodes.flatMap((node) => node.items ?? []);
  const rest = nPlaces > 0 && said.length === 0 && min <= nPlaces ? NEVER : setOf(said);
  return nPlaces === 0 ? arrayOf(rest, min, max) : placesPart(placed, rest, min, max);
}

function placesPart(placed: readonly Part[], rest: Part, min: number, max: number): Part {
  const build = (graph: Graph, next: number): number => {
    const close = closing("]").build(graph, next);
    const comma = (then: number): number => graph.byte(0x2c, SPACE.build(graph, then));
    const nPlaces = placed.length;
    const item = (step: number): number => comma(rest.build(graph, step));
    const room = max < 0 ? -1 : Math.max(0, max - nPlaces);
    let after = room === 0 ? close : graph.loop(item, Math.max(0, min - nPlaces), room, close);
    let begin = 0;
    for (let i = nPlaces - 1; i >= 0; i--) {
      // `after` follows i + 1 items, `begin` is the item at place i.
      begin = placed[i]!.build(graph, max >= 0 && i + 1 >= max ? close : after);
      after = graph.split(i >= min ? [close, comma(begin)] : [comma(begin)]);
    }
    const empty = min === 0 ? [graph.byte(0x5d, next)] : [];
    return sign("[").build(graph, graph.split(max === 0 ? empty : [...empty, begin]));
  };
  return part(build);
}
