/* sample.c - see sample.h. Nothing is sorted but the few log-probabilities a caller asks for: filters find the value
 * at which to cut (select.h) and keep the rest in order of ids. */
#include "sample.h"
#include "error.h"
#include "exp_f32.h"
#include "philox.h"
#include "select.h"
#include <float.h>
#include <math.h>
#include <string.h>

#define HEAP_MAX 1024u   /* more than the 256 of n_top; a larger top_k is cut by counting */
#define SUM_BLOCK 256u   /* weights that share a partial sum */
#define SUM_LANES 8u

typedef struct scratch {
    double *mass;      /* [RZ_CUT_DIGITS] */
    double *sums;      /* [blocks of SUM_BLOCK] */
    rz_ranked *heap;   /* [HEAP_MAX] */
    float *x;          /* [vocab] adjusted logits, then the candidates' */
    float *w;          /* [vocab] weights */
    uint32_t *ids;     /* [vocab] of the candidates */
    uint32_t *keys;    /* [vocab] what rz_cut orders by; before that, how often a token was seen */
    float *block_max;  /* [blocks of RZ_SCAN_BLOCK] */
} scratch;

static size_t blocks(uint32_t n, uint32_t block) { return ((size_t)n + block - 1) / block; }

size_t rz_sample_scratch_bytes(uint32_t vocab) {
    return RZ_CUT_DIGITS * sizeof(double) + blocks(vocab, SUM_BLOCK) * sizeof(double) + HEAP_MAX * sizeof(rz_ranked) +
           (size_t)vocab * 4 * sizeof(float) + blocks(vocab, RZ_SCAN_BLOCK) * sizeof(float);
}

static scratch scratch_split(void *memory, uint32_t vocab) {
    scratch s;
    s.mass = memory;
    s.sums = s.mass + RZ_CUT_DIGITS;
    s.heap = (rz_ranked *)(s.sums + blocks(vocab, SUM_BLOCK));
    s.x = (float *)(s.heap + HEAP_MAX);
    s.w = s.x + vocab;
    s.ids = (uint32_t *)(s.w + vocab);
    s.keys = s.ids + vocab;
    s.block_max = (float *)(s.keys + vocab);
    return s;
}

/* ---- softmax ---- */

/* w[i] = exp((x[i] - max) / t); returns their sum, and those of each SUM_BLOCK in sums. w may be NULL. */
static double weigh(const float *x, uint32_t n, float max, float t, float *w, double *sums) {
    const float scale = 1.0f / t < FLT_MAX ? 1.0f / t : FLT_MAX; /* finite, since the largest has 0 * scale */
    double total = 0.0;
    for (uint32_t first = 0, b = 0; first < n; first += SUM_BLOCK, b++) {
        const uint32_t count = n - first < SUM_BLOCK ? n - first : SUM_BLOCK;
        float e[SUM_BLOCK];
        for (uint32_t i = 0; i < count; i++) e[i] = rz_exp_f32((x[first + i] - max) * scale);
        double lanes[SUM_LANES] = {0};
        uint32_t i = 0;
        for (; i + SUM_LANES <= count; i += SUM_LANES) {
            for (uint32_t l = 0; l < SUM_LANES; l++) lanes[l] += (double)e[i + l];
        }
        for (; i < count; i++) lanes[0] += (double)e[i];
        double sum = 0.0;
        for (uint32_t l = 0; l < SUM_LANES; l++) sum += lanes[l];
        if (w) memcpy(w + first, e, count * sizeof *e);
        if (sums) sums[b] = sum;
        total += sum;
    }
    return total;
}

double rz_exp_sum(const float *x, uint32_t n, float max) {
    return weigh(x, n, max, 1.0f, NULL, NULL);
}

/* ---- adjusting: penalties, bias, mask ---- */

/* Token ids of consecutive positions. */
typedef struct run {
    const int32_t *ids; /* NULL: a page that was freed */
    uint32_t n;
} run;

/* The longest run that starts at position and does not pass end. */
static run history_run(const rz_step *step, uint32_t seq, uint32_t position, uint32_t end) {
    const rz_batch *batch = step->batch;
    if (!step->cache) {
        const uint32_t row = batch->seq_first_row[seq] + position - batch->seqs[seq].n_past;
        return (run){batch->tokens + row, end - position};
    }
    const uint32_t page_tokens = step->cache->groups[0].spec.page_tokens;
    const uint32_t offset = position % page_tokens;
    const uint32_t left = page_tokens - offset;
    const uint32_t page = rz_page_at(step, seq, 0, position);
    const int32_t *ids = page ? step->cache->ids + (size_t)page * page_tokens + offset : NULL;
    return (run){ids, left < end - position ? left : end - position};
}

/* An adjusted logit: what is no number any more is forbidden. */
static float tame(float x) {
    if (x != x) return -INFINITY;
    return x > FLT_MAX ? FLT_MAX : x;
}

static float penalized(float x, const rz_batch_out *out, uint32_t count) {
    if (out->repetition > 0.0f) x = x > 0.0f ? x / out->repetition : x * out->repetition;
    return tame(x - (float)count * out->frequency - out->presence);
}

/* Three walks over the history, so that its cost does not grow with the vocabulary: clear, count, apply once. */
static void penalize(const rz_step *step, uint32_t seq, uint32_t end, const rz_batch_out *out, uint32_t vocab,
                     const scratch *s) {
    const uint32_t n_past = step->batch->seqs[seq].n_past;
    const uint32_t from = step->cache || out->penalty_from > n_past ? out->penalty_from : n_past;
    for (int walk = 0; walk < 3; walk++) {
        for (uint32_t position = from; position < end;) {
            const run r = history_run(step, seq, position, end);
            position += r.n;
            for (uint32_t i = 0; r.ids && i < r.n; i++) {
                const uint32_t id = (uint32_t)r.ids[i];
                if (id >= vocab) continue;
                if (walk == 0) s->keys[id] = 0;
                if (walk == 1) s->keys[id]++;
                if (walk == 2 && s->keys[id] > 0) {
                    s->x[id] = penalized(s->x[id], out, s->keys[id]);
                    s->keys[id] = 0;
                }
            }
        }
    }
}

static void apply_mask(const uint32_t *mask, uint32_t vocab, float *x) {
    for (uint32_t first = 0; first < vocab; first += 32) {
        const uint32_t word = mask[first / 32];
        const uint32_t n = vocab - first < 32 ? vocab - first : 32;
        if (word == UINT32_MAX) continue;
        for (uint32_t i = 0; i < n; i++) {
            if (!(word >> i & 1)) x[first + i] = -INFINITY;
        }
    }
}

static bool is_penalized(const rz_batch_out *out) {
    return out->repetition != 1.0f || out->presence != 0.0f || out->frequency != 0.0f;
}

/* Writes the adjusted logits to s->x; false when nothing asks for it. */
static bool adjust(const float *logits, uint32_t vocab, const rz_step *step, const rz_batch_out *out,
                   const uint32_t *masks, const scratch *s) {
    const rz_batch *batch = step->batch;
    const bool penalties = is_penalized(out);
    const uint32_t *mask = masks && out->mask ? masks + (size_t)(out->mask - 1) * blocks(vocab, 32) : NULL;
    if (!penalties && out->bias_n == 0 && !mask) return false;
    memcpy(s->x, logits, vocab * sizeof *logits);
    if (penalties) {
        const uint32_t seq = batch->row_seq[out->row];
        penalize(step, seq, batch->row_position[out->row] + 1, out, vocab, s);
    }
    for (uint32_t i = 0; i < out->bias_n; i++) {
        const rz_batch_bias *b = &batch->bias[out->bias_first + i];
        if (b->token < vocab) s->x[b->token] = tame(s->x[b->token] + b->bias);
    }
    if (mask) apply_mask(mask, vocab, s->x);
    return true;
}

/* ---- filters ---- */

/* What may still be drawn, in order of ids. */
typedef struct candidates {
    uint32_t n;
    const uint32_t *ids; /* NULL: all of the vocabulary */
    const float *x;      /* logits */
    float max;           /* of x */
} candidates;

static uint32_t id_of(const candidates *c, uint32_t i) { return c->ids ? c->ids[i] : i; }

/* Moves candidate i to place n: compacting never overtakes itself. */
static void move(const candidates *c, const scratch *s, uint32_t i, uint32_t n) {
    s->ids[n] = id_of(c, i);
    s->x[n] = c->x[i];
    s->w[n] = s->w[i];
}

/* The n left in scratch are now the candidates. */
static void compacted(candidates *c, const scratch *s, uint32_t n) {
    *c = (candidates){n, s->ids, s->x, -INFINITY};
    for (uint32_t i = 0; i < n; i++) c->max = s->x[i] > c->max ? s->x[i] : c->max;
}

/* Keeps the candidates before a cut by s->keys. by_weight: they count their weight, else 1. */
static void cut(candidates *c, const scratch *s, double target, bool by_weight) {
    /* A target of 0 keeps the first: its predecessors sum to 0. */
    const rz_cut_result r = rz_cut(s->keys, by_weight ? s->w : NULL, c->n, target > 0.0 ? target : DBL_MIN, s->mass);
    double before = 0.0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        const bool equal = s->keys[i] == r.key;
        if (s->keys[i] < r.key || (equal && before < r.rest)) move(c, s, i, n++);
        if (equal) before += by_weight ? (double)s->w[i] : 1.0;
    }
    compacted(c, s, n);
}

static void keys_by_logit(const candidates *c, const scratch *s) {
    for (uint32_t i = 0; i < c->n; i++) s->keys[i] = ~rz_order_key(c->x[i]);
}

static void filter_top_k(candidates *c, const scratch *s, uint32_t k) {
    if (k > HEAP_MAX) {
        keys_by_logit(c, s);
        cut(c, s, (double)k, false);
        return;
    }
    rz_top(c->x, c->n, s->block_max, k, s->heap);
    const rz_ranked last = s->heap[0];
    uint32_t n = 0;
    for (uint32_t first = 0; first < c->n; first += RZ_SCAN_BLOCK) {
        if (s->block_max[first / RZ_SCAN_BLOCK] < last.x) continue;
        const uint32_t end = c->n - first < RZ_SCAN_BLOCK ? c->n : first + RZ_SCAN_BLOCK;
        for (uint32_t i = first; i < end; i++) {
            if (c->x[i] > last.x || (c->x[i] == last.x && i <= last.id)) move(c, s, i, n++);
        }
    }
    compacted(c, s, n);
}

static void filter_typical(candidates *c, const scratch *s, float typical_p) {
    const double total = weigh(c->x, c->n, c->max, 1.0f, s->w, s->sums);
    const double log_total = log(total);
    double entropy = 0.0;
    for (uint32_t i = 0; i < c->n; i++) {
        /* the test is for logits of -inf: 0 * inf */
        if (s->w[i] > 0.0f) entropy += (double)s->w[i] / total * (log_total - ((double)c->x[i] - (double)c->max));
    }
    for (uint32_t i = 0; i < c->n; i++) {
        const double surprise = log_total - ((double)c->x[i] - (double)c->max);
        s->keys[i] = rz_order_key((float)fabs(surprise - entropy));
    }
    cut(c, s, (double)typical_p * total, true);
}

static void filter_top_p(candidates *c, const scratch *s, float top_p) {
    const double total = weigh(c->x, c->n, c->max, 1.0f, s->w, s->sums);
    keys_by_logit(c, s);
    cut(c, s, (double)top_p * total, true);
}

static void filter_min_p(candidates *c, const scratch *s, float min_p) {
    weigh(c->x, c->n, c->max, 1.0f, s->w, s->sums);
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        if (s->w[i] >= min_p || c->x[i] == c->max) move(c, s, i, n++);
    }
    compacted(c, s, n);
}

/* Each test is false for NaN: a parameter that is no number is off. */
static void filter(candidates *c, const scratch *s, const rz_batch_out *out) {
    if (out->top_k > 0 && out->top_k < c->n) filter_top_k(c, s, out->top_k);
    if (out->typical_p < 1.0f) filter_typical(c, s, out->typical_p);
    if (out->top_p < 1.0f) filter_top_p(c, s, out->top_p);
    if (out->min_p > 0.0f) filter_min_p(c, s, out->min_p);
}

/* ---- the draw ---- */

static uint32_t draw(const candidates *c, const scratch *s, const rz_batch_out *out) {
    const double total = weigh(c->x, c->n, c->max, out->temperature, s->w, s->sums);
    const double target = rz_philox_uniform(out->seed_lo, out->seed_hi, out->draw_position) * total;
    double before = 0.0;
    uint32_t b = 0;
    while ((b + 1) * SUM_BLOCK < c->n && before + s->sums[b] <= target) before += s->sums[b++];
    /* The block's sum was added in another order: if rounding leaves the walk short, it ends at the block's last
     * possible token. */
    uint32_t chosen = b * SUM_BLOCK;
    for (uint32_t i = chosen; i < c->n && i < (b + 1) * SUM_BLOCK; i++) {
        if (!(s->w[i] > 0.0f)) continue;
        chosen = i;
        before += (double)s->w[i];
        if (before > target) break;
    }
    return id_of(c, chosen);
}

/* The token, or -1 with EMPTY_MASK. */
static int32_t choose(const float *logits, uint32_t vocab, rz_scan_result raw, const rz_step *step,
                      const rz_batch_out *out, const uint32_t *masks, const scratch *s, uint32_t *flags) {
    const bool adjusted = adjust(logits, vocab, step, out, masks, s);
    const float *x = adjusted ? s->x : logits;
    const rz_scan_result r = adjusted ? rz_scan(x, vocab, s->block_max) : raw;
    if (r.max == -INFINITY) {
        *flags |= RZ_RESULT_EMPTY_MASK;
        return -1;
    }
    if (!(out->temperature > 0.0f)) return (int32_t)r.argmax;
    candidates c = {vocab, NULL, x, r.max};
    filter(&c, s, out);
    return (int32_t)draw(&c, s, out);
}

/* ---- outs ---- */

void rz_sample_out(const float *logits, uint32_t vocab, const rz_step *step, uint32_t i, const uint32_t *masks,
                   rz_exp_sum_fn *exp_sum, void *scratch_memory, rz_result_out *result, rz_result_top *tops) {
    const rz_batch_out *out = &step->batch->outs[i];
    const scratch s = scratch_split(scratch_memory, vocab);
    *result = (rz_result_out){.token = -1, .position = step->batch->row_position[out->row]};
    if (out->n_top > 0) memset(tops, 0, out->n_top * sizeof *tops);
    if (!logits || vocab == 0) return;
    const rz_scan_result r = rz_scan(logits, vocab, s.block_max);
    if (!r.finite) {
        result->flags |= RZ_RESULT_NONFINITE;
        return;
    }
    const bool sampled = out->mode & RZ_OUT_SAMPLE;
    const bool target = !sampled && out->mode & RZ_OUT_TARGET && out->target < vocab;
    if (!sampled && !target && out->n_top == 0) return;

    const double log_total = (double)r.max + log(exp_sum(logits, vocab, r.max));
    result->n_top = out->n_top < vocab ? out->n_top : vocab;
    if (result->n_top > HEAP_MAX) result->n_top = HEAP_MAX;
    rz_top(logits, vocab, s.block_max, result->n_top, s.heap);
    rz_top_sort(s.heap, result->n_top);
    for (uint32_t t = 0; t < result->n_top; t++) {
        tops[t] = (rz_result_top){s.heap[t].id, (float)((double)s.heap[t].x - log_total)};
    }
    if (target) result->logprob = (float)((double)logits[out->target] - log_total);
    if (!sampled) return;
    result->token = choose(logits, vocab, r, step, out, masks, &s, &result->flags);
    if (result->token >= 0) result->logprob = (float)((double)logits[result->token] - log_total);
}

bool rz_sample_by_best(const rz_batch_out *out, uint32_t n) {
    if (out->n_top > n) return false;
    if (!(out->mode & RZ_OUT_SAMPLE)) return !(out->mode & RZ_OUT_TARGET);
    if (is_penalized(out) || out->bias_n > 0 || out->mask != 0) return false;
    return !(out->temperature > 0.0f) || (out->top_k > 0 && out->top_k <= n);
}

/* The k best as candidates, in order of ids like those that filter_top_k leaves. */
static candidates best_candidates(const rz_best *best, uint32_t k, const scratch *s) {
    for (uint32_t i = 0; i < k; i++) {
        uint32_t at = i;
        for (; at > 0 && s->ids[at - 1] > best->items[i].id; at--) {
            s->ids[at] = s->ids[at - 1];
            s->x[at] = s->x[at - 1];
        }
        s->ids[at] = best->items[i].id;
        s->x[at] = best->items[i].x;
    }
    return (candidates){k, s->ids, s->x, best->items[0].x};
}

void rz_sample_best(const rz_best *best, uint32_t vocab, const rz_step *step, uint32_t i, void *scratch_memory,
                    rz_result_out *result, rz_result_top *tops) {
    const rz_batch_out *out = &step->batch->outs[i];
    const scratch s = scratch_split(scratch_memory, vocab);
    *result = (rz_result_out){.token = -1, .position = step->batch->row_position[out->row]};
    if (out->n_top > 0) memset(tops, 0, out->n_top * sizeof *tops);
    result->n_top = out->n_top < best->n ? out->n_top : best->n;
    for (uint32_t t = 0; t < result->n_top; t++) {
        tops[t] = (rz_result_top){best->items[t].id, (float)((double)best->items[t].x - best->log_total)};
    }
    if (!(out->mode & RZ_OUT_SAMPLE)) return;
    result->token = (int32_t)best->items[0].id;
    if (out->temperature > 0.0f) {
        const uint32_t k = out->top_k < best->n ? out->top_k : best->n;
        candidates c = best_candidates(best, k, &s);
        filter(&c, &s, out);
        result->token = (int32_t)draw(&c, &s, out);
    }
    uint32_t t = 0;
    while (best->items[t].id != (uint32_t)result->token) t++;
    result->logprob = (float)((double)best->items[t].x - best->log_total);
}

int32_t rz_sample_outs(const float *logits, uint32_t vocab, const rz_step *step, const uint32_t *masks, void *scratch_,
                       rz_result_out *results, rz_result_top *tops) {
    const rz_batch *batch = step->batch;
    uint32_t first = 0;
    for (uint32_t i = 0; i < batch->header->n_outs; i++) {
        if (step->cancel && atomic_load_explicit(step->cancel, memory_order_relaxed)) {
            return rz_fail(RZ_E_CANCELLED, "step: cancelled while sampling, at out %u of %u", i, batch->header->n_outs);
        }
        const float *row = logits ? logits + (size_t)batch->out_row[i] * vocab : NULL;
        rz_sample_out(row, vocab, step, i, masks, rz_exp_sum, scratch_, &results[i], tops + first);
        results[i].top_first = first;
        first += batch->outs[i].n_top;
    }
    return RZ_OK;
}
