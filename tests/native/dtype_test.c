/* dtype_test.c - every weight type against vectors made by PyPI `gguf` (tests/golden/dtype/generate.py), bit for bit;
 * F16 conversions over all halves and around every rounding boundary. */
#include "dtype.h"
#include "test.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct golden {
    const char *name;
    const uint8_t *bytes; /* blocks, then their weights as F32 */
    uint32_t n_bytes;
} golden;

static const uint8_t f32[] = {
#embed "../golden/dtype/f32.bin"
};
static const uint8_t f16[] = {
#embed "../golden/dtype/f16.bin"
};
static const uint8_t bf16[] = {
#embed "../golden/dtype/bf16.bin"
};
static const uint8_t q4_0[] = {
#embed "../golden/dtype/q4_0.bin"
};
static const uint8_t q4_1[] = {
#embed "../golden/dtype/q4_1.bin"
};
static const uint8_t q5_0[] = {
#embed "../golden/dtype/q5_0.bin"
};
static const uint8_t q5_1[] = {
#embed "../golden/dtype/q5_1.bin"
};
static const uint8_t q8_0[] = {
#embed "../golden/dtype/q8_0.bin"
};
static const uint8_t q2_k[] = {
#embed "../golden/dtype/q2_k.bin"
};
static const uint8_t q3_k[] = {
#embed "../golden/dtype/q3_k.bin"
};
static const uint8_t q4_k[] = {
#embed "../golden/dtype/q4_k.bin"
};
static const uint8_t q5_k[] = {
#embed "../golden/dtype/q5_k.bin"
};
static const uint8_t q6_k[] = {
#embed "../golden/dtype/q6_k.bin"
};
static const uint8_t iq4_nl[] = {
#embed "../golden/dtype/iq4_nl.bin"
};
static const uint8_t iq4_xs[] = {
#embed "../golden/dtype/iq4_xs.bin"
};

static const golden goldens[] = {
    {"F32", f32, sizeof f32},    {"F16", f16, sizeof f16},          {"BF16", bf16, sizeof bf16},
    {"Q4_0", q4_0, sizeof q4_0}, {"Q4_1", q4_1, sizeof q4_1},       {"Q5_0", q5_0, sizeof q5_0},
    {"Q5_1", q5_1, sizeof q5_1}, {"Q8_0", q8_0, sizeof q8_0},       {"Q2_K", q2_k, sizeof q2_k},
    {"Q3_K", q3_k, sizeof q3_k}, {"Q4_K", q4_k, sizeof q4_k},       {"Q5_K", q5_k, sizeof q5_k},
    {"Q6_K", q6_k, sizeof q6_k}, {"IQ4_NL", iq4_nl, sizeof iq4_nl}, {"IQ4_XS", iq4_xs, sizeof iq4_xs},
};

static void test_golden(void) {
    uint32_t n_types = 0;
    for (uint32_t id = 0; id < 256; id++) {
        const rz_dtype_row *row = rz_dtype_find(id);
        if (!row) continue;
        n_types++;
        CHECK(row->id == id);
        const golden *g = NULL;
        for (size_t i = 0; i < sizeof goldens / sizeof goldens[0]; i++) {
            if (strcmp(goldens[i].name, row->name) == 0) g = &goldens[i];
        }
        CHECK(g != NULL);
        if (!g) continue;
        const uint32_t n_blocks = g->n_bytes / (row->block_bytes + 4 * row->block_size);
        const uint32_t n = n_blocks * row->block_size;
        CHECK(n >= 256 && n_blocks * row->block_bytes + 4 * n == g->n_bytes);
        float *out = malloc(4 * (size_t)n);
        row->dequantize(g->bytes, n, out);
        CHECK(memcmp(out, g->bytes + n_blocks * row->block_bytes, 4 * (size_t)n) == 0);
        /* In pieces of one block from an odd address: no function may look beyond its blocks or expect alignment. */
        uint8_t *block = malloc(row->block_bytes + 1);
        for (uint32_t b = 0; b < n_blocks; b++) {
            memcpy(block + 1, g->bytes + b * row->block_bytes, row->block_bytes);
            row->dequantize(block + 1, row->block_size, out);
            const uint8_t *expected = g->bytes + n_blocks * row->block_bytes + 4 * b * row->block_size;
            CHECK(memcmp(out, expected, 4 * row->block_size) == 0);
        }
        free(block);
        free(out);
    }
    CHECK(n_types == 15);
    CHECK(rz_dtype_find(RZ_I32) == NULL && rz_dtype_find(0xFFFFFFFFu) == NULL);
}

static void test_f16(void) {
    for (uint32_t h = 0; h < 0x10000; h++) {
        const float x = rz_f16_to_f32((uint16_t)h);
        const uint32_t exponent = h >> 10 & 31, mantissa = h & 1023;
        if (exponent == 31 && mantissa) {
            CHECK(isnan(x) && isnan(rz_f16_to_f32(rz_f32_to_f16(x))));
            continue;
        }
        const double magnitude = exponent == 31  ? HUGE_VAL
                                 : exponent == 0 ? ldexp(mantissa, -24)
                                                 : ldexp(1024 + mantissa, (int)exponent - 25);
        CHECK(x == (h & 0x8000 ? -magnitude : magnitude) && !signbit(x) == !(h & 0x8000));
        CHECK(rz_f32_to_f16(x) == h);
        if (h >= 0x7BFF || h & 0x8000) continue;
        /* Between this half and the next: below, at and above the middle. */
        const float middle = (float)((magnitude + (double)rz_f16_to_f32((uint16_t)(h + 1))) / 2);
        CHECK(rz_f32_to_f16(nextafterf(middle, 0)) == h);
        CHECK(rz_f32_to_f16(middle) == (h & 1 ? h + 1 : h));
        CHECK(rz_f32_to_f16(nextafterf(middle, HUGE_VALF)) == h + 1);
        CHECK(rz_f32_to_f16(-middle) == (0x8000 | (h & 1 ? h + 1 : h)));
    }
    CHECK(rz_f32_to_f16(65519.996f) == 0x7BFF && rz_f32_to_f16(65520.0f) == 0x7C00);
    CHECK(rz_f32_to_f16(-3e38f) == 0xFC00 && rz_f32_to_f16(HUGE_VALF) == 0x7C00);
    CHECK(rz_f32_to_f16(1e-30f) == 0 && rz_f32_to_f16(-1e-45f) == 0x8000);
}

int main(void) {
    test_golden();
    test_f16();
    return TEST_RESULT("dtype");
}
