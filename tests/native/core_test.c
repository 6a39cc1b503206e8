/* core_test.c - handles, memory, options, caches and plans as objects, through the public functions. */
#include "core_fixture.h"

static void test_handles(void) {
    rig r, s;
    rz_engine_info info;
    CHECK(rig_open(&r) == 0 && rig_open(&s) == 0);
    CHECK(rz_engine_info_read(0, &info) == -RZ_E_HANDLE);
    CHECK(rz_engine_info_read(0xFFFFFFFFu, &info) == -RZ_E_HANDLE);
    CHECK(rz_engine_info_read(r.engine + (1u << 12), &info) == -RZ_E_HANDLE); /* another generation */
    CHECK(rz_engine_info_read(r.plan, &info) == -RZ_E_HANDLE);                /* another kind */
    CHECK(rz_plan_info_read(r.cache, &r.info) == -RZ_E_HANDLE);
    CHECK(rz_weights_close(r.engine) == -RZ_E_HANDLE);
    static batch b;
    batch_begin(&b);
    batch_seq(&b, 0, 0, 1, 1, 5);
    const uint32_t n = batch_bytes(&b);
    CHECK(rz_step_submit(r.plan, s.cache, b.bytes, n) == -RZ_E_HANDLE); /* of another engine */
    CHECK(rz_step_submit(r.plan, r.plan, b.bytes, n) == -RZ_E_HANDLE);
    CHECK(rz_step_submit(r.plan, 0, b.bytes, n) == -RZ_E_SHAPE); /* the plan writes to a cache */
    const uint32_t plan = r.plan, cache = r.cache, weights = r.weights;
    CHECK(rz_plan_close(plan) == 0);
    CHECK(rz_plan_close(plan) == -RZ_E_HANDLE);
    CHECK(rz_step_submit(plan, cache, b.bytes, n) == -RZ_E_HANDLE);
    const int32_t again = rz_plan_open(weights, r.plan_bytes, r.plan_n, &r.options);
    CHECK(again > 0 && (uint32_t)again != plan);
    CHECK(rz_weights_close(weights) == 0); /* closes the plan over it */
    CHECK(rz_plan_info_read((uint32_t)again, &r.info) == -RZ_E_HANDLE);
    CHECK(rz_plan_open(weights, r.plan_bytes, r.plan_n, &r.options) == -RZ_E_HANDLE);
    rig_close(&r);
    CHECK(rz_cache_close(cache) == -RZ_E_HANDLE);
    CHECK(rz_engine_close(r.engine) == -RZ_E_HANDLE);
    CHECK(token_of(&s, submit_decode(&s, 0, 0, 1, 0, 0)) == 2); /* the other engine lives */
    rig_close(&s);
    CHECK(nothing_is_left());
}

static void test_any_order(void) {
    static const uint8_t orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}, {0, 2, 1, 3}};
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        rig r;
        CHECK(rig_open(&r) == 0);
        CHECK(submit_decode(&r, 0, 0, 1, 0, 0) == 1); /* and never waited for */
        for (int j = 0; j < 4; j++) {
            switch (orders[i][j]) {
            case 0: CHECK(rz_plan_close(r.plan) <= 0); break;
            case 1: CHECK(rz_weights_close(r.weights) <= 0); break;
            case 2: CHECK(rz_cache_close(r.cache) <= 0); break;
            default: CHECK(rz_engine_close(r.engine) == 0);
            }
        }
        free(r.plan_bytes);
        CHECK(nothing_is_left());
    }
}

/* More opens than there are slots: ids differ, the 4097th object is refused. */
static void test_many_handles(void) {
    rig r;
    CHECK(rig_open(&r) == 0);
    static uint32_t ids[5000];
    rz_cache_options o = small_cache();
    o.n_slots = 1;
    o.groups[0].n_pages = 2;
    uint32_t n = 0;
    for (uint32_t round = 0; round < 2; round++) {
        int32_t id = 0;
        for (n = 0; n < 5000; n++) {
            id = rz_cache_open(r.engine, &o);
            if (id < 0) break;
            ids[n] = (uint32_t)id;
        }
        CHECK(n == 4096 - 4 && id == -RZ_E_LIMIT);
        for (uint32_t i = 0; i + 1 < n; i++) CHECK(ids[i] != ids[i + 1]);
        for (uint32_t i = 0; i < n; i++) CHECK(rz_cache_close(ids[i]) == 0);
        for (uint32_t i = 0; i < n; i++) CHECK(rz_cache_close(ids[i]) == -RZ_E_HANDLE);
    }
    rig_close(&r);
    CHECK(nothing_is_left());
}

static void test_engine_options(void) {
    const rz_engine_options good = fake_options();
    rz_engine_options o = good;
    o.size = 60;
    CHECK(rz_engine_open(&o) == -RZ_E_ARG);
    o = good, o.backend = 77;
    CHECK(rz_engine_open(&o) == -RZ_E_ARG);
    o = good, o.backend = RZ_BACKEND_CUDA, o.n_devices = 2;
    CHECK(rz_engine_open(&o) == -RZ_E_UNSUPPORTED);
    o = good, o.n_threads = 257;
    CHECK(rz_engine_open(&o) == -RZ_E_ARG);
    o = good, o.isa_max = 7;
    CHECK(rz_engine_open(&o) == -RZ_E_ARG);
    o = good, o.reserved = 1;
    CHECK(rz_engine_open(&o) == -RZ_E_ARG);
    CHECK(rz_engine_open(NULL) == -RZ_E_ARG);
    const int32_t e = rz_engine_open(&good);
    rz_engine_info info;
    double gb_s[1] = {0};
    CHECK(e > 0 && rz_engine_info_read((uint32_t)e, &info) == 0);
    CHECK(info.backend == RZ_TEST_BACKEND && info.page_tokens == 16 && memcmp(info.name, "fake", 5) == 0);
    CHECK(info.memory_used > 0 && info.device_total > 0 && info.device_free <= info.device_total);
    CHECK(rz_engine_measure((uint32_t)e, 1, gb_s, 1) == 1 && gb_s[0] == 11);
    CHECK(rz_engine_measure((uint32_t)e, 2, gb_s, 1) == -RZ_E_ARG);
    CHECK(rz_engine_measure((uint32_t)e, 0, gb_s, 0) == -RZ_E_ARG);
    CHECK(rz_engine_close((uint32_t)e) == 0);
    CHECK(nothing_is_left());
}

static void test_memory_max(void) {
    rz_engine_options engine_options = fake_options();
    engine_options.memory_max = 4 << 20;
    const int32_t e = rz_engine_open(&engine_options);
    CHECK(e > 0);
    rz_cache_options o = small_cache();
    o.groups[0].n_pages = 1000; /* 2 MB of keys and values */
    const int32_t first = rz_cache_open((uint32_t)e, &o);
    CHECK(first > 0);
    CHECK(rz_cache_open((uint32_t)e, &o) == -RZ_E_OOM_HOST);
    uint8_t message[512];
    const uint32_t n = rz_error_read(message, sizeof message);
    CHECK(n > 20 && n < sizeof message);
    CHECK(rz_cache_close((uint32_t)first) == 0);
    const int32_t second = rz_cache_open((uint32_t)e, &o);
    CHECK(second > 0);
    rz_engine_info info;
    CHECK(rz_engine_info_read((uint32_t)e, &info) == 0 && info.memory_used <= info.memory_max);
    CHECK(rz_engine_close((uint32_t)e) == 0);
    CHECK(nothing_is_left());
}

static void test_cache_options(void) {
    rig r;
    CHECK(rig_open(&r) == 0);
    const rz_cache_options good = small_cache();
#define REFUSED(change, status)                                                                                      \
    do {                                                                                                             \
        rz_cache_options o = good;                                                                                   \
        change;                                                                                                      \
        CHECK(rz_cache_open(r.engine, &o) == -(status));                                                             \
    } while (0)
    REFUSED(o.size = 1, RZ_E_ARG);
    REFUSED(o.n_groups = 0, RZ_E_ARG);
    REFUSED(o.n_groups = 9, RZ_E_ARG);
    REFUSED(o.n_groups = 2, RZ_E_ARG); /* the second is empty */
    REFUSED(o.n_slots = 0, RZ_E_ARG);
    REFUSED(o.n_slots = 65537, RZ_E_ARG);
    REFUSED(o.reserved[4] = 1, RZ_E_ARG);
    REFUSED(o.groups[1].n_pages = 1, RZ_E_ARG);
    REFUSED(o.groups[0].n_layers = 0, RZ_E_ARG);
    REFUSED(o.groups[0].k_cols = 0, RZ_E_ARG);
    REFUSED(o.groups[0].v_cols = 0xFFFFFFFFu, RZ_E_ARG);
    REFUSED(o.groups[0].page_tokens = 8, RZ_E_ARG);
    REFUSED(o.groups[0].page_tokens = 48, RZ_E_ARG);
    REFUSED(o.groups[0].page_tokens = 2048, RZ_E_ARG);
    REFUSED(o.groups[0].n_pages = 1, RZ_E_ARG);
    REFUSED(o.groups[0].n_pages = 0xFFFFFFFFu, RZ_E_ARG);
    REFUSED(o.groups[0].k_dtype = 99, RZ_E_UNSUPPORTED);
    REFUSED((o.groups[0].n_pages = 1u << 26, o.groups[0].k_cols = 1u << 24, o.groups[0].n_layers = 1024,
             o.groups[0].page_tokens = 1024),
            RZ_E_OVERFLOW);
    REFUSED((o.groups[0].n_pages = 1u << 24, o.groups[0].page_tokens = 1024), RZ_E_OOM_HOST); /* 2 TB */
#undef REFUSED
    rig_close(&r);
    CHECK(nothing_is_left());
}

/* rz_plan_check says to the byte what rz_plan_open takes. */
static void test_plan_memory(void) {
    rig r;
    CHECK(rig_open(&r) == 0);
    static const uint32_t sizes[][4] = {{1, 1, 0, 0}, {64, 8, 16, 0}, {1024, 32, 300, 40}, {7, 3, 5, 5}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        rz_plan_options o = {.size = sizeof o,
                             .max_tokens = sizes[i][0],
                             .max_seqs = sizes[i][1],
                             .max_outs = sizes[i][2],
                             .max_rows = sizes[i][3]};
        rz_plan_info info, opened;
        rz_stats before, after;
        rz_library_stats(&before, sizeof before);
        CHECK(rz_plan_check(r.engine, r.plan_bytes, r.plan_n, &o, &info) == 0);
        rz_library_stats(&after, sizeof after);
        CHECK(after.total_bytes == before.total_bytes);
        const int32_t p = rz_plan_open(r.weights, r.plan_bytes, r.plan_n, &o);
        CHECK(p > 0);
        rz_library_stats(&after, sizeof after);
        CHECK(after.plan_bytes - before.plan_bytes == info.scratch_bytes);
        CHECK(rz_plan_info_read((uint32_t)p, &opened) == 0 && memcmp(&info, &opened, sizeof info) == 0);
        CHECK(info.max_rows == (o.max_rows > 0 ? o.max_rows : o.max_outs) && info.vocab_size == FAKE_VOCAB);
        const uint64_t tops = 256ull * o.max_outs < 65536 ? 256ull * o.max_outs : 65536;
        CHECK(info.result_bytes_max == 32 + 32 * o.max_outs + 8 * tops);
        CHECK(rz_plan_close((uint32_t)p) == 0);
    }
    uint8_t text[4];
    rz_brick brick;
    CHECK(rz_plan_listing(r.plan, 0, text, 4) == 4 && memcmp(text, "fake", 4) == 0);
    CHECK(rz_plan_listing(r.plan, 0, NULL, 0) == 4);
    CHECK(rz_plan_listing(r.plan, 1, text, 4) == -RZ_E_ARG);
    CHECK(rz_plan_profile(r.plan, &brick, sizeof brick) == -RZ_E_ARG);
    r.options.flags = RZ_PLAN_PROFILE;
    const int32_t p = rz_plan_open(r.weights, r.plan_bytes, r.plan_n, &r.options);
    CHECK(rz_plan_profile((uint32_t)p, &brick, sizeof brick) == sizeof brick && brick.calls == 1);
    CHECK(rz_plan_profile((uint32_t)p, NULL, 0) == 0);
    r.plan_bytes[0] ^= 1;
    CHECK(rz_plan_open(r.weights, r.plan_bytes, r.plan_n, &r.options) == -RZ_E_MAGIC);
    CHECK(rz_plan_check(r.engine, r.plan_bytes, r.plan_n, &r.options, &r.info) == -RZ_E_MAGIC);
    CHECK(rz_plan_open(r.weights, NULL, 0, &r.options) == -RZ_E_TRUNCATED);
    rig_close(&r);
    CHECK(nothing_is_left());
}

/* The n-th allocation fails, for every n: the open fails and leaves nothing, until one succeeds. */
static void test_failing_allocations(void) {
    uint32_t n_failed = 0;
    for (uint32_t n = 1; n < 1000; n++) {
        rig r;
        rz_test_fail_after(0, n);
        const int32_t status = rig_open(&r);
        if (status == 0) {
            rz_test_fail_after(0, 0);
            CHECK(token_of(&r, submit_decode(&r, 0, 0, 1, 0, 0)) == 2);
            rig_close(&r);
            CHECK(nothing_is_left());
            break;
        }
        n_failed++;
        CHECK(status == -RZ_E_OOM_HOST);
        CHECK(nothing_is_left());
    }
    CHECK(n_failed > 20 && n_failed < 999);
}

/* Each part for itself: what was open before goes on. */
static void test_failing_parts(void) {
    rig r;
    CHECK(rig_open(&r) == 0);
    const rz_cache_options o = small_cache();
    rz_stats before, after;
    rz_library_stats(&before, sizeof before);
    for (uint32_t part = 0; part < 3; part++) {
        int32_t id = 0;
        for (uint32_t n = 1; n < 100 && id <= 0; n++) {
            rz_test_fail_after(0, n);
            if (part == 0) id = rz_plan_open(r.weights, r.plan_bytes, r.plan_n, &r.options);
            if (part == 1) id = rz_cache_open(r.engine, &o);
            if (part == 2) id = open_weights(r.engine, r.plan_bytes);
            rz_library_stats(&after, sizeof after);
            if (id <= 0) CHECK(id == -RZ_E_OOM_HOST && after.total_bytes == before.total_bytes);
            if (id <= 0) CHECK(after.n_plans == 1 && after.n_caches == 1 && after.n_weights == 1);
        }
        rz_test_fail_after(0, 0);
        CHECK(id > 0);
        if (part == 0) CHECK(rz_plan_close((uint32_t)id) == 0);
        if (part == 1) CHECK(rz_cache_close((uint32_t)id) == 0);
        if (part == 2) CHECK(rz_weights_close((uint32_t)id) == 0);
    }
    CHECK(token_of(&r, submit_decode(&r, 0, 0, 1, 0, 0)) == 2);
    rig_close(&r);
    CHECK(nothing_is_left());
}

static void test_library(void) {
    static uint8_t text[4096];
    const int32_t n = rz_library_info(text, sizeof text);
    CHECK(n > 100 && n < (int32_t)sizeof text && text[0] == '{' && text[n - 1] == '}');
    CHECK(rz_library_info(NULL, 0) > 100);
    CHECK(rz_abi_version() == RZ_ABI_VERSION);
    rz_stats s;
    CHECK(rz_library_stats(&s, sizeof s - 1) == -RZ_E_ARG);
    CHECK(rz_test_fail_after(4, 1) == -RZ_E_ARG);
    CHECK(rz_engine_info_read(0, NULL) == -RZ_E_ARG);
    uint8_t message[8];
    CHECK(rz_error_read(message, 8) == 8 && memcmp(message, "rz_engin", 8) == 0);
    rz_fail(RZ_E_ARG, "%0*d\xF0\x9F\x98\x80", 509, 1); /* 509 digits and a character of four bytes, in 511 */
    CHECK(strlen(rz_fail_message()) == 509);
    rz_fail(RZ_E_ARG, "again: %s", rz_fail_message()); /* the old message as an argument */
    CHECK(memcmp(rz_fail_message(), "again: 000", 10) == 0);
}

int main(void) {
    test_library();
    test_handles();
    test_any_order();
    test_many_handles();
    test_engine_options();
    test_memory_max();
    test_cache_options();
    test_plan_memory();
    test_failing_allocations();
    test_failing_parts();
    CHECK(nothing_is_left());
    return TEST_RESULT("core");
}
