/* sample.c - from logits on the device to tokens. The largest logit and the sum of exponents are found there for every
 * row, and the RZC_BEST largest ones where an out can be decided by them (csrc/sample.h); other outs take their row of
 * logits to the host. */
#include "sample.h"
#include "cuda.h"
#include <string.h>

uint32_t rzc_best_parts(const rzc_program *p) {
    const uint32_t n = (p->ir->header->vocab_size + RZC_BEST_PART - 1) / RZC_BEST_PART;
    return n <= RZC_BEST_PARTS ? n : 0;
}

/* Whether the largest logit and the sum of exponents say all that this out asks for. */
static bool is_simple(const rz_batch_out *out) {
    if (out->n_top > 0) return false;
    if ((out->mode & RZ_OUT_SAMPLE) == 0) return (out->mode & RZ_OUT_TARGET) == 0;
    return out->temperature == 0 && rz_sample_by_best(out, RZC_BEST);
}

static void simple_result(const float *figures, const rz_batch_out *out, rz_result_out *result) {
    if (figures[3] != 0) {
        result->flags |= RZ_RESULT_NONFINITE;
    } else if ((out->mode & RZ_OUT_SAMPLE) != 0) {
        memcpy(&result->token, &figures[0], sizeof result->token);
        result->logprob = -figures[2];
    }
}

/* ---- the best of a row ---- */

static bool is_by_best(const rzc_program *p, const rz_batch_out *out) {
    return rzc_best_parts(p) > 0 && !is_simple(out) && rz_sample_by_best(out, RZC_BEST);
}

bool rzc_wants_best(const rzc_program *p, const rz_step *step) {
    const rz_batch *b = step->batch;
    for (uint32_t i = 0; i < b->header->n_outs; i++) {
        if (is_by_best(p, &b->outs[i])) return true;
    }
    return false;
}

rz_status rzc_queue_sampling(rzc_program *p, bool with_best) {
    rzc_engine *e = p->engine;
    const uint32_t n_rows = p->n_rows[RZ_ROWS_R], vocab = p->ir->header->vocab_size;
    const rz_cu_ptr logits = rzc_value(p, p->ir->logits_value);
    if (with_best) {
        const uint32_t n_parts = rzc_best_parts(p), keys = n_parts * RZC_BEST;
        rzc_best best = {.logits = logits, .parts = p->best_parts, .figure_parts = p->argmax_parts,
                         .arrivals = p->argmax_arrivals, .out = (uintptr_t)p->best_host,
                         .figures = (uintptr_t)p->argmax_host, .vocab = vocab, .n_parts = n_parts};
        const rzc_shape shape = {.x = n_parts, .y = n_rows, .threads = 512, .chained = true,
                                 .shared_bytes = (keys > RZC_BEST_PART ? keys : RZC_BEST_PART) * 8};
        return rzc_launch(e, e->stream, RZC_K_best_k, shape, &best);
    }
    rzc_argmax argmax = {.logits = logits, .out = (uintptr_t)p->argmax_host, .n_rows = n_rows,
                         .parts = p->argmax_parts, .arrivals = p->argmax_arrivals, .vocab = vocab,
                         .n_parts = n_rows > RZC_FEW_ROWS ? RZC_ARGMAX_PARTS : RZC_ARGMAX_MOST};
    const rzc_shape shape = {.x = argmax.n_parts, .y = n_rows, .threads = 256, .chained = true};
    return rzc_launch(e, e->stream, RZC_K_argmax_k, shape, &argmax);
}

/* The logit and id of a key: see best.cu. */
static rz_ranked item_of(uint64_t key) {
    const uint32_t order = (uint32_t)(key >> 32);
    const uint32_t bits = order & 0x80000000u ? order & 0x7fffffffu : ~order;
    rz_ranked item = {.id = ~(uint32_t)key};
    memcpy(&item.x, &bits, sizeof bits);
    return item;
}

static void best_result(rzc_program *p, const rz_step *step, uint32_t i, rz_result_out *result, rz_result_top *tops) {
    const uint32_t row = step->batch->out_row[i], vocab = p->ir->header->vocab_size;
    const float *figures = p->argmax_host + 4ull * row;
    if (figures[3] != 0) {
        result->flags |= RZ_RESULT_NONFINITE;
        return;
    }
    rz_ranked items[RZC_BEST];
    const uint32_t n = vocab < RZC_BEST ? vocab : RZC_BEST;
    for (uint32_t k = 0; k < n; k++) items[k] = item_of(p->best_host[(uint64_t)row * RZC_BEST + k]);
    const rz_best best = {.items = items, .n = n, .log_total = (double)figures[1] + (double)figures[2]};
    const uint32_t first = result->top_first;
    rz_sample_best(&best, vocab, step, i, p->sample_scratch, result, tops + first);
    result->top_first = first;
}

/* ---- a whole row ---- */

static rz_status sample_on_host(rzc_program *p, const rz_step *step, uint32_t i, const uint32_t *masks,
                                rz_result_out *result, rz_result_top *tops) {
    rzc_engine *e = p->engine;
    const uint64_t row_bytes = p->ir->header->vocab_size * 4ull;
    const rz_cu_ptr from = rzc_value(p, p->ir->logits_value) + step->batch->out_row[i] * row_bytes;
    rz_status status = rzc_check(e, e->cu->to_host_async(p->logits_row, from, row_bytes, e->stream), "logits");
    if (status == RZ_OK) status = rzc_check(e, e->cu->stream_wait(e->stream), "step");
    if (status != RZ_OK) return status;
    const uint32_t first = result->top_first;
    rz_sample_out(p->logits_row, p->ir->header->vocab_size, step, i, masks, rz_exp_sum, p->sample_scratch,
                  result, tops + first);
    result->top_first = first;
    return RZ_OK;
}

static rz_status sample_all(rzc_program *p, const rz_step *step, const uint32_t *masks, rz_result_out *results,
                            rz_result_top *tops) {
    rzc_engine *e = p->engine;
    const rz_batch *b = step->batch;
    rz_status status = p->sampling_queued ? RZ_OK : rzc_queue_sampling(p, rzc_wants_best(p, step));
    if (status == RZ_OK) status = rzc_check(e, e->cu->stream_wait(e->stream), "step");
    for (uint32_t i = 0; i < b->header->n_outs && status == RZ_OK; i++) {
        if (atomic_load_explicit(step->cancel, memory_order_relaxed) != 0) {
            return rz_fail(RZ_E_CANCELLED, "step: cancelled while sampling");
        }
        const rz_batch_out *out = &b->outs[i];
        if (is_simple(out)) simple_result(p->argmax_host + 4ull * b->out_row[i], out, &results[i]);
        else if (is_by_best(p, out)) best_result(p, step, i, &results[i], tops);
        else status = sample_on_host(p, step, i, masks, &results[i], tops);
    }
    return status;
}

int32_t rzc_sample(void *program, const rz_step *step, const uint32_t *masks, rz_result_out *results,
                   rz_result_top *tops) {
    rzc_program *p = program;
    rz_status status = rzc_enter(p->engine);
    if (status != RZ_OK) return status;
    status = sample_all(p, step, masks, results, tops);
    rzc_leave(p->engine);
    return status;
}
