/** How hard a model thinks before it answers is its template's matter: what the APIs ask for, as template variables. */
import type { AnswerPart, ChatMessage, TemplateValue, TokenizeOptions } from "../types.ts";

/** Levels that the APIs have. */
export const EFFORTS = ["none", "minimal", "low", "medium", "high", "xhigh", "max"] as const;

/** How hard to think. */
export type Effort = (typeof EFFORTS)[number];

/** What is needed of a model: it writes conversations down. */
export interface TemplateReader {
  /** Tokens of a conversation as the chat template writes it. */
  tokenize(messages: readonly ChatMessage[], options: TokenizeOptions): Promise<Int32Array>;
}

/** Variables that switch thinking, as templates name them. */
const SWITCHES = ["enable_thinking", "thinking"] as const;

/** What a template does with the variables that are about thinking. */
interface Knobs {
  /** Those of {@linkcode SWITCHES} that change what it writes. */
  switches: string[];
  /** `reasoning_effort` does. */
  levels: boolean;
}

const PROBE: readonly ChatMessage[] = [{ role: "user", content: "hi" }];
const knobs = new WeakMap<TemplateReader, Promise<Knobs>>();

async function differs(model: TemplateReader, name: string, one: TemplateValue, other: TemplateValue) {
  const [first, second] = await Promise.all(
    [one, other].map((value) => model.tokenize(PROBE, { templateValues: { [name]: value } })),
  );
  return first!.join() !== second!.join();
}

async function readKnobs(model: TemplateReader): Promise<Knobs> {
  const [levels, ...reacts] = await Promise.all([
    differs(model, "reasoning_effort", "low", "high"),
    ...SWITCHES.map((name) => differs(model, name, true, false)),
  ]);
  return { switches: SWITCHES.filter((_, i) => reacts[i]), levels: levels! };
}

/** The knobs of a model's template: found out once, by trying. */
function knobsOf(model: TemplateReader): Promise<Knobs> {
  let found = knobs.get(model);
  if (found === undefined) {
    found = readKnobs(model);
    knobs.set(model, found);
    // A failure (a worker that was ended, a model that was closed) says nothing about the next time.
    found.catch(() => knobs.delete(model));
  }
  return found;
}

/**
 * Template variables that make the model think as hard; undefined when its template knows no way to. A template that
 * only switches thinking takes every level but `none` as "on"; `none` needs one that switches.
 */
export async function effortValues(
  model: TemplateReader,
  effort: Effort,
): Promise<Record<string, TemplateValue> | undefined> {
  const { switches, levels } = await knobsOf(model);
  if (switches.length === 0 && (!levels || effort === "none")) return undefined;
  return {
    ...Object.fromEntries(switches.map((name) => [name, effort !== "none"])),
    ...(levels && effort !== "none" ? { reasoning_effort: effort } : {}),
  };
}

/** Counts the tokens of an answer that were spent on thinking, marks of its end included. */
export class ReasoningCounter {
  /** Tokens so far. */
  count = 0;
  #kind: AnswerPart["kind"] | undefined;

  /** Takes a piece of a generation in: its tokens and what they added. A piece with several kinds is the first's. */
  push(nTokens: number, pieces: readonly AnswerPart[] = []): void {
    const kind = pieces[0]?.kind ?? this.#kind;
    if (kind === "reasoning") this.count += nTokens;
    this.#kind = pieces.at(-1)?.kind ?? this.#kind;
  }
}
