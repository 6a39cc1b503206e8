/* rows.c - work on single rows of activations: norms, quantizing, activations, RoPE. A row's result depends on nothing
 * but the row. */
#include "../kernels.h"
#include "simd.h"
#include <math.h>

/* Runs BODY for columns i of 16 at a time; the last ones through load_part and store_part. LOAD(p) is p's 16. */
#define EACH_16(n, BODY)                                                                                             \
    do {                                                                                                             \
        uint32_t i = 0;                                                                                              \
        for (; i + 16 <= (n); i += 16) {                                                                             \
            BODY(load_f, store_f);                                                                                   \
        }                                                                                                            \
        if (i < (n)) {                                                                                               \
            const uint32_t left = (n) - i;                                                                           \
            BODY(LOAD_LEFT, STORE_LEFT);                                                                             \
        }                                                                                                            \
    } while (0)
#define LOAD_LEFT(p) load_part(p, left)
#define STORE_LEFT(p, v) store_part(p, v, left)

static void rms_norm(const float *x, const float *w, uint32_t n, float eps, float *y) {
    f32v a = splat(0), b = splat(0);
    uint32_t k = 0;
    for (; k + 32 <= n; k += 32) {
        const f32v u = load_f(x + k), v = load_f(x + k + 16);
        a = fma_f(u, u, a);
        b = fma_f(v, v, b);
    }
    for (; k < n; k += 16) {
        const f32v u = n - k < 16 ? load_part(x + k, n - k) : load_f(x + k);
        a = fma_f(u, u, a);
    }
    const float r = 1.0f / sqrtf(sum_f(a + b) / (float)n + eps);
    if (w) {
#define BODY(LOAD, STORE) STORE(y + i, LOAD(x + i) * r * LOAD(w + i))
        EACH_16(n, BODY);
#undef BODY
    } else {
#define BODY(LOAD, STORE) STORE(y + i, LOAD(x + i) * r)
        EACH_16(n, BODY);
#undef BODY
    }
}

static void layer_norm(const float *x, const float *w, const float *b, uint32_t n, float eps, float *y) {
    f32v sum = splat(0), squares = splat(0);
#define BODY(LOAD, STORE) sum += LOAD(x + i)
    EACH_16(n, BODY);
#undef BODY
    const float mean = sum_f(sum) / (float)n;
    uint32_t k = 0;
    for (; k + 16 <= n; k += 16) {
        const f32v v = load_f(x + k) - mean;
        squares = fma_f(v, v, squares);
    }
    float rest = 0;
    for (; k < n; k++) rest += (x[k] - mean) * (x[k] - mean);
    const float r = 1.0f / sqrtf((sum_f(squares) + rest) / (float)n + eps);
    if (b) {
#define BODY(LOAD, STORE) STORE(y + i, (LOAD(x + i) - mean) * r * LOAD(w + i) + LOAD(b + i))
        EACH_16(n, BODY);
#undef BODY
    } else {
#define BODY(LOAD, STORE) STORE(y + i, (LOAD(x + i) - mean) * r * LOAD(w + i))
        EACH_16(n, BODY);
#undef BODY
    }
}

static void quantize(const float *x, uint32_t n, rz_xq *q, size_t q_rows) {
    typedef int8_t i8x16 __attribute__((ext_vector_type(16), aligned(1), may_alias));
    for (uint32_t k = 0; k < n; k += 32, x += 32, q += q_rows) {
        const f32v a = load_f(x), b = load_f(x + 16);
        /* As integers NaN > infinity > all numbers, so the largest magnitude tells them too. */
        const u32v bits_a = (u32v)a & 0x7fffffffu, bits_b = (u32v)b & 0x7fffffffu;
        const uint32_t top_bits = __builtin_reduce_max(bits_a > bits_b ? bits_a : bits_b);
        float top;
        memcpy(&top, &top_bits, 4);
        const bool finite = top_bits < 0x7f800000u;
        const float inverse = finite && top > 1e-30f ? 127.0f / top : 0.0f;
        const float scale = !finite ? NAN : top > 1e-30f ? top / 127.0f : 0.0f;
        /* Adding 1.5 * 2^23 rounds to the nearest integer, ties to even: the low bits. */
        const i32v qa = finite ? (i32v)(a * inverse + 12582912.0f) - 0x4b400000 : splat_i(0);
        const i32v qb = finite ? (i32v)(b * inverse + 12582912.0f) - 0x4b400000 : splat_i(0);
        *(i8x16 *)q->q = __builtin_convertvector(qa, i8x16);
        *(i8x16 *)(q->q + 16) = __builtin_convertvector(qb, i8x16);
        const int32_t sum_a = __builtin_reduce_add(qa), sum_b = __builtin_reduce_add(qb);
        q->scale = scale;
        q->sum = scale * (float)(sum_a + sum_b);
        q->sum32[0] = -32 * sum_a;
        q->sum32[1] = -32 * sum_b;
        q->sum8 = -8 * (sum_a + sum_b);
        q->sum128 = -128 * (sum_a + sum_b);
    }
}

AI f32v silu_f(f32v x) { return x / (1.0f + exp_f(-x)); }
AI f32v gelu_tanh_f(f32v x) {
    /* 0.5 x (1 + tanh u) = x / (1 + e^-2u) */
    const f32v u = x * fma_f(x * x, splat(0.044715f * 0.7978845608f), splat(0.7978845608f));
    return x / (1.0f + exp_f(-2.0f * u));
}
AI f32v gelu_erf_f(f32v x) { return 0.5f * x * (1.0f + erf_f(x * 0.70710678f)); }

static void glu(uint32_t kind, float alpha, float limit, const float *g, const float *u, uint32_t n, float *y) {
#define SILU(LOAD, STORE) STORE(y + i, silu_f(LOAD(g + i)) * LOAD(u + i))
#define GELU_TANH(LOAD, STORE) STORE(y + i, gelu_tanh_f(LOAD(g + i)) * LOAD(u + i))
#define GELU_ERF(LOAD, STORE) STORE(y + i, gelu_erf_f(LOAD(g + i)) * LOAD(u + i))
#define CLAMPED(LOAD, STORE)                                                                                         \
    f32v a = LOAD(g + i), b = LOAD(u + i);                                                                           \
    a = a > limit ? splat(limit) : a;                                                                                \
    b = b > limit ? splat(limit) : b < -limit ? splat(-limit) : b;                                                   \
    STORE(y + i, a / (1.0f + exp_f(-alpha * a)) * (b + 1.0f))
    switch (kind) {
    case 0: EACH_16(n, SILU); break;
    case 1: EACH_16(n, GELU_TANH); break;
    case 2: EACH_16(n, GELU_ERF); break;
    default: EACH_16(n, CLAMPED); break;
    }
}

static void unary(uint32_t kind, const float *x, uint32_t n, float *y) {
#define U_SILU(LOAD, STORE) STORE(y + i, silu_f(LOAD(x + i)))
#define U_GELU_TANH(LOAD, STORE) STORE(y + i, gelu_tanh_f(LOAD(x + i)))
#define U_GELU_ERF(LOAD, STORE) STORE(y + i, gelu_erf_f(LOAD(x + i)))
#define RELU(LOAD, STORE)                                                                                            \
    const f32v a = LOAD(x + i);                                                                                      \
    STORE(y + i, a < 0.0f ? splat(0) : a)
#define RELU2(LOAD, STORE)                                                                                           \
    const f32v a = LOAD(x + i);                                                                                      \
    STORE(y + i, a < 0.0f ? splat(0) : a * a)
#define SIGMOID(LOAD, STORE) STORE(y + i, 1.0f / (1.0f + exp_f(-LOAD(x + i))))
#define TANH(LOAD, STORE) STORE(y + i, tanh_f(LOAD(x + i)))
    switch (kind) {
    case 0: EACH_16(n, U_SILU); break;
    case 1: EACH_16(n, U_GELU_TANH); break;
    case 2: EACH_16(n, U_GELU_ERF); break;
    case 3: EACH_16(n, RELU); break;
    case 4: EACH_16(n, RELU2); break;
    case 5: EACH_16(n, SIGMOID); break;
    default: EACH_16(n, TANH); break;
    }
}

static void add(const float *a, const float *b, uint32_t n, float *y) {
#define BODY(LOAD, STORE) STORE(y + i, LOAD(a + i) + LOAD(b + i))
    EACH_16(n, BODY);
#undef BODY
}

static void mul(const float *a, const float *b, uint32_t n, float *y) {
#define BODY(LOAD, STORE) STORE(y + i, LOAD(a + i) * LOAD(b + i))
    EACH_16(n, BODY);
#undef BODY
}

static void scale(const float *x, float f, uint32_t n, float *y) {
#define BODY(LOAD, STORE) STORE(y + i, LOAD(x + i) * f)
    EACH_16(n, BODY);
#undef BODY
}

static void softcap(const float *x, float cap, uint32_t n, float *y) {
    const float inverse = 1.0f / cap;
#define BODY(LOAD, STORE) STORE(y + i, tanh_f(LOAD(x + i) * inverse) * cap)
    EACH_16(n, BODY);
#undef BODY
}

static void rope(const float *x, const float *cos, const float *sin, uint32_t n, uint32_t n_rot, uint32_t pairs,
                 float *y) {
    const uint32_t half = n_rot / 2;
    if (pairs) {
        typedef float f8 __attribute__((ext_vector_type(8)));
        uint32_t k = 0;
        for (; k + 8 <= half; k += 8) {
            f8 c, s;
            memcpy(&c, cos + k, 32);
            memcpy(&s, sin + k, 32);
            const f32v v = load_f(x + 2 * k);
            const f8 a = v.even, b = v.odd;
            f32v r;
            r.even = a * c - b * s;
            r.odd = a * s + b * c;
            store_f(y + 2 * k, r);
        }
        for (; k < half; k++) {
            const float a = x[2 * k], b = x[2 * k + 1];
            y[2 * k] = a * cos[k] - b * sin[k];
            y[2 * k + 1] = a * sin[k] + b * cos[k];
        }
    } else {
#define BODY(LOAD, STORE)                                                                                            \
    const f32v a = LOAD(x + i), b = LOAD(x + half + i), c = LOAD(cos + i), s = LOAD(sin + i);                        \
    STORE(y + i, a *c - b * s);                                                                                      \
    STORE(y + half + i, a *s + b * c)
        EACH_16(half, BODY);
#undef BODY
    }
    if (y != x && n_rot < n) memcpy(y + n_rot, x + n_rot, (n - n_rot) * sizeof(float));
}

extern const rz_cpu_rows RZ_CPU_TABLE(rz_cpu_rows);
const rz_cpu_rows RZ_CPU_TABLE(rz_cpu_rows) = {
    .rms_norm = rms_norm,
    .layer_norm = layer_norm,
    .quantize = quantize,
    .glu = glu,
    .unary = unary,
    .add = add,
    .mul = mul,
    .scale = scale,
    .softcap = softcap,
    .rope = rope,
};
