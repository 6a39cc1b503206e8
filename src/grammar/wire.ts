/** A compiled grammar as it travels from the text Worker to the engine Worker: flat, cloneable, immutable. */
import type { TokenData } from "./token_trie.ts";

/** What {@linkcode compileGrammar} of grammar/compile.ts makes; see grammar/automaton.ts for what the words mean. */
export interface WireGrammar {
  /** The automaton's tables. */
  readonly words: Int32Array;
  /** What masks need of the vocabulary, when the compiling thread has it: the other one need not make it again. */
  readonly tokens?: TokenData | undefined;
}

/** Walks one generation through a grammar; grammar/constraint.ts makes it. Not shared between sequences. */
export interface Constraint {
  /**
   * Sets the bit of each token that may come next, least significant bit first; tokens that end a text are among them
   * where the text may end. `mask` has ceil(vocabulary / 32) words, all zero on entry. False when every token is
   * allowed: then the mask was not written. Throws `LIMIT` when the grammar is too ambiguous to be followed.
   */
  fill(mask: Uint32Array): boolean;
  /** Takes the sampled token in. It was allowed by the last mask. Throws like {@linkcode Constraint.fill}. */
  accept(token: number): void;
}
