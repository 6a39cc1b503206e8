/* dtype.c - the weight types: what the bytes of a block mean.
 *
 * Every function computes in F32 and in the order in which the formats define their products and sums (scale times
 * integer, then the minimum), without fused multiply-adds, so results are the same on every machine, bit for bit.
 * A scale of a K-quant's sub-block is itself rounded to F32 before it meets the weights: this is part of the format.
 * Multi-byte fields are little-endian, as is every machine this library is built for. */
#include "dtype.h"
#include <stddef.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "fields of blocks are read as they lie in memory");

static uint16_t u16_at(const uint8_t *p) {
    uint16_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static uint32_t u32_at(const uint8_t *p) {
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static float f32_of_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float f16_at(const uint8_t *p) { return rz_f16_to_f32(u16_at(p)); }

/* ---- floats ------------------------------------------------------------------------------------------------------ */

float rz_f16_to_f32(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
    const uint32_t exponent = (half >> 10) & 31u, mantissa = half & 0x3FFu;
    if (exponent == 0) { /* zero and subnormals: a multiple of 2^-24 */
        const float magnitude = (float)mantissa * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    if (exponent == 31) return f32_of_bits(sign | 0x7F800000u | mantissa << 13);
    return f32_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
}

uint16_t rz_f32_to_f16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000u);
    bits &= 0x7FFFFFFFu;
    if (bits > 0x7F800000u) return sign | 0x7E00u;  /* NaN stays NaN, quiet */
    if (bits >= 0x477FF000u) return sign | 0x7C00u; /* rounds to 65536 or more: infinity */
    if (bits < 0x33000000u) return sign;            /* below half of the smallest subnormal */
    const uint32_t exponent = bits >> 23;
    const uint32_t mantissa = (bits & 0x7FFFFFu) | 0x800000u;
    const uint32_t drop = exponent < 113 ? 126 - exponent : 13;        /* bits of the mantissa that are rounded away */
    const uint32_t base = exponent < 113 ? 0 : (exponent - 113) << 10; /* the implicit bit below adds one exponent */
    const uint32_t kept = mantissa >> drop, rest = mantissa & ((1u << drop) - 1), half = 1u << (drop - 1);
    const uint32_t up = rest > half || (rest == half && (kept & 1u));
    return (uint16_t)(sign | (base + kept + up));
}

static void f32_row(const uint8_t *blocks, uint32_t n, float *out) { memcpy(out, blocks, (size_t)n * 4); }

static void f16_row(const uint8_t *blocks, uint32_t n, float *out) {
    for (uint32_t i = 0; i < n; i++) out[i] = f16_at(blocks + 2 * (size_t)i);
}

static void bf16_row(const uint8_t *blocks, uint32_t n, float *out) {
    for (uint32_t i = 0; i < n; i++) out[i] = f32_of_bits((uint32_t)u16_at(blocks + 2 * (size_t)i) << 16);
}

/* ---- blocks of 32: weight i is in the low half of byte i, weight 16 + i in its high half ------------------------- */

/* {f16 d, u8 q[16]}: d * (q - 8) */
static void q4_0_row(const uint8_t *blocks, uint32_t n, float *out) {
    for (const uint8_t *b = blocks; n; n -= 32, b += 18, out += 32) {
        const float d = f16_at(b);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)((b[2 + i] & 15) - 8);
            out[16 + i] = d * (float)((b[2 + i] >> 4) - 8);
        }
    }
}

/* {f16 d, f16 m, u8 q[16]}: d * q + m */
static void q4_1_row(const uint8_t *blocks, uint32_t n, float *out) {
    for (const uint8_t *b = blocks; n; n -= 32, b += 20, out += 32) {
        const float d = f16_at(b), m = f16_at(b + 2);
        for (int i = 0; i < 16; i++) {
            out[i] = d * (float)(b[4 + i] & 15) + m;
            out[16 + i] = d * (float)(b[4 + i] >> 4) + m;
        }
    }
}

/* Weight i of a block whose fifth bits are the bits of `high`, in order. */
static int five_bits(const uint8_t *q, uint32_t high, int i) {
    const int low = i < 16 ? q[i] & 15 : q[i - 16] >> 4;
    return low | (int)(high >> i & 1u) << 4;
}

/* {f16 d, u32 high, u8 q[16]}: d * (q - 16) */
static void q5_0_row(const uint8_t *blocks, uint32_t n, float *out) {
    for (const uint8_t *b = blocks; n; n -= 32, b += 22, out += 32) {
        const float d = f16_at(b);
        const uint32_t high = u32_at(b + 2);
        for (int i = 0; i < 32; i++) out[i] = d * (float)(five_bits(b + 6, high, i) - 16);
    }
}

/* {f16 d, f16 m, u32 high, u8 q[16]}: d * q + m */
static void q5_1_row(const uint8_t *blocks, uint32_t n, float *out) {
    for (const uint8_t *b = blocks; n; n -= 32, b += 24, out += 32) {
        const float d = f16_at(b), m = f16_at(b + 2);
        const uint32_t high = u32_at(b + 4);
        for (int i = 0; i < 32; i++) out[i] = d * (float)five_bits(b + 8, high, i) + m;
    }
}

/* {f16 d, i8 q[32]}: q * d */
static void q8_0_row(const uint8_t *blocks, uint32_t n, float *out) {
    for (const uint8_t *b = blocks; n; n -= 32, b += 34, out += 32) {
        const float d = f16_at(b);
        for (int i = 0; i < 32; i++) out[i] = (float)(int8_t)b[2 + i] * d;
    }
}

/* The 16 levels of IQ4_NL and IQ4_XS. */
static const int8_t iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* 32 weights d * levels[q] of 16 bytes q. */
static void iq4_block(const uint8_t *q, float d, float *out) {
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)iq4_levels[q[i] & 15];
        out[16 + i] = d * (float)iq4_levels[q[i] >> 4];
    }
}

/* {f16 d, u8 q[16]}: d * levels[q] */
static void iq4_nl_row(const uint8_t *blocks, uint32_t n, float *out) {
    for (const uint8_t *b = blocks; n; n -= 32, b += 18, out += 32) iq4_block(b + 2, f16_at(b), out);
}

/* ---- superblocks of 256 ------------------------------------------------------------------------------------------ */

/* Two-bit fields of Q2_K and Q3_K: run r of 32 weights is bits 2 (r % 4) of bytes 32 (r / 4) .. + 31. */
static int two_bits(const uint8_t *q, int run, int i) { return q[run / 4 * 32 + i] >> (run % 4 * 2) & 3; }

/* {u8 scales[16] (scale | min << 4), u8 q[64], f16 d, f16 dmin}: d * scale * q - dmin * min, 16 sub-blocks of 16 */
static void q2_k_row(const uint8_t *blocks, uint32_t n, float *out) {
    for (const uint8_t *b = blocks; n; n -= 256, b += 84) {
        const float d = f16_at(b + 80), dmin = f16_at(b + 82);
        for (int sub = 0; sub < 16; sub++) {
            const float scale = d * (float)(b[sub] & 15), min = dmin * (float)(b[sub] >> 4);
            for (int i = 0; i < 16; i++) *out++ = scale * (float)two_bits(b + 16, sub / 2, sub % 2 * 16 + i) - min;
        }
    }
}

/* {u8 high[32], u8 q[64], u8 scales[12], f16 d}: d * (scale - 32) * (q - (high bit ? 0 : 4)), 16 sub-blocks of 16.
 * Run r's high bits are bit r of high[0..31]. Scale s: low four bits in half s / 8 of byte s % 8, the two high ones in
 * bits 2 (s / 4) of byte 8 + s % 4. */
static void q3_k_row(const uint8_t *blocks, uint32_t n, float *out) {
    for (const uint8_t *b = blocks; n; n -= 256, b += 110) {
        const uint8_t *scales = b + 96;
        const float d = f16_at(b + 108);
        for (int sub = 0; sub < 16; sub++) {
            const int low = scales[sub % 8] >> (sub / 8 * 4) & 15;
            const int high = scales[8 + sub % 4] >> (sub / 4 * 2) & 3;
            const float scale = d * (float)((low | high << 4) - 32);
            for (int i = 0; i < 16; i++) {
                const int column = sub % 2 * 16 + i;
                const int offset = b[column] >> (sub / 2) & 1 ? 0 : 4;
                *out++ = scale * (float)(two_bits(b + 32, sub / 2, column) - offset);
            }
        }
    }
}

/* Six-bit scale and min of sub-block s of Q4_K and Q5_K, packed in 12 bytes: the first four of each in the low six bits
 * of bytes 0-3 and 4-7; the others in the halves of bytes 8-11, their two high bits above the first four's. */
static void scale_and_min(const uint8_t *packed, int s, float *scale, float *min) {
    if (s < 4) {
        *scale = (float)(packed[s] & 63);
        *min = (float)(packed[4 + s] & 63);
    } else {
        *scale = (float)((packed[4 + s] & 15) | packed[s - 4] >> 6 << 4);
        *min = (float)(packed[4 + s] >> 4 | packed[s] >> 6 << 4);
    }
}

/* {f16 d, f16 dmin, u8 scales[12], u8 q[128]}: d * scale * q - dmin * min, 8 sub-blocks of 32; sub-block s is in half
 * s % 2 of bytes 32 (s / 2) .. + 31 */
static void q4_k_row(const uint8_t *blocks, uint32_t n, float *out) {
    for (const uint8_t *b = blocks; n; n -= 256, b += 144) {
        const float d = f16_at(b), dmin = f16_at(b + 2);
        for (int s = 0; s < 8; s++) {
            float scale, min;
            scale_and_min(b + 4, s, &scale, &min);
            scale *= d;
            min *= dmin;
            const uint8_t *q = b + 16 + s / 2 * 32;
            const int shift = s % 2 * 4;
            for (int i = 0; i < 32; i++) *out++ = scale * (float)(q[i] >> shift & 15) - min;
        }
    }
}

/* {f16 d, f16 dmin, u8 scales[12], u8 high[32], u8 q[128]}: as Q4_K, the fifth bit of sub-block s is bit s of high */
static void q5_k_row(const uint8_t *blocks, uint32_t n, float *out) {
    for (const uint8_t *b = blocks; n; n -= 256, b += 176) {
        const float d = f16_at(b), dmin = f16_at(b + 2);
        for (int s = 0; s < 8; s++) {
            float scale, min;
            scale_and_min(b + 4, s, &scale, &min);
            scale *= d;
            min *= dmin;
            const uint8_t *high = b + 16, *q = b + 48 + s / 2 * 32;
            const int shift = s % 2 * 4;
            for (int i = 0; i < 32; i++) {
                *out++ = scale * (float)((q[i] >> shift & 15) | (high[i] >> s & 1) << 4) - min;
            }
        }
    }
}

/* {u8 low[128], u8 high[64], i8 scales[16], f16 d}: d * scale * (q - 32), 16 sub-blocks of 16. In each half of 128
 * weights, run r of 32 has its low bits in half r / 2 of bytes 32 (r % 2) .. + 31 and its high ones in bits 2 r. */
static void q6_k_row(const uint8_t *blocks, uint32_t n, float *out) {
    for (const uint8_t *b = blocks; n; n -= 256, b += 210) {
        const float d = f16_at(b + 208);
        for (int sub = 0; sub < 16; sub++) {
            const float scale = d * (float)(int8_t)b[192 + sub];
            const int half = sub / 8, run = sub / 2 % 4;
            const uint8_t *low = b + half * 64 + run % 2 * 32 + sub % 2 * 16;
            const uint8_t *high = b + 128 + half * 32 + sub % 2 * 16;
            for (int i = 0; i < 16; i++) {
                const int q = (low[i] >> (run / 2 * 4) & 15) | (high[i] >> (run * 2) & 3) << 4;
                *out++ = scale * (float)(q - 32);
            }
        }
    }
}

/* {f16 d, u16 high, u8 low[4], u8 q[128]}: d * (scale - 32) * levels[q], 8 sub-blocks of 32; scale s has its low bits
 * in half s % 2 of low[s / 2], its two high ones in bits 2 s of high */
static void iq4_xs_row(const uint8_t *blocks, uint32_t n, float *out) {
    for (const uint8_t *b = blocks; n; n -= 256, b += 136) {
        const float d = f16_at(b);
        const uint32_t high = u16_at(b + 2);
        for (int s = 0; s < 8; s++, out += 32) {
            const int scale = (b[4 + s / 2] >> (s % 2 * 4) & 15) | (int)(high >> (2 * s) & 3u) << 4;
            iq4_block(b + 8 + s * 16, d * (float)(scale - 32), out);
        }
    }
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static const rz_dtype_row rows[] = {
    {"F32", RZ_F32, 1, 4, f32_row},
    {"F16", RZ_F16, 1, 2, f16_row},
    {"Q4_0", RZ_Q4_0, 32, 18, q4_0_row},
    {"Q4_1", RZ_Q4_1, 32, 20, q4_1_row},
    {"Q5_0", RZ_Q5_0, 32, 22, q5_0_row},
    {"Q5_1", RZ_Q5_1, 32, 24, q5_1_row},
    {"Q8_0", RZ_Q8_0, 32, 34, q8_0_row},
    {"Q2_K", RZ_Q2_K, 256, 84, q2_k_row},
    {"Q3_K", RZ_Q3_K, 256, 110, q3_k_row},
    {"Q4_K", RZ_Q4_K, 256, 144, q4_k_row},
    {"Q5_K", RZ_Q5_K, 256, 176, q5_k_row},
    {"Q6_K", RZ_Q6_K, 256, 210, q6_k_row},
    {"IQ4_NL", RZ_IQ4_NL, 32, 18, iq4_nl_row},
    {"IQ4_XS", RZ_IQ4_XS, 256, 136, iq4_xs_row},
    {"BF16", RZ_BF16, 1, 2, bf16_row},
};

const rz_dtype_row *rz_dtype_find(uint32_t id) {
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].id == id) return &rows[i];
    }
    return NULL;
}
