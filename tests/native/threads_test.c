/* threads_test.c - several threads at once: closes under running work and waiting calls, and a storm of everything. */
#define _GNU_SOURCE 1 /* fork */
#include "core_fixture.h"
#if !defined(_WIN32)
#include <sys/wait.h>
#include <unistd.h>
#endif

static rz_thread threads[8];

/* ---- close while another thread waits --------------------------------------------------------------------------- */

typedef struct waiter {
    const rig *r;
    int32_t ticket;
    atomic_bool begun;
    int32_t result; /* after the join */
} waiter;

static void wait_step(void *arg) {
    waiter *w = arg;
    result out;
    atomic_store(&w->begun, true);
    w->result = rz_step_wait(w->r->engine, (uint32_t)w->ticket, WAIT_MS, (uint8_t *)&out, sizeof out);
}

static void wait_page(void *arg) {
    waiter *w = arg;
    static uint8_t page[8192];
    atomic_store(&w->begun, true);
    w->result = rz_cache_read(w->r->cache, 0, 1, page, sizeof page);
}

static void wait_weights(void *arg) {
    waiter *w = arg;
    rz_progress progress;
    atomic_store(&w->begun, true);
    w->result = rz_weights_poll((uint32_t)w->ticket, WAIT_MS, &progress);
}

static void sleep_ms(uint32_t ms) {
    const uint64_t until = rz_time_ns() + ms * 1000000ull;
    while (rz_time_ns() < until) rz_thread_yield();
}

static void start(uint32_t i, waiter *w, void (*run)(void *)) {
    CHECK(rz_thread_start(&threads[i], "test", run, w) == 0);
    while (!atomic_load(&w->begun)) rz_thread_yield();
}

typedef enum closing { CLOSE_PLAN, CLOSE_CACHE, CLOSE_WEIGHTS, CLOSE_ENGINE } closing;

/* A step runs, one is queued, one thread waits for each, and a third for its turn at a page. */
static void test_close_under(closing what) {
    rig r;
    CHECK(rig_open(&r) == 0);
    rz_test_hold(WAIT_MS);
    waiter running = {.r = &r, .ticket = submit_decode(&r, 0, 0, 1, 0, 0)};
    waiter queued = {.r = &r, .ticket = submit_decode(&r, 1, 0, 1, 0, 0)}, page = {.r = &r};
    start(0, &running, wait_step);
    start(1, &queued, wait_step);
    start(2, &page, wait_page);
    sleep_ms(5);
    if (what == CLOSE_PLAN) CHECK(rz_plan_close(r.plan) == 0);
    if (what == CLOSE_CACHE) CHECK(rz_cache_close(r.cache) == 0);
    if (what == CLOSE_WEIGHTS) CHECK(rz_weights_close(r.weights) == 0);
    if (what == CLOSE_ENGINE) CHECK(rz_engine_close(r.engine) == 0);
    for (uint32_t i = 0; i < 3; i++) rz_thread_join(&threads[i]);
    rz_test_hold(0);
    CHECK(running.result == -RZ_E_CLOSED && queued.result == -RZ_E_CLOSED);
    if (what == CLOSE_CACHE || what == CLOSE_ENGINE) CHECK(page.result == -RZ_E_CLOSED);
    else CHECK(page.result > 0);
    if (what != CLOSE_ENGINE) CHECK(rz_engine_close(r.engine) == 0);
    free(r.plan_bytes);
    CHECK(nothing_is_left());
}

/* Nobody waits at the moment of the close: the next wait is told, once. */
static void test_told_later(void) {
    rig r;
    result out;
    CHECK(rig_open(&r) == 0);
    const int32_t t = submit_decode(&r, 0, 0, 1, 0, 0);
    CHECK(rz_plan_close(r.plan) == 0);
    CHECK(rz_step_wait(r.engine, (uint32_t)t, 0, (uint8_t *)&out, sizeof out) == -RZ_E_CLOSED);
    CHECK(rz_step_wait(r.engine, (uint32_t)t, 0, (uint8_t *)&out, sizeof out) == -RZ_E_ARG);
    rig_close(&r);
    CHECK(rig_open(&r) == 0); /* a cache goes, a result of it that is there can still be told */
    const int32_t done = submit_decode(&r, 0, 0, 1, 0, 0), next = submit_decode(&r, 0, 1, -1, 0, 0);
    CHECK(token_of(&r, next) == 3);
    CHECK(rz_cache_close(r.cache) == 0);
    CHECK(token_of(&r, done) == 2);
    rig_close(&r);
}

static void test_poll_closed(void) {
    rig r;
    CHECK(rig_open(&r) == 0);
    const rz_weight w = {.use = RZ_USE_MATMUL, .rows = 4, .cols = 4, .n_experts = 1, .file = RZ_FILE_NONE, .bytes = 64,
                         .shard_n = 1};
    waiter poll = {.r = &r, .ticket = rz_weights_open(r.engine, NULL, 0, &w, 1)};
    start(0, &poll, wait_weights);
    sleep_ms(5);
    CHECK(rz_weights_close((uint32_t)poll.ticket) == 0);
    rz_thread_join(&threads[0]);
    CHECK(poll.result == -RZ_E_CLOSED || poll.result == -RZ_E_HANDLE); /* the latter: it had not begun yet */
    rig_close(&r);
}

/* ---- a storm ---------------------------------------------------------------------------------------------------- */

typedef struct storm {
    rig r;
    atomic_uint plan, cache; /* the handles of the moment */
    atomic_bool over;
    atomic_uint n_tokens, n_unexpected;
} storm;

static bool one_of(int32_t got, const rz_status *allowed, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (got == -(int32_t)allowed[i]) return true;
    }
    return false;
}

/* Counts answers that no order of events explains. */
static void expect(storm *s, int32_t got, int32_t least) {
    static const rz_status allowed[] = {RZ_E_HANDLE, RZ_E_CLOSED, RZ_E_BUSY, RZ_E_CANCELLED, RZ_E_ARG};
    if (got >= least || one_of(got, allowed, sizeof allowed / sizeof allowed[0])) return;
    atomic_fetch_add(&s->n_unexpected, 1);
}

static void step_on(void *arg) {
    storm *s = arg;
    static _Thread_local result out;
    static _Thread_local batch b;
    for (uint32_t i = 0; !atomic_load(&s->over); i++) {
        batch_begin(&b);
        if (i % 7 == 0) b.header.flags = RZ_BATCH_HOLD_SAMPLE;
        batch_seq(&b, i % SLOTS, 0, 2, 1 + i % 5, 20);
        batch_out(&b, 1, RZ_OUT_SAMPLE);
        const uint32_t n = batch_bytes(&b);
        const int32_t t = rz_step_submit(atomic_load(&s->plan), atomic_load(&s->cache), b.bytes, n);
        expect(s, t, 1);
        if (t <= 0) continue;
        if (i % 7 == 0) expect(s, rz_step_sample(s->r.engine, (uint32_t)t, NULL, 0), 0);
        int32_t told = 0;
        while (told == 0) told = rz_step_wait(s->r.engine, (uint32_t)t, 3, (uint8_t *)&out, sizeof out);
        expect(s, told, 1);
        if (told > 0 && out.outs[0].token == 22) atomic_fetch_add(&s->n_tokens, 1);
        else if (told > 0) atomic_fetch_add(&s->n_unexpected, 1);
        float logits[FAKE_VOCAB];
        expect(s, rz_step_read(s->r.engine, (uint32_t)t, s->r.info.logits_value, 0, 1, logits, FAKE_VOCAB), 0);
    }
}

static void move_pages(void *arg) {
    storm *s = arg;
    static _Thread_local uint8_t page[8192];
    while (!atomic_load(&s->over)) {
        const int32_t n = rz_cache_read(atomic_load(&s->cache), 0, 30, page, sizeof page);
        expect(s, n, 1);
        if (n > 0) expect(s, rz_cache_write(atomic_load(&s->cache), 0, 31, page, (uint32_t)n), 1);
    }
}

static void reopen(void *arg) {
    storm *s = arg;
    const rz_cache_options cache_options = small_cache();
    for (uint32_t i = 0; !atomic_load(&s->over); i++) {
        sleep_ms(1);
        atomic_uint *which = i % 2 == 0 ? &s->plan : &s->cache;
        const uint32_t old = atomic_load(which);
        const int32_t id = i % 2 == 0
                               ? rz_plan_open(s->r.weights, s->r.plan_bytes, s->r.plan_n, &s->r.options)
                               : rz_cache_open(s->r.engine, &cache_options);
        expect(s, id, 1);
        if (id <= 0) continue;
        atomic_store(which, (uint32_t)id);
        expect(s, i % 2 == 0 ? rz_plan_close(old) : rz_cache_close(old), 0);
    }
}

static void disturb(void *arg) {
    storm *s = arg;
    rz_stats stats;
    rz_engine_info info;
    while (!atomic_load(&s->over)) {
        sleep_ms(2);
        expect(s, rz_step_cancel(s->r.engine, 0), 0);
        expect(s, rz_engine_info_read(s->r.engine, &info), 0);
        expect(s, rz_library_stats(&stats, sizeof stats), 1);
    }
}

/* Steps, pages, opens and closes for a while; then, in half of the rounds, the engine is closed in the middle of it. */
static void test_storm(bool cut) {
    static storm s;
    memset(&s, 0, sizeof s);
    CHECK(rig_open(&s.r) == 0);
    atomic_store(&s.plan, s.r.plan);
    atomic_store(&s.cache, s.r.cache);
    atomic_store(&fake_forward_us, 50);
    void (*const parts[])(void *) = {step_on, step_on, step_on, move_pages, reopen, disturb};
    for (uint32_t i = 0; i < 6; i++) CHECK(rz_thread_start(&threads[i], "storm", parts[i], &s) == 0);
    sleep_ms(300);
    if (cut) CHECK(rz_engine_close(s.r.engine) == 0);
    if (cut) sleep_ms(5);
    atomic_store(&s.over, true);
    for (uint32_t i = 0; i < 6; i++) rz_thread_join(&threads[i]);
    if (!cut) CHECK(rz_engine_close(s.r.engine) == 0);
    free(s.r.plan_bytes);
    atomic_store(&fake_forward_us, 0);
    CHECK(atomic_load(&s.n_tokens) > 0);
    CHECK(atomic_load(&s.n_unexpected) == 0);
    CHECK(atomic_load(&fake_bad_tokens) == 0);
    CHECK(nothing_is_left());
}

/* Many threads close one engine: one does it, the others are told that it is gone. */
static atomic_int n_closed, n_refused;

static void close_engine(void *arg) {
    const int32_t status = rz_engine_close(((const rig *)arg)->engine);
    if (status == 0) atomic_fetch_add(&n_closed, 1);
    if (status == -RZ_E_HANDLE) atomic_fetch_add(&n_refused, 1);
}

static void test_racing_closes(void) {
    for (uint32_t round = 0; round < 50; round++) {
        rig r;
        CHECK(rig_open(&r) == 0);
        submit_decode(&r, 0, 0, 1, 0, 0);
        atomic_store(&n_closed, 0);
        atomic_store(&n_refused, 0);
        for (uint32_t i = 0; i < 4; i++) CHECK(rz_thread_start(&threads[i], "close", close_engine, &r) == 0);
        const int32_t plan = rz_plan_close(r.plan), weights = rz_weights_close(r.weights);
        CHECK((plan == 0 || plan == -RZ_E_HANDLE) && (weights == 0 || weights == -RZ_E_HANDLE));
        for (uint32_t i = 0; i < 4; i++) rz_thread_join(&threads[i]);
        CHECK(atomic_load(&n_closed) == 1 && atomic_load(&n_refused) == 3);
        free(r.plan_bytes);
        CHECK(nothing_is_left());
    }
}

/* The child of a fork has no driver: every call says so, none waits. */
static void test_fork(void) {
#if !defined(_WIN32)
    rig r;
    CHECK(rig_open(&r) == 0);
    const int32_t t = submit_decode(&r, 0, 0, 1, 0, 0);
    const pid_t child = fork();
    if (child == 0) {
        result out;
        rz_stats stats;
        const rz_engine_options options = fake_options();
        const int32_t forked = -RZ_E_FORKED;
        const bool told = rz_step_wait(r.engine, (uint32_t)t, WAIT_MS, (uint8_t *)&out, sizeof out) == forked &&
                          rz_engine_close(r.engine) == forked && rz_engine_open(&options) == forked &&
                          rz_plan_close(r.plan) == forked && rz_library_stats(&stats, sizeof stats) == forked &&
                          rz_abi_version() == RZ_ABI_VERSION && rz_error_read(NULL, 0) == 0;
        _exit(told ? 42 : 1);
    }
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 42);
    CHECK(token_of(&r, t) == 2);
    rig_close(&r);
#endif
}

int main(void) {
    test_close_under(CLOSE_PLAN);
    test_close_under(CLOSE_CACHE);
    test_close_under(CLOSE_WEIGHTS);
    test_close_under(CLOSE_ENGINE);
    test_told_later();
    test_fork();
    test_poll_closed();
    test_storm(false);
    test_storm(true);
    test_racing_closes();
    CHECK(nothing_is_left());
    return TEST_RESULT("threads");
}
