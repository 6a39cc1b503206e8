/* int8.c - products of quantized weights with int8 activations: straight from stripes, and by unpacked panels.
 *
 * Both make the same bits: for each block of 32 columns (16 for Q6_K), in order, the exact integer sum times
 * (weight scale * activation scale) is added with one rounding, then the minimum times the activations' sum. Outliers
 * have a sum of their own, in the order of columns, which is added last. Layouts: layout.h. */
#include "stripe.h"

/* The largest tiles that fit the registers: stripes of a panel at once and rows of activations; rows straight from a
 * stripe. */
#if defined(__AVX512F__)
#define TILE_STRIPES 2
#define TILE_ROWS 6
#define DIRECT_ROWS 8
#elif defined(__AVX2__)
#define TILE_STRIPES 1
#define TILE_ROWS 3
#define DIRECT_ROWS 4
#elif defined(__ARM_FEATURE_DOTPROD)
#define TILE_STRIPES 1
#define TILE_ROWS 4
#define DIRECT_ROWS 4
#else
#define TILE_STRIPES 1
#define TILE_ROWS 1
#define DIRECT_ROWS 1
#endif

#define PREFETCH_BYTES 1024
#define PANEL_FROM 17 /* rows of activations from which unpacking pays */

/* The outliers of one row of activations times a stripe. */
AI f32v outliers(LAYOUT, const uint8_t *stripe, uint32_t blocks, const rz_xhigh *e, uint32_t n) {
    const uint32_t group = rz_cpu_unit_blocks(L);
    const uint8_t *w = stripe + rz_cpu_header_bytes(L, blocks);
    f32v sum = splat(0);
    for (uint32_t i = 0; i < n; i++, e++) {
        const uint32_t unit = e->line / 8 / group, g = e->line / 8 % group, l = e->line % 8;
        const uint8_t *at = w + unit * rz_cpu_unit_bytes(L);
        const f32v scale = unit_scale(L, stripe + 32 * (size_t)unit, at, g, halves_of(L) == 2 ? l / 4 : 0);
        sum = add_outlier(L, unit_line(L, at, g, l), scale, e, sum);
    }
    return sum;
}

/* One stripe times M rows of activations, M <= DIRECT_ROWS. */
AI void stripe_rows(LAYOUT, const uint8_t *stripe, const rz_x8 *a, uint32_t row, uint32_t blocks, float *c,
                    const int M) {
    const uint32_t group = rz_cpu_unit_blocks(L);
    const size_t unit = rz_cpu_unit_bytes(L);
    const int lines = 8 / halves_of(L);
    const uint8_t *header = stripe, *w = stripe + rz_cpu_header_bytes(L, blocks);
    const rz_xblock *x = a->blocks + row;
    f32v f[DIRECT_ROWS];
    UNROLL for (int t = 0; t < M; t++) f[t] = splat(0);
    for (uint32_t b = 0; b < blocks; b += group, w += unit, header += 32) {
        f32v scale[8][2], min[8];
        unit_scales(L, header, w, scale, min);
        if (group == 8) UNROLL for (int i = 0; i < 256; i += 64) __builtin_prefetch(w + PREFETCH_BYTES + i);
        _Pragma("clang loop unroll(disable)") for (uint32_t g = 0; g < group; g++, x += a->n_rows) {
            u8v v[8];
            const size_t bytes = group == 1 ? unit : (unit - 256) / 8;
            const uint8_t *ahead = w + PREFETCH_BYTES + (group == 1 ? 0 : 256 + bytes * g);
            UNROLL for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(ahead + i);
            unit_lines(L, w, g, v);
            UNROLL for (int h = 0; h < halves_of(L); h++) {
                dot_sum s[DIRECT_ROWS];
                UNROLL for (int t = 0; t < M; t++) s[t] = dot_start(offset_of(L, x + t, h));
                UNROLL for (int l = 0; l < lines; l++)
                    UNROLL for (int t = 0; t < M; t++)
                        dot_line(&s[t], v[h * lines + l], x[t].q + 4 * (h * lines + l), (uint32_t)l, bits_of(L));
                UNROLL for (int t = 0; t < M; t++)
                    f[t] = fma_f(to_float(s[t].wide), scale[g][h] * x[t].scale, f[t]);
            }
            if (has_min(L)) UNROLL for (int t = 0; t < M; t++) f[t] = fma_f(min[g], splat(x[t].sum), f[t]);
        }
    }
    UNROLL for (int t = 0; t < M; t++) store_f(c + 32 * t, f[t]);
    _Pragma("clang loop unroll(disable)") for (uint32_t t = 0; t < (uint32_t)M; t++, row++) {
        const uint32_t n = a->n_high[row];
        if (n == 0) continue;
        const f32v sum = outliers(L, stripe, blocks, a->high + row * a->high_stride, n);
        store_f(c + 32 * t, load_f(c + 32 * t) + sum);
    }
}

AI void direct(LAYOUT, const uint8_t *stripes, size_t stripe_bytes, uint32_t n_stripes, const rz_x8 *x, uint32_t row,
               uint32_t n_rows, uint32_t blocks, float *c, size_t tile_stride) {
    for (uint32_t s = 0; s < n_stripes; s++, stripes += stripe_bytes) {
        float *out = c + s / 2 * tile_stride + s % 2 * 16;
        uint32_t t = 0;
#if DIRECT_ROWS >= 8
        for (; t + 8 <= n_rows; t += 8) stripe_rows(L, stripes, x, row + t, blocks, out + 32 * t, 8);
#endif
#if DIRECT_ROWS >= 4
        for (; t + 4 <= n_rows; t += 4) stripe_rows(L, stripes, x, row + t, blocks, out + 32 * t, 4);
        for (; t + 2 <= n_rows; t += 2) stripe_rows(L, stripes, x, row + t, blocks, out + 32 * t, 2);
#endif
        for (; t < n_rows; t++) stripe_rows(L, stripes, x, row + t, blocks, out + 32 * t, 1);
    }
}

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

/* The outliers of a row in blocks first .. first + blocks. */
AI void panel_outliers(LAYOUT, const rz_panel *p, const rz_xhigh *e, const rz_xhigh *end, uint32_t *cursor,
                       uint32_t first, uint32_t blocks, float *c) {
    const uint32_t stop = 8 * (first + blocks);
    const rz_xhigh *at = e + *cursor;
    if (at == end || at->line >= stop) return;
    f32v sum[2] = {load_f(c), load_f(c + 16)};
    for (; at < end && at->line < stop; at++) {
        const rz_panel *block = p + (at->line / 8 - first);
        const uint32_t l = at->line % 8, h = halves_of(L) == 2 ? l / 4 : 0;
        UNROLL for (int i = 0; i < 2; i++)
            sum[i] = add_outlier(L, load_b(block->q[l][i]), load_f(block->scale[h][i]), at, sum[i]);
    }
    store_f(c, sum[0]);
    store_f(c + 16, sum[1]);
    *cursor = (uint32_t)(at - e);
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
    for (uint32_t t = 0; t < n_rows; t++) {
        const rz_xhigh *e = x->high + (row + t) * x->high_stride;
        panel_outliers(L, p, e, e + x->n_high[row + t], &o->cursor[t], first, blocks, o->c + 32 * t);
    }
}

#define KERNELS(name, layout)                                                                                        \
    static void direct_##name(const uint8_t *stripes, size_t stripe_bytes, uint32_t n_stripes, const rz_x8 *x,       \
                              uint32_t row, uint32_t n_rows, uint32_t blocks, float *c, size_t tile_stride) {        \
        direct(layout, stripes, stripe_bytes, n_stripes, x, row, n_rows, blocks, c, tile_stride);                    \
    }                                                                                                                \
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
    .direct = ALL(direct), .panels = {.unpack = ALL(unpack), .multiply = ALL(panel), .rows_from = PANEL_FROM}};
