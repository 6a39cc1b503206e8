/** Which GPU code this machine can run. */
import { spawnSync } from "node:child_process";

/** Compute capabilities with code of their own, as nvidia-smi tells them. */
const ARCHITECTURES = {
  "8.0": "sm_80",
  "8.6": "sm_86",
  "8.9": "sm_89",
  "9.0": "sm_90a",
  "10.0": "sm_100",
  "12.0": "sm_120",
};

let found;

/** The architecture of the first NVIDIA GPU; "none" without one, "all" (with PTX) for one without code of its own. */
export function gpuArchitecture() {
  if (found !== undefined) return found;
  const args = ["--query-gpu=compute_cap", "--format=csv,noheader"];
  const { status, stdout } = spawnSync("nvidia-smi", args, { encoding: "utf8", timeout: 10_000 });
  const first = status === 0 ? stdout.split("\n")[0].trim() : "";
  found = first === "" ? "none" : ARCHITECTURES[first] ?? "all";
  return found;
}
