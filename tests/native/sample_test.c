/* sample_test.c - the sampler around its filters: greedy, penalties over a paged history, bias, masks,
 * log-probabilities, several outs, and hostile values. */
#include "sample_fixture.h"
#include "philox.h"
#include "sample_reference.h"
#include <float.h>

/* Greedy: the lowest id among equals, wherever they lie; filters and seeds play no part. */
static void test_greedy(void) {
    static float x[1000];
    fixture f;
    fixture_open(&f, 3);
    f.out.temperature = 0;
    for (uint32_t round = 0; round < 200; round++) {
        const uint32_t n = 1 + random_u32() % 1000;
        for (uint32_t i = 0; i < n; i++) x[i] = (float)(random_u32() % 40);
        const uint32_t at = random_u32() % n;
        x[at] = 50;
        if (n - at > 1) x[at + 1 + random_u32() % (n - at - 1)] = 50;
        f.out.typical_p = 0.1f;
        f.out.seed_lo = round;
        CHECK(sample(&f, x, n, NULL) == (int32_t)at);
        CHECK(f.result.flags == 0 && f.result.position == 2 && f.result.n_accepted == 0);
    }
    const float zeros[3] = {-1.0f, -0.0f, 0.0f};
    CHECK(sample(&f, zeros, 3, NULL) == 1);
    const float one[1] = {-1e30f};
    CHECK(sample(&f, one, 1, NULL) == 0);
    CHECK_NEAR(f.result.logprob, 0, 0);
    f.out.temperature = 1;
    CHECK(sample(&f, one, 1, NULL) == 0);
    fixture_close(&f);
}

static void test_nonfinite(void) {
    static float x[300];
    fixture f;
    fixture_open(&f, 1);
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (uint32_t i = 0; i < 300; i += 23) {
        for (uint32_t b = 0; b < 3; b++) {
            memset(x, 0, sizeof x);
            x[i] = bad[b];
            f.out.n_top = 2;
            f.out.mode = i % 2 ? RZ_OUT_SAMPLE : RZ_OUT_LOGITS;
            memset(f.tops, 0xFF, sizeof f.tops);
            CHECK(sample(&f, x, 300, NULL) == -1);
            CHECK(f.result.flags == RZ_RESULT_NONFINITE && f.result.n_top == 0 && f.result.logprob == 0);
            CHECK(f.tops[0].token == 0 && f.tops[1].token == 0); /* not what lay in memory */
        }
    }
    CHECK(sample(&f, NULL, 0, NULL) == -1 && f.result.flags == 0); /* a plan without logits */
    fixture_close(&f);
}

/* The history lies in pages in reverse order; tokens before penalty_from, in freed pages and after the row don't
 * count. */
static void test_penalties(void) {
    float x[10], expected[10];
    for (uint32_t i = 0; i < 10; i++) x[i] = (float)i - 4.5f;
    memcpy(expected, x, sizeof x);
    fixture f;
    fixture_open(&f, 40);
    for (uint32_t position = 0; position < N_PAGES * PAGE_TOKENS; position++) set_history(&f, position, 9);
    for (uint32_t position = 10; position < 40; position++) set_history(&f, position, 8);
    set_history(&f, 10, 0);
    set_history(&f, 16, 1000); /* not of this vocabulary */
    set_history(&f, 17, -1);
    set_history(&f, 39, 7);
    f.out.penalty_from = 10;
    f.out.repetition = 2;
    f.out.presence = 0.25f;
    f.out.frequency = 0.125f;
    expected[0] = -4.5f * 2 - 0.125f - 0.25f;
    expected[7] = 2.5f / 2 - 0.125f - 0.25f;
    expected[8] = 3.5f / 2 - 26 * 0.125f - 0.25f; /* 30 positions less 0, 1000, -1 and 7 */
    double d[10], p[10];
    for (uint32_t i = 0; i < 10; i++) d[i] = (double)expected[i];
    softmax(d, 10, 1, p);
    for (uint32_t position = 0; position < 500; position++) {
        f.out.draw_position = position;
        double margin = 1;
        const uint32_t token = invert(p, 10, rz_philox_uniform(7, 11, position), &margin);
        memset(f.scratch, 0xA5, rz_sample_scratch_bytes(10)); /* its counts begin at nothing */
        if (margin > 1e-6) CHECK(sample(&f, x, 10, NULL) == (int32_t)token);
    }
    CHECK_NEAR(f.result.logprob, (double)x[f.result.token] - 4.95862974, 1e-5); /* of the raw logits */

    f.out = plain;
    f.out.temperature = 0;
    f.out.frequency = 100;
    f.out.penalty_from = 0;
    f.pages[0] = 0; /* freed: the 9s at 0 .. 9 are gone */
    CHECK(sample(&f, x, 10, NULL) == 9);
    f.out.penalty_from = 40; /* nothing */
    CHECK(sample(&f, x, 10, NULL) == 9);
    f.pages[0] = N_PAGES - 1;
    f.out.penalty_from = 9;
    CHECK(sample(&f, x, 10, NULL) == 6);
    f.out.penalty_from = 40;
    CHECK(sample(&f, x, 10, NULL) == 9);
    fixture_close(&f);
}

/* Without a cache the history is the sequence's tokens in this step. */
static void test_penalties_without_cache(void) {
    const float x[4] = {0, 1, 2, 3};
    int32_t tokens[5] = {0, 3, 3, 2, 1}; /* rows 1 .. 3 are the sequence, the out is row 3 */
    uint32_t row_seq[5] = {0, 1, 1, 1, 2}, row_position[5] = {0, 100, 101, 102, 0}, first[4] = {0, 1, 4, 5};
    rz_batch_seq seqs[3] = {{.n_new = 1}, {.n_past = 100, .n_new = 3}, {.n_new = 1}};
    fixture f;
    fixture_open(&f, 1);
    f.step.cache = NULL;
    f.batch.tokens = tokens;
    f.batch.row_seq = row_seq;
    f.batch.row_position = row_position;
    f.batch.seq_first_row = first;
    f.batch.seqs = seqs;
    f.out.row = 3;
    f.out.temperature = 0;
    f.out.presence = 10;
    CHECK(sample(&f, x, 4, NULL) == 1 && f.result.position == 102);
    f.out.penalty_from = 102;
    CHECK(sample(&f, x, 4, NULL) == 3);
    fixture_close(&f);
}

static void test_bias_and_mask(void) {
    float x[70];
    uint32_t masks[2][3];
    for (uint32_t i = 0; i < 70; i++) x[i] = (float)(i % 7);
    fixture f;
    fixture_open(&f, 1);
    f.out.temperature = 0;
    f.out.bias_n = 2;
    f.out.bias_first = 1;
    f.bias[0] = (rz_batch_bias){5, 100}; /* another out's */
    f.bias[1] = (rz_batch_bias){6, -INFINITY};
    f.bias[2] = (rz_batch_bias){13, -0.5f};
    CHECK(sample(&f, x, 70, NULL) == 20);
    f.bias[2] = (rz_batch_bias){69, 0.5f};
    CHECK(sample(&f, x, 70, NULL) == 69);
    f.bias[2] = (rz_batch_bias){4000000000u, 1.5f}; /* not of this vocabulary */
    CHECK(sample(&f, x, 70, NULL) == 13);

    f.out.bias_n = 0;
    f.out.mask = 2;
    memset(masks, 0xFF, sizeof masks);
    masks[1][0] = 0;
    masks[1][1] = 1u << 5 | 1u << 9;  /* 37: 2, 41: 6 */
    masks[1][2] = 1u << 1 | 1u << 31; /* 65: 2; bits past the vocabulary don't matter */
    CHECK(sample(&f, x, 70, masks[0]) == 41);
    CHECK_NEAR(f.result.logprob, 6 - log(10 * (1 + exp(1) + exp(2) + exp(3) + exp(4) + exp(5) + exp(6))), 1e-5);
    f.out.temperature = 1;
    uint32_t seen[70] = {0};
    for (uint32_t i = 0; i < 600; i++) {
        f.out.draw_position = i;
        f.out.top_p = i % 2 ? 1 : 0.99999f;
        f.out.top_k = i % 4 ? 0 : 60; /* more than the mask leaves */
        f.out.typical_p = i % 3 ? 1 : 0.99999f;
        seen[sample(&f, x, 70, masks[0])]++;
    }
    CHECK(seen[37] > 0 && seen[65] > 0 && seen[41] > 500 && seen[37] + seen[65] + seen[41] == 600);

    masks[1][1] = masks[1][2] = 0;
    CHECK(sample(&f, x, 70, masks[0]) == -1 && f.result.flags == RZ_RESULT_EMPTY_MASK);
    f.out.temperature = 0;
    CHECK(sample(&f, x, 70, masks[0]) == -1 && f.result.flags == RZ_RESULT_EMPTY_MASK);
    masks[1][2] = 1u << 30; /* only past the vocabulary */
    CHECK(sample(&f, x, 70, masks[0]) == -1 && f.result.flags == RZ_RESULT_EMPTY_MASK);
    fixture_close(&f);
}

static void test_log_probabilities(void) {
    static float x[1500];
    static rz_ranked all[1500];
    fixture f;
    fixture_open(&f, 1);
    for (uint32_t round = 0; round < 40; round++) {
        const uint32_t n = 1 + random_u32() % 1500;
        double sum = 0;
        for (uint32_t i = 0; i < n; i++) {
            x[i] = round % 2 ? random_normal() * 5 : (float)(random_u32() % 9);
            all[i] = (rz_ranked){x[i], i};
            sum += exp((double)x[i]);
        }
        qsort(all, n, sizeof *all, best_first);
        f.out = plain;
        f.out.temperature = 0.3f; /* must not matter */
        f.out.top_k = 3;
        f.out.n_top = (uint16_t)(random_u32() % 257);
        f.out.target = random_u32() % n;
        f.out.mode = round % 4 == 0 ? RZ_OUT_TARGET : round % 4 == 1 ? RZ_OUT_LOGITS : RZ_OUT_SAMPLE | RZ_OUT_TARGET;
        const int32_t token = sample(&f, x, n, NULL);
        CHECK((token >= 0) == (round % 4 > 1));
        const uint32_t n_top = f.out.n_top < n ? f.out.n_top : n;
        CHECK(f.result.n_top == n_top);
        for (uint32_t t = 0; t < n_top; t++) {
            CHECK(f.tops[t].token == all[t].id);
            CHECK_NEAR(f.tops[t].logprob, (double)all[t].x - log(sum), 2e-6);
        }
        for (uint32_t t = n_top; t < f.out.n_top; t++) CHECK(f.tops[t].token == 0 && f.tops[t].logprob == 0);
        const double expected = (double)x[token >= 0 ? (uint32_t)token : f.out.target] - log(sum);
        CHECK_NEAR(f.result.logprob, round % 4 == 1 ? 0 : expected, 2e-6);
    }
    fixture_close(&f);
}

/* Outs share rows, scratch and the tops array: each is answered as if it were alone. */
static void test_many_outs(void) {
    enum { N = 500, OUTS = 12 };
    static float x[2][N];
    static rz_batch_out outs[OUTS];
    static rz_result_out results[OUTS];
    static rz_result_top tops[OUTS * 8];
    uint32_t row_seq[2] = {0, 0}, row_position[2] = {4, 5}, out_row[OUTS], n_tops = 0;
    fixture f;
    fixture_open(&f, 6);
    for (uint32_t i = 0; i < 2 * N; i++) x[i / N][i % N] = random_normal() * 2;
    for (uint32_t i = 0; i < OUTS; i++) {
        outs[i] = plain;
        outs[i].row = out_row[i] = i % 2;
        outs[i].temperature = i % 3 ? 1 : 0;
        outs[i].top_k = i % 4 ? 0 : 20;
        outs[i].top_p = i % 5 ? 0.9f : 1;
        outs[i].presence = i % 6 ? 0 : 1;
        outs[i].draw_position = row_position[i % 2] + 1;
        outs[i].seed_lo = i;
        outs[i].n_top = (uint16_t)(i % 8);
        n_tops += i % 8;
    }
    f.header.n_outs = OUTS;
    f.batch.outs = outs;
    f.batch.out_row = out_row;
    f.batch.row_seq = row_seq;
    f.batch.row_position = row_position;
    CHECK(rz_sample_outs(x[0], N, &f.step, NULL, f.scratch, results, tops) == RZ_OK);
    for (uint32_t i = 0, first = 0; i < OUTS; i++) {
        rz_result_out alone;
        rz_result_top alone_tops[8];
        memset(f.scratch, i, rz_sample_scratch_bytes(N)); /* nothing is expected of the scratch */
        rz_sample_out(x[i % 2], N, &f.step, i, NULL, rz_exp_sum, f.scratch, &alone, alone_tops);
        CHECK(results[i].top_first == first);
        alone.top_first = first;
        CHECK(memcmp(&alone, &results[i], sizeof alone) == 0);
        CHECK(memcmp(alone_tops, tops + first, outs[i].n_top * sizeof *tops) == 0);
        first += outs[i].n_top;
        CHECK(i + 1 < OUTS || first == n_tops);
    }
    /* Three tokens cannot fill eight places: the next out's places are where they were. */
    outs[0].n_top = outs[1].n_top = 8;
    f.header.n_outs = 2;
    CHECK(rz_sample_outs(x[0], 3, &f.step, NULL, f.scratch, results, tops) == RZ_OK);
    CHECK(results[0].n_top == 3 && results[1].n_top == 3 && results[0].top_first == 0 && results[1].top_first == 8);
    CHECK(tops[8].logprob < 0 && tops[3].logprob == 0);
    atomic_uint cancel = 1;
    f.step.cancel = &cancel;
    CHECK(rz_sample_outs(x[0], N, &f.step, NULL, f.scratch, results, tops) == RZ_E_CANCELLED);
    fixture_close(&f);
}

/* The best of a row, in place of the row, decide what rz_sample_by_best says they do. Coarse values: ties abound. */
static void test_best_of_a_row(void) {
    enum { N = 3000, BEST = 64 };
    static float x[N];
    static rz_ranked all[N];
    fixture f;
    fixture_open(&f, 6);
    uint32_t n_decided = 0;
    for (uint32_t round = 0; round < 2000; round++) {
        const uint32_t n = round % 3 ? N : 1 + random_u32() % 100;
        const uint32_t n_best = n < BEST ? n : BEST;
        double sum = 0;
        for (uint32_t i = 0; i < n; i++) x[i] = roundf(random_normal() * 64) / (round % 2 ? 16.0f : 4.0f);
        for (uint32_t i = 0; i < n; i++) {
            all[i] = (rz_ranked){x[i], i};
            sum += exp((double)x[i]);
        }
        qsort(all, n, sizeof *all, best_first);
        f.out = plain;
        f.out.mode = round % 11 ? RZ_OUT_SAMPLE : RZ_OUT_LOGITS;
        f.out.temperature = round % 7 ? 0.25f * (float)(1 + random_u32() % 8) : 0;
        f.out.top_k = random_u32() % 80;
        f.out.top_p = round % 4 ? 0.9f : 1;
        f.out.min_p = round % 5 ? 0.05f : 0;
        f.out.typical_p = round % 6 ? 1 : 0.8f;
        f.out.presence = round % 13 ? 0 : 1;
        f.out.n_top = (uint16_t)(random_u32() % 70);
        f.out.seed_lo = round;
        const bool decides = f.out.n_top <= n_best && (f.out.mode == RZ_OUT_LOGITS || (f.out.presence == 0 &&
                             (f.out.temperature == 0 || (f.out.top_k > 0 && f.out.top_k <= n_best))));
        CHECK(rz_sample_by_best(&f.out, n_best) == decides);
        if (!decides) continue;
        n_decided++;
        sample(&f, x, n, NULL);
        rz_result_out result;
        rz_result_top tops[256];
        const rz_best best = {.items = all, .n = n_best, .log_total = log(sum)};
        rz_sample_best(&best, n, &f.step, 0, f.scratch, &result, tops);
        CHECK(result.token == f.result.token && result.flags == f.result.flags && result.n_top == f.result.n_top);
        CHECK_NEAR(result.logprob, f.result.logprob, 1e-5);
        for (uint32_t t = 0; t < result.n_top; t++) {
            CHECK(tops[t].token == f.tops[t].token);
            CHECK_NEAR(tops[t].logprob, f.tops[t].logprob, 1e-5);
        }
    }
    CHECK(n_decided > 500);
    fixture_close(&f);
}

/* Any bits in any parameter: an id of the vocabulary or a flag, and an end. */
static void test_hostile_parameters(void) {
    static float x[600];
    const float values[] = {NAN, INFINITY, -INFINITY, 0, -0.0f, -1, FLT_MAX, -FLT_MAX, FLT_TRUE_MIN, 1e-30f, 1, 0.5f};
    const uint32_t n_values = sizeof values / sizeof *values;
    fixture f;
    fixture_open(&f, 60);
    for (uint32_t round = 0; round < 6000; round++) {
        const uint32_t n = 1 + random_u32() % 600;
        const float scale = round % 5 ? 3.0f : 1e38f;
        for (uint32_t i = 0; i < n; i++) x[i] = random_normal() * scale / 8;
        float *parameters[] = {&f.out.temperature, &f.out.top_p,      &f.out.min_p,    &f.out.typical_p,
                               &f.out.repetition,  &f.out.presence,   &f.out.frequency, &f.bias[0].bias};
        for (uint32_t i = 0; i < 8; i++) {
            const uint32_t bits = random_u32();
            *parameters[i] = values[random_u32() % n_values];
            if (round % 4 == 0) memcpy(parameters[i], &bits, sizeof bits);
        }
        f.out.top_k = round % 3 ? random_u32() : random_u32() % n;
        f.out.bias_n = round % 2;
        f.bias[0].token = random_u32() % n;
        f.out.penalty_from = round % 6 ? 0 : random_u32();
        for (uint32_t i = 0; i < N_PAGES * PAGE_TOKENS; i++) f.ids[i] = (int32_t)(random_u32() >> (round % 32));
        const int32_t token = sample(&f, x, n, NULL);
        CHECK(token == -1 ? f.result.flags != 0 : (uint32_t)token < n && f.result.flags == 0);
    }
    fixture_close(&f);
}

int main(void) {
    test_greedy();
    test_nonfinite();
    test_penalties();
    test_penalties_without_cache();
    test_bias_and_mask();
    test_log_probabilities();
    test_many_outs();
    test_best_of_a_row();
    test_hostile_parameters();
    return TEST_RESULT("sample");
}
