/** Reads hyper-parameters under an architecture's prefix, collecting problems so that all are told at once. */
import { type ErrorCode, RealizarError } from "../errors.ts";
import type { Metadata } from "../format/metadata.ts";
import { Problems } from "../format/problems.ts";

/**
 * Readers of metadata under a prefix. A value that is missing, of the wrong type or out of its range is noted, and a
 * value inside the range stands for it until {@linkcode Fields.throwProblems}.
 */
export class Fields {
  readonly metadata: Metadata;
  readonly #prefix: string;
  readonly #problems = new Problems();

  constructor(metadata: Metadata, prefix: string) {
    this.metadata = metadata;
    this.#prefix = prefix;
  }

  /** The whole key. */
  key(suffix: string): string {
    return this.#prefix + suffix;
  }

  has(suffix: string): boolean {
    return this.metadata.has(this.key(suffix));
  }

  /** An integer from min to max; `KEY_MISSING` without a fallback. */
  int(suffix: string, min: number, max: number, fallback?: number): number {
    const key = this.key(suffix);
    const read = () => fallback === undefined ? this.metadata.int(key) : this.metadata.int(key, fallback);
    return this.#ranged(suffix, this.#read(read, fallback ?? min), min, max);
  }

  /** A finite float from min to max. */
  float(suffix: string, min: number, max: number, fallback?: number): number {
    const key = this.key(suffix);
    const read = () => fallback === undefined ? this.metadata.float(key) : this.metadata.float(key, fallback);
    return this.#ranged(suffix, this.#read(read, fallback ?? min), min, max);
  }

  string(suffix: string, fallback: string): string {
    return this.#read(() => this.metadata.string(this.key(suffix), fallback), fallback);
  }

  /** One integer for all layers, or an array of one for each. */
  layers(suffix: string, nLayers: number, min: number, max: number, fallback?: readonly number[]): number[] {
    const key = this.key(suffix);
    if (this.metadata.typeOf(key) === "array") {
      const values = this.#read(() => [...this.metadata.ints(key)], []);
      if (this.check(values.length === nLayers, "SHAPE", suffix, `${values.length} elements for ${nLayers} layers`)) {
        return values.map((value) => this.#ranged(suffix, value, min, max));
      }
    } else if (fallback !== undefined && !this.has(suffix)) {
      return [...fallback];
    }
    const value = this.metadata.typeOf(key) === "array" ? min : this.int(suffix, min, max);
    return Array.from({ length: nLayers }, () => value);
  }

  /** Tokens of the vocabulary, or what the file says when it carries none. */
  vocabSize(max: number): number {
    const n = this.metadata.lengthOf("tokenizer.ggml.tokens");
    if (n === undefined) return this.int("vocab_size", 1, max);
    return this.#ranged("", n, 1, max, "tokenizer.ggml.tokens");
  }

  /** Notes a problem with a key unless `ok`; returns `ok`. */
  check(ok: boolean, code: ErrorCode, suffix: string, problem: string): boolean {
    if (!ok) this.#note(this.metadata.errorAt(code, this.key(suffix), problem));
    return ok;
  }

  /** Throws when anything was noted. */
  throwProblems(): void {
    this.#problems.throwIfAny("the configuration is not usable");
  }

  #read<T>(read: () => T, standIn: T): T {
    try {
      return read();
    } catch (thrown) {
      this.#note(thrown);
      return standIn;
    }
  }

  #note(thrown: unknown): void {
    if (!(thrown instanceof RealizarError)) throw thrown;
    this.#problems.add(thrown.code, () => thrown.message);
  }

  #ranged(suffix: string, value: number, min: number, max: number, key = this.key(suffix)): number {
    // NaN is in no range.
    if (value >= min && value <= max) return value;
    this.#note(this.metadata.errorAt("LIMIT", key, `${value}, expected ${min} to ${max}`));
    return min;
  }
}
