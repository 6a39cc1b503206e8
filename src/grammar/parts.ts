/** The parts that grammars are put together from. */
import type { CodePointSet } from "../text/code_points.ts";
import { type Graph, type Part, STATE } from "./automaton.ts";
import { utf8Edges } from "./radix.ts";

const UTF8 = new TextEncoder();

/** A part from a function; not nullable unless said. */
export function part(build: (graph: Graph, next: number) => number, nullable = false): Part {
  return { nullable, build };
}

/** Exactly this text. */
export function text(value: string): Part {
  const bytes = UTF8.encode(value);
  return part((graph, next) => bytes.reduceRight((after, byte) => graph.byte(byte, after), next), bytes.length === 0);
}

/** The same, or the control token with this name. */
export function mark(value: string): Part {
  const spelled = text(value);
  return part((graph, next) => graph.split([graph.add(STATE.control), spelled.build(graph, next)]));
}

/** The empty text. */
export const EMPTY: Part = { nullable: true, build: (_graph, next) => next };

/** Nothing at all fits. */
export const NEVER: Part = { nullable: false, build: (graph) => graph.split([]) };

/** One character of a set. */
export function oneOf(set: CodePointSet): Part {
  return part((graph, next) => graph.bytes(utf8Edges(graph, set, next)));
}

/** One part after the other. */
export function sequence(...items: readonly Part[]): Part {
  return part(
    (graph, next) => items.reduceRight((after, item) => item.build(graph, after), next),
    items.every(({ nullable }) => nullable),
  );
}

/** One of the parts. */
export function choice(items: readonly Part[]): Part {
  return part(
    (graph, next) => graph.split(items.map((item) => item.build(graph, next))),
    items.some(({ nullable }) => nullable),
  );
}

/** The part or nothing. */
export function optional(item: Part): Part {
  return choice([item, EMPTY]);
}

/** Copies of a nullable part that a bounded repetition is written out to. */
const MAX_COPIES = 64;

/** A part `min` to `max` times (-1 = any number of times). */
export function repeat(item: Part, min: number, max: number): Part {
  if (max === 0) return EMPTY;
  if (max === 1) return min === 1 ? item : optional(item);
  if (max < 0 && (min === 0 || item.nullable)) {
    return part((graph, next) => {
      const loop = graph.hole();
      graph.patch(loop, graph.split([item.build(graph, loop), next]));
      return loop;
    }, true);
  }
  if (max < 0 && min === 1) {
    return part((graph, next) => {
      const loop = graph.hole();
      const body = item.build(graph, loop);
      graph.patch(loop, graph.split([body, next]));
      return body;
    });
  }
  if (item.nullable) {
    // A counter would count rounds that take nothing. Past so many rounds a nullable part has had its chance.
    const once = optional(item);
    return part((graph, next) => {
      graph.budget.charge(max > MAX_COPIES ? Infinity : max);
      return sequence(...Array.from({ length: max }, () => once)).build(graph, next);
    }, true);
  }
  return part((graph, next) => graph.loop((step) => item.build(graph, step), min, max, next), min === 0);
}

/** One of these byte strings, by a tree of their common beginnings. */
export function literals(values: readonly string[]): Part {
  const bytes = [...new Set(values)].map((value) => UTF8.encode(value));
  return part((graph, next) => literalTree(graph, bytes, 0, next), bytes.some(({ length }) => length === 0));
}

/** The tree below one beginning, built from its end: `all` agree in their first `depth` bytes. */
function literalTree(graph: Graph, all: readonly Uint8Array[], depth: number, next: number): number {
  // One string, or a common run: no branching, so no depth of calls for long strings.
  let common = depth;
  const first = all[0];
  if (first === undefined) return graph.split([]);
  while (common < first.length && all.every((one) => one[common] === first[common])) common++;
  const ends = all.some(({ length }) => length === common);
  const groups = Map.groupBy(all.filter(({ length }) => length > common), (one) => one[common]!);
  const edges = [...groups].map(([byte, group]) => [byte, byte, literalTree(graph, group, common + 1, next)] as const);
  const branch = edges.length === 0 ? next : graph.bytes(edges);
  let state = ends && edges.length > 0 ? graph.split([branch, next]) : branch;
  for (let i = common - 1; i >= depth; i--) state = graph.byte(first[i]!, state);
  return state;
}
