/** Everything that can be wrong between a tensor directory and an architecture's roles. */
import { DTYPES } from "../dtype.ts";
import { type ErrorCode, RealizarError } from "../errors.ts";
import { dtypesThatFit, findRangeProblems, problemOf, tensorBytes, type TensorInfo } from "../format/directory.ts";
import { type Problems, quoted } from "../format/problems.ts";
import { HOST_BYTES_MAX } from "./host_tensor.ts";
import { allowedDTypes, type RoleSpec, USE_HOST, USE_MOE } from "./roles.ts";
import type { TensorDirectory } from "./validate.ts";

/** Rows, columns and experts are u32 in the C ABI. */
const DIM_MAX = 2 ** 32 - 1;

/** Names of `ggml_type` numbers that files do have and that are not supported, for messages. */
const UNSUPPORTED_NAMES: Readonly<Record<number, string>> = {
  9: "Q8_1",
  15: "Q8_K",
  16: "IQ2_XXS",
  17: "IQ2_XS",
  18: "IQ3_XXS",
  19: "IQ1_S",
  21: "IQ3_S",
  22: "IQ2_S",
  24: "I8",
  25: "I16",
  26: "I32",
  27: "I64",
  28: "F64",
  29: "IQ1_M",
  34: "TQ1_0",
  35: "TQ2_0",
  39: "MXFP4",
  40: "NVFP4",
};

/** Notes all problems: of each role in the order of the specs, then unexpected tensors, then ranges. */
export function findWeightProblems(
  specs: readonly RoleSpec[],
  directory: TensorDirectory,
  problems: Problems,
): void {
  checkSpecs(specs);
  const byName = new Map(directory.tensors.map((tensor) => [tensor.name, tensor]));
  for (const spec of specs) {
    const tensor = byName.get(spec.tensor);
    if (tensor !== undefined) findTensorProblems(spec, tensor, problems);
    else if (!isDispensable(spec)) {
      const shape = shapeText(expectedDims(spec));
      problems.add("KEY_MISSING", () => `tensor ${quoted(spec.tensor)} ${shape} is missing`);
    }
  }
  const known = new Set(specs.map((spec) => spec.tensor));
  for (const tensor of directory.tensors) {
    if (known.has(tensor.name)) continue;
    problems.add("UNSUPPORTED", () => problemOf(tensor, "not known to this architecture"));
  }
  findRangeProblems(directory.tensors, directory.files, problems);
}

function isDispensable(spec: RoleSpec): boolean {
  return spec.optional === true || spec.ignored === true || spec.tiedTo !== undefined;
}

function findTensorProblems(spec: RoleSpec, tensor: TensorInfo, problems: Problems): void {
  if (spec.ignored === true) return;
  const add = (code: ErrorCode, problem: string) => problems.add(code, () => problemOf(tensor, problem));
  const expected = expectedDims(spec);
  if (!sameShape(tensor.dims, expected)) {
    const swapped = expected.length > 1 && sameShape(tensor.dims, [expected[1]!, expected[0]!, ...expected.slice(2)]);
    const hint = swapped ? "; it is transposed" : "";
    add("SHAPE", `has shape ${shapeText(tensor.dims)}, expected ${shapeText(expected)}${hint}`);
  }
  const { dtype } = tensor;
  const allowed = allowedDTypes(spec);
  if (dtype === undefined) {
    const name = UNSUPPORTED_NAMES[tensor.dtypeId] ?? "unknown";
    const known = DTYPES.map((row) => row.name).join(" ");
    add("UNSUPPORTED", `has type ${tensor.dtypeId} (${name}), supported are ${known}`);
    return;
  }
  if (!(allowed as readonly string[]).includes(dtype.name)) {
    add("TYPE", `has type ${dtype.name}, expected ${allowed.join(" or ")}`);
  }
  const needed = tensorBytes(dtype, tensor.dims);
  if (needed !== undefined && tensor.bytes !== needed) {
    const fitting = dtypesThatFit(tensor.dims, tensor.bytes ?? 0);
    const hint = fitting.length === 0 ? "" : `; the length would fit ${fitting.join(" or ")}`;
    add("SHAPE", `has ${tensor.bytes} bytes, but ${shapeText(tensor.dims)} of ${dtype.name} takes ${needed}${hint}`);
  }
  if (spec.use === USE_HOST && (tensor.bytes ?? 0) > HOST_BYTES_MAX) {
    add("LIMIT", `has ${tensor.bytes} bytes, at most ${HOST_BYTES_MAX} for what the plan is built from`);
  }
}

/** Dimensions in the order of the file. */
function expectedDims({ rows, cols, nExperts = 1, use }: RoleSpec): number[] {
  if ((use & USE_MOE) !== 0) return [cols, rows, nExperts];
  return rows === 1 ? [cols] : [cols, rows];
}

/** Equal but for dimensions of 1 at the end. */
function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return [0, 1, 2, 3].every((i) => (a[i] ?? 1) === (b[i] ?? 1));
}

function shapeText(dims: readonly number[]): string {
  return `[${dims.join(", ")}]`;
}

/** Specs come from code: what is wrong with them is a bug. */
function checkSpecs(specs: readonly RoleSpec[]): void {
  const fail = (spec: RoleSpec, problem: string): never => {
    throw new RealizarError("INTERNAL", `role ${spec.role} of layer ${spec.layer} (${spec.tensor}): ${problem}`);
  };
  const roles = new Map<string, RoleSpec>();
  const tensors = new Set<string>();
  for (const spec of specs) {
    const key = `${spec.layer} ${spec.role}`;
    if (roles.has(key) || tensors.has(spec.tensor)) fail(spec, "is there twice");
    roles.set(key, spec);
    tensors.add(spec.tensor);
    for (const n of [spec.rows, spec.cols, spec.nExperts ?? 1]) {
      if (!Number.isInteger(n) || n < 1 || n > DIM_MAX) fail(spec, `has a dimension of ${n}`);
    }
    if (spec.use === USE_HOST && spec.layer !== null) fail(spec, "host tensors belong to no layer");
  }
  for (const spec of specs) {
    if (spec.tiedTo === undefined) continue;
    const other = roles.get(`null ${spec.tiedTo}`);
    const ok = spec.layer === null && other?.rows === spec.rows && other.cols === spec.cols && !isDispensable(other);
    if (!ok) fail(spec, `cannot be tied to ${spec.tiedTo}`);
  }
}
