/** `realizar bench --plot`: a roofline chart of rows that were measured now, or recorded. */
import { readFileSync, writeFileSync } from "node:fs";
import { RealizarError } from "../errors.ts";
import type { Flag } from "./command.ts";
import { rooflineSvg, roofsOf } from "./roofline.ts";

/** Flags of `bench --plot`. */
export const PLOT_FLAGS: Record<string, Flag> = {
  plot: {
    type: "string",
    value: "OUT.svg",
    help: "draw decode speed under the device's read rate; MODEL may be a file of results (.jsonl)",
  },
};

/** The rows of a file with a JSON object a line. */
export function readResults(path: string): object[] {
  return readFileSync(path, "utf8").split("\n").filter((line) => line.trim() !== "").map((line, i) => {
    try {
      return JSON.parse(line) as object;
    } catch {
      throw new RealizarError("ARG", `${path}: line ${i + 1} is not JSON`);
    }
  });
}

/** Draws what the rows say of decoding; throws `ARG` when they say nothing of it. */
export function writePlot(path: string, rows: readonly object[]): void {
  const charts = roofsOf(rows);
  if (charts.length === 0) {
    throw new RealizarError("ARG", `--plot: no row of a decode test (tg128) that has the bytes of a token to draw`);
  }
  writeFileSync(path, rooflineSvg(charts));
}
