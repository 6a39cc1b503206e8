/** Looking at every value of a forward pass: the first one that is wrong tells where to look. */
import { RealizarError } from "../errors.ts";
import type { Watchable, WatchedValue, WatchFinding, WatchOptions } from "../types.ts";

/** Values that one plan can keep for reading. */
const WATCHED_MAX = 16;

const TOLERANCE = 1e-2;

/** The first value of a row that is not a number or out of range. */
function badNumber({ name, rows, cols, data }: WatchedValue, range: number): WatchFinding | undefined {
  for (let i = 0; i < rows * cols; i++) {
    const value = data[i]!;
    if (Number.isFinite(value) && Math.abs(value) <= range) continue;
    const what = Number.isFinite(value) ? "range" : "not finite";
    return { name, what, row: Math.floor(i / cols), col: i % cols, value, limit: range };
  }
  return undefined;
}

/** The worst row by the error relative to its size: root of (sum of squared differences / sum of squares). */
function badRow(got: WatchedValue, want: WatchedValue, tolerance: number): WatchFinding | undefined {
  const { name, rows, cols } = got;
  if (want.rows !== rows || want.cols !== cols) {
    throw new RealizarError(
      "ARG",
      `watch: ${name} is [${rows} x ${cols}], in the other model [${want.rows} x ${want.cols}]`,
    );
  }
  let worst: WatchFinding | undefined;
  for (let row = 0; row < rows; row++) {
    let error = 0, square = 0;
    for (let i = row * cols; i < (row + 1) * cols; i++) {
      error += (got.data[i]! - want.data[i]!) ** 2;
      square += want.data[i]! ** 2;
    }
    const value = square === 0 ? (error === 0 ? 0 : Infinity) : Math.sqrt(error / square);
    if (value <= tolerance || value <= (worst?.value ?? -1)) continue;
    worst = { name, what: "differs", row, col: undefined, value, limit: tolerance };
  }
  return worst;
}

/** The names asked for: whole ones, and all that end with one that begins with a dot. */
function chosen(all: readonly string[], asked: readonly string[] | undefined): readonly string[] {
  if (asked === undefined) return all;
  for (const one of asked) {
    if (!all.some((name) => name === one || (one.startsWith(".") && name.endsWith(one)))) {
      throw new RealizarError("ARG", `watch: the model has no value ${JSON.stringify(one)}`);
    }
  }
  return all.filter((name) => asked.some((one) => name === one || (one.startsWith(".") && name.endsWith(one))));
}

/**
 * Computes the tokens with the values that are asked for kept, WATCHED_MAX at a time, and checks them in order. Returns
 * the first finding. Blocks this thread meanwhile.
 */
export function watchValues(
  model: Watchable,
  tokens: ArrayLike<number>,
  options: WatchOptions,
): WatchFinding | undefined {
  const { range = Infinity, tolerance = TOLERANCE, compare } = options;
  const names = chosen(model.valueNames(), options.names);
  const sizes = { contextSize: tokens.length, maxBatch: tokens.length };
  for (let first = 0; first < names.length; first += WATCHED_MAX) {
    const watch = names.slice(first, first + WATCHED_MAX);
    using session = model.session({ ...sizes, watch });
    using other = compare?.session({ ...sizes, watch });
    session.evaluate(tokens);
    other?.evaluate(tokens);
    for (const name of watch) {
      const value = session.watched(name);
      const finding = badNumber(value, range) ??
        (other === undefined ? undefined : badRow(value, other.watched(name), tolerance));
      if (finding !== undefined) return finding;
    }
  }
  return undefined;
}
