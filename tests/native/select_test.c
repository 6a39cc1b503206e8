/* select_test.c - the sampler's parts: Philox against its published vectors, the exponential against libm, finding the
 * largest values against a sort. */
#include "exp_f32.h"
#include "philox.h"
#include "sample_fixture.h"
#include <float.h>

/* Random123's published known answers for philox4x32-10. */
static void test_philox(void) {
    static const struct {
        uint32_t counter[4], key[2], answer[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t words[4];
        memcpy(words, known[i].counter, sizeof words);
        rz_philox(words, known[i].key[0], known[i].key[1]);
        CHECK(memcmp(words, known[i].answer, sizeof words) == 0);
    }
    CHECK(rz_philox_uniform(0, 0, 0) == (double)(0xe169c58d6627e8d5u >> 11) / 9007199254740992.0);
    double sum = 0;
    for (uint32_t i = 0; i < 10000; i++) {
        const double u = rz_philox_uniform(1, 2, i);
        CHECK(u >= 0 && u < 1);
        sum += u;
    }
    CHECK_NEAR(sum / 10000, 0.5, 0.015); /* five deviations */
}

static void test_exp(void) {
    double worst = 0;
    for (int i = 0; i < 87000; i++) {
        const float x = (float)-i / 1000.0f;
        worst = fmax(worst, fabs((double)rz_exp_f32(x) / exp((double)x) - 1));
    }
    CHECK_NEAR(worst, 0, 2e-7);
    CHECK(rz_exp_f32(0.0f) == 1.0f && rz_exp_f32(-88.0f) == 0.0f && rz_exp_f32(-INFINITY) == 0.0f);
    CHECK(rz_exp_f32(NAN) == 0.0f && rz_exp_f32(-FLT_MAX) == 0.0f);
}

static void test_scan_and_top(void) {
    static float x[2000], block_max[32];
    static rz_ranked all[2000], heap[1024];
    for (uint32_t round = 0; round < 300; round++) {
        const uint32_t n = 1 + random_u32() % 1999;
        const uint32_t levels = 1 + random_u32() % 50; /* many ties in some rounds */
        for (uint32_t i = 0; i < n; i++) {
            x[i] = round % 2 ? random_normal() : (float)(random_u32() % levels) - 20.0f;
            if (round % 7 == 0) x[i] = (float)i; /* ascending: the worst case */
            all[i] = (rz_ranked){x[i], i};
        }
        qsort(all, n, sizeof *all, best_first);
        const rz_scan_result r = rz_scan(x, n, block_max);
        CHECK(r.finite && r.max == all[0].x && r.argmax == all[0].id);
        const uint32_t k = 1 + random_u32() % (n < 1024 ? n : 1024);
        rz_top(x, n, block_max, k, heap);
        CHECK(heap[0].id == all[k - 1].id);
        rz_top_sort(heap, k);
        bool equal = true;
        for (uint32_t i = 0; i < k; i++) equal = equal && heap[i].id == all[i].id && heap[i].x == all[i].x;
        CHECK(equal);
        const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
        x[random_u32() % n] = bad[round % 4];
        CHECK(!rz_scan(x, n, block_max).finite);
    }
    CHECK(rz_order_key(-0.0f) == rz_order_key(0.0f));
    CHECK(rz_order_key(-1.0f) < rz_order_key(-0.5f) && rz_order_key(-0.5f) < rz_order_key(0.0f));
    CHECK(rz_order_key(0.0f) < rz_order_key(FLT_MIN) && rz_order_key(FLT_MAX) < rz_order_key(INFINITY));
}

int main(void) {
    test_philox();
    test_exp();
    test_scan_and_top();
    return TEST_RESULT("select");
}
