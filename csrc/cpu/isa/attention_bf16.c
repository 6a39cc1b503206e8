/* attention_bf16.c - attention over keys and values in F16 with products of pairs in BF16, where the processor has
 * instructions for them: twice the multiply-adds of attention.c, which serves other formats and odd heads.
 *
 * A chunk of 64 keys is rounded to BF16 once for all queries of a tile, two columns of a key side by side, then its
 * values, two keys of a column side by side. Queries and exponentials are rounded likewise; sums are F32. Every query
 * meets all 64 places of a chunk: where it sees no key its exponential is 0, and where no query does the value is 0 too
 * and not looked at. So its bits do not depend on the queries beside it. */
#include "softmax.h"

#if defined(__AVX512VNNI__)
#define BF16 __attribute__((target("avx512bf16")))
#define TILE 6
#define COLS_MAX 256u /* of a head */
#define PAIRS (CHUNK / 2)

typedef struct work {
    _Alignas(64) uint32_t lines[COLS_MAX / 2 * CHUNK]; /* keys [column pair][64], then values [key pair][column] */
    _Alignas(64) uint32_t q[RZ_TILE_QUERIES][COLS_MAX / 2];
    _Alignas(64) uint32_t p[RZ_TILE_QUERIES][PAIRS];
    _Alignas(64) float s[RZ_TILE_QUERIES][CHUNK];
    float now[RZ_TILE_QUERIES], shrink[(RZ_TILE_QUERIES + 15) & ~15u]; /* softmax.h */
    uint32_t who[RZ_TILE_QUERIES]; /* queries that see something in the chunk */
    uint32_t n;
} work;

/* n numbers (a multiple of 2, 32 at most) as BF16, to the nearest. */
BF16 AI void round_32(const float *x, uint32_t n, uint32_t *y) {
    const f32v u = n < 16 ? load_part(x, n) : load_f(x);
    const f32v v = n <= 16 ? splat(0) : n < 32 ? load_part(x + 16, n - 16) : load_f(x + 16);
    uint32_t all[16];
    _mm512_storeu_si512(all, (__m512i)_mm512_cvtne2ps_pbh((__m512)v, (__m512)u));
    memcpy(y, all, n * sizeof(uint16_t));
}

AI __m256i load_halves(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }

/* 16 pairs of halves as pairs of BF16, to the nearest; `even` in the low bits. */
AI u32v pairs_of(__m256i even, __m256i odd) {
    const u32v e = (u32v)_mm512_cvtph_ps(even) + 0x8000u, o = (u32v)_mm512_cvtph_ps(odd) + 0x8000u;
    return e >> 16 | (o & 0xffff0000u);
}

AI void store_pairs(uint32_t *to, u32v pairs) { _mm512_store_si512(to, (__m512i)pairs); }

/* The keys of chunk c. Groups of keys that nobody sees count as zeros. */
AI void take_keys(const rz_cpu_run *r, uint32_t c, uint32_t *lines) {
    for (uint32_t g = 0; g < 4; g++, lines += 16) {
        const uint8_t *k = r->k[4 * c + g], *next = r->k[4 * c + g + 4] ? r->k[4 * c + g + 4] : k;
        for (uint32_t d = 0; d < r->k_cols / 2; d++) {
            const uint8_t *at = k ? k + 64 * (size_t)d : NULL;
            if (k) __builtin_prefetch(next + 64 * (size_t)d, 0, 2);
            store_pairs(lines + (size_t)d * CHUNK, k ? pairs_of(load_halves(at), load_halves(at + 32)) : (u32v){0});
        }
    }
}

/* Values of keys 2j and 2j + 1 of chunk c, as far as they are wanted. Returns twice the largest magnitude's bits. */
AI __m256i value_pair(const rz_cpu_run *r, uint32_t c, uint32_t j, const bool has_even, const bool has_odd,
                      uint32_t *lines, __m256i top) {
    const size_t stride = (size_t)r->v_stride * 2, at = (size_t)(2 * j % 16) * stride;
    const uint8_t *even = has_even || has_odd ? (const uint8_t *)r->v[4 * c + j / 8] + at : NULL, *next = even;
    if (r->v[4 * c + j / 8 + 4]) next = (const uint8_t *)r->v[4 * c + j / 8 + 4] + at;
    for (uint32_t col = 0; col < r->v_cols; col += 16) {
        const __m256i zero = _mm256_setzero_si256();
        const __m256i e = has_even ? load_halves(even + 2 * col) : zero;
        const __m256i o = has_odd ? load_halves(even + stride + 2 * col) : zero;
        if (has_even && has_odd && col % 32 == 0) {
            __builtin_prefetch(next + 2 * col, 0, 2);
            __builtin_prefetch(next + stride + 2 * col, 0, 2);
        }
        top = _mm256_max_epu16(top, _mm256_max_epu16(_mm256_add_epi16(e, e), _mm256_add_epi16(o, o)));
        store_pairs(lines + col, pairs_of(e, o));
    }
    return top;
}

/* The values of keys low .. high - 1 of chunk c, zeros for the others. Returns whether all are finite. */
AI bool take_values(const rz_cpu_run *r, uint32_t c, uint32_t low, uint32_t high, uint32_t *lines) {
    __m256i top = _mm256_setzero_si256();
    for (uint32_t j = 0; j < PAIRS; j++, lines += r->v_cols) {
        const bool has_even = 2 * j >= low && 2 * j < high, has_odd = 2 * j + 1 >= low && 2 * j + 1 < high;
        if (has_even && has_odd)
            top = value_pair(r, c, j, true, true, lines, top);
        else if (has_even || has_odd)
            top = value_pair(r, c, j, has_even, has_odd, lines, top);
        else
            memset(lines, 0, r->v_cols * sizeof(uint32_t));
    }
    return _mm256_cmpge_epu16_mask(top, _mm256_set1_epi16((short)0xf800)) == 0;
}

AI __m512bh splat_pair(const uint32_t *x) { return (__m512bh)_mm512_set1_epi32((int32_t)*x); }

/* Columns 2d and 2d + 1 of the 16 keys of group g of the run, which are there. */
AI __m512bh key_pairs(const rz_cpu_run *r, uint32_t g, uint32_t d) {
    const uint8_t *k = (const uint8_t *)r->k[g] + 64 * (size_t)d;
    return (__m512bh)pairs_of(_mm256_loadu_si256((const __m256i *)(const void *)k),
                              _mm256_loadu_si256((const __m256i *)(const void *)(k + 32)));
}

/* take_keys and scores in one, for so few queries that keys are rounded where they are used. All groups are there. */
BF16 AI void few_scores(const rz_cpu_run *r, uint32_t c, work *w, const int M) {
    __m512 a[TILE][4];
    const uint8_t *next[4];
    UNROLL for (uint32_t g = 0; g < 4; g++) next[g] = r->k[4 * c + g + 4] ? r->k[4 * c + g + 4] : r->k[4 * c + g];
    UNROLL for (int t = 0; t < M; t++) UNROLL for (int g = 0; g < 4; g++) a[t][g] = _mm512_setzero_ps();
    _Pragma("clang loop unroll(disable)") for (uint32_t d = 0; d < r->k_cols / 2; d++) {
        __m512bh k[4];
        UNROLL for (uint32_t g = 0; g < 4; g++) {
            k[g] = key_pairs(r, 4 * c + g, d);
            __builtin_prefetch(next[g] + 64 * (size_t)d, 0, 2);
        }
        UNROLL for (int t = 0; t < M; t++) {
            const __m512bh x = splat_pair(w->q[w->who[t]] + d);
            UNROLL for (int g = 0; g < 4; g++) a[t][g] = _mm512_dpbf16_ps(a[t][g], k[g], x);
        }
    }
    UNROLL for (int t = 0; t < M; t++) UNROLL for (int g = 0; g < 4; g++) store_f(w->s[t] + 16 * g, (f32v)a[t][g]);
}

/* Scores of M queries from w->who[i] on with the chunk. */
BF16 AI void scores(work *w, uint32_t pairs, uint32_t i, const int M) {
    __m512 a[TILE][4];
    const uint32_t *q[TILE];
    UNROLL for (int t = 0; t < M; t++) {
        q[t] = w->q[w->who[i + (uint32_t)t]];
        UNROLL for (int g = 0; g < 4; g++) a[t][g] = _mm512_setzero_ps();
    }
    _Pragma("clang loop unroll(disable)") for (uint32_t d = 0; d < pairs; d++) {
        __m512bh k[4];
        UNROLL for (int g = 0; g < 4; g++) k[g] = (__m512bh)_mm512_load_si512(w->lines + (size_t)d * CHUNK + 16 * g);
        UNROLL for (int t = 0; t < M; t++) {
            const __m512bh x = splat_pair(q[t] + d);
            UNROLL for (int g = 0; g < 4; g++) a[t][g] = _mm512_dpbf16_ps(a[t][g], k[g], x);
        }
    }
    UNROLL for (int t = 0; t < M; t++)
        UNROLL for (int g = 0; g < 4; g++) store_f(w->s[i + (uint32_t)t] + 16 * g, (f32v)a[t][g]);
}

/* o = o * shrink + sum of p * value for M queries from w->who[i] on, 16 * N columns from `col` on. */
BF16 AI void values(const work *w, const rz_cpu_queries *qs, uint32_t v_cols, uint32_t col, uint32_t i, const int M,
                    const int N) {
    __m512 a[TILE][4];
    float *o[TILE];
    UNROLL for (int t = 0; t < M; t++) {
        o[t] = qs->o + (size_t)w->who[i + (uint32_t)t] * v_cols + col;
        UNROLL for (int n = 0; n < N; n++) a[t][n] = (__m512)(load_f(o[t] + 16 * n) * w->shrink[i + (uint32_t)t]);
    }
    const uint32_t *lines = w->lines + col;
    _Pragma("clang loop unroll(disable)") for (uint32_t j = 0; j < PAIRS; j++, lines += v_cols) {
        __m512bh v[4];
        UNROLL for (int n = 0; n < N; n++) v[n] = (__m512bh)_mm512_load_si512(lines + 16 * n);
        UNROLL for (int t = 0; t < M; t++) {
            const __m512bh x = splat_pair(w->p[i + (uint32_t)t] + j);
            UNROLL for (int n = 0; n < N; n++) a[t][n] = _mm512_dpbf16_ps(a[t][n], v[n], x);
        }
    }
    UNROLL for (int t = 0; t < M; t++) UNROLL for (int n = 0; n < N; n++) store_f(o[t] + 16 * n, (f32v)a[t][n]);
}

/* take_values and values in one, for so few queries that values are rounded where they are used; every key of the chunk
 * is seen. Returns false when a value is not finite: nothing is added then. */
BF16 AI bool few_values(const rz_cpu_run *r, uint32_t c, const work *w, rz_cpu_queries *qs, const int M) {
    const size_t stride = (size_t)r->v_stride * 2;
    float out[TILE][COLS_MAX];
    __m256i top = _mm256_setzero_si256(); /* twice the magnitude's bits */
    for (uint32_t col = 0; col < r->v_cols; col += 64) {
        __m512 a[TILE][4];
        const uint32_t n = r->v_cols - col < 64 ? (r->v_cols - col) / 16 : 4;
        UNROLL for (int t = 0; t < M; t++)
            UNROLL for (uint32_t i = 0; i < 4; i++) {
                const float *o = qs->o + (size_t)w->who[t] * r->v_cols + col + (i < n ? 16 * i : 0);
                a[t][i] = (__m512)(load_f(o) * w->shrink[t]);
            }
        _Pragma("clang loop unroll(disable)") for (uint32_t j = 0; j < PAIRS; j++) {
            const uint32_t g = 4 * c + j / 8;
            const size_t at = (size_t)(2 * j % 16) * stride + 2 * col;
            const uint8_t *v = (const uint8_t *)r->v[g] + at;
            const uint8_t *next = r->v[g + 4] ? (const uint8_t *)r->v[g + 4] + at : v;
            __m512bh pairs[4];
            UNROLL for (uint32_t i = 0; i < 4; i++) {
                const uint8_t *from = v + (i < n ? 32 * i : 0);
                const __m256i even = _mm256_loadu_si256((const __m256i *)(const void *)from);
                const __m256i odd = _mm256_loadu_si256((const __m256i *)(const void *)(from + stride));
                top = _mm256_max_epu16(top, _mm256_add_epi16(even, even));
                top = _mm256_max_epu16(top, _mm256_add_epi16(odd, odd));
                pairs[i] = (__m512bh)pairs_of(even, odd);
            }
            UNROLL for (uint32_t i = 0; i < 4; i += 2) {
                __builtin_prefetch(next + 32 * i, 0, 2);
                __builtin_prefetch(next + stride + 32 * i, 0, 2);
            }
            UNROLL for (int t = 0; t < M; t++) {
                const __m512bh x = splat_pair(w->p[t] + j);
                UNROLL for (uint32_t i = 0; i < 4; i++) a[t][i] = _mm512_dpbf16_ps(a[t][i], pairs[i], x);
            }
        }
        UNROLL for (int t = 0; t < M; t++)
            UNROLL for (uint32_t i = 0; i < 4; i++)
                if (i < n) store_f(out[t] + col + 16 * i, (f32v)a[t][i]);
    }
    if (_mm256_cmpge_epu16_mask(top, _mm256_set1_epi16((short)0xf800)) != 0) return false;
    UNROLL for (int t = 0; t < M; t++)
        memcpy(qs->o + (size_t)w->who[t] * r->v_cols, out[t], r->v_cols * sizeof(float));
    return true;
}

BF16 AI void add_values(const work *w, const rz_cpu_queries *qs, uint32_t v_cols, uint32_t i, const int M) {
    uint32_t col = 0;
    for (; col + 64 <= v_cols; col += 64) values(w, qs, v_cols, col, i, M, 4);
    for (; col < v_cols; col += 16) values(w, qs, v_cols, col, i, M, 1);
}

/* CALL(M) with M = the queries of a tile, known when compiled. */
#define SIZED(n, CALL)                                                                                               \
    switch (n) {                                                                                                     \
    case 1: CALL(1); break;                                                                                          \
    case 2: CALL(2); break;                                                                                          \
    case 3: CALL(3); break;                                                                                          \
    case 4: CALL(4); break;                                                                                          \
    case 5: CALL(5); break;                                                                                          \
    default: CALL(6); break;                                                                                         \
    }
#define EACH_TILE(n, CALL) \
    for (uint32_t i = 0; i < (n); i += TILE) SIZED((n) - i, CALL)

BF16 static void all_scores(work *w, uint32_t pairs) {
#define CALL(M) scores(w, pairs, i, M)
    EACH_TILE(w->n, CALL)
#undef CALL
}

BF16 static void all_values(const work *w, const rz_cpu_queries *qs, uint32_t v_cols) {
#define CALL(M) add_values(w, qs, v_cols, i, M)
    EACH_TILE(w->n, CALL)
#undef CALL
}

BF16 static void all_few_scores(const rz_cpu_run *r, uint32_t c, work *w) {
#define CALL(M) few_scores(r, c, w, M)
    SIZED(w->n, CALL)
#undef CALL
}

BF16 static bool all_few_values(const rz_cpu_run *r, uint32_t c, const work *w, rz_cpu_queries *qs) {
    bool is_finite = false;
#define CALL(M) is_finite = few_values(r, c, w, qs, M)
    SIZED(w->n, CALL)
#undef CALL
    return is_finite;
}

BF16 static void chunk(const rz_cpu_run *r, rz_cpu_queries *qs, work *w, uint32_t c) {
    const uint32_t first = r->first + c * CHUNK;
    uint32_t low[RZ_TILE_QUERIES], high[RZ_TILE_QUERIES], begin = CHUNK, end = 0;
    w->n = 0;
    for (uint32_t i = 0; i < qs->n; i++) {
        range_of(qs, i, first, &low[w->n], &high[w->n]);
        if (low[w->n] >= high[w->n]) continue;
        begin = low[w->n] < begin ? low[w->n] : begin;
        end = high[w->n] > end ? high[w->n] : end;
        w->who[w->n++] = i;
    }
    if (w->n == 0) return;
    bool few = w->n <= TILE; /* and all of the chunk is seen by all */
    for (uint32_t i = 0; i < w->n; i++) few &= low[i] == 0 && high[i] == CHUNK;
    if (few) {
        all_few_scores(r, c, w);
    } else {
        take_keys(r, c, w->lines);
        all_scores(w, r->k_cols / 2);
    }
    for (uint32_t i = 0; i < w->n; i++) {
        w->now[i] = visible_scores(r, qs, w->who[i], first, w->s[i]);
        w->shrink[i] = qs->top[w->who[i]] - w->now[i];
    }
    for (uint32_t i = 0; i < w->n; i += 16) store_f(w->shrink + i, exp_f(load_f(w->shrink + i)));
    for (uint32_t i = 0; i < w->n; i++) {
        exponentials(qs, w->who[i], w->now[i], w->shrink[i], w->s[i]);
        round_32(w->s[i], 32, w->p[i]);
        round_32(w->s[i] + 32, 32, w->p[i] + 16);
    }
    if (few && all_few_values(r, c, w, qs)) return;
    if (take_values(r, c, begin, end, w->lines)) {
        all_values(w, qs, r->v_cols);
        return;
    }
    /* 0 times infinity is not 0: each query with the values that it sees alone */
    for (uint32_t i = 0; i < w->n; i++) {
        take_values(r, c, low[i], high[i], w->lines);
        add_values(w, qs, r->v_cols, i, 1);
    }
}

BF16 static void run_f16(const rz_cpu_run *r, rz_cpu_queries *qs) {
    extern const rz_cpu_attention RZ_CPU_TABLE(rz_cpu_attention);
    if (r->k_cols % 2 != 0 || r->k_cols > COLS_MAX || r->v_cols % 16 != 0 || r->v_cols > COLS_MAX) {
        RZ_CPU_TABLE(rz_cpu_attention).run[RZ_KV_F16](r, qs);
        return;
    }
    work w;
    for (uint32_t i = 0; i < qs->n; i++)
        for (uint32_t d = 0; d < r->k_cols; d += 32)
            round_32(qs->q[i] + d, r->k_cols - d < 32 ? r->k_cols - d : 32, w.q[i] + d / 2);
    for (uint32_t c = 0; c < RZ_RUN_KEYS / CHUNK; c++) chunk(r, qs, &w, c);
}

extern const rz_cpu_run_f16 RZ_CPU_TABLE(rz_cpu_attention_bf16);
const rz_cpu_run_f16 RZ_CPU_TABLE(rz_cpu_attention_bf16) = {.run = run_f16};
#endif
