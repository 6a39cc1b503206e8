/* plan_open.c - rz_plan_*: a verified plan, the backend's program for it, and the tickets of its steps. */
#include "batch.h"
#include "plan.h"
#include "weights.h"
#include <string.h>

static_assert(sizeof(rz_plan_info) == 128 && sizeof(rz_brick) == 32);

/* What this file allocates for a plan, beside the backend's program. */
static uint64_t own_bytes(uint32_t plan_bytes, const rz_plan_options *o, uint32_t vocab_size) {
    return plan_bytes + sizeof(rz_plan) + RZ_QUEUE_DEPTH * rz_ticket_bytes(o, vocab_size);
}

static void describe(const rz_plan_ir *ir, const rz_plan_options *o, rz_plan_info *info) {
    const rz_batch_limits max = rz_batch_limits_of(o);
    const uint64_t result_bytes = sizeof(rz_result_header) + (uint64_t)max.n_outs * sizeof(rz_result_out) +
                                  (uint64_t)max.n_tops * sizeof(rz_result_top);
    info->n_ops = ir->header->n_ops;
    info->n_values = ir->header->n_values;
    info->n_weights = ir->header->n_weights;
    info->vocab_size = ir->header->vocab_size;
    info->hidden_size = ir->header->hidden_size;
    info->max_tokens = o->max_tokens;
    info->max_seqs = o->max_seqs;
    info->max_outs = o->max_outs;
    info->max_rows = o->max_rows;
    info->result_bytes_max = (uint32_t)result_bytes;
    info->logits_value = ir->logits_value;
}

/* The backend's and our own view of a plan. With tensors NULL nothing is allocated. */
static rz_status lower(rz_engine *e, const rz_plan_ir *ir, const rz_plan_options *o, const rz_tensor *tensors,
                       rz_plan_info *info, void **program) {
    rz_mutex_lock(&e->open_lock);
    rz_status status = rz_weights_layout(e, ir->weights, ir->header->n_weights, &info->weights_bytes);
    if (status == RZ_OK) {
        status = (rz_status)e->backend->program_open(e->state, ir, tensors, o, info, program);
    }
    rz_mutex_unlock(&e->open_lock);
    if (status != RZ_OK) return status;
    describe(ir, o, info);
    info->scratch_bytes += own_bytes(ir->header->n_bytes, o, ir->header->vocab_size);
    return RZ_OK;
}

static rz_status check(rz_engine *e, const uint8_t *bytes, uint32_t n, const rz_plan_options *asked,
                       rz_plan_info *info) {
    rz_plan_ir ir = {0};
    rz_plan_options options;
    rz_status status = rz_plan_read(bytes, n, e->account, &ir);
    if (status != RZ_OK) return status;
    status = rz_plan_options_read(&ir, asked, &options);
    if (status == RZ_OK) status = lower(e, &ir, &options, NULL, info, NULL);
    rz_plan_free(&ir);
    return status;
}

RZ_API int32_t rz_plan_check(uint32_t engine, const uint8_t *plan, uint32_t n, const rz_plan_options *options,
                             rz_plan_info *out) {
    rz_engine *e = NULL;
    if (options == NULL || out == NULL || (n > 0 && plan == NULL)) {
        return -(int32_t)rz_fail(RZ_E_ARG, "rz_plan_check: an argument is NULL");
    }
    rz_status status = rz_pin_engine("rz_plan_check", engine, &e);
    if (status != RZ_OK) return -(int32_t)status;
    rz_plan_options own;
    rz_plan_info info = {0};
    memcpy(&own, options, sizeof own);
    status = check(e, plan, n, &own, &info);
    if (status == RZ_OK) memcpy(out, &info, sizeof info);
    rz_handle_unpin(&e->object);
    return -(int32_t)status;
}

/* ---- open and close -------------------------------------------------------------------------------------------- */

static uint32_t experts_per_token(const rz_plan_ir *ir) {
    for (uint32_t i = 0; i < ir->header->n_ops; i++) {
        if (ir->ops[i].code == RZ_OP_MOE_ROUTE) return ir->ops[i].n[0];
    }
    return 0;
}

static rz_status open_tickets(rz_plan *p) {
    const uint32_t vocab_size = p->ir.header->vocab_size;
    const uint64_t bytes = rz_ticket_bytes(&p->options, vocab_size);
    p->memory = rz_alloc(p->engine->account, RZ_MEMORY_PLAN, (size_t)(bytes * RZ_QUEUE_DEPTH), "tickets of a plan");
    if (p->memory == NULL) return RZ_E_OOM_HOST;
    for (uint32_t i = 0; i < RZ_QUEUE_DEPTH; i++) {
        rz_ticket_place(&p->tickets[i], &p->options, vocab_size, p->memory + i * bytes);
        p->tickets[i].plan = p;
    }
    return RZ_OK;
}

static rz_status open_parts(rz_plan *p, rz_weights *w, const uint8_t *bytes, uint32_t n,
                            const rz_plan_options *asked) {
    rz_status status = rz_plan_read(bytes, n, p->engine->account, &p->ir);
    if (status == RZ_OK) status = rz_plan_options_read(&p->ir, asked, &p->options);
    if (status == RZ_OK) status = rz_plan_match(&p->ir, w->tensors, w->n);
    if (status == RZ_OK) status = open_tickets(p);
    if (status == RZ_OK) status = lower(p->engine, &p->ir, &p->options, w->tensors, &p->info, &p->program);
    if (status == RZ_OK) p->experts_per_token = experts_per_token(&p->ir);
    return status;
}

static void free_plan(rz_plan *p) {
    if (p->program != NULL) p->engine->backend->program_close(p->program);
    if (p->ir.header != NULL) rz_plan_free(&p->ir);
    rz_free(p->memory);
    rz_mutex_destroy(&p->fill_lock);
    rz_free(p);
}

static void plan_stop(rz_object *object) {
    rz_plan *p = (rz_plan *)(void *)object;
    rz_queue_plan_stop(&p->engine->queue, p);
}

static void plan_destroy(rz_object *object) {
    rz_plan *p = (rz_plan *)(void *)object;
    rz_queue_plan_remove(&p->engine->queue, p);
    free_plan(p);
}

static const rz_class plan_class = {RZ_KIND_PLAN, "plan", plan_stop, plan_destroy};

static rz_status plan_open(rz_weights *w, const uint8_t *bytes, uint32_t n, const rz_plan_options *asked,
                           uint32_t *id) {
    rz_status status = rz_weights_ready(w, "rz_plan_open");
    if (status != RZ_OK) return status;
    rz_plan *p = rz_alloc(w->engine->account, RZ_MEMORY_PLAN, sizeof *p, "plan");
    if (p == NULL) return RZ_E_OOM_HOST;
    p->engine = w->engine;
    rz_mutex_init(&p->fill_lock);
    status = open_parts(p, w, bytes, n, asked);
    if (status != RZ_OK) {
        free_plan(p);
        return status;
    }
    rz_queue_plan_add(&p->engine->queue, p); /* before the id is known: a close on another thread removes it again */
    status = rz_handle_open(&p->object, &plan_class, &w->object);
    if (status == RZ_OK) *id = p->object.id;
    else plan_destroy(&p->object);
    return status;
}

RZ_API int32_t rz_plan_open(uint32_t weights, const uint8_t *plan, uint32_t n, const rz_plan_options *options) {
    rz_weights *w = NULL;
    uint32_t id = 0;
    if (options == NULL || (n > 0 && plan == NULL)) {
        return -(int32_t)rz_fail(RZ_E_ARG, "rz_plan_open: an argument is NULL");
    }
    rz_status status = rz_pin_weights("rz_plan_open", weights, &w);
    if (status != RZ_OK) return -(int32_t)status;
    rz_plan_options own;
    memcpy(&own, options, sizeof own);
    status = plan_open(w, plan, n, &own, &id);
    rz_handle_unpin(&w->object);
    return status == RZ_OK ? (int32_t)id : -(int32_t)status;
}

RZ_API int32_t rz_plan_close(uint32_t plan) {
    return -(int32_t)rz_handle_close("rz_plan_close", plan, RZ_KIND_PLAN);
}

/* ---- about a plan ---------------------------------------------------------------------------------------------- */

RZ_API int32_t rz_plan_info_read(uint32_t plan, rz_plan_info *out) {
    rz_plan *p = NULL;
    if (out == NULL) return -(int32_t)rz_fail(RZ_E_ARG, "rz_plan_info_read: out is NULL");
    const rz_status status = rz_pin_plan("rz_plan_info_read", plan, &p);
    if (status != RZ_OK) return -(int32_t)status;
    memcpy(out, &p->info, sizeof *out);
    rz_handle_unpin(&p->object);
    return RZ_OK;
}

RZ_API int32_t rz_plan_listing(uint32_t plan, uint32_t row_class, uint8_t *out, uint32_t cap) {
    rz_plan *p = NULL;
    rz_status status = rz_pin_plan("rz_plan_listing", plan, &p);
    if (status != RZ_OK) return -(int32_t)status;
    int32_t result = 0;
    if (row_class >= p->info.n_classes) {
        result = -(int32_t)rz_fail(RZ_E_ARG, "rz_plan_listing: row class %u, the plan has %u", row_class,
                                   p->info.n_classes);
    } else {
        result = (int32_t)p->engine->backend->program_listing(p->program, row_class, out, out != NULL ? cap : 0);
    }
    rz_handle_unpin(&p->object);
    return result;
}

RZ_API int32_t rz_plan_profile(uint32_t plan, rz_brick *out, uint32_t cap) {
    rz_plan *p = NULL;
    uint32_t n = 0;
    rz_status status = rz_pin_plan("rz_plan_profile", plan, &p);
    if (status != RZ_OK) return -(int32_t)status;
    if ((p->options.flags & RZ_PLAN_PROFILE) == 0) {
        status = rz_fail(RZ_E_ARG, "rz_plan_profile: the plan was opened without RZ_PLAN_PROFILE");
    }
    rz_fence fence = {.owner = p, .stopped = &p->stopped};
    if (status == RZ_OK) status = rz_queue_fence_begin(&p->engine->queue, &fence, "rz_plan_profile");
    if (status == RZ_OK) {
        n = p->engine->backend->program_profile(p->program, out, out != NULL ? cap / (uint32_t)sizeof *out : 0);
        rz_queue_fence_end(&p->engine->queue);
    }
    rz_handle_unpin(&p->object);
    return status == RZ_OK ? (int32_t)(n * sizeof *out) : -(int32_t)status;
}
