/* attention.c - attention as items for the pool: a tile of a sequence's tokens with one key head.
 *
 * Keys are taken in runs of 256 positions and runs in parts of 512, both at absolute multiples; a part's runs are
 * merged in order, then the parts in order. That is all that decides a result, so it does not matter how tokens were
 * cut into tiles and steps, or whether parts were computed by one thread or by many (which happens when a step has
 * fewer tiles than threads). */
#include "cpu.h"
#include <math.h>
#include <string.h>

/* Queries of a tile, tokens times heads, where there are enough tiles: keys are rounded once for all of them
 * (isa/attention_bf16.c). */
#define TILE_QUERIES 60u

typedef struct job {
    rz_cpu_program *p;
    const rz_op *op;
    rz_cpu_kv kv;        /* cached attention; of the batch: RZ_KV_F32 and nothing else */
    size_t k_head_bytes, v_head_bytes; /* from a head to the next within a group */
    const float *values; /* attention within the batch */
    uint32_t n_heads, n_key_heads, k_cols, v_cols, window;
    uint32_t heads_a_key, heads_a_tile, n_groups; /* query heads of a key head, in n_groups tiles */
    uint32_t tile_tokens, n_tiles;
    uint32_t n_parts; /* 1: a tile's parts are one item */
} job;

/* What an item works on. */
typedef struct tile {
    uint32_t seq, row, n_tokens; /* token rows row .. row + n_tokens - 1 */
    uint32_t key_head, head, n_heads;
    uint32_t low, high; /* positions that some query sees */
} tile;

static bool is_cached(const job *j) { return j->op->n[6] == 0; }

/* Position of a row: absolute, or within the sequence's rows of the batch. */
static uint32_t position_of(const job *j, const tile *t, uint32_t row) {
    const rz_batch *batch = j->p->step->batch;
    return is_cached(j) ? batch->row_position[row] : row - batch->seq_first_row[t->seq];
}

static tile tile_of(const job *j, uint32_t item) {
    const rz_batch *batch = j->p->step->batch;
    const uint32_t group = item % j->n_groups, key_head = item / j->n_groups % j->n_key_heads;
    const uint32_t at = item / j->n_groups / j->n_key_heads;
    uint32_t low = 0, high = batch->header->n_seqs; /* the last sequence whose first tile is not behind `at` */
    while (high - low > 1) {
        const uint32_t middle = (low + high) / 2;
        if (j->p->tile_first[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    tile t = {.seq = low, .key_head = key_head};
    t.row = batch->seq_first_row[low] + (at - j->p->tile_first[low]) * j->tile_tokens;
    t.n_tokens = rz_cpu_least(j->tile_tokens, batch->seq_first_row[low + 1] - t.row);
    t.head = key_head * j->heads_a_key + group * j->heads_a_tile;
    t.n_heads = rz_cpu_least(j->heads_a_tile, j->heads_a_key - group * j->heads_a_tile);
    return t;
}

/* Fills in the queries of a tile, all that is not summed up. */
static void set_queries(const job *j, const rz_cpu_scratch *s, tile *t, rz_cpu_queries *q) {
    const float *x = rz_cpu_value(j->p, j->op->in[0]);
    const rz_batch *batch = j->p->step->batch;
    q->n = 0;
    q->xq = s->queries_xq;
    q->low_q = s->queries_low;
    t->low = UINT32_MAX, t->high = 0;
    for (uint32_t r = t->row; r < t->row + t->n_tokens; r++) {
        const uint32_t position = position_of(j, t, r);
        uint32_t low = j->window && position + 1 > j->window ? position + 1 - j->window : 0, high = position + 1;
        if (!is_cached(j)) low = 0, high = batch->seq_first_row[t->seq + 1] - batch->seq_first_row[t->seq];
        for (uint32_t h = t->head; h < t->head + t->n_heads; h++, q->n++) {
            q->q[q->n] = x + ((size_t)r * j->n_heads + h) * j->k_cols;
            if (j->kv.format == RZ_KV_Q8_0) {
                const rz_cpu_kernels *k = j->p->engine->kernels;
                const size_t at = (size_t)q->n * (j->k_cols / 32);
                k->attention->turn(q->q[q->n], j->k_cols, s->row);
                k->rows->quantize(s->row, j->k_cols, 0.0f, s->queries_xq + at, s->queries_low + at, 1);
            }
            q->low[q->n] = low;
            q->high[q->n] = high;
        }
        t->low = rz_cpu_least(t->low, low);
        t->high = rz_cpu_most(t->high, high);
    }
}

static void start(const job *j, rz_cpu_queries *q) {
    for (uint32_t i = 0; i < q->n; i++) q->top[i] = -INFINITY;
    memset(q->total, 0, q->n * sizeof q->total[0]);
    memset(q->o, 0, (size_t)q->n * j->v_cols * sizeof(float));
}

static void copy_queries(const rz_cpu_queries *from, rz_cpu_queries *to) {
    float *o = to->o;
    *to = *from;
    to->o = o;
}

/* Attends to the run that begins at `first`. */
static void attend_run(const job *j, const tile *t, uint32_t first, rz_cpu_queries *q) {
    const uint32_t begin = rz_cpu_most(t->low, first);
    rz_cpu_run run = {.first = first,
                      .k_cols = j->k_cols,
                      .v_cols = j->v_cols,
                      .v_stride = is_cached(j) ? j->kv.v_cols : j->n_key_heads * j->v_cols,
                      .k_scales = RZ_GROUP_KEYS * (size_t)j->kv.k_cols - 15 * (size_t)t->key_head * j->k_cols,
                      .v_scales = RZ_GROUP_KEYS * (size_t)j->kv.v_cols,
                      .scale = j->op->f[0],
                      .cap = j->op->f[1]};
    const uint32_t fetched = rz_cpu_least(t->high, first + RZ_RUN_KEYS + RZ_NEXT_GROUPS * RZ_GROUP_KEYS);
    for (uint32_t at = begin / RZ_GROUP_KEYS * RZ_GROUP_KEYS; at < fetched; at += RZ_GROUP_KEYS) {
        const uint32_t g = (at - first) / RZ_GROUP_KEYS;
        if (is_cached(j)) {
            const uint32_t page = rz_page_at(j->p->step, t->seq, j->op->n[0], at);
            run.k[g] = (const uint8_t *)rz_cpu_keys_at(&j->kv, page, at) + t->key_head * j->k_head_bytes;
            run.v[g] = (const uint8_t *)rz_cpu_values_at(&j->kv, page, at) + t->key_head * j->v_head_bytes;
        } else {
            const uint32_t row = j->p->step->batch->seq_first_row[t->seq];
            const size_t group = row / RZ_GROUP_KEYS + t->seq + at / RZ_GROUP_KEYS;
            run.k[g] = j->p->batch_keys + (group * j->n_key_heads + t->key_head) * j->k_cols * RZ_GROUP_KEYS;
            run.v[g] = j->values + ((size_t)(row + at) * j->n_key_heads + t->key_head) * j->v_cols;
        }
    }
    start(j, q);
    const rz_cpu_kernels *k = j->p->engine->kernels;
    if (j->kv.format == RZ_KV_F16 && k->attention_bf16)
        k->attention_bf16->run(&run, q);
    else
        k->attention->run[j->kv.format](&run, q);
}

/* Attends to part `part`; q is started here. Uses `other`. */
static void attend_part(const job *j, const tile *t, uint32_t part, rz_cpu_queries *q, rz_cpu_queries *other) {
    bool first = true;
    for (uint32_t at = part * RZ_PART_KEYS; at < (part + 1) * RZ_PART_KEYS; at += RZ_RUN_KEYS) {
        if (at >= t->high || at + RZ_RUN_KEYS <= t->low) continue;
        if (!first) copy_queries(q, other);
        attend_run(j, t, at, first ? q : other);
        if (!first) j->p->engine->kernels->attention->merge(q, other, j->v_cols);
        first = false;
    }
}

static void store_result(const job *j, const tile *t, rz_cpu_queries *q) {
    const float *sinks = rz_cpu_vector(j->p, j->op->w[0]);
    const uint32_t id = j->op->out[0];
    for (uint32_t i = 0; i < q->n; i++) {
        const uint32_t row = t->row + i / t->n_heads, head = t->head + i % t->n_heads;
        const float *o = q->o + (size_t)i * j->v_cols;
        j->p->engine->kernels->attention->finish(q, i, j->v_cols, sinks ? sinks[head] : -INFINITY);
        memcpy(rz_cpu_value(j->p, id) + ((size_t)row * j->n_heads + head) * j->v_cols, o, j->v_cols * sizeof(float));
    }
}

/* A part of an item that another thread finishes: top and total of its queries, then o. */
static float *part_memory(const job *j, uint32_t item, uint32_t part) {
    const size_t floats = (size_t)j->heads_a_tile * (17 + j->v_cols);
    return j->p->parts + ((size_t)item * RZ_MAX_PARTS + part) * floats;
}

static void save_part(const job *j, const rz_cpu_queries *q, float *to) {
    memcpy(to, q->top, q->n * sizeof(float));
    memcpy(to + q->n, q->total, q->n * sizeof q->total[0]);
    memcpy(to + q->n * 17, q->o, (size_t)q->n * j->v_cols * sizeof(float));
}

static void load_part(const job *j, const float *from, rz_cpu_queries *q) {
    memcpy(q->top, from, q->n * sizeof(float));
    memcpy(q->total, from + q->n, q->n * sizeof q->total[0]);
    memcpy(q->o, from + q->n * 17, (size_t)q->n * j->v_cols * sizeof(float));
}

/* All parts of an item in order, computed here or loaded. */
static void finish_item(const job *j, const rz_cpu_scratch *s, uint32_t item) {
    rz_cpu_queries *all = &s->queries[0], *one = &s->queries[1], *other = &s->queries[2];
    tile t = tile_of(j, item);
    set_queries(j, s, &t, all);
    copy_queries(all, one);
    for (uint32_t part = t.low / RZ_PART_KEYS, n = 0; part * RZ_PART_KEYS < t.high; part++, n++) {
        rz_cpu_queries *q = n == 0 ? all : one;
        if (j->n_parts > 1)
            load_part(j, part_memory(j, item, part), q);
        else
            attend_part(j, &t, part, q, other);
        if (n > 0) j->p->engine->kernels->attention->merge(all, one, j->v_cols);
        if (rz_cpu_cancelled(j->p)) return;
    }
    store_result(j, &t, all);
}

static void run_items(void *arg, uint32_t thread) {
    const job *j = arg;
    const rz_cpu_scratch *s = &j->p->scratch[thread];
    for (uint32_t i = 0; i < 3; i++) {
        s->queries[i].o = s->attention + (size_t)i * RZ_TILE_QUERIES * j->v_cols;
    }
    uint32_t item = 0;
    while (rz_pool_next(thread, &item)) {
        if (rz_cpu_cancelled(j->p)) continue;
        if (j->n_parts == 1) {
            finish_item(j, s, item);
            continue;
        }
        /* all key heads of a part one after another: they lie side by side */
        const uint32_t n_tiles = j->n_tiles * j->n_key_heads * j->n_groups, part = item / n_tiles;
        tile t = tile_of(j, item % n_tiles);
        set_queries(j, s, &t, &s->queries[0]);
        if (part * RZ_PART_KEYS >= t.high || (part + 1) * RZ_PART_KEYS <= t.low) continue;
        attend_part(j, &t, part, &s->queries[0], &s->queries[1]);
        save_part(j, &s->queries[0], part_memory(j, item % n_tiles, part));
    }
}

/* Keys of the batch into groups of 16, as in a page; each sequence begins a group. */
static void group_keys(rz_cpu_program *p, uint32_t thread, uint32_t first, uint32_t end) {
    (void)thread;
    const uint32_t id = p->launch->op->in[1], cols = rz_cpu_cols(p, id);
    const float *x = rz_cpu_value(p, id);
    for (uint32_t r = first; r < end; r++) {
        const uint32_t seq = p->step->batch->row_seq[r], row = p->step->batch->seq_first_row[seq];
        const size_t group = row / RZ_GROUP_KEYS + seq + (r - row) / RZ_GROUP_KEYS;
        p->engine->kernels->attention->put_keys[RZ_KV_F32](x + (size_t)r * cols, cols, 0, cols,
                                                           (r - row) % RZ_GROUP_KEYS,
                                                           p->batch_keys + group * cols * RZ_GROUP_KEYS);
    }
}

/* Cuts sequences into tiles of j->tile_tokens. */
static void cut(job *j) {
    const rz_batch *batch = j->p->step->batch;
    j->n_tiles = 0;
    for (uint32_t s = 0; s < batch->header->n_seqs; s++) {
        const uint32_t n = batch->seq_first_row[s + 1] - batch->seq_first_row[s];
        j->p->tile_first[s] = j->n_tiles;
        j->n_tiles += (n + j->tile_tokens - 1) / j->tile_tokens;
    }
}

/* Chooses tiles; with fewer items than threads can use, a decode's contexts are cut into parts. */
static void choose_tiles(job *j) {
    rz_cpu_program *p = j->p;
    const rz_batch *batch = p->step->batch;
    const uint32_t n_seqs = batch->header->n_seqs, n_threads = p->engine->n_threads;
    uint32_t longest = 0;
    for (uint32_t s = 0; s < n_seqs; s++)
        longest = rz_cpu_most(longest, batch->row_position[batch->seq_first_row[s + 1] - 1] + 1);
    cut(j);
    while (j->tile_tokens > 1 && n_threads > 1 && j->n_tiles * j->n_key_heads * j->n_groups < 4 * n_threads) {
        j->tile_tokens = (j->tile_tokens + 1) / 2;
        cut(j);
    }
    const uint32_t n_parts = (longest + RZ_PART_KEYS - 1) / RZ_PART_KEYS;
    const bool is_decode = is_cached(j) && batch->header->n_tokens == n_seqs;
    const bool few = j->n_tiles * j->n_key_heads * j->n_groups <= 2 * n_threads && n_threads > 1;
    j->n_parts = is_decode && few && n_parts <= RZ_MAX_PARTS ? n_parts : 1;
}

void rz_cpu_attention_run(rz_cpu_program *p, const rz_cpu_launch *l) {
    const rz_op *op = l->op;
    job j = {.p = p,
             .op = op,
             .n_heads = op->n[2],
             .n_key_heads = op->n[3],
             .k_cols = op->n[4],
             .v_cols = op->n[5],
             .window = op->n[7],
             .heads_a_key = op->n[2] / op->n[3]};
    j.heads_a_tile = rz_cpu_least(j.heads_a_key, RZ_TILE_QUERIES);
    j.n_groups = (j.heads_a_key + j.heads_a_tile - 1) / j.heads_a_tile;
    j.tile_tokens = rz_cpu_most(1, TILE_QUERIES / j.heads_a_tile);
    if (is_cached(&j)) {
        static const uint8_t element_bytes[RZ_N_KV_FORMATS] = {4, 2, 1};
        j.kv = rz_cpu_kv_of(p, op->n[0], op->n[1]);
        j.k_head_bytes = (size_t)RZ_GROUP_KEYS * j.k_cols * element_bytes[j.kv.format];
        j.v_head_bytes = (size_t)j.v_cols * element_bytes[j.kv.format];
    } else {
        j.values = rz_cpu_value(p, op->in[2]);
        rz_cpu_each_row(p, p->n_rows[RZ_ROWS_T], rz_cpu_cols(p, op->in[1]), group_keys);
    }
    choose_tiles(&j);
    const uint32_t n_items = j.n_tiles * j.n_key_heads * j.n_groups;
    rz_pool_run(p->engine->n_threads, n_items * j.n_parts, run_items, &j);
    if (j.n_parts > 1) {
        for (uint32_t i = 0; i < n_items && !rz_cpu_cancelled(p); i++) finish_item(&j, &p->scratch[0], i);
    }
}
