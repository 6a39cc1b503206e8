/** The times that a plan opened for profiling has counted, with the names of what it launches. */
import { STRUCTS } from "../platform/abi.ts";
import { type Library, readAll } from "../platform/library.ts";
import { readRecord } from "../record.ts";
import type { LaunchTime } from "../types.ts";

const LAYER_NONE = 0xffffffff;

/** A line of the native listing: number, layer, first op, then the pattern's name and the ops. */
const LINE = /^ *\d+ +(?:\d+|-) +@(\d+) {2}(.*?) \(/;

/** What a launch is called, by the first op it covers. */
function launchNames(library: Library, plan: number, nClasses: number): Map<number, string> {
  const names = new Map<number, string>();
  for (let rowClass = 0; rowClass < nClasses; rowClass++) {
    const text = readAll(library, (out, cap) => library.native.rz_plan_listing(plan, rowClass, out, cap));
    for (const line of new TextDecoder().decode(text).split("\n")) {
      const [, op, name] = LINE.exec(line) ?? [];
      if (op !== undefined) names.set(Number(op), names.get(Number(op)) ?? name!);
    }
  }
  return names;
}

/** Sums since the last call, in the order of the plan; launches that did not run are left out. */
export function readProfile(library: Library, plan: number): LaunchTime[] {
  const info = new Uint8Array(STRUCTS.rz_plan_info.size);
  library.check(library.native.rz_plan_info_read(plan, info));
  const { n_classes, n_launches } = readRecord(STRUCTS.rz_plan_info, info);
  const { size } = STRUCTS.rz_brick;
  const bytes = new Uint8Array(size * n_launches.reduce((sum, n) => sum + n, 0));
  const nBytes = library.check(library.native.rz_plan_profile(plan, bytes, bytes.length));
  const names = launchNames(library, plan, n_classes);
  const times: LaunchTime[] = [];
  for (let at = 0; at < nBytes; at += size) {
    const { op, layer, calls, ticks_ns, bytes: weightBytes } = readRecord(STRUCTS.rz_brick, bytes, at);
    if (calls === 0) continue;
    times.push({
      name: names.get(op) ?? `op ${op}`,
      op,
      layer: layer === LAYER_NONE ? undefined : layer,
      calls,
      ms: ticks_ns / 1e6,
      weightBytes,
    });
  }
  return times;
}
