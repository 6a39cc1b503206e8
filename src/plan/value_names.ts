/**
 * Names of a plan's values, for people who look inside: `layers.3.ffn_down` is what that weight's product gives,
 * `layers.3.attention` what the op of that name gives; outside the layers the prefix is missing.
 */
import { opNameOfCode } from "./op_table.ts";
import { NO_LAYER, type PlanRecords, readPlan } from "./plan.ts";

/** A value that can be looked at. */
export interface NamedValue {
  readonly name: string;
  /** 1-based. */
  readonly id: number;
  /** Index of the op that makes it. */
  readonly op: number;
  /** Name of that op. */
  readonly opName: string;
  /** Undefined outside the layers. */
  readonly layer: number | undefined;
  /** Index into `ROW_SYMBOLS`. */
  readonly rows: number;
  readonly cols: number;
}

/** Ops called by what they do, not by their weight: a tied embedding is both. */
const BY_OP = ["embed", "logits"];

/** `blk.3.ffn_down.weight` is `ffn_down`. */
function stemOf(tensor: string): string {
  return tensor.replace(/^blk\.\d+\./, "").replace(/\.weight$/, "");
}

/** Every value in the order in which it is made. A name that comes again in its layer gets `.1`, `.2` ... */
function nameValues(plan: PlanRecords, weightNames: readonly string[]): NamedValue[] {
  const times = new Map<string, number>();
  return plan.ops.flatMap((op, index) => {
    const opName = opNameOfCode(op.code)!;
    const tensor = BY_OP.includes(opName) ? undefined : weightNames[op.w[0]! - 1];
    const layer = op.layer === NO_LAYER ? undefined : op.layer;
    const base = `${layer === undefined ? "" : `layers.${layer}.`}${tensor === undefined ? opName : stemOf(tensor)}`;
    return op.out.filter((id) => id !== 0).map((id) => {
      const n = times.get(base) ?? 0;
      times.set(base, n + 1);
      const { rows, cols } = plan.values[id - 1]!;
      return { name: n === 0 ? base : `${base}.${n}`, id, op: index, opName, layer, rows, cols };
    });
  });
}

/** Experts of a token in a plan that routes; 0 in others. */
function expertsPerToken(plan: PlanRecords): number {
  return Math.max(0, ...plan.ops.filter(({ code }) => opNameOfCode(code) === "moeRoute").map(({ n }) => n[0]!));
}

/** What can be looked at in a plan. */
export interface NamedValues {
  readonly named: readonly NamedValue[];
  /** Experts of a token in a plan that routes; 0 in others. */
  readonly expertsPerToken: number;
}

/** The values of a plan's bytes. */
export function readNamedValues(bytes: Uint8Array, weightNames: readonly string[]): NamedValues {
  const plan = readPlan(bytes);
  return { named: nameValues(plan, weightNames), expertsPerToken: expertsPerToken(plan) };
}
