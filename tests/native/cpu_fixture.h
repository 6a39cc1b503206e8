/* cpu_fixture.h - what the tests of the CPU executor's kernels share: random numbers, random weights of every type in
 * file format, and the one measure of error: normalized square. */
#ifndef RZ_CPU_FIXTURE_H
#define RZ_CPU_FIXTURE_H
#include "cpu/isa.h"
#include "cpu/weight.h"
#include "dtype.h"
#include "test.h"
#include <stdlib.h>
#include <string.h>

static const uint32_t all_isas[] = {RZ_ISA_BASE, RZ_ISA_AVX2, RZ_ISA_AVX512, RZ_ISA_DOTPROD, RZ_ISA_I8MM};
static const uint32_t all_dtypes[] = {RZ_F32,  RZ_F16,  RZ_BF16, RZ_Q4_0, RZ_Q4_1, RZ_Q5_0,   RZ_Q5_1,  RZ_Q8_0,
                                      RZ_Q2_K, RZ_Q3_K, RZ_Q4_K, RZ_Q5_K, RZ_Q6_K, RZ_IQ4_NL, RZ_IQ4_XS};

static uint64_t random_state = 88172645463325252u;

static inline uint32_t random_u32(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32);
}

static inline double random_unit(void) { return random_u32() / 4294967296.0; }

static inline float random_normal(void) {
    return (float)(sqrt(-2.0 * log(1.0 - random_unit())) * cos(6.283185307179586 * random_unit()));
}

static inline void random_floats(float *x, size_t n, float scale) {
    for (size_t i = 0; i < n; i++) x[i] = random_normal() * scale;
}

/* n / block_size random blocks of a type: any bits, scales of about 0.01. */
static inline void random_blocks(uint32_t dtype, uint8_t *out, size_t n) {
    const rz_dtype_row *row = rz_dtype_find(dtype);
    for (size_t b = 0; b < n / row->block_size; b++, out += row->block_bytes) {
        for (uint32_t i = 0; i < row->block_bytes; i++) out[i] = (uint8_t)random_u32();
        /* where a block has halves: d, and dmin or m */
        uint32_t at = 0, n_halves = 1;
        float x = random_normal();
        if (dtype == RZ_F32) {
            memcpy(out, &x, 4);
            continue;
        }
        if (dtype == RZ_BF16) {
            memcpy(out, (uint8_t *)&x + 2, 2);
            continue;
        }
        if (dtype == RZ_Q4_1 || dtype == RZ_Q5_1 || dtype == RZ_Q4_K || dtype == RZ_Q5_K) n_halves = 2;
        if (dtype == RZ_Q2_K) at = 80, n_halves = 2;
        if (dtype == RZ_Q3_K) at = 108;
        if (dtype == RZ_Q6_K) at = 208;
        for (uint32_t h = 0; h < n_halves; h++) {
            const uint16_t half = rz_f32_to_f16((float)(0.005 + 0.01 * random_unit()) * (h ? 3 : 1));
            memcpy(out + at + 2 * h, &half, 2);
        }
    }
}

/* Squared error over squared reference. */
static inline double error_of(const float *got, const double *want, size_t n) {
    double error = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        error += (got[i] - want[i]) * (got[i] - want[i]);
        size += want[i] * want[i];
    }
    return size > 0 ? error / size : error;
}

/* A random weight in the executor's layout, and its rows dequantized. */
typedef struct fixture {
    rz_tensor t;
    float *rows; /* [rows * n_experts][cols] */
} fixture;

static inline fixture fixture_open(uint32_t dtype, uint32_t use, uint32_t rows, uint32_t cols, uint32_t n_experts) {
    const rz_dtype_row *type = rz_dtype_find(dtype);
    const size_t row_bytes = (size_t)cols / type->block_size * type->block_bytes, n = (size_t)rows * n_experts;
    fixture f = {.t.spec = {.dtype = dtype, .use = use, .rows = rows, .cols = cols, .n_experts = n_experts}};
    uint8_t *file = malloc(n * row_bytes);
    random_blocks(dtype, file, n * cols);
    f.rows = malloc(n * cols * sizeof(float));
    for (size_t r = 0; r < n; r++) type->dequantize(file + r * row_bytes, cols, f.rows + r * cols);
    uint64_t bytes = 0;
    CHECK(rz_cpu_weight_bytes(NULL, &f.t.spec, &bytes) == RZ_OK);
    f.t.layout_bytes = bytes;
    f.t.data = aligned_alloc(64, (bytes + 63) / 64 * 64);
    memset(f.t.data, 0, bytes);
    for (uint32_t e = 0; e < n_experts; e++) { /* in pieces of a row unit, as the loader may */
        const uint32_t unit = rz_cpu_weight_row_unit(NULL, &f.t.spec);
        for (uint32_t r = 0; r < rows; r += unit) {
            const uint32_t m = rows - r < unit ? rows - r : unit;
            rz_cpu_weight_store(NULL, &f.t, e * rows + r, m, file + ((size_t)e * rows + r) * row_bytes);
        }
    }
    free(file);
    return f;
}

static inline void fixture_close(fixture *f) {
    free(f->t.data);
    free(f->rows);
}

#endif
