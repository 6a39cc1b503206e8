"""Writes <dtype>.bin for every weight type: blocks, then what PyPI `gguf` makes of them as F32.

    pip install gguf==0.19.0 numpy && python tests/golden/dtype/generate.py

Bytes are random but for the F16 scales, which take turns through ordinary, tiny (subnormal), negative, zero and huge
numbers; the first block is all zero bits and the second all one bits below its scales. Deterministic.
"""
import pathlib

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

HERE = pathlib.Path(__file__).parent
SCALES = [0.0123, 1.0, -0.0371, 3.1e-6, 0.0, 60000.0, -5.96e-8, 0.000977]
# Byte offsets of the F16 fields of a block.
SCALE_OFFSETS = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
    T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0],
}


def blocks_of(dtype, rng):
    size, nbytes = GGML_QUANT_SIZES[dtype]
    blocks = rng.integers(0, 256, (8 if size == 256 else 16, nbytes), dtype=np.uint8)
    blocks[0], blocks[1] = 0, 255
    for i, block in enumerate(blocks):
        for j, at in enumerate(SCALE_OFFSETS[dtype]):
            scale = np.float16(SCALES[(i + 3 * j) % len(SCALES)])
            block[at : at + 2] = np.frombuffer(scale.tobytes(), np.uint8)
    return blocks


def floats_of(dtype, rng):
    """Every exponent of the type, both signs, random mantissas; no NaN."""
    if dtype == T.F16:
        exponent = np.repeat(np.arange(31), 16)
        bits = exponent << 10 | rng.integers(0, 1024, exponent.size) | rng.integers(0, 2, exponent.size) << 15
        bits = np.append(bits, [0, 0x8000, 1, 0x8001, 0x3FF, 0x400, 0x7BFF, 0x7C00, 0xFC00])
        return bits.astype("<u2").view(np.uint8)
    exponent = np.repeat(np.arange(255), 2)
    if dtype == T.BF16:
        bits = exponent << 7 | rng.integers(0, 128, exponent.size) | rng.integers(0, 2, exponent.size) << 15
        return np.append(bits, [0, 0x8000, 0x7F80, 0xFF80]).astype("<u2").view(np.uint8)
    bits = exponent << 23 | rng.integers(0, 1 << 23, exponent.size) | rng.integers(0, 2, exponent.size) << 31
    return np.append(bits, [0, 0x80000000, 0x7F800000, 0xFF800000]).astype("<u4").view(np.uint8)


def main():
    rng = np.random.default_rng(20261122)
    for dtype in [T.F32, T.F16, T.BF16, *SCALE_OFFSETS]:
        raw = blocks_of(dtype, rng) if dtype in SCALE_OFFSETS else floats_of(dtype, rng)
        expected = dequantize(raw, dtype).astype("<f4")
        (HERE / f"{dtype.name.lower()}.bin").write_bytes(raw.tobytes() + expected.tobytes())


main()
