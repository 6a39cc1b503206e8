/**
 * Plans as files. An exported plan is exactly the buffer that rz_plan_open takes; its weight table, with file numbers
 * and offsets, is what rz_weights_open takes. So a program in any language runs a model through csrc/realizar.h alone:
 * this file, the model's own files in the order of their numbers, and nothing of TypeScript.
 */
import { RealizarError } from "../errors.ts";
import { type Plan, readPlan } from "./plan.ts";

/** `RZ_FILE_NONE`: the weight's bytes were given from memory. */
const FILE_NONE = 0xffffffff;

/**
 * The bytes to write to an export file. `UNSUPPORTED` when a weight does not lie in a file: nobody could find it.
 */
export function exportPlan(plan: Plan): Uint8Array {
  const { weights } = readPlan(plan.bytes);
  const lost = weights.findIndex((weight) => weight.file === FILE_NONE);
  if (lost >= 0) {
    const name = plan.weightNames[lost]!;
    throw new RealizarError("UNSUPPORTED", `plan export: ${name} came from memory; load the model from files`);
  }
  return plan.bytes.slice();
}
