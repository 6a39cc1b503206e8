/* few.c - products of quantized weights with few rows of int8 activations, straight from the stripes: decoding.
 *
 * The bits are those of the panels (int8.c). With one or two rows reading the weights is all that takes time, and what
 * keeps it going is the processor's own prefetching, which wants to see one stream of ascending addresses: so every
 * line is first touched in the order in which it lies in memory, headers and scales too, and outliers come while their
 * lines are still in the nearest cache. Prefetch instructions are as much out of order as anything else; they pay where
 * there is so much to compute for a line that the processor does not look far ahead. */
#include "stripe.h"

/* Rows that fit the registers. */
#if defined(__AVX512F__)
#define ROWS_MAX 8
#elif defined(__AVX2__) || defined(__ARM_FEATURE_DOTPROD)
#define ROWS_MAX 4
#else
#define ROWS_MAX 1
#endif

#define FETCH_FROM 4 /* rows */
#define FETCH_BYTES 8192 /* into the second cache: it takes more requests at a time than the first */

/* What a unit says about its blocks: bytes that become scales and minima block by block. */
typedef struct unit_head {
    _Alignas(64) uint8_t scale[16][16], min[8][16];
    f32v d, dmin; /* dmin with the minima's sign */
} unit_head;

AI void read_head(LAYOUT, const uint8_t *header, const uint8_t *w, unit_head *u) {
    u->d = load_half(has_min(L) ? w : header);
    if (L == RZ_LAYOUT_Q4_1) {
        u->dmin = load_half(w + 32);
    } else if (L == RZ_LAYOUT_Q6_K) {
        UNROLL for (int i = 0; i < 4; i++) store_b(u->scale[4 * i], load_b(w + 64 * i));
    } else if (has_min(L)) {
        const u8v a = load_b(w + 64), b = load_b(w + 128), c = load_b(w + 192);
        u->dmin = -load_half(w + 32);
        store_b(u->scale[0], a & 63);
        store_b(u->scale[4], b & 63);
        store_b(u->min[0], a >> 6 | (c << 2 & 0x3c));
        store_b(u->min[4], b >> 6 | (c >> 2 & 0x3c));
    }
}

/* The numbers of unit_scales, stripe.h. */
AI f32v scale_of(LAYOUT, const unit_head *u, uint32_t g, uint32_t h) {
    if (rz_cpu_unit_blocks(L) == 1) return u->d;
    return to_float(L == RZ_LAYOUT_Q6_K ? load_i8(u->scale[2 * g + h]) : load_u8(u->scale[g])) * u->d;
}
AI f32v min_of(LAYOUT, const unit_head *u, uint32_t g) {
    return rz_cpu_unit_blocks(L) == 1 ? u->dmin : to_float(load_u8(u->min[g])) * u->dmin;
}

/* A row's outliers that are still to come, and the sum of the others. */
typedef struct outliers {
    const rz_xhigh *at, *end;
    f32v sum;
} outliers;

/* Adds those of the unit whose blocks are first .. stop - 1. */
AI void add_outliers(LAYOUT, const uint8_t *w, const unit_head *u, uint32_t first, uint32_t stop, outliers *o) {
    const rz_xhigh *e = o->at;
    if (e == o->end || e->line >= 8 * stop) return;
    f32v sum = o->sum;
    do {
        const uint32_t g = e->line / 8 - first, l = e->line % 8;
        sum = add_outlier(L, unit_line(L, w, g, l), scale_of(L, u, g, halves_of(L) == 2 ? l / 4 : 0), e, sum);
        e++;
    } while (e != o->end && e->line < 8 * stop);
    o->at = e;
    o->sum = sum;
}

AI void fetch(const uint8_t *w, size_t n) {
    UNROLL for (size_t i = 0; i < n; i += 64) __builtin_prefetch(w + i, 0, 2);
}

/* One stripe times M rows of activations, M <= ROWS_MAX. */
AI void stripe_rows(LAYOUT, const uint8_t *stripe, const rz_x8 *a, uint32_t row, uint32_t blocks, float *c,
                    const int M) {
    const uint32_t group = rz_cpu_unit_blocks(L);
    const size_t unit = rz_cpu_unit_bytes(L), header_bytes = rz_cpu_header_bytes(L, blocks);
    const size_t head_bytes = group == 8 ? 256 : 0, block_bytes = (unit - head_bytes) / group;
    const int lines = 8 / halves_of(L);
    const uint8_t *header = stripe, *w = stripe + header_bytes;
    const rz_xblock *x = a->blocks + row;
    f32v f[ROWS_MAX];
    outliers o[ROWS_MAX];
    UNROLL for (int t = 0; t < M; t++) {
        const rz_xhigh *e = a->high + (row + (size_t)t) * a->high_stride;
        o[t] = (outliers){.at = e, .end = e + a->n_high[row + (size_t)t], .sum = splat(0)};
        f[t] = splat(0);
    }
    for (size_t i = 0; i < header_bytes; i += 64) __builtin_prefetch(header + i);
    for (uint32_t b = 0; b < blocks; b += group, w += unit, header += 32) {
        unit_head u;
        read_head(L, header, w, &u);
        if (M >= FETCH_FROM) fetch(w + FETCH_BYTES, head_bytes);
        _Pragma("clang loop unroll(disable)") for (uint32_t g = 0; g < group; g++, x += a->n_rows) {
            u8v v[8];
            if (M >= FETCH_FROM) fetch(w + FETCH_BYTES + head_bytes + block_bytes * g, block_bytes);
            unit_lines(L, w, g, v);
            UNROLL for (int h = 0; h < halves_of(L); h++) {
                dot_sum s[ROWS_MAX];
                UNROLL for (int t = 0; t < M; t++) s[t] = dot_start(offset_of(L, x + t, h));
                UNROLL for (int l = 0; l < lines; l++)
                    UNROLL for (int t = 0; t < M; t++)
                        dot_line(&s[t], v[h * lines + l], x[t].q + 4 * (h * lines + l), (uint32_t)l, bits_of(L));
                const f32v scale = scale_of(L, &u, g, (uint32_t)h);
                UNROLL for (int t = 0; t < M; t++)
                    f[t] = fma_f(to_float(s[t].wide), scale * x[t].scale, f[t]);
            }
            if (has_min(L)) {
                const f32v min = min_of(L, &u, g);
                UNROLL for (int t = 0; t < M; t++) f[t] = fma_f(min, splat(x[t].sum), f[t]);
            }
        }
        _Pragma("clang loop unroll(disable)") for (int t = 0; t < M; t++)
            add_outliers(L, w, &u, b, b + group, &o[t]);
    }
    UNROLL for (int t = 0; t < M; t++) {
        const bool any = a->n_high[row + (size_t)t] != 0;
        store_f(c + 32 * t, any ? f[t] + o[t].sum : f[t]);
    }
}

AI void few(LAYOUT, const uint8_t *stripes, size_t stripe_bytes, uint32_t n_stripes, const rz_x8 *x, uint32_t row,
            uint32_t n_rows, uint32_t blocks, float *c, size_t tile_stride) {
    for (uint32_t s = 0; s < n_stripes; s++, stripes += stripe_bytes) {
        float *out = c + s / 2 * tile_stride + s % 2 * 16;
        uint32_t t = 0;
#define STEP(M)                                                                                                      \
    for (; t + M <= n_rows; t += M) stripe_rows(L, stripes, x, row + t, blocks, out + 32 * t, M);
#if ROWS_MAX >= 8
        STEP(8)
#endif
#if ROWS_MAX >= 4
        STEP(4)
        STEP(2)
#endif
        STEP(1)
#undef STEP
    }
}

#define FEW(name, layout)                                                                                            \
    static void few_##name(const uint8_t *stripes, size_t stripe_bytes, uint32_t n_stripes, const rz_x8 *x,          \
                           uint32_t row, uint32_t n_rows, uint32_t blocks, float *c, size_t tile_stride) {           \
        few(layout, stripes, stripe_bytes, n_stripes, x, row, n_rows, blocks, c, tile_stride);                       \
    }
FEW(q4_0, RZ_LAYOUT_Q4_0)
FEW(q4_1, RZ_LAYOUT_Q4_1)
FEW(q8_0, RZ_LAYOUT_Q8_0)
FEW(q4_k, RZ_LAYOUT_Q4_K)
FEW(q5_k, RZ_LAYOUT_Q5_K)
FEW(q6_k, RZ_LAYOUT_Q6_K)

extern const rz_cpu_few RZ_CPU_TABLE(rz_cpu_few);
const rz_cpu_few RZ_CPU_TABLE(rz_cpu_few) = {.direct = {few_q4_0, few_q4_1, few_q8_0, few_q4_k, few_q5_k, few_q6_k}};
