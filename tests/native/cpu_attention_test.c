/* cpu_attention_test.c - attention of the CPU executor, each instruction set that runs here, against doubles. */
#include "cpu_fixture.h"

#define KEYS 301u
#define QUERIES_MAX 32u
#define COLS_MAX 256u

/* A context of KEYS keys as it lies in a cache, and as floats. */
typedef struct context {
    rz_cpu_kv_format format;
    uint32_t k_cols, v_cols;
    float scale, cap, sink;
    uint8_t *keys, *values; /* in groups of 16; NaN where nobody wrote: that must not be seen */
    float *kx, *vx;
} context;

static size_t group_bytes(rz_cpu_kv_format format, uint32_t cols) {
    return 16 * cols * (format == RZ_KV_F32 ? 4u : format == RZ_KV_F16 ? 2u : 1u) + (format == RZ_KV_Q8_0 ? cols : 0);
}

/* The matrix of rz_cpu_attention.turn: column j of row i is 1 or -1 by the parity of the bits that i and j share. */
static void turn_row(float *x, uint32_t cols) {
    for (uint32_t d = 0; d < cols; d += 32) {
        double y[32] = {0};
        for (uint32_t i = 0; i < 32; i++)
            for (uint32_t j = 0; j < 32; j++) y[i] += __builtin_parity(i & j) ? -x[d + j] : x[d + j];
        for (uint32_t i = 0; i < 32; i++) x[d + i] = (float)(y[i] / sqrt(32));
    }
}

/* What the cache may remember of a row: F16, or 32 numbers as scale * q: of keys those of the turned row. */
static void round_row(rz_cpu_kv_format format, float *x, uint32_t cols) {
    for (uint32_t d = 0; format == RZ_KV_F16 && d < cols; d++) x[d] = rz_f16_to_f32(rz_f32_to_f16(x[d]));
    for (uint32_t d = 0; format == RZ_KV_Q8_0 && d < cols; d += 32) {
        float top = 0;
        for (uint32_t i = d; i < d + 32; i++) top = fmaxf(top, fabsf(x[i]));
        const float scale = rz_f16_to_f32(rz_f32_to_f16(top / 127));
        for (uint32_t i = d; i < d + 32; i++) x[i] = scale * fmaxf(-127, fminf(127, roundf(x[i] / scale)));
    }
}

static void open_context(const rz_cpu_kernels *k, context *c) {
    const size_t k_bytes = group_bytes(c->format, c->k_cols), v_bytes = group_bytes(c->format, c->v_cols);
    const size_t n_groups = (KEYS + 15) / 16;
    c->keys = malloc(n_groups * k_bytes);
    c->values = malloc(n_groups * v_bytes);
    memset(c->keys, 0xff, n_groups * k_bytes);
    memset(c->values, 0xff, n_groups * v_bytes);
    c->kx = malloc(KEYS * c->k_cols * sizeof(float));
    c->vx = malloc(KEYS * c->v_cols * sizeof(float));
    random_floats(c->kx, KEYS * (size_t)c->k_cols, 1);
    random_floats(c->vx, KEYS * (size_t)c->v_cols, 1);
    for (size_t i = 0; i < KEYS; i++) {
        float *key = c->kx + i * c->k_cols, *value = c->vx + i * c->v_cols;
        const uint32_t half = c->k_cols % 64 == 0 ? c->k_cols / 2 : c->k_cols; /* as heads, or at once */
        for (uint32_t at = 0; at < c->k_cols; at += half)
            k->attention->put_keys[c->format](key + at, half, at, c->k_cols, i % 16, c->keys + i / 16 * k_bytes);
        k->attention->put_values[c->format](value, c->v_cols, 0, c->v_cols, i % 16, c->values + i / 16 * v_bytes);
        if (c->format == RZ_KV_Q8_0) turn_row(key, c->k_cols);
        round_row(c->format, key, c->k_cols);
        round_row(c->format, value, c->v_cols);
        if (c->format == RZ_KV_Q8_0) turn_row(key, c->k_cols); /* back: it is its own inverse */
    }
}

/* All runs of the context for a tile of queries; o of the result is `o`. */
static void attend(const rz_cpu_kernels *k, const context *c, rz_cpu_queries *to, float *o, bool by_bf16) {
    static float later[QUERIES_MAX * COLS_MAX];
    static rz_cpu_queries part;
    const size_t k_bytes = group_bytes(c->format, c->k_cols), v_bytes = group_bytes(c->format, c->v_cols);
    for (uint32_t at = 0; at < KEYS; at += RZ_RUN_KEYS) {
        part = *to;
        part.o = at ? later : o;
        for (uint32_t j = 0; j < part.n; j++) part.top[j] = -INFINITY;
        memset(part.total, 0, sizeof part.total);
        memset(part.o, 0, part.n * (size_t)c->v_cols * sizeof(float));
        rz_cpu_run run = {.first = at, .k_cols = c->k_cols, .v_cols = c->v_cols, .v_stride = c->v_cols,
                          .k_scales = 16 * (size_t)c->k_cols, .v_scales = 16 * (size_t)c->v_cols,
                          .scale = c->scale, .cap = c->cap};
        for (uint32_t g = 0; g < RZ_RUN_GROUPS + RZ_NEXT_GROUPS && at + 16 * g < KEYS; g++) {
            run.k[g] = c->keys + (at / 16 + g) * k_bytes;
            run.v[g] = c->values + (at / 16 + g) * v_bytes;
        }
        if (by_bf16)
            k->attention_bf16->run(&run, &part);
        else
            k->attention->run[c->format](&run, &part);
        if (at)
            k->attention->merge(to, &part, c->v_cols);
        else
            *to = part;
    }
    for (uint32_t j = 0; j < to->n; j++) k->attention->finish(to, j, c->v_cols, c->sink);
}

static void reference(const context *c, const float *q, uint32_t low, uint32_t high, double *out) {
    double s[KEYS], top = c->sink, total = 0;
    for (uint32_t j = low; j < high; j++) {
        s[j] = 0;
        for (uint32_t d = 0; d < c->k_cols; d++) s[j] += (double)q[d] * c->kx[j * c->k_cols + d];
        s[j] *= c->scale;
        if (c->cap != 0) s[j] = c->cap * tanh(s[j] / c->cap);
        top = fmax(top, s[j]);
    }
    for (uint32_t j = low; j < high; j++) total += exp(s[j] - top);
    total += exp(c->sink - top);
    for (uint32_t d = 0; d < c->v_cols; d++) {
        out[d] = 0;
        for (uint32_t j = low; j < high; j++) out[d] += exp(s[j] - top) / total * c->vx[j * c->v_cols + d];
    }
}

/* Queries with ranges of their own; then each of them alone, which must not change a bit. */
static void check_attention(const rz_cpu_kernels *k, rz_cpu_kv_format format, uint32_t k_cols, uint32_t v_cols,
                            uint32_t n, float cap, float sink, bool by_bf16) {
    static float q[QUERIES_MAX * COLS_MAX], all[QUERIES_MAX * COLS_MAX], one[COLS_MAX];
    static double want[QUERIES_MAX * COLS_MAX];
    static rz_cpu_queries tile, single;
    context c = {format, k_cols, v_cols, 1 / sqrtf((float)k_cols), cap, sink, NULL, NULL, NULL, NULL};
    open_context(k, &c);
    random_floats(q, (size_t)n * k_cols, 1);
    static rz_xq xq[QUERIES_MAX * COLS_MAX / 32];
    static rz_xlow low[QUERIES_MAX * COLS_MAX / 32];
    const uint32_t blocks = k_cols / 32;
    for (uint32_t i = 0; format == RZ_KV_Q8_0 && i < n; i++) { /* every third with low bits everywhere */
        const float over = i % 3 == 0 ? 0 : 4.0f;
        float turned[COLS_MAX];
        memcpy(turned, q + (size_t)i * k_cols, k_cols * sizeof(float));
        turn_row(turned, k_cols);
        k->rows->quantize(turned, k_cols, over, xq + i * blocks, low + i * blocks, 1);
    }
    tile = (rz_cpu_queries){.n = n, .xq = xq, .low_q = low};
    for (uint32_t i = 0; i < n; i++) {
        tile.q[i] = q + (size_t)i * k_cols;
        tile.high[i] = i % 3 == 0 ? KEYS : 1 + random_u32() % KEYS;
        tile.low[i] = i % 2 ? tile.high[i] / 3 : 0;
        reference(&c, tile.q[i], tile.low[i], tile.high[i], want + (size_t)i * v_cols);
    }
    attend(k, &c, &tile, all, by_bf16);
    for (uint32_t i = 0; i < n; i++) { /* queries of 8 bits, and of 16 */
        const double bound = by_bf16 ? 1e-4 : format != RZ_KV_Q8_0 ? 1e-11 : i % 3 == 0 ? 5e-6 : 1e-3;
        CHECK_NEAR(error_of(all + (size_t)i * v_cols, want + (size_t)i * v_cols, v_cols), 0, bound);
    }
    for (uint32_t i = 0; i < n; i++) {
        single = (rz_cpu_queries){.n = 1, .q = {tile.q[i]}, .low = {tile.low[i]}, .high = {tile.high[i]}};
        single.xq = xq + i * blocks;
        single.low_q = low + i * blocks;
        attend(k, &c, &single, one, by_bf16);
        CHECK(memcmp(one, all + (size_t)i * v_cols, v_cols * sizeof(float)) == 0);
    }
    free(c.keys), free(c.values), free(c.kx), free(c.vx);
}

/* What is not finite stays so, and the keys beside it are as they were. */
static void test_odd_numbers_q8(const rz_cpu_kernels *k) {
    static _Alignas(64) uint8_t group[2][17 * 64];
    const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f};
    float x[64];
    for (int i = 0; i < 4; i++) {
        memset(group, 0, sizeof group);
        random_floats(x, 64, 1);
        for (uint32_t lane = 0; lane < 16; lane++) k->attention->put_keys[RZ_KV_Q8_0](x, 64, 0, 64, lane, group[0]);
        memcpy(group[1], group[0], sizeof group[0]);
        x[37] = odd[i];
        k->attention->put_keys[RZ_KV_Q8_0](x, 64, 0, 64, 3, group[1]);
        uint16_t scale;
        memcpy(&scale, group[1] + 16 * 64 + 32 + 2 * 3, sizeof scale);
        CHECK(isnan(rz_f16_to_f32(scale)));
        for (uint32_t l = 0; l < 16; l++)
            for (uint32_t b = 0; b < 64; b++) /* the lines of the block, and all of other lanes and blocks */
                CHECK(group[1][64 * l + b] == group[0][64 * l + b] || (l >= 8 && b / 4 == 3));
    }
    memset(x, 0, sizeof x);
    k->attention->put_values[RZ_KV_Q8_0](x, 64, 0, 64, 0, group[0]);
    for (uint32_t d = 0; d < 64; d++) CHECK(group[0][d] == 0);
}

/* A value that is not finite is nothing to a query that does not see it, not even a change of bits. */
static void test_infinite_value(const rz_cpu_kernels *k) {
    enum { COLS = 32, N = 3 };
    static float q[N * COLS], with[N * COLS], without[N * COLS];
    context c = {RZ_KV_F16, COLS, COLS, 0.2f, 0, -INFINITY, NULL, NULL, NULL, NULL};
    open_context(k, &c);
    random_floats(q, N * COLS, 1);
    for (int bad = 0; bad < 2; bad++) {
        const uint16_t infinity = 0x7c00;
        rz_cpu_queries tile = {.n = N, .q = {q, q + COLS, q + 2 * COLS}, .high = {20, 41, 50}, .low = {0, 0, 42}};
        if (bad) memcpy(c.values + 2 * (41 / 16 * 16 * COLS + 41 % 16 * COLS + 3), &infinity, 2);
        attend(k, &c, &tile, bad ? with : without, true);
    }
    CHECK(memcmp(with, without, sizeof with) == 0);
    for (int i = 0; i < N * COLS; i++) CHECK(isfinite(with[i]));
    free(c.keys), free(c.values), free(c.kx), free(c.vx);
}

static void test_attention(const rz_cpu_kernels *k) {
    for (rz_cpu_kv_format format = RZ_KV_F32; format <= RZ_KV_F16; format++) {
        check_attention(k, format, 64, 64, 1, 0, -INFINITY, false);
        check_attention(k, format, 64, 64, 24, 0, -INFINITY, false);
        check_attention(k, format, 64, 64, 32, 0, -INFINITY, false);
        check_attention(k, format, 128, 128, 5, 5, -INFINITY, false);
        check_attention(k, format, 24, 40, 7, 0, 1.5f, false);
        check_attention(k, format, 7, 9, 4, 0, -INFINITY, false);
    }
    check_attention(k, RZ_KV_Q8_0, 64, 64, 1, 0, -INFINITY, false);
    check_attention(k, RZ_KV_Q8_0, 64, 64, 32, 0, -INFINITY, false);
    check_attention(k, RZ_KV_Q8_0, 128, 96, 5, 5, -INFINITY, false);
    check_attention(k, RZ_KV_Q8_0, 32, 32, 7, 0, 1.5f, false);
    test_odd_numbers_q8(k);
    if (!k->attention_bf16) return;
    check_attention(k, RZ_KV_F16, 64, 64, 1, 0, -INFINITY, true);
    check_attention(k, RZ_KV_F16, 64, 64, 32, 0, -INFINITY, true);
    check_attention(k, RZ_KV_F16, 128, 80, 5, 5, -INFINITY, true);
    check_attention(k, RZ_KV_F16, 22, 256, 7, 0, 1.5f, true);
    check_attention(k, RZ_KV_F16, 7, 9, 4, 0, -INFINITY, true); /* by the kernels for all shapes */
    test_infinite_value(k);
}

int main(void) {
    for (size_t i = 0; i < sizeof all_isas / sizeof all_isas[0]; i++) {
        if (!rz_cpu_isa_usable(all_isas[i])) continue;
        const rz_cpu_kernels *k = rz_cpu_kernels_for(all_isas[i]);
        test_attention(k);
        printf("cpu_attention: %s, %d checks so far\n", k->name, test_n_checks);
    }
    CHECK(test_n_checks > 0);
    return TEST_RESULT("cpu_attention");
}
