/**
 * JSON text as parts. What is written is always JSON that a parser reads as meant; not all writings of a value are
 * offered: white space is bounded so that text comes to an end, and numbers keep to what a double holds.
 */
import { type CodePointSet, complementOf, intersectionOf, unionOf } from "../text/code_points.ts";
import { type Graph, type Part, Rule } from "./automaton.ts";
import { literals, oneOf, optional, part, repeat, sequence, text } from "./parts.ts";
import { type Edges, HEXADECIMAL, radixEdges, radixState, utf8Edges } from "./radix.ts";

/** Spaces after a line break, at most. */
const MAX_INDENT = 32;
/** Characters that a JSON string has as they are: all but controls, `"` and the backslash. */
const PLAIN: CodePointSet = complementOf([0, 0x1f, 0x22, 0x22, 0x5c, 0x5c]);
/** Characters with a short escape, and its letter. */
const SHORT_ESCAPES: readonly (readonly [code: number, letter: string])[] = [
  [0x22, '"'],
  [0x5c, "\\"],
  [0x08, "b"],
  [0x09, "t"],
  [0x0a, "n"],
  [0x0c, "f"],
  [0x0d, "r"],
];

/** Between the signs of JSON: nothing, one space, or a line break and an indent of at most 32 spaces. */
export const SPACE: Part = part((graph, next) => {
  const indent = graph.loop((step) => graph.byte(0x20, step), 0, MAX_INDENT, next);
  return graph.split([graph.bytes([[0x20, 0x20, next], [0x0a, 0x0a, indent]]), next]);
}, true);

/** A sign of JSON with the white space that may follow it. */
export function sign(char: string): Part {
  return sequence(text(char), SPACE);
}

/** A closing sign with the white space that may come before it. */
export function closing(char: string): Part {
  return sequence(SPACE, text(char));
}

/** Edges after a backslash: short escapes, and `\u` for every character that is no lone surrogate. */
function escapeState(graph: Graph, next: number): number {
  const short = [...'"\\/bfnrt'].map((char) => [char.charCodeAt(0), char.charCodeAt(0), next] as const);
  const low = graph.byte(
    0x5c,
    graph.byte(0x75, radixState(graph, HEXADECIMAL, [0xdc00, 0xdfff], 4, next)),
  );
  const units = [
    ...radixEdges(graph, HEXADECIMAL, [0, 0xd7ff, 0xe000, 0xffff], 4, next),
    ...radixEdges(graph, HEXADECIMAL, [0xd800, 0xdbff], 4, low),
  ];
  return graph.bytes([...short, [0x75, 0x75, eitherOf(graph, units)]]);
}

/** A state with these edges, which may overlap. */
function eitherOf(graph: Graph, edges: Edges): number {
  const rows: Edges[] = [];
  for (const edge of edges) {
    const row = rows.find((others) => others.every(([low, high]) => edge[1] < low || edge[0] > high));
    if (row === undefined) rows.push([edge]);
    else row.push(edge);
  }
  return graph.split(rows.map((row) => graph.bytes(row)));
}

/** What follows a backslash in a string; its states are many, and strings with bounds share them. */
const ESCAPE: Rule = new Rule(() => part(escapeState));

/** A string of `min` to `max` (-1 = any number of) characters, with its quotes. */
export function stringOf(min: number, max: number): Part {
  return part((graph, next) => {
    const end = graph.byte(0x22, next);
    if (max === 0) return graph.byte(0x22, end);
    if (max > 0 || min > 0) {
      const body = (step: number): number =>
        graph.bytes([...utf8Edges(graph, PLAIN, step), [0x5c, 0x5c, ESCAPE.build(graph, step)]], true);
      return graph.byte(0x22, graph.loop(body, min, max, end));
    }
    const loop = graph.hole();
    const edges = utf8Edges(graph, PLAIN, loop);
    const body = graph.bytes([...edges, [0x5c, 0x5c, escapeState(graph, loop)], [0x22, 0x22, next]], true);
    graph.patch(loop, body);
    return graph.byte(0x22, body);
  });
}

/** Any string. */
export const STRING: Rule = new Rule(() => stringOf(0, -1));

/** Edges for one character of a set inside a string, written as JSON.stringify does: escaped only where it must be. */
export function characterEdges(graph: Graph, set: CodePointSet, next: number): Edges {
  const edges = utf8Edges(graph, intersectionOf(set, PLAIN), next);
  const has = (code: number): boolean => set.some((lo, i) => i % 2 === 0 && lo <= code && code <= set[i + 1]!);
  const escapes: Edges = SHORT_ESCAPES.filter(([code]) => has(code))
    .map(([, letter]) => [letter.charCodeAt(0), letter.charCodeAt(0), next]);
  const named = SHORT_ESCAPES.flatMap(([code]) => [code, code]);
  const controls = intersectionOf(intersectionOf(set, [0, 0x1f]), complementOf(unionOf([named.toSorted(byNumber)])));
  if (controls.length > 0) escapes.push([0x75, 0x75, radixState(graph, HEXADECIMAL, controls, 4, next)]);
  if (escapes.length > 0) edges.push([0x5c, 0x5c, graph.bytes(escapes)]);
  return edges;
}

function byNumber(a: number, b: number): number {
  return a - b;
}

/** A string that is none of `names`, as JSON.stringify writes it: a key that is not one of the known ones. */
export function stringExcept(names: readonly string[]): Part {
  return part((graph, next) => {
    const end = graph.byte(0x22, next);
    const free = graph.hole();
    graph.patch(free, graph.bytes([...characterEdges(graph, [0, 0x10ffff], free), [0x22, 0x22, next]], true));
    const build = (all: readonly (readonly number[])[], depth: number): number => {
      graph.budget.charge(all.length);
      const groups = Map.groupBy(all.filter(({ length }) => length > depth), (one) => one[depth]!);
      const known = unionOf([...groups.keys()].map((code) => [code, code]));
      const edges = characterEdges(graph, complementOf(known), free);
      const branches = [graph.bytes(edges)];
      for (const [code, group] of groups) {
        branches.push(graph.bytes(characterEdges(graph, [code, code], build(group, depth + 1))));
      }
      // The end of a name is not an end here.
      if (!all.some(({ length }) => length === depth)) branches.push(end);
      return graph.split(branches);
    };
    return graph.byte(0x22, build([...new Set(names)].map(codePointsOf), 0));
  });
}

function codePointsOf(name: string): number[] {
  return Array.from(name, (char) => char.codePointAt(0)!);
}

/** Any number that a double holds: 15 digits, 15 decimals, a power of ten of two digits. */
export const NUMBER: Rule = new Rule(() => {
  const digit = oneOf([0x30, 0x39]);
  const digits = (min: number, max: number): Part => repeat(digit, min, max);
  const whole = part((graph, next) => {
    const more = digits(0, 14).build(graph, next);
    return graph.bytes([[0x30, 0x30, next], [0x31, 0x39, more]]);
  });
  const power = sequence(oneOf([0x45, 0x45, 0x65, 0x65]), optional(oneOf([0x2b, 0x2b, 0x2d, 0x2d])), digits(1, 2));
  return sequence(optional(text("-")), whole, optional(sequence(text("."), digits(1, 15))), optional(power));
});

/** One of these values, as JSON.stringify writes them. */
export function oneOfValues(values: readonly unknown[]): Part {
  return literals(values.map((value) => JSON.stringify(value)));
}

/** `min` to `max` (-1 = any number of) items, each `item`, in brackets. */
export function arrayOf(item: Part, min: number, max: number): Part {
  if (max === 0) return sequence(sign("["), text("]"));
  const more = repeat(sequence(sign(","), item), Math.max(min - 1, 0), max < 0 ? -1 : max - 1);
  const items = sequence(item, more);
  return sequence(sign("["), min === 0 ? optional(sequence(items, SPACE)) : sequence(items, SPACE), text("]"));
}

/** Any JSON value. */
export const VALUE: Rule = new Rule(() =>
  part((graph, next) =>
    graph.split([
      STRING.build(graph, next),
      NUMBER.build(graph, next),
      oneOfValues([true, false, null]).build(graph, next),
      ARRAY.build(graph, next),
      OBJECT.build(graph, next),
    ])
  )
);

const ARRAY: Rule = new Rule(() => arrayOf(VALUE, 0, -1));

/** Any JSON object. */
export const OBJECT: Rule = new Rule(() => {
  const member = sequence(STRING, sign(":"), VALUE);
  const members = sequence(member, repeat(sequence(sign(","), member), 0, -1), SPACE);
  return sequence(sign("{"), optional(members), text("}"));
});
