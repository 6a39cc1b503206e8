/* stripe.h - internal to csrc/cpu/isa: quantized stripes (layout.h) taken apart: scales, minima, lines of integers, and
 * what the outliers of a row of activations meet. For int8.c and pairs.c. */
#ifndef RZ_CPU_STRIPE_H
#define RZ_CPU_STRIPE_H
#include "../layout.h"
#include "simd.h"

#define LAYOUT const uint32_t L

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
AI i32v offset_of(LAYOUT, const rz_xblock *x, int h) {
    if (offset_bits(L) < 0) return splat_i(0);
    return times_power(splat_i(x->less[halves_of(L) == 2 ? h : 2]), offset_bits(L));
}

AI i32v load_u8(const uint8_t *p) {
    typedef uint8_t u8x16 __attribute__((ext_vector_type(16), aligned(1), may_alias));
    return __builtin_convertvector(*(const u8x16 *)p, i32v);
}
AI i32v load_i8(const uint8_t *p) {
    typedef int8_t i8x16 __attribute__((ext_vector_type(16), aligned(1), may_alias));
    return __builtin_convertvector(*(const i8x16 *)p, i32v);
}

/* Scales of block g (half h of it) of a unit, one lane a row. header: of this unit. */
AI f32v unit_scale(LAYOUT, const uint8_t *header, const uint8_t *w, uint32_t g, uint32_t h) {
    if (L == RZ_LAYOUT_Q4_0 || L == RZ_LAYOUT_Q8_0) return load_half(header);
    if (L == RZ_LAYOUT_Q4_1) return load_half(w);
    if (L == RZ_LAYOUT_Q6_K) return to_float(load_i8(w + 32 * g + 16 * h)) * load_half(header);
    return to_float(load_u8(w + 64 + 16 * g) & 63) * load_half(w);
}

/* Scales (and minima, with their sign) of all blocks of a unit. */
AI void unit_scales(LAYOUT, const uint8_t *header, const uint8_t *w, f32v scale[][2], f32v min[]) {
    UNROLL for (uint32_t g = 0; g < rz_cpu_unit_blocks(L); g++)
        UNROLL for (uint32_t h = 0; h < (uint32_t)halves_of(L); h++) scale[g][h] = unit_scale(L, header, w, g, h);
    if (L == RZ_LAYOUT_Q4_1) {
        min[0] = load_half(w + 32);
    } else if (has_min(L)) {
        const f32v dmin = -load_half(w + 32);
        UNROLL for (int g = 0; g < 8; g++) {
            const i32v a = load_u8(w + 64 + 16 * g), b = load_u8(w + 192 + 16 * (g & 3));
            min[g] = to_float(a >> 6 | (g < 4 ? b & 15 : b >> 4) << 2) * dmin;
        }
    }
}

/* Where the lines of block g of a unit begin, for layouts of nibbles. */
AI const uint8_t *nibbles_of(LAYOUT, const uint8_t *w, uint32_t g) {
    return L == RZ_LAYOUT_Q4_0   ? w
           : L == RZ_LAYOUT_Q4_1 ? w + 64
           : L == RZ_LAYOUT_Q4_K ? w + 256 + 256 * g
                                 : w + 256 + 320 * g;
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
        const uint8_t *q = nibbles_of(L, w, g);
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

/* Line l alone. */
AI u8v unit_line(LAYOUT, const uint8_t *w, uint32_t g, uint32_t l) {
    if (L == RZ_LAYOUT_Q8_0) return load_b(w + 64 * l);
    if (L == RZ_LAYOUT_Q6_K) {
        const uint8_t *q = w + 256 + 384 * g + 192 * (l / 4);
        const uint8_t low = (uint8_t)(l % 2 * 4), high = (uint8_t)(l % 4 * 2);
        return (load_b(q + 64 * (l / 2 % 2)) >> low & 15) | (load_b(q + 128) >> high & 3) << 4;
    }
    const uint8_t *q = nibbles_of(L, w, g);
    const u8v low = load_b(q + 64 * (l / 2)) >> (uint8_t)(l % 2 * 4) & 15;
    return L == RZ_LAYOUT_Q5_K ? low | (load_b(q + 256) >> (uint8_t)l & 1) << 4 : low;
}

/* sum += what an outlier's high part (e) makes with its line of weights; scale: of the line's block. */
AI f32v add_outlier(LAYOUT, u8v line, f32v scale, const rz_xhigh *e, f32v sum) {
    dot_sum s = dot_start(offset_bits(L) < 0 ? splat_i(0) : times_power(splat_i(e->less), offset_bits(L)));
    /* as an odd line of 6 bits, after which 16-bit sums are taken over */
    dot_line(&s, line, e->high, 1, bits_of(L) == 8 ? 8 : 6);
    return fma_f(to_float(s.wide), scale * e->scale, sum);
}
/* The outliers of one row of activations, n from `at` on, in panels whose first block is `first`. The first `paired`
 * lines of a block are stored as pairs.c says. */
AI void row_outliers(LAYOUT, const uint32_t paired, const rz_panel *p, uint32_t first, const rz_xhigh *at, uint32_t n,
                     float *c) {
    f32v sum[2] = {load_f(c), load_f(c + 16)};
    for (uint32_t i = 0; i < n; i++, at++) {
        const rz_panel *block = p + (at->line / 8 - first);
        const uint32_t l = at->line % 8, h = halves_of(L) == 2 ? l / 4 : 0;
        const uint8_t back = l >= paired ? 0 : l % 2 ? 136 : 8; /* - 120, + 8 */
        UNROLL for (int k = 0; k < 2; k++)
            sum[k] = add_outlier(L, load_b(block->q[l][k]) + back, load_f(block->scale[h][k]), at, sum[k]);
    }
    store_f(c, sum[0]);
    store_f(c + 16, sum[1]);
}

/* The same of rows row .. row + n_rows - 1. Which ones have some is as good as random, so the counts of eight rows are
 * looked at together. */
AI void panel_outliers(LAYOUT, const uint32_t paired, const rz_panel *p, uint32_t first, const rz_x8 *x, uint32_t row,
                       uint32_t n_rows, const rz_panel_outliers *o) {
    for (uint32_t t = 0; t < n_rows; t += 8) {
        uint64_t counts = 0;
        memcpy(&counts, o->counts + t, n_rows - t < 8 ? n_rows - t : 8);
        while (counts != 0) {
            const uint32_t i = (uint32_t)__builtin_ctzll(counts) / 8, r = t + i, n = (uint8_t)(counts >> 8 * i);
            const rz_xhigh *at = x->high + (size_t)(row + r) * x->high_stride + o->cursor[r];
            o->cursor[r] += n;
            row_outliers(L, paired, p, first, at, n, o->c + 32 * (size_t)r);
            counts &= ~((uint64_t)255 << 8 * i);
        }
    }
}

#endif
