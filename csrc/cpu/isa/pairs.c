/* pairs.c - products of 4-bit weights with many rows of activations in half as many dot products (S. Winograd, 1968):
 *
 *     x1 w1 + x2 w2 = (x1 + w2) (x2 + w1) - x1 x2 - w1 w2
 *
 * so one multiplication does the work of two, at the price of two additions of bytes; what it has too much depends on
 * one side only and is computed once for each block of activations and of weights. All in exact integers: the bits are
 * those of int8.c. It pays where additions are cheaper than dot products: AMD's cores have four units for the former
 * and two for the latter (isa.c).
 *
 * Column k of an even line meets column k of the odd line behind it. Weights are taken less 8, -8 .. 7; with |x| up to
 * RZ_X_TOP both sums fit a byte. The first has 128 more, so that it is unsigned: its part of the panel, the odd line,
 * is stored so.
 *
 * Three of the four pairs of lines of a block are multiplied so, the last two lines as they are: then both kinds of
 * units have as much to do; those two stand between the pairs, so that this holds for any few dozen instructions. */
#include "stripe.h"

#if defined(__AVX512VNNI__)
#define TILE_ROWS 6

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
            __m512i pairs = _mm512_setzero_si512();
            unit_lines(L, w, g, v);
            UNROLL for (int l = RZ_X_PAIRED; l < 8; l++) store_b(p->q[l][h], v[l]);
            UNROLL for (int l = 0; l < RZ_X_PAIRED; l += 2) {
                const u8v even = v[l] - (uint8_t)8, odd = v[l + 1] + (uint8_t)120;
                pairs = _mm512_dpbusd_epi32(pairs, (__m512i)odd, (__m512i)even);
                store_b(p->q[l][h], even);
                store_b(p->q[l + 1][h], odd);
            }
            pairs = _mm512_sub_epi32(_mm512_setzero_si512(), pairs);
            _mm512_storeu_si512(p->pairs[h], pairs);
            store_f(p->scale[0][h], scale[g][0]);
            if (has_min(L)) store_f(p->min[h], min[g]);
        }
    }
}

AI __m512i four(const int8_t *x) {
    int32_t word;
    memcpy(&word, x, 4);
    return _mm512_set1_epi32(word);
}

/* Adds lines l and l + 1, a pair, to the sums of M rows. */
AI void add_pair(const rz_panel *p, const rz_xblock *x, __m512i s[][2], const int l, const int M) {
    __m512i even[2], odd[2];
    UNROLL for (int i = 0; i < 2; i++) {
        even[i] = _mm512_loadu_si512(p->q[l][i]);
        odd[i] = _mm512_loadu_si512(p->q[l + 1][i]);
    }
    UNROLL for (int t = 0; t < M; t++) {
        const __m512i x1 = four(x[t].q + 4 * l), x2 = four(x[t].q + 4 * l + 4);
        UNROLL for (int i = 0; i < 2; i++)
            s[t][i] = _mm512_dpbusd_epi32(s[t][i], _mm512_add_epi8(x1, odd[i]), _mm512_add_epi8(x2, even[i]));
    }
}

/* Adds line l alone. */
AI void add_line(const rz_panel *p, const rz_xblock *x, __m512i s[][2], const int l, const int M) {
    __m512i w[2];
    UNROLL for (int i = 0; i < 2; i++) w[i] = _mm512_loadu_si512(p->q[l][i]);
    UNROLL for (int t = 0; t < M; t++) {
        const __m512i x1 = four(x[t].q + 4 * l);
        UNROLL for (int i = 0; i < 2; i++) s[t][i] = _mm512_dpbusd_epi32(s[t][i], w[i], x1);
    }
}

/* c[M][32] += panels * x. */
AI void tile(LAYOUT, const rz_panel *p, const rz_xblock *x, size_t x_rows, uint32_t blocks, float *c, const int M) {
    f32v f[TILE_ROWS][2];
    UNROLL for (int t = 0; t < M; t++) UNROLL for (int i = 0; i < 2; i++) f[t][i] = load_f(c + 32 * t + 16 * i);
    _Pragma("clang loop unroll(disable)") for (uint32_t b = 0; b < blocks; b++, p++, x += x_rows) {
        __m512i s[TILE_ROWS][2];
        UNROLL for (int t = 0; t < M; t++) {
            const __m512i start = _mm512_set1_epi32(x[t].pairs[L == RZ_LAYOUT_Q4_0]);
            UNROLL for (int i = 0; i < 2; i++) s[t][i] = _mm512_add_epi32(_mm512_loadu_si512(p->pairs[i]), start);
        }
        add_pair(p, x, s, 0, M);
        add_line(p, x, s, 6, M);
        add_pair(p, x, s, 2, M);
        add_line(p, x, s, 7, M);
        add_pair(p, x, s, 4, M);
        UNROLL for (int i = 0; i < 2; i++) {
            const f32v scale = load_f(p->scale[0][i]);
            UNROLL for (int t = 0; t < M; t++)
                f[t][i] = fma_f(to_float((i32v)s[t][i]), scale * x[t].scale, f[t][i]);
        }
        if (has_min(L)) UNROLL for (int i = 0; i < 2; i++) {
            const f32v min = load_f(p->min[i]);
            UNROLL for (int t = 0; t < M; t++) f[t][i] = fma_f(min, splat(x[t].sum), f[t][i]);
        }
    }
    UNROLL for (int t = 0; t < M; t++) UNROLL for (int i = 0; i < 2; i++) store_f(c + 32 * t + 16 * i, f[t][i]);
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
        const uint32_t from = n_rows * t / n;
        const rz_xblock *rows = q + from;
        float *out = c + 32 * from;
        switch (n_rows * (t + 1) / n - from) {
        case 6: tile(L, p, rows, x->n_rows, blocks, out, 6); break;
        case 5: tile(L, p, rows, x->n_rows, blocks, out, 5); break;
        case 4: tile(L, p, rows, x->n_rows, blocks, out, 4); break;
        case 3: tile(L, p, rows, x->n_rows, blocks, out, 3); break;
        case 2: tile(L, p, rows, x->n_rows, blocks, out, 2); break;
        default: tile(L, p, rows, x->n_rows, blocks, out, 1); break;
        }
    }
    panel_outliers(L, RZ_X_PAIRED, p, first, x, row, n_rows, o);
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
KERNELS(q4_k, RZ_LAYOUT_Q4_K)

extern const rz_cpu_panels RZ_CPU_TABLE(rz_cpu_pairs);
const rz_cpu_panels RZ_CPU_TABLE(rz_cpu_pairs) = {
    .unpack = {[RZ_LAYOUT_Q4_0] = unpack_q4_0, [RZ_LAYOUT_Q4_1] = unpack_q4_1, [RZ_LAYOUT_Q4_K] = unpack_q4_k},
    .multiply = {[RZ_LAYOUT_Q4_0] = panel_q4_0, [RZ_LAYOUT_Q4_1] = panel_q4_1, [RZ_LAYOUT_Q4_K] = panel_q4_k},
    .rows_from = 9,
};
#endif
