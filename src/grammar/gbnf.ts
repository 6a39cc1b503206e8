/** GBNF to parts: undefined rules and left recursion are refused. */
import { type Part, Rule } from "./automaton.ts";
import type { Budget } from "./budget.ts";
import { gbnfError, type GbnfNode, type GbnfRules, parseGbnf } from "./gbnf_parse.ts";
import { choice, oneOf, repeat, sequence, text } from "./parts.ts";

/** The names of rules that may be empty. */
function nullableRules(rules: GbnfRules, budget: Budget): Set<string> {
  const nullable = new Set<string>();
  for (let changed = true; changed;) {
    changed = false;
    for (const [name, { node }] of rules) {
      budget.charge();
      if (nullable.has(name) || !mayBeEmpty(node, nullable)) continue;
      nullable.add(name);
      changed = true;
    }
  }
  return nullable;
}

function mayBeEmpty(node: GbnfNode, nullable: ReadonlySet<string>): boolean {
  switch (node.kind) {
    case "text":
      return node.text === "";
    case "set":
      return false;
    case "rule":
      return nullable.has(node.name);
    case "sequence":
      return node.items.every((item) => mayBeEmpty(item, nullable));
    case "choice":
      return node.items.some((item) => mayBeEmpty(item, nullable));
    case "repeat":
      return node.min === 0 || mayBeEmpty(node.item, nullable);
  }
}

/** Every rule that an expression uses; with `nullable` only those that may be its beginning. */
function usedBy(
  node: GbnfNode,
  nullable: ReadonlySet<string> | undefined,
  found: Extract<GbnfNode, { name: string }>[],
) {
  if (node.kind === "rule") found.push(node);
  else if (node.kind === "repeat") usedBy(node.item, nullable, found);
  else if (node.kind === "choice" || node.kind === "sequence") {
    for (const item of node.items) {
      usedBy(item, nullable, found);
      if (node.kind === "sequence" && nullable !== undefined && !mayBeEmpty(item, nullable)) break;
    }
  }
  return found;
}

/** Refuses a rule that may begin with itself: it would go on for ever without taking a character. */
function refuseLeftRecursion(source: string, rules: GbnfRules, nullable: ReadonlySet<string>, budget: Budget): void {
  const state = new Map<string, "open" | "done">();
  for (const root of rules.keys()) {
    if (state.has(root)) continue;
    const way: { name: string; firsts: string[] }[] = [];
    const enter = (name: string): void => {
      budget.charge();
      state.set(name, "open");
      way.push({ name, firsts: usedBy(rules.get(name)!.node, nullable, []).map((rule) => rule.name) });
    };
    enter(root);
    while (way.length > 0) {
      const top = way.at(-1)!;
      const next = top.firsts.pop();
      if (next === undefined) {
        state.set(top.name, "done");
        way.pop();
      } else if (state.get(next) === "open") {
        throw gbnfError(source, rules.get(next)!.at, `rule ${next} begins with itself (left recursion)`);
      } else if (state.get(next) === undefined) enter(next);
    }
  }
}

/** Text of a GBNF grammar, by its rule `root`. Throws `ARG` or `UNSUPPORTED` with line and column, and `LIMIT`. */
export function gbnfPart(source: string, budget: Budget): Part {
  const rules = parseGbnf(source, budget);
  if (!rules.has("root")) throw gbnfError(source, source.length, "there is no rule root");
  for (const { node } of rules.values()) {
    for (const { name, at } of usedBy(node, undefined, [])) {
      budget.charge();
      if (!rules.has(name)) throw gbnfError(source, at, `there is no rule ${name}`);
    }
  }
  const nullable = nullableRules(rules, budget);
  refuseLeftRecursion(source, rules, nullable, budget);
  const parts = new Map<string, Rule>();
  const partOf = (node: GbnfNode): Part => {
    switch (node.kind) {
      case "text":
        return text(node.text);
      case "set":
        return oneOf(node.set);
      case "rule":
        return parts.get(node.name)!;
      case "sequence":
        return sequence(...node.items.map(partOf));
      case "choice":
        return choice(node.items.map(partOf));
      case "repeat":
        return repeat(partOf(node.item), node.min, node.max);
    }
  };
  for (const [name, { node }] of rules) {
    const rule = new Rule(() => partOf(node));
    rule.nullable = nullable.has(name);
    parts.set(name, rule);
  }
  return parts.get("root")!;
}
