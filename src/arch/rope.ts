/**
 * RoPE tables: how fast each pair of columns of a head turns with position, and how that is stretched for contexts
 * longer than the model was first trained on. Everything is F64; C multiplies by the position and rounds only the
 * cosine and sine.
 *
 * Sources of the formulas: RoPE itself, Su et al., arXiv 2104.09864, section 3.4.2. Linear scaling ("position
 * interpolation"), Chen et al., arXiv 2306.15595, equation 4. YaRN, Peng et al., arXiv 2309.00071, section 3.
 * Llama 3.1's stretching of slow frequencies comes with its files, as divisors (`rope_freqs`).
 */
import { RealizarError } from "../errors.ts";
import type { PlanBuilder, RopeTable } from "../plan/ops.ts";
import type { ModelConfig, RopeConfig } from "../weights/config.ts";
import { type RoleSpec, USE_HOST } from "../weights/roles.ts";

/** What a RoPE constant of a plan holds. */
export interface RopeAngles {
  /** Radians a position, one for each of the nRot / 2 pairs. */
  readonly invFreq: Float64Array;
  /** Multiplies cosine and sine. */
  readonly magnitude: number;
}

/** The tensor of divisors that Llama 3.1 and later carry. */
export function ropeFreqsRole(config: ModelConfig): RoleSpec {
  const cols = config.rope.nRot / 2;
  return { role: "rope_freqs", layer: null, tensor: "rope_freqs.weight", rows: 1, cols, use: USE_HOST, optional: true };
}

/**
 * The angles of a model. `divisors` [nRot / 2] is `rope_freqs`. `LIMIT` when a frequency is not a positive number,
 * which odd metadata or divisors can cause; `UNSUPPORTED` for YaRN with a multiplier of its own, whose meaning differs
 * between the architectures that have one.
 */
export function ropeAngles(rope: RopeConfig, divisors?: Float32Array): RopeAngles {
  const { freqBase, nRot, scaling, factor, logMultiplier } = rope;
  if (scaling === "yarn" && logMultiplier !== 0) {
    const message = `rope.scaling.yarn_log_multiplier: ${logMultiplier} is not computed by this architecture`;
    throw new RealizarError("UNSUPPORTED", message);
  }
  const plain = Float64Array.from({ length: nRot / 2 }, (_, i) => freqBase ** (-2 * i / nRot) / (divisors?.[i] ?? 1));
  const scaled = scaling === "linear"
    ? plain.map((f) => f / factor)
    : scaling === "yarn"
    ? plain.map((f, i) => yarnFrequency(rope, f, i))
    : plain;
  scaled.forEach((f, i) => {
    if (Number.isFinite(f) && f > 0) return;
    throw new RealizarError(
      "LIMIT",
      `RoPE: frequency ${i} of ${nRot / 2} is ${f} (base ${freqBase}, factor ${factor})`,
    );
  });
  return { invFreq: scaled, magnitude: scaling === "yarn" ? yarnMagnitude(rope) : rope.attnFactor };
}

/** The RoPE constant of a plan. */
export function ropeTable(
  p: PlanBuilder,
  config: ModelConfig,
  style: RopeTable["style"],
  divisors?: Float32Array,
): RopeTable {
  const { invFreq, magnitude } = ropeAngles(config.rope, divisors);
  return p.ropeTable(style, invFreq, magnitude);
}

/**
 * YaRN's blend for pair i: fast pairs keep their frequency ("extrapolation"), slow ones are divided by the factor
 * ("interpolation"), those between are mixed along a ramp.
 */
function yarnFrequency(rope: RopeConfig, frequency: number, i: number): number {
  const { nRot, factor, extFactor, betaFast, betaSlow } = rope;
  const low = Math.max(0, Math.floor(pairThatTurns(rope, betaFast)));
  const high = Math.min(nRot - 1, Math.ceil(pairThatTurns(rope, betaSlow)));
  const ramp = Math.min(1, Math.max(0, (i - low) / Math.max(0.001, high - low)));
  const kept = (1 - ramp) * extFactor;
  return frequency * kept + frequency / factor * (1 - kept);
}

/** The (fractional) pair that turns so many times within the original context. */
function pairThatTurns({ freqBase, nRot, origContext }: RopeConfig, rotations: number): number {
  return nRot * Math.log(origContext / (rotations * 2 * Math.PI)) / (2 * Math.log(freqBase));
}

/** YaRN's correction of attention's temperature, put into cosine and sine. */
function yarnMagnitude({ factor, attnFactor }: RopeConfig): number {
  return factor <= 1 ? attnFactor : attnFactor * (0.1 * Math.log(factor) + 1);
}
