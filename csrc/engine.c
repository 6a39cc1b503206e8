/* engine.c - rz_engine_*: a backend's device, an account, a queue with its driver. */
#include "engine.h"
#include "backends.h"
#include <string.h>

static_assert(sizeof(rz_engine_options) == 64 && sizeof(rz_engine_info) == 128);

static void engine_stop(rz_object *object) { rz_queue_stop(&((rz_engine *)(void *)object)->queue); }

static void engine_destroy(rz_object *object) {
    rz_engine *e = (rz_engine *)(void *)object;
    rz_queue_close(&e->queue);
    e->backend->engine_close(e->state);
    rz_mutex_destroy(&e->open_lock);
    rz_account *account = e->account;
    rz_free(e);
    rz_account_close(account);
}

static const rz_class engine_class = {RZ_KIND_ENGINE, "engine", engine_stop, engine_destroy};

rz_status rz_engine_alloc(rz_engine *e, rz_memory_kind kind, uint64_t bytes, const char *what, uint8_t **out) {
    if (e->backend->memory_open != NULL) return (rz_status)e->backend->memory_open(e->state, kind, bytes, what, out);
    *out = rz_alloc(e->account, kind, (size_t)bytes, what);
    return *out != NULL ? RZ_OK : RZ_E_OOM_HOST;
}

void rz_engine_free(rz_engine *e, rz_memory_kind kind, uint64_t bytes, uint8_t *memory) {
    if (memory == NULL) return;
    if (e->backend->memory_close != NULL) e->backend->memory_close(e->state, kind, bytes, memory);
    else rz_free(memory);
}

static rz_status check_options(const rz_engine_options *o) {
    if (o->size != sizeof *o) {
        return rz_fail(RZ_E_ARG, "rz_engine_open: size is %u, expected %zu", o->size, sizeof *o);
    }
    if (o->backend == RZ_BACKEND_CUDA && o->n_devices != 1) {
        return rz_fail(RZ_E_UNSUPPORTED, "rz_engine_open: %u devices, expected 1", o->n_devices);
    }
    if (o->n_threads > 256 || o->isa_max > RZ_ISA_PTX || o->reserved != 0) {
        return rz_fail(RZ_E_ARG, "rz_engine_open: n_threads %u (0-256), isa_max %u (0-%u), reserved %u (0)",
                       o->n_threads, o->isa_max, RZ_ISA_PTX, o->reserved);
    }
    return RZ_OK;
}

/* On failure everything that was made before is freed, in the order of the labels' fall. */
static rz_status engine_open(const rz_engine_options *options, const rz_backend *backend, uint32_t *id) {
    rz_account *account = rz_account_open(options->memory_max);
    if (account == NULL) return RZ_E_OOM_HOST;
    rz_status status = RZ_E_OOM_HOST;
    rz_engine *e = rz_alloc(account, RZ_MEMORY_OTHER, sizeof *e, "engine");
    if (e == NULL) goto no_engine;
    e->backend = backend;
    e->account = account;
    e->options = *options;
    status = (rz_status)backend->engine_open(options, account, &e->state);
    if (status != RZ_OK) goto no_state;
    rz_mutex_init(&e->open_lock);
    status = rz_queue_open(&e->queue);
    if (status != RZ_OK) goto no_queue;
    status = rz_handle_open(&e->object, &engine_class, NULL);
    if (status == RZ_OK) {
        *id = e->object.id;
        return RZ_OK;
    }
    rz_queue_stop(&e->queue);
    rz_queue_close(&e->queue);
no_queue:
    rz_mutex_destroy(&e->open_lock);
    backend->engine_close(e->state);
no_state:
    rz_free(e);
no_engine:
    rz_account_close(account);
    return status;
}

RZ_API int32_t rz_engine_open(const rz_engine_options *options) {
    rz_status status = rz_handle_process("rz_engine_open");
    if (status != RZ_OK) return -(int32_t)status;
    if (options == NULL) return -(int32_t)rz_fail(RZ_E_ARG, "rz_engine_open: options is NULL");
    rz_engine_options own;
    memcpy(&own, options, sizeof own);
    const rz_backend *backend = NULL;
    uint32_t id = 0;
    status = check_options(&own);
    if (status == RZ_OK) status = rz_backend_find(own.backend, &backend);
    if (status == RZ_OK) status = engine_open(&own, backend, &id);
    return status == RZ_OK ? (int32_t)id : -(int32_t)status;
}

RZ_API int32_t rz_engine_info_read(uint32_t engine, rz_engine_info *out) {
    rz_engine *e = NULL;
    if (out == NULL) return -(int32_t)rz_fail(RZ_E_ARG, "rz_engine_info_read: out is NULL");
    const rz_status status = rz_pin_engine("rz_engine_info_read", engine, &e);
    if (status != RZ_OK) return -(int32_t)status;
    rz_engine_info info = {.page_tokens = e->backend->page_tokens};
    rz_os_memory(&info.device_free, &info.device_total);
    e->backend->engine_info(e->state, &info);
    info.backend = e->options.backend;
    info.memory_used = rz_account_used(e->account);
    info.memory_max = e->options.memory_max;
    memcpy(out, &info, sizeof info);
    rz_handle_unpin(&e->object);
    return RZ_OK;
}

RZ_API int32_t rz_engine_measure(uint32_t engine, uint32_t what, double *out, uint32_t cap) {
    rz_engine *e = NULL;
    double gb_s = 0;
    if (what > 1 || cap < 1 || out == NULL) {
        return -(int32_t)rz_fail(RZ_E_ARG, "rz_engine_measure: what %u (0-1), cap %u (at least 1)", what, cap);
    }
    rz_status status = rz_pin_engine("rz_engine_measure", engine, &e);
    if (status != RZ_OK) return -(int32_t)status;
    rz_fence fence = {.owner = NULL};
    status = rz_queue_fence_begin(&e->queue, &fence, "rz_engine_measure");
    if (status == RZ_OK) {
        status = (rz_status)e->backend->engine_measure(e->state, what, &gb_s);
        rz_queue_fence_end(&e->queue);
    }
    rz_handle_unpin(&e->object);
    if (status != RZ_OK) return -(int32_t)status;
    out[0] = gb_s;
    return 1;
}

RZ_API int32_t rz_engine_close(uint32_t engine) {
    return -(int32_t)rz_handle_close("rz_engine_close", engine, RZ_KIND_ENGINE);
}
