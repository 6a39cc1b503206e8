/* step.c - one step on the driver's thread: page copies, input tokens, forward, sampling, last samples. */
#include "engine.h"
#include "test_hooks.h"
#include <string.h>

static rz_status cancelled(const rz_ticket *t) { return rz_fail(RZ_E_CANCELLED, "step %u: cancelled", t->number); }

/* Waits for rz_step_sample; false when the step was cancelled meanwhile. */
static bool await_release(rz_queue *q, rz_ticket *t) {
    rz_mutex_lock(&q->lock);
    while (!t->released && atomic_load(&t->cancel) == 0) rz_cond_wait(&q->work, &q->lock);
    const bool goes_on = atomic_load(&t->cancel) == 0;
    rz_mutex_unlock(&q->lock);
    return goes_on;
}

/* The same for a time: what rz_test_hold asked for. */
static bool hold(rz_queue *q, rz_ticket *t, uint32_t ms) {
    const uint64_t until = rz_time_ns() + (uint64_t)ms * 1000000u;
    rz_mutex_lock(&q->lock);
    for (uint64_t now = rz_time_ns(); now < until && atomic_load(&t->cancel) == 0; now = rz_time_ns()) {
        rz_cond_wait_for(&q->work, &q->lock, until - now);
    }
    const bool goes_on = atomic_load(&t->cancel) == 0;
    rz_mutex_unlock(&q->lock);
    return goes_on;
}

static rz_status copy_pages(const rz_ticket *t) {
    const rz_engine *e = t->plan->engine;
    const rz_cache_view *view = &t->cache->view;
    for (uint32_t i = 0; i < t->header.n_copies; i++) {
        const rz_batch_copy *copy = &t->batch.copies[i];
        const rz_cache_mem *mem = &view->groups[copy->group];
        uint8_t *to = mem->data + copy->dst_page * mem->page_bytes;
        const uint8_t *from = mem->data + copy->src_page * mem->page_bytes;
        if (e->backend->page_copy != NULL) {
            const rz_status status = (rz_status)e->backend->page_copy(e->state, to, from, mem->page_bytes);
            if (status != RZ_OK) return status;
        } else {
            memcpy(to, from, mem->page_bytes);
        }
        if (copy->group != 0) continue;
        const size_t page_tokens = mem->spec.page_tokens;
        memcpy(view->ids + copy->dst_page * page_tokens, view->ids + copy->src_page * page_tokens,
               page_tokens * sizeof *view->ids);
    }
    return RZ_OK;
}

/* Puts last samples in the place of -1, and the ids of this step into the cache. A sequence whose slot has no last
 * sample runs with id 0 and is marked: its outs get no token, its neighbours don't notice. */
static void resolve_tokens(rz_ticket *t, const rz_step *step) {
    rz_batch *b = &t->batch;
    const uint32_t vocab_size = t->plan->ir.header->vocab_size;
    memset(t->no_input, 0, t->header.n_seqs * sizeof *t->no_input);
    if (step->cache == NULL) return;
    const uint32_t page_tokens = step->cache->groups[0].spec.page_tokens;
    for (uint32_t row = 0; row < t->header.n_tokens; row++) {
        const uint32_t s = b->row_seq[row], position = b->row_position[row];
        if (b->tokens[row] == -1) {
            const int32_t last = step->cache->last[b->seqs[s].slot];
            const bool known = last >= 0 && (uint32_t)last < vocab_size; /* a plan of another vocabulary may share it */
            t->no_input[s] = t->no_input[s] || !known;
            b->tokens[row] = known ? last : 0;
        }
        const size_t page = rz_page_at(step, s, 0, position);
        step->cache->ids[page * page_tokens + position % page_tokens] = b->tokens[row];
    }
}

/* Positions and empty results; the sampler fills in the rest. */
static void clear_results(rz_ticket *t) {
    uint32_t n_tops = 0;
    for (uint32_t i = 0; i < t->header.n_outs; i++) {
        const rz_batch_out *out = &t->batch.outs[i];
        t->results[i] = (rz_result_out){
            .token = -1, .top_first = n_tops, .position = t->batch.row_position[out->row]};
        n_tops += out->n_top;
    }
    memset(t->tops, 0, n_tops * sizeof *t->tops);
}

/* What the core knows better than the sampler, and the slots: the last out of a sequence that samples counts. */
static void keep_samples(rz_ticket *t, const rz_step *step) {
    for (uint32_t i = 0; i < t->header.n_outs; i++) {
        const rz_batch_out *out = &t->batch.outs[i];
        const uint32_t s = t->batch.row_seq[out->row];
        rz_result_out *result = &t->results[i];
        result->position = t->batch.row_position[out->row];
        if (t->no_input[s]) {
            result->token = -1;
            result->flags |= RZ_RESULT_NO_INPUT;
        }
        if ((out->mode & RZ_OUT_SAMPLE) != 0 && step->cache != NULL) {
            step->cache->last[t->batch.seqs[s].slot] = result->token;
        }
    }
}

static rz_status forward_and_sample(rz_queue *q, rz_ticket *t, const rz_step *step, uint64_t *device_ns) {
    const rz_plan *plan = t->plan;
    const rz_backend *backend = plan->engine->backend;
    const uint32_t hold_ms = rz_test_hold_take();
    if (hold_ms > 0 && !hold(q, t, hold_ms)) return cancelled(t);
    uint64_t from = rz_time_ns();
    rz_status status = t->cache != NULL ? copy_pages(t) : RZ_OK;
    if (status != RZ_OK) return status;
    resolve_tokens(t, step);
    status = (rz_status)backend->forward(plan->program, step);
    if (status != RZ_OK) return status;
    *device_ns = rz_time_ns() - from;
    if (t->hold && !await_release(q, t)) return cancelled(t);
    from = rz_time_ns();
    clear_results(t);
    if (t->header.n_outs > 0 && plan->info.logits_value != 0) {
        status = (rz_status)backend->sample(plan->program, step, t->masks, t->results, t->tops);
        if (status != RZ_OK) return status;
    }
    keep_samples(t, step);
    *device_ns += rz_time_ns() - from;
    return RZ_OK;
}

rz_status rz_step_run(rz_queue *q, rz_ticket *t) {
    const rz_step step = {
        .batch = &t->batch,
        .cache = t->cache != NULL ? &t->cache->view : NULL,
        .cancel = &t->cancel,
        .flags = t->plan->options.flags,
    };
    const uint64_t waited_ns = rz_time_ns() - t->submitted_ns;
    uint64_t device_ns = 0;
    const rz_status status = forward_and_sample(q, t, &step, &device_ns);
    t->result.ticket = t->number;
    t->result.status = RZ_OK;
    t->result.n_outs = t->header.n_outs;
    t->result.queue_us = (uint32_t)(waited_ns / 1000u);
    t->result.device_us = (uint32_t)(device_ns / 1000u);
    if (status == RZ_E_CANCELLED) return cancelled(t);
    return status;
}
