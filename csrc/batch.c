/* batch.c - copies a batch into a ticket and checks every field of the copy. */
#include "batch.h"
#include <math.h>
#include <string.h>

#define OUT_MODES (RZ_OUT_SAMPLE | RZ_OUT_LOGITS | RZ_OUT_TARGET | RZ_OUT_HIDDEN)
#define TOPS_MAX 256u
#define BIAS_MAX 1e6f
#define PENALTY_MAX 100.0f

static_assert(sizeof(rz_batch_header) == 64 && sizeof(rz_batch_copy) == 16 && sizeof(rz_batch_seq) == 32);
static_assert(sizeof(rz_batch_out) == 80 && sizeof(rz_batch_bias) == 8);
static_assert(sizeof(rz_result_header) == 32 && sizeof(rz_result_out) == 32 && sizeof(rz_result_top) == 8);

static uint32_t min_u32(uint64_t a, uint32_t b) { return a < b ? (uint32_t)a : b; }

rz_batch_limits rz_batch_limits_of(const rz_plan_options *o) {
    return (rz_batch_limits){
        .n_seqs = o->max_seqs,
        .n_tokens = o->max_tokens,
        .n_outs = o->max_outs,
        .n_rows = o->max_rows,
        .n_copies = 8 * o->max_seqs,
        .n_bias = min_u32(4096 + 256ull * o->max_outs, 1u << 20),
        .n_tops = min_u32((uint64_t)TOPS_MAX * o->max_outs, 1u << 16),
    };
}

/* ---- memory of a ticket ---------------------------------------------------------------------------------------- */

typedef struct carver {
    uint8_t *memory; /* NULL: only the size is wanted */
    uint64_t used;
} carver;

static void *carve(carver *c, uint64_t n, uint64_t item_bytes) {
    void *place = c->memory != NULL ? c->memory + c->used : NULL;
    c->used += (n * item_bytes + 63) / 64 * 64;
    return place;
}

static void place(rz_ticket *t, const rz_plan_options *o, uint32_t vocab_size, carver *c) {
    const rz_batch_limits max = rz_batch_limits_of(o);
    const uint64_t n_masks = min_u32(o->max_outs, o->max_seqs);
    rz_batch *b = &t->batch;
    b->header = &t->header;
    b->copies = carve(c, max.n_copies, sizeof(rz_batch_copy));
    b->seqs = carve(c, max.n_seqs, sizeof(rz_batch_seq));
    b->outs = carve(c, max.n_outs, sizeof(rz_batch_out));
    b->bias = carve(c, max.n_bias, sizeof(rz_batch_bias));
    b->tokens = carve(c, max.n_tokens, 4);
    b->row_seq = carve(c, max.n_tokens, 4);
    b->row_position = carve(c, max.n_tokens, 4);
    b->seq_first_row = carve(c, max.n_seqs + 1ull, 4);
    b->seq_group_pages = carve(c, max.n_seqs * 8ull, 4);
    b->rows = carve(c, max.n_rows, 4);
    b->out_row = carve(c, max.n_outs, 4);
    t->row_mark = carve(c, max.n_tokens, 4);
    t->no_input = carve(c, max.n_seqs, sizeof(bool));
    t->masks = carve(c, n_masks * ((vocab_size + 31) / 32), 4);
    t->results = carve(c, max.n_outs, sizeof(rz_result_out));
    t->tops = carve(c, max.n_tops, sizeof(rz_result_top));
}

uint64_t rz_ticket_bytes(const rz_plan_options *options, uint32_t vocab_size) {
    rz_ticket t = {0};
    carver c = {0};
    place(&t, options, vocab_size, &c);
    return c.used;
}

void rz_ticket_place(rz_ticket *ticket, const rz_plan_options *options, uint32_t vocab_size, uint8_t *memory) {
    carver c = {.memory = memory};
    place(ticket, options, vocab_size, &c);
}

/* ---- header and sections --------------------------------------------------------------------------------------- */

static rz_status check_max(const char *what, uint32_t got, uint32_t max) {
    if (got <= max) return RZ_OK;
    return rz_fail(RZ_E_LIMIT, "batch: %s is %u, at most %u fit this plan and cache", what, got, max);
}

static rz_status check_zero(const char *what, uint32_t got) {
    if (got == 0) return RZ_OK;
    return rz_fail(RZ_E_UNSUPPORTED, "batch: %s is %u: not built yet, expected 0", what, got);
}

static rz_status check_header(const rz_ticket *t, uint32_t n) {
    const rz_batch_header *h = &t->header;
    const rz_batch_limits max = rz_batch_limits_of(&t->plan->options);
    if (h->magic != RZ_BATCH_MAGIC) {
        return rz_fail(RZ_E_MAGIC, "batch: magic is 0x%08x, expected 0x%08x ('RZB1')", h->magic, RZ_BATCH_MAGIC);
    }
    if (h->bytes != n) return rz_fail(RZ_E_TRUNCATED, "batch: header says %u bytes, got %u", h->bytes, n);
    rz_status status = check_zero("flags beside HOLD_SAMPLE", h->flags & ~RZ_BATCH_HOLD_SAMPLE);
    if (status == RZ_OK) status = check_zero("n_ext_rows", h->n_ext_rows);
    if (status == RZ_OK) status = check_zero("n_axes", h->n_axes);
    if (status == RZ_OK) status = check_max("n_seqs", h->n_seqs, max.n_seqs);
    if (status == RZ_OK) status = check_max("n_tokens", h->n_tokens, max.n_tokens);
    if (status == RZ_OK) status = check_max("n_outs", h->n_outs, max.n_outs);
    if (status == RZ_OK) status = check_max("n_bias", h->n_bias, max.n_bias);
    if (status == RZ_OK) status = check_max("n_copies", h->n_copies, t->cache != NULL ? max.n_copies : 0);
    if (status == RZ_OK) status = check_max("n_pages", h->n_pages, t->cache != NULL ? t->cache->pages_max : 0);
    if (status != RZ_OK) return status;
    if (h->n_seqs == 0 || h->n_tokens == 0) {
        return rz_fail(RZ_E_ARG, "batch: %u sequences, %u tokens, expected at least 1", h->n_seqs, h->n_tokens);
    }
    for (uint32_t i = 0; i < 4; i++) {
        if (h->reserved[i] != 0) return rz_fail(RZ_E_ARG, "batch: reserved[%u] is %u", i, h->reserved[i]);
    }
    return RZ_OK;
}

/* Copies a section when it lies in the buffer; *at goes to the next one. */
static void section(const uint8_t *bytes, uint32_t n, uint64_t *at, const void *to, uint64_t count,
                    uint64_t item_bytes) {
    const uint64_t size = count * item_bytes;
    if (size > 0 && *at + size <= n) memcpy((void *)(uintptr_t)to, bytes + *at, size);
    *at = (*at + size + 15) / 16 * 16;
}

static rz_status copy_sections(rz_ticket *t, const uint8_t *bytes, uint32_t n) {
    const rz_batch_header *h = &t->header;
    rz_batch *b = &t->batch;
    uint64_t at = sizeof *h;
    b->pages = t->cache != NULL ? t->cache->pages[t->cache_lane] : NULL;
    b->ext_rows = NULL;
    section(bytes, n, &at, b->copies, h->n_copies, sizeof *b->copies);
    section(bytes, n, &at, b->seqs, h->n_seqs, sizeof *b->seqs);
    section(bytes, n, &at, b->pages, h->n_pages, sizeof *b->pages);
    section(bytes, n, &at, b->tokens, h->n_tokens, sizeof *b->tokens);
    section(bytes, n, &at, b->outs, h->n_outs, sizeof *b->outs);
    const uint64_t before_bias = at;
    section(bytes, n, &at, b->bias, h->n_bias, sizeof *b->bias);
    uint64_t end = at; /* the last section may come without its padding */
    if (h->n_bias > 0) end = before_bias + h->n_bias * sizeof *b->bias;
    else if (h->n_outs == 0) end = at - (16 - h->n_tokens * 4ull % 16) % 16;
    if (n >= end && n <= at) return RZ_OK;
    return rz_fail(RZ_E_TRUNCATED, "batch: %u bytes, expected %llu for its counts", n, (unsigned long long)at);
}

/* ---- copies, sequences, pages ---------------------------------------------------------------------------------- */

/* A pair of stamps not used before: the first marks targets of copies, the second pages that sequences write. */
static uint32_t next_stamp(rz_cache *c) {
    if (c->stamp > UINT32_MAX - 4) {
        memset(c->slot_stamp, 0, c->options.n_slots * sizeof *c->slot_stamp);
        for (uint32_t g = 0; g < c->options.n_groups; g++) {
            memset(c->page_stamp[g], 0, c->options.groups[g].n_pages * sizeof *c->page_stamp[g]);
        }
        c->stamp = 0;
    }
    c->stamp += 2;
    return c->stamp;
}

static rz_status check_copies(const rz_ticket *t, uint32_t stamp) {
    for (uint32_t i = 0; i < t->header.n_copies; i++) {
        const rz_batch_copy *copy = &t->batch.copies[i];
        if (copy->group >= t->cache->options.n_groups) {
            return rz_fail(RZ_E_ARG, "batch: copy %u: group %u, the cache has %u", i, copy->group,
                           t->cache->options.n_groups);
        }
        const rz_cache_group *group = &t->cache->options.groups[copy->group];
        const bool fits = copy->src_page > 0 && copy->src_page < group->n_pages && copy->dst_page > 0 &&
                          copy->dst_page < group->n_pages && copy->src_page != copy->dst_page;
        if (!fits) {
            return rz_fail(RZ_E_ARG, "batch: copy %u: page %u to %u, expected two pages of 1..%u", i, copy->src_page,
                           copy->dst_page, group->n_pages - 1);
        }
        if (copy->n_tokens < 1 || copy->n_tokens > group->page_tokens) {
            return rz_fail(RZ_E_ARG, "batch: copy %u: %u tokens, expected 1..%u", i, copy->n_tokens,
                           group->page_tokens);
        }
        uint32_t *mark = &t->cache->page_stamp[copy->group][copy->dst_page];
        if (*mark == stamp) return rz_fail(RZ_E_ARG, "batch: copy %u: page %u is written twice", i, copy->dst_page);
        *mark = stamp;
    }
    return RZ_OK;
}

/* The page table of one sequence in one group, at pages[first]. */
static rz_status check_table(const rz_ticket *t, uint32_t s, uint32_t g, uint64_t first, uint64_t n, uint32_t stamp) {
    const rz_batch_seq *seq = &t->batch.seqs[s];
    const rz_cache_group *group = &t->cache->options.groups[g];
    const uint32_t *table = t->batch.pages + first;
    const uint64_t first_written = seq->n_past / group->page_tokens;
    for (uint64_t j = 0; j < n; j++) {
        const uint32_t page = table[j];
        const bool passed = group->window != 0 &&
                            (j + 1) * group->page_tokens + group->window <= (uint64_t)seq->n_past + 1;
        if (page >= group->n_pages || (page == 0 && !passed)) {
            return rz_fail(RZ_E_ARG, "batch: sequence %u: group %u: entry %llu is page %u, expected %u..%u", s, g,
                           (unsigned long long)j, page, passed ? 0 : 1, group->n_pages - 1);
        }
        if (j < first_written) continue;
        uint32_t *mark = &t->cache->page_stamp[g][page];
        if (*mark == stamp) {
            return rz_fail(RZ_E_ARG, "batch: sequence %u: group %u: page %u is written twice in this step", s, g, page);
        }
        *mark = stamp;
    }
    return RZ_OK;
}

static rz_status check_tables(rz_ticket *t, uint32_t s, uint32_t stamp) {
    const rz_batch_seq *seq = &t->batch.seqs[s];
    const rz_cache *c = t->cache;
    const uint64_t end = (uint64_t)seq->n_past + seq->n_new;
    uint64_t at = seq->first_page;
    if (seq->slot >= c->options.n_slots || c->slot_stamp[seq->slot] == stamp) {
        return rz_fail(RZ_E_ARG, "batch: sequence %u: slot %u, expected one of 0..%u that no other sequence has", s,
                       seq->slot, c->options.n_slots - 1);
    }
    c->slot_stamp[seq->slot] = stamp;
    for (uint32_t g = 0; g < c->options.n_groups; g++) {
        const uint32_t page_tokens = c->options.groups[g].page_tokens;
        const uint64_t n = (end + page_tokens - 1) / page_tokens;
        if (at + n > t->header.n_pages) {
            return rz_fail(RZ_E_ARG, "batch: sequence %u: group %u: its table ends at entry %llu, n_pages is %u", s, g,
                           (unsigned long long)(at + n), t->header.n_pages);
        }
        t->batch.seq_group_pages[s * c->options.n_groups + g] = (uint32_t)at;
        const rz_status status = check_table(t, s, g, at, n, stamp);
        if (status != RZ_OK) return status;
        at += n;
    }
    return RZ_OK;
}

static rz_status check_seq(const rz_ticket *t, uint32_t s) {
    const rz_batch_seq *seq = &t->batch.seqs[s];
    if (seq->adapter != 0 || seq->rope_table != 0) {
        return rz_fail(RZ_E_UNSUPPORTED, "batch: sequence %u: adapter %u, rope_table %u: not built yet, expected 0", s,
                       seq->adapter, seq->rope_table);
    }
    if (seq->flags != 0 || seq->reserved != 0) {
        return rz_fail(RZ_E_ARG, "batch: sequence %u: flags %u, reserved %u, expected 0", s, seq->flags, seq->reserved);
    }
    const uint64_t end = (uint64_t)seq->n_past + seq->n_new;
    if (seq->n_new == 0 || end > INT32_MAX) {
        return rz_fail(RZ_E_ARG, "batch: sequence %u: n_past %u, n_new %u, expected at least 1 new, 2^31 - 1 in all", s,
                       seq->n_past, seq->n_new);
    }
    if (t->cache == NULL && seq->n_past != 0) {
        return rz_fail(RZ_E_ARG, "batch: sequence %u: n_past is %u, expected 0 without a cache", s, seq->n_past);
    }
    return RZ_OK;
}

static rz_status check_seqs(rz_ticket *t, uint32_t stamp) {
    rz_batch *b = &t->batch;
    uint64_t row = 0;
    for (uint32_t s = 0; s < t->header.n_seqs; s++) {
        rz_status status = check_seq(t, s);
        if (status == RZ_OK && t->cache != NULL) status = check_tables(t, s, stamp);
        if (status != RZ_OK) return status;
        const rz_batch_seq *seq = &b->seqs[s];
        if (row + seq->n_new > t->header.n_tokens) {
            return rz_fail(RZ_E_ARG, "batch: sequence %u ends at row %llu, there are %u tokens", s,
                           (unsigned long long)(row + seq->n_new), t->header.n_tokens);
        }
        b->seq_first_row[s] = (uint32_t)row;
        for (uint32_t i = 0; i < seq->n_new; i++, row++) {
            b->row_seq[row] = s;
            b->row_position[row] = seq->n_past + i;
        }
    }
    b->seq_first_row[t->header.n_seqs] = (uint32_t)row;
    if (row == t->header.n_tokens) return RZ_OK;
    return rz_fail(RZ_E_ARG, "batch: the sequences have %llu rows, there are %u tokens", (unsigned long long)row,
                   t->header.n_tokens);
}

static rz_status check_tokens(const rz_ticket *t) {
    const uint32_t vocab_size = t->plan->ir.header->vocab_size;
    for (uint32_t i = 0; i < t->header.n_tokens; i++) {
        const int32_t id = t->batch.tokens[i];
        if (id >= 0 && (uint32_t)id < vocab_size) continue;
        if (id == -1 && t->cache != NULL) continue;
        if (id < -1) return rz_fail(RZ_E_UNSUPPORTED, "batch: token %u is %d: external rows are not built yet", i, id);
        return rz_fail(RZ_E_ARG, "batch: token %u is %d, expected 0..%d%s", i, id, (int)vocab_size - 1,
                       t->cache != NULL ? " or -1" : "");
    }
    return RZ_OK;
}

/* ---- outs ------------------------------------------------------------------------------------------------------ */

static bool between(float x, float low, float high) { return x >= low && x <= high; } /* false for NaN */

static rz_status check_sampler(const rz_batch_out *o, uint32_t i) {
    const char *what = NULL;
    float got = 0;
#define CHECK(field, condition) \
    if (what == NULL && !(condition)) what = #field, got = o->field
    CHECK(temperature, between(o->temperature, 0, 100));
    CHECK(top_p, between(o->top_p, 0, 1));
    CHECK(min_p, between(o->min_p, 0, 1));
    CHECK(typical_p, between(o->typical_p, 0, 1));
    CHECK(repetition, o->repetition > 0 && between(o->repetition, 0, PENALTY_MAX));
    CHECK(presence, between(o->presence, -PENALTY_MAX, PENALTY_MAX));
    CHECK(frequency, between(o->frequency, -PENALTY_MAX, PENALTY_MAX));
#undef CHECK
    if (what == NULL) return RZ_OK;
    return rz_fail(RZ_E_ARG, "batch: out %u: %s is %g: out of its range", i, what, (double)got);
}

static rz_status check_out(rz_ticket *t, uint32_t i) {
    const rz_batch_out *o = &t->batch.outs[i];
    const uint32_t vocab_size = t->plan->ir.header->vocab_size;
    const bool needs_logits = (o->mode & ~RZ_OUT_HIDDEN) != 0 || o->n_top > 0;
    if (o->row >= t->header.n_tokens) {
        return rz_fail(RZ_E_ARG, "batch: out %u: row %u, there are %u tokens", i, o->row, t->header.n_tokens);
    }
    if (o->mode == 0 || (o->mode & ~OUT_MODES) != 0) {
        return rz_fail(RZ_E_ARG, "batch: out %u: mode is %u, expected bits of %u", i, o->mode, OUT_MODES);
    }
    if (needs_logits && t->plan->info.logits_value == 0) {
        return rz_fail(RZ_E_ARG, "batch: out %u: mode %u, %u top: the plan has no logits", i, o->mode, o->n_top);
    }
    if (o->n_draft != 0) return rz_fail(RZ_E_UNSUPPORTED, "batch: out %u: n_draft is not built yet", i);
    if (o->n_top > TOPS_MAX || o->reserved != 0) {
        return rz_fail(RZ_E_ARG, "batch: out %u: n_top %u (at most %u), reserved %u (0)", i, o->n_top, TOPS_MAX,
                       o->reserved);
    }
    if ((o->mode & RZ_OUT_TARGET) != 0 && o->target >= vocab_size) {
        return rz_fail(RZ_E_ARG, "batch: out %u: target %u, the vocabulary has %u", i, o->target, vocab_size);
    }
    if ((uint64_t)o->bias_first + o->bias_n > t->header.n_bias) {
        return rz_fail(RZ_E_ARG, "batch: out %u: bias %u + %u, n_bias is %u", i, o->bias_first, o->bias_n,
                       t->header.n_bias);
    }
    const uint32_t masks_max = (t->header.flags & RZ_BATCH_HOLD_SAMPLE) != 0 ? rz_plan_masks_max(t->plan) : 0;
    if (o->mask > masks_max) {
        return rz_fail(RZ_E_ARG, "batch: out %u: mask %u, expected 0..%u (0 without HOLD_SAMPLE)", i, o->mask,
                       masks_max);
    }
    return check_sampler(o, i);
}

static rz_status check_outs(rz_ticket *t) {
    rz_batch *b = &t->batch;
    const rz_batch_limits max = rz_batch_limits_of(&t->plan->options);
    uint64_t n_tops = 0;
    uint32_t n_rows = 0;
    t->n_masks = 0;
    memset(t->row_mark, 0, t->header.n_tokens * sizeof *t->row_mark);
    for (uint32_t i = 0; i < t->header.n_outs; i++) {
        const rz_status status = check_out(t, i);
        if (status != RZ_OK) return status;
        n_tops += b->outs[i].n_top;
        if (b->outs[i].mask > t->n_masks) t->n_masks = b->outs[i].mask;
        t->row_mark[b->outs[i].row] = 1;
    }
    if (n_tops > max.n_tops) return check_max("sum of n_top", min_u32(n_tops, UINT32_MAX), max.n_tops);
    for (uint32_t row = 0; row < t->header.n_tokens; row++) {
        if (t->row_mark[row] == 0) continue;
        if (n_rows == max.n_rows) return check_max("number of distinct rows of the outs", n_rows + 1, max.n_rows);
        t->row_mark[row] = n_rows;
        b->rows[n_rows++] = row;
    }
    for (uint32_t i = 0; i < t->header.n_outs; i++) b->out_row[i] = t->row_mark[b->outs[i].row];
    b->n_rows = n_rows;
    t->result.n_top_total = (uint32_t)n_tops;
    return RZ_OK;
}

static rz_status check_bias(const rz_ticket *t) {
    const uint32_t vocab_size = t->plan->ir.header->vocab_size;
    for (uint32_t i = 0; i < t->header.n_bias; i++) {
        const rz_batch_bias *b = &t->batch.bias[i];
        if (b->token < vocab_size && (between(b->bias, -BIAS_MAX, BIAS_MAX) || b->bias == -INFINITY)) continue;
        return rz_fail(RZ_E_ARG, "batch: bias %u: %g for token %u, expected -inf or within 1e6, a token below %u", i,
                       (double)b->bias, b->token, vocab_size);
    }
    return RZ_OK;
}

/* ---- the whole ------------------------------------------------------------------------------------------------- */

rz_status rz_batch_match(const rz_plan *plan, const rz_cache *cache) {
    const rz_plan_ir *ir = &plan->ir;
    const uint32_t n_groups = cache != NULL ? cache->options.n_groups : 0;
    for (uint32_t g = 0; g < ir->n_groups; g++) {
        if (ir->groups[g].n_layers == 0) continue;
        if (g >= n_groups) {
            return rz_fail(RZ_E_SHAPE, "rz_step_submit: the plan uses cache group %u, the cache has %u", g, n_groups);
        }
        const rz_cache_group *have = &cache->options.groups[g];
        const uint32_t window = ir->groups[g].window_max;
        const bool fits = ir->groups[g].n_layers <= have->n_layers && ir->groups[g].k_cols == have->k_cols &&
                          ir->groups[g].v_cols == have->v_cols &&
                          (have->window == 0 || (window != 0 && window <= have->window));
        if (fits) continue;
        return rz_fail(RZ_E_SHAPE,
                       "rz_step_submit: group %u: the plan needs %u layers of %u + %u columns, window %u; the cache "
                       "has %u of %u + %u, window %u",
                       g, ir->groups[g].n_layers, ir->groups[g].k_cols, ir->groups[g].v_cols, window, have->n_layers,
                       have->k_cols, have->v_cols, have->window);
    }
    return RZ_OK;
}

rz_status rz_batch_read(rz_ticket *t, const uint8_t *bytes, uint32_t n) {
    if (n < sizeof t->header || bytes == NULL) {
        return rz_fail(RZ_E_TRUNCATED, "batch: %u bytes, the header has %zu", n, sizeof t->header);
    }
    memcpy(&t->header, bytes, sizeof t->header);
    rz_status status = check_header(t, n);
    if (status == RZ_OK) status = copy_sections(t, bytes, n);
    if (status != RZ_OK) return status;
    const uint32_t stamp = t->cache != NULL ? next_stamp(t->cache) : 0;
    if (t->cache != NULL) status = check_copies(t, stamp);
    if (status == RZ_OK) status = check_seqs(t, stamp + 1);
    if (status == RZ_OK) status = check_tokens(t);
    if (status == RZ_OK) status = check_bias(t);
    if (status == RZ_OK) status = check_outs(t);
    return status;
}
