/* weight.c - weights of the CPU executor: sizes, and rows to and from stripes. */
#include "weight.h"
#include "dtype.h"
#include "error.h"
#include <string.h>

uint32_t rz_cpu_layout_of(const rz_weight *spec) {
    if (spec->use & RZ_USE_VECTOR) return RZ_LAYOUT_F32;
    if ((spec->use & (RZ_USE_MATMUL | RZ_USE_MOE)) == 0) return RZ_LAYOUT_ROWS;
    switch (spec->dtype) {
    case RZ_F32: return RZ_LAYOUT_F32;
    case RZ_F16: return RZ_LAYOUT_F16;
    case RZ_BF16: return RZ_LAYOUT_BF16;
    case RZ_Q4_0: return RZ_LAYOUT_Q4_0;
    case RZ_Q4_1: return RZ_LAYOUT_Q4_1;
    case RZ_Q5_0:
    case RZ_IQ4_NL:
    case RZ_Q8_0: return RZ_LAYOUT_Q8_0;
    case RZ_Q4_K: return RZ_LAYOUT_Q4_K;
    case RZ_Q5_K: return RZ_LAYOUT_Q5_K;
    case RZ_Q3_K:
    case RZ_Q6_K: return RZ_LAYOUT_Q6_K;
    default: return RZ_LAYOUT_ROWS;
    }
}

/* Bytes of a row as it lies in a file. */
static size_t file_row_bytes(const rz_weight *spec) {
    const rz_dtype_row *dtype = rz_dtype_find(spec->dtype);
    return (size_t)spec->cols / dtype->block_size * dtype->block_bytes;
}

int32_t rz_cpu_weight_bytes(void *engine, const rz_weight *spec, uint64_t *bytes) {
    (void)engine;
    if (!rz_dtype_find(spec->dtype)) {
        return (int32_t)rz_fail(RZ_E_UNSUPPORTED, "cpu: no weights of dtype %u", spec->dtype);
    }
    const uint64_t experts = spec->n_experts ? spec->n_experts : 1;
    if (spec->use & RZ_USE_VECTOR) {
        *bytes = (uint64_t)spec->rows * spec->cols * sizeof(float);
    } else if (rz_cpu_is_striped(spec)) {
        const uint64_t stripes = rz_cpu_stripes(spec->rows) * experts;
        *bytes = stripes * rz_cpu_stripe_bytes(rz_cpu_layout_of(spec), spec->cols);
    } else {
        *bytes = spec->rows * experts * file_row_bytes(spec);
    }
    return RZ_OK;
}

uint32_t rz_cpu_weight_row_unit(void *engine, const rz_weight *spec) {
    (void)engine;
    return rz_cpu_is_striped(spec) ? RZ_STRIPE_ROWS : 1;
}

/* The stripe of row `row` (counted over all experts), how many rows follow it there, and its place in the stripe. */
static uint8_t *stripe_of(const rz_tensor *t, uint32_t row, uint32_t *r, uint32_t *left) {
    const uint32_t rows = t->spec.rows, expert = row / rows, in_expert = row % rows;
    const size_t stripe_bytes = rz_cpu_stripe_bytes(rz_cpu_layout_of(&t->spec), t->spec.cols);
    *r = in_expert % RZ_STRIPE_ROWS;
    *left = RZ_STRIPE_ROWS - *r;
    if (*left > rows - in_expert) *left = rows - in_expert;
    return t->data + ((size_t)expert * rz_cpu_stripes(rows) + in_expert / RZ_STRIPE_ROWS) * stripe_bytes;
}

int32_t rz_cpu_weight_store(void *engine, const rz_tensor *t, uint32_t row, uint32_t n_rows, const uint8_t *src) {
    (void)engine;
    const size_t row_bytes = file_row_bytes(&t->spec);
    if (t->spec.use & RZ_USE_VECTOR) {
        const rz_dtype_row *dtype = rz_dtype_find(t->spec.dtype);
        for (uint32_t i = 0; i < n_rows; i++) {
            float *out = (float *)(void *)t->data + (size_t)(row + i) * t->spec.cols;
            dtype->dequantize(src + i * row_bytes, t->spec.cols, out);
        }
    } else if (!rz_cpu_is_striped(&t->spec)) {
        memcpy(t->data + row * row_bytes, src, n_rows * row_bytes);
    } else {
        for (uint32_t i = 0, n = 0; i < n_rows; i += n) {
            uint32_t r = 0;
            uint8_t *stripe = stripe_of(t, row + i, &r, &n);
            if (n > n_rows - i) n = n_rows - i;
            rz_cpu_stripe_store(&t->spec, stripe, r, n, src + i * row_bytes, row_bytes);
        }
    }
    return RZ_OK;
}

int32_t rz_cpu_weight_read(void *engine, const rz_tensor *t, uint32_t row, uint32_t n_rows, float *out) {
    (void)engine;
    const uint32_t cols = t->spec.cols;
    const rz_dtype_row *dtype = rz_dtype_find(t->spec.dtype);
    for (uint32_t i = 0; i < n_rows; i++, out += cols) {
        if (t->spec.use & RZ_USE_VECTOR) {
            memcpy(out, t->data + (size_t)(row + i) * cols * sizeof(float), cols * sizeof(float));
        } else if (!rz_cpu_is_striped(&t->spec)) {
            dtype->dequantize(t->data + (row + i) * file_row_bytes(&t->spec), cols, out);
        } else {
            uint32_t r = 0, left = 0;
            const uint8_t *stripe = stripe_of(t, row + i, &r, &left);
            rz_cpu_stripe_read(&t->spec, stripe, r, out);
        }
    }
    return RZ_OK;
}
