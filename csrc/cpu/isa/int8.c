/* int8.c - products of quantized weights with int8 activations by unpacked panels, for many rows (few.c: for few).
 *
 * Both make the same bits: for each block of 32 columns (16 for Q6_K), in order, the exact integer sum times
 * (weight scale * activation scale) is added with one rounding, then the minimum times the activations' sum. Outliers
 * have a sum of their own, in the order of columns, which is added last. Layouts: layout.h. */
#include "stripe.h"

/* The largest tiles that fit the registers: stripes of a panel at once and rows of activations. */
#if defined(__AVX512F__)
#define TILE_STRIPES 2
#define TILE_ROWS 6
#elif defined(__AVX2__)
#define TILE_STRIPES 1
#define TILE_ROWS 3
#elif defined(__ARM_FEATURE_DOTPROD)
#define TILE_STRIPES 1
#define TILE_ROWS 4
#else
#define TILE_STRIPES 1
#define TILE_ROWS 1
#endif

#define PANEL_FROM 17 /* rows of activations from which unpacking pays */

AI void unpack(LAYOUT, const uint8_t *stripe, uint32_t blocks, uint32_t first, uint32_t n, rz_panel *p, uint32_t h) {
    const uint32_t group = rz_cpu_unit_blocks(L);
    const size_t unit = rz_cpu_unit_bytes(L);
    const uint8_t *header = stripe + 32 * (first / group);
    const uint8_t *w = stripe + rz_cpu_header_bytes(L, blocks) + first / group * unit;
    for (uint32_t b = 0; b < n; b += group, w += unit, header += 32) {
        f32v scale[8][2], min[8];
        unit_scales(L, header, w, scale, min);
        for (uint32_t g = 0; g < group; g++, p++) {
            u8v v[8];
            unit_lines(L, w, g, v);
            UNROLL for (int l = 0; l < 8; l++) store_b(p->q[l][h], v[l]);
            UNROLL for (int i = 0; i < halves_of(L); i++) store_f(p->scale[i][h], scale[g][i]);
            if (has_min(L)) store_f(p->min[h], min[g]);
        }
    }
}

/* c[M][32] += panels * x, for stripes h .. h + TILE_STRIPES - 1. */
AI void tile(LAYOUT, const rz_panel *p, const rz_xblock *x, size_t x_rows, uint32_t blocks, float *c, const int h,
             const int M) {
    const int lines = 8 / halves_of(L);
    f32v f[TILE_ROWS][TILE_STRIPES];
    UNROLL for (int t = 0; t < M; t++)
        UNROLL for (int i = 0; i < TILE_STRIPES; i++) f[t][i] = load_f(c + 32 * t + 16 * (h + i));
    _Pragma("clang loop unroll(disable)") for (uint32_t b = 0; b < blocks; b++, p++, x += x_rows) {
        UNROLL for (int k = 0; k < halves_of(L); k++) {
            dot_sum s[TILE_ROWS][TILE_STRIPES];
            UNROLL for (int t = 0; t < M; t++)
                UNROLL for (int i = 0; i < TILE_STRIPES; i++) s[t][i] = dot_start(offset_of(L, x + t, k));
            UNROLL for (int l = 0; l < lines; l++) {
                const int line = k * lines + l;
                u8v w[TILE_STRIPES];
                UNROLL for (int i = 0; i < TILE_STRIPES; i++) w[i] = load_b(p->q[line][h + i]);
                UNROLL for (int t = 0; t < M; t++)
                    UNROLL for (int i = 0; i < TILE_STRIPES; i++)
                        dot_line(&s[t][i], w[i], x[t].q + 4 * line, (uint32_t)l, bits_of(L));
            }
            UNROLL for (int i = 0; i < TILE_STRIPES; i++) {
                const f32v scale = load_f(p->scale[k][h + i]);
                UNROLL for (int t = 0; t < M; t++)
                    f[t][i] = fma_f(to_float(s[t][i].wide), scale * x[t].scale, f[t][i]);
            }
        }
        if (has_min(L)) UNROLL for (int i = 0; i < TILE_STRIPES; i++) {
            const f32v min = load_f(p->min[h + i]);
            UNROLL for (int t = 0; t < M; t++) f[t][i] = fma_f(min, splat(x[t].sum), f[t][i]);
        }
    }
    UNROLL for (int t = 0; t < M; t++)
        UNROLL for (int i = 0; i < TILE_STRIPES; i++) store_f(c + 32 * t + 16 * (h + i), f[t][i]);
}

AI void tile_rows(LAYOUT, const rz_panel *p, const rz_xblock *x, size_t x_rows, uint32_t n_rows, uint32_t blocks,
                  float *c) {
    UNROLL for (int h = 0; h < 2; h += TILE_STRIPES) {
        switch (n_rows) {
#if TILE_ROWS > 4
        case 6: tile(L, p, x, x_rows, blocks, c, h, 6); break;
        case 5: tile(L, p, x, x_rows, blocks, c, h, 5); break;
#endif
#if TILE_ROWS > 3
        case 4: tile(L, p, x, x_rows, blocks, c, h, 4); break;
#endif
#if TILE_ROWS > 1
        case 3: tile(L, p, x, x_rows, blocks, c, h, 3); break;
        case 2: tile(L, p, x, x_rows, blocks, c, h, 2); break;
#endif
        default: tile(L, p, x, x_rows, blocks, c, h, 1); break;
        }
    }
}

AI void panel(LAYOUT, const rz_panel *p, const rz_x8 *x, uint32_t row, uint32_t n_rows, uint32_t first,
              uint32_t blocks, float *c, const rz_panel_outliers *o, const uint8_t *const next[2], size_t next_bytes) {
    const uint32_t n = (n_rows + TILE_ROWS - 1) / TILE_ROWS;
    const size_t lines = (next_bytes + 63) / 64;
    const rz_xblock *q = x->blocks + (size_t)first * x->n_rows + row;
    for (uint32_t t = 0; t < n; t++) {
        for (size_t l = lines * t / n; l < lines * (t + 1) / n; l++) {
            __builtin_prefetch(next[0] + 64 * l, 0, 2);
            __builtin_prefetch(next[1] + 64 * l, 0, 2);
        }
        const uint32_t from = n_rows * t / n, end = n_rows * (t + 1) / n;
        tile_rows(L, p, q + from, x->n_rows, end - from, blocks, c + 32 * from);
    }
    panel_outliers(L, 0, p, first, x, row, n_rows, o);
}

#define KERNELS(name, layout)                                                                                        \
    static void unpack_##name(const uint8_t *stripe, uint32_t blocks, uint32_t first, uint32_t n, rz_panel *p,       \
                              uint32_t h) {                                                                          \
        unpack(layout, stripe, blocks, first, n, p, h);                                                              \
    }                                                                                                                \
    static void panel_##name(const rz_panel *p, const rz_x8 *x, uint32_t row, uint32_t n_rows, uint32_t first,       \
                             uint32_t blocks, float *c, const rz_panel_outliers *o, const uint8_t *const next[2],    \
                             size_t next_bytes) {                                                                    \
        panel(layout, p, x, row, n_rows, first, blocks, c, o, next, next_bytes);                                     \
    }
KERNELS(q4_0, RZ_LAYOUT_Q4_0)
KERNELS(q4_1, RZ_LAYOUT_Q4_1)
KERNELS(q8_0, RZ_LAYOUT_Q8_0)
KERNELS(q4_k, RZ_LAYOUT_Q4_K)
KERNELS(q5_k, RZ_LAYOUT_Q5_K)
KERNELS(q6_k, RZ_LAYOUT_Q6_K)

#define ALL(f) {f##_q4_0, f##_q4_1, f##_q8_0, f##_q4_k, f##_q5_k, f##_q6_k}
extern const rz_cpu_int8 RZ_CPU_TABLE(rz_cpu_int8);
const rz_cpu_int8 RZ_CPU_TABLE(rz_cpu_int8) = {
    .panels = {.unpack = ALL(unpack), .multiply = ALL(panel), .rows_from = PANEL_FROM}};
