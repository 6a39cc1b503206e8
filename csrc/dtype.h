/* dtype.h - internal: weight types, a row each; the numbers are ggml's. src/dtype.ts has the same table. */
#ifndef RZ_DTYPE_H
#define RZ_DTYPE_H
#include <stdint.h>

typedef enum rz_dtype {
    RZ_F32 = 0,
    RZ_F16 = 1,
    RZ_Q4_0 = 2,
    RZ_Q4_1 = 3,
    RZ_Q5_0 = 6,
    RZ_Q5_1 = 7,
    RZ_Q8_0 = 8,
    RZ_Q2_K = 10,
    RZ_Q3_K = 11,
    RZ_Q4_K = 12,
    RZ_Q5_K = 13,
    RZ_Q6_K = 14,
    RZ_IQ4_NL = 20,
    RZ_IQ4_XS = 23,
    RZ_I32 = 26, /* values only */
    RZ_BF16 = 30,
} rz_dtype;

typedef struct rz_dtype_row {
    const char *name;
    uint32_t id;
    uint32_t block_size;  /* weights */
    uint32_t block_bytes; /* bytes */
    /* n weights (a multiple of block_size) of consecutive blocks to F32 */
    void (*dequantize)(const uint8_t *blocks, uint32_t n, float *out);
} rz_dtype_row;

/* The row of a type, NULL when unknown. */
const rz_dtype_row *rz_dtype_find(uint32_t id);

float rz_f16_to_f32(uint16_t half);
uint16_t rz_f32_to_f16(float x); /* nearest even */

#endif
