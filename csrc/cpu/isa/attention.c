/* attention.c - softmax(q k) v for queries that share a key head, over runs of 256 positions.
 *
 * A run is taken in chunks of 64 keys: scores, largest score, exponentials, then o = o * e^(old top - new top) +
 * sum of p * v in the order of keys. Every sum of one query has the same order in a tile of one query and of many, and
 * keys outside a query's range are not touched, so a result does not depend on neighbours. */
#include "../kernels.h"
#include "simd.h"
#include <math.h>

#define CHUNK 64u
/* Queries of a tile, and vectors of value columns for M of them: what fits the registers. */
#if defined(__AVX512F__)
#define TILE 6
#define WIDTH(M) ((M) > 3 ? 2 : 4)
#elif defined(__aarch64__)
#define TILE 3
#define WIDTH(M) ((M) > 2 ? 1 : 2)
#else
#define TILE 2
#define WIDTH(M) ((M) > 1 ? 2 : 4)
#endif

enum { F32, F16 };

AI const char *at(const int F, const void *p, size_t element) {
    return (const char *)p + element * (F == F16 ? 2 : 4);
}
AI f32v load_kv(const int F, const void *p) { return F == F16 ? load_half(p) : load_f(p); }
AI f32v load_kv_part(const int F, const void *p, uint32_t n) {
    if (F == F32) return load_part(p, n);
    uint16_t all[16] = {0};
    memcpy(all, p, n * sizeof(uint16_t));
    return load_half(all);
}

/* Scores of M queries with two groups of 16 keys. next: two groups that are fetched meanwhile. */
AI void scores(const int F, const void *k0, const void *k1, const void *const next[2], const float *const *q,
               uint32_t k_cols, float s[][CHUNK], const int M) {
    f32v a[TILE][2];
    UNROLL for (int t = 0; t < M; t++) a[t][0] = a[t][1] = splat(0);
    for (uint32_t d = 0; d < k_cols; d++) {
        const f32v u = load_kv(F, at(F, k0, 16 * (size_t)d)), v = load_kv(F, at(F, k1, 16 * (size_t)d));
        __builtin_prefetch(at(F, next[0], 16 * (size_t)d));
        __builtin_prefetch(at(F, next[1], 16 * (size_t)d));
        UNROLL for (int t = 0; t < M; t++) {
            a[t][0] = fma_f(u, splat(q[t][d]), a[t][0]);
            a[t][1] = fma_f(v, splat(q[t][d]), a[t][1]);
        }
    }
    UNROLL for (int t = 0; t < M; t++) {
        store_f(s[t], a[t][0]);
        store_f(s[t] + 16, a[t][1]);
    }
}

/* Turns the scores of query i into exponentials; positions of the chunk: first .. first + 63. Returns by how much what
 * was seen before shrinks. */
AI float softmax(const rz_cpu_run *r, rz_cpu_queries *qs, uint32_t i, uint32_t first, float s[CHUNK]) {
    const i32v lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const int32_t low = (int32_t)(qs->low[i] > first ? qs->low[i] - first : 0);
    const int32_t high = (int32_t)(qs->high[i] - first < CHUNK ? qs->high[i] - first : CHUNK);
    f32v v[4], top = splat(-INFINITY);
    UNROLL for (int g = 0; g < 4; g++) {
        v[g] = load_f(s + 16 * g) * r->scale;
        if (r->cap != 0) v[g] = tanh_f(v[g] * (1.0f / r->cap)) * r->cap;
        const i32v at_key = lane + 16 * g;
        v[g] = at_key < low ? splat(-INFINITY) : v[g];
        v[g] = at_key >= high ? splat(-INFINITY) : v[g];
        top = max_f(v[g], top);
    }
    const float largest = largest_f(top), old = qs->top[i], now = largest > old ? largest : old;
    f32v total = splat(0);
    UNROLL for (int g = 0; g < 4; g++) {
        v[g] = exp_f(v[g] - now);
        total += v[g];
        store_f(s + 16 * g, v[g]);
    }
    const float shrink = exp_f(splat(old - now))[0];
    store_f(qs->total[i], fma_f(load_f(qs->total[i]), splat(shrink), total));
    qs->top[i] = now;
    return shrink;
}

/* o = o * shrink + sum of p[key] * value, for M queries, 16 * N columns from `col` on, keys low .. high - 1. The
 * values of the next chunk, v[4 ..], are fetched meanwhile. */
AI void values(const int F, const rz_cpu_run *r, const void *const *v, uint32_t col, uint32_t low, uint32_t high,
               float p[][CHUNK], const float *shrink, float *o, const int M, const int N) {
    f32v a[TILE][4];
    UNROLL for (int t = 0; t < M; t++)
        UNROLL for (int n = 0; n < N; n++) a[t][n] = load_f(o + t * r->v_cols + col + 16 * n) * shrink[t];
    for (uint32_t key = low; key < high; key++) {
        const size_t element = (size_t)(key % 16) * r->v_stride + col;
        const char *row = at(F, v[key / 16], element);
        const void *next = v[key / 16 + 4];
        UNROLL for (int n = 0; next && n < N; n += F == F16 ? 2 : 1)
            __builtin_prefetch(at(F, next, element + 16 * (size_t)n));
        f32v u[4];
        UNROLL for (int n = 0; n < N; n++) u[n] = load_kv(F, at(F, row, 16 * (size_t)n));
        UNROLL for (int t = 0; t < M; t++)
            UNROLL for (int n = 0; n < N; n++) a[t][n] = fma_f(u[n], splat(p[t][key]), a[t][n]);
    }
    UNROLL for (int t = 0; t < M; t++)
        UNROLL for (int n = 0; n < N; n++) store_f(o + t * r->v_cols + col + 16 * n, a[t][n]);
}

/* The last 1 - 15 columns of a head. */
AI void values_left(const int F, const rz_cpu_run *r, const void *const *v, uint32_t col, uint32_t low, uint32_t high,
                    const float *p, float shrink, float *o) {
    const uint32_t left = r->v_cols - col;
    f32v a = load_part(o + col, left) * shrink;
    for (uint32_t key = low; key < high; key++) {
        const char *row = at(F, v[key / 16], (size_t)(key % 16) * r->v_stride + col);
        a = fma_f(load_kv_part(F, row, left), splat(p[key]), a);
    }
    store_part(o + col, a, left);
}

AI void add_values(const int F, const rz_cpu_run *r, const void *const *v, uint32_t low, uint32_t high,
                   float p[][CHUNK], const float *shrink, float *o, const int M) {
    const int N = WIDTH(M);
    uint32_t col = 0;
    for (; col + 16 * N <= r->v_cols; col += 16 * N) values(F, r, v, col, low, high, p, shrink, o, M, N);
    for (; col + 16 <= r->v_cols; col += 16) values(F, r, v, col, low, high, p, shrink, o, M, 1);
    if (col < r->v_cols)
        UNROLL for (int t = 0; t < M; t++)
            values_left(F, r, v, col, low, high, p[t], shrink[t], o + t * r->v_cols);
}

/* The range of a query within a chunk; high <= low: it sees nothing there. */
AI void range_of(const rz_cpu_queries *qs, uint32_t i, uint32_t first, uint32_t *low, uint32_t *high) {
    *low = qs->low[i] > first ? qs->low[i] - first : 0;
    *high = qs->high[i] <= first ? 0 : qs->high[i] - first < CHUNK ? qs->high[i] - first : CHUNK;
}

/* One chunk for the queries i .. i + n - 1, n <= TILE. */
AI void chunk(const int F, const rz_cpu_run *r, rz_cpu_queries *qs, uint32_t i, uint32_t n, uint32_t c) {
    const uint32_t first = r->first + c * CHUNK;
    float s[TILE][CHUNK], shrink[TILE];
    uint32_t low[TILE], high[TILE];
    bool any = false;
    for (uint32_t t = 0; t < n; t++) {
        range_of(qs, i + t, first, &low[t], &high[t]);
        any |= low[t] < high[t];
    }
    if (!any) return;
    for (uint32_t g = 0; g < 4; g += 2) {
        const void *k0 = r->k[4 * c + g], *k1 = r->k[4 * c + g + 1];
        float (*out)[CHUNK] = (float (*)[CHUNK])(void *)(s[0] + 16 * g);
        if (!k0 && !k1) {
            for (uint32_t t = 0; t < n; t++) memset(out[t], 0, 32 * sizeof(float));
            continue;
        }
        if (!k0) k0 = k1;
        if (!k1) k1 = k0;
        const float *const *q = qs->q + i;
        /* The first tile of queries brings in the next chunk. */
        const void *const *ahead = r->k + 4 * c + 4 + g;
        const void *const next[2] = {i == 0 && ahead[0] ? ahead[0] : k0, i == 0 && ahead[1] ? ahead[1] : k1};
        switch (n) {
#if TILE == 6
        case 6: scores(F, k0, k1, next, q, r->k_cols, out, 6); break;
        case 5: scores(F, k0, k1, next, q, r->k_cols, out, 5); break;
        case 4: scores(F, k0, k1, next, q, r->k_cols, out, 4); break;
#endif
#if TILE >= 3
        case 3: scores(F, k0, k1, next, q, r->k_cols, out, 3); break;
#endif
        case 2: scores(F, k0, k1, next, q, r->k_cols, out, 2); break;
        default: scores(F, k0, k1, next, q, r->k_cols, out, 1); break;
        }
    }
    for (uint32_t t = 0; t < n; t++) {
        if (low[t] < high[t]) shrink[t] = softmax(r, qs, i + t, first, s[t]);
    }
    /* Queries with the same range together. */
    for (uint32_t t = 0, m = 0; t < n; t += m) {
        m = 1;
        if (low[t] >= high[t]) continue;
        while (t + m < n && low[t + m] == low[t] && high[t + m] == high[t]) m++;
        const void *const *v = r->v + 4 * c;
        float *o = qs->o + (size_t)(i + t) * r->v_cols;
        switch (m) {
#if TILE == 6
        case 6: add_values(F, r, v, low[t], high[t], s + t, shrink + t, o, 6); break;
        case 5:
        case 4: m = 3; [[fallthrough]];
#endif
#if TILE >= 3
        case 3: add_values(F, r, v, low[t], high[t], s + t, shrink + t, o, 3); break;
#endif
        case 2: add_values(F, r, v, low[t], high[t], s + t, shrink + t, o, 2); break;
        default: add_values(F, r, v, low[t], high[t], s + t, shrink + t, o, 1); break;
        }
    }
}

AI void run(const int F, const rz_cpu_run *r, rz_cpu_queries *qs) {
    for (uint32_t c = 0; c < RZ_RUN_KEYS / CHUNK; c++) {
        for (uint32_t i = 0; i < qs->n; i += TILE) {
            chunk(F, r, qs, i, qs->n - i < TILE ? qs->n - i : TILE, c);
        }
    }
}

static void run_f32(const rz_cpu_run *r, rz_cpu_queries *qs) { run(F32, r, qs); }
static void run_f16(const rz_cpu_run *r, rz_cpu_queries *qs) { run(F16, r, qs); }

static void merge(rz_cpu_queries *a, const rz_cpu_queries *b, uint32_t v_cols) {
    for (uint32_t i = 0; i < a->n; i++) {
        if (b->top[i] == -INFINITY && sum_f(load_f(b->total[i])) == 0) continue; /* saw nothing */
        const float top = b->top[i] > a->top[i] ? b->top[i] : a->top[i];
        const float f = exp_f(splat(a->top[i] - top))[0], g = exp_f(splat(b->top[i] - top))[0];
        store_f(a->total[i], fma_f(load_f(a->total[i]), splat(f), load_f(b->total[i]) * g));
        float *x = a->o + (size_t)i * v_cols;
        const float *y = b->o + (size_t)i * v_cols;
        uint32_t k = 0;
        for (; k + 16 <= v_cols; k += 16) store_f(x + k, fma_f(load_f(x + k), splat(f), load_f(y + k) * g));
        if (k < v_cols) {
            const uint32_t left = v_cols - k;
            store_part(x + k, fma_f(load_part(x + k, left), splat(f), load_part(y + k, left) * g), left);
        }
        a->top[i] = top;
    }
}

static void finish(rz_cpu_queries *qs, uint32_t i, uint32_t v_cols, float sink) {
    const float top = sink > qs->top[i] ? sink : qs->top[i];
    float shrink = 1, total = sum_f(load_f(qs->total[i]));
    if (sink != -INFINITY) {
        shrink = exp_f(splat(qs->top[i] - top))[0];
        total = total * shrink + exp_f(splat(sink - top))[0];
    }
    const float f = shrink / total;
    float *o = qs->o + (size_t)i * v_cols;
    uint32_t k = 0;
    for (; k + 16 <= v_cols; k += 16) store_f(o + k, load_f(o + k) * f);
    if (k < v_cols) store_part(o + k, load_part(o + k, v_cols - k) * f, v_cols - k);
}

static void put_keys_f32(const float *x, uint32_t n, uint32_t lane, void *group) {
    for (size_t d = 0; d < n; d++) ((float *)group)[16 * d + lane] = x[d];
}

static void put_keys_f16(const float *x, uint32_t n, uint32_t lane, void *group) {
    uint16_t *out = group, half[16];
    for (size_t d = 0; d < n; d += 16) {
        const uint32_t m = n - d < 16 ? (uint32_t)(n - d) : 16;
        store_half(half, m < 16 ? load_part(x + d, m) : load_f(x + d));
        for (uint32_t j = 0; j < m; j++) out[16 * (d + j) + lane] = half[j];
    }
}

static void put_values_f32(const float *x, uint32_t n, void *row) { memcpy(row, x, n * sizeof(float)); }

static void put_values_f16(const float *x, uint32_t n, void *row) {
    uint16_t *out = row, half[16];
    uint32_t k = 0;
    for (; k + 16 <= n; k += 16) store_half(out + k, load_f(x + k));
    if (k < n) {
        store_half(half, load_part(x + k, n - k));
        memcpy(out + k, half, (n - k) * sizeof(uint16_t));
    }
}

extern const rz_cpu_attention RZ_CPU_TABLE(rz_cpu_attention);
const rz_cpu_attention RZ_CPU_TABLE(rz_cpu_attention) = {
    .run = {run_f32, run_f16},
    .merge = merge,
    .finish = finish,
    .put_keys = {put_keys_f32, put_keys_f16},
    .put_values = {put_values_f32, put_values_f16},
};
