/* batch_test.c - every rule of a batch, broken once: the status, and that nothing was changed. */
#include "core_fixture.h"

static rig r;
static batch b;
static uint32_t cache2; /* group 0: all, group 1: window 20 */
static int n_good;

/* Two sequences: 20 old tokens and 3 new ones on pages 1-2, 16 new ones on page 5; two outs. */
static void begin(void) {
    batch_begin(&b);
    batch_seq(&b, 0, 20, 3, 1, 10);
    batch_seq(&b, 3, 0, 16, 5, 30);
    batch_out(&b, 2, RZ_OUT_SAMPLE);
    batch_out(&b, 18, RZ_OUT_SAMPLE)->n_top = 3;
}

static int32_t send(uint32_t cache, uint32_t n_less) {
    const uint32_t n = batch_bytes(&b) - n_less;
    return rz_step_submit(r.plan, cache, b.bytes, n);
}

static void is_good(int32_t ticket, int line) {
    result out;
    test_n_checks++;
    if (ticket > 0 && wait_for(&r, ticket, &out) > 0) {
        n_good++;
        return;
    }
    uint8_t message[512] = {0};
    rz_error_read(message, 511);
    fprintf(stderr, "%s:%d: refused: %s\n", __FILE__, line, message);
    test_n_failed++;
}

#define REFUSED(change, status)                                                                                      \
    do {                                                                                                             \
        begin();                                                                                                     \
        change;                                                                                                      \
        CHECK(send(r.cache, 0) == -(status));                                                                        \
    } while (0)
#define ACCEPTED(change)                                                                                             \
    do {                                                                                                             \
        begin();                                                                                                     \
        change;                                                                                                      \
        is_good(send(r.cache, 0), __LINE__);                                                                         \
    } while (0)

static void test_header(void) {
    ACCEPTED((void)0);
    REFUSED(b.header.magic++, RZ_E_MAGIC);
    REFUSED(b.header.flags = 2, RZ_E_UNSUPPORTED);
    REFUSED(b.header.flags = 4, RZ_E_UNSUPPORTED);
    REFUSED(b.header.n_axes = 1, RZ_E_UNSUPPORTED);
    REFUSED(b.header.n_ext_rows = 1, RZ_E_UNSUPPORTED);
    REFUSED(b.header.reserved[3] = 1, RZ_E_ARG);
    REFUSED(b.header.n_seqs = 9, RZ_E_LIMIT);
    REFUSED(b.header.n_tokens = 65, RZ_E_LIMIT);
    REFUSED(b.header.n_outs = 17, RZ_E_LIMIT);
    REFUSED(b.header.n_copies = 65, RZ_E_LIMIT);
    REFUSED(b.header.after = 1000000, RZ_E_ARG);
    REFUSED(b.header.n_seqs = 0, RZ_E_ARG);
    REFUSED(b.header.n_tokens = 0, RZ_E_ARG);
    begin();
    CHECK(send(r.cache, 16) == -RZ_E_TRUNCATED); /* the header says more */
    const uint32_t n = batch_bytes(&b);
    for (uint32_t i = 0; i < 64; i++) CHECK(rz_step_submit(r.plan, r.cache, b.bytes, i) == -RZ_E_TRUNCATED);
    CHECK(rz_step_submit(r.plan, r.cache, NULL, 0) == -RZ_E_TRUNCATED);
    b.bytes[4] = (uint8_t)(n + 16); /* longer than its counts */
    CHECK(rz_step_submit(r.plan, r.cache, b.bytes, n + 16) == -RZ_E_TRUNCATED);
    b.bytes[4] = (uint8_t)(n - 16);
    CHECK(rz_step_submit(r.plan, r.cache, b.bytes, n - 16) == -RZ_E_TRUNCATED);
    static const uint32_t counts[] = {12, 16, 20, 24, 28, 32, 36, 40};
    for (int i = 0; i < 8; i++) { /* each count at its largest */
        batch_bytes(&b);
        memset(b.bytes + counts[i], 0xFF, 4);
        CHECK(rz_step_submit(r.plan, r.cache, b.bytes, n) < 0);
    }
    begin(); /* without outs and bias the tokens are last, and need no padding */
    b.header.n_outs = 0;
    b.header.n_tokens = 0, b.header.n_seqs = 1, b.header.n_pages = 2;
    b.seqs[0].n_new = 2;
    b.header.n_tokens = 2;
    const uint32_t whole = batch_bytes(&b);
    b.header.bytes = whole - 8;
    memcpy(b.bytes, &b.header, sizeof b.header);
    is_good(rz_step_submit(r.plan, r.cache, b.bytes, whole - 8), __LINE__);
}

static void test_sequences(void) {
    REFUSED(b.seqs[0].n_new = 0, RZ_E_ARG);
    REFUSED(b.seqs[0].n_new = 4, RZ_E_ARG); /* more rows than tokens */
    REFUSED(b.seqs[1].n_new = 15, RZ_E_ARG); /* fewer */
    REFUSED(b.seqs[1].n_new = 0xFFFFFFFFu, RZ_E_ARG);
    REFUSED(b.seqs[0].n_past = 0xFFFFFFFFu, RZ_E_ARG);
    REFUSED(b.seqs[0].n_past = 0x7FFFFFFFu, RZ_E_ARG);
    REFUSED(b.seqs[0].n_past = 0x7FFFFF00u, RZ_E_ARG); /* its table would not fit */
    REFUSED(b.seqs[0].n_past = 30, RZ_E_ARG);          /* needs three pages; the third would be the other's */
    REFUSED(b.seqs[0].flags = 1, RZ_E_ARG);
    REFUSED(b.seqs[0].reserved = 1, RZ_E_ARG);
    REFUSED(b.seqs[0].adapter = 1, RZ_E_UNSUPPORTED);
    REFUSED(b.seqs[0].rope_table = 1, RZ_E_UNSUPPORTED);
    REFUSED(b.seqs[0].slot = SLOTS, RZ_E_ARG);
    REFUSED(b.seqs[1].slot = 0, RZ_E_ARG); /* the other's */
    ACCEPTED(b.seqs[1].slot = SLOTS - 1);
    REFUSED(b.seqs[1].first_page = 3, RZ_E_ARG); /* beyond the section */
    REFUSED(b.seqs[1].first_page = 0xFFFFFFFFu, RZ_E_ARG);
    REFUSED(b.seqs[1].first_page = 1, RZ_E_ARG); /* page 2, which the first one writes */
}

static void test_pages(void) {
    REFUSED(b.pages[0] = 0, RZ_E_ARG); /* nothing is ever freed in a group without window */
    REFUSED(b.pages[1] = 0, RZ_E_ARG);
    REFUSED(b.pages[1] = PAGES, RZ_E_ARG);
    REFUSED(b.pages[0] = 0xFFFFFFFFu, RZ_E_ARG);
    REFUSED(b.pages[2] = 2, RZ_E_ARG); /* both would write page 2 */
    ACCEPTED(b.pages[2] = PAGES - 1);
    ACCEPTED(b.pages[0] = 9); /* any other page may be read */
    REFUSED((b.seqs[1].n_past = 1, b.pages[3] = 5, b.header.n_pages = 4), RZ_E_ARG); /* a page twice in one table */
    /* two groups; the second has a window of 20, so at n_past 40 positions from 21 on are needed */
    begin();
    b.seqs[0] = (rz_batch_seq){.slot = 0, .n_past = 40, .n_new = 3};
    b.seqs[1] = (rz_batch_seq){.slot = 3, .n_past = 0, .n_new = 16, .first_page = 6};
    static const uint32_t pages[] = {1, 2, 3, 0, 5, 6, 8, 8}; /* 3 and 3 entries, then 1 and 1 */
    memcpy(b.pages, pages, sizeof pages);
    b.header.n_pages = 8;
    is_good(send(cache2, 0), __LINE__);
    b.pages[4] = 0; /* positions 16-31 */
    CHECK(send(cache2, 0) == -RZ_E_ARG);
    b.pages[4] = 5;
    b.seqs[0].n_past = 34, b.seqs[0].n_new = 3; /* position 15 is needed */
    CHECK(send(cache2, 0) == -RZ_E_ARG);
    b.seqs[0].n_past = 35;
    is_good(send(cache2, 0), __LINE__);
    b.pages[7] = 6; /* group 1: both write page 6 */
    CHECK(send(cache2, 0) == -RZ_E_ARG);
    b.pages[7] = 4; /* which the null page's neighbour is not */
    b.pages[6] = 4;
    is_good(send(cache2, 0), __LINE__); /* the same number in two groups is two pages */
    b.pages[3] = 16; /* the second group has 16 pages */
    CHECK(send(cache2, 0) == -RZ_E_ARG);
}

static void one_copy(uint32_t group, uint32_t src, uint32_t dst, uint32_t n) {
    b.copies[b.header.n_copies++] = (rz_batch_copy){group, src, dst, n};
}

static void test_copies(void) {
    ACCEPTED(one_copy(0, 9, 10, 16));
    ACCEPTED(one_copy(0, 9, 2, 1)); /* a target that a sequence writes then */
    ACCEPTED((one_copy(0, 9, 10, 16), one_copy(0, 10, 11, 16)));
    REFUSED((one_copy(0, 9, 10, 16), one_copy(0, 8, 10, 16)), RZ_E_ARG);
    REFUSED(one_copy(1, 9, 10, 16), RZ_E_ARG);
    REFUSED(one_copy(0, 0, 10, 16), RZ_E_ARG);
    REFUSED(one_copy(0, 9, 0, 16), RZ_E_ARG);
    REFUSED(one_copy(0, PAGES, 10, 16), RZ_E_ARG);
    REFUSED(one_copy(0, 9, PAGES, 16), RZ_E_ARG);
    REFUSED(one_copy(0, 9, 9, 16), RZ_E_ARG);
    REFUSED(one_copy(0, 9, 10, 0), RZ_E_ARG);
    REFUSED(one_copy(0, 9, 10, 17), RZ_E_ARG);
}

static void test_tokens(void) {
    ACCEPTED(b.tokens[0] = FAKE_VOCAB - 1);
    ACCEPTED(b.tokens[0] = -1);
    REFUSED(b.tokens[0] = FAKE_VOCAB, RZ_E_ARG);
    REFUSED(b.tokens[18] = INT32_MAX, RZ_E_ARG);
    REFUSED(b.tokens[0] = -2, RZ_E_UNSUPPORTED);
    REFUSED(b.tokens[0] = INT32_MIN, RZ_E_UNSUPPORTED);
}

static void test_outs(void) {
    REFUSED(b.outs[0].row = 19, RZ_E_ARG);
    REFUSED(b.outs[0].mode = 0, RZ_E_ARG);
    REFUSED(b.outs[0].mode = 16, RZ_E_ARG);
    ACCEPTED(b.outs[0].mode = 15);
    REFUSED(b.outs[0].n_draft = 1, RZ_E_UNSUPPORTED);
    REFUSED(b.outs[0].n_top = 257, RZ_E_ARG);
    ACCEPTED(b.outs[0].n_top = 256);
    REFUSED(b.outs[0].reserved = 1, RZ_E_ARG);
    REFUSED((b.outs[0].mode = RZ_OUT_TARGET, b.outs[0].target = FAKE_VOCAB), RZ_E_ARG);
    ACCEPTED(b.outs[0].target = FAKE_VOCAB); /* not looked at */
    REFUSED(b.outs[0].mask = 1, RZ_E_ARG);   /* without HOLD_SAMPLE */
    REFUSED((b.outs[0].mask = 9, b.header.flags = RZ_BATCH_HOLD_SAMPLE), RZ_E_ARG);
    REFUSED(b.outs[0].bias_n = 1, RZ_E_ARG);
    REFUSED((b.header.n_bias = 4, b.outs[1].bias_first = 0xFFFFFFFFu, b.outs[1].bias_n = 2), RZ_E_ARG);
    ACCEPTED((b.header.n_bias = 4, b.outs[1].bias_first = 2, b.outs[1].bias_n = 2));
    ACCEPTED((b.header.n_bias = 1, b.bias[0].bias = -INFINITY, b.outs[0].bias_n = 1));
    REFUSED((b.header.n_bias = 1, b.bias[0].bias = INFINITY), RZ_E_ARG);
    REFUSED((b.header.n_bias = 1, b.bias[0].bias = NAN), RZ_E_ARG);
    REFUSED((b.header.n_bias = 1, b.bias[0].bias = 2e6f), RZ_E_ARG);
    REFUSED((b.header.n_bias = 1, b.bias[0].token = FAKE_VOCAB), RZ_E_ARG);
    begin(); /* as many outs as there may be, on more rows than the plan selects */
    for (uint32_t i = 2; i < 16; i++) batch_out(&b, i, RZ_OUT_LOGITS);
    is_good(send(r.cache, 0), __LINE__);
    rz_plan_options o = small_options();
    o.max_rows = 4;
    const uint32_t narrow = (uint32_t)rz_plan_open(r.weights, r.plan_bytes, r.plan_n, &o);
    CHECK(rz_step_submit(narrow, r.cache, b.bytes, batch_bytes(&b)) == -RZ_E_LIMIT);
    CHECK(rz_plan_close(narrow) == 0);
}

static void test_samplers(void) {
    static const struct {
        size_t at; /* of the field */
        float bad[6], good[4];
    } fields[] = {
        {offsetof(rz_batch_out, temperature), {-0.1f, 100.5f, NAN, INFINITY, -INFINITY, -1}, {0, 1, 100, 0.01f}},
        {offsetof(rz_batch_out, top_p), {-0.1f, 1.1f, NAN, INFINITY, -INFINITY, 2}, {0, 1, 0.5f, 0.9f}},
        {offsetof(rz_batch_out, min_p), {-0.1f, 1.1f, NAN, INFINITY, -INFINITY, 2}, {0, 1, 0.5f, 0.9f}},
        {offsetof(rz_batch_out, typical_p), {-0.1f, 1.1f, NAN, INFINITY, -INFINITY, 2}, {0, 1, 0.5f, 0.9f}},
        {offsetof(rz_batch_out, repetition), {0, -1, 101, NAN, INFINITY, -INFINITY}, {1, 100, 0.5f, 1.1f}},
        {offsetof(rz_batch_out, presence), {-101, 101, NAN, INFINITY, -INFINITY, 1e9f}, {0, 100, -100, 1}},
        {offsetof(rz_batch_out, frequency), {-101, 101, NAN, INFINITY, -INFINITY, 1e9f}, {0, 100, -100, 1}},
    };
    for (size_t f = 0; f < sizeof fields / sizeof fields[0]; f++) {
        for (int i = 0; i < 6; i++) {
            begin();
            memcpy((uint8_t *)&b.outs[1] + fields[f].at, &fields[f].bad[i], 4);
            CHECK(send(r.cache, 0) == -RZ_E_ARG);
        }
        for (int i = 0; i < 4; i++) {
            begin();
            memcpy((uint8_t *)&b.outs[1] + fields[f].at, &fields[f].good[i], 4);
            is_good(send(r.cache, 0), __LINE__);
        }
    }
    ACCEPTED((b.outs[0].top_k = 0xFFFFFFFFu, b.outs[0].penalty_from = 0xFFFFFFFFu, b.outs[0].draw_position = 1));
}

/* A plan whose cache group has other columns than the cache, or a smaller window. */
static void test_match(void) {
    rz_cache_options o = small_cache();
    o.groups[0].k_cols = 32;
    const uint32_t wide = (uint32_t)rz_cache_open(r.engine, &o);
    begin();
    CHECK(send(wide, 0) == -RZ_E_SHAPE);
    o = small_cache();
    o.groups[0].window = 64; /* the plan attends to all */
    const uint32_t narrow = (uint32_t)rz_cache_open(r.engine, &o);
    CHECK(send(narrow, 0) == -RZ_E_SHAPE);
    CHECK(rz_cache_close(wide) == 0 && rz_cache_close(narrow) == 0);
}

int main(void) {
    CHECK(rig_open(&r) == 0);
    rz_cache_options two = small_cache();
    two.n_groups = 2;
    two.groups[1] = two.groups[0];
    two.groups[1].window = 20;
    two.groups[1].n_pages = 16;
    cache2 = (uint32_t)rz_cache_open(r.engine, &two);
    test_header();
    test_sequences();
    test_pages();
    test_copies();
    test_tokens();
    test_outs();
    test_samplers();
    test_match();
    CHECK(n_good > 40);
    rig_close(&r);
    CHECK(nothing_is_left());
    return TEST_RESULT("batch");
}
