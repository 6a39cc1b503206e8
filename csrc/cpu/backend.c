/* backend.c - the CPU executor as the core sees it (backend.h), and its engines. */
#include "cpu.h"
#include "os.h"
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* What `auto` prefers: pages small enough to share prefixes, large enough to stay cheap to list. */
#define PAGE_TOKENS 64u

static int32_t engine_open(const rz_engine_options *options, rz_account *account, void **engine) {
    rz_cpu_engine *e = rz_alloc(account, RZ_MEMORY_OTHER, sizeof *e, "cpu engine");
    if (!e) return RZ_E_OOM_HOST;
    e->account = account;
    e->kernels = rz_cpu_kernels_for(options->isa_max);
    e->n_threads = options->n_threads ? options->n_threads : rz_cpu_least(rz_cpu_count(), RZ_POOL_THREADS);
    const int32_t status = rz_pool_open(e->n_threads);
    if (status) {
        rz_free(e);
        return status;
    }
    *engine = e;
    return RZ_OK;
}

static void engine_close(void *engine) {
    rz_pool_close();
    rz_free(engine);
}

/* The processor's own name. */
static void read_name(uint8_t name[64]) {
    memcpy(name, "cpu", sizeof "cpu");
#if defined(__x86_64__)
    uint32_t words[12];
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t *w = words + 4 * i;
        if (!__get_cpuid(0x80000002u + i, &w[0], &w[1], &w[2], &w[3])) return;
    }
    const char *text = (const char *)words;
    uint32_t first = 0, end = 0;
    while (first < 48 && text[first] == ' ') first++;
    for (uint32_t i = first; i < 48 && text[i]; i++) end = text[i] == ' ' ? end : i + 1;
    if (end > first) {
        memset(name, 0, 64);
        memcpy(name, text + first, end - first);
    }
#endif
}

static void engine_info(void *engine, rz_engine_info *out) {
    const rz_cpu_engine *e = engine;
    out->backend = RZ_BACKEND_CPU;
    out->n_threads = e->n_threads;
    out->isa = e->kernels->isa;
    out->page_tokens = PAGE_TOKENS;
    read_name(out->name);
}

/* ---- measuring -------------------------------------------------------------------------------------------------- */

#define MEASURE_BYTES ((size_t)256 << 20)
#define PIECE_BYTES ((size_t)1 << 20)

typedef struct measure {
    uint8_t *from, *to; /* to NULL: reading */
    atomic_ullong sink; /* keeps the reads */
} measure;

static void measure_items(void *arg, uint32_t thread) {
    measure *m = arg;
    uint64_t sum[8] = {0};
    uint32_t item = 0;
    while (rz_pool_next(thread, &item)) {
        const uint8_t *from = m->from + item * PIECE_BYTES;
        if (m->to) {
            memcpy(m->to + item * PIECE_BYTES, from, PIECE_BYTES);
            continue;
        }
        const uint64_t *words = (const uint64_t *)(const void *)from;
        for (size_t i = 0; i < PIECE_BYTES / 8; i += 8) {
            __builtin_prefetch(words + i + 512);
            for (size_t k = 0; k < 8; k++) sum[k] ^= words[i + k];
        }
    }
    for (size_t k = 0; k < 8; k++) atomic_fetch_xor(&m->sink, sum[k]);
}

static int32_t engine_measure(void *engine, uint32_t what, double *gb_s) {
    const rz_cpu_engine *e = engine;
    measure m = {.from = rz_alloc(e->account, RZ_MEMORY_OTHER, MEASURE_BYTES, "measuring")};
    if (m.from && what == 1) m.to = rz_alloc(e->account, RZ_MEMORY_OTHER, MEASURE_BYTES, "measuring");
    if (!m.from || (what == 1 && !m.to)) {
        rz_free(m.from);
        return RZ_E_OOM_HOST;
    }
    memset(m.from, 1, MEASURE_BYTES); /* pages of its own, not the zero page */
    const uint32_t n_items = MEASURE_BYTES / PIECE_BYTES;
    rz_pool_run(e->n_threads, n_items, measure_items, &m);
    const uint64_t start_ns = rz_time_ns();
    uint64_t end_ns = start_ns, n_rounds = 0;
    for (; end_ns - start_ns < 300000000u; n_rounds++, end_ns = rz_time_ns()) {
        rz_pool_run(e->n_threads, n_items, measure_items, &m);
    }
    *gb_s = (double)(MEASURE_BYTES * n_rounds) / (double)(end_ns - start_ns);
    rz_free(m.to);
    rz_free(m.from);
    return RZ_OK;
}

const rz_backend rz_backend_cpu = {
    .name = "cpu",
    .page_tokens = PAGE_TOKENS,
    .engine_open = engine_open,
    .engine_close = engine_close,
    .engine_info = engine_info,
    .engine_measure = engine_measure,
    .weight_bytes = rz_cpu_weight_bytes,
    .weight_row_unit = rz_cpu_weight_row_unit,
    .weight_store = rz_cpu_weight_store,
    .weight_read = rz_cpu_weight_read,
    .page_bytes = rz_cpu_page_bytes,
    .program_open = rz_cpu_program_open,
    .program_close = rz_cpu_program_close,
    .program_listing = rz_cpu_program_listing,
    .program_profile = rz_cpu_program_profile,
    .forward = rz_cpu_forward,
    .value_read = rz_cpu_value_read,
    .sample = rz_cpu_sample,
};
