/* sample_filters_test.c - the sampler's filters and draws against sample_reference.h, by hand, and by chi-squared. */
#include "philox.h"
#include "sample_reference.h"

/* Random rows and filters: the token drawn is the reference's for the same random number. */
static void test_filters(void) {
    static float x[VOCAB_MAX];
    static double d[VOCAB_MAX], p[VOCAB_MAX];
    fixture f;
    fixture_open(&f, 1);
    uint32_t n_compared = 0;
    for (uint32_t round = 0; round < 4000; round++) {
        const uint32_t n = round % 8 ? 1 + random_u32() % 300 : 1 + random_u32() % VOCAB_MAX;
        const float spread = (float)(random_unit() * 6);
        for (uint32_t i = 0; i < n; i++) {
            x[i] = round % 3 ? random_normal() * spread : (float)(random_u32() % 6); /* ties */
            d[i] = (double)x[i];
        }
        f.out = plain;
        f.out.temperature = (float)(0.05 + 2 * random_unit());
        if (random_u32() % 2) f.out.top_k = 1 + random_u32() % (n + 2);
        if (random_u32() % 3 == 0) f.out.top_p = (float)random_unit();
        if (random_u32() % 3 == 0) f.out.typical_p = (float)random_unit();
        if (random_u32() % 3 == 0) f.out.min_p = (float)random_unit();
        f.out.seed_lo = random_u32();
        f.out.seed_hi = random_u32();
        f.out.draw_position = random_u32();
        double margin = reference(d, n, &f.out, p);
        const double u = rz_philox_uniform(f.out.seed_lo, f.out.seed_hi, f.out.draw_position);
        const uint32_t expected = invert(p, n, u, &margin);
        const int32_t token = sample(&f, x, n, NULL);
        CHECK(token >= 0 && (uint32_t)token < n);
        if (margin < 1e-6) continue; /* F32 may decide either way */
        n_compared++;
        CHECK(token == (int32_t)expected);
        CHECK(p[token] > 0);
        CHECK(f.result.flags == 0);
    }
    CHECK(n_compared > 3000);
    fixture_close(&f);
}

/* Each filter by hand, on probabilities 0.4, 0.3, 0.2, 0.1 (ids 2, 0, 3, 1): which tokens can be drawn. */
static void test_filters_by_hand(void) {
    const float x[4] = {logf(0.3f), logf(0.1f), logf(0.4f), logf(0.2f)};
    const struct {
        rz_batch_out out;
        uint32_t drawn; /* bits */
    } cases[] = {
        {{.top_p = 1, .typical_p = 1}, 15},
        {{.top_p = 1, .typical_p = 1, .top_k = 2}, 5},
        {{.top_p = 1, .typical_p = 1, .top_k = 4}, 15},
        {{.top_p = 0.65f, .typical_p = 1}, 5},
        {{.top_p = 0.75f, .typical_p = 1}, 13},
        {{.top_p = 0, .typical_p = 1}, 4},
        {{.top_p = 1, .typical_p = 1, .min_p = 0.45f}, 13},
        {{.top_p = 1, .typical_p = 1, .min_p = 1}, 4},
        /* entropy 1.280; surprises 1.204 (0), 2.303 (1), 0.916 (2), 1.609 (3): nearest 0, then 3, 2, 1 */
        {{.top_p = 1, .typical_p = 0.2f}, 1},
        {{.top_p = 1, .typical_p = 0.45f}, 9},
        {{.top_p = 1, .typical_p = 0.85f}, 13},
        /* top-k leaves 0.57, 0.43: entropy 0.683, surprises 0.847 (0), 0.560 (2): nearest 2 */
        {{.top_p = 1, .typical_p = 0.3f, .top_k = 2}, 4},
        /* typical leaves 0.6, 0.4: then top-p sees these */
        {{.top_p = 0.55f, .typical_p = 0.45f}, 1},
    };
    fixture f;
    fixture_open(&f, 1);
    for (uint32_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        uint32_t drawn = 0;
        for (uint32_t i = 0; i < 400; i++) {
            f.out = cases[c].out;
            f.out.mode = RZ_OUT_SAMPLE;
            f.out.temperature = 1;
            f.out.repetition = 1;
            f.out.draw_position = i;
            drawn |= 1u << sample(&f, x, 4, NULL);
        }
        CHECK(drawn == cases[c].drawn);
    }
    fixture_close(&f);
}

/* Pearson's statistic of 20,000 draws stays below what chance exceeds once in a million (12 to 15 degrees: 58). */
static void test_chi_squared(void) {
    enum { N = 16, DRAWS = 20000 };
    float x[N];
    for (uint32_t i = 0; i < N; i++) x[i] = random_normal();
    const rz_batch_out settings[] = {
        {.temperature = 1, .top_p = 1, .typical_p = 1},
        {.temperature = 0.5f, .top_p = 1, .typical_p = 1},
        {.temperature = 2, .top_p = 1, .typical_p = 1, .top_k = 13},
        {.temperature = 1.5f, .top_p = 0.95f, .typical_p = 1},
        {.temperature = 1, .top_p = 1, .typical_p = 0.95f},
        {.temperature = 3, .top_p = 1, .typical_p = 1, .min_p = 0.02f},
    };
    fixture f;
    fixture_open(&f, 1);
    for (uint32_t s = 0; s < sizeof settings / sizeof *settings; s++) {
        uint32_t seen[N] = {0};
        double d[N], p[N], statistic = 0;
        f.out = settings[s];
        f.out.mode = RZ_OUT_SAMPLE;
        f.out.repetition = 1;
        f.out.seed_hi = s;
        for (uint32_t i = 0; i < DRAWS; i++) {
            f.out.seed_lo = i / 100; /* both the seed and the position move */
            f.out.draw_position = i % 100;
            seen[sample(&f, x, N, NULL)]++;
        }
        for (uint32_t i = 0; i < N; i++) d[i] = (double)x[i];
        reference(d, N, &f.out, p);
        for (uint32_t i = 0; i < N; i++) {
            if (p[i] == 0) CHECK(seen[i] == 0);
            else statistic += pow(seen[i] - p[i] * DRAWS, 2) / (p[i] * DRAWS);
        }
        CHECK(statistic < 58 && statistic > 0.5); /* nor too good to be true */
    }
    fixture_close(&f);
}

/* Same logits, seed and position: same token; another seed or position: other tokens. */
static void test_counter_based(void) {
    static float x[400];
    fixture f;
    fixture_open(&f, 1);
    for (uint32_t i = 0; i < 400; i++) x[i] = random_normal();
    uint32_t same_seed = 0, same_position = 0;
    for (uint32_t i = 0; i < 200; i++) {
        f.out.draw_position = i;
        f.out.seed_hi = 3;
        const int32_t token = sample(&f, x, 400, NULL);
        CHECK(sample(&f, x, 400, NULL) == token);
        f.out.draw_position = i + 1000;
        same_seed += sample(&f, x, 400, NULL) == token;
        f.out.draw_position = i;
        f.out.seed_hi = 4;
        same_position += sample(&f, x, 400, NULL) == token;
    }
    CHECK(same_seed < 20 && same_position < 20);
    fixture_close(&f);
}

int main(void) {
    test_filters();
    test_filters_by_hand();
    test_chi_squared();
    test_counter_based();
    return TEST_RESULT("sample_filters");
}
