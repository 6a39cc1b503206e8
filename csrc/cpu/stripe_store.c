/* stripe_store.c - rows of a file into a stripe (layout.h). Work is done in words of four columns: a line of a stripe
 * has one word for each of the 16 rows. The fields of the file's blocks are those of ggml's formats. */
#include "dtype.h"
#include "weight.h"
#include <string.h>

#define LOW 0x0f0f0f0fu
#define HIGH 0xf0f0f0f0u

static inline uint32_t word_at(const uint8_t *p, size_t i) {
    uint32_t x;
    memcpy(&x, p + 4 * i, 4);
    return x;
}

/* Word of row r in line `line`. */
static inline void put_word(uint8_t *lines, size_t line, uint32_t r, uint32_t x) {
    memcpy(lines + 64 * line + 4 * r, &x, 4);
}

static inline void put_half(uint8_t *halves, uint32_t r, const uint8_t *half) {
    memcpy(halves + 2 * r, half, 2);
}

/* 8 columns of low (or high) nibbles: columns 0-3 stay low, 4-7 become high. */
static inline uint32_t low_pair(uint32_t a, uint32_t b) {
    return (a & LOW) | (b & LOW) << 4;
}
static inline uint32_t high_pair(uint32_t a, uint32_t b) {
    return (a >> 4 & LOW) | (b & HIGH);
}

/* Nibbles of a block of 32 (low: columns 0-15, high: 16-31) as 4 lines. */
static inline void put_nibbles(uint8_t *lines, uint32_t r, const uint8_t *q) {
    const uint32_t a = word_at(q, 0), b = word_at(q, 1), c = word_at(q, 2), d = word_at(q, 3);
    put_word(lines, 0, r, low_pair(a, b));
    put_word(lines, 1, r, low_pair(c, d));
    put_word(lines, 2, r, high_pair(a, b));
    put_word(lines, 3, r, high_pair(c, d));
}

static void put_q4_0(uint8_t *header, uint8_t *unit, uint32_t r, const uint8_t *block) {
    put_half(header, r, block);
    put_nibbles(unit, r, block + 2);
}

static void put_q4_1(uint8_t *header, uint8_t *unit, uint32_t r, const uint8_t *block) {
    (void)header;
    put_half(unit, r, block);
    put_half(unit + 32, r, block + 2);
    put_nibbles(unit + 64, r, block + 4);
}

static void put_q8_0(uint8_t *header, uint8_t *unit, uint32_t r, const uint8_t *block) {
    put_half(header, r, block);
    for (uint32_t l = 0; l < 8; l++) put_word(unit, l, r, word_at(block + 2, l) ^ 0x80808080u);
}

/* A type whose weights are d times an integer of 8 bits: with d = 1 its dequantizer gives the integers. */
static void put_as_q8_0(uint8_t *header, uint8_t *unit, uint32_t r, const uint8_t *block, const rz_dtype_row *dtype) {
    uint8_t ones[64], q[32];
    float x[32];
    memcpy(ones, block, dtype->block_bytes);
    ones[0] = 0x00, ones[1] = 0x3c; /* 1.0 */
    dtype->dequantize(ones, 32, x);
    for (uint32_t i = 0; i < 32; i++) q[i] = (uint8_t)((int32_t)x[i] + 128);
    put_half(header, r, block);
    for (uint32_t l = 0; l < 8; l++) put_word(unit, l, r, word_at(q, l));
}

/* d, dmin and the 12 bytes of 6-bit scales and minima of Q4_K and Q5_K. */
static void put_k_scales(uint8_t *unit, uint32_t r, const uint8_t *block) {
    const uint8_t *s = block + 4;
    put_half(unit, r, block);
    put_half(unit + 32, r, block + 2);
    uint8_t *a = unit + 64, *b = unit + 192;
    for (uint32_t g = 0; g < 4; g++) {
        const uint32_t scale = s[g] & 63, min = s[g + 4] & 63;
        const uint32_t scale4 = (s[g + 8] & 15) | s[g] >> 6 << 4, min4 = s[g + 8] >> 4 | s[g + 4] >> 6 << 4;
        a[16 * g + r] = (uint8_t)(scale | (min & 3) << 6);
        a[16 * (g + 4) + r] = (uint8_t)(scale4 | (min4 & 3) << 6);
        b[16 * g + r] = (uint8_t)(min >> 2 | min4 >> 2 << 4);
    }
}

/* 64 columns of Q4_K's nibbles (low: columns 0-31, high: 32-63): two blocks of 4 lines, `step` lines apart. */
static inline void put_k_nibbles(uint8_t *lines, uint32_t r, const uint8_t *q, size_t step) {
    for (uint32_t l = 0; l < 4; l++) {
        const uint32_t a = word_at(q, 2 * l), b = word_at(q, 2 * l + 1);
        put_word(lines, l, r, low_pair(a, b));
        put_word(lines, l + step, r, high_pair(a, b));
    }
}

static void put_q4_k(uint8_t *header, uint8_t *unit, uint32_t r, const uint8_t *block) {
    (void)header;
    put_k_scales(unit, r, block);
    for (uint32_t c = 0; c < 4; c++) put_k_nibbles(unit + 256 + 512 * c, r, block + 16 + 32 * c, 4);
}

static void put_q5_k(uint8_t *header, uint8_t *unit, uint32_t r, const uint8_t *block) {
    (void)header;
    put_k_scales(unit, r, block);
    for (uint32_t c = 0; c < 4; c++) put_k_nibbles(unit + 256 + 640 * c, r, block + 48 + 32 * c, 5);
    for (uint32_t g = 0; g < 8; g++) {
        uint32_t high = 0;
        for (uint32_t i = 0; i < 8; i++) high |= (word_at(block + 16, i) >> g & 0x01010101u) << i;
        put_word(unit + 256, 5 * g + 4, r, high);
    }
}

/* 16 columns of 6 bits (4 words of a byte a column) as 3 lines. */
static inline void put_six_bits(uint8_t *lines, uint32_t r, const uint32_t q[4]) {
    put_word(lines, 0, r, low_pair(q[0], q[1]));
    put_word(lines, 1, r, low_pair(q[2], q[3]));
    uint32_t high = 0;
    for (uint32_t i = 0; i < 4; i++) high |= (q[i] >> 4 & 0x03030303u) << 2 * i;
    put_word(lines, 2, r, high);
}

static void put_q6_k(uint8_t *header, uint8_t *unit, uint32_t r, const uint8_t *block) {
    const uint8_t *ql = block, *qh = block + 128, *scales = block + 192;
    put_half(header, r, block + 208);
    for (uint32_t g = 0; g < 16; g++) {
        unit[16 * g + r] = scales[g];
        /* a half of 128 columns: quarters 0, 1 are low nibbles, 2, 3 high ones; bit pair = quarter */
        const uint32_t half = g / 8, quarter = g % 8 / 2, word = g % 2 * 4;
        uint32_t q[4];
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t low = word_at(ql + 64 * half + 32 * (quarter & 1), word + i) >> (quarter & 2) * 2 & LOW;
            q[i] = low | (word_at(qh + 32 * half, word + i) >> 2 * quarter & 0x03030303u) << 4;
        }
        put_six_bits(unit + 256 + 192 * g, r, q);
    }
}

/* Q3_K: 3-bit weights q - 4 with 6-bit scales (less 32) for 16 columns: a Q6_K that uses q = 28 .. 35. */
static void put_q3_k(uint8_t *header, uint8_t *unit, uint32_t r, const uint8_t *block) {
    const uint8_t *mask = block, *qs = block + 32, *s = block + 96;
    put_half(header, r, block + 108);
    for (uint32_t g = 0; g < 16; g++) {
        const uint32_t low = g < 8 ? s[g] & 15 : s[g - 8] >> 4, high = s[8 + g % 4] >> 2 * (g / 4) & 3;
        unit[16 * g + r] = (uint8_t)((low | high << 4) - 32);
        const uint32_t half = g / 8, quarter = g % 8 / 2, word = g % 2 * 4;
        uint32_t q[4];
        for (uint32_t i = 0; i < 4; i++) {
            const uint32_t bits = word_at(qs + 32 * half, word + i) >> 2 * quarter & 0x03030303u;
            const uint32_t set = word_at(mask, word + i) >> (4 * half + quarter) & 0x01010101u;
            q[i] = bits + set * 4 + 0x1c1c1c1cu; /* + 32 - 4 */
        }
        put_six_bits(unit + 256 + 192 * g, r, q);
    }
}

static void store_float(const rz_weight *spec, uint8_t *stripe, uint32_t r, const uint8_t *src) {
    if (spec->dtype == RZ_F32) {
        for (size_t k = 0; k < spec->cols; k++) memcpy(stripe + 64 * k + 4 * r, src + 4 * k, 4);
    } else if (spec->dtype == RZ_F16) {
        for (size_t k = 0; k < spec->cols; k++) memcpy(stripe + 32 * k + 2 * r, src + 2 * k, 2);
    } else {
        for (size_t k = 0; k < spec->cols; k++) memcpy(stripe + 64 * (k / 2) + 4 * r + 2 * (k % 2), src + 2 * k, 2);
    }
}

void rz_cpu_stripe_store(const rz_weight *spec, uint8_t *stripe, uint32_t r, uint32_t n, const uint8_t *src,
                         size_t row_bytes) {
    const rz_dtype_row *dtype = rz_dtype_find(spec->dtype);
    const uint32_t layout = rz_cpu_layout_of(spec);
    if (layout >= RZ_N_INT8) {
        for (uint32_t i = 0; i < n; i++) store_float(spec, stripe, r + i, src + i * row_bytes);
        return;
    }
    const uint32_t units = spec->cols / dtype->block_size;
    const size_t unit_bytes = rz_cpu_unit_bytes(layout);
    uint8_t *header = stripe, *unit = stripe + rz_cpu_header_bytes(layout, spec->cols / 32);
    /* Unit by unit, so that the rows of a line are written while it is in the nearest cache. */
    for (uint32_t b = 0; b < units; b++, header += 32, unit += unit_bytes, src += dtype->block_bytes) {
        for (uint32_t i = 0; i < n; i++) {
            const uint8_t *block = src + i * row_bytes;
            switch (spec->dtype) {
            case RZ_Q4_0: put_q4_0(header, unit, r + i, block); break;
            case RZ_Q4_1: put_q4_1(header, unit, r + i, block); break;
            case RZ_Q8_0: put_q8_0(header, unit, r + i, block); break;
            case RZ_Q4_K: put_q4_k(header, unit, r + i, block); break;
            case RZ_Q5_K: put_q5_k(header, unit, r + i, block); break;
            case RZ_Q6_K: put_q6_k(header, unit, r + i, block); break;
            case RZ_Q3_K: put_q3_k(header, unit, r + i, block); break;
            default: put_as_q8_0(header, unit, r + i, block, dtype); break;
            }
        }
    }
}
