/** The read bandwidth of the device that a command runs on. */
import { checkPlacement } from "../api/options.ts";
import { measureReadBandwidth, openEngine } from "../engine/native_model.ts";
import { whyNoGpu } from "../engine/open_model.ts";
import { openLibrary } from "../platform/library.ts";
import type { Flags } from "./command.ts";
import { placementOf } from "./model_flags.ts";

/** GB/s (1e9 bytes) that the device's threads read together. */
export function measureDevice(flags: Flags): number {
  const placement = checkPlacement(placementOf(flags));
  const library = openLibrary();
  const auto = whyNoGpu(library) === undefined ? "cuda" : "cpu";
  const backend = placement.device === "auto" ? auto : placement.device;
  const engine = openEngine(library, backend, placement.deviceIndex, placement.threads, 0);
  try {
    return measureReadBandwidth(library, engine);
  } finally {
    library.native.rz_engine_close(engine);
  }
}
