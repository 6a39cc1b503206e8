/* int8.c - products of quantized weights with int8 activations: straight from stripes, and by unpacked panels.
 *
 * Both make the same bits: for each block of 32 columns (16 for Q6_K), in order, the exact integer sum times
 * (weight scale * activation scale) is added with one rounding, then the minimum times the activations' sum. When any
 * row of a tile has low bits in a block, the integers of all its rows are taken 256 times as large: that changes no
 * bit of the others. Layouts: layout.h. */
#include "../layout.h"
#include "simd.h"

#define LAYOUT const uint32_t L

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

AI int bits_of(LAYOUT) {
    return L == RZ_LAYOUT_Q8_0 ? 8 : L == RZ_LAYOUT_Q6_K ? 6 : L == RZ_LAYOUT_Q5_K ? 5 : 4;
}
AI int has_min(LAYOUT) { return L == RZ_LAYOUT_Q4_1 || L == RZ_LAYOUT_Q4_K || L == RZ_LAYOUT_Q5_K; }
AI int halves_of(LAYOUT) { return L == RZ_LAYOUT_Q6_K ? 2 : 1; }

/* The weights' offset as a shift: it is 2^n, or -1 = none. */
AI int offset_bits(LAYOUT) {
    return L == RZ_LAYOUT_Q4_0 ? 3 : L == RZ_LAYOUT_Q6_K ? 5 : L == RZ_LAYOUT_Q8_0 && !RZ_CPU_SIGNED8 ? 7 : -1;
}

/* x * 2^n. */
AI i32v times_power(i32v x, const int n) { return (i32v)((u32v)x << n); }

/* What the offset makes of an activation block (of half h, for layouts with scales of 16 columns). */
AI i32v offset_of(LAYOUT, const rz_xq *x, int h) {
    if (offset_bits(L) < 0) return splat_i(0);
    return times_power(splat_i(x->less[halves_of(L) == 2 ? h : 2]), offset_bits(L));
}
AI i32v offset_low(LAYOUT, const rz_xq *x, int h) {
    if (offset_bits(L) < 0) return splat_i(0);
    const int32_t less = halves_of(L) == 2 ? x->less_low[h] : x->less_low[0] + x->less_low[1];
    return times_power(splat_i(less), offset_bits(L));
}

/* Whether any of M rows has low bits in this block. */
AI bool any_fine(const rz_xq *x, const int M) {
    uint32_t any = 0;
    UNROLL for (int t = 0; t < M; t++) any |= x[t].is_fine;
    return any != 0;
}

AI i32v load_u8(const uint8_t *p) {
    typedef uint8_t u8x16 __attribute__((ext_vector_type(16), aligned(1), may_alias));
    return __builtin_convertvector(*(const u8x16 *)p, i32v);
}
AI i32v load_i8(const uint8_t *p) {
    typedef int8_t i8x16 __attribute__((ext_vector_type(16), aligned(1), may_alias));
    return __builtin_convertvector(*(const i8x16 *)p, i32v);
}

/* Scales (and minima, with their sign) of a unit's blocks, one lane a row. header: of this unit. */
AI void unit_scales(LAYOUT, const uint8_t *header, const uint8_t *w, f32v scale[][2], f32v min[]) {
    if (L == RZ_LAYOUT_Q4_0 || L == RZ_LAYOUT_Q8_0) {
        scale[0][0] = load_half(header);
    } else if (L == RZ_LAYOUT_Q4_1) {
        scale[0][0] = load_half(w);
        min[0] = load_half(w + 32);
    } else if (L == RZ_LAYOUT_Q6_K) {
        const f32v d = load_half(header);
        UNROLL for (int g = 0; g < 16; g++) scale[g / 2][g & 1] = to_float(load_i8(w + 16 * g)) * d;
    } else {
        const f32v d = load_half(w), dmin = -load_half(w + 32);
        UNROLL for (int g = 0; g < 8; g++) {
            const i32v a = load_u8(w + 64 + 16 * g), b = load_u8(w + 192 + 16 * (g & 3));
            const i32v high = g < 4 ? b & 15 : b >> 4;
            scale[g][0] = to_float(a & 63) * d;
            min[g] = to_float(a >> 6 | high << 2) * dmin;
        }
    }
}

/* The 8 lines (4 columns each) of block g of a unit. */
AI void unit_lines(LAYOUT, const uint8_t *w, uint32_t g, u8v v[8]) {
    if (L == RZ_LAYOUT_Q8_0) {
        UNROLL for (int l = 0; l < 8; l++) v[l] = load_b(w + 64 * l);
    } else if (L == RZ_LAYOUT_Q6_K) {
        UNROLL for (int h = 0; h < 2; h++) {
            const uint8_t *q = w + 256 + 384 * g + 192 * h;
            const u8v a = load_b(q), b = load_b(q + 64), c = load_b(q + 128);
            v[4 * h] = (a & 15) | (c << 4 & 0x30);
            v[4 * h + 1] = (a >> 4) | (c << 2 & 0x30);
            v[4 * h + 2] = (b & 15) | (c & 0x30);
            v[4 * h + 3] = (b >> 4) | (c >> 2 & 0x30);
        }
    } else {
        const uint8_t *q = L == RZ_LAYOUT_Q4_0   ? w
                           : L == RZ_LAYOUT_Q4_1 ? w + 64
                           : L == RZ_LAYOUT_Q4_K ? w + 256 + 256 * g
                                                 : w + 256 + 320 * g;
        UNROLL for (int l = 0; l < 4; l++) {
            const u8v a = load_b(q + 64 * l);
            v[2 * l] = a & 15;
            v[2 * l + 1] = a >> 4;
        }
        if (L == RZ_LAYOUT_Q5_K) {
            const u8v high = load_b(q + 256);
            UNROLL for (int l = 0; l < 5; l++) v[l] |= high << (4 - l) & 16;
            UNROLL for (int l = 5; l < 8; l++) v[l] |= high >> (l - 4) & 16;
        }
    }
}

#define PREFETCH_BYTES 1024

/* One stripe times M rows of activations, M <= DIRECT_ROWS. */
AI void stripe_rows(LAYOUT, const uint8_t *stripe, const rz_xq *x, const rz_xlow *low, size_t x_rows, uint32_t blocks,
                    float *c, const int M) {
    const uint32_t group = rz_cpu_unit_blocks(L);
    const size_t unit = rz_cpu_unit_bytes(L);
    const int lines = 8 / halves_of(L);
    const uint8_t *header = stripe, *w = stripe + rz_cpu_header_bytes(L, blocks);
    f32v f[DIRECT_ROWS];
    UNROLL for (int t = 0; t < M; t++) f[t] = splat(0);
    for (uint32_t b = 0; b < blocks; b += group, w += unit, header += 32) {
        f32v scale[8][2], min[8];
        unit_scales(L, header, w, scale, min);
        if (group == 8) UNROLL for (int i = 0; i < 256; i += 64) __builtin_prefetch(w + PREFETCH_BYTES + i);
        _Pragma("clang loop unroll(disable)") for (uint32_t g = 0; g < group; g++, x += x_rows, low += x_rows) {
            u8v v[8];
            const size_t bytes = group == 1 ? unit : (unit - 256) / 8;
            const uint8_t *ahead = w + PREFETCH_BYTES + (group == 1 ? 0 : 256 + bytes * g);
            UNROLL for (size_t i = 0; i < bytes; i += 64) __builtin_prefetch(ahead + i);
            unit_lines(L, w, g, v);
            const bool fine = any_fine(x, M);
            const float unit_of_sum = fine ? 0x1p-8f : 1.0f;
            UNROLL for (int h = 0; h < halves_of(L); h++) {
                dot_sum s[DIRECT_ROWS];
                UNROLL for (int t = 0; t < M; t++) s[t] = dot_start(offset_of(L, x + t, h));
                UNROLL for (int l = 0; l < lines; l++)
                    UNROLL for (int t = 0; t < M; t++)
                        dot_line(&s[t], v[h * lines + l], x[t].q + 4 * (h * lines + l), (uint32_t)l, bits_of(L));
                if (fine) {
                    UNROLL for (int t = 0; t < M; t++) s[t].wide = times_power(s[t].wide, 8) + offset_low(L, x + t, h);
                    UNROLL for (int l = 0; l < lines; l++)
                        UNROLL for (int t = 0; t < M; t++)
                            dot_line(&s[t], v[h * lines + l], low[t].q + 4 * (h * lines + l), (uint32_t)l, bits_of(L));
                }
                UNROLL for (int t = 0; t < M; t++)
                    f[t] = fma_f(to_float(s[t].wide), scale[g][h] * (x[t].scale * unit_of_sum), f[t]);
            }
            if (has_min(L)) UNROLL for (int t = 0; t < M; t++) f[t] = fma_f(min[g], splat(x[t].sum), f[t]);
        }
    }
    UNROLL for (int t = 0; t < M; t++) store_f(c + 32 * t, f[t]);
}

AI void direct(LAYOUT, const uint8_t *stripes, size_t stripe_bytes, uint32_t n_stripes, const rz_xq *x,
               const rz_xlow *low, size_t x_rows, uint32_t n_rows, uint32_t blocks, float *c, size_t tile_stride) {
    for (uint32_t s = 0; s < n_stripes; s++, stripes += stripe_bytes) {
        float *out = c + s / 2 * tile_stride + s % 2 * 16;
        uint32_t t = 0;
#if DIRECT_ROWS >= 8
        for (; t + 8 <= n_rows; t += 8) stripe_rows(L, stripes, x + t, low + t, x_rows, blocks, out + 32 * t, 8);
#endif
#if DIRECT_ROWS >= 4
        for (; t + 4 <= n_rows; t += 4) stripe_rows(L, stripes, x + t, low + t, x_rows, blocks, out + 32 * t, 4);
        for (; t + 2 <= n_rows; t += 2) stripe_rows(L, stripes, x + t, low + t, x_rows, blocks, out + 32 * t, 2);
#endif
        for (; t < n_rows; t++) stripe_rows(L, stripes, x + t, low + t, x_rows, blocks, out + 32 * t, 1);
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
AI void tile(LAYOUT, const rz_panel *p, const rz_xq *x, const rz_xlow *low, size_t x_rows, uint32_t blocks, float *c,
             const int h, const int M) {
    const int lines = 8 / halves_of(L);
    f32v f[TILE_ROWS][TILE_STRIPES];
    UNROLL for (int t = 0; t < M; t++)
        UNROLL for (int i = 0; i < TILE_STRIPES; i++) f[t][i] = load_f(c + 32 * t + 16 * (h + i));
    _Pragma("clang loop unroll(disable)") for (uint32_t b = 0; b < blocks; b++, p++, x += x_rows, low += x_rows) {
        const bool fine = any_fine(x, M);
        const float unit_of_sum = fine ? 0x1p-8f : 1.0f;
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
            if (fine) {
                UNROLL for (int t = 0; t < M; t++)
                    UNROLL for (int i = 0; i < TILE_STRIPES; i++)
                        s[t][i].wide = times_power(s[t][i].wide, 8) + offset_low(L, x + t, k);
                UNROLL for (int l = 0; l < lines; l++) {
                    const int line = k * lines + l;
                    u8v w[TILE_STRIPES];
                    UNROLL for (int i = 0; i < TILE_STRIPES; i++) w[i] = load_b(p->q[line][h + i]);
                    UNROLL for (int t = 0; t < M; t++)
                        UNROLL for (int i = 0; i < TILE_STRIPES; i++)
                            dot_line(&s[t][i], w[i], low[t].q + 4 * line, (uint32_t)l, bits_of(L));
                }
            }
            UNROLL for (int i = 0; i < TILE_STRIPES; i++) {
                const f32v scale = load_f(p->scale[k][h + i]);
                UNROLL for (int t = 0; t < M; t++)
                    f[t][i] = fma_f(to_float(s[t][i].wide), scale * (x[t].scale * unit_of_sum), f[t][i]);
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

AI void tile_rows(LAYOUT, const rz_panel *p, const rz_xq *x, const rz_xlow *low, size_t x_rows, uint32_t n_rows,
                  uint32_t blocks, float *c) {
    UNROLL for (int h = 0; h < 2; h += TILE_STRIPES) {
        switch (n_rows) {
#if TILE_ROWS > 4
        case 6: tile(L, p, x, low, x_rows, blocks, c, h, 6); break;
        case 5: tile(L, p, x, low, x_rows, blocks, c, h, 5); break;
#endif
#if TILE_ROWS > 3
        case 4: tile(L, p, x, low, x_rows, blocks, c, h, 4); break;
#endif
#if TILE_ROWS > 1
        case 3: tile(L, p, x, low, x_rows, blocks, c, h, 3); break;
        case 2: tile(L, p, x, low, x_rows, blocks, c, h, 2); break;
#endif
        default: tile(L, p, x, low, x_rows, blocks, c, h, 1); break;
        }
    }
}

AI void panel(LAYOUT, const rz_panel *p, const rz_xq *x, const rz_xlow *low, size_t x_rows, uint32_t n_rows,
              uint32_t blocks, float *c, const uint8_t *const next[2], size_t next_bytes) {
    const uint32_t n = (n_rows + TILE_ROWS - 1) / TILE_ROWS;
    const size_t lines = (next_bytes + 63) / 64;
    for (uint32_t t = 0; t < n; t++) {
        for (size_t l = lines * t / n; l < lines * (t + 1) / n; l++) {
            __builtin_prefetch(next[0] + 64 * l, 0, 2);
            __builtin_prefetch(next[1] + 64 * l, 0, 2);
        }
        const uint32_t first = n_rows * t / n, end = n_rows * (t + 1) / n;
        tile_rows(L, p, x + first, low + first, x_rows, end - first, blocks, c + 32 * first);
    }
}

#define KERNELS(name, layout)                                                                                        \
    static void direct_##name(const uint8_t *stripes, size_t stripe_bytes, uint32_t n_stripes, const rz_xq *x,       \
                              const rz_xlow *low, size_t x_rows, uint32_t n_rows, uint32_t blocks, float *c,         \
                              size_t tile_stride) {                                                                  \
        direct(layout, stripes, stripe_bytes, n_stripes, x, low, x_rows, n_rows, blocks, c, tile_stride);            \
    }                                                                                                                \
    static void unpack_##name(const uint8_t *stripe, uint32_t blocks, uint32_t first, uint32_t n, rz_panel *p,       \
                              uint32_t h) {                                                                          \
        unpack(layout, stripe, blocks, first, n, p, h);                                                              \
    }                                                                                                                \
    static void panel_##name(const rz_panel *p, const rz_xq *x, const rz_xlow *low, size_t x_rows, uint32_t n_rows,  \
                             uint32_t blocks, float *c, const uint8_t *const next[2], size_t next_bytes) {           \
        panel(layout, p, x, low, x_rows, n_rows, blocks, c, next, next_bytes);                                       \
    }
KERNELS(q4_0, RZ_LAYOUT_Q4_0)
KERNELS(q4_1, RZ_LAYOUT_Q4_1)
KERNELS(q8_0, RZ_LAYOUT_Q8_0)
KERNELS(q4_k, RZ_LAYOUT_Q4_K)
KERNELS(q5_k, RZ_LAYOUT_Q5_K)
KERNELS(q6_k, RZ_LAYOUT_Q6_K)

#define ALL(f) {f##_q4_0, f##_q4_1, f##_q8_0, f##_q4_k, f##_q5_k, f##_q6_k}
extern const rz_cpu_int8 RZ_CPU_TABLE(rz_cpu_int8);
const rz_cpu_int8 RZ_CPU_TABLE(rz_cpu_int8) = {.direct = ALL(direct), .unpack = ALL(unpack), .panel = ALL(panel)};
