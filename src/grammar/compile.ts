/** Grammars of every kind to automata. */
import type { GrammarSource } from "../conversation.ts";
import { RealizarError } from "../errors.ts";
import { Graph, type Part } from "./automaton.ts";
import { Budget, checkDepth, MAX_COMPILE_MS } from "./budget.ts";
import { gbnfPart } from "./gbnf.ts";
import { schemaPart } from "./json_schema.ts";
import { lazyPart } from "./lazy.ts";
import { choice, repeat, sequence, text } from "./parts.ts";
import { checkSource } from "./source.ts";
import type { WireGrammar } from "./wire.ts";

/**
 * Compiles a grammar. Throws `ARG` for what is no grammar or fits no text, `UNSUPPORTED` for what cannot be honoured,
 * `LIMIT` when it nests more than 64 deep, needs more than 10^6 states or takes more than `limitMs` of wall time.
 */
export function compileGrammar(source: GrammarSource, limitMs: number = MAX_COMPILE_MS): WireGrammar {
  const budget = new Budget(limitMs);
  checkSource(source);
  return Graph.compile(sourcePart(source, budget, 0), budget);
}

function sourcePart(source: GrammarSource, budget: Budget, depth: number): Part {
  checkDepth(depth, "parts of a grammar");
  budget.charge();
  const below = (inner: GrammarSource): Part => sourcePart(inner, budget, depth + 1);
  switch (source.kind) {
    case "schema":
      return schemaPart(source.schema, budget);
    case "gbnf":
      return gbnfPart(source.grammar, budget);
    case "text":
      return text(source.text);
    case "sequence":
      return sequence(...source.parts.map(below));
    case "choice":
      return choice(source.options.map(below));
    case "repeat":
      return repeatPart(below(source.of), source, budget);
    case "lazy":
      return lazyPart(source.triggers, below(source.then));
    default:
      throw new RealizarError(
        "ARG",
        `grammar: got a part of kind ${JSON.stringify((source as { kind: unknown }).kind)}`,
      );
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
  if (!valid) throw new RealizarError("ARG", `grammar: a repetition of ${min} to ${max ?? "any number of"} times`);
  if (separator === "" || most === 0) return repeat(item, min, most);
  const rest = repeat(sequence(text(separator), item), Math.max(0, min - 1), most < 0 ? -1 : most - 1);
  const all = sequence(item, rest);
  return min === 0 ? repeat(all, 0, 1) : all;
}
