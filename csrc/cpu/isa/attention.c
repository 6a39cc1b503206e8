/* attention.c - softmax(q k) v for queries that share a key head, over runs of 256 positions.
 *
 * A run is taken in chunks of 64 keys: scores, largest score, exponentials, then o = o * e^(old top - new top) +
 * sum of p * v in the order of keys. Every sum of one query has the same order in a tile of one query and of many, and
 * keys outside a query's range are not touched, so a result does not depend on neighbours. */
#include "softmax.h"

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

enum { F32 = RZ_KV_F32, F16 = RZ_KV_F16, Q8 = RZ_KV_Q8_0 };

AI const char *at(const int F, const void *p, size_t element) {
    return (const char *)p + element * (F == Q8 ? 1 : F == F16 ? 2 : 4);
}
AI f32v load_bytes(const void *p) {
    typedef int8_t i8x16 __attribute__((ext_vector_type(16), aligned(1), may_alias));
    return __builtin_convertvector(*(const i8x16 *)p, f32v);
}
AI f32v load_kv(const int F, const void *p) { return F == Q8 ? load_bytes(p) : F == F16 ? load_half(p) : load_f(p); }
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
        __builtin_prefetch(at(F, next[0], 16 * (size_t)d), 0, 2);
        __builtin_prefetch(at(F, next[1], 16 * (size_t)d), 0, 2);
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

/* The same of keys in int8, one group: exact integer sums of 32 columns times both scales, in order. Where a query has
 * low bits the integers of all M are taken 256 times as large, which changes no bit of the others. */
AI void scores_q8(const rz_cpu_run *r, const void *k, const void *next, const rz_cpu_queries *qs, uint32_t i,
                  float s[][CHUNK], const int M) {
    const uint32_t blocks = r->k_cols / 32;
    const rz_xq *x = qs->xq + (size_t)i * blocks;
    const rz_xlow *low = qs->low_q + (size_t)i * blocks;
    const char *scales = (const char *)k + r->k_scales, *next_scales = (const char *)next + r->k_scales;
    f32v a[TILE];
    UNROLL for (int t = 0; t < M; t++) a[t] = splat(0);
    for (uint32_t b = 0; b < blocks; b++, x++, low++) {
        const uint8_t *lines = (const uint8_t *)k + 512 * (size_t)b, *ahead = (const uint8_t *)next + 512 * (size_t)b;
        const f32v scale = load_half(scales + 32 * (size_t)b);
        dot_sum sum[TILE];
        uint32_t fine = 0;
        if (b % 2 == 0) __builtin_prefetch(next_scales + 32 * (size_t)b, 0, 2);
        UNROLL for (int t = 0; t < M; t++) {
            fine |= x[t * blocks].is_fine;
            sum[t] = dot_start(splat_i(RZ_CPU_SIGNED8 ? 0 : (int32_t)((uint32_t)x[t * blocks].less[2] << 7)));
        }
        UNROLL for (uint32_t l = 0; l < 8; l++) {
            const u8v v = load_b(lines + 64 * l);
            __builtin_prefetch(ahead + 64 * l, 0, 2);
            UNROLL for (int t = 0; t < M; t++) dot_line(&sum[t], v, x[t * blocks].q + 4 * l, l, 8);
        }
        if (fine) {
            UNROLL for (int t = 0; t < M; t++) {
                const uint32_t less = (uint32_t)(x[t * blocks].less_low[0] + x[t * blocks].less_low[1]) << 7;
                sum[t].wide = (i32v)((u32v)sum[t].wide << 8) + splat_i(RZ_CPU_SIGNED8 ? 0 : (int32_t)less);
            }
            UNROLL for (uint32_t l = 0; l < 8; l++) {
                const u8v v = load_b(lines + 64 * l);
                UNROLL for (int t = 0; t < M; t++) dot_line(&sum[t], v, low[t * blocks].q + 4 * l, l, 8);
            }
        }
        UNROLL for (int t = 0; t < M; t++)
            a[t] = fma_f(to_float(sum[t].wide), scale * (x[t * blocks].scale * (fine ? 0x1p-8f : 1.0f)), a[t]);
    }
    UNROLL for (int t = 0; t < M; t++) store_f(s[t], a[t]);
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
            __builtin_prefetch(at(F, next, element + 16 * (size_t)n), 0, 2);
        f32v u[4];
        UNROLL for (int n = 0; n < N; n++) u[n] = load_kv(F, at(F, row, 16 * (size_t)n));
        UNROLL for (int t = 0; t < M; t++)
            UNROLL for (int n = 0; n < N; n++) a[t][n] = fma_f(u[n], splat(p[t][key]), a[t][n]);
    }
    UNROLL for (int t = 0; t < M; t++)
        UNROLL for (int n = 0; n < N; n++) store_f(o + t * r->v_cols + col + 16 * n, a[t][n]);
}

/* The same of values in int8, 32 columns: the scales of 16 keys go into their exponentials. */
AI void values_q8(const rz_cpu_run *r, const void *const *v, uint32_t col, uint32_t low, uint32_t high,
                  float p[][CHUNK], const float *shrink, float *o, const int M) {
    f32v a[TILE][2];
    float w[TILE][16];
    UNROLL for (int t = 0; t < M; t++)
        UNROLL for (int n = 0; n < 2; n++) a[t][n] = load_f(o + t * r->v_cols + col + 16 * n) * shrink[t];
    for (uint32_t g = low / 16; 16 * g < high; g++) {
        const char *rows = (const char *)v[g] + col, *next = v[g + 4] ? (const char *)v[g + 4] + col : rows;
        const uint32_t begin = low > 16 * g ? low - 16 * g : 0, end = high - 16 * g < 16 ? high - 16 * g : 16;
        const f32v scale = load_half((const char *)v[g] + r->v_scales + col);
        if (col % 64 == 0) __builtin_prefetch(next - col + r->v_scales + col, 0, 2);
        UNROLL for (int t = 0; t < M; t++) store_f(w[t], load_f(p[t] + 16 * g) * scale);
        for (uint32_t key = begin; key < end; key++) {
            const f32v u0 = load_bytes(rows + (size_t)key * r->v_stride);
            const f32v u1 = load_bytes(rows + (size_t)key * r->v_stride + 16);
            if (col % 64 == 0) __builtin_prefetch(next + (size_t)key * r->v_stride, 0, 2);
            UNROLL for (int t = 0; t < M; t++) {
                a[t][0] = fma_f(u0, splat(w[t][key]), a[t][0]);
                a[t][1] = fma_f(u1, splat(w[t][key]), a[t][1]);
            }
        }
    }
    UNROLL for (int t = 0; t < M; t++)
        UNROLL for (int n = 0; n < 2; n++) store_f(o + t * r->v_cols + col + 16 * n, a[t][n]);
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
    if (F == Q8) {
        for (; col < r->v_cols; col += 32) values_q8(r, v, col, low, high, p, shrink, o, M);
        return;
    }
    for (; col + 16 * N <= r->v_cols; col += 16 * N) values(F, r, v, col, low, high, p, shrink, o, M, N);
    for (; col + 16 <= r->v_cols; col += 16) values(F, r, v, col, low, high, p, shrink, o, M, 1);
    if (col < r->v_cols)
        UNROLL for (int t = 0; t < M; t++)
            values_left(F, r, v, col, low, high, p[t], shrink[t], o + t * r->v_cols);
}

/* Scores of M queries with groups g and g + 1 of the run. The first tile of queries brings in the next chunk. */
AI void score(const int F, const rz_cpu_run *r, const rz_cpu_queries *qs, uint32_t i, uint32_t g, float s[][CHUNK],
              const int M) {
    const void *k[2] = {r->k[g], r->k[g + 1]}, *next[2];
    for (uint32_t j = 0; j < 2; j++) {
        if (!k[j]) k[j] = k[1 - j];
        next[j] = i == 0 && r->k[g + 4 + j] ? r->k[g + 4 + j] : k[j];
    }
    if (F == Q8) {
        for (uint32_t j = 0; j < 2; j++)
            scores_q8(r, k[j], next[j], qs, i, (float (*)[CHUNK])(void *)(s[0] + 16 * j), M);
    } else {
        scores(F, k[0], k[1], next, qs->q + i, r->k_cols, s, M);
    }
}

AI void score_pair(const int F, const rz_cpu_run *r, const rz_cpu_queries *qs, uint32_t i, uint32_t n, uint32_t g,
                   float s[][CHUNK]) {
    if (!r->k[g] && !r->k[g + 1]) {
        for (uint32_t t = 0; t < n; t++) memset(s[t], 0, 32 * sizeof(float));
        return;
    }
    switch (n) {
#if TILE == 6
    case 6: score(F, r, qs, i, g, s, 6); break;
    case 5: score(F, r, qs, i, g, s, 5); break;
    case 4: score(F, r, qs, i, g, s, 4); break;
#endif
#if TILE >= 3
    case 3: score(F, r, qs, i, g, s, 3); break;
#endif
    case 2: score(F, r, qs, i, g, s, 2); break;
    default: score(F, r, qs, i, g, s, 1); break;
    }
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
        score_pair(F, r, qs, i, n, 4 * c + g, (float (*)[CHUNK])(void *)(s[0] + 16 * g));
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
static void run_q8(const rz_cpu_run *r, rz_cpu_queries *qs) { run(Q8, r, qs); }

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

#define PUT_ARGUMENTS const float *x, uint32_t n, uint32_t first, uint32_t cols, uint32_t lane, void *group

static void put_keys_f32(PUT_ARGUMENTS) {
    float *out = (float *)group + 16 * (size_t)first + lane;
    (void)cols;
    for (size_t d = 0; d < n; d++) out[16 * d] = x[d];
}

static void put_keys_f16(PUT_ARGUMENTS) {
    uint16_t *out = (uint16_t *)group + 16 * (size_t)first + lane, half[16];
    (void)cols;
    for (size_t d = 0; d < n; d += 16) {
        const uint32_t m = n - d < 16 ? (uint32_t)(n - d) : 16;
        store_half(half, m < 16 ? load_part(x + d, m) : load_f(x + d));
        for (uint32_t j = 0; j < m; j++) out[16 * (d + j)] = half[j];
    }
}

static void put_values_f32(PUT_ARGUMENTS) {
    memcpy((float *)group + (size_t)lane * cols + first, x, n * sizeof(float));
}

static void put_values_f16(PUT_ARGUMENTS) {
    uint16_t *out = (uint16_t *)group + (size_t)lane * cols + first, half[16];
    uint32_t k = 0;
    for (; k + 16 <= n; k += 16) store_half(out + k, load_f(x + k));
    if (k < n) {
        store_half(half, load_part(x + k, n - k));
        memcpy(out + k, half, (n - k) * sizeof(uint16_t));
    }
}

/* 32 numbers as scale * q, scale an F16; what is not finite makes a scale of NaN, and so does what an F16 scale cannot
 * hold. Returns the scale. */
AI uint16_t quantize_32(const float *x, int8_t q[32]) {
    const f32v u = load_f(x), v = load_f(x + 16);
    const u32v bits_u = (u32v)u & 0x7fffffffu, bits_v = (u32v)v & 0x7fffffffu;
    const uint32_t top_bits = __builtin_reduce_max(bits_u > bits_v ? bits_u : bits_v);
    float top, scale;
    uint16_t half[16];
    memcpy(&top, &top_bits, 4);
    store_half(half, splat(top_bits < 0x7f800000u ? top * (1.0f / 127.0f) : NAN));
    scale = load_half(half)[0];
    if (!(scale < INFINITY)) return memset(q, 0, 32), 0x7e00;
    const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
    UNROLL for (int i = 0; i < 2; i++) {
        f32v y = (i ? v : u) * inverse;
        y = y > 127.0f ? splat(127) : y < -127.0f ? splat(-127) : y;
        const i32v whole = (i32v)(y + 12582912.0f) - (i32v)splat(12582912.0f); /* nearest even, in the low bits */
        typedef int8_t i8x16 __attribute__((ext_vector_type(16), aligned(1), may_alias));
        *(i8x16 *)(q + 16 * i) = __builtin_convertvector(whole, i8x16);
    }
    return half[0];
}

/* 32 numbers times a Hadamard matrix of 1 and -1 by 32^-1/2: an orthogonal matrix, so that products of two turned rows
 * are those of the rows. What is in one large column comes out spread over all 32, and int8 is finer for the rest. */
static void turn(const float *x, uint32_t n, float *y) {
    for (; n > 0; n -= 32, x += 32, y += 32) {
        f32v u = load_f(x) * 0.17677669529f, v = load_f(x + 16) * 0.17677669529f;
        const f32v a = u + v, b = u - v;
        u = a, v = b;
#define STAGE(...)                                                                                                   \
    do {                                                                                                             \
        const f32v su = __builtin_shufflevector(u, u, __VA_ARGS__), sv = __builtin_shufflevector(v, v, __VA_ARGS__); \
        u = su + u * sign, v = sv + v * sign;                                                                        \
    } while (0)
        f32v sign = {1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1};
        STAGE(8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
        sign = (f32v){1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1};
        STAGE(4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
        sign = (f32v){1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1};
        STAGE(2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
        sign = (f32v){1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1};
        STAGE(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
#undef STAGE
        store_f(y, u);
        store_f(y + 16, v);
    }
}

/* A group of keys, turned: [cols / 4][16 keys][4], 128 added, then scales [cols / 32][16]. */
static void put_keys_q8(PUT_ARGUMENTS) {
    for (uint32_t d = first; d < first + n; d += 32, x += 32) {
        int8_t q[32];
        float turned[32];
        turn(x, 32, turned);
        const uint16_t scale = quantize_32(turned, q);
        uint8_t *lines = (uint8_t *)group + 16 * (size_t)d + 4 * lane;
        for (size_t l = 0; l < 8; l++)
            for (size_t j = 0; j < 4; j++) lines[64 * l + j] = (uint8_t)q[4 * l + j] ^ 0x80u;
        memcpy((uint8_t *)group + 16 * (size_t)cols + d + 2 * lane, &scale, sizeof scale);
    }
}

/* A group of values: [16][cols], then scales [cols / 32][16]. */
static void put_values_q8(PUT_ARGUMENTS) {
    for (uint32_t d = first; d < first + n; d += 32, x += 32) {
        const uint16_t scale = quantize_32(x, (int8_t *)group + (size_t)lane * cols + d);
        memcpy((uint8_t *)group + 16 * (size_t)cols + d + 2 * lane, &scale, sizeof scale);
    }
}

extern const rz_cpu_attention RZ_CPU_TABLE(rz_cpu_attention);
const rz_cpu_attention RZ_CPU_TABLE(rz_cpu_attention) = {
    .run = {run_f32, run_f16, run_q8},
    .merge = merge,
    .finish = finish,
    .turn = turn,
    .put_keys = {put_keys_f32, put_keys_f16, put_keys_q8},
    .put_values = {put_values_f32, put_values_f16, put_values_q8},
};
