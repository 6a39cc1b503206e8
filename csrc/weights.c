/* weights.c - rz_weights_*: the table is checked, memory for all layouts taken, loading started. */
#include "weights.h"
#include "plan.h"
#include <string.h>

#define PATHS_MAX 4096u
#define PATH_RECORD_BYTES 20u /* before the text: u64 size, i64 mtime_ns, u32 length */

/* ---- layout ---------------------------------------------------------------------------------------------------- */

static rz_status layout_bytes(rz_engine *engine, const rz_weight *spec, uint32_t id, uint64_t *bytes) {
    *bytes = 0;
    const rz_status status = (rz_status)engine->backend->weight_bytes(engine->state, spec, bytes);
    if (status != RZ_OK) return status;
    const uint32_t unit = engine->backend->weight_row_unit(engine->state, spec);
    if (unit > 0 && RZ_WRITE_ROWS % unit == 0 && *bytes <= SIZE_MAX / 2) return RZ_OK;
    return rz_fail(RZ_E_INTERNAL, "weight %u: %s stores rows by %u in %llu bytes", id, engine->backend->name, unit,
                   (unsigned long long)*bytes);
}

rz_status rz_weights_layout(rz_engine *engine, const rz_weight *specs, uint32_t n, uint64_t *bytes) {
    uint64_t total = 0, one = 0;
    for (uint32_t i = 0; i < n; i++) {
        const rz_status status = layout_bytes(engine, &specs[i], i + 1, &one);
        if (status != RZ_OK) return status;
        if (__builtin_add_overflow(total, (one + 63) / 64 * 64, &total)) {
            return rz_fail(RZ_E_OVERFLOW, "weight %u: the sum of all layouts does not fit", i + 1);
        }
    }
    *bytes = total;
    return RZ_OK;
}

/* ---- open ------------------------------------------------------------------------------------------------------ */

static uint32_t path_length(const uint8_t *record) {
    uint32_t length;
    memcpy(&length, record + 16, sizeof length);
    return length;
}

static uint64_t record_bytes(uint32_t length) { return (PATH_RECORD_BYTES + (uint64_t)length + 7) / 8 * 8; }

/* Walks the records: counts them, or the failure. */
static rz_status count_paths(const uint8_t *paths, uint32_t n_bytes, uint32_t *n) {
    *n = 0;
    for (uint64_t at = 0; at < n_bytes;) {
        const uint64_t left = n_bytes - at;
        if (left < PATH_RECORD_BYTES) {
            return rz_fail(RZ_E_TRUNCATED, "rz_weights_open: path %u: the record is cut at byte %u", *n, n_bytes);
        }
        const uint32_t length = path_length(paths + at);
        if (length == 0 || record_bytes(length) > left) {
            return rz_fail(RZ_E_TRUNCATED, "rz_weights_open: path %u: %u bytes long, the record has %llu left", *n,
                           length, (unsigned long long)(left - PATH_RECORD_BYTES));
        }
        if (memchr(paths + at + PATH_RECORD_BYTES, 0, length) != NULL) {
            return rz_fail(RZ_E_ARG, "rz_weights_open: path %u holds a zero byte", *n);
        }
        at += record_bytes(length);
        if (++*n > PATHS_MAX) return rz_fail(RZ_E_LIMIT, "rz_weights_open: more than %u paths", PATHS_MAX);
    }
    return RZ_OK;
}

static void copy_paths(rz_weights *w, const uint8_t *paths) {
    char *to = w->paths;
    for (uint32_t i = 0; i < w->n_sources; i++) {
        const uint32_t length = path_length(paths);
        rz_source *source = &w->sources[i];
        memcpy(&source->size_bytes, paths, sizeof source->size_bytes);
        memcpy(&source->mtime_ns, paths + 8, sizeof source->mtime_ns);
        memcpy(to, paths + PATH_RECORD_BYTES, length);
        to[length] = 0;
        source->file.handle = -1;
        source->path = to;
        to += length + 1;
        paths += record_bytes(length);
    }
}

static rz_status check_place(const rz_weights *w, const rz_weight *spec, uint32_t id) {
    if (spec->file == RZ_FILE_NONE) return RZ_OK;
    if (spec->file >= w->n_sources) {
        return rz_fail(RZ_E_ARG, "rz_weights_open: weight %u: file %u, there are %u", id, spec->file, w->n_sources);
    }
    const rz_source *source = &w->sources[spec->file];
    if (spec->offset <= source->size_bytes && spec->bytes <= source->size_bytes - spec->offset) return RZ_OK;
    return rz_fail(RZ_E_OFFSET, "rz_weights_open: weight %u: bytes %llu + %llu of %s, which has %llu", id,
                   (unsigned long long)spec->offset, (unsigned long long)spec->bytes, source->path,
                   (unsigned long long)source->size_bytes);
}

static uint64_t blocks_of(const rz_weight *spec) {
    if (spec->file != RZ_FILE_NONE) return 0;
    return (spec->rows + (uint64_t)RZ_WRITE_ROWS - 1) / RZ_WRITE_ROWS * spec->n_experts;
}

/* Checks the table and sums it up; the specs are copies already. */
static rz_status check_table(rz_weights *w) {
    uint64_t n_blocks = 0;
    for (uint32_t i = 0; i < w->n; i++) {
        const rz_weight *spec = &w->tensors[i].spec;
        rz_status status = rz_weight_check("rz_weights_open", spec, i + 1);
        if (status == RZ_OK) status = check_place(w, spec, i + 1);
        if (status == RZ_OK) status = layout_bytes(w->engine, spec, i + 1, &w->tensors[i].layout_bytes);
        if (status != RZ_OK) return status;
        uint64_t *left = spec->file == RZ_FILE_NONE ? &w->memory_left : &w->file_left;
        if (__builtin_add_overflow(w->progress.total_bytes, spec->bytes, &w->progress.total_bytes)) {
            return rz_fail(RZ_E_OVERFLOW, "rz_weights_open: weight %u: the sum of all bytes does not fit", i + 1);
        }
        *left += spec->bytes;
        w->first_block[i] = n_blocks;
        n_blocks += blocks_of(spec);
    }
    w->first_block[w->n] = n_blocks;
    return RZ_OK;
}

static rz_status place(rz_weights *w) {
    uint64_t total = 0;
    for (uint32_t i = 0; i < w->n; i++) {
        if (__builtin_add_overflow(total, (w->tensors[i].layout_bytes + 63) / 64 * 64, &total)) {
            return rz_fail(RZ_E_OVERFLOW, "rz_weights_open: the sum of all layouts does not fit");
        }
    }
    const rz_status status = rz_engine_alloc(w->engine, RZ_MEMORY_WEIGHTS, total, "weights", &w->data);
    if (status != RZ_OK) return status;
    w->data_bytes = total;
    uint64_t at = 0;
    for (uint32_t i = 0; i < w->n; i++) {
        w->tensors[i].data = w->data + at;
        at += (w->tensors[i].layout_bytes + 63) / 64 * 64;
    }
    const uint64_t n_blocks = w->first_block[w->n];
    w->written = rz_alloc(w->engine->account, RZ_MEMORY_WEIGHTS, n_blocks / 8 + 1, "marks of written weights");
    return w->written != NULL ? RZ_OK : RZ_E_OOM_HOST;
}

static rz_status open_parts(rz_weights *w, const uint8_t *paths, uint32_t n_bytes, const rz_weight *specs) {
    rz_account *account = w->engine->account;
    w->tensors = rz_alloc(account, RZ_MEMORY_WEIGHTS, w->n * sizeof *w->tensors, "table of weights");
    w->first_block = rz_alloc(account, RZ_MEMORY_WEIGHTS, (w->n + 1ull) * sizeof *w->first_block, "table of weights");
    w->sources = rz_alloc(account, RZ_MEMORY_WEIGHTS, w->n_sources * sizeof *w->sources, "table of files");
    w->paths = rz_alloc(account, RZ_MEMORY_WEIGHTS, n_bytes, "paths"); /* texts with a zero are shorter than records */
    if (w->tensors == NULL || w->first_block == NULL || w->sources == NULL || w->paths == NULL) return RZ_E_OOM_HOST;
    copy_paths(w, paths);
    for (uint32_t i = 0; i < w->n; i++) memcpy(&w->tensors[i].spec, &specs[i], sizeof specs[i]);
    rz_mutex_lock(&w->engine->open_lock);
    rz_status status = check_table(w);
    rz_mutex_unlock(&w->engine->open_lock);
    if (status == RZ_OK) status = place(w);
    return status == RZ_OK ? rz_loader_start(w) : status;
}

static void weights_stop(rz_object *object) { rz_loader_stop((rz_weights *)(void *)object); }

static void weights_destroy(rz_object *object) {
    rz_weights *w = (rz_weights *)(void *)object;
    rz_loader_join(w);
    rz_mutex_destroy(&w->lock);
    rz_cond_destroy(&w->changed);
    rz_free(w->tensors);
    rz_free(w->first_block);
    rz_free(w->sources);
    rz_free(w->paths);
    rz_engine_free(w->engine, RZ_MEMORY_WEIGHTS, w->data_bytes, w->data);
    rz_free(w->written);
    rz_free(w);
}

static const rz_class weights_class = {RZ_KIND_WEIGHTS, "weights", weights_stop, weights_destroy};

static rz_status weights_open(rz_engine *engine, const uint8_t *paths, uint32_t n_bytes, const rz_weight *specs,
                              uint32_t n, uint32_t *id) {
    uint32_t n_sources = 0;
    if ((n_bytes > 0 && paths == NULL) || (n > 0 && specs == NULL)) {
        return rz_fail(RZ_E_ARG, "rz_weights_open: paths or weights are NULL");
    }
    if (n > RZ_MAX_PLAN_WEIGHTS) {
        return rz_fail(RZ_E_LIMIT, "rz_weights_open: %u weights, at most %u", n, RZ_MAX_PLAN_WEIGHTS);
    }
    rz_status status = count_paths(paths, n_bytes, &n_sources);
    if (status != RZ_OK) return status;
    rz_weights *w = rz_alloc(engine->account, RZ_MEMORY_WEIGHTS, sizeof *w, "weights");
    if (w == NULL) return RZ_E_OOM_HOST;
    w->engine = engine;
    w->n = n;
    w->n_sources = n_sources;
    rz_mutex_init(&w->lock);
    rz_cond_init(&w->changed);
    status = open_parts(w, paths, n_bytes, specs);
    if (status == RZ_OK) status = rz_handle_open(&w->object, &weights_class, &engine->object);
    if (status == RZ_OK) {
        *id = w->object.id;
    } else {
        weights_stop(&w->object);
        weights_destroy(&w->object);
    }
    return status;
}

RZ_API int32_t rz_weights_open(uint32_t engine, const uint8_t *paths, uint32_t n_bytes, const rz_weight *weights,
                               uint32_t n) {
    rz_engine *e = NULL;
    uint32_t id = 0;
    rz_status status = rz_pin_engine("rz_weights_open", engine, &e);
    if (status != RZ_OK) return -(int32_t)status;
    status = weights_open(e, paths, n_bytes, weights, n, &id);
    rz_handle_unpin(&e->object);
    return status == RZ_OK ? (int32_t)id : -(int32_t)status;
}

RZ_API int32_t rz_weights_close(uint32_t weights) {
    return -(int32_t)rz_handle_close("rz_weights_close", weights, RZ_KIND_WEIGHTS);
}

/* ---- bytes from memory ----------------------------------------------------------------------------------------- */

static rz_status check_piece(const rz_weights *w, uint32_t weight_id, double offset, uint32_t n, uint64_t *row,
                             uint64_t *n_rows) {
    if (weight_id < 1 || weight_id > w->n) {
        return rz_fail(RZ_E_ARG, "rz_weights_write: weight %u, expected 1..%u", weight_id, w->n);
    }
    const rz_weight *spec = &w->tensors[weight_id - 1].spec;
    if (spec->file != RZ_FILE_NONE) {
        return rz_fail(RZ_E_ARG, "rz_weights_write: weight %u comes from file %u", weight_id, spec->file);
    }
    const uint64_t row_bytes = rz_weight_row_bytes(spec);
    const bool whole = offset >= 0 && offset <= (double)spec->bytes && offset == (double)(uint64_t)offset;
    const uint64_t first = whole ? (uint64_t)offset : 0;
    if (!whole || first % row_bytes != 0 || n % row_bytes != 0 || n > spec->bytes - first) {
        return rz_fail(RZ_E_ARG,
                       "rz_weights_write: weight %u: %u bytes at %.1f, expected whole rows of %llu within %llu",
                       weight_id, n, offset, (unsigned long long)row_bytes, (unsigned long long)spec->bytes);
    }
    *row = first / row_bytes;
    *n_rows = n / row_bytes;
    const uint64_t last = (*row + *n_rows) % spec->rows;
    if (*row % spec->rows % RZ_WRITE_ROWS == 0 && last % RZ_WRITE_ROWS == 0) return RZ_OK;
    return rz_fail(RZ_E_ARG,
                   "rz_weights_write: weight %u: rows %llu + %llu of %u, expected multiples of %u, or the end",
                   weight_id, (unsigned long long)*row, (unsigned long long)*n_rows, spec->rows, RZ_WRITE_ROWS);
}

/* With the lock held: marks the blocks of a piece, or fails with nothing marked. */
static rz_status mark_piece(rz_weights *w, uint32_t weight_id, uint64_t row, uint64_t n_rows) {
    const rz_weight *spec = &w->tensors[weight_id - 1].spec;
    const uint64_t per_expert = (spec->rows + (uint64_t)RZ_WRITE_ROWS - 1) / RZ_WRITE_ROWS;
    const uint64_t first = w->first_block[weight_id - 1];
    for (uint32_t pass = 0; pass < 2; pass++) {
        for (uint64_t r = row; r < row + n_rows;) {
            const uint64_t in_expert = r % spec->rows, left = spec->rows - in_expert;
            const uint64_t bit = first + r / spec->rows * per_expert + in_expert / RZ_WRITE_ROWS;
            if (pass == 1) {
                w->written[bit / 8] |= (uint8_t)(1u << bit % 8);
            } else if ((w->written[bit / 8] >> bit % 8 & 1) != 0) {
                return rz_fail(RZ_E_DUPLICATE, "rz_weights_write: weight %u: row %llu was written before", weight_id,
                               (unsigned long long)r);
            }
            r += left < RZ_WRITE_ROWS ? left : RZ_WRITE_ROWS;
        }
    }
    return RZ_OK;
}

static rz_status store_piece(rz_weights *w, const rz_tensor *t, uint64_t row, uint64_t n_rows, const uint8_t *bytes) {
    const uint64_t row_bytes = rz_weight_row_bytes(&t->spec);
    int32_t status = RZ_OK;
    while (n_rows > 0 && status == RZ_OK) {
        const uint64_t left = t->spec.rows - row % t->spec.rows, n = n_rows < left ? n_rows : left;
        status = w->engine->backend->weight_store(w->engine->state, t, (uint32_t)row, (uint32_t)n, bytes);
        bytes += n * row_bytes;
        row += n;
        n_rows -= n;
    }
    return (rz_status)status;
}

static rz_status weights_write(rz_weights *w, uint32_t weight_id, double offset, const uint8_t *bytes, uint32_t n) {
    uint64_t row = 0, n_rows = 0;
    rz_status status = check_piece(w, weight_id, offset, n, &row, &n_rows);
    if (status != RZ_OK || n_rows == 0) return status;
    if (bytes == NULL) return rz_fail(RZ_E_ARG, "rz_weights_write: bytes is NULL");
    rz_mutex_lock(&w->lock);
    status = mark_piece(w, weight_id, row, n_rows);
    rz_mutex_unlock(&w->lock);
    if (status != RZ_OK) return status;
    status = store_piece(w, &w->tensors[weight_id - 1], row, n_rows, bytes);
    rz_mutex_lock(&w->lock);
    if (status == RZ_OK) {
        w->memory_left -= n;
        w->progress.done_bytes += n;
        rz_loader_settle(w);
    } else {
        rz_loader_fail(w, status);
    }
    rz_cond_broadcast(&w->changed);
    rz_mutex_unlock(&w->lock);
    return status;
}

RZ_API int32_t rz_weights_write(uint32_t weights, uint32_t weight_id, double offset, const uint8_t *bytes, uint32_t n) {
    rz_weights *w = NULL;
    rz_status status = rz_pin_weights("rz_weights_write", weights, &w);
    if (status != RZ_OK) return -(int32_t)status;
    status = weights_write(w, weight_id, offset, bytes, n);
    rz_handle_unpin(&w->object);
    return -(int32_t)status;
}

/* ---- state and reading ----------------------------------------------------------------------------------------- */

rz_status rz_weights_ready(rz_weights *w, const char *function) {
    rz_mutex_lock(&w->lock);
    const rz_progress progress = w->progress;
    if (progress.state == 2) rz_fail_set(w->message);
    rz_mutex_unlock(&w->lock);
    if (progress.state == 1) return RZ_OK;
    if (progress.state == 2) return (rz_status)progress.status;
    return rz_fail(RZ_E_BUSY, "%s: the weights are still loading (%llu of %llu bytes)", function,
                   (unsigned long long)progress.done_bytes, (unsigned long long)progress.total_bytes);
}

static int32_t weights_poll(rz_weights *w, uint32_t timeout_ms, rz_progress *out) {
    const uint64_t until = rz_time_ns() + (uint64_t)timeout_ms * 1000000u;
    rz_mutex_lock(&w->lock);
    for (uint64_t now = rz_time_ns(); now < until && w->progress.state == 0 && !w->stopping; now = rz_time_ns()) {
        rz_cond_wait_for(&w->changed, &w->lock, until - now);
    }
    *out = w->progress;
    if (w->progress.state == 2) rz_fail_set(w->message);
    const bool closed = w->progress.state == 0 && w->stopping;
    rz_mutex_unlock(&w->lock);
    if (out->state != 0) rz_loader_join(w); /* they are at their end: their stacks need not wait for the close */
    if (closed) return -(int32_t)rz_fail(RZ_E_CLOSED, "rz_weights_poll: closed while loading");
    return out->state == 2 ? -(int32_t)out->status : (int32_t)out->state;
}

RZ_API int32_t rz_weights_poll(uint32_t weights, uint32_t timeout_ms, rz_progress *out) {
    rz_weights *w = NULL;
    if (out == NULL) return -(int32_t)rz_fail(RZ_E_ARG, "rz_weights_poll: out is NULL");
    const rz_status status = rz_pin_weights("rz_weights_poll", weights, &w);
    if (status != RZ_OK) return -(int32_t)status;
    const int32_t result = weights_poll(w, timeout_ms, out);
    rz_handle_unpin(&w->object);
    return result;
}

static rz_status weights_read(rz_weights *w, uint32_t weight_id, uint32_t row, uint32_t n_rows, float *out,
                              uint32_t cap) {
    const rz_status status = rz_weights_ready(w, "rz_weights_read");
    if (status != RZ_OK) return status;
    if (weight_id < 1 || weight_id > w->n) {
        return rz_fail(RZ_E_ARG, "rz_weights_read: weight %u, expected 1..%u", weight_id, w->n);
    }
    const rz_tensor *t = &w->tensors[weight_id - 1];
    const uint64_t all_rows = (uint64_t)t->spec.rows * t->spec.n_experts, n = (uint64_t)n_rows * t->spec.cols;
    if ((uint64_t)row + n_rows > all_rows || n > cap || n > INT32_MAX || (n > 0 && out == NULL)) {
        return rz_fail(RZ_E_ARG, "rz_weights_read: weight %u: rows %u + %u of %llu, %llu floats, cap %u", weight_id,
                       row, n_rows, (unsigned long long)all_rows, (unsigned long long)n, cap);
    }
    return n == 0 ? RZ_OK : (rz_status)w->engine->backend->weight_read(w->engine->state, t, row, n_rows, out);
}

RZ_API int32_t rz_weights_read(uint32_t weights, uint32_t weight_id, uint32_t row, uint32_t n_rows, float *out,
                               uint32_t cap) {
    rz_weights *w = NULL;
    rz_status status = rz_pin_weights("rz_weights_read", weights, &w);
    if (status != RZ_OK) return -(int32_t)status;
    status = weights_read(w, weight_id, row, n_rows, out, cap);
    const int32_t n = status == RZ_OK ? (int32_t)(n_rows * w->tensors[weight_id - 1].spec.cols) : -(int32_t)status;
    rz_handle_unpin(&w->object);
    return n;
}
