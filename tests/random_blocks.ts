/** Random weights of every type: any bits where the type allows any, scales chosen for a wanted deviation. */
import { type DTypeName, dtypeOfName } from "../src/dtype.ts";

/** A small generator with a fixed sequence per seed (xorshift with 32 bits of state, after a mix of the seed). */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = (Math.imul(seed + 1, 0x9e3779b1) ^ 0x85ebca6b) >>> 0 || 1;
    for (let i = 0; i < 8; i++) this.u32();
  }

  /** 0 ... 2^32 - 1. */
  u32(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x >>> 0;
    return this.#state;
  }

  /** 0 <= x < 1. */
  unit(): number {
    return this.u32() / 2 ** 32;
  }

  /** An integer 0 <= x < n. */
  below(n: number): number {
    return Math.floor(this.unit() * n);
  }

  /** Mean 0, deviation 1. */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.unit())) * Math.cos(2 * Math.PI * this.unit());
  }

  fill(bytes: Uint8Array): Uint8Array {
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.u32() >>> 24;
    return bytes;
  }
}

/** The F16 bits nearest to x (ties to even), for |x| < 65520. */
export function f16Bits(x: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(x);
  if (magnitude < 2 ** -14) return sign | roundEven(magnitude * 2 ** 24);
  const exponent = Math.floor(Math.log2(magnitude));
  return sign | (((exponent + 15) << 10) + roundEven((magnitude / 2 ** exponent - 1) * 1024));
}

function roundEven(x: number): number {
  const down = Math.floor(x);
  const rest = x - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
}

/**
 * How a block's random bytes become weights of deviation `unit * d` and mean near 0: where the F16 scale d lies, and
 * where the F16 offset (min) lies and its size in units of d. The other bytes, sub-scales included, may be anything.
 */
interface BlockRecipe {
  unit: number;
  d: number;
  min?: { at: number; ratio: number };
}

const RECIPES: Partial<Record<DTypeName, BlockRecipe>> = {
  Q4_0: { unit: 4.61, d: 0 }, // d (q - 8)
  Q4_1: { unit: 4.61, d: 0, min: { at: 2, ratio: -7.5 } }, // d q + m
  Q5_0: { unit: 9.23, d: 0 }, // d (q - 16)
  Q5_1: { unit: 9.23, d: 0, min: { at: 2, ratio: -15.5 } },
  Q8_0: { unit: 73.9, d: 0 }, // d q
  Q2_K: { unit: 13.9, d: 80, min: { at: 82, ratio: 1.5 } }, // d s q - dmin m, s and m in 0..15
  Q3_K: { unit: 43.3, d: 108 }, // d (s - 32) (q - 4), s in 0..63
  Q4_K: { unit: 258, d: 0, min: { at: 2, ratio: 7.5 } }, // d s q - dmin m, s and m in 0..63
  Q5_K: { unit: 527, d: 0, min: { at: 2, ratio: 15.5 } },
  Q6_K: { unit: 1366, d: 208 }, // d s (q - 32), s an int8
  IQ4_NL: { unit: 67.2, d: 0 }, // d table[q]
  IQ4_XS: { unit: 1246, d: 0 }, // d (s - 32) table[q]
};

/**
 * `rows x cols` random weights of a type, as a file holds them: mean near 0, deviation near `std`. Scales vary from
 * block to block between 1/2 and 3/2 of the mean, so that a block read with its neighbour's scale shows.
 */
export function randomWeights(random: Random, name: DTypeName, rows: number, cols: number, std: number): Uint8Array {
  const { blockSize, blockBytes } = dtypeOfName(name);
  if (cols % blockSize !== 0) throw new Error(`${cols} columns do not fill ${name} blocks of ${blockSize}`);
  const n = rows * cols / blockSize;
  const bytes = new Uint8Array(n * blockBytes);
  const view = new DataView(bytes.buffer);
  const recipe = RECIPES[name];
  if (recipe !== undefined) random.fill(bytes);
  for (let i = 0; i < n; i++) {
    const start = i * blockBytes;
    if (recipe !== undefined) {
      const d = std / recipe.unit * (0.5 + random.unit());
      view.setUint16(start + recipe.d, f16Bits(d), true);
      if (recipe.min !== undefined) view.setUint16(start + recipe.min.at, f16Bits(d * recipe.min.ratio), true);
    } else {
      const x = random.normal() * std;
      if (name === "F16") view.setUint16(start, f16Bits(x), true);
      else if (name === "BF16") view.setUint16(start, bf16Bits(x), true);
      else view.setFloat32(start, x, true);
    }
  }
  return bytes;
}

/** The BF16 bits of x, cut off. */
function bf16Bits(x: number): number {
  const word = new DataView(new ArrayBuffer(4));
  word.setFloat32(0, x);
  return word.getUint16(0);
}
