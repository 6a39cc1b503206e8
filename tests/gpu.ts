/** Whether this machine has a GPU that the library can use. */
import { whyNoGpu } from "../src/engine/open_model.ts";
import { ISAS } from "../src/platform/abi.ts";
import { env } from "../src/platform/env.ts";
import { openLibrary } from "../src/platform/library.ts";

/** Why there is none, undefined when there is one. */
export function noGpu(): string | undefined {
  const why = whyNoGpu(openLibrary());
  return why === undefined ? undefined : `no GPU: ${why}`;
}

/** `rz_isa` of the CUDA engines of tests: `REALIZAR_ISA=ptx` is the way of cards that are not here. */
export function gpuIsa(): number {
  return env("REALIZAR_ISA") === "ptx" ? ISAS.ptx : ISAS.auto;
}
