/* ref.c - the reference executor: engine, weights, programs, and the loop over ops. */
#include "ref/ref.h"
#include "dtype.h"
#include "error.h"
#include "op_rules.h"
#include "os.h"
#include "sample.h"
#include <string.h>

/* ---- engine ----------------------------------------------------------------------------------------------------- */

typedef struct ref_engine {
    rz_account *account;
} ref_engine;

static int32_t engine_open(const rz_engine_options *options, rz_account *account, void **engine) {
    (void)options; /* one thread, one instruction set */
    ref_engine *e = rz_alloc(account, RZ_MEMORY_OTHER, sizeof *e, "reference engine");
    if (!e) return RZ_E_OOM_HOST;
    e->account = account;
    *engine = e;
    return RZ_OK;
}

static void engine_close(void *engine) { rz_free(engine); }

static void engine_info(void *engine, rz_engine_info *out) {
    (void)engine;
    out->backend = RZ_BACKEND_REF;
    out->n_threads = 1;
    out->isa = RZ_ISA_BASE;
    out->page_tokens = REF_PAGE_TOKENS;
    memcpy(out->name, "reference", sizeof "reference");
}

/* what = 0: read, 1: copy, both counted once per byte of the source. */
static int32_t engine_measure(void *engine, uint32_t what, double *gb_s) {
    ref_engine *e = engine;
    const size_t bytes = (size_t)64 << 20, n = bytes / sizeof(uint64_t);
    uint64_t *from = rz_alloc(e->account, RZ_MEMORY_OTHER, bytes, "measuring");
    uint64_t *to = what == 1 && from ? rz_alloc(e->account, RZ_MEMORY_OTHER, bytes, "measuring") : NULL;
    if (!from || (what == 1 && !to)) {
        rz_free(from);
        return RZ_E_OOM_HOST;
    }
    for (size_t i = 0; i < n; i++) from[i] = i;
    volatile uint64_t sink = 0; /* keeps the reads */
    const uint64_t start_ns = rz_time_ns();
    uint64_t end_ns = start_ns, rounds = 0;
    for (; end_ns - start_ns < 300000000u; rounds++, end_ns = rz_time_ns()) {
        uint64_t sum = 0;
        if (what == 1)
            memcpy(to, from, bytes);
        else
            for (size_t i = 0; i < n; i++) sum ^= from[i];
        sink = sink + (what == 1 ? to[rounds % n] : sum);
    }
    *gb_s = (double)(bytes * rounds) / (double)(end_ns - start_ns);
    rz_free(to);
    rz_free(from);
    return RZ_OK;
}

/* ---- weights: as in the file, but VECTORs are F32 --------------------------------------------------------------- */

static size_t row_bytes(const rz_weight *spec) {
    const rz_dtype_row *dtype = rz_dtype_find(spec->dtype);
    return (size_t)spec->cols / dtype->block_size * dtype->block_bytes;
}

static int32_t weight_bytes(void *engine, const rz_weight *spec, uint64_t *bytes) {
    (void)engine;
    *bytes = spec->use == RZ_USE_VECTOR ? (uint64_t)spec->cols * 4
                                        : (uint64_t)row_bytes(spec) * spec->rows * spec->n_experts;
    return RZ_OK;
}

static uint32_t weight_row_unit(void *engine, const rz_weight *spec) {
    (void)engine;
    (void)spec;
    return 1;
}

static int32_t weight_store(void *engine, const rz_tensor *t, uint32_t row, uint32_t n_rows, const uint8_t *src) {
    (void)engine;
    const size_t bytes = row_bytes(&t->spec);
    if (t->spec.use == RZ_USE_VECTOR) {
        rz_dtype_find(t->spec.dtype)->dequantize(src, t->spec.cols, (float *)(void *)t->data);
    } else {
        memcpy(t->data + row * bytes, src, n_rows * bytes);
    }
    return RZ_OK;
}

static int32_t weight_read(void *engine, const rz_tensor *t, uint32_t row, uint32_t n_rows, float *out) {
    (void)engine;
    const size_t bytes = row_bytes(&t->spec);
    for (size_t i = 0; i < n_rows; i++) {
        float *to = out + i * t->spec.cols;
        if (t->spec.use == RZ_USE_VECTOR)
            memcpy(to, t->data, (size_t)t->spec.cols * sizeof(float));
        else
            rz_dtype_find(t->spec.dtype)->dequantize(t->data + (row + i) * bytes, t->spec.cols, to);
    }
    return RZ_OK;
}

/* ---- programs --------------------------------------------------------------------------------------------------- */

static ref_op *const ops[] = {
    [RZ_OP_EMBED] = ref_embed,
    [RZ_OP_RMS_NORM] = ref_rms_norm,
    [RZ_OP_LAYER_NORM] = ref_layer_norm,
    [RZ_OP_MATMUL] = ref_matmul,
    [RZ_OP_HEAD_MATMUL] = ref_head_matmul,
    [RZ_OP_ROPE] = ref_rope,
    [RZ_OP_KV_WRITE] = ref_kv_write,
    [RZ_OP_ATTENTION] = ref_attention,
    [RZ_OP_GLU] = ref_glu,
    [RZ_OP_UNARY] = ref_unary,
    [RZ_OP_ADD] = ref_add,
    [RZ_OP_MUL] = ref_mul,
    [RZ_OP_SCALE] = ref_scale,
    [RZ_OP_SOFTCAP] = ref_softcap,
    [RZ_OP_MOE_ROUTE] = ref_moe_route,
    [RZ_OP_MOE_MATMUL] = ref_moe_matmul,
    [RZ_OP_MOE_COMBINE] = ref_moe_combine,
    [RZ_OP_SELECT_ROWS] = ref_select_rows,
    [RZ_OP_POOL] = ref_pool,
    [RZ_OP_LOGITS] = ref_logits,
    [RZ_OP_ALL_REDUCE] = ref_all_reduce,
};
#define COUNT(name, code, text) +1
static_assert(sizeof ops / sizeof ops[0] == 1 RZ_OPS(COUNT), "an op without its function");
#undef COUNT

/* F64 numbers an op needs to work with. */
static size_t scratch_doubles(const rz_plan_ir *ir, const rz_op *op) {
    switch (op->code) {
    case RZ_OP_MATMUL:
    case RZ_OP_HEAD_MATMUL:
    case RZ_OP_LOGITS:
    case RZ_OP_MOE_MATMUL: /* a tile and a row in F64, a row in F32 */
        return (size_t)ir->weights[op->w[0] - 1].cols * (REF_TILE_ROWS + 2);
    case RZ_OP_ATTENTION: { /* query, key or value, sum; in F32 a key or value with the blocks at its ends */
        const size_t widest = op->n[4] > op->n[5] ? op->n[4] : op->n[5];
        return op->n[4] + widest + op->n[5] + widest + 64;
    }
    case RZ_OP_MOE_ROUTE: /* scores, chosen, a byte for each expert */
        return (size_t)ir->values[op->in[0] - 1].cols * 2 + op->n[0];
    default: return 0;
    }
}

/* The bytes of a program, in the order in which it takes them. */
typedef struct needs {
    size_t scratch, sample, bricks;
} needs;

static needs needs_of(const rz_plan_ir *ir, const rz_lowering *l) {
    needs n = {0};
    for (uint32_t i = 0; i < ir->header->n_ops; i++) {
        const size_t bytes = scratch_doubles(ir, &ir->ops[i]) * sizeof(double);
        if (bytes > n.scratch) n.scratch = bytes;
    }
    if (ir->logits_value) n.sample = rz_sample_scratch_bytes(ir->header->vocab_size);
    if (l->options->flags & RZ_PLAN_PROFILE) n.bricks = l->n_launches * sizeof(rz_brick);
    return n;
}

static void program_close(void *program) {
    ref_program *p = program;
    rz_lowering_free(&p->lowering);
    rz_free(p->arena);
    rz_free(p->scratch);
    rz_free(p->sample_scratch);
    rz_free(p->bricks);
    rz_free(p);
}

/* Memory of a program, NULL for 0 bytes; *full is cleared when there was none. */
static void *take(ref_engine *e, size_t bytes, const char *what, bool *full) {
    void *memory = bytes && *full ? rz_alloc(e->account, RZ_MEMORY_PLAN, bytes, what) : NULL;
    *full = *full && (memory || bytes == 0);
    return memory;
}

static int32_t take_all(ref_engine *e, ref_program *p, needs n) {
    bool full = true;
    p->arena = take(e, p->lowering.arena_bytes, "values", &full);
    p->scratch = take(e, n.scratch, "scratch", &full);
    p->sample_scratch = take(e, n.sample, "sampler scratch", &full);
    p->bricks = take(e, n.bricks, "profile", &full);
    return full ? RZ_OK : RZ_E_OOM_HOST;
}

static void start_bricks(ref_program *p) {
    for (uint32_t i = 0; p->bricks && i < p->lowering.n_launches; i++) {
        const uint32_t at = p->lowering.launches[i].ops[0];
        const rz_op *op = &p->ir->ops[at];
        p->bricks[i] = (rz_brick){.op = at, .code = op->code, .layer = op->layer};
    }
}

static void describe(const rz_lowering *l, needs n, rz_plan_info *info) {
    info->scratch_bytes = sizeof(ref_program) + l->own_bytes + l->arena_bytes + n.scratch + n.sample + n.bricks;
    info->n_classes = 1;
    info->class_rows[0] = l->rows_max;
    info->n_launches[0] = l->n_launches;
}

static int32_t program_open(void *engine, const rz_plan_ir *ir, const rz_tensor *tensors,
                            const rz_plan_options *options, rz_plan_info *info, void **program) {
    ref_engine *e = engine;
    ref_program *p = rz_alloc(e->account, RZ_MEMORY_PLAN, sizeof *p, "reference program");
    if (!p) return RZ_E_OOM_HOST;
    p->ir = ir;
    p->tensors = tensors;
    p->options = *options;
    int32_t status = rz_lower(ir, &p->options, NULL, 0, 0, options->max_tokens, e->account, &p->lowering);
    if (!status) {
        const needs n = needs_of(ir, &p->lowering);
        describe(&p->lowering, n, info);
        if (tensors) status = take_all(e, p, n);
    }
    if (status || !tensors) {
        program_close(p);
        return status;
    }
    start_bricks(p);
    *program = p;
    return RZ_OK;
}

static uint32_t program_listing(void *program, uint32_t row_class, uint8_t *out, uint32_t cap) {
    (void)row_class; /* there is one */
    return rz_lowering_listing(&((ref_program *)program)->lowering, out, cap);
}

static uint32_t program_profile(void *program, rz_brick *out, uint32_t cap_bricks) {
    ref_program *p = program;
    uint32_t n = 0;
    for (uint32_t i = 0; p->bricks && i < p->lowering.n_launches && n < cap_bricks; i++) out[n++] = p->bricks[i];
    start_bricks(p);
    return n;
}

/* ---- a step ----------------------------------------------------------------------------------------------------- */

static float *value_at(const ref_program *p, uint32_t id) {
    return (float *)(void *)(p->arena + p->lowering.value_offset[id - 1]);
}

static uint32_t rows_of(const ref_program *p, const rz_step *step, uint32_t id) {
    switch (p->ir->values[id - 1].rows) {
    case RZ_ROWS_R: return step->batch->n_rows;
    case RZ_ROWS_S: return step->batch->header->n_seqs;
    case RZ_ROWS_TK: return step->batch->header->n_tokens * p->lowering.experts_per_token;
    default: return step->batch->header->n_tokens;
    }
}

static bool run(const ref_program *p, const rz_step *step, const rz_op *op) {
    ref_call c = {.program = p, .step = step, .op = op};
    for (int k = 0; k < 4; k++) {
        if (op->in[k]) c.in[k] = value_at(p, op->in[k]);
        if (op->in[k]) c.in_cols[k] = p->ir->values[op->in[k] - 1].cols;
        if (op->w[k]) c.w[k] = &p->tensors[op->w[k] - 1];
    }
    for (int k = 0; k < 2; k++) {
        if (op->out[k]) c.out[k] = value_at(p, op->out[k]);
        if (op->out[k]) c.out_cols[k] = p->ir->values[op->out[k] - 1].cols;
    }
    c.rows = rows_of(p, step, op->in[0] ? op->in[0] : op->out[0]);
    return ops[op->code](&c);
}

static uint64_t weights_read_bytes(const ref_program *p, const rz_op *op) {
    uint64_t bytes = 0;
    for (int k = 0; k < 4; k++) bytes += op->w[k] ? p->tensors[op->w[k] - 1].layout_bytes : 0;
    return bytes;
}

static int32_t forward(void *program, const rz_step *step) {
    ref_program *p = program;
    for (uint32_t i = 0; i < p->lowering.n_launches; i++) {
        const rz_op *op = &p->ir->ops[p->lowering.launches[i].ops[0]];
        const uint64_t start_ns = p->bricks ? rz_time_ns() : 0;
        const bool cancelled = atomic_load_explicit(step->cancel, memory_order_relaxed) != 0;
        if (cancelled || !run(p, step, op)) {
            return (int32_t)rz_fail(RZ_E_CANCELLED, "step: cancelled in launch %u (%s)", i, rz_op_name(op->code));
        }
        if (!p->bricks) continue;
        p->bricks[i].calls++;
        p->bricks[i].ticks_ns += rz_time_ns() - start_ns;
        p->bricks[i].bytes += weights_read_bytes(p, op);
    }
    return RZ_OK;
}

static int32_t value_read(void *program, uint32_t value_id, uint32_t row, uint32_t n_rows, float *out) {
    const ref_program *p = program;
    const rz_value *value = &p->ir->values[value_id - 1];
    if (!p->lowering.value_pinned[value_id - 1]) {
        return (int32_t)rz_fail(RZ_E_ARG, "value %u is neither OUTPUT nor WATCHED", value_id);
    }
    const float *from = value_at(p, value_id) + (size_t)row * value->cols;
    const size_t n = (size_t)n_rows * value->cols;
    if (value->dtype == RZ_F32) {
        memcpy(out, from, n * sizeof(float));
    } else {
        for (size_t i = 0; i < n; i++) out[i] = (float)((const int32_t *)(const void *)from)[i];
    }
    return RZ_OK;
}

static int32_t sample(void *program, const rz_step *step, const uint32_t *masks, rz_result_out *results,
                      rz_result_top *tops) {
    const ref_program *p = program;
    const float *logits = p->ir->logits_value ? value_at(p, p->ir->logits_value) : NULL;
    return rz_sample_outs(logits, p->ir->header->vocab_size, step, masks, p->sample_scratch, results, tops);
}

const rz_backend rz_backend_ref = {
    .name = "ref",
    .page_tokens = REF_PAGE_TOKENS,
    .engine_open = engine_open,
    .engine_close = engine_close,
    .engine_info = engine_info,
    .engine_measure = engine_measure,
    .weight_bytes = weight_bytes,
    .weight_row_unit = weight_row_unit,
    .weight_store = weight_store,
    .weight_read = weight_read,
    .page_bytes = ref_page_bytes,
    .program_open = program_open,
    .program_close = program_close,
    .program_listing = program_listing,
    .program_profile = program_profile,
    .forward = forward,
    .value_read = value_read,
    .sample = sample,
};
