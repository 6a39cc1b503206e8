/* float.c - products of F32, F16 and BF16 weights with F32 activations. Each result is one chain of multiply-adds in
 * the order of columns, so it has the same bits however many rows and stripes a tile holds. */
#include "../kernels.h"
#include "simd.h"

#if defined(__AVX512F__)
#define TILE_STRIPES 4
#define TILE_ROWS 6
#elif defined(__aarch64__)
#define TILE_STRIPES 1
#define TILE_ROWS 6
#else
#define TILE_STRIPES 1
#define TILE_ROWS 4
#endif

enum { F32, F16, BF16 };

/* Columns 2k and 2k + 1 of a stripe (column k alone for last = 1). */
AI void columns(const int F, const uint8_t *stripe, uint32_t k, f32v w[2], const int last) {
    if (F == F32) {
        w[0] = load_f((const float *)stripe + 32 * k);
        if (!last) w[1] = load_f((const float *)stripe + 32 * k + 16);
    } else if (F == F16) {
        w[0] = load_half(stripe + 64 * k);
        if (!last) w[1] = load_half(stripe + 64 * k + 32);
    } else {
        const u32v pair = (u32v)load_b(stripe + 64 * k);
        w[0] = (f32v)(pair << 16);
        w[1] = (f32v)(pair & 0xffff0000u);
    }
}

AI void tile(const int F, const uint8_t *w, size_t stripe_bytes, const float *x, size_t x_stride, uint32_t cols,
             float *const out[TILE_STRIPES], const int S, const int M) {
    f32v f[TILE_ROWS][TILE_STRIPES];
    UNROLL for (int t = 0; t < M; t++) UNROLL for (int i = 0; i < S; i++) f[t][i] = splat(0);
    uint32_t k = 0;
    _Pragma("clang loop unroll_count(2)") for (; k < cols / 2; k++) {
        f32v a[TILE_STRIPES][2];
        UNROLL for (int i = 0; i < S; i++) {
            columns(F, w + i * stripe_bytes, k, a[i], 0);
            __builtin_prefetch(w + i * stripe_bytes + (size_t)k * (F == F32 ? 128 : 64) + 2048);
        }
        UNROLL for (int j = 0; j < 2; j++)
            UNROLL for (int t = 0; t < M; t++) {
                const f32v v = splat(x[t * x_stride + 2 * k + j]);
                UNROLL for (int i = 0; i < S; i++) f[t][i] = fma_f(a[i][j], v, f[t][i]);
            }
    }
    if (cols % 2) {
        UNROLL for (int i = 0; i < S; i++) {
            f32v a[2];
            columns(F, w + i * stripe_bytes, k, a, 1);
            UNROLL for (int t = 0; t < M; t++) f[t][i] = fma_f(a[0], splat(x[t * x_stride + 2 * k]), f[t][i]);
        }
    }
    UNROLL for (int t = 0; t < M; t++) UNROLL for (int i = 0; i < S; i++) store_f(out[i] + 32 * t, f[t][i]);
}

AI void rows(const int F, const uint8_t *w, size_t stripe_bytes, const float *x, size_t x_stride, uint32_t n_rows,
             uint32_t cols, float *c, size_t tile_stride, uint32_t first, const int S) {
    float *out[TILE_STRIPES];
    UNROLL for (int i = 0; i < S; i++) out[i] = c + (first + i) / 2 * tile_stride + (first + i) % 2 * 16;
    uint32_t t = 0;
#define STEP(M)                                                                                                      \
    for (; t + M <= n_rows; t += M) {                                                                                \
        tile(F, w, stripe_bytes, x + t * x_stride, x_stride, cols, out, S, M);                                       \
        UNROLL for (int i = 0; i < S; i++) out[i] += 32 * M;                                                         \
    }
#if TILE_ROWS == 6
    STEP(6)
#endif
    STEP(4)
    STEP(2)
    STEP(1)
}

AI void direct(const int F, const uint8_t *stripes, size_t stripe_bytes, uint32_t n_stripes, const float *x,
               size_t x_stride, uint32_t n_rows, uint32_t cols, float *c, size_t tile_stride) {
    uint32_t s = 0;
    for (; s + TILE_STRIPES <= n_stripes; s += TILE_STRIPES)
        rows(F, stripes + s * stripe_bytes, stripe_bytes, x, x_stride, n_rows, cols, c, tile_stride, s, TILE_STRIPES);
    for (; s < n_stripes; s++)
        rows(F, stripes + s * stripe_bytes, stripe_bytes, x, x_stride, n_rows, cols, c, tile_stride, s, 1);
}

#define DIRECT(name, F)                                                                                              \
    static void direct_##name(const uint8_t *stripes, size_t stripe_bytes, uint32_t n_stripes, const float *x,       \
                              size_t x_stride, uint32_t n_rows, uint32_t cols, float *c, size_t tile_stride) {       \
        direct(F, stripes, stripe_bytes, n_stripes, x, x_stride, n_rows, cols, c, tile_stride);                      \
    }
DIRECT(f32, F32)
DIRECT(f16, F16)
DIRECT(bf16, BF16)

static void lines(const float *w, const float *x, size_t x_stride, uint32_t n_rows, uint32_t cols, float *c) {
    for (uint32_t t = 0; t < n_rows; t++, x += x_stride, c += 32) {
        f32v f = load_f(c);
        for (uint32_t k = 0; k < cols; k++) f = fma_f(load_f(w + 16 * k), splat(x[k]), f);
        store_f(c, f);
    }
}

extern const rz_cpu_float RZ_CPU_TABLE(rz_cpu_float);
const rz_cpu_float RZ_CPU_TABLE(rz_cpu_float) = {.direct = {direct_f32, direct_f16, direct_bf16}, .lines = lines};
