/* submit.c - rz_step_*: the calls about steps. */
#include "batch.h"
#include <string.h>

/* Plan and cache are pinned. The locks keep two submitters from the same marks; plan before cache, always. */
static rz_status submit(rz_plan *plan, rz_cache *cache, const uint8_t *batch, uint32_t n, uint32_t *number) {
    rz_queue *q = &plan->engine->queue;
    rz_ticket *t = NULL;
    if (cache != NULL && cache->engine != plan->engine) {
        return rz_fail(RZ_E_HANDLE, "rz_step_submit: the cache belongs to another engine than the plan");
    }
    rz_status status = rz_batch_match(plan, cache);
    if (status == RZ_OK) status = rz_queue_take(q, plan, cache, &t);
    if (status != RZ_OK) return status;
    rz_mutex_lock(&plan->fill_lock);
    if (cache != NULL) rz_mutex_lock(&cache->fill_lock);
    status = rz_batch_read(t, batch, n);
    if (cache != NULL) rz_mutex_unlock(&cache->fill_lock);
    rz_mutex_unlock(&plan->fill_lock);
    if (status == RZ_OK) status = rz_queue_submit(q, t, number);
    if (status != RZ_OK) rz_queue_give_back(q, t);
    return status;
}

RZ_API int32_t rz_step_submit(uint32_t plan, uint32_t cache, const uint8_t *batch, uint32_t n) {
    rz_plan *p = NULL;
    rz_cache *c = NULL;
    uint32_t number = 0;
    rz_status status = rz_pin_plan("rz_step_submit", plan, &p);
    if (status == RZ_OK && cache != 0) status = rz_pin_cache("rz_step_submit", cache, &c);
    if (status == RZ_OK) status = submit(p, c, batch, n, &number);
    if (c != NULL) rz_handle_unpin(&c->object);
    if (p != NULL) rz_handle_unpin(&p->object);
    return status == RZ_OK ? (int32_t)number : -(int32_t)status;
}

RZ_API int32_t rz_step_sample(uint32_t engine, uint32_t ticket, const uint32_t *masks, uint32_t n) {
    rz_engine *e = NULL;
    if (n > 0 && masks == NULL) return -(int32_t)rz_fail(RZ_E_ARG, "rz_step_sample: masks is NULL");
    rz_status status = rz_pin_engine("rz_step_sample", engine, &e);
    if (status != RZ_OK) return -(int32_t)status;
    status = rz_queue_release(&e->queue, ticket, masks, n);
    rz_handle_unpin(&e->object);
    return -(int32_t)status;
}

RZ_API int32_t rz_step_wait(uint32_t engine, uint32_t ticket, uint32_t timeout_ms, uint8_t *result, uint32_t cap) {
    rz_engine *e = NULL;
    uint32_t n = 0;
    rz_status status = rz_pin_engine("rz_step_wait", engine, &e);
    if (status != RZ_OK) return -(int32_t)status;
    status = rz_queue_wait(&e->queue, ticket, timeout_ms, result, cap, &n);
    rz_handle_unpin(&e->object);
    return status == RZ_OK ? (int32_t)n : -(int32_t)status;
}

static bool is_readable(const rz_plan *p, uint32_t value_id) {
    if ((p->ir.values[value_id - 1].flags & (RZ_VALUE_OUTPUT | RZ_VALUE_WATCHED)) != 0) return true;
    for (uint32_t i = 0; i < p->options.n_watched; i++) {
        if (p->options.watched[i] == value_id) return true;
    }
    return false;
}

static rz_status read_value(rz_plan *p, uint32_t value_id, uint32_t row, uint32_t n_rows, float *out, uint32_t cap,
                            uint32_t *n) {
    if (value_id < 1 || value_id > p->ir.header->n_values || !is_readable(p, value_id)) {
        return rz_fail(RZ_E_ARG, "rz_step_read: value %u is not OUTPUT or WATCHED in this plan", value_id);
    }
    const rz_value *v = &p->ir.values[value_id - 1];
    const uint32_t all_rows = p->last_rows[v->rows];
    const uint64_t n_floats = (uint64_t)n_rows * v->cols;
    if ((uint64_t)row + n_rows > all_rows || n_floats > cap || n_floats > INT32_MAX || (n_rows > 0 && out == NULL)) {
        return rz_fail(RZ_E_ARG, "rz_step_read: value %u: rows %u + %u of %u, %llu floats, cap %u", value_id, row,
                       n_rows, all_rows, (unsigned long long)n_floats, cap);
    }
    *n = (uint32_t)n_floats;
    if (n_rows == 0) return RZ_OK;
    return (rz_status)p->engine->backend->value_read(p->program, value_id, row, n_rows, out);
}

RZ_API int32_t rz_step_read(uint32_t engine, uint32_t ticket, uint32_t value_id, uint32_t row, uint32_t n_rows,
                            float *out, uint32_t cap) {
    rz_engine *e = NULL;
    rz_plan *p = NULL;
    uint32_t n = 0;
    rz_status status = rz_pin_engine("rz_step_read", engine, &e);
    if (status != RZ_OK) return -(int32_t)status;
    status = rz_queue_read_begin(&e->queue, ticket, &p);
    if (status == RZ_OK) {
        status = read_value(p, value_id, row, n_rows, out, cap, &n);
        rz_queue_read_end(&e->queue, p);
    }
    rz_handle_unpin(&e->object);
    return status == RZ_OK ? (int32_t)n : -(int32_t)status;
}

RZ_API int32_t rz_step_cancel(uint32_t engine, uint32_t ticket) {
    rz_engine *e = NULL;
    const rz_status status = rz_pin_engine("rz_step_cancel", engine, &e);
    if (status != RZ_OK) return -(int32_t)status;
    rz_queue_cancel(&e->queue, ticket);
    rz_handle_unpin(&e->object);
    return RZ_OK;
}
