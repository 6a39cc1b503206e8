/* stripe_read.c - a row of a stripe (layout.h) as F32: embeddings of tied weights, and reading weights back. The order
 * of products is that of dtype.c, so the numbers are the file's, bit for bit. */
#include "dtype.h"
#include "weight.h"
#include <string.h>

static float half_at(const uint8_t *halves, uint32_t r) {
    uint16_t h;
    memcpy(&h, halves + 2 * r, 2);
    return rz_f16_to_f32(h);
}

/* Word of row r in line `line`: 4 columns. */
static inline uint32_t get_word(const uint8_t *lines, size_t line, uint32_t r) {
    uint32_t x;
    memcpy(&x, lines + 64 * line + 4 * r, 4);
    return x;
}

static inline void split_word(uint32_t x, int32_t q[4]) {
    for (uint32_t j = 0; j < 4; j++) q[j] = (int32_t)(x >> 8 * j & 255);
}

/* The integers of 32 columns of row r: 4 lines of nibbles, and a fifth of high bits when there is one. */
static void get_nibbles(const uint8_t *lines, bool has_high, uint32_t r, int32_t q[32]) {
    const uint32_t high = has_high ? get_word(lines, 4, r) : 0;
    for (uint32_t i = 0; i < 8; i++) {
        const uint32_t low = get_word(lines, i / 2, r) >> i % 2 * 4 & 0x0f0f0f0fu;
        split_word(low | (high >> i & 0x01010101u) << 4, q + 4 * i);
    }
}

/* The 6-bit integers of 16 columns of row r: 3 lines. */
static void get_six_bits(const uint8_t *lines, uint32_t r, int32_t q[16]) {
    const uint32_t high = get_word(lines, 2, r);
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t low = get_word(lines, i / 2, r) >> i % 2 * 4 & 0x0f0f0f0fu;
        split_word(low | (high >> 2 * i & 0x03030303u) << 4, q + 4 * i);
    }
}

/* Row r of block g of a unit: 32 columns. */
static void read_block(uint32_t layout, const uint8_t *header, const uint8_t *unit, uint32_t g, uint32_t r,
                       float out[32]) {
    int32_t q[32];
    if (layout == RZ_LAYOUT_Q8_0) {
        const float d = half_at(header, r);
        for (uint32_t l = 0; l < 8; l++) split_word(get_word(unit, l, r), q + 4 * l);
        for (uint32_t i = 0; i < 32; i++) out[i] = d * (float)(q[i] - 128);
    } else if (layout == RZ_LAYOUT_Q4_0) {
        const float d = half_at(header, r);
        get_nibbles(unit, false, r, q);
        for (uint32_t i = 0; i < 32; i++) out[i] = d * (float)(q[i] - 8);
    } else if (layout == RZ_LAYOUT_Q4_1) {
        const float d = half_at(unit, r), m = half_at(unit + 32, r);
        get_nibbles(unit + 64, false, r, q);
        for (uint32_t i = 0; i < 32; i++) out[i] = d * (float)q[i] + m;
    } else if (layout == RZ_LAYOUT_Q6_K) {
        const float d = half_at(header, r);
        for (uint32_t h = 0; h < 2; h++) {
            const float scale = d * (float)(int8_t)unit[16 * (2 * g + h) + r];
            get_six_bits(unit + 256 + 192 * (2 * g + h), r, q);
            for (uint32_t i = 0; i < 16; i++) out[16 * h + i] = scale * (float)(q[i] - 32);
        }
    } else {
        const uint32_t a = unit[64 + 16 * g + r], b = unit[192 + 16 * (g % 4) + r];
        const float scale = half_at(unit, r) * (float)(a & 63);
        const float min = half_at(unit + 32, r) * (float)(a >> 6 | (g < 4 ? b & 15 : b >> 4) << 2);
        const bool has_high = layout == RZ_LAYOUT_Q5_K;
        get_nibbles(unit + 256 + (has_high ? 320 : 256) * g, has_high, r, q);
        for (uint32_t i = 0; i < 32; i++) out[i] = scale * (float)q[i] - min;
    }
}

void rz_cpu_stripe_read(const rz_weight *spec, const uint8_t *stripe, uint32_t r, float *out) {
    const uint32_t layout = rz_cpu_layout_of(spec), cols = spec->cols;
    if (layout == RZ_LAYOUT_F32) {
        for (size_t k = 0; k < cols; k++) memcpy(out + k, stripe + 64 * k + 4 * r, 4);
    } else if (layout == RZ_LAYOUT_F16) {
        for (size_t k = 0; k < cols; k++) out[k] = half_at(stripe + 32 * k, r);
    } else if (layout == RZ_LAYOUT_BF16) {
        for (size_t k = 0; k < cols; k++) {
            uint8_t bytes[4] = {0};
            memcpy(bytes + 2, stripe + 64 * (k / 2) + 4 * r + 2 * (k % 2), 2);
            memcpy(out + k, bytes, 4);
        }
    } else {
        const uint32_t group = rz_cpu_unit_blocks(layout), blocks = cols / 32;
        const uint8_t *units = stripe + rz_cpu_header_bytes(layout, blocks);
        for (uint32_t b = 0; b < blocks; b++) {
            const uint32_t u = b / group;
            read_block(layout, stripe + 32 * u, units + u * rz_cpu_unit_bytes(layout), b % group, r, out + 32 * b);
        }
    }
}
