/* replay.c - runs recorded calls of realizar.h on the reference and on another executor, and compares what they say:
 *     replay LIBRARY TRACE [--on ref|cpu|cuda] [--isa N] [--only TEXT] [--part I/N] [--seconds N] [--verbose]
 * A test of a build without any JavaScript, for valgrind, AddressSanitizer and compute-sanitizer too. tests/trace.ts
 * writes traces. A trace is little-endian: a header [16] {'RZT1', 1, n_cases, 0}, then records {u32 kind, u32 n_bytes,
 * u32 a, u32 b, payload, zeros to a multiple of 8}:
 *     CASE       f64 bound, name         what follows, up to the next one, runs over weights of its own
 *     WEIGHTS    rz_weight table
 *     WRITE      a = weight id           all its bytes
 *     CACHE      rz_cache_options
 *     PLAN       rz_plan_options, plan
 *     STEP       batch                   greedy tokens must be equal where the best two are apart
 *     READ       {u32 row, n_rows, cols, 0} of value a
 *     WEIGHT     {u32 row, n_rows, cols, 0} of weight a, as the executor holds it: equal but for a rounding
 * Of each value the squared error of a case, relative to the squares of the reference, is at most the case's bound.
 * Prints a line a failure and a last line with counts; after --seconds no case is begun. Status: 0 good, 1 something
 * differs, 2 it cannot run. */
#include "realizar.h"
#include <dlfcn.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CASE = 1, WEIGHTS, WRITE, CACHE, PLAN, STEP, READ, WEIGHT };

#define MAGIC 0x31545A52u
#define VALUES 64u       /* distinct values that a case reads */
#define WEIGHT_BOUND 1e-13
#define GREEDY_GAP 4.0 /* x the root of the case's bound, in nats: nearer ones may change places */

typedef struct record {
    uint32_t kind, n_bytes, a, b;
    uint8_t payload[];
} record;

typedef struct shape {
    uint32_t row, n_rows, cols, zero;
} shape;

#define FUNCTIONS(X)                                                                                                  \
    X(rz_abi_version) X(rz_library_stats) X(rz_error_read) X(rz_engine_open) X(rz_engine_close)                       \
    X(rz_weights_open) X(rz_weights_write) X(rz_weights_poll) X(rz_weights_read)                   \
    X(rz_weights_close) X(rz_plan_open) X(rz_cache_open) X(rz_cache_close) X(rz_step_submit) X(rz_step_wait)          \
    X(rz_step_read)

static struct {
#define FIELD(name) __typeof__(&name) name;
    FUNCTIONS(FIELD)
#undef FIELD
} lib;

/* What a run of a case left: floats and results one after another. */
typedef struct tape {
    uint8_t *bytes;
    size_t used, cap;
} tape;

static tape tapes[2];
static uint32_t n_failed, n_cases, n_left;
static uint64_t n_values;
static double worst; /* error by bound */
static bool verbose;

static void fail(const char *name, const char *what) {
    n_failed++;
    printf("FAILED %s: %s\n", name, what);
    fflush(stdout);
}

/* Tells the library's own words. */
static bool fail_call(const char *name, const char *call, int32_t status) {
    char text[700], message[512];
    const uint32_t n = lib.rz_error_read((uint8_t *)message, sizeof message - 1);
    message[n] = 0;
    snprintf(text, sizeof text, "%s: %d: %s", call, status, message);
    fail(name, text);
    return false;
}

static void *tape_take(tape *t, size_t n_bytes) {
    const size_t need = t->used + (n_bytes + 7) / 8 * 8;
    if (need > t->cap) {
        t->cap = 2 * need;
        t->bytes = realloc(t->bytes, t->cap);
        if (t->bytes == NULL) exit(2);
    }
    void *at = t->bytes + t->used;
    memset(at, 0, need - t->used);
    t->used = need;
    return at;
}

static const record *next_of(const record *r) {
    return (const record *)(const void *)(r->payload + (r->n_bytes + 7) / 8 * 8);
}

static const rz_batch_out *outs_of(const record *step) {
    const rz_batch_header *h = (const void *)step->payload;
    size_t at = sizeof *h + h->n_copies * sizeof(rz_batch_copy) + h->n_seqs * sizeof(rz_batch_seq);
    at += (h->n_pages * 4ull + 15) / 16 * 16;
    at += (h->n_tokens * 4ull + 15) / 16 * 16;
    return (const void *)(step->payload + at);
}

static uint32_t result_bytes(const record *step) {
    const uint32_t n = ((const rz_batch_header *)(const void *)step->payload)->n_outs;
    uint32_t bytes = sizeof(rz_result_header) + n * (uint32_t)sizeof(rz_result_out);
    for (uint32_t i = 0; i < n; i++) bytes += outs_of(step)[i].n_top * (uint32_t)sizeof(rz_result_top);
    return bytes;
}

/* ---- a case on one engine --------------------------------------------------------------------------------------- */

typedef struct objects {
    uint32_t engine;
    int32_t weights, plan, cache, ticket;
} objects;

static bool run_step(const char *name, objects *o, const record *r, tape *t) {
    o->ticket = lib.rz_step_submit((uint32_t)o->plan, (uint32_t)o->cache, r->payload, r->n_bytes);
    if (o->ticket < 0) return fail_call(name, "rz_step_submit", o->ticket);
    const uint32_t cap = result_bytes(r);
    uint8_t *result = tape_take(t, cap);
    int32_t n = 0;
    while (n == 0) n = lib.rz_step_wait(o->engine, (uint32_t)o->ticket, 1000, result, cap);
    return n > 0 || fail_call(name, "rz_step_wait", n);
}

static bool run_plan(const char *name, objects *o, const record *r) {
    o->plan = lib.rz_plan_open((uint32_t)o->weights, r->payload + sizeof(rz_plan_options),
                               r->n_bytes - (uint32_t)sizeof(rz_plan_options), (const void *)r->payload);
    return o->plan > 0 || fail_call(name, "rz_plan_open", o->plan);
}

/* Weights whose bytes were all written are ready; a plan needs that. */
static bool await_weights(const char *name, const objects *o) {
    rz_progress progress;
    int32_t status = 0;
    while (status == 0) status = lib.rz_weights_poll((uint32_t)o->weights, 1000, &progress);
    return status > 0 || fail_call(name, "rz_weights_poll", status);
}

static bool run_record(const char *name, objects *o, const record *r, tape *t) {
    const shape *s = (const shape *)(const void *)r->payload;
    int32_t status = 0;
    switch (r->kind) {
    case WEIGHTS:
        o->weights = lib.rz_weights_open(o->engine, NULL, 0, (const void *)r->payload,
                                         r->n_bytes / (uint32_t)sizeof(rz_weight));
        return o->weights > 0 || fail_call(name, "rz_weights_open", o->weights);
    case WRITE:
        status = lib.rz_weights_write((uint32_t)o->weights, r->a, 0, r->payload, r->n_bytes);
        return status >= 0 || fail_call(name, "rz_weights_write", status);
    case CACHE:
        o->cache = lib.rz_cache_open(o->engine, (const void *)r->payload);
        return o->cache > 0 || fail_call(name, "rz_cache_open", o->cache);
    case PLAN: return await_weights(name, o) && run_plan(name, o, r);
    case STEP: return run_step(name, o, r, t);
    case READ:
    case WEIGHT: {
        const uint32_t n = s->n_rows * s->cols;
        float *out = tape_take(t, n * sizeof *out);
        status = r->kind == READ ? lib.rz_step_read(o->engine, (uint32_t)o->ticket, r->a, s->row, s->n_rows, out, n)
                                 : lib.rz_weights_read((uint32_t)o->weights, r->a, s->row, s->n_rows, out, n);
        return status >= 0 || fail_call(name, r->kind == READ ? "rz_step_read" : "rz_weights_read", status);
    }
    default: fail(name, "a record of an unknown kind"); return false;
    }
}

static bool run_case(const char *name, uint32_t engine, const record *first, const record *end, tape *t) {
    objects o = {.engine = engine};
    bool good = true;
    t->used = 0;
    for (const record *r = first; good && r < end; r = next_of(r)) good = run_record(name, &o, r, t);
    if (o.weights > 0) lib.rz_weights_close((uint32_t)o.weights); /* and the plan over them */
    if (o.cache > 0) lib.rz_cache_close((uint32_t)o.cache);
    return good;
}

/* ---- comparing -------------------------------------------------------------------------------------------------- */

/* Counts tokens drawn: those of nearly flat logits may be others where a random number falls between two roundings. */
static void compare_results(const char *name, double gap, const record *step, const uint8_t *want, const uint8_t *got,
                            uint32_t *n_drawn, uint32_t *n_other) {
    const rz_result_header *h = (const void *)want;
    const rz_batch_out *outs = outs_of(step);
    const rz_result_out *a = (const void *)(want + sizeof *h), *b = (const void *)(got + sizeof *h);
    const rz_result_top *tops = (const void *)(a + h->n_outs);
    char text[160];
    for (uint32_t i = 0; i < h->n_outs; i++) {
        const rz_result_top *top = tops + a[i].top_first;
        const bool samples = (outs[i].mode & RZ_OUT_SAMPLE) != 0, is_greedy = outs[i].temperature == 0;
        const bool clear = a[i].n_top >= 2 && top[0].logprob - top[1].logprob > gap;
        const bool same = a[i].token == b[i].token;
        if (a[i].flags != b[i].flags || a[i].position != b[i].position || (samples && is_greedy && clear && !same)) {
            snprintf(text, sizeof text, "out %u: token %d, flags %u, position %u, expected %d, %u, %u", i, b[i].token,
                     b[i].flags, b[i].position, a[i].token, a[i].flags, a[i].position);
            fail(name, text);
        }
        if (samples && !is_greedy) *n_drawn += 1, *n_other += !same;
    }
}

typedef struct sums {
    uint32_t id;
    double error, square;
} sums;

static sums *sums_of(sums all[VALUES], uint32_t *n, uint32_t id) {
    uint32_t i = 0;
    while (i < *n && all[i].id != id) i++;
    if (i == *n && i < VALUES) all[(*n)++] = (sums){.id = id};
    return i < VALUES ? &all[i] : &all[VALUES - 1];
}

static void compare(const char *name, double value_bound, const record *first, const record *end) {
    sums all[VALUES] = {0}; /* id 0: of all weights */
    uint32_t n = 0, n_drawn = 0, n_other = 0;
    size_t at = 0;
    char text[160];
    for (const record *r = first; r < end; r = next_of(r)) {
        const uint8_t *want = tapes[0].bytes + at, *got = tapes[1].bytes + at;
        const shape *s = (const void *)r->payload;
        if (r->kind == STEP) {
            compare_results(name, GREEDY_GAP * sqrt(value_bound), r, want, got, &n_drawn, &n_other);
            at += (result_bytes(r) + 7) / 8 * 8;
        } else if (r->kind == READ || r->kind == WEIGHT) {
            const size_t n_floats = (size_t)s->n_rows * s->cols;
            const float *x = (const void *)want, *y = (const void *)got;
            sums *of = sums_of(all, &n, r->kind == READ ? r->a : 0);
            for (size_t i = 0; i < n_floats; i++) {
                of->error += ((double)y[i] - x[i]) * ((double)y[i] - x[i]);
                of->square += (double)x[i] * x[i];
            }
            n_values += n_floats;
            at += (n_floats * 4 + 7) / 8 * 8;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        const double error = all[i].square > 0 ? all[i].error / all[i].square : all[i].error;
        const double bound = all[i].id == 0 ? WEIGHT_BOUND : value_bound;
        if (bound > 0 && !(error / bound <= worst)) worst = error / bound;
        if (error <= bound) continue; /* NaN is not */
        snprintf(text, sizeof text, "value %u: error %g, bound %g", all[i].id, error, bound);
        fail(name, text);
    }
    if (n_other > 1 + n_drawn / 3) {
        snprintf(text, sizeof text, "%u of %u drawn tokens differ", n_other, n_drawn);
        fail(name, text);
    }
}

/* ---- the whole trace -------------------------------------------------------------------------------------------- */

typedef struct options {
    const char *library, *trace, *on, *only;
    uint32_t isa, part, n_parts, seconds;
} options;

static bool find_library(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL) {
        printf("replay: %s\n", dlerror());
        return false;
    }
#define FIND(name)                                                                                                    \
    if ((*(void **)(&lib.name) = dlsym(library, #name)) == NULL) {                                                    \
        printf("replay: %s has no %s\n", path, #name);                                                                \
        return false;                                                                                                 \
    }
    FUNCTIONS(FIND)
#undef FIND
    if (lib.rz_abi_version() == RZ_ABI_VERSION) return true;
    printf("replay: %s is of ABI %u, expected %u\n", path, lib.rz_abi_version(), RZ_ABI_VERSION);
    return false;
}

static uint8_t *read_file(const char *path, size_t *n_bytes) {
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = NULL;
    if (file != NULL && fseek(file, 0, SEEK_END) == 0) {
        const long size = ftell(file);
        rewind(file);
        if (size >= 16) bytes = malloc((size_t)size);
        if (bytes != NULL && fread(bytes, 1, (size_t)size, file) == (size_t)size) *n_bytes = (size_t)size;
        else free(bytes), bytes = NULL;
    }
    if (file != NULL) fclose(file);
    if (bytes != NULL && memcmp(bytes, "RZT1\1\0\0\0", 8) == 0) return bytes;
    printf("replay: %s is not a trace\n", path);
    free(bytes);
    return NULL;
}

static int32_t open_engine(const char *on, uint32_t isa) {
    rz_engine_options o = {.size = sizeof o, .n_devices = 1, .n_threads = 2};
    o.backend = strcmp(on, "ref") == 0 ? RZ_BACKEND_REF : strcmp(on, "cpu") == 0 ? RZ_BACKEND_CPU : RZ_BACKEND_CUDA;
    o.isa_max = o.backend == RZ_BACKEND_REF ? 0 : isa;
    const int32_t engine = lib.rz_engine_open(&o);
    if (engine < 0) fail_call(on, "rz_engine_open", engine);
    return engine;
}

static void play(const options *o, const uint8_t *bytes, size_t n_bytes, uint32_t reference, uint32_t judged) {
    const record *end = (const void *)(bytes + n_bytes), *r = (const void *)(bytes + 16);
    const time_t began = time(NULL);
    for (uint32_t i = 0; r < end && r->kind == CASE; i++) {
        const record *first = next_of(r), *last = first;
        char name[256];
        double bound;
        memcpy(&bound, r->payload, sizeof bound);
        snprintf(name, sizeof name, "%.*s", (int)(r->n_bytes - 8), (const char *)r->payload + 8);
        while (last < end && last->kind != CASE) last = next_of(last);
        r = last;
        if (i % o->n_parts != o->part || strstr(name, o->only) == NULL) continue;
        if (o->seconds > 0 && time(NULL) - began >= (time_t)o->seconds) {
            n_left++;
            continue;
        }
        if (verbose) printf("%s\n", name), fflush(stdout);
        n_cases++;
        if (!run_case(name, reference, first, last, &tapes[0])) continue;
        if (!run_case(name, judged, first, last, &tapes[1])) continue;
        compare(name, bound, first, last);
    }
}

static void check_leaks(void) {
    rz_stats stats = {0};
    lib.rz_library_stats(&stats, sizeof stats);
    if (stats.n_engines + stats.n_weights + stats.n_plans + stats.n_caches + stats.n_tickets > 0 ||
        stats.total_bytes > 0)
        fail("at the end", "objects or memory are left in the library");
}

static bool read_options(int n, char **words, options *o) {
    if (n < 3) return false;
    *o = (options){.library = words[1], .trace = words[2], .on = "cpu", .only = "", .n_parts = 1};
    for (int i = 3; i < n; i++) {
        const char *value = i + 1 < n ? words[i + 1] : NULL;
        if (strcmp(words[i], "--verbose") == 0) verbose = true;
        else if (value == NULL) return false;
        else if (strcmp(words[i], "--on") == 0) o->on = words[++i];
        else if (strcmp(words[i], "--only") == 0) o->only = words[++i];
        else if (strcmp(words[i], "--isa") == 0) o->isa = (uint32_t)strtoul(words[++i], NULL, 10);
        else if (strcmp(words[i], "--seconds") == 0) o->seconds = (uint32_t)strtoul(words[++i], NULL, 10);
        else if (strcmp(words[i], "--part") == 0) {
            if (sscanf(words[++i], "%u/%u", &o->part, &o->n_parts) != 2 || o->part >= o->n_parts) return false;
        } else return false;
    }
    return strcmp(o->on, "ref") == 0 || strcmp(o->on, "cpu") == 0 || strcmp(o->on, "cuda") == 0;
}

int main(int n, char **words) {
    options o;
    size_t n_bytes = 0;
    if (!read_options(n, words, &o)) {
        printf("replay LIBRARY TRACE [--on ref|cpu|cuda] [--isa N] [--only TEXT] [--part I/N] [--seconds N] "
               "[--verbose]\n");
        return 2;
    }
    uint8_t *bytes = find_library(o.library) ? read_file(o.trace, &n_bytes) : NULL;
    if (bytes == NULL) return 2;
    const int32_t reference = open_engine("ref", 0);
    const int32_t judged = reference < 0 ? -1 : open_engine(o.on, o.isa);
    if (judged > 0) play(&o, bytes, n_bytes, (uint32_t)reference, (uint32_t)judged);
    if (judged > 0) lib.rz_engine_close((uint32_t)judged);
    if (reference > 0) lib.rz_engine_close((uint32_t)reference);
    check_leaks();
    printf("replay on %s: %u cases (%u not begun), %llu values, %u failures, largest error %.3g of its bound\n", o.on,
           n_cases, n_left, (unsigned long long)n_values, n_failed, worst);
    free(tapes[0].bytes);
    free(tapes[1].bytes);
    free(bytes);
    return judged < 0 ? 2 : n_failed > 0;
}
