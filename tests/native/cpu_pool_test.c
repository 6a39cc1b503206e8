/* cpu_pool_test.c - the CPU executor's threads: every item is done once, callers take turns, workers sleep when idle,
 * and more threads than cores are fine. */
#define _GNU_SOURCE
#include "cpu/pool.h"
#include "os.h"
#include "test.h"
#include "realizar.h"
#include <stdlib.h>
#include <string.h>
#if !defined(_WIN32)
#include <sys/resource.h>
#endif

#define ITEMS 5000u

typedef struct job {
    uint32_t slow; /* spin rounds of an item */
    atomic_uint done[ITEMS];
    atomic_uint n_threads_seen[RZ_POOL_THREADS];
} job;

static void run_items(void *arg, uint32_t thread) {
    job *j = arg;
    uint32_t item = 0;
    atomic_fetch_add(&j->n_threads_seen[thread], 1);
    while (rz_pool_next(thread, &item)) {
        for (uint32_t i = 0; i < j->slow; i++) rz_cpu_relax();
        atomic_fetch_add(&j->done[item], 1);
    }
}

/* Runs a job; how many things are wrong with what it did. */
static uint32_t faults_of(uint32_t n_threads, uint32_t n_items, uint32_t slow) {
    job *j = calloc(1, sizeof *j);
    uint32_t n = 0;
    j->slow = slow;
    rz_pool_run(n_threads, n_items, run_items, j);
    for (uint32_t i = 0; i < ITEMS; i++) n += atomic_load(&j->done[i]) != (i < n_items);
    for (uint32_t t = 0; t < RZ_POOL_THREADS; t++) { /* no thread twice, none that was not asked */
        n += atomic_load(&j->n_threads_seen[t]) > (t < n_threads);
    }
    n += atomic_load(&j->n_threads_seen[0]) != 1;
    free(j);
    return n;
}

typedef struct user {
    uint32_t n_threads, n_faults;
} user;

static void many_jobs(void *arg) {
    user *u = arg;
    for (uint32_t i = 0; i < 60; i++) u->n_faults += faults_of(u->n_threads, i * 37 % 500, i % 7 == 0 ? 50 : 0);
}

static void pause_ns(uint64_t ns) {
    rz_mutex lock = RZ_MUTEX_INIT;
    rz_cond never = RZ_COND_INIT;
    rz_cond_init(&never);
    rz_mutex_lock(&lock);
    rz_cond_wait_for(&never, &lock, ns);
    rz_mutex_unlock(&lock);
    rz_cond_destroy(&never);
}

/* CPU time of all threads of this process. */
static uint64_t cpu_time_ns(void) {
#if defined(_WIN32)
    return 0;
#else
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return ((uint64_t)used.ru_utime.tv_sec + (uint64_t)used.ru_stime.tv_sec) * 1000000000u +
           ((uint64_t)used.ru_utime.tv_usec + (uint64_t)used.ru_stime.tv_usec) * 1000u;
#endif
}

/* 5 ms after a job nobody looks for work any more: six workers that still looked would take at least 100 ms of CPU in
 * as long, on however few cores. */
static void test_idle(void) {
    CHECK(rz_pool_open(7) == RZ_OK);
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < 3 && least > 20000000u; i++) { /* this process alone: others' work does not count */
        CHECK(faults_of(7, 200, 50) == 0);
        pause_ns(5000000);
        const uint64_t start_ns = cpu_time_ns();
        pause_ns(100000000);
        const uint64_t used_ns = cpu_time_ns() - start_ns;
        if (used_ns < least) least = used_ns;
    }
    CHECK(least <= 20000000u);
    rz_pool_close();
}

static uint64_t time_of_jobs(uint32_t n_threads) {
    const uint64_t start_ns = rz_time_ns();
    for (int i = 0; i < 200; i++) CHECK(faults_of(n_threads, 64, 200) == 0);
    return rz_time_ns() - start_ns;
}

/* Threads above the number of cores make jobs slower by a little, not by their time slices. The margin ends a hang, it
 * does not measure. */
static void test_crowd(void) {
    CHECK(rz_pool_open(2) == RZ_OK);
    CHECK(rz_pool_open(64) == RZ_OK);
    const uint64_t few_ns = time_of_jobs(2);
    CHECK(time_of_jobs(8) <= 10 * few_ns + 1000000000u);
    CHECK(time_of_jobs(64) <= 10 * few_ns + 1000000000u);
    rz_pool_close();
    rz_pool_close();
}

int main(void) {
    const uint32_t before = rz_thread_count();
    for (uint32_t n_threads = 1; n_threads <= 9; n_threads += 2) {
        CHECK(rz_pool_open(n_threads) == RZ_OK);
        CHECK(rz_thread_count() == before + n_threads - 1);
        for (uint32_t n = 0; n < 40; n++) CHECK(faults_of(n_threads, n, 3) == 0);
        CHECK(faults_of(n_threads, ITEMS, 0) == 0);
        rz_pool_close();
        CHECK(rz_thread_count() == before);
    }
    /* Two users of different size, from threads of their own, and a third that stays. */
    user users[] = {{.n_threads = 4}, {.n_threads = 2}, {.n_threads = 7}};
    for (int i = 0; i < 3; i++) CHECK(rz_pool_open(users[i].n_threads) == RZ_OK);
    CHECK(rz_thread_count() == before + 6);
    rz_thread threads[3];
    for (int i = 0; i < 3; i++) CHECK(rz_thread_start(&threads[i], "user", many_jobs, &users[i]) == RZ_OK);
    for (int i = 0; i < 3; i++) rz_thread_join(&threads[i]);
    for (int i = 0; i < 3; i++) CHECK(users[i].n_faults == 0);
    /* Sleeping workers wake up. */
    for (int i = 0; i < 5; i++) {
        pause_ns(2000000);
        CHECK(faults_of(7, 300, 100) == 0);
    }
    for (int i = 0; i < 3; i++) rz_pool_close();
    CHECK(rz_thread_count() == before);
    test_idle();
    test_crowd();
    CHECK(rz_thread_count() == before);
    return TEST_RESULT("cpu_pool");
}
