/* ref_test.c - the reference executor: a Llama against a second, naive implementation in this file; the properties that
 * make batches and caches invisible, bit for bit; memory, failures, cancelling. */
#include "lower.h"
#include "program_fixture.h"

#define N 40u /* tokens of a test sequence */
#define VOCAB 80u

static const rz_plan_options plain = {
    .size = sizeof plain, .max_tokens = FIXTURE_TOKENS_MAX, .max_seqs = 4, .max_outs = FIXTURE_TOKENS_MAX};
static int32_t tokens[N];

/* ---- the Llama of plan_builder.h once more: no plan, no cache, whole sequence, F64 ------------------------------- */

static void naive_norm(const double *x, const float *w, double *out) {
    double sum = 0;
    for (int i = 0; i < 64; i++) sum += x[i] * x[i];
    for (int i = 0; i < 64; i++) out[i] = x[i] / sqrt(sum / 64 + 1e-5) * (double)w[i];
}

static void naive_product(const float *w, const float *bias, int rows, int cols, const double *x, double *out) {
    for (int r = 0; r < rows; r++) {
        out[r] = bias ? (double)bias[r] : 0;
        for (int j = 0; j < cols; j++) out[r] += (double)w[r * cols + j] * x[j];
    }
}

static void naive_rope(double *x, int n_heads, int position) {
    for (int h = 0; h < n_heads; h++) {
        for (int i = 0; i < 8; i++) {
            const double angle = position * pow(1000.0, -i / 6.0), a = x[h * 16 + i], b = x[h * 16 + 8 + i];
            x[h * 16 + i] = a * cos(angle) - b * sin(angle);
            x[h * 16 + 8 + i] = a * sin(angle) + b * cos(angle);
        }
    }
}

static void naive_attention(double q[64], double (*k)[32], double (*v)[32], int last, double out[64]) {
    for (int h = 0; h < 4; h++) {
        double p[N], sum = 0;
        for (int t = 0; t <= last; t++) {
            double score = 0;
            for (int i = 0; i < 16; i++) score += q[h * 16 + i] * k[t][h / 2 * 16 + i];
            sum += p[t] = exp(score * 0.25);
        }
        for (int i = 0; i < 16; i++) {
            out[h * 16 + i] = 0;
            for (int t = 0; t <= last; t++) out[h * 16 + i] += p[t] / sum * v[t][h / 2 * 16 + i];
        }
    }
}

/* Logits of every position. Weights: 1 embedding; per layer norm, q, k, v, v's bias, o, norm, gate, up, down; norm. */
static void naive_llama(const fixture *f, double out[N][VOCAB]) {
    static double x[N][64], k[N][32], v[N][32];
    float *w[32];
    for (uint32_t id = 1; id <= f->ir.header->n_weights; id++) w[id] = weight_f32(f, id);
    for (uint32_t t = 0; t < N; t++) {
        for (int i = 0; i < 64; i++) x[t][i] = (double)w[1][tokens[t] * 64 + i];
    }
    for (int layer = 0; layer < 2; layer++) {
        float **l = w + 2 + layer * 10;
        for (uint32_t t = 0; t < N; t++) {
            double n[64], q[64], heads[64], o[64], gate[96], up[96], down[64];
            naive_norm(x[t], l[0], n);
            naive_product(l[1], NULL, 64, 64, n, q);
            naive_product(l[2], NULL, 32, 64, n, k[t]);
            naive_product(l[3], l[4], 32, 64, n, v[t]);
            naive_rope(q, 4, (int)t);
            naive_rope(k[t], 2, (int)t);
            naive_attention(q, k, v, (int)t, heads);
            naive_product(l[5], NULL, 64, 64, heads, o);
            for (int i = 0; i < 64; i++) x[t][i] += o[i];
            naive_norm(x[t], l[6], n);
            naive_product(l[7], NULL, 96, 64, n, gate);
            naive_product(l[8], NULL, 96, 64, n, up);
            for (int i = 0; i < 96; i++) gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i];
            naive_product(l[9], NULL, 64, 96, gate, down);
            for (int i = 0; i < 64; i++) x[t][i] += down[i];
        }
    }
    for (uint32_t t = 0; t < N; t++) {
        double n[64];
        naive_norm(x[t], w[22], n);
        naive_product(w[1], NULL, VOCAB, 64, n, out[t]);
    }
    for (uint32_t id = 1; id <= f->ir.header->n_weights; id++) free(w[id]);
}

static double largest(const double *x, size_t n) {
    double max = 0;
    for (size_t i = 0; i < n; i++) max = fmax(max, fabs(x[i]));
    return max;
}

static void test_llama(uint32_t dtype) {
    static builder b;
    static fixture f;
    static double expected[N][VOCAB];
    static float got[N][VOCAB];
    build_llama(&b, dtype);
    if (!fixture_open(&f, &rz_backend_ref, &b)) return;
    fixture_program(&f, &plain);
    naive_llama(&f, expected);
    fixture_read(&f, &(part){0, N, tokens, 1}, 1, f.ir.logits_value, N, got[0]);
    const double *want = &expected[0][0], scale = largest(want, N * VOCAB);
    const float *have = &got[0][0];
    CHECK(scale > 0.1);
    for (uint32_t i = 0; i < N * VOCAB; i++) CHECK_NEAR((double)have[i], want[i], 2e-6 * scale);
    /* Keys and values in fewer bits: near, not equal. */
    for (int q8 = 0; q8 < 2; q8++) {
        static float rough[N * VOCAB];
        fixture_cache(&f, q8 ? RZ_Q8_0 : RZ_F16);
        fixture_read(&f, &(part){0, N, tokens, 1}, 1, f.ir.logits_value, N, rough);
        for (uint32_t i = 0; i < N * VOCAB; i++) CHECK_NEAR((double)rough[i], want[i], (q8 ? 2e-2 : 1e-3) * scale);
        CHECK(memcmp(rough, got, sizeof got) != 0);
    }
    fixture_close(&f);
}

/* ---- what nobody may notice -------------------------------------------------------------------------------------- */

static void test_invisible(uint32_t kv_dtype) {
    static builder b;
    static fixture f;
    static float whole[N][VOCAB], other[N][VOCAB], got[2 * N][VOCAB];
    build_llama(&b, RZ_Q8_0);
    for (uint32_t i = 0; i < b.header.n_ops; i++) {
        if (b.ops[i].code == RZ_OP_ATTENTION && b.ops[i].n[1] == 1) b.ops[i].n[7] = 9; /* a window in one layer */
    }
    if (!fixture_open(&f, &rz_backend_ref, &b)) return;
    fixture_cache(&f, kv_dtype);
    fixture_program(&f, &plain);
    const uint32_t logits = f.ir.logits_value;
    fixture_read(&f, &(part){0, N, tokens, 1}, 1, logits, N, whole[0]);
    for (uint32_t t = 0; t < N; t++) { /* decodes, in other pages */
        fixture_read(&f, &(part){t, 1, tokens + t, 6}, 1, logits, 1, got[t]);
    }
    CHECK(memcmp(whole, got, sizeof whole) == 0);
    for (uint32_t t = 0, n; t < N; t += n) { /* chunks, after a rewind to 0 in used pages */
        n = t + 7 < N ? 7 : N - t;
        fixture_read(&f, &(part){t, n, tokens + t, 1}, 1, logits, n, got[t]);
    }
    CHECK(memcmp(whole, got, sizeof whole) == 0);
    int32_t backwards[N];
    for (uint32_t t = 0; t < N; t++) backwards[t] = tokens[N - 1 - t];
    fixture_read(&f, &(part){0, N, backwards, 1}, 1, logits, N, other[0]);
    const part first[] = {{0, 11, backwards, 8}, {0, 30, tokens, 4}}; /* two sequences side by side */
    fixture_read(&f, first, 2, logits, 41, got[0]);
    CHECK(memcmp(other, got, 11 * sizeof *got) == 0 && memcmp(whole, got[11], 30 * sizeof *got) == 0);
    const part second[] = {{30, 10, tokens + 30, 4}, {11, 1, backwards + 11, 8}};
    fixture_read(&f, second, 2, logits, 11, got[0]);
    CHECK(memcmp(whole[30], got, 10 * sizeof *got) == 0 && memcmp(other[11], got[10], sizeof *got) == 0);
    fixture_close(&f);
}

static void test_zoo(void) {
    static builder b;
    static fixture f;
    static float whole[N][64], got[2][64];
    build_zoo(&b);
    for (uint32_t pooling = 0; pooling < 3; pooling++) {
        b.ops[b.header.n_ops - 1].n[0] = pooling;
        random_state = 1;
        if (!fixture_open(&f, &rz_backend_ref, &b)) return;
        fixture_program(&f, &plain);
        const uint32_t pooled = f.ir.header->n_values;
        fixture_read(&f, &(part){0, N, tokens, 0}, 1, pooled, 1, whole[0]);
        fixture_read(&f, &(part){0, 3, tokens, 0}, 1, pooled, 1, whole[1]);
        const part both[] = {{0, 3, tokens, 0}, {0, N, tokens, 0}};
        fixture_read(&f, both, 2, pooled, 2, got[0]);
        CHECK(memcmp(got[0], whole[1], sizeof *got) == 0 && memcmp(got[1], whole[0], sizeof *got) == 0);
        for (int i = 0; i < 64; i++) CHECK(isfinite(got[0][i]) && isfinite(got[1][i]));
        fixture_close(&f);
    }
}

/* ---- memory, failures, cancelling -------------------------------------------------------------------------------- */

static void test_program(void) {
    static builder b;
    static fixture f;
    static float got[N * 64];
    build_llama(&b, RZ_F16);
    if (!fixture_open(&f, &rz_backend_ref, &b)) return;
    rz_plan_options options = plain;
    options.flags = RZ_PLAN_PROFILE;
    options.n_watched = 1;
    options.watched[0] = 2;
    const uint64_t before = rz_account_used(f.account);
    rz_plan_info checked = {0};
    void *none = NULL;
    CHECK(rz_plan_options_read(&f.ir, &options, &f.options) == RZ_OK);
    CHECK(f.backend->program_open(f.engine, &f.ir, NULL, &f.options, &checked, &none) == RZ_OK && none == NULL);
    CHECK(rz_account_used(f.account) == before);
    uint32_t n_failed = 0;
    for (bool done = false; !done && n_failed < 100;) { /* the 1st, 2nd, ... allocation fails until none is left */
        rz_test_fail_after(0, n_failed + 1);
        done = f.backend->program_open(f.engine, &f.ir, f.tensors, &f.options, &f.info, &f.program) == RZ_OK;
        rz_test_fail_after(0, 0);
        if (!done) CHECK(rz_account_used(f.account) == before);
        if (!done) n_failed++;
    }
    CHECK(n_failed >= 5);
    CHECK(rz_account_used(f.account) - before == f.info.scratch_bytes);
    CHECK(memcmp(&checked, &f.info, sizeof checked) == 0);
    CHECK(f.info.n_classes == 1 && f.info.class_rows[0] == 64 && f.info.n_launches[0] == f.ir.header->n_ops);

    fixture_read(&f, &(part){0, N, tokens, 1}, 1, 2, N, got); /* the watched value */
    CHECK(f.backend->value_read(f.program, 1, 0, 1, got) == RZ_E_ARG && strstr(rz_fail_message(), "value 1"));
    rz_brick bricks[64];
    const uint32_t n_bricks = f.backend->program_profile(f.program, bricks, 64);
    CHECK(n_bricks == f.ir.header->n_ops && bricks[0].code == RZ_OP_EMBED && bricks[0].calls == 1);
    uint64_t ns = 0;
    for (uint32_t i = 0; i < n_bricks; i++) ns += bricks[i].ticks_ns;
    CHECK(ns > 0 && bricks[n_bricks - 1].bytes == VOCAB * 64 * 2);
    CHECK(f.backend->program_profile(f.program, bricks, 64) == n_bricks && bricks[0].calls == 0);

    uint8_t text[8192];
    const uint32_t length = f.backend->program_listing(f.program, 0, text, sizeof text - 1);
    CHECK(length < sizeof text && length > 500);
    text[length < sizeof text ? length : 0] = 0;
    CHECK(strstr((char *)text, "class 0: up to 64 rows") && strstr((char *)text, "kvWrite (v6 v7) ->\n"));
    CHECK(f.backend->program_listing(f.program, 0, NULL, 0) == length);

    atomic_store(&f.cancel, 1);
    CHECK(fixture_step(&f, &(part){0, N, tokens, 1}, 1) == RZ_E_CANCELLED);
    atomic_store(&f.cancel, 0);
    CHECK(fixture_step(&f, &(part){0, N, tokens, 1}, 1) == RZ_OK);
    fixture_close(&f);
}

static void test_pages(void) {
    uint64_t bytes = 0;
    rz_cache_group group = {
        .n_layers = 3, .k_cols = 64, .v_cols = 32, .page_tokens = 16, .k_dtype = RZ_F16, .v_dtype = RZ_Q8_0};
    CHECK(rz_backend_ref.page_bytes(NULL, &group, &bytes) == RZ_OK && bytes == 3 * 16 * (128 + 34));
    group.v_cols = 40;
    CHECK(rz_backend_ref.page_bytes(NULL, &group, &bytes) == RZ_E_UNSUPPORTED && strstr(rz_fail_message(), "value"));
    group.k_dtype = RZ_BF16;
    CHECK(rz_backend_ref.page_bytes(NULL, &group, &bytes) == RZ_E_UNSUPPORTED && strstr(rz_fail_message(), "key"));
}

int main(void) {
    for (uint32_t t = 0; t < N; t++) tokens[t] = (int32_t)(random_u32() % VOCAB);
    test_llama(RZ_F32);
    test_llama(RZ_Q8_0);
    test_llama(RZ_Q4_1);
    test_invisible(RZ_F32);
    test_invisible(RZ_F16);
    test_invisible(RZ_Q8_0);
    test_zoo();
    test_program();
    test_pages();
    return TEST_RESULT("ref");
}
