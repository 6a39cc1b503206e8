/** Random schemas: whatever compiles generates only what ajv finds valid. */
import { assert } from "@std/assert";
import { RealizarError } from "../src/errors.ts";
import type { WireGrammar } from "../src/grammar/wire.ts";
import { testUnless } from "./support.ts";
import { AJV_MISSING, compile, PIECEWISE, randomOf, randomWalk, textOf, validatorOf } from "./grammar_support.ts";

const SCHEMAS = 200;
const NAMES = ["a", "b", "name", "id"];

/** Makes schemas of the keywords that are honoured, with a bias to those that meet each other. */
class SchemaMaker {
  readonly #random: () => number;

  constructor(seed: number) {
    this.#random = randomOf(seed);
  }

  #below(n: number): number {
    return Math.floor(this.#random() * n);
  }

  #chance(share: number): boolean {
    return this.#random() < share;
  }

  #pick<T>(items: readonly T[]): T {
    return items[this.#below(items.length)]!;
  }

  root(): Record<string, unknown> {
    return { ...this.schema(0), $defs: { x: this.schema(2), y: this.schema(2), z: this.#leaf() } };
  }

  schema(depth: number): Record<string, unknown> {
    const kind = this.#below(depth > 3 ? 5 : 13);
    const sub = (): unknown => this.#chance(0.06) ? this.#chance(0.8) : this.schema(depth + 1);
    switch (kind) {
      case 5:
      case 6:
        return this.#object(sub);
      case 7:
        return this.#array(sub);
      case 8:
        return {
          anyOf: [sub(), sub(), ...(this.#chance(0.3) ? [sub()] : [])],
          ...(this.#chance(0.3) ? this.#leaf() : {}),
        };
      case 9:
        return { allOf: [this.#leaf(), sub()] };
      case 10:
        return { $ref: `#/$defs/${this.#pick(["x", "y", "z"])}`, ...(this.#chance(0.3) ? this.#object(sub) : {}) };
      case 11:
        return {
          oneOf: [{ type: "object", properties: { id: { const: 1 }, a: sub() }, required: ["id"] }, this.#leaf()],
        };
      case 12:
        return { allOf: [this.#object(sub), this.#object(sub)] };
      default:
        return this.#leaf();
    }
  }

  #leaf(): Record<string, unknown> {
    const bounds = (low: string, high: string, most: number): Record<string, unknown> => {
      const min = this.#below(most), max = min + this.#below(most);
      return { ...(this.#chance(0.5) ? { [low]: min } : {}), ...(this.#chance(0.6) ? { [high]: max } : {}) };
    };
    switch (this.#below(7)) {
      case 0:
        return { type: this.#pick(["integer", "number"]), ...this.#numberBounds() };
      case 1:
        return { type: "string", ...bounds("minLength", "maxLength", 6) };
      case 2:
        return {
          type: "string",
          pattern: this.#pick(["^[a-c]+$", "b", "^\\d{2,4}$", "^(a|bc)*$", "x$"]),
          ...(this.#chance(0.4) ? { maxLength: 5 } : {}),
        };
      case 3:
        return {
          enum: Array.from({ length: 1 + this.#below(4) }, () => this.#pick([1, 2, "a", "ab", null, true, 1.5])),
        };
      case 4:
        return {
          type: this.#pick([["string", "null"], ["integer", "boolean"], ["number", "string"]]),
          ...this.#numberBounds(),
        };
      case 5:
        return { const: this.#pick([{ a: 1 }, [1, "x"], "q", 7]) };
      default:
        return { type: this.#pick(["boolean", "null"]) };
    }
  }

  #numberBounds(): Record<string, unknown> {
    const base = Math.round((this.#random() - 0.5) * 400) / this.#pick([1, 4, 10]);
    return {
      ...(this.#chance(0.4) ? { [this.#pick(["minimum", "exclusiveMinimum"])]: base } : {}),
      ...(this.#chance(0.4) ? { [this.#pick(["maximum", "exclusiveMaximum"])]: base + this.#below(60) / 4 } : {}),
      ...(this.#chance(0.15) ? { multipleOf: 1 + this.#below(7) } : {}),
    };
  }

  #object(sub: () => unknown): Record<string, unknown> {
    const names = NAMES.filter(() => this.#chance(0.5));
    const required = NAMES.filter(() => this.#chance(0.25));
    const others = this.#pick([undefined, undefined, true, false, sub()]);
    return {
      type: "object",
      ...(this.#chance(0.9) ? { properties: Object.fromEntries(names.map((name) => [name, sub()])) } : {}),
      ...(this.#chance(0.7) ? { required } : {}),
      ...(others === undefined ? {} : { additionalProperties: others }),
    };
  }

  #array(sub: () => unknown): Record<string, unknown> {
    const min = this.#below(3);
    return {
      type: "array",
      ...(this.#chance(0.8) ? { items: sub() } : {}),
      ...(this.#chance(0.4) ? { prefixItems: [sub(), sub()] } : {}),
      ...(this.#chance(0.5) ? { minItems: min } : {}),
      ...(this.#chance(0.5) ? { maxItems: min + this.#below(3) } : {}),
    };
  }
}

testUnless(AJV_MISSING, "random schemas: what compiles generates only valid documents", () => {
  let nCompiled = 0, nEnded = 0, nRefused = 0;
  for (let seed = 1; seed <= SCHEMAS; seed++) {
    const schema = new SchemaMaker(seed).root();
    let grammar: WireGrammar;
    try {
      grammar = compile({ kind: "schema", schema });
    } catch (error) {
      // Contradictions, circles, and options that nothing shows to exclude each other, are refused; nothing else is.
      assert(error instanceof RealizarError && (error.code === "UNSUPPORTED" || error.code === "ARG"), String(error));
      if (error.code === "ARG") assert(/no text fits|stands for itself/.test(error.message), error.message);
      nRefused++;
      continue;
    }
    nCompiled++;
    const validate = validatorOf(schema);
    for (const walkSeed of [1, 2, 3]) {
      const walk = randomWalk(grammar, PIECEWISE, seed * 10 + walkSeed, 40, 250);
      if (!walk.ended) continue;
      nEnded++;
      const text = textOf(walk.bytes);
      assert(validate(JSON.parse(text)), `seed ${seed}: ${text} by ${JSON.stringify(schema)}`);
    }
  }
  assert(nCompiled > SCHEMAS / 2 && nEnded > nCompiled, `${nCompiled} compiled, ${nRefused} refused, ${nEnded} ended`);
});
