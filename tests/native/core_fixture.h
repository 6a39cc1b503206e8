/* core_fixture.h - an engine over the fake executor with weights, a plan and a cache, through the public functions; and
 * batches for it. */
#ifndef RZ_TEST_CORE_FIXTURE_H
#define RZ_TEST_CORE_FIXTURE_H
#include "fake_backend.h"
#include "plan_builder.h"
#include "test.h"
#include <stdio.h>
#include <stdlib.h>

#define PAGE 16u       /* tokens */
#define PAGES 32u      /* of group 0 */
#define SLOTS 8u
#define WAIT_MS 20000u /* longer than anything here lasts: a test that gets there has failed */

/* embed, one layer that writes and attends, logits. */
static inline uint8_t *small_plan(uint32_t *n, uint32_t vocab) {
    static _Thread_local builder b;
    begin_plan(&b, vocab, 16);
    const uint32_t x = add_embed(&b, RZ_F32);
    rz_op *write = add_op(&b, RZ_OP_KV_WRITE);
    write->in[0] = write->in[1] = x;
    rz_op *attention = add_attention(&b, x, 1, 1, 16);
    add_logits(&b, attention->out[0], b.ops[0].w[0]);
    return plan_bytes(&b, n);
}

typedef struct rig {
    uint32_t engine, weights, plan, cache;
    uint8_t *plan_bytes;
    uint32_t plan_n;
    rz_plan_options options;
    rz_plan_info info;
} rig;

static inline rz_engine_options fake_options(void) {
    rz_test_backend_set(&fake_backend);
    return (rz_engine_options){.size = sizeof(rz_engine_options), .backend = RZ_TEST_BACKEND, .n_devices = 1};
}

static inline rz_cache_options small_cache(void) {
    return (rz_cache_options){
        .size = sizeof(rz_cache_options),
        .n_groups = 1,
        .n_slots = SLOTS,
        .groups = {{.n_layers = 1, .k_cols = 16, .v_cols = 16, .n_pages = PAGES, .page_tokens = PAGE}},
    };
}

static inline rz_plan_options small_options(void) {
    return (rz_plan_options){.size = sizeof(rz_plan_options), .max_tokens = 64, .max_seqs = 8, .max_outs = 16};
}

/* Opens weights whose bytes come from memory, and brings them. Returns a handle or a failure. */
static inline int32_t open_weights(uint32_t engine, const uint8_t *plan) {
    const rz_plan_header *h = (const rz_plan_header *)(const void *)plan;
    const rz_weight *table = (const rz_weight *)(const void *)(plan + sizeof *h);
    const int32_t weights = rz_weights_open(engine, NULL, 0, table, h->n_weights);
    if (weights < 0) return weights;
    for (uint32_t i = 0; i < h->n_weights; i++) {
        uint8_t *zeros = calloc(1, table[i].bytes);
        const int32_t status = rz_weights_write((uint32_t)weights, i + 1, 0, zeros, (uint32_t)table[i].bytes);
        free(zeros);
        if (status < 0) {
            rz_weights_close((uint32_t)weights);
            return status;
        }
    }
    return weights;
}

/* Returns 0, or the first failure with everything closed again. */
static inline int32_t rig_open_on(rig *r, const rz_engine_options *engine_options) {
    const rz_cache_options cache_options = small_cache();
    *r = (rig){.options = small_options()};
    r->plan_bytes = small_plan(&r->plan_n, FAKE_VOCAB);
    int32_t id = rz_engine_open(engine_options);
    if (id > 0) r->engine = (uint32_t)id;
    if (id > 0) id = open_weights(r->engine, r->plan_bytes);
    if (id > 0) r->weights = (uint32_t)id;
    if (id > 0) id = rz_plan_open(r->weights, r->plan_bytes, r->plan_n, &r->options);
    if (id > 0) r->plan = (uint32_t)id;
    if (id > 0) id = rz_plan_info_read(r->plan, &r->info);
    if (id == 0) id = rz_cache_open(r->engine, &cache_options);
    if (id > 0) r->cache = (uint32_t)id;
    if (id > 0) return 0;
    if (r->engine != 0) rz_engine_close(r->engine);
    free(r->plan_bytes);
    return id;
}

static inline int32_t rig_open(rig *r) {
    const rz_engine_options options = fake_options();
    return rig_open_on(r, &options);
}

static inline void rig_close(rig *r) {
    CHECK(rz_engine_close(r->engine) == 0);
    free(r->plan_bytes);
}

/* ---- batches --------------------------------------------------------------------------------------------------- */

#define MAX_ITEMS 128u

/* Sections as arrays; batch_bytes puts them together. */
typedef struct batch {
    rz_batch_header header;
    rz_batch_copy copies[MAX_ITEMS];
    rz_batch_seq seqs[MAX_ITEMS];
    uint32_t pages[MAX_ITEMS];
    int32_t tokens[MAX_ITEMS];
    rz_batch_out outs[MAX_ITEMS];
    rz_batch_bias bias[MAX_ITEMS];
    uint8_t bytes[1u << 16];
} batch;

static inline void batch_begin(batch *b) {
    memset(b, 0, sizeof *b);
    b->header.magic = RZ_BATCH_MAGIC;
}

/* A sequence whose pages are first_page, first_page + 1, ...; its tokens are token, token + 1, ... (-1 stays). */
static inline void batch_seq(batch *b, uint32_t slot, uint32_t n_past, uint32_t n_new, uint32_t first_page,
                             int32_t token) {
    rz_batch_header *h = &b->header;
    b->seqs[h->n_seqs++] = (rz_batch_seq){.slot = slot, .n_past = n_past, .n_new = n_new, .first_page = h->n_pages};
    for (uint32_t i = 0; i < (n_past + n_new + PAGE - 1) / PAGE; i++) b->pages[h->n_pages++] = first_page + i;
    for (uint32_t i = 0; i < n_new; i++) b->tokens[h->n_tokens++] = token < 0 ? token : token + (int32_t)i;
}

static inline rz_batch_out *batch_out(batch *b, uint32_t row, uint32_t mode) {
    rz_batch_out *out = &b->outs[b->header.n_outs++];
    *out = (rz_batch_out){.row = row, .mode = mode, .top_p = 1, .typical_p = 1, .repetition = 1};
    return out;
}

static inline uint32_t batch_bytes(batch *b) {
    const rz_batch_header *h = &b->header;
    const struct {
        const void *data;
        size_t bytes;
    } sections[] = {
        {b->copies, h->n_copies * sizeof *b->copies}, {b->seqs, h->n_seqs * sizeof *b->seqs},
        {b->pages, h->n_pages * sizeof *b->pages},    {b->tokens, h->n_tokens * sizeof *b->tokens},
        {b->outs, h->n_outs * sizeof *b->outs},       {b->bias, h->n_bias * sizeof *b->bias},
    };
    size_t at = sizeof *h;
    for (int i = 0; i < 6; i++) {
        memcpy(b->bytes + at, sections[i].data, sections[i].bytes);
        at = (at + sections[i].bytes + 15) / 16 * 16;
    }
    b->header.bytes = (uint32_t)at;
    memcpy(b->bytes, h, sizeof *h);
    return (uint32_t)at;
}

static inline int32_t submit(const rig *r, batch *b) {
    const uint32_t n = batch_bytes(b);
    return rz_step_submit(r->plan, r->cache, b->bytes, n);
}

/* One sequence, one token, sampled greedily. */
static inline int32_t submit_decode(const rig *r, uint32_t slot, uint32_t n_past, int32_t token, uint32_t flags,
                                    uint32_t after) {
    static _Thread_local batch b;
    batch_begin(&b);
    b.header.flags = flags;
    b.header.after = after;
    batch_seq(&b, slot, n_past, 1, 1 + slot * 2, token);
    batch_out(&b, 0, RZ_OUT_SAMPLE | RZ_OUT_LOGITS);
    return submit(r, &b);
}

typedef struct result {
    rz_result_header header;
    rz_result_out outs[MAX_ITEMS];
    uint8_t rest[1u << 15];
} result;

static inline int32_t wait_for(const rig *r, int32_t ticket, result *out) {
    return rz_step_wait(r->engine, (uint32_t)ticket, WAIT_MS, (uint8_t *)out, sizeof *out);
}

/* Waits and returns the first out's token; -1000 - status for a failure. */
static inline int32_t token_of(const rig *r, int32_t ticket) {
    result out;
    const int32_t n = wait_for(r, ticket, &out);
    return n > 0 ? out.outs[0].token : -1000 + n;
}

static inline bool nothing_is_left(void) {
    rz_stats s;
    CHECK(rz_library_stats(&s, sizeof s) == sizeof s);
    if (s.n_engines + s.n_weights + s.n_plans + s.n_caches + s.n_tickets + s.n_threads == 0 && s.total_bytes == 0) {
        return true;
    }
    fprintf(stderr, "left: %u engines %u weights %u plans %u caches %u tickets %u threads %llu bytes\n", s.n_engines,
            s.n_weights, s.n_plans, s.n_caches, s.n_tickets, s.n_threads, (unsigned long long)s.total_bytes);
    return false;
}

#endif
