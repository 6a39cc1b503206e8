/* step_test.c - the queue: order, results, depth, cancel, run-ahead, held sampling, `after`, reading, closing. */
#include "core_fixture.h"

static void test_tokens(void) {
    rig r;
    CHECK(rig_open(&r) == 0);
    const int32_t first = submit_decode(&r, 0, 0, 5, 0, 0);
    CHECK(first == 1);
    CHECK(token_of(&r, first) == 6);
    const int32_t second = submit_decode(&r, 0, 1, -1, 0, (uint32_t)first); /* the last sample: 6 */
    CHECK(second == 2);
    CHECK(token_of(&r, second) == FAKE_NAN);
    const int32_t third = submit_decode(&r, 0, 2, -1, 0, 0); /* 7 has no logits */
    result out;
    CHECK(wait_for(&r, third, &out) > 0);
    CHECK(out.outs[0].token == -1 && out.outs[0].flags == RZ_RESULT_NONFINITE);
    CHECK(out.header.ticket == 3 && out.header.status == 0 && out.header.n_outs == 1 && out.outs[0].position == 2);
    const int32_t fourth = submit_decode(&r, 0, 3, -1, 0, 0); /* so there is no last sample now */
    CHECK(wait_for(&r, fourth, &out) > 0);
    CHECK(out.outs[0].token == -1 && (out.outs[0].flags & RZ_RESULT_NO_INPUT) != 0);
    CHECK(rz_step_wait(r.engine, (uint32_t)fourth, 0, (uint8_t *)&out, sizeof out) == -RZ_E_ARG); /* told once */
    CHECK(rz_step_wait(r.engine, 99, 0, (uint8_t *)&out, sizeof out) == -RZ_E_ARG);
    rig_close(&r);
    CHECK(nothing_is_left());
}

static void test_order_and_depth(void) {
    rig r;
    CHECK(rig_open(&r) == 0);
    const uint32_t before = atomic_load(&fake_forwards);
    CHECK(rz_test_hold(50) == 0);
    int32_t tickets[4];
    for (int i = 0; i < 4; i++) {
        tickets[i] = submit_decode(&r, (uint32_t)i, 0, 10 * i, 0, 0);
        CHECK(tickets[i] == i + 1);
    }
    CHECK(submit_decode(&r, 4, 0, 1, 0, 0) == -RZ_E_BUSY);
    result out;
    CHECK(rz_step_wait(r.engine, (uint32_t)tickets[3], 0, (uint8_t *)&out, sizeof out) == 0);
    CHECK(token_of(&r, tickets[3]) == 31);
    CHECK(submit_decode(&r, 4, 0, 1, 0, 0) == 5);
    CHECK(submit_decode(&r, 5, 0, 1, 0, 0) == -RZ_E_BUSY);
    for (int i = 0; i < 3; i++) CHECK(token_of(&r, tickets[i]) == 10 * i + 1);
    CHECK(token_of(&r, 5) == 2);
    for (uint32_t i = 0; i < 4; i++) CHECK(atomic_load(&fake_log[(before + i) % FAKE_LOG]) == (int)(10 * i));
    rig_close(&r);
    CHECK(nothing_is_left());
}

static void test_small_result(void) {
    rig r;
    CHECK(rig_open(&r) == 0);
    const int32_t t = submit_decode(&r, 0, 0, 5, 0, 0);
    uint8_t small[63];
    int32_t n = 0;
    while (n == 0) n = rz_step_wait(r.engine, (uint32_t)t, 1000, small, sizeof small);
    CHECK(n == -RZ_E_ARG);
    CHECK(token_of(&r, t) == 6); /* not spent */
    rig_close(&r);
}

static void test_cancel(void) {
    rig r;
    CHECK(rig_open(&r) == 0);
    CHECK(rz_test_hold(WAIT_MS) == 0);
    const int32_t a = submit_decode(&r, 0, 0, 1, 0, 0), b = submit_decode(&r, 1, 0, 2, 0, 0);
    const int32_t c = submit_decode(&r, 0, 1, -1, 0, (uint32_t)a), d = submit_decode(&r, 2, 0, 3, 0, (uint32_t)b);
    CHECK(rz_step_cancel(r.engine, (uint32_t)b) == 0); /* queued: ends at once */
    CHECK(token_of(&r, b) == -1000 - RZ_E_CANCELLED);
    CHECK(rz_step_cancel(r.engine, (uint32_t)a) == 0); /* running */
    CHECK(token_of(&r, a) == -1000 - RZ_E_CANCELLED);
    CHECK(token_of(&r, c) == -1000 - RZ_E_CANCELLED); /* came after a */
    CHECK(token_of(&r, d) == -1000 - RZ_E_CANCELLED);
    CHECK(submit_decode(&r, 0, 0, 1, 0, (uint32_t)a) == 5); /* a is told, but known to have failed */
    CHECK(token_of(&r, 5) == -1000 - RZ_E_CANCELLED);
    CHECK(submit_decode(&r, 0, 0, 1, 0, 77) == -RZ_E_ARG);
    CHECK(rz_step_cancel(r.engine, 12345) == 0);
    CHECK(rz_test_hold(WAIT_MS) == 0);
    const int32_t e = submit_decode(&r, 0, 0, 1, 0, 0), f = submit_decode(&r, 1, 0, 1, 0, 0);
    CHECK(rz_step_cancel(r.engine, 0) == 0);
    CHECK(token_of(&r, f) == -1000 - RZ_E_CANCELLED);
    CHECK(token_of(&r, e) == -1000 - RZ_E_CANCELLED);
    CHECK(rz_test_hold(0) == 0); /* e may have ended before it ran */
    CHECK(token_of(&r, submit_decode(&r, 0, 0, 1, 0, 0)) == 2);
    rig_close(&r);
    CHECK(nothing_is_left());
}

static void test_failures_are_told(void) {
    rig r;
    CHECK(rig_open(&r) == 0);
    atomic_store(&fake_fails, true);
    const int32_t a = submit_decode(&r, 0, 0, 1, 0, 0), b = submit_decode(&r, 0, 1, -1, 0, (uint32_t)a);
    CHECK(token_of(&r, a) == -1000 - RZ_E_DEVICE);
    uint8_t message[64];
    const uint32_t n = rz_error_read(message, sizeof message);
    CHECK(n == strlen("fake: fails as asked") && memcmp(message, "fake: fails as asked", n) == 0);
    CHECK(token_of(&r, b) == -1000 - RZ_E_CANCELLED);
    atomic_store(&fake_fails, false);
    rig_close(&r);
}

static void test_held_sampling(void) {
    rig r;
    CHECK(rig_open(&r) == 0);
    uint32_t masks[3] = {0, 0, 1u << 3}; /* only token 67 */
    static batch b;
    batch_begin(&b);
    b.header.flags = RZ_BATCH_HOLD_SAMPLE;
    batch_seq(&b, 0, 0, 1, 1, 5);
    batch_out(&b, 0, RZ_OUT_SAMPLE)->mask = 1;
    const int32_t t = submit(&r, &b);
    CHECK(t == 1);
    const int32_t next = submit_decode(&r, 0, 1, -1, 0, (uint32_t)t);
    result out;
    CHECK(rz_step_wait(r.engine, 1, 20, (uint8_t *)&out, sizeof out) == 0);
    uint8_t page[8192];
    CHECK(rz_cache_read(r.cache, 0, 1, page, sizeof page) == -RZ_E_BUSY); /* it would wait for itself */
    CHECK(rz_step_sample(r.engine, 1, masks, 8) == -RZ_E_ARG);
    CHECK(rz_step_sample(r.engine, 1, NULL, 0) == -RZ_E_ARG); /* a mask is wanted */
    CHECK(rz_step_sample(r.engine, (uint32_t)next, masks, 12) == -RZ_E_ARG);
    CHECK(rz_step_sample(r.engine, 1, masks, 12) == 0);
    CHECK(rz_step_sample(r.engine, 1, masks, 12) == -RZ_E_ARG);
    CHECK(token_of(&r, t) == 67);
    CHECK(token_of(&r, next) == 68);
    b.header.flags = RZ_BATCH_HOLD_SAMPLE;
    const int32_t empty = submit(&r, &b);
    masks[2] = 0;
    CHECK(rz_step_sample(r.engine, (uint32_t)empty, masks, 12) == 0); /* before the forward, perhaps */
    CHECK(wait_for(&r, empty, &out) > 0);
    CHECK(out.outs[0].token == -1 && out.outs[0].flags == RZ_RESULT_EMPTY_MASK);
    const int32_t held = submit(&r, &b);
    CHECK(rz_step_cancel(r.engine, (uint32_t)held) == 0);
    CHECK(token_of(&r, held) == -1000 - RZ_E_CANCELLED);
    submit(&r, &b); /* held when the engine closes */
    rig_close(&r);
    CHECK(nothing_is_left());
}

static void test_read(void) {
    rig r;
    CHECK(rig_open(&r) == 0);
    float logits[2 * FAKE_VOCAB];
    const uint32_t v = r.info.logits_value;
    const int32_t t = submit_decode(&r, 0, 0, 5, 0, 0);
    CHECK(rz_step_read(r.engine, 1, v, 0, 1, logits, 2 * FAKE_VOCAB) == -RZ_E_ARG); /* not waited for */
    CHECK(token_of(&r, t) == 6);
    CHECK(rz_step_read(r.engine, 1, v, 0, 1, logits, 2 * FAKE_VOCAB) == (int32_t)FAKE_VOCAB);
    CHECK(logits[6] == 10 && logits[5] == 0);
    CHECK(rz_step_read(r.engine, 1, v, 0, 2, logits, 2 * FAKE_VOCAB) == -RZ_E_ARG); /* there is one row */
    CHECK(rz_step_read(r.engine, 1, v, 1, 0, logits, 0) == 0);
    CHECK(rz_step_read(r.engine, 1, v, 0, 1, logits, FAKE_VOCAB - 1) == -RZ_E_ARG);
    CHECK(rz_step_read(r.engine, 1, 1, 0, 1, logits, 2 * FAKE_VOCAB) == -RZ_E_ARG); /* not an output */
    CHECK(rz_step_read(r.engine, 1, 0, 0, 1, logits, 2 * FAKE_VOCAB) == -RZ_E_ARG);
    CHECK(rz_step_read(r.engine, 1, 1000, 0, 1, logits, 2 * FAKE_VOCAB) == -RZ_E_ARG);
    const int32_t next = submit_decode(&r, 0, 1, -1, 0, 0);
    CHECK(rz_step_read(r.engine, 1, v, 0, 1, logits, 2 * FAKE_VOCAB) == -RZ_E_ARG); /* the plan went on */
    CHECK(token_of(&r, next) == 7);
    CHECK(rz_step_read(r.engine, 2, v, 0, 1, logits, 2 * FAKE_VOCAB) == (int32_t)FAKE_VOCAB);
    rig_close(&r);
}

/* A fork: page 1 of slot 0 is copied to page 3, and its ids with it. */
static void test_pages(void) {
    rig r;
    CHECK(rig_open(&r) == 0);
    static batch b;
    static uint8_t page[8192], other[8192];
    const int32_t bytes = rz_cache_read(r.cache, 0, 1, page, sizeof page);
    CHECK(bytes == (int32_t)(PAGE * 32 * 4 + PAGE * 4)); /* keys, values, ids */
    batch_begin(&b);
    batch_seq(&b, 0, 0, 5, 1, 20);
    batch_out(&b, 4, RZ_OUT_SAMPLE);
    CHECK(token_of(&r, submit(&r, &b)) == 25);
    CHECK(rz_cache_read(r.cache, 0, 1, page, sizeof page) == bytes);
    const int32_t *ids = (const int32_t *)(const void *)(page + PAGE * 32 * 4);
    for (int i = 0; i < 5; i++) CHECK(ids[i] == 20 + i);
    memset(page, 0x5A, PAGE * 32 * 4);
    CHECK(rz_cache_write(r.cache, 0, 1, page, (uint32_t)bytes) == bytes);
    batch_begin(&b);
    b.copies[b.header.n_copies++] = (rz_batch_copy){.group = 0, .src_page = 1, .dst_page = 3, .n_tokens = 5};
    batch_seq(&b, 1, 5, 1, 3, 40);
    batch_out(&b, 0, RZ_OUT_SAMPLE);
    CHECK(token_of(&r, submit(&r, &b)) == 41);
    CHECK(rz_cache_read(r.cache, 0, 3, other, sizeof other) == bytes);
    CHECK(memcmp(page, other, PAGE * 32 * 4) == 0);
    ids = (const int32_t *)(const void *)(other + PAGE * 32 * 4);
    for (int i = 0; i < 5; i++) CHECK(ids[i] == 20 + i);
    CHECK(ids[5] == 40);
    CHECK(rz_cache_read(r.cache, 0, 0, page, sizeof page) == -RZ_E_ARG);
    CHECK(rz_cache_read(r.cache, 1, 1, page, sizeof page) == -RZ_E_ARG);
    CHECK(rz_cache_read(r.cache, 0, PAGES, page, sizeof page) == -RZ_E_ARG);
    CHECK(rz_cache_read(r.cache, 0, 1, page, (uint32_t)bytes - 1) == -RZ_E_ARG);
    CHECK(rz_cache_write(r.cache, 0, 1, page, (uint32_t)bytes - 1) == -RZ_E_ARG);
    rig_close(&r);
}

/* Several outs: rows are distinct and ascending whatever the order, the last sample of the sequence counts. */
static void test_rows(void) {
    rig r;
    CHECK(rig_open(&r) == 0);
    static batch b;
    batch_begin(&b);
    batch_seq(&b, 0, 0, 4, 1, 30);
    batch_seq(&b, 1, 0, 2, 3, 50);
    batch_out(&b, 5, RZ_OUT_SAMPLE);
    batch_out(&b, 3, RZ_OUT_LOGITS);
    batch_out(&b, 2, RZ_OUT_TARGET)->target = 33;
    batch_out(&b, 3, RZ_OUT_SAMPLE)->n_top = 2;
    result out;
    CHECK(wait_for(&r, submit(&r, &b), &out) == 32 + 4 * 32 + 2 * 8);
    CHECK(out.outs[0].token == 52 && out.outs[1].token == -1 && out.outs[3].token == 34);
    CHECK(out.outs[0].position == 1 && out.outs[1].position == 3 && out.outs[2].position == 2);
    CHECK(out.outs[3].top_first == 0 && out.outs[3].n_top == 2 && out.header.n_top_total == 2);
    CHECK(out.outs[2].logprob > -0.01f && out.outs[2].logprob <= 0); /* 33 is the likely one after 32 */
    float logits[3 * FAKE_VOCAB];
    CHECK(rz_step_read(r.engine, 1, r.info.logits_value, 0, 3, logits, 3 * FAKE_VOCAB) == 3 * FAKE_VOCAB);
    CHECK(logits[33] == 10 && logits[FAKE_VOCAB + 34] == 10 && logits[2 * FAKE_VOCAB + 52] == 10);
    CHECK(token_of(&r, submit_decode(&r, 0, 4, -1, 0, 0)) == 35);
    rig_close(&r);
    CHECK(atomic_load(&fake_bad_tokens) == 0);
}

int main(void) {
    test_tokens();
    test_order_and_depth();
    test_small_result();
    test_cancel();
    test_failures_are_told();
    test_held_sampling();
    test_read();
    test_pages();
    test_rows();
    CHECK(nothing_is_left());
    return TEST_RESULT("step");
}
