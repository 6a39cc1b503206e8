/* bf16.c - products of BF16 weights with activations rounded to BF16, two columns at a time, where the processor has
 * instructions for it. Each result is one chain in the order of columns, however many rows and stripes a tile holds. */
#include "../kernels.h"
#include "simd.h"

#if defined(__AVX512VNNI__)
#define BF16 __attribute__((target("avx512bf16")))
#define TILE_STRIPES 4
#define TILE_ROWS 6

BF16 static void round_row(const float *x, uint32_t n, uint16_t *y) {
    uint32_t i = 0;
    for (; i + 16 <= n; i += 16) _mm256_storeu_si256((__m256i *)(y + i), (__m256i)_mm512_cvtneps_pbh(load_f(x + i)));
    if (i == n) return;
    uint16_t last[16];
    _mm256_storeu_si256((__m256i *)last, (__m256i)_mm512_cvtneps_pbh(load_part(x + i, n - i)));
    memcpy(y + i, last, ((n - i + 1) & ~1u) * sizeof(uint16_t)); /* a whole pair */
}

/* S stripes times M rows. */
BF16 AI void tile(const uint8_t *w, size_t stripe_bytes, const uint16_t *x, size_t x_stride, uint32_t pairs,
                  float *const out[TILE_STRIPES], const int S, const int M) {
    __m512 f[TILE_ROWS][TILE_STRIPES];
    UNROLL for (int t = 0; t < M; t++) UNROLL for (int i = 0; i < S; i++) f[t][i] = _mm512_setzero_ps();
    _Pragma("clang loop unroll(disable)") for (uint32_t k = 0; k < pairs; k++) {
        __m512bh a[TILE_STRIPES];
        UNROLL for (int i = 0; i < S; i++) {
            a[i] = (__m512bh)_mm512_loadu_si512(w + i * stripe_bytes + 64 * (size_t)k);
        }
        UNROLL for (int t = 0; t < M; t++) {
            int32_t pair;
            memcpy(&pair, x + t * x_stride + 2 * k, 4);
            const __m512bh b = (__m512bh)_mm512_set1_epi32(pair);
            UNROLL for (int i = 0; i < S; i++) f[t][i] = _mm512_dpbf16_ps(f[t][i], a[i], b);
        }
    }
    UNROLL for (int t = 0; t < M; t++) UNROLL for (int i = 0; i < S; i++) store_f(out[i] + 32 * t, (f32v)f[t][i]);
}

BF16 AI void rows(const uint8_t *w, size_t stripe_bytes, const uint16_t *x, size_t x_stride, uint32_t n_rows,
                  uint32_t pairs, float *c, size_t tile_stride, uint32_t first, const int S) {
    float *out[TILE_STRIPES];
    UNROLL for (int i = 0; i < S; i++) out[i] = c + (first + i) / 2 * tile_stride + (first + i) % 2 * 16;
    uint32_t t = 0;
#define STEP(M)                                                                                                      \
    for (; t + M <= n_rows; t += M) {                                                                                \
        tile(w, stripe_bytes, x + t * x_stride, x_stride, pairs, out, S, M);                                         \
        UNROLL for (int i = 0; i < S; i++) out[i] += 32 * M;                                                         \
    }
    STEP(6)
    STEP(4)
    STEP(2)
    STEP(1)
#undef STEP
}

BF16 static void direct(const uint8_t *stripes, size_t stripe_bytes, uint32_t n_stripes, const uint16_t *x,
                        size_t x_stride, uint32_t n_rows, uint32_t cols, float *c, size_t tile_stride) {
    const uint32_t pairs = (cols + 1) / 2;
    /* With one or two rows memory is all that takes time, and it is fastest read in one stream (few.c). */
    const uint32_t wide = n_rows > 2 ? n_stripes / TILE_STRIPES * TILE_STRIPES : 0;
    uint32_t s = 0;
    for (; s < wide; s += TILE_STRIPES)
        rows(stripes + s * stripe_bytes, stripe_bytes, x, x_stride, n_rows, pairs, c, tile_stride, s, TILE_STRIPES);
    for (; s < n_stripes; s++)
        rows(stripes + s * stripe_bytes, stripe_bytes, x, x_stride, n_rows, pairs, c, tile_stride, s, 1);
}

extern const rz_cpu_bf16 RZ_CPU_TABLE(rz_cpu_bf16);
const rz_cpu_bf16 RZ_CPU_TABLE(rz_cpu_bf16) = {.round = round_row, .direct = direct};
#endif
