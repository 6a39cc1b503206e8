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

/* The integers of 32 columns of row r: 4 lines of nibbles, and a fifth of high bits (NULL = none). */
static void get_nibbles(const uint8_t *lines, const uint8_t *high, uint32_t r, int32_t q[32]) {
    for (uint32_t i = 0; i < 32; i++) {
        const uint32_t line = i / 4, j = i % 4;
        q[i] = lines[64 * (line / 2) + 4 * r + j] >> line % 2 * 4 & 15;
        if (high) q[i] |= (high[4 * r + j] >> line & 1) << 4;
    }
}

/* The 6-bit integers of 16 columns of row r: 3 lines. */
static void get_six_bits(const uint8_t *lines, uint32_t r, int32_t q[16]) {
    for (uint32_t i = 0; i < 16; i++) {
        const uint32_t line = i / 4, j = i % 4;
        const uint32_t low = lines[64 * (line / 2) + 4 * r + j] >> line % 2 * 4 & 15;
        q[i] = (int32_t)(low | (uint32_t)(lines[128 + 4 * r + j] >> 2 * line & 3) << 4);
    }
}

/* Row r of block b of 32 columns. */
static void read_block(uint32_t layout, const uint8_t *header, const uint8_t *unit, uint32_t g, uint32_t r,
                       float out[32]) {
    int32_t q[32];
    if (layout == RZ_LAYOUT_Q8_0) {
        const float d = half_at(header, r);
        for (uint32_t i = 0; i < 32; i++) out[i] = d * (float)(unit[64 * (i / 4) + 4 * r + i % 4] - 128);
    } else if (layout == RZ_LAYOUT_Q4_0) {
        const float d = half_at(header, r);
        get_nibbles(unit, NULL, r, q);
        for (uint32_t i = 0; i < 32; i++) out[i] = d * (float)(q[i] - 8);
    } else if (layout == RZ_LAYOUT_Q4_1) {
        const float d = half_at(unit, r), m = half_at(unit + 32, r);
        get_nibbles(unit + 64, NULL, r, q);
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
        const uint8_t *lines = unit + 256 + (layout == RZ_LAYOUT_Q5_K ? 320 : 256) * g;
        get_nibbles(lines, layout == RZ_LAYOUT_Q5_K ? lines + 256 : NULL, r, q);
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
