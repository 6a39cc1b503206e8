/* pool.c - the CPU executor's threads: jobs are handed out through one word and claimed item by item. */
#include "pool.h"
#include "error.h"
#include "os.h"

/* How long an idle worker looks for work before it sleeps: longer than what the caller does alone between two jobs of a
 * step. It does not yield meanwhile: a thread that always yields looks too warm to be moved, and stays for ever on the
 * core of the thread it waits for, while another core is idle; one that wakes up is put on the idle one. */
#define LOOK_NS 100000u
#define LOOK_CROWDED_NS 5000u /* for workers above the number of cores */
#define LOOKS_A_CLOCK 32u     /* looks between two looks at the clock */

/* More threads than this many a core are not asked to come: two may be the core's two hardware threads. */
#define THREADS_A_CORE 2u

/* A thread's share of the items; stolen from when it is late. */
typedef struct share {
    _Alignas(64) atomic_uint next;
    uint32_t end;
} share;

typedef struct worker {
    _Alignas(64) atomic_bool sleeps;
    rz_cond wake;
    rz_thread thread;
    uint32_t index; /* 1 .. RZ_POOL_THREADS - 1 */
} worker;

/* The job word: number of the job, OPEN while threads may join, n_threads, how many workers are inside. */
#define OPEN ((uint64_t)1 << 31)
#define JOB(word) ((uint32_t)((word) >> 32))
#define THREADS(word) ((uint32_t)(word) >> 16 & 0x1ffu)
#define INSIDE(word) ((uint32_t)(word) & 0xffffu)

static struct {
    rz_mutex open_lock; /* users, n_workers */
    uint32_t users, n_workers;
    rz_mutex lock; /* each worker's sleep */
    atomic_bool stopping;
    atomic_uint n_cores; /* that this process may use */
    worker workers[RZ_POOL_THREADS];

    rz_mutex turn_lock;
    rz_cond turn_come;
    _Alignas(64) atomic_uint tickets, serving, n_waiting;

    _Alignas(64) atomic_ullong word;
    void (*fn)(void *arg, uint32_t thread);
    void *arg;
    uint32_t n_threads;
    share shares[RZ_POOL_THREADS];
} pool = {.open_lock = RZ_MUTEX_INIT, .lock = RZ_MUTEX_INIT, .turn_lock = RZ_MUTEX_INIT, .turn_come = RZ_COND_INIT};

/* ---- items ------------------------------------------------------------------------------------------------------ */

/* Up to `most` items, and half of what is left: how many. */
static uint32_t claim(share *s, uint32_t most, uint32_t *item) {
    const uint32_t next = atomic_load_explicit(&s->next, memory_order_relaxed);
    if (next >= s->end) return 0;
    const uint32_t half = (s->end - next + 1) / 2, n = most < half ? most : half;
    *item = atomic_fetch_add_explicit(&s->next, n, memory_order_relaxed);
    if (*item >= s->end) return 0;
    return s->end - *item < n ? s->end - *item : n;
}

uint32_t rz_pool_next_run(uint32_t thread, uint32_t most, uint32_t *item) {
    for (uint32_t i = 0; i < pool.n_threads; i++) {
        const uint32_t from = thread + i < pool.n_threads ? thread + i : thread + i - pool.n_threads;
        const uint32_t n = claim(&pool.shares[from], i == 0 ? most : 1, item);
        if (n > 0) return n;
    }
    return 0;
}

bool rz_pool_next(uint32_t thread, uint32_t *item) {
    return rz_pool_next_run(thread, 1, item) > 0;
}

/* ---- workers ---------------------------------------------------------------------------------------------------- */

static bool is_new(uint64_t word, uint32_t seen, uint32_t index) {
    return JOB(word) != seen && (word & OPEN) != 0 && index < THREADS(word);
}

/* Sleeps until there is another job than `known`, and notes it. That one may be over by now: jobs are shorter than
 * waking up takes. So the worker then looks for the next one, and does not sleep on; but not twice for the same. */
static void sleep_until_job(worker *w, uint32_t *known) {
    rz_mutex_lock(&pool.lock);
    atomic_store(&w->sleeps, true);
    for (;;) {
        const uint64_t word = atomic_load(&pool.word);
        if (atomic_load(&pool.stopping)) break;
        if (JOB(word) != *known && w->index < THREADS(word)) {
            *known = JOB(word);
            break;
        }
        rz_cond_wait(&w->wake, &pool.lock);
    }
    atomic_store(&w->sleeps, false);
    rz_mutex_unlock(&pool.lock);
}

/* Waits for a job that was not seen yet. Returns its word, or 0 when the pool stops. */
static uint64_t await_job(worker *w, uint32_t seen) {
    uint64_t since = 0;
    uint32_t known = seen;
    for (uint32_t looks = 1;; looks++) {
        const uint64_t word = atomic_load_explicit(&pool.word, memory_order_acquire);
        if (is_new(word, seen, w->index)) return word;
        rz_cpu_relax();
        if (looks % LOOKS_A_CLOCK != 0) continue;
        if (atomic_load_explicit(&pool.stopping, memory_order_relaxed)) return 0;
        const uint64_t now = rz_time_ns();
        if (since == 0) since = now;
        const bool crowded = w->index >= atomic_load_explicit(&pool.n_cores, memory_order_relaxed);
        if (now - since <= (crowded ? LOOK_CROWDED_NS : LOOK_NS)) continue;
        sleep_until_job(w, &known);
        since = 0;
    }
}

static void work(void *arg) {
    worker *w = arg;
    uint32_t seen = JOB(atomic_load(&pool.word));
    for (;;) {
        unsigned long long word = await_job(w, seen);
        if (word == 0) return;
        if (!atomic_compare_exchange_weak_explicit(&pool.word, &word, word + 1, memory_order_acquire,
                                                   memory_order_relaxed)) {
            continue;
        }
        seen = JOB(word);
        pool.fn(pool.arg, w->index);
        atomic_fetch_sub_explicit(&pool.word, 1, memory_order_release);
    }
}

static int32_t start_workers(uint32_t n) {
    while (pool.n_workers < n) {
        worker *w = &pool.workers[pool.n_workers];
        w->index = pool.n_workers + 1;
        rz_cond_init(&w->wake);
        const int32_t status = rz_thread_start(&w->thread, "realizar cpu", work, w);
        if (status) {
            rz_cond_destroy(&w->wake);
            return status;
        }
        pool.n_workers++;
    }
    return RZ_OK;
}

static void stop_workers(void) {
    rz_mutex_lock(&pool.lock);
    atomic_store(&pool.stopping, true);
    for (uint32_t i = 0; i < pool.n_workers; i++) rz_cond_signal(&pool.workers[i].wake);
    rz_mutex_unlock(&pool.lock);
    for (uint32_t i = 0; i < pool.n_workers; i++) {
        rz_thread_join(&pool.workers[i].thread);
        rz_cond_destroy(&pool.workers[i].wake);
    }
    pool.n_workers = 0;
    atomic_store(&pool.stopping, false);
}

int32_t rz_pool_open(uint32_t n_threads) {
    rz_mutex_lock(&pool.open_lock);
    atomic_store(&pool.n_cores, rz_cpu_count());
    const int32_t status = start_workers(n_threads - 1);
    if (!status) pool.users++;
    if (pool.users == 0) stop_workers();
    rz_mutex_unlock(&pool.open_lock);
    return status;
}

void rz_pool_close(void) {
    rz_mutex_lock(&pool.open_lock);
    if (--pool.users == 0) stop_workers();
    rz_mutex_unlock(&pool.open_lock);
}

/* ---- callers ---------------------------------------------------------------------------------------------------- */

static void take_turn(void) {
    const uint32_t ticket = atomic_fetch_add(&pool.tickets, 1);
    if (atomic_load(&pool.serving) == ticket) return;
    rz_mutex_lock(&pool.turn_lock);
    atomic_fetch_add(&pool.n_waiting, 1);
    while (atomic_load(&pool.serving) != ticket) rz_cond_wait(&pool.turn_come, &pool.turn_lock);
    atomic_fetch_sub(&pool.n_waiting, 1);
    rz_mutex_unlock(&pool.turn_lock);
}

static void give_turn(void) {
    atomic_fetch_add(&pool.serving, 1);
    if (atomic_load(&pool.n_waiting) == 0) return;
    rz_mutex_lock(&pool.turn_lock);
    rz_cond_broadcast(&pool.turn_come);
    rz_mutex_unlock(&pool.turn_lock);
}

static void wake_sleepers(uint32_t n_threads) {
    for (uint32_t i = 0; i + 1 < n_threads; i++) {
        if (!atomic_load(&pool.workers[i].sleeps)) continue;
        rz_mutex_lock(&pool.lock);
        rz_cond_signal(&pool.workers[i].wake);
        rz_mutex_unlock(&pool.lock);
    }
}

void rz_pool_run(uint32_t n_threads, uint32_t n_items, void (*fn)(void *arg, uint32_t thread), void *arg) {
    const uint32_t useful = THREADS_A_CORE * atomic_load_explicit(&pool.n_cores, memory_order_relaxed);
    if (n_threads > useful) n_threads = useful;
    if (n_items < n_threads) n_threads = n_items > 0 ? n_items : 1;
    take_turn();
    for (uint32_t t = 0; t < n_threads; t++) {
        atomic_store_explicit(&pool.shares[t].next, (uint32_t)((uint64_t)n_items * t / n_threads),
                              memory_order_relaxed);
        pool.shares[t].end = (uint32_t)((uint64_t)n_items * (t + 1) / n_threads);
    }
    pool.fn = fn;
    pool.arg = arg;
    pool.n_threads = n_threads;
    if (n_threads == 1) {
        fn(arg, 0);
        give_turn();
        return;
    }
    const uint64_t job = (uint64_t)(JOB(atomic_load(&pool.word)) + 1) << 32;
    atomic_store(&pool.word, job | OPEN | n_threads << 16);
    wake_sleepers(n_threads);
    fn(arg, 0);
    atomic_fetch_and_explicit(&pool.word, ~OPEN, memory_order_acq_rel);
    for (uint32_t looks = 1; INSIDE(atomic_load_explicit(&pool.word, memory_order_acquire)) != 0; looks++) {
        rz_cpu_relax();
        if (looks > 1024) rz_thread_yield(); /* a worker was put aside in the middle of an item */
    }
    give_turn();
}
