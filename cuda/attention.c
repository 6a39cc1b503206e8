/* attention.c - queues attention: which kernel takes which rows, and how the work is cut.
 *
 * Over a cache in F16 or Q8_0 with heads of 64 or 128 columns, sequences with few rows in the step go to
 * decode_attention.cu, all others to prompt_wgmma.cu (Hopper) or prompt_attention.cu. Everything else, and plans in
 * which nothing may depend on the row count, takes the plain kernel. */
#include "attention.h"
#include "dtype.h"
#include "op_rules.h"

#define FEW 4u /* rows of a sequence beside longer ones that still go to the decode kernel, one by one */

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Whether the fast kernels know this attention; q8: of a Q8_0 cache. */
static bool is_usual(const rzc_program *p, const rz_op *op, bool *q8) {
    if (rzc_is_fixed(p) || op->n[6] != 0 || p->step->cache == NULL) return false;
    if (op->n[4] != op->n[5] || (op->n[4] != 64 && op->n[4] != 128) || op->n[2] / op->n[3] > 64) return false;
    const rz_cache_group *group = &p->step->cache->groups[op->n[0]].spec;
    *q8 = group->k_dtype == RZ_Q8_0;
    return group->k_dtype == group->v_dtype && (group->k_dtype == RZ_F16 || *q8);
}

/* Units of a row: a key head with up to RZC_DECODE_HEADS of its query heads. */
static uint32_t units_of(uint32_t n_heads, uint32_t n_kv_heads) {
    return n_kv_heads * ((n_heads / n_kv_heads + RZC_DECODE_HEADS - 1) / RZC_DECODE_HEADS);
}

void rzc_attention_needs(const rzc_program *p, uint64_t *floats, uint64_t *words) {
    *floats = *words = 0;
    const uint32_t rows = least(p->options.max_tokens, RZC_DECODE_ROWS);
    for (uint32_t i = 0; i < p->ir->header->n_ops; i++) {
        const rz_op *op = &p->ir->ops[i];
        if (op->code != RZ_OP_ATTENTION || op->n[6] != 0) continue;
        const uint64_t parts = 2ull * (uint32_t)p->engine->n_sms * 2 * RZC_DECODE_HEADS * (op->n[5] + 2);
        const uint64_t arrivals = (uint64_t)rows * units_of(op->n[2], op->n[3]);
        if (parts > *floats) *floats = parts;
        if (arrivals > *words) *words = arrivals;
    }
}

/* Warps that compute, slots in a ring (one or two of each warp), blocks an SM: what the shared memory holds
 * (decode_attention.cu). */
static rzc_shape decode_shape(const rzc_program *p, rzc_attention *a, bool q8) {
    const uint32_t slot = q8 ? 68 * a->k_cols : 16384, heads = least(a->n_heads / a->n_kv_heads, RZC_DECODE_HEADS);
    const uint32_t sums = heads * (a->k_cols + 4) * 4, room = RZC_DECODE_ROOM(a->k_cols);
    const uint32_t blocks = a->n_rows > 1 ? 2 : 1, all = ((uint32_t)p->engine->shared_max - 1024) / blocks;
    uint32_t warps = RZC_DECODE_WARPS;
    while (warps > 1 && room + warps * (slot + sums) > all) warps /= 2;
    a->ring = room + warps * (2 * slot + sums) <= all ? 2 * warps : warps;
    return (rzc_shape){.x = blocks * (uint32_t)p->engine->n_sms,
                       .threads = 32 * (warps + 1),
                       .shared_bytes = room + a->ring * slot + warps * sums,
                       .chained = true};
}

/* Rows of sequences with up to `few` of them. */
static rz_status decode(rzc_program *p, const rzc_attention *attention, uint32_t few, bool q8, bool placed) {
    rzc_attention a = *attention;
    const rzc_shape shape = decode_shape(p, &a, q8);
    const uint32_t kernel = RZC_K_decode_f16_64 + (placed ? 4 : 0) + (q8 ? 2 : 0) + (a.k_cols == 128);
    a.few = few;
    a.singles = p->n_rows[RZ_ROWS_S] == a.n_rows;
    a.least_slots = 8;
    for (; a.first_row < a.n_rows; a.first_row += RZC_DECODE_ROWS) {
        rzc_attention launch = a;
        const rz_status status = rzc_launch(p->engine, p->engine->stream, kernel, shape, &launch);
        if (status != RZ_OK) return status;
    }
    return RZ_OK;
}

/* Rows of sequences with more than `few` of them. */
static rz_status prompt(rzc_program *p, const rzc_attention *attention, uint32_t few, bool q8) {
    rzc_attention a = *attention;
    const bool wgmma = p->engine->cc_major == 9;
    const uint32_t warps = a.k_cols == 64 ? 4 : 8, tile = wgmma ? 128 : 16 * warps;
    const uint32_t n_tokens = tile / (a.n_heads / a.n_kv_heads), kind = (q8 ? 2 : 0) + (a.k_cols == 128);
    a.few = few;
    const rzc_shape shape = {.x = (a.n_rows + n_tokens - 1) / n_tokens + p->n_rows[RZ_ROWS_S],
                             .y = a.n_kv_heads,
                             .threads = wgmma ? 384 : 32 * warps,
                             .shared_bytes = (wgmma ? 1280 : 512) * a.k_cols,
                             .chained = true};
    return rzc_launch(p->engine, p->engine->stream,
                      (wgmma ? RZC_K_prompt_wgmma_f16_64 : RZC_K_prompt_attention_f16_64) + kind, shape, &a);
}

/* Operands of an attention op whose queries are at q. */
static rzc_attention operands(const rzc_program *p, const rz_op *op, rz_cu_ptr q) {
    const uint32_t rows = p->n_rows[p->ir->values[op->out[0] - 1].rows];
    return (rzc_attention){.step = p->step_at, .q = q, .k = op->in[1] ? rzc_value(p, op->in[1]) : 0,
                           .v = op->in[2] ? rzc_value(p, op->in[2]) : 0, .out = rzc_value(p, op->out[0]),
                           .sinks = op->w[0] ? (uintptr_t)p->tensors[op->w[0] - 1].data : 0, .parts = p->parts,
                           .arrivals = p->arrivals, .n_rows = rows, .group = op->n[0], .layer = op->n[1],
                           .n_heads = op->n[2], .n_kv_heads = op->n[3], .k_cols = op->n[4], .v_cols = op->n[5],
                           .cached = op->n[6] == 0, .window = op->n[7], .scale = op->f[0], .cap = op->f[1]};
}

/* One row a sequence, placed on the way. */
static rz_status attend_placed(rzc_program *p, const rz_op *op, const rzc_placing *placing, bool q8) {
    rzc_attention a = operands(p, op, placing->q);
    a.k = placing->k, a.v = placing->v;
    a.q_norm = placing->q_norm, a.k_norm = placing->k_norm, a.eps = placing->eps;
    a.angles = rzc_angles_of(p, placing->rope), a.adjacent = placing->rope->n[2] == 1;
    return decode(p, &a, UINT32_MAX, q8, true);
}

static rz_status attend(rzc_program *p, const rz_op *op, rz_cu_ptr q) {
    bool q8 = false;
    rzc_attention a = operands(p, op, q);
    if (!is_usual(p, op, &q8)) {
        const rzc_shape shape = {.x = a.n_heads, .y = a.n_rows, .threads = 128,
                                 .shared_bytes = (a.k_cols + a.v_cols + 128) * 4, .chained = true};
        return rzc_launch(p->engine, p->engine->stream, RZC_K_attention_k, shape, &a);
    }
    if (p->row_class == 0 || p->n_rows[RZ_ROWS_S] == a.n_rows) return decode(p, &a, UINT32_MAX, q8, false);
    uint32_t n_few = 0;
    const rz_batch *batch = p->step->batch;
    for (uint32_t s = 0; s < batch->header->n_seqs; s++) n_few += batch->seqs[s].n_new <= FEW;
    rz_status status = RZ_OK;
    if (n_few < batch->header->n_seqs) status = prompt(p, &a, FEW, q8);
    if (status == RZ_OK && n_few > 0) status = decode(p, &a, FEW, q8, false);
    return status;
}

rz_status rzc_attend(rzc_program *p, const rz_op *op) {
    const rzc_placing placing = p->placing;
    bool q8 = false;
    if (placing.rope == NULL || placing.rope->out[0] != op->in[0]) return attend(p, op, rzc_value(p, op->in[0]));
    p->placing.rope = NULL;
    is_usual(p, op, &q8);
    return attend_placed(p, op, &placing, q8);
}

/* Norm of heads, RoPE and kvWrite of many rows; queries stay where they are. */
static rz_status place(rzc_program *p, const rzc_placing *placing, const rz_op *op) {
    const uint32_t n_rows = p->n_rows[RZ_ROWS_T], heads = op->n[2] + 2 * op->n[3];
    rzc_place place = {.step = p->step_at, .q = placing->q, .k = placing->k, .v = placing->v, .q_out = placing->q,
                       .q_norm = placing->q_norm, .k_norm = placing->k_norm,
                       .angles = rzc_angles_of(p, placing->rope), .n_rows = n_rows, .group = op->n[0],
                       .layer = op->n[1], .n_heads = op->n[2], .n_kv_heads = op->n[3], .head_cols = op->n[4],
                       .n_pairs = op->n[4] / 2, .adjacent = placing->rope->n[2] == 1, .eps = placing->eps};
    const rzc_shape shape = {.x = (n_rows * heads + 7) / 8, .threads = 256, .chained = true};
    return rzc_launch(p->engine, p->engine->stream, op->n[4] == 64 ? RZC_K_place_many_64 : RZC_K_place_many_128, shape,
                      &place);
}

rz_status rzc_run_place(rzc_program *p, const rz_launch *launch) {
    const rz_op *ops = p->ir->ops;
    rzc_fusion f;
    if (!rzc_match(&p->lowering[p->row_class], RZC_PLACE, launch->ops[0], &f)) {
        return rz_fail(RZ_E_INTERNAL, "cuda: a fusion at op %u is not there any more", launch->ops[0]);
    }
    if (p->n_rows[RZ_ROWS_T] == 0) return RZ_OK;
    const bool norms = f.head_norm[0] != RZ_NO_OP;
    const rz_op *op = &ops[f.attention];
    rzc_placing placing = {.rope = &ops[f.rope[0]], .v = rzc_value(p, ops[f.kv_write].in[1])};
    placing.q = rzc_value(p, ops[norms ? f.head_norm[0] : f.rope[0]].in[0]);
    placing.k = rzc_value(p, ops[norms ? f.head_norm[1] : f.rope[1]].in[0]);
    if (norms) {
        placing.q_norm = (uintptr_t)p->tensors[ops[f.head_norm[0]].w[0] - 1].data;
        placing.k_norm = (uintptr_t)p->tensors[ops[f.head_norm[1]].w[0] - 1].data;
        placing.eps = ops[f.head_norm[0]].f[0];
    }
    bool q8 = false;
    if (p->n_rows[RZ_ROWS_S] == p->n_rows[RZ_ROWS_T] && is_usual(p, op, &q8)) {
        return attend_placed(p, op, &placing, q8);
    }
    const rz_status status = place(p, &placing, op);
    return status == RZ_OK ? attend(p, op, placing.q) : status;
}

bool rzc_places_later(const rzc_program *p, const rz_op *rope, const rz_op *kv_write) {
    const rz_lowering *l = &p->lowering[p->row_class];
    const uint32_t q = rope->out[0], user = l->value_user[q - 1];
    if (p->n_rows[RZ_ROWS_S] != p->n_rows[RZ_ROWS_T] || user == RZ_NO_OP || !rz_value_private(l, q)) return false;
    const rz_op *op = &p->ir->ops[user];
    bool q8 = false;
    return op->code == RZ_OP_ATTENTION && op->in[0] == q && op->n[0] == kv_write->n[0] && op->n[1] == kv_write->n[1] &&
           is_usual(p, op, &q8) && rope->n[0] == op->n[4] && rope->n[1] == op->n[4];
}

rz_status rzc_kv_check(const rzc_program *p) {
    for (uint32_t i = 0; p->step->cache != NULL && i < p->ir->header->n_ops; i++) {
        const rz_op *op = &p->ir->ops[i];
        if (op->code != RZ_OP_ATTENTION || op->n[6] != 0 || op->n[4] % 32 == 0) continue;
        if (p->step->cache->groups[op->n[0]].spec.k_dtype != RZ_Q8_0) continue;
        return rz_fail(RZ_E_UNSUPPORTED,
                       "cuda: op %u (attention): heads of %u columns over a Q8_0 cache, expected a multiple of 32", i,
                       op->n[4]);
    }
    return RZ_OK;
}
