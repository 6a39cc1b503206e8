/** Small tensors that TypeScript reads itself, because a plan is built from their values. */
import type { TensorInfo } from "../format/directory.ts";
import type { ByteSource } from "../format/reader.ts";

/** They are never larger. */
export const HOST_BYTES_MAX = 1 << 20;

/** The values of an F32, F16 or BF16 tensor that was proved to lie inside `source`. */
export async function readFloats(tensor: TensorInfo, source: ByteSource): Promise<Float32Array> {
  const bytes = (await source.read(tensor.offset, tensor.bytes!)).slice();
  const name = tensor.dtype!.name;
  if (name === "F32") return new Float32Array(bytes.buffer);
  const halves = new Uint16Array(bytes.buffer);
  return Float32Array.from(halves, name === "F16" ? floatOfF16 : floatOfBf16);
}

function floatOfF16(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function floatOfBf16(half: number): number {
  return new Float32Array(Uint32Array.of(half << 16).buffer)[0]!;
}
