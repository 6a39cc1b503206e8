/* exp_f32.h - internal: e^x for x <= 0 in plain F32 arithmetic, so that a compiler turns a loop of it into vector code
 * and every machine gets the same bits (libm's expf differs between systems, and with it a sampled token would). */
#ifndef RZ_EXP_F32_H
#define RZ_EXP_F32_H
#include <stdint.h>
#include <string.h>

/* Relative error <= 2e-7 for -87 < x <= 0; exactly 0 from there down, and for NaN. */
static inline float rz_exp_f32(float x) {
    const float clamped = x > -87.0f ? x : -87.0f; /* NaN goes to the right */
    /* x = n ln 2 + r with |r| <= 0.35: adding and subtracting 1.5 * 2^23 rounds to an integer, and the low bits of the
     * sum are n itself. ln 2 is taken off in two pieces, the first exact in n * piece. */
    const float shifted = clamped * 1.44269504f + 12582912.0f;
    const float n = shifted - 12582912.0f;
    const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
    /* Taylor to r^7: the next term is 5e-9. */
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127u) << 23; /* 2^n: 1.5 * 2^23 has zeros in its low 9 bits */
    float power;
    memcpy(&power, &bits, sizeof power);
    return x > -87.0f ? p * power : 0.0f;
}

#endif
