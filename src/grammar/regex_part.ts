/** A JSON string in whose content regular expressions find something, and whose length is within bounds. */
import { type CodePointSet, intersectionOf, unionOf } from "../text/code_points.ts";
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

/** Pseudo steps: before the match, which may begin anywhere, and after it. */
const BEFORE = -1;
const AFTER = -2;

/** What may come at some place of an expression: a character of a set, then another place; or the end of the text. */
interface Place {
  readonly takes: readonly { readonly set: CodePointSet; readonly next: number }[];
  readonly ends: boolean;
}

/** An expression that is looked for in a text, character by character. */
class Expression {
  readonly #steps: readonly Step[];
  readonly #first: number;
  readonly #budget: Budget;
  readonly #places = new Map<number, Place>();

  constructor(source: string, budget: Budget) {
    const { steps, first } = stepsOf(parseRegex(source, budget), budget);
    this.#steps = steps;
    this.#first = first;
    this.#budget = budget;
  }

  /** What may come after a step; `atStart`: nothing was taken yet. */
  placeOf(step: number, atStart: boolean): Place {
    const key = step * 2 + (atStart ? 1 : 0);
    let place = this.#places.get(key);
    if (place === undefined) this.#places.set(key, place = this.#makePlace(step, atStart));
    return place;
  }

  #makePlace(from: number, atStart: boolean): Place {
    const sets = new Map<number, CodePointSet[]>();
    const take = (set: CodePointSet, next: number): void => {
      const known = sets.get(next);
      if (known === undefined) sets.set(next, [set]);
      else known.push(set);
    };
    let ends = false;
    /** Steps to look at, and whether nothing may be taken any more on the way. */
    const open: [step: number, atEnd: boolean][] = [[from, false]];
    const seen = new Set<number>();
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      const [step, atEnd] = next;
      const key = step * 2 + (atEnd ? 1 : 0);
      if (seen.has(key)) continue;
      seen.add(key);
      this.#budget.charge();
      if (step === BEFORE) {
        take(ANY, BEFORE);
        open.push([this.#first, false]);
        continue;
      }
      const what = step === AFTER ? { kind: "found" as const } : this.#steps[step]!;
      if (what.kind === "found") {
        ends = true;
        if (!atEnd) take(ANY, AFTER);
      } else if (what.kind === "take") {
        if (!atEnd) take(what.set, what.next);
      } else if (what.kind === "fork") { for (const each of what.next) open.push([each, atEnd]); }
      else if (what.kind === "end") open.push([what.next, true]);
      else if (atStart) open.push([what.next, atEnd]);
    }
    return { takes: [...sets].map(([next, all]) => ({ set: all.length === 1 ? all[0]! : unionOf(all), next })), ends };
  }
}

/** Where all expressions stand, and how long the text is so far. */
interface Position {
  readonly steps: readonly number[];
  readonly length: number;
  readonly atStart: boolean;
}

/** The expressions followed together, and the length counted, as states of a graph. */
class TextStates {
  readonly #graph: Graph;
  readonly #expressions: readonly Expression[];
  readonly #min: number;
  readonly #max: number;
  readonly #end: number;
  readonly #known = new Map<string, number>();
  readonly #queue: { readonly hole: number; readonly position: Position }[] = [];

  constructor(graph: Graph, expressions: readonly Expression[], min: number, max: number, end: number) {
    this.#graph = graph;
    this.#expressions = expressions;
    this.#min = min;
    this.#max = max;
    this.#end = end;
  }

  build(): number {
    const start = this.#state({ steps: this.#expressions.map(() => BEFORE), length: 0, atStart: true });
    for (let next = this.#queue.pop(); next !== undefined; next = this.#queue.pop()) {
      this.#graph.patch(next.hole, this.#make(next.position, next.hole));
    }
    return start;
  }

  #state(position: Position): number {
    const key = `${position.steps.join()} ${position.length} ${position.atStart}`;
    let hole = this.#known.get(key);
    if (hole === undefined) {
      hole = this.#graph.hole();
      this.#known.set(key, hole);
      this.#queue.push({ hole, position });
    }
    return hole;
  }

  #make({ steps, length, atStart }: Position, self: number): number {
    const places = steps.map((step, i) => this.#expressions[i]!.placeOf(step, atStart));
    const targets = length >= this.#min && places.every(({ ends }) => ends) ? [this.#end] : [];
    // Without an upper bound, lengths past the lower one are all alike.
    const longer = this.#max < 0 ? Math.min(length + 1, this.#min) : length + 1;
    let together: { set: CodePointSet; steps: number[] }[] = length === this.#max ? [] : [{ set: ANY, steps: [] }];
    for (const { takes } of places) {
      this.#graph.budget.charge(together.length * takes.length);
      together = together.flatMap((one) =>
        takes.map(({ set, next }) => ({
          set: one.set === ANY ? set : set === ANY ? one.set : intersectionOf(one.set, set),
          steps: [...one.steps, next],
        }))
      ).filter(({ set }) => set.length > 0);
    }
    for (const { set, steps: next } of together) {
      const target = this.#state({ steps: next, length: longer, atStart: false });
      targets.push(this.#graph.bytes(characterEdges(this.#graph, set, target), set === ANY && target === self));
    }
    return this.#graph.split(targets);
  }
}

/**
 * A JSON string, written as JSON.stringify does, in which all the expressions find something and which has `min` to
 * `max` (-1 = any number of) characters. Throws `ARG`, `UNSUPPORTED`, `LIMIT` for an expression, at once.
 */
export function stringMatching(patterns: readonly string[], min: number, max: number, budget: Budget): Part {
  const expressions = patterns.map((pattern) => new Expression(pattern, budget));
  return part((graph, next) => {
    const end = graph.byte(0x22, next);
    return graph.byte(0x22, new TextStates(graph, expressions, min, max, end).build());
  });
}
