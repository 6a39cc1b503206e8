/* layout.h - internal: how weights lie in memory.
 *
 * VECTOR weights are F32. A weight that is only looked up by row (ROWS) stays as it is in the file. MATMUL and MOE
 * weights lie in stripes of 16 rows (the last one of a matrix or an expert filled up with zero rows): same bytes as 16
 * rows of the file but for padding, interleaved so that a 64-byte line holds 4 columns of all 16 rows, byte
 * [row * 4 + column], and a product needs no horizontal sums. One layout serves every row count. Numbers of a row are
 * f16[16] or u8[16], one for each row of the stripe. A stripe is a header and then its units, one for each block
 * (Q4_0, Q4_1, Q8_0: 32 columns) or superblock (K types: 256 columns):
 *
 *   Q4_0  header d f16[blocks][16], padded to 64. Unit 256: q[4 lines]; line l holds columns 8l .. 8l + 3 in the low
 *         nibbles and 8l + 4 .. 8l + 7 in the high ones; weight = d * (q - 8)
 *   Q4_1  unit 320: d f16[16], m f16[16], q as Q4_0; weight = d * q + m
 *   Q8_0  header d f16[blocks][16], padded to 64. Unit 512: q[8 lines], sign bit flipped; weight = d * (q - 128)
 *   Q4_K  unit 2304: d f16[16], dmin f16[16], A[8][16], B[4][16], then q[4 lines] for each of the 8 blocks.
 *         A[g] = scale | (min & 3) << 6; min >> 2 is in B[g & 3], low nibble for g < 4, high for g >= 4;
 *         weight = d * scale * q - dmin * min
 *   Q5_K  unit 2816: as Q4_K, but 5 lines for each block: the fifth has the high bits, bit i for line i of the 8
 *         lines of 4 columns
 *   Q6_K  header d f16[superblocks][16], padded to 64. Unit 3328: scale i8[16][16], then 3 lines for each of the 16
 *         groups of 16 columns: two of low nibbles as Q4_0, one whose bit pairs i are the high bits of columns
 *         4i .. 4i + 3; weight = d * scale * (q - 32)
 *   F32   [cols][16]
 *   F16   [cols][16]
 *   BF16  [(cols + 1) / 2][16][2]
 *
 * Types that are exactly one of these in other clothes are stored so: Q5_0 and IQ4_NL as Q8_0, Q3_K as Q6_K. The
 * remaining ones stay as in the file (ROWS) and are dequantized on the way. */
#ifndef RZ_CPU_LAYOUT_H
#define RZ_CPU_LAYOUT_H
#include "kernels.h"

#define RZ_STRIPE_ROWS 16u

static inline size_t rz_cpu_header_bytes(uint32_t layout, uint32_t blocks) {
    if (layout == RZ_LAYOUT_Q4_0 || layout == RZ_LAYOUT_Q8_0) return ((size_t)blocks * 32 + 63) & ~(size_t)63;
    if (layout == RZ_LAYOUT_Q6_K) return ((size_t)blocks / 8 * 32 + 63) & ~(size_t)63;
    return 0;
}

/* Blocks of 32 columns in a unit. */
static inline uint32_t rz_cpu_unit_blocks(uint32_t layout) {
    return layout == RZ_LAYOUT_Q4_K || layout == RZ_LAYOUT_Q5_K || layout == RZ_LAYOUT_Q6_K ? 8 : 1;
}

static inline size_t rz_cpu_unit_bytes(uint32_t layout) {
    switch (layout) {
    case RZ_LAYOUT_Q4_0: return 256;
    case RZ_LAYOUT_Q4_1: return 320;
    case RZ_LAYOUT_Q8_0: return 512;
    case RZ_LAYOUT_Q4_K: return 2304;
    case RZ_LAYOUT_Q5_K: return 2816;
    default: return 3328;
    }
}

static inline size_t rz_cpu_stripe_bytes(uint32_t layout, uint32_t cols) {
    if (layout == RZ_LAYOUT_F32) return (size_t)cols * 64;
    if (layout == RZ_LAYOUT_F16) return (size_t)cols * 32;
    if (layout == RZ_LAYOUT_BF16) return ((size_t)cols + 1) / 2 * 64;
    const uint32_t blocks = cols / 32;
    return rz_cpu_header_bytes(layout, blocks) + blocks / rz_cpu_unit_blocks(layout) * rz_cpu_unit_bytes(layout);
}

/* Stripes of a matrix, or of one expert. */
static inline uint32_t rz_cpu_stripes(uint32_t rows) { return (rows + RZ_STRIPE_ROWS - 1) / RZ_STRIPE_ROWS; }

#endif
