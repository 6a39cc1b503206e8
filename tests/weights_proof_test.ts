/** Proofs of weights can't be forged, and not be changed afterwards. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { architectureOf } from "../src/arch/mod.ts";
import { RealizarError } from "../src/errors.ts";
import { openGgufSync } from "../src/format/gguf.ts";
import { readConfig } from "../src/weights/config.ts";
import { ValidatedLayer, ValidatedWeights, validateWeights } from "../src/weights/validate.ts";
import { test } from "./support.ts";
import { tinyGguf } from "./tiny_gguf.ts";

/** A tiny model, proved. */
async function proved() {
  const file = openGgufSync(tinyGguf());
  const { roles, build } = architectureOf("llama");
  const config = readConfig(file.metadata);
  return { config, build, weights: await validateWeights(roles(config), file) };
}

test("weights: a proof can't be forged", async () => {
  const { config, build, weights } = await proved();
  const layer = weights.layer(0);
  assert(ValidatedLayer.is(layer) && ValidatedWeights.is(weights));
  const Layer = ValidatedLayer as unknown as new (...args: unknown[]) => ValidatedLayer;
  const Weights = ValidatedWeights as unknown as new (...args: unknown[]) => ValidatedWeights;
  const secrets = [undefined, null, true, Symbol("proved"), Symbol.for("proved"), layer, {}];
  for (const secret of secrets) {
    const made = [
      () => new Layer(secret, "layer 0", new Map()),
      () => Reflect.construct(Layer, [secret, "layer 0", new Map()]),
      () => new (layer.constructor as typeof Layer)(secret, "layer 0", new Map()),
      () => new (class extends Layer {})(secret, "layer 0", new Map()),
      () => new Weights(secret, [], layer, [layer], new Map()),
      () => new (class extends Weights {})(secret, [], layer, [layer], new Map()),
    ];
    for (const make of made) assertEquals(assertThrows(make, RealizarError).code, "ARG");
  }
  const lookalikes: unknown[] = [
    { ...layer },
    Object.create(ValidatedLayer.prototype),
    Object.create(layer),
    Object.setPrototypeOf({}, ValidatedLayer.prototype),
    new Proxy(layer, {}),
    structuredClone(layer),
    { binding: () => layer.binding("attn_q"), get: () => 1, optional: () => 1 },
    null,
    undefined,
    0,
  ];
  for (const lookalike of lookalikes) {
    assertEquals(ValidatedLayer.is(lookalike), false);
    for (const method of ["get", "binding", "optional"] as const) {
      const call = () => Reflect.apply(ValidatedLayer.prototype[method], lookalike, ["attn_q"]);
      assertEquals(assertThrows(call, RealizarError).code, "ARG");
    }
  }
  assert(build(config, weights).bytes.length > 0);
  const { table, global } = weights;
  const forged = { table, global, layer: (i: number) => weights.layer(i), host: () => undefined, nLayers: 2 };
  for (const lookalike of [{ ...weights }, Object.create(weights), new Proxy(weights, {}), forged]) {
    assertEquals(ValidatedWeights.is(lookalike), false);
    assertEquals(assertThrows(() => build(config, lookalike as ValidatedWeights), RealizarError).code, "ARG");
  }
});

test("weights: a proof can't be changed afterwards", async () => {
  const { weights } = await proved();
  const binding = weights.layer(0).binding("attn_q");
  const writes = [
    () => Object.assign(binding, { rows: 1 }),
    () => Object.assign(binding.dtype, { blockBytes: 1 }),
    () => (weights.table as unknown[]).push(binding),
    () => Object.assign(weights, { table: [] }),
    () => Object.assign(weights.layer(0), { get: () => 1 }),
    () => Object.assign(ValidatedLayer.prototype, { get: () => 1 }),
  ];
  for (const write of writes) assertThrows(write, TypeError);
});
