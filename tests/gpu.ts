/** Whether this machine has a GPU that the library can use. */
import { whyNoGpu } from "../src/engine/open_model.ts";
import { openLibrary } from "../src/platform/library.ts";

/** Why there is none, undefined when there is one. */
export function noGpu(): string | undefined {
  const why = whyNoGpu(openLibrary());
  return why === undefined ? undefined : `no GPU: ${why}`;
}
