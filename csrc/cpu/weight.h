/* weight.h - internal: weights of the CPU executor: file format to layout (layout.h) and back. */
#ifndef RZ_CPU_WEIGHT_H
#define RZ_CPU_WEIGHT_H
#include "backend.h"
#include "layout.h"

/* The layout of a weight: f(dtype, use). VECTOR weights are RZ_LAYOUT_F32 too, but one plain row. */
uint32_t rz_cpu_layout_of(const rz_weight *spec);

/* Whether a weight lies in stripes, else row after row. */
static inline bool rz_cpu_is_striped(const rz_weight *spec) {
    return (spec->use & (RZ_USE_MATMUL | RZ_USE_MOE)) != 0 && rz_cpu_layout_of(spec) != RZ_LAYOUT_ROWS;
}

/* The backend's functions of the same names; engine is not looked at. */
int32_t rz_cpu_weight_bytes(void *engine, const rz_weight *spec, uint64_t *bytes);
uint32_t rz_cpu_weight_row_unit(void *engine, const rz_weight *spec);
int32_t rz_cpu_weight_store(void *engine, const rz_tensor *t, uint32_t row, uint32_t n_rows, const uint8_t *src);
int32_t rz_cpu_weight_read(void *engine, const rz_tensor *t, uint32_t row, uint32_t n_rows, float *out);

/* Puts n consecutive rows (src, row_bytes apart) of a file's dtype into a stripe as its rows r .. r + n - 1. */
void rz_cpu_stripe_store(const rz_weight *spec, uint8_t *stripe, uint32_t r, uint32_t n, const uint8_t *src,
                         size_t row_bytes);
/* Row r of a stripe, dequantized. */
void rz_cpu_stripe_read(const rz_weight *spec, const uint8_t *stripe, uint32_t r, float *out);

#endif
