/** The proof of a model's weights: only {@linkcode validateWeights} makes the types that plans are built over. */
import type { DType } from "../dtype.ts";
import { RealizarError } from "../errors.ts";
import type { FileInfo, TensorInfo } from "../format/directory.ts";
import { Problems, quoted } from "../format/problems.ts";
import { findWeightProblems } from "./check.ts";
import { readFloats } from "./host_tensor.ts";
import { type RoleSpec, USE_HOST } from "./roles.ts";

/** `rz_weight.file` of a weight whose model did not come by path (`RZ_FILE_NONE`). */
const FILE_NONE = 0xffffffff;

/** A proved weight: all that `rz_weight` needs. Frozen. */
export interface WeightBinding {
  /** Weight id: 1 + index in the table. */
  readonly id: number;
  /** Name in the file. */
  readonly tensor: string;
  readonly dtype: DType;
  /** `USE_*` bits. */
  readonly use: number;
  /** Output dimension, of one expert. */
  readonly rows: number;
  /** Input dimension: the length of a row. */
  readonly cols: number;
  /** 1 unless `USE_MOE`. */
  readonly nExperts: number;
  /** Index into the model's files, or 0xFFFFFFFF when they did not come by path. */
  readonly file: number;
  /** Index into the model's files, always. */
  readonly source: number;
  /** From the start of that file. */
  readonly offset: number;
  readonly bytes: number;
}

/** A model's tensors and the files they lie in: what a format's reader returns. */
export interface TensorDirectory {
  readonly tensors: readonly TensorInfo[];
  readonly files: readonly FileInfo[];
}

type Bindings = ReadonlyMap<string, WeightBinding>;

/** Known to this module alone; without it the constructors refuse. */
const PROOF = Symbol("proved");

function requireProof(proof: unknown): void {
  if (proof !== PROOF) throw new RealizarError("ARG", "validated weights are made by validateWeights alone");
}

/**
 * The weights of one layer, or of what lies outside the layers. What {@linkcode validateWeights} did not make has no
 * private field, and every method refuses it with `ARG`.
 */
export class ValidatedLayer {
  readonly #bindings: Bindings;
  readonly #name: string;

  /** For {@linkcode validateWeights} only. */
  constructor(proof: unknown, name: string, bindings: Bindings) {
    requireProof(proof);
    this.#bindings = bindings;
    this.#name = name;
    Object.freeze(this);
  }

  static {
    Object.freeze(ValidatedLayer.prototype);
  }

  /** True for what {@linkcode validateWeights} made. */
  static is(value: unknown): value is ValidatedLayer {
    return typeof value === "object" && value !== null && #bindings in value;
  }

  /** The weight with this role; `KEY_MISSING` when the layer has none. */
  binding(role: string): WeightBinding {
    return ValidatedLayer.#need(this, role);
  }

  /** Id of the weight with this role; `KEY_MISSING` when the layer has none. */
  get(role: string): number {
    return ValidatedLayer.#need(this, role).id;
  }

  /** Id of the weight with this role, or 0. */
  optional(role: string): number {
    return ValidatedLayer.#find(this, role)?.id ?? 0;
  }

  // Static, so that no method of a lookalike is called on the way.
  static #find(layer: unknown, role: string): WeightBinding | undefined {
    if (!ValidatedLayer.is(layer)) throw new RealizarError("ARG", "not a layer that validateWeights made");
    return layer.#bindings.get(role);
  }

  static #need(layer: ValidatedLayer, role: string): WeightBinding {
    const found = ValidatedLayer.#find(layer, role);
    if (found === undefined) throw new RealizarError("KEY_MISSING", `${layer.#name} has no weight ${quoted(role)}`);
    return found;
  }
}

/** All weights of a model, each proved against its architecture. Made by {@linkcode validateWeights} alone. */
export class ValidatedWeights {
  readonly #layers: readonly ValidatedLayer[];
  readonly #host: ReadonlyMap<string, Float32Array>;
  /** All weights, in the order of their ids. */
  readonly table: readonly WeightBinding[];
  /** What lies outside the layers. */
  readonly global: ValidatedLayer;

  /** For {@linkcode validateWeights} only. */
  constructor(
    proof: unknown,
    table: readonly WeightBinding[],
    global: ValidatedLayer,
    layers: readonly ValidatedLayer[],
    host: ReadonlyMap<string, Float32Array>,
  ) {
    requireProof(proof);
    this.table = Object.freeze(table);
    this.global = global;
    this.#layers = layers;
    this.#host = host;
    Object.freeze(this);
  }

  static {
    Object.freeze(ValidatedWeights.prototype);
  }

  /** True for what {@linkcode validateWeights} made. */
  static is(value: unknown): value is ValidatedWeights {
    return typeof value === "object" && value !== null && #layers in value;
  }

  get nLayers(): number {
    return this.#layers.length;
  }

  /** The weights of layer i, 0 ... nLayers - 1; `ARG` for another number. */
  layer(i: number): ValidatedLayer {
    const found = this.#layers[i];
    if (found === undefined) throw new RealizarError("ARG", `layer ${i} of ${this.#layers.length}`);
    return found;
  }

  /** A copy of the values of a `USE_HOST` tensor; undefined when the file lacks it. */
  host(role: string): Float32Array | undefined {
    return this.#host.get(role)?.slice();
  }
}

/**
 * Proves that a directory holds exactly the weights that an architecture asks for. Throws one error that lists *all*
 * problems, with the code of the first: `KEY_MISSING` (a tensor is missing), `UNSUPPORTED` (one that no role names, or
 * a type that is not supported), `TYPE` (a type its role may not have), `SHAPE` (dimensions, or a length that is not
 * rows x cols / block x block bytes), `ALIGN`, `OFFSET`, `TRUNCATED`; `IO` when a `USE_HOST` tensor can't be read.
 */
export async function validateWeights(
  specs: readonly RoleSpec[],
  directory: TensorDirectory,
): Promise<ValidatedWeights> {
  const problems = new Problems();
  findWeightProblems(specs, directory, problems);
  problems.throwIfAny(directory.files[0]?.name ?? "model");
  const byName = new Map(directory.tensors.map((tensor) => [tensor.name, tensor]));
  const table: WeightBinding[] = [];
  const nLayers = specs.reduce((n, spec) => Math.max(n, spec.layer === null ? 0 : spec.layer + 1), 0);
  const global = new Map<string, WeightBinding>();
  const layers = Array.from({ length: nLayers }, () => new Map<string, WeightBinding>());
  const host = new Map<string, Float32Array>();
  for (const spec of specs) {
    const tensor = byName.get(spec.tensor);
    if (tensor === undefined || spec.ignored === true) continue;
    if (spec.use === USE_HOST) {
      host.set(spec.role, await readFloats(tensor, directory.files[tensor.file]!.source));
      continue;
    }
    const binding = bindingOf(table.length + 1, spec, tensor, directory, tiedUse(spec, specs, byName));
    table.push(binding);
    (spec.layer === null ? global : layers[spec.layer]!).set(spec.role, binding);
  }
  for (const spec of specs) {
    if (spec.tiedTo === undefined || byName.has(spec.tensor)) continue;
    global.set(spec.role, global.get(spec.tiedTo)!);
  }
  const proved = layers.map((bindings, i) => new ValidatedLayer(PROOF, `layer ${i}`, bindings));
  return new ValidatedWeights(PROOF, table, new ValidatedLayer(PROOF, "the model", global), proved, host);
}

/** The uses of a weight: its own, and those of roles that are tied to it because the file lacks their tensor. */
function tiedUse(spec: RoleSpec, specs: readonly RoleSpec[], byName: ReadonlyMap<string, TensorInfo>): number {
  if (spec.layer !== null) return spec.use;
  const tied = specs.filter((other) => other.tiedTo === spec.role && !byName.has(other.tensor));
  return tied.reduce((use, other) => use | other.use, spec.use);
}

function bindingOf(
  id: number,
  spec: RoleSpec,
  tensor: TensorInfo,
  directory: TensorDirectory,
  use: number,
): WeightBinding {
  const { rows, cols, nExperts = 1 } = spec;
  const { name, dtype, file: source, offset, bytes } = tensor;
  const file = directory.files[source]!.path === null ? FILE_NONE : source;
  // dtype and bytes are known: there was no problem.
  return Object.freeze({
    id,
    tensor: name,
    dtype: dtype!,
    use,
    rows,
    cols,
    nExperts,
    file,
    source,
    offset,
    bytes: bytes!,
  });
}
