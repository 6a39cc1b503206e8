/* sample_fixture.h - what the sampler's tests share: a source of test values, a step with one sequence and one out, and
 * the order of ranked values. Functions a test doesn't use are fine: they are static inline. */
#ifndef RZ_SAMPLE_FIXTURE_H
#define RZ_SAMPLE_FIXTURE_H
#include "sample.h"
#include "select.h"
#include "test.h"
#include <stdlib.h>
#include <string.h>

#define VOCAB_MAX 4000u
#define PAGE_TOKENS 16u
#define N_PAGES 8u

static uint64_t random_state = 88172645463325252u;

static inline uint32_t random_u32(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32);
}

static inline double random_unit(void) { return random_u32() / 4294967296.0; }

static inline float random_normal(void) {
    return (float)(sqrt(-2.0 * log(1.0 - random_unit())) * cos(6.283185307179586 * random_unit()));
}

typedef struct fixture {
    rz_batch_header header;
    rz_batch_seq seq;
    rz_batch_out out;
    rz_batch_bias bias[8];
    uint32_t pages[N_PAGES], zero, row_seq, row_position, seq_first_row[2];
    int32_t ids[N_PAGES * PAGE_TOKENS];
    rz_cache_view cache;
    rz_batch batch;
    rz_step step;
    uint64_t *scratch;
    rz_result_out result;
    rz_result_top tops[256];
} fixture;

static const rz_batch_out plain = {
    .mode = RZ_OUT_SAMPLE, .temperature = 1, .top_p = 1, .typical_p = 1, .repetition = 1, .seed_lo = 7, .seed_hi = 11};

/* n_tokens of history, in pages that lie in reverse order. */
static inline void fixture_open(fixture *f, uint32_t n_tokens) {
    memset(f, 0, sizeof *f);
    f->out = plain;
    f->header.n_outs = f->header.n_seqs = f->header.n_tokens = 1;
    f->seq = (rz_batch_seq){.n_past = n_tokens - 1, .n_new = 1};
    f->row_position = n_tokens - 1;
    f->seq_first_row[1] = 1;
    for (uint32_t p = 0; p < N_PAGES; p++) f->pages[p] = N_PAGES - 1 - p; /* the last one is the null page */
    f->cache.n_groups = 1;
    f->cache.groups[0].spec.page_tokens = PAGE_TOKENS;
    f->cache.groups[0].spec.n_pages = N_PAGES;
    f->cache.ids = f->ids;
    f->batch = (rz_batch){.header = &f->header, .seqs = &f->seq, .pages = f->pages, .outs = &f->out, .bias = f->bias,
                          .row_seq = &f->row_seq, .row_position = &f->row_position, .seq_group_pages = &f->zero,
                          .seq_first_row = f->seq_first_row, .n_rows = 1, .rows = &f->zero, .out_row = &f->zero};
    f->step = (rz_step){.batch = &f->batch, .cache = &f->cache};
    f->scratch = malloc(rz_sample_scratch_bytes(VOCAB_MAX));
    memset(f->scratch, 0xA5, rz_sample_scratch_bytes(VOCAB_MAX));
}

static inline void fixture_close(fixture *f) { free(f->scratch); }

static inline void set_history(fixture *f, uint32_t position, int32_t id) {
    f->ids[f->pages[position / PAGE_TOKENS] * PAGE_TOKENS + position % PAGE_TOKENS] = id;
}

static inline int32_t sample(fixture *f, const float *logits, uint32_t vocab, const uint32_t *masks) {
    CHECK(rz_sample_outs(logits, vocab, &f->step, masks, f->scratch, &f->result, f->tops) == RZ_OK);
    return f->result.token;
}

static inline int best_first(const void *a, const void *b) {
    const rz_ranked *x = a, *y = b;
    if (x->x != y->x) return x->x > y->x ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

#endif
