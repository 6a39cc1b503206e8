/* queue.c - the queue of an engine and its driver thread. Everything here but the running of a step is done with the
 * queue's lock held, and is short. */
#include "queue.h"
#include "engine.h"
#include <string.h>

static atomic_uint live_tickets;

uint32_t rz_queue_tickets(void) { return atomic_load(&live_tickets); }

static rz_ticket *ticket_of(rz_work *work) {
    return work != NULL && !work->is_fence ? (rz_ticket *)(void *)work : NULL;
}

static bool is_queued_or_later(const rz_ticket *t) {
    return t->state == RZ_TICKET_QUEUED || t->state == RZ_TICKET_RUNNING || t->state == RZ_TICKET_DONE;
}

static rz_ticket *find_live(rz_queue *q, uint32_t number) {
    for (rz_plan *p = q->plans; p != NULL; p = p->next) {
        for (uint32_t i = 0; i < RZ_QUEUE_DEPTH; i++) {
            if (p->tickets[i].number == number && is_queued_or_later(&p->tickets[i])) return &p->tickets[i];
        }
    }
    return NULL;
}

static rz_history *find_past(rz_queue *q, uint32_t number) {
    rz_history *h = &q->history[number % RZ_HISTORY];
    return number != 0 && h->number == number ? h : NULL;
}

static void append(rz_queue *q, rz_work *work) {
    work->next = NULL;
    *q->end = work;
    q->end = &work->next;
}

static void take_out(rz_queue *q, rz_work *work) {
    rz_work **at = &q->first;
    while (*at != work) at = &(*at)->next;
    *at = work->next;
    if (q->end == &work->next) q->end = at;
}

static void tell_waiters(rz_queue *q) {
    if (q->n_waiting > 0) rz_cond_broadcast(&q->done);
}

static void wait_done(rz_queue *q) {
    q->n_waiting++;
    rz_cond_wait(&q->done, &q->lock);
    q->n_waiting--;
}

/* The end of a step that ran, or never will. The message of a failure is this thread's. */
static void finish(rz_queue *q, rz_ticket *t, rz_status status) {
    if (t->closed) status = rz_fail(RZ_E_CLOSED, "step %u: its plan or cache was closed", t->number);
    t->status = status;
    if (status != RZ_OK) memcpy(t->message, rz_fail_message(), sizeof t->message);
    t->state = RZ_TICKET_DONE;
    for (rz_work *w = q->first; w != NULL; w = w->next) {
        rz_ticket *later = ticket_of(w);
        if (later == NULL || later->after != t->number) continue;
        later->after = 0;
        later->after_failed = status != RZ_OK;
    }
    tell_waiters(q);
}

static void free_ticket(rz_queue *q, rz_ticket *t, bool closed) {
    if (is_queued_or_later(t)) {
        q->history[t->number % RZ_HISTORY] = (rz_history){t->number, t->status == RZ_OK, closed};
    }
    if (t->cache != NULL) t->cache->lane_taken[t->cache_lane] = false;
    t->cache = NULL;
    t->state = RZ_TICKET_FREE;
    atomic_fetch_sub(&live_tickets, 1);
}

/* ---- the driver ------------------------------------------------------------------------------------------------ */

static void run(rz_queue *q, rz_ticket *t) {
    t->state = RZ_TICKET_RUNNING;
    q->running = &t->work;
    while (t->plan->n_readers > 0) rz_cond_wait(&q->work, &q->lock);
    rz_status status = RZ_OK;
    if (t->after_failed) {
        status = rz_fail(RZ_E_CANCELLED, "step %u: ticket %u, which it comes after, did not succeed", t->number,
                         t->header.after);
    } else if (atomic_load(&t->cancel) != 0) {
        status = rz_fail(RZ_E_CANCELLED, "step %u: cancelled", t->number);
    } else {
        rz_mutex_unlock(&q->lock);
        status = rz_step_run(q, t);
        rz_mutex_lock(&q->lock);
    }
    q->running = NULL;
    finish(q, t, status);
}

static void drive(void *arg) {
    rz_queue *q = arg;
    rz_mutex_lock(&q->lock);
    while (!q->stopping) {
        rz_ticket *t = q->running == NULL ? ticket_of(q->first) : NULL;
        if (t == NULL) {
            rz_cond_wait(&q->work, &q->lock);
            continue;
        }
        take_out(q, &t->work);
        run(q, t);
    }
    rz_mutex_unlock(&q->lock);
}

rz_status rz_queue_open(rz_queue *q) {
    rz_mutex_init(&q->lock);
    rz_cond_init(&q->work);
    rz_cond_init(&q->done);
    q->end = &q->first;
    const rz_status status = (rz_status)rz_thread_start(&q->thread, "rz-driver", drive, q);
    if (status == RZ_OK) return RZ_OK;
    rz_mutex_destroy(&q->lock);
    rz_cond_destroy(&q->work);
    rz_cond_destroy(&q->done);
    return status;
}

void rz_queue_stop(rz_queue *q) {
    rz_mutex_lock(&q->lock);
    q->stopping = true;
    rz_ticket *t = ticket_of(q->running);
    if (t != NULL) {
        t->closed = true;
        atomic_store(&t->cancel, 1);
    }
    rz_cond_broadcast(&q->work);
    rz_cond_broadcast(&q->done);
    rz_mutex_unlock(&q->lock);
}

void rz_queue_close(rz_queue *q) {
    rz_thread_join(&q->thread);
    rz_mutex_destroy(&q->lock);
    rz_cond_destroy(&q->work);
    rz_cond_destroy(&q->done);
}

/* ---- plans and caches come and go ------------------------------------------------------------------------------ */

void rz_queue_plan_add(rz_queue *q, rz_plan *plan) {
    rz_mutex_lock(&q->lock);
    plan->next = q->plans;
    q->plans = plan;
    rz_mutex_unlock(&q->lock);
}

/* A ticket whose plan or cache is being closed. */
static void close_ticket(rz_queue *q, rz_ticket *t) {
    if (t->state == RZ_TICKET_QUEUED) {
        t->closed = true;
        take_out(q, &t->work);
        finish(q, t, RZ_E_CLOSED);
    } else if (t->state == RZ_TICKET_RUNNING) {
        t->closed = true;
        atomic_store(&t->cancel, 1);
    }
}

static void close_fences(rz_queue *q, const void *owner) {
    for (rz_work *w = q->first, *next; w != NULL; w = next) {
        next = w->next;
        rz_fence *fence = w->is_fence ? (rz_fence *)(void *)w : NULL;
        if (fence == NULL || fence->owner != owner) continue;
        take_out(q, w);
        fence->closed = true;
    }
}

void rz_queue_plan_stop(rz_queue *q, rz_plan *plan) {
    rz_mutex_lock(&q->lock);
    plan->stopped = true;
    for (uint32_t i = 0; i < RZ_QUEUE_DEPTH; i++) close_ticket(q, &plan->tickets[i]);
    close_fences(q, plan);
    rz_cond_broadcast(&q->work);
    tell_waiters(q);
    rz_mutex_unlock(&q->lock);
}

void rz_queue_plan_remove(rz_queue *q, rz_plan *plan) {
    rz_mutex_lock(&q->lock);
    for (uint32_t i = 0; i < RZ_QUEUE_DEPTH; i++) {
        rz_ticket *t = &plan->tickets[i];
        while (t->state == RZ_TICKET_RUNNING) wait_done(q);
        if (t->state == RZ_TICKET_DONE) free_ticket(q, t, true);
    }
    while (plan->n_readers > 0) wait_done(q);
    rz_plan **at = &q->plans;
    while (*at != plan) at = &(*at)->next;
    *at = plan->next;
    tell_waiters(q);
    rz_mutex_unlock(&q->lock);
}

void rz_queue_cache_stop(rz_queue *q, rz_cache *cache) {
    rz_mutex_lock(&q->lock);
    cache->stopped = true;
    for (rz_plan *p = q->plans; p != NULL; p = p->next) {
        for (uint32_t i = 0; i < RZ_QUEUE_DEPTH; i++) {
            if (p->tickets[i].cache == cache) close_ticket(q, &p->tickets[i]);
        }
    }
    close_fences(q, cache);
    rz_cond_broadcast(&q->work);
    tell_waiters(q);
    rz_mutex_unlock(&q->lock);
}

static bool runs_on(rz_queue *q, const rz_cache *cache) {
    const rz_ticket *t = ticket_of(q->running);
    return t != NULL && t->cache == cache;
}

void rz_queue_cache_remove(rz_queue *q, rz_cache *cache) {
    rz_mutex_lock(&q->lock);
    while (runs_on(q, cache)) wait_done(q);
    for (rz_plan *p = q->plans; p != NULL; p = p->next) {
        for (uint32_t i = 0; i < RZ_QUEUE_DEPTH; i++) {
            if (p->tickets[i].cache == cache) p->tickets[i].cache = NULL; /* done: only its result is left to tell */
        }
    }
    rz_mutex_unlock(&q->lock);
}

/* ---- submit ---------------------------------------------------------------------------------------------------- */

static rz_status closed_while_submitting(const rz_queue *q, const rz_plan *plan, const rz_cache *cache) {
    if (!q->stopping && !plan->stopped && (cache == NULL || !cache->stopped)) return RZ_OK;
    return rz_fail(RZ_E_CLOSED, "rz_step_submit: plan or cache was closed meanwhile");
}

rz_status rz_queue_take(rz_queue *q, rz_plan *plan, rz_cache *cache, rz_ticket **out) {
    rz_mutex_lock(&q->lock);
    rz_status status = closed_while_submitting(q, plan, cache);
    uint32_t i = 0, lane = 0;
    while (i < RZ_QUEUE_DEPTH && plan->tickets[i].state != RZ_TICKET_FREE) i++;
    while (cache != NULL && lane < RZ_QUEUE_DEPTH && cache->lane_taken[lane]) lane++;
    if (status == RZ_OK && (i == RZ_QUEUE_DEPTH || lane == RZ_QUEUE_DEPTH)) {
        status = rz_fail(RZ_E_BUSY, "rz_step_submit: %u steps of this %s were not waited for yet", RZ_QUEUE_DEPTH,
                         i == RZ_QUEUE_DEPTH ? "plan" : "cache");
    }
    if (status == RZ_OK) {
        rz_ticket *t = &plan->tickets[i];
        t->state = RZ_TICKET_FILLING;
        t->cache = cache;
        t->cache_lane = lane;
        t->after = 0;
        t->after_failed = t->closed = t->hold = t->released = false;
        atomic_store(&t->cancel, 0);
        if (cache != NULL) cache->lane_taken[lane] = true;
        atomic_fetch_add(&live_tickets, 1);
        *out = t;
    }
    rz_mutex_unlock(&q->lock);
    return status;
}

void rz_queue_give_back(rz_queue *q, rz_ticket *t) {
    rz_mutex_lock(&q->lock);
    free_ticket(q, t, false);
    rz_mutex_unlock(&q->lock);
}

/* What the ticket that a step comes after did, or that the driver will know it when it is there. */
static rz_status look_back(rz_queue *q, rz_ticket *t) {
    const uint32_t number = t->header.after;
    if (number == 0) return RZ_OK;
    const rz_ticket *live = find_live(q, number);
    const rz_history *past = find_past(q, number);
    if (live != NULL && live->state != RZ_TICKET_DONE) t->after = number;
    else if (live != NULL) t->after_failed = live->status != RZ_OK;
    else if (past != NULL) t->after_failed = !past->succeeded;
    else return rz_fail(RZ_E_ARG, "rz_step_submit: after: there is no ticket %u, or it is too old", number);
    return RZ_OK;
}

rz_status rz_queue_submit(rz_queue *q, rz_ticket *t, uint32_t *number) {
    rz_plan *plan = t->plan;
    rz_mutex_lock(&q->lock);
    rz_status status = closed_while_submitting(q, plan, t->cache);
    if (status == RZ_OK) status = look_back(q, t);
    if (status == RZ_OK) {
        q->last_number = q->last_number < INT32_MAX ? q->last_number + 1 : 1;
        *number = t->number = q->last_number;
        t->hold = (t->header.flags & RZ_BATCH_HOLD_SAMPLE) != 0;
        t->submitted_ns = rz_time_ns();
        t->state = RZ_TICKET_QUEUED;
        append(q, &t->work);
        plan->last_number = t->number;
        plan->readable = false;
        plan->last_rows[RZ_ROWS_T] = t->header.n_tokens;
        plan->last_rows[RZ_ROWS_R] = t->batch.n_rows;
        plan->last_rows[RZ_ROWS_S] = t->header.n_seqs;
        plan->last_rows[RZ_ROWS_TK] = t->header.n_tokens * plan->experts_per_token;
        rz_cond_signal(&q->work);
    }
    rz_mutex_unlock(&q->lock);
    return status;
}

/* ---- calls about tickets --------------------------------------------------------------------------------------- */

/* What is to be said of a number that no live ticket has. */
static rz_status no_ticket(rz_queue *q, const char *function, uint32_t number) {
    rz_history *past = find_past(q, number);
    if (past != NULL && past->closed) {
        past->closed = false;
        return rz_fail(RZ_E_CLOSED, "%s: ticket %u: its plan was closed", function, number);
    }
    return rz_fail(RZ_E_ARG, "%s: there is no ticket %u, or it was told already", function, number);
}

/* The result of a step that succeeded; the ticket is spent. */
static rz_status tell(rz_queue *q, rz_ticket *t, uint8_t *out, uint32_t cap, uint32_t *n) {
    const uint32_t outs_bytes = t->result.n_outs * (uint32_t)sizeof(rz_result_out);
    const uint32_t tops_bytes = t->result.n_top_total * (uint32_t)sizeof(rz_result_top);
    const uint32_t bytes = (uint32_t)sizeof t->result + outs_bytes + tops_bytes;
    if (cap < bytes || out == NULL) {
        return rz_fail(RZ_E_ARG, "rz_step_wait: cap is %u, the result of ticket %u has %u bytes", cap, t->number,
                       bytes);
    }
    memcpy(out, &t->result, sizeof t->result);
    if (outs_bytes > 0) memcpy(out + sizeof t->result, t->results, outs_bytes);
    if (tops_bytes > 0) memcpy(out + sizeof t->result + outs_bytes, t->tops, tops_bytes);
    *n = bytes;
    t->plan->readable = t->plan->last_number == t->number;
    free_ticket(q, t, false);
    return RZ_OK;
}

rz_status rz_queue_wait(rz_queue *q, uint32_t number, uint32_t timeout_ms, uint8_t *out, uint32_t cap, uint32_t *n) {
    const uint64_t until = timeout_ms > 0 ? rz_time_ns() + (uint64_t)timeout_ms * 1000000u : 0;
    rz_status status = RZ_OK;
    *n = 0;
    rz_mutex_lock(&q->lock);
    for (;;) {
        rz_ticket *t = find_live(q, number);
        if (t == NULL) {
            status = no_ticket(q, "rz_step_wait", number);
            break;
        }
        if (t->state == RZ_TICKET_DONE && t->status == RZ_OK) {
            status = tell(q, t, out, cap, n);
            break;
        }
        if (t->state == RZ_TICKET_DONE) {
            rz_fail_set(t->message);
            status = t->status;
            free_ticket(q, t, false);
            break;
        }
        if (q->stopping) {
            status = rz_fail(RZ_E_CLOSED, "rz_step_wait: the engine was closed");
            break;
        }
        const uint64_t now = until > 0 ? rz_time_ns() : 0;
        if (now >= until) break;
        q->n_waiting++;
        rz_cond_wait_for(&q->done, &q->lock, until - now);
        q->n_waiting--;
    }
    rz_mutex_unlock(&q->lock);
    return status;
}

rz_status rz_queue_release(rz_queue *q, uint32_t number, const uint32_t *masks, uint32_t n_bytes) {
    rz_status status = RZ_OK;
    rz_mutex_lock(&q->lock);
    rz_ticket *t = find_live(q, number);
    if (t == NULL) {
        status = no_ticket(q, "rz_step_sample", number);
    } else if (!t->hold || t->released) {
        status = rz_fail(RZ_E_ARG, "rz_step_sample: ticket %u %s", number,
                         t->hold ? "was released already" : "has no RZ_BATCH_HOLD_SAMPLE");
    } else {
        const uint32_t mask_bytes = (t->plan->info.vocab_size + 31) / 32 * 4;
        const uint32_t n = mask_bytes > 0 ? n_bytes / mask_bytes : 0;
        if (n < t->n_masks || n > rz_plan_masks_max(t->plan) || n * mask_bytes != n_bytes) {
            status = rz_fail(RZ_E_ARG, "rz_step_sample: %u bytes of masks, expected %u masks of %u bytes", n_bytes,
                             t->n_masks, mask_bytes);
        } else {
            if (n_bytes > 0) memcpy(t->masks, masks, n_bytes);
            t->released = true;
            rz_cond_signal(&q->work);
        }
    }
    rz_mutex_unlock(&q->lock);
    return status;
}

static void cancel(rz_queue *q, rz_ticket *t) {
    if (t->state == RZ_TICKET_RUNNING) {
        atomic_store(&t->cancel, 1);
        rz_cond_signal(&q->work);
    } else if (t->state == RZ_TICKET_QUEUED) {
        take_out(q, &t->work);
        finish(q, t, rz_fail(RZ_E_CANCELLED, "step %u: cancelled", t->number));
    }
}

void rz_queue_cancel(rz_queue *q, uint32_t number) {
    rz_mutex_lock(&q->lock);
    for (rz_plan *p = q->plans; p != NULL; p = p->next) {
        for (uint32_t i = 0; i < RZ_QUEUE_DEPTH; i++) {
            if (number == 0 || p->tickets[i].number == number) cancel(q, &p->tickets[i]);
        }
    }
    rz_mutex_unlock(&q->lock);
}

/* ---- turns of calling threads ---------------------------------------------------------------------------------- */

static bool is_held(rz_work *work) {
    const rz_ticket *t = ticket_of(work);
    return t != NULL && t->hold && !t->released;
}

static bool any_held(rz_queue *q) {
    bool held = is_held(q->running);
    for (rz_work *w = q->first; w != NULL; w = w->next) held = held || is_held(w);
    return held;
}

static rz_status closed_meanwhile(const char *function) {
    return rz_fail(RZ_E_CLOSED, "%s: closed meanwhile", function);
}

rz_status rz_queue_fence_begin(rz_queue *q, rz_fence *fence, const char *function) {
    rz_status status = RZ_OK;
    rz_mutex_lock(&q->lock);
    if (q->stopping || (fence->stopped != NULL && *fence->stopped)) {
        status = closed_meanwhile(function);
    } else if (any_held(q)) {
        status = rz_fail(RZ_E_BUSY, "%s: a step before it waits for rz_step_sample", function);
    } else {
        fence->work.is_fence = true;
        fence->closed = false;
        append(q, &fence->work);
        while (!fence->closed && !q->stopping && (q->first != &fence->work || q->running != NULL)) wait_done(q);
        if (!fence->closed) take_out(q, &fence->work);
        if (fence->closed || q->stopping) status = closed_meanwhile(function);
        else q->running = &fence->work;
    }
    rz_mutex_unlock(&q->lock);
    return status;
}

void rz_queue_fence_end(rz_queue *q) {
    rz_mutex_lock(&q->lock);
    q->running = NULL;
    rz_cond_signal(&q->work);
    tell_waiters(q);
    rz_mutex_unlock(&q->lock);
}

/* ---- reading values of the last step --------------------------------------------------------------------------- */

rz_status rz_queue_read_begin(rz_queue *q, uint32_t number, rz_plan **plan) {
    rz_mutex_lock(&q->lock);
    rz_plan *p = q->plans;
    while (p != NULL && (p->stopped || !p->readable || p->last_number != number)) p = p->next;
    if (p != NULL) p->n_readers++;
    rz_mutex_unlock(&q->lock);
    *plan = p;
    if (p != NULL) return RZ_OK;
    return rz_fail(RZ_E_ARG,
                   "rz_step_read: ticket %u: not told as a success, or its plan has another step since, or was closed",
                   number);
}

void rz_queue_read_end(rz_queue *q, rz_plan *plan) {
    rz_mutex_lock(&q->lock);
    if (--plan->n_readers == 0) {
        rz_cond_signal(&q->work);
        tell_waiters(q);
    }
    rz_mutex_unlock(&q->lock);
}
