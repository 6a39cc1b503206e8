/* loader.c - threads that read weights from files and store them in their layout. */
#include "dtype.h"
#include "weights.h"
#include <string.h>

#define CHUNK_BYTES ((uint64_t)4 << 20)

typedef struct chunk {
    const rz_tensor *tensor;
    uint32_t row, n_rows; /* rows run over all experts */
} chunk;

uint64_t rz_weight_row_bytes(const rz_weight *spec) {
    const rz_dtype_row *dtype = rz_dtype_find(spec->dtype);
    return (uint64_t)(spec->cols / dtype->block_size) * dtype->block_bytes;
}

static uint32_t unit_of(const rz_weights *w, const rz_weight *spec) {
    return w->engine->backend->weight_row_unit(w->engine->state, spec);
}

/* Rows of a chunk: whole units, about CHUNK_BYTES. */
static uint64_t chunk_rows(const rz_weights *w, const rz_weight *spec) {
    const uint64_t unit = unit_of(w, spec);
    const uint64_t n_units = CHUNK_BYTES / (rz_weight_row_bytes(spec) * unit);
    return n_units > 0 ? n_units * unit : unit;
}

/* With the lock held: the next piece of work; false when there is none. A chunk ends where an expert ends. */
static bool take_chunk(rz_weights *w, chunk *out) {
    while (w->next_tensor < w->n) {
        const rz_tensor *t = &w->tensors[w->next_tensor];
        const uint64_t n_rows = t->spec.file != RZ_FILE_NONE ? (uint64_t)t->spec.rows * t->spec.n_experts : 0;
        if (w->next_row >= n_rows) {
            w->next_tensor++;
            w->next_row = 0;
            continue;
        }
        const uint32_t left_in_expert = t->spec.rows - w->next_row % t->spec.rows;
        const uint64_t n = chunk_rows(w, &t->spec);
        *out = (chunk){t, w->next_row, n < left_in_expert ? (uint32_t)n : left_in_expert};
        w->next_row += out->n_rows;
        return true;
    }
    return false;
}

void rz_loader_fail(rz_weights *w, rz_status status) {
    if (w->progress.state != 0) return;
    w->progress.state = 2;
    w->progress.status = status;
    memcpy(w->message, rz_fail_message(), sizeof w->message);
}

/* With the lock held. */
static rz_status check_unchanged(const rz_source *source) {
    uint64_t size_bytes = 0;
    int64_t mtime_ns = 0;
    const rz_status status = (rz_status)rz_file_stat(source->file, source->path, &size_bytes, &mtime_ns);
    if (status != RZ_OK) return status;
    if (size_bytes == source->size_bytes && mtime_ns == source->mtime_ns) return RZ_OK;
    return rz_fail(RZ_E_IO, "%s: was changed while it was loaded", source->path);
}

static void close_sources(rz_weights *w) {
    for (uint32_t i = 0; i < w->n_sources; i++) rz_file_close(&w->sources[i].file);
    rz_free(w->staging);
    w->staging = NULL;
}

void rz_loader_settle(rz_weights *w) {
    if (w->n_active > 0 || w->file_left > 0 || w->memory_left > 0 || w->progress.state != 0) return;
    w->progress.state = 1;
}

/* With the lock held: what the last loader does. */
static void finish(rz_weights *w) {
    for (uint32_t i = 0; i < w->n_sources && !w->stopping; i++) {
        const rz_status status = check_unchanged(&w->sources[i]);
        if (status != RZ_OK) rz_loader_fail(w, status);
    }
    close_sources(w);
    rz_loader_settle(w);
    rz_cond_broadcast(&w->changed);
}

static void load(void *arg) {
    rz_weights *w = arg;
    chunk c;
    rz_mutex_lock(&w->lock);
    uint8_t *staging = w->staging + w->n_stages++ * w->staging_bytes;
    while (!w->stopping && w->progress.state == 0 && take_chunk(w, &c)) {
        rz_mutex_unlock(&w->lock);
        const uint64_t row_bytes = rz_weight_row_bytes(&c.tensor->spec);
        const uint64_t bytes = row_bytes * c.n_rows;
        const rz_source *source = &w->sources[c.tensor->spec.file];
        int32_t status = rz_file_read(source->file, source->path, c.tensor->spec.offset + c.row * row_bytes, staging,
                                      bytes);
        if (status == RZ_OK) {
            status = w->engine->backend->weight_store(w->engine->state, c.tensor, c.row, c.n_rows, staging);
        }
        rz_mutex_lock(&w->lock);
        if (status != RZ_OK) rz_loader_fail(w, (rz_status)status);
        else w->file_left -= bytes, w->progress.done_bytes += bytes;
    }
    if (--w->n_active == 0) finish(w);
    rz_mutex_unlock(&w->lock);
}

static rz_status open_source(rz_source *source) {
    rz_status status = (rz_status)rz_file_open(&source->file, source->path);
    uint64_t size_bytes = 0;
    int64_t mtime_ns = 0;
    if (status == RZ_OK) status = (rz_status)rz_file_stat(source->file, source->path, &size_bytes, &mtime_ns);
    if (status != RZ_OK) return status;
    if (size_bytes != source->size_bytes) {
        return rz_fail(RZ_E_IO, "%s: has %llu bytes, %llu when it was validated", source->path,
                       (unsigned long long)size_bytes, (unsigned long long)source->size_bytes);
    }
    if (source->mtime_ns != 0 && mtime_ns / 1000000 != source->mtime_ns / 1000000) {
        return rz_fail(RZ_E_IO, "%s: was changed since it was validated (modified at %lld ns, then %lld)",
                       source->path, (long long)mtime_ns, (long long)source->mtime_ns);
    }
    source->mtime_ns = mtime_ns;
    return RZ_OK;
}

static uint32_t loader_count(const rz_weights *w) {
    const uint32_t cores = rz_cpu_count(), asked = w->engine->options.n_threads;
    const uint32_t n = asked > 0 && asked < cores ? asked : cores;
    return n < 2 ? 2 : n > RZ_LOADERS_MAX ? RZ_LOADERS_MAX : n; /* two, so that reading and storing overlap */
}

static size_t staging_needed(const rz_weights *w) {
    uint64_t most = 0;
    for (uint32_t i = 0; i < w->n; i++) {
        const rz_weight *spec = &w->tensors[i].spec;
        if (spec->file == RZ_FILE_NONE) continue;
        const uint64_t n = chunk_rows(w, spec), bytes = rz_weight_row_bytes(spec) * (n < spec->rows ? n : spec->rows);
        if (bytes > most) most = bytes;
    }
    return (size_t)((most + 63) / 64 * 64);
}

static rz_status start_threads(rz_weights *w, uint32_t n) {
    rz_status status = RZ_OK;
    uint32_t started = 0;
    rz_mutex_lock(&w->lock); /* none begins before all are there */
    w->n_active = n;
    while (started < n && status == RZ_OK) {
        status = (rz_status)rz_thread_start(&w->threads[started], "rz-loader", load, w);
        if (status == RZ_OK) started++;
    }
    w->n_active = started;
    w->n_started = started;
    if (status != RZ_OK) w->stopping = true;
    rz_mutex_unlock(&w->lock);
    if (status != RZ_OK) rz_loader_join(w);
    return status;
}

rz_status rz_loader_start(rz_weights *w) {
    rz_status status = RZ_OK;
    if (w->file_left > 0) {
        const uint32_t n = loader_count(w);
        for (uint32_t i = 0; i < w->n_sources && status == RZ_OK; i++) status = open_source(&w->sources[i]);
        w->staging_bytes = staging_needed(w);
        if (status == RZ_OK) {
            w->staging = rz_alloc(w->engine->account, RZ_MEMORY_WEIGHTS, n * w->staging_bytes, "staging of a load");
            status = w->staging != NULL ? start_threads(w, n) : RZ_E_OOM_HOST;
        }
    } else {
        rz_loader_settle(w);
    }
    if (status != RZ_OK) close_sources(w);
    return status;
}

void rz_loader_stop(rz_weights *w) {
    rz_mutex_lock(&w->lock);
    w->stopping = true;
    rz_cond_broadcast(&w->changed);
    rz_mutex_unlock(&w->lock);
}

void rz_loader_join(rz_weights *w) {
    rz_mutex_lock(&w->lock);
    const uint32_t n = w->n_started;
    w->n_started = 0;
    rz_mutex_unlock(&w->lock);
    for (uint32_t i = 0; i < n; i++) rz_thread_join(&w->threads[i]);
}
