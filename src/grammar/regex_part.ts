/** A JSON string whose content a regular expression finds something in, and whose length is within bounds. */
import type { CodePointSet } from "../text/code_points.ts";
import type { Budget } from "./budget.ts";
import type { Graph, Part } from "./automaton.ts";
import { characterEdges } from "./json_text.ts";
import { part } from "./parts.ts";
import { parseRegex, type RegexNode } from "./regex_parse.ts";

const ANY: CodePointSet = [0, 0x10ffff];

/** A state of the expression's own automaton, over characters. */
type Step =
  | { readonly kind: "take"; readonly set: CodePointSet; readonly next: number }
  | { readonly kind: "start" | "end"; readonly next: number }
  | { readonly kind: "fork"; readonly next: number[] }
  | { readonly kind: "found" };

/** The steps of an expression, back to front; step 0 is its end. */
function stepsOf(root: RegexNode, budget: Budget): { steps: Step[]; first: number } {
  const steps: Step[] = [{ kind: "found" }];
  const add = (step: Step): number => {
    budget.charge();
    return steps.push(step) - 1;
  };
  const build = (node: RegexNode, next: number): number => {
    if (node.kind === "set") return add({ kind: "take", set: node.set, next });
    if (node.kind === "start" || node.kind === "end") return add({ kind: node.kind, next });
    if (node.kind === "sequence") return node.items.reduceRight((after, item) => build(item, after), next);
    if (node.kind === "choice") return add({ kind: "fork", next: node.items.map((item) => build(item, next)) });
    if (node.kind !== "repeat") return next;
    let after = next;
    if (node.max < 0) {
      const fork: number[] = [];
      after = add({ kind: "fork", next: fork });
      fork.push(build(node.item, after), next);
    }
    for (let i = node.min; i < node.max; i++) after = add({ kind: "fork", next: [build(node.item, after), next] });
    for (let i = 0; i < node.min; i++) {
      budget.charge();
      after = build(node.item, after);
    }
    return after;
  };
  const first = build(root, 0);
  return { steps, first };
}

/** Where in the text a way is: at its start, inside, or where nothing may follow. */
const AT = { start: 0, inside: 1, end: 2 } as const;
/** Pseudo steps: before the match, which may begin anywhere, and after it. */
const BEFORE = -1;
const AFTER = -2;

/** The product of an expression with where the text stands and how long it is, as states of a graph. */
class RegexStates {
  readonly #graph: Graph;
  readonly #steps: readonly Step[];
  readonly #first: number;
  readonly #min: number;
  readonly #max: number;
  readonly #end: number;
  readonly #known = new Map<string, number>();
  readonly #queue: { hole: number; step: number; at: number; length: number }[] = [];

  constructor(graph: Graph, node: RegexNode, min: number, max: number, end: number) {
    const { steps, first } = stepsOf(node, graph.budget);
    this.#graph = graph;
    this.#steps = steps;
    this.#first = first;
    this.#min = min;
    this.#max = max;
    this.#end = end;
  }

  build(): number {
    const start = this.#state(BEFORE, AT.start, 0);
    for (let next = this.#queue.pop(); next !== undefined; next = this.#queue.pop()) {
      this.#graph.patch(next.hole, this.#make(next.step, next.at, next.length));
    }
    return start;
  }

  #state(step: number, at: number, length: number): number {
    const key = `${step} ${at} ${length}`;
    let hole = this.#known.get(key);
    if (hole === undefined) {
      hole = this.#graph.hole();
      this.#known.set(key, hole);
      this.#queue.push({ hole, step, at, length });
    }
    return hole;
  }

  #make(step: number, at: number, length: number): number {
    const graph = this.#graph;
    if (step === BEFORE) {
      return graph.split([this.#state(this.#first, at, length), this.#take(ANY, BEFORE, length)]);
    }
    if (step === AFTER) return graph.split([...this.#endHere(length), this.#take(ANY, AFTER, length)]);
    const what = this.#steps[step]!;
    switch (what.kind) {
      case "found":
        return at === AT.end ? graph.split(this.#endHere(length)) : this.#state(AFTER, AT.inside, length);
      case "start":
        return at === AT.start ? this.#state(what.next, at, length) : graph.split([]);
      case "end":
        return this.#state(what.next, AT.end, length);
      case "fork":
        return graph.split(what.next.map((next) => this.#state(next, at, length)));
      case "take":
        return at === AT.end ? graph.split([]) : this.#take(what.set, what.next, length);
    }
  }

  #endHere(length: number): number[] {
    return length >= this.#min ? [this.#end] : [];
  }

  #take(set: CodePointSet, next: number, length: number): number {
    if (length === this.#max) return this.#graph.split([]);
    // Without an upper bound, lengths past the lower one are all alike.
    const longer = this.#max < 0 ? Math.min(length + 1, this.#min) : length + 1;
    return this.#graph.bytes(characterEdges(this.#graph, set, this.#state(next, AT.inside, longer)));
  }
}

/**
 * A JSON string, written as JSON.stringify does, in which the expression finds something and which has `min` to `max`
 * (-1 = any number of) characters. Throws `ARG`, `UNSUPPORTED`, `LIMIT` for the expression, at once.
 */
export function stringMatching(pattern: string, min: number, max: number, budget: Budget): Part {
  const node = parseRegex(pattern, budget);
  return part((graph, next) => {
    const end = graph.byte(0x22, next);
    return graph.byte(0x22, new RegexStates(graph, node, min, max, end).build());
  });
}
