/** Text that is free until it contains a trigger: once, or again and again with constrained text after each. */
import { RealizarError } from "../errors.ts";
import { type Graph, type Part, STATE } from "./automaton.ts";
import { part } from "./parts.ts";

/** Bytes of all triggers of one grammar. */
const MAX_TRIGGER_BYTES = 4096;

/** A place in the tree of the triggers: what was seen last is the beginning of a trigger that leads here. */
interface Place {
  readonly next: Map<number, Place>;
  /** The longest end of what leads here that leads somewhere too. */
  fallback: Place | undefined;
  /** A trigger ends here. */
  ends: boolean;
  hole: number;
}

function placeOf(): Place {
  return { next: new Map(), fallback: undefined, ends: false, hole: 0 };
}

/** The places of the triggers, each after its fallback. */
function placesOf(triggers: readonly string[]): Place[] {
  const root = placeOf();
  for (const trigger of triggers) {
    let at = root;
    for (const byte of new TextEncoder().encode(trigger)) {
      let next = at.next.get(byte);
      if (next === undefined) at.next.set(byte, next = placeOf());
      at = next;
    }
    at.ends = true;
  }
  const places = [root];
  for (const place of places) {
    for (const [byte, next] of place.next) {
      let fallback = place.fallback;
      while (fallback !== undefined && !fallback.next.has(byte)) fallback = fallback.fallback;
      next.fallback = fallback?.next.get(byte) ?? root;
      next.ends ||= next.fallback.ends;
      places.push(next);
    }
  }
  return places;
}

/** Where a byte leads from a place: as far on in a trigger as possible. */
function targetOf(place: Place, byte: number, root: Place): Place {
  for (let at: Place | undefined = place; at !== undefined; at = at.fallback) {
    const next = at.next.get(byte);
    if (next !== undefined) return next;
  }
  return root;
}

function checkTriggers(triggers: readonly string[]): void {
  if (triggers.length === 0 || triggers.some((trigger) => trigger === "")) {
    throw new RealizarError("ARG", "grammar: lazy and until need triggers, and none may be empty");
  }
  const nBytes = triggers.reduce((sum, { length }) => sum + length, 0);
  if (nBytes > MAX_TRIGGER_BYTES) {
    throw new RealizarError("LIMIT", `grammar: triggers of ${nBytes} characters, at most ${MAX_TRIGGER_BYTES}`);
  }
}

/**
 * Free text; after each of `triggers`, `then` must follow. It may end wherever it is free. Throws `ARG`, `LIMIT` for
 * the triggers.
 */
export function lazyPart(triggers: readonly string[], then: Part): Part {
  checkTriggers(triggers);
  return part((graph, next) => buildLazy(graph, placesOf(triggers), then, next), true);
}

/** Free text up to and with `end`. Throws `ARG`, `LIMIT` for it. */
export function untilPart(end: string, takesControl: boolean): Part {
  checkTriggers([end]);
  return part((graph, next) => {
    const places = placesOf([end]);
    for (const place of places) place.hole = graph.hole();
    for (const place of places) {
      if (place.ends) graph.patch(place.hole, next);
      else {
        const free = takesControl ? [graph.add(STATE.free)] : [];
        graph.patch(place.hole, graph.split([...free, edgesOf(graph, place, places[0]!)]));
      }
    }
    return places[0]!.hole;
  });
}

/** A state that takes any byte and goes on to the place where it leads. */
function edgesOf(graph: Graph, place: Place, root: Place): number {
  const edges: [number, number, number][] = [];
  for (let byte = 0; byte < 256; byte++) {
    const target = targetOf(place, byte, root).hole;
    const last = edges.at(-1);
    if (last !== undefined && last[2] === target) last[1] = byte;
    else edges.push([byte, byte, target]);
  }
  return graph.bytes(edges);
}

function buildLazy(graph: Graph, places: readonly Place[], then: Part, next: number): number {
  const root = places[0]!;
  for (const place of places) place.hole = graph.hole();
  const constrained = then.build(graph, root.hole);
  for (const place of places) {
    if (place.ends) {
      graph.patch(place.hole, constrained);
      continue;
    }
    graph.patch(place.hole, graph.split([graph.add(STATE.free), next, edgesOf(graph, place, root)]));
  }
  return root.hole;
}
