/** Grammars of every kind to automata. */
import type { GrammarSource } from "../conversation.ts";
import { RealizarError } from "../errors.ts";
import { Graph, type Part } from "./automaton.ts";
import { Budget, checkDepth, MAX_COMPILE_MS } from "./budget.ts";
import { gbnfPart } from "./gbnf.ts";
import { type ScalarRules, schemaPart } from "./json_schema.ts";
import { lazyPart, untilPart } from "./lazy.ts";
import { choice, mark, repeat, sequence, text } from "./parts.ts";
import { checkSource } from "./source.ts";
import type { WireGrammar } from "./wire.ts";

/**
 * Compiles a grammar. Throws `ARG` for what is no grammar or fits no text, `UNSUPPORTED` for what cannot be honoured,
 * `LIMIT` when it nests more than 64 deep, needs more than 10^6 states or takes more than `limitMs` of wall time.
 */
export function compileGrammar(source: GrammarSource, limitMs: number = MAX_COMPILE_MS): WireGrammar {
  const budget = new Budget(limitMs);
  checkSource(source);
  return Graph.compile(sourcePart(source, budget, new Map(), 0), budget);
}

function refuse(what: string): never {
  throw new RealizarError("ARG", `grammar: ${what}`);
}

function textOf(value: unknown, name: string): string {
  return typeof value === "string" ? value : refuse(`${name}: got ${typeof value}, expected a string`);
}

function listOf<T>(value: readonly T[], name: string): readonly T[] {
  return Array.isArray(value) ? value : refuse(`${name}: got ${typeof value}, expected an array`);
}

function sourcePart(source: GrammarSource, budget: Budget, scalars: ScalarRules, depth: number): Part {
  checkDepth(depth, "parts of a grammar");
  budget.charge();
  if (typeof source !== "object" || source === null) {
    refuse(`got ${source === null ? "null" : typeof source} for a part`);
  }
  const below = (inner: GrammarSource): Part => sourcePart(inner, budget, scalars, depth + 1);
  switch (source.kind) {
    case "schema":
      return schemaPart(source.schema, budget, scalars);
    case "gbnf":
      return gbnfPart(textOf(source.grammar, "gbnf"), budget);
    case "text":
      return source.control === true && source.text !== ""
        ? mark(textOf(source.text, "text"))
        : text(textOf(source.text, "text"));
    case "until":
      return untilPart(textOf(source.text, "until"), source.control === true);
    case "sequence":
      return sequence(...listOf(source.parts, "parts").map(below));
    case "choice":
      return choice(listOf(source.options, "options").map(below));
    case "repeat":
      return repeatPart(below(source.of), source, budget);
    case "lazy":
      return lazyPart(listOf(source.triggers, "triggers").map((one) => textOf(one, "triggers")), below(source.then));
    default:
      return refuse(`got a part of kind ${JSON.stringify((source as { kind: unknown }).kind)}`);
  }
}

function repeatPart(
  item: Part,
  { min, max, separator }: Extract<GrammarSource, { kind: "repeat" }>,
  budget: Budget,
): Part {
  budget.charge();
  const most = max ?? -1;
  const valid = Number.isInteger(min) && min >= 0 && Number.isInteger(most) && (max === undefined || max >= min);
  if (!valid) refuse(`a repetition of ${min} to ${max ?? "any number of"} times`);
  textOf(separator, "separator");
  if (separator === "" || most === 0) return repeat(item, min, most);
  const rest = repeat(sequence(text(separator), item), Math.max(0, min - 1), most < 0 ? -1 : most - 1);
  const all = sequence(item, rest);
  return min === 0 ? repeat(all, 0, 1) : all;
}
