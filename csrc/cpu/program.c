/* program.c - a plan made ready for the CPU: memory, lowering, launches; and running it. */
#include "cpu.h"
#include "error.h"
#include "op_rules.h"
#include "os.h"
#include "sample.h"
#include <string.h>

/* ---- memory ----------------------------------------------------------------------------------------------------- */

/* How much the greediest op needs. */
typedef struct needs {
    uint64_t x8, highs, x8_rows, high_in, xf, halves, batch_keys, parts, row_order; /* records, rows, floats, ... */
    uint32_t cols, k_cols, v_cols;                 /* widest row, widest key head, widest value head */
    size_t sample;
} needs;

static void note_attention(const rz_cpu_program *p, const rz_op *op, needs *n) {
    const uint64_t heads = rz_cpu_least(op->n[2] / op->n[3], RZ_TILE_QUERIES);
    n->v_cols = rz_cpu_most(n->v_cols, op->n[5]);
    n->k_cols = rz_cpu_most(n->k_cols, op->n[4]);
    if (op->n[6] == 1) {
        const uint64_t groups = p->lowering.rows_max / RZ_GROUP_KEYS + p->options.max_seqs + 1u;
        const uint64_t floats = groups * RZ_GROUP_KEYS * op->n[3] * op->n[4];
        if (floats > n->batch_keys) n->batch_keys = floats;
    } else if (p->engine->n_threads > 1) {
        const uint64_t floats = 2ull * p->engine->n_threads * RZ_MAX_PARTS * heads * (17 + op->n[5]);
        if (floats > n->parts) n->parts = floats;
    }
}

/* `numbers` activations in int8, in rows of `cols` (a head's, where heads have matrices of their own). */
static void note_int8(uint64_t numbers, uint32_t cols, needs *n) {
    const uint64_t rows = numbers / cols, highs = rows * rz_x_highs(cols);
    if (numbers / 32 > n->x8) n->x8 = numbers / 32;
    if (highs > n->highs) n->highs = highs;
    if (rows * rz_n_parts(cols / 32) > n->high_in) n->high_in = rows * rz_n_parts(cols / 32);
    if (rows > n->x8_rows) n->x8_rows = rows;
}

static needs needs_of(const rz_cpu_program *p) {
    const rz_plan_ir *ir = p->ir;
    needs n = {.cols = 4352}; /* by_lines unpacks 16 rows of 256 columns, and one row */
    for (uint32_t v = 0; v < ir->header->n_values; v++) n.cols = rz_cpu_most(n.cols, ir->values[v].cols);
    for (uint32_t i = 0; i < ir->header->n_ops; i++) {
        const rz_op *op = &ir->ops[i];
        if (op->code == RZ_OP_ATTENTION) note_attention(p, op, &n);
        if (op->code == RZ_OP_MATMUL || op->code == RZ_OP_LOGITS || op->code == RZ_OP_HEAD_MATMUL ||
            op->code == RZ_OP_MOE_MATMUL) {
            const rz_value *in = &ir->values[op->in[0] - 1];
            const uint32_t kind = op->code == RZ_OP_MOE_MATMUL ? RZ_ROWS_TK : in->rows; /* a row for each expert */
            const uint64_t rows = rz_lowering_rows(&p->lowering, kind), numbers = rows * in->cols;
            const bool int8 = rz_cpu_layout_of(&ir->weights[op->w[0] - 1]) < RZ_N_INT8;
            if (int8) note_int8(numbers, ir->weights[op->w[0] - 1].cols, &n);
            if (!int8 && numbers > n.xf) n.xf = numbers;
            const uint64_t halves = rows * rz_x_halves(in->cols);
            if (rz_cpu_layout_of(&ir->weights[op->w[0] - 1]) == RZ_LAYOUT_BF16 && halves > n.halves) n.halves = halves;
        }
        if (op->code == RZ_OP_MOE_MATMUL) {
            const uint64_t n_results = rz_lowering_rows(&p->lowering, RZ_ROWS_TK);
            const uint64_t words = 2 * n_results + ir->weights[op->w[0] - 1].n_experts + 2;
            if (words > n.row_order) n.row_order = words;
        }
    }
    if (ir->logits_value) n.sample = rz_sample_scratch_bytes(ir->header->vocab_size);
    return n;
}

/* One table for each (constant, number of columns that turn) of the plan's RoPE ops. */
static int32_t find_angles(rz_cpu_program *p) {
    for (uint32_t i = 0; i < p->ir->header->n_ops; i++) {
        const rz_op *op = &p->ir->ops[i];
        if (op->code != RZ_OP_ROPE) continue;
        uint32_t k = 0;
        while (k < p->n_angles && (p->angles[k].constant != op->n[3] || p->angles[k].n_rot != op->n[1])) k++;
        if (k < p->n_angles) continue;
        if (k == RZ_MAX_ANGLES) {
            return (int32_t)rz_fail(RZ_E_UNSUPPORTED, "cpu: op %u (rope): more than %u tables of frequencies", i,
                                    RZ_MAX_ANGLES);
        }
        p->angles[p->n_angles++] = (rz_cpu_angles){.constant = op->n[3], .n_rot = op->n[1]};
    }
    return RZ_OK;
}

/* Carves everything out of p->memory; while that is NULL only counts. Returns the bytes. */
static size_t carve(rz_cpu_program *p, const needs *n) {
    uint8_t *block = p->memory;
    size_t at = 0;
#define CARVE(field, count)                                                                                          \
    do {                                                                                                             \
        if (block) (field) = (void *)(block + at);                                                                   \
        at += ((size_t)(count) * sizeof *(field) + 63) & ~(size_t)63;                                                \
    } while (0)
    const uint32_t n_launches = p->lowering.n_launches, n_threads = p->engine->n_threads;
    CARVE(p->arena, p->lowering.arena_bytes);
    CARVE(p->products, n_launches);
    CARVE(p->launches, n_launches);
    for (uint32_t i = 0; i < p->n_angles; i++) {
        CARVE(p->angles[i].cos, (size_t)p->lowering.rows_max * (p->angles[i].n_rot / 2));
        CARVE(p->angles[i].sin, (size_t)p->lowering.rows_max * (p->angles[i].n_rot / 2));
    }
    CARVE(p->int8.blocks, n->x8);
    CARVE(p->int8.high, n->highs);
    CARVE(p->int8.n_high, n->x8_rows);
    CARVE(p->int8.n_high_in, n->high_in);
    CARVE(p->halves, n->halves);
    CARVE(p->xf, n->xf);
    CARVE(p->batch_keys, n->batch_keys);
    CARVE(p->parts, n->parts);
    CARVE(p->row_order, n->row_order);
    CARVE(p->tile_first, p->options.max_seqs);
    CARVE(p->scratch, n_threads);
    for (uint32_t t = 0; t < n_threads; t++) {
        rz_cpu_scratch none, *s = block ? &p->scratch[t] : &none;
        CARVE(s->tiles, RZ_UNIT_FLOATS);
        CARVE(s->panels, RZ_PANEL_BLOCKS);
        CARVE(s->outliers, RZ_BLOCK_ROWS * 32);
        CARVE(s->cursor, RZ_BLOCK_ROWS);
        CARVE(s->int8.blocks, rz_cpu_most(RZ_OWN_COLS, n->cols) / 32);
        /* one row, or rows of a block at least */
        CARVE(s->int8.high, rz_cpu_most((uint32_t)rz_x_highs(n->cols), (uint32_t)rz_x_highs(32) * RZ_OWN_COLS / 32));
        CARVE(s->int8.n_high, RZ_OWN_COLS / 32);
        CARVE(s->int8.n_high_in, rz_cpu_most(RZ_OWN_COLS, n->cols) / 32);
        CARVE(s->row, n->cols + 64);
        CARVE(s->attention, (size_t)3 * RZ_TILE_QUERIES * n->v_cols);
        CARVE(s->queries_xq, (size_t)RZ_TILE_QUERIES * (n->k_cols / 32));
        CARVE(s->queries_low, (size_t)RZ_TILE_QUERIES * (n->k_cols / 32));
        CARVE(s->queries, 3);
        CARVE(s->sample, n->sample);
    }
    if (p->options.flags & RZ_PLAN_PROFILE) CARVE(p->bricks, n_launches);
#undef CARVE
    return at;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

static void start_bricks(rz_cpu_program *p) {
    for (uint32_t i = 0; p->bricks && i < p->lowering.n_launches; i++) {
        const uint32_t at = p->lowering.launches[i].ops[0];
        p->bricks[i] = (rz_brick){.op = at, .code = p->ir->ops[at].code, .layer = p->ir->ops[at].layer};
    }
}

static int32_t prepare(rz_cpu_program *p, rz_plan_info *info) {
    int32_t status = rz_lower(p->ir, &p->options, rz_cpu_patterns, rz_cpu_n_patterns, 0, p->options.max_tokens,
                              p->engine->account, &p->lowering);
    if (!status) status = find_angles(p);
    if (status) return status;
    const needs n = needs_of(p);
    const size_t bytes = carve(p, &n);
    info->scratch_bytes = sizeof *p + p->lowering.own_bytes + bytes;
    info->n_classes = 1;
    info->class_rows[0] = p->lowering.rows_max;
    info->n_launches[0] = p->lowering.n_launches;
    if (!p->tensors) return RZ_OK;
    p->memory = rz_alloc(p->engine->account, RZ_MEMORY_PLAN, bytes, "cpu program");
    if (!p->memory) return RZ_E_OOM_HOST;
    carve(p, &n);
    rz_cpu_bind(p);
    start_bricks(p);
    return RZ_OK;
}

void rz_cpu_program_close(void *program) {
    rz_cpu_program *p = program;
    rz_lowering_free(&p->lowering);
    rz_free(p->memory);
    rz_free(p);
}

int32_t rz_cpu_program_open(void *engine, const rz_plan_ir *ir, const rz_tensor *tensors,
                            const rz_plan_options *options, rz_plan_info *info, void **program) {
    rz_cpu_engine *e = engine;
    rz_cpu_program *p = rz_alloc(e->account, RZ_MEMORY_PLAN, sizeof *p, "cpu program");
    if (!p) return RZ_E_OOM_HOST;
    p->engine = e;
    p->ir = ir;
    p->tensors = tensors;
    p->options = *options;
    const int32_t status = prepare(p, info);
    if (status || !tensors) {
        rz_cpu_program_close(p);
        return status;
    }
    *program = p;
    return RZ_OK;
}

uint32_t rz_cpu_program_listing(void *program, uint32_t row_class, uint8_t *out, uint32_t cap) {
    (void)row_class; /* there is one */
    return rz_lowering_listing(&((rz_cpu_program *)program)->lowering, out, cap);
}

uint32_t rz_cpu_program_profile(void *program, rz_brick *out, uint32_t cap_bricks) {
    rz_cpu_program *p = program;
    uint32_t n = 0;
    for (uint32_t i = 0; p->bricks && i < p->lowering.n_launches && n < cap_bricks; i++) out[n++] = p->bricks[i];
    start_bricks(p);
    return n;
}

/* ---- a step ----------------------------------------------------------------------------------------------------- */

int32_t rz_cpu_forward(void *program, const rz_step *step) {
    rz_cpu_program *p = program;
    p->step = step;
    p->n_rows[RZ_ROWS_T] = step->batch->header->n_tokens;
    p->n_rows[RZ_ROWS_R] = step->batch->n_rows;
    p->n_rows[RZ_ROWS_S] = step->batch->header->n_seqs;
    p->n_rows[RZ_ROWS_TK] = step->batch->header->n_tokens * p->lowering.experts_per_token;
    const int32_t status = rz_cpu_kv_check(p);
    if (status) return status;
    rz_cpu_fill_angles(p);
    for (uint32_t i = 0; i <= p->lowering.n_launches; i++) {
        /* Items of a cancelled launch are skipped, so one look behind the last launch too. */
        if (rz_cpu_cancelled(p)) return (int32_t)rz_fail(RZ_E_CANCELLED, "step: cancelled at launch %u", i);
        if (i == p->lowering.n_launches) break;
        const uint64_t start_ns = p->bricks ? rz_time_ns() : 0;
        p->launch = &p->launches[i];
        p->launch->run(p, p->launch);
        if (!p->bricks) continue;
        p->bricks[i].calls++;
        p->bricks[i].ticks_ns += rz_time_ns() - start_ns;
        p->bricks[i].bytes += p->launch->weights_bytes;
    }
    return RZ_OK;
}

int32_t rz_cpu_value_read(void *program, uint32_t value_id, uint32_t row, uint32_t n_rows, float *out) {
    const rz_cpu_program *p = program;
    const rz_value *value = &p->ir->values[value_id - 1];
    if (!p->lowering.value_pinned[value_id - 1]) {
        return (int32_t)rz_fail(RZ_E_ARG, "value %u is neither OUTPUT nor WATCHED", value_id);
    }
    const float *from = rz_cpu_value(p, value_id) + (size_t)row * value->cols;
    const size_t n = (size_t)n_rows * value->cols;
    if (value->dtype == 0) {
        memcpy(out, from, n * sizeof(float));
    } else { /* I32 */
        for (size_t i = 0; i < n; i++) out[i] = (float)((const int32_t *)(const void *)from)[i];
    }
    return RZ_OK;
}

typedef struct sampling {
    const rz_cpu_program *p;
    const rz_step *step;
    const float *logits;
    const uint32_t *masks;
    rz_result_out *results; /* top_first is set */
    rz_result_top *tops;
} sampling;

static void sample_items(void *arg, uint32_t thread) {
    const sampling *s = arg;
    const uint32_t vocab = s->p->ir->header->vocab_size;
    uint32_t i = 0;
    while (rz_pool_next(thread, &i)) {
        if (atomic_load_explicit(s->step->cancel, memory_order_relaxed)) continue;
        const float *row = s->logits ? s->logits + (size_t)s->step->batch->out_row[i] * vocab : NULL;
        const uint32_t first = s->results[i].top_first;
        rz_sample_out(row, vocab, s->step, i, s->masks, s->p->engine->kernels->rows->exp_sum,
                      s->p->scratch[thread].sample, &s->results[i], s->tops + first);
        s->results[i].top_first = first;
    }
}

int32_t rz_cpu_sample(void *program, const rz_step *step, const uint32_t *masks, rz_result_out *results,
                      rz_result_top *tops) {
    const rz_cpu_program *p = program;
    sampling s = {.p = p, .step = step, .masks = masks, .results = results, .tops = tops};
    if (p->ir->logits_value) s.logits = rz_cpu_value(p, p->ir->logits_value);
    const uint32_t n_outs = step->batch->header->n_outs;
    uint32_t first = 0;
    for (uint32_t i = 0; i < n_outs; i++) {
        results[i].top_first = first;
        first += step->batch->outs[i].n_top;
    }
    rz_pool_run(n_outs > 1 ? p->engine->n_threads : 1, n_outs, sample_items, &s);
    if (!atomic_load_explicit(step->cancel, memory_order_relaxed)) return RZ_OK;
    return (int32_t)rz_fail(RZ_E_CANCELLED, "step: cancelled while sampling");
}
