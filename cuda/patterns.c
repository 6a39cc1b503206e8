/* patterns.c - what the CUDA executor fuses, for few rows. A matcher looks at meaning, and at whether the kernels know
 * the shapes; whether a fusion is legal where it stands is the lowering's business (lower.h). */
#include "moe.h"
#include <string.h>

static const rz_op *op_at(const rz_lowering *l, uint32_t i) { return &l->ir->ops[i]; }
static uint32_t cols_of(const rz_lowering *l, uint32_t value) { return l->ir->values[value - 1].cols; }

uint32_t rzc_family_of(rzc_format format) {
    switch (format) {
    case RZC_R_Q4_K:
    case RZC_R_Q6_K: return 1;
    case RZC_R_Q8_0: return 2;
    case RZC_R_BF16: return 3;
    case RZC_R_F16: return 5;
    default: return format > RZC_R_BF16 ? 4 : 0;
    }
}

uint32_t rzc_family_join(uint32_t a, uint32_t b) {
    if (a == b) return a;
    const bool integers = a != 0 && b != 0 && a != 3 && b != 3 && a != 5 && b != 5;
    return integers ? 4 : 0;
}

static uint32_t family(const rz_lowering *l, uint32_t matmul) {
    return rzc_family_of(rzc_format_of(&l->ir->weights[op_at(l, matmul)->w[0] - 1]));
}

static bool is_row_norm(const rz_lowering *l, uint32_t i) {
    const rz_op *op = op_at(l, i);
    return op->code == RZ_OP_RMS_NORM && op->w[0] != 0 && (op->n[0] == 0 || op->n[0] == cols_of(l, op->in[0]));
}

/* The only user of a value that nobody else misses, RZ_NO_OP when there is none such. */
static uint32_t only_user(const rz_lowering *l, uint32_t value) {
    return rz_value_private(l, value) ? l->value_user[value - 1] : RZ_NO_OP;
}

/* The matmuls that alone use a norm's value: n of them, of families that join. */
static bool norm_and_matmuls(const rz_lowering *l, uint32_t anchor, uint32_t n, rzc_fusion *f) {
    memset(f, 0xff, sizeof *f);
    if (!is_row_norm(l, anchor)) return false;
    const uint32_t value = op_at(l, anchor)->out[0];
    if (l->value_uses[value - 1] != n || l->value_pinned[value - 1]) return false;
    f->norm = anchor;
    f->n_mats = 0;
    uint32_t joined = 0;
    const uint32_t end =
        anchor + RZ_LAUNCH_SPAN < l->ir->header->n_ops ? anchor + RZ_LAUNCH_SPAN : l->ir->header->n_ops;
    for (uint32_t i = anchor + 1; i < end && f->n_mats < n; i++) {
        const rz_op *op = op_at(l, i);
        if (op->in[0] != value) continue;
        if (op->code != RZ_OP_MATMUL) return false;
        joined = f->n_mats == 0 ? family(l, i) : rzc_family_join(joined, family(l, i));
        if (joined == 0) return false;
        f->mats[f->n_mats++] = i;
    }
    return f->n_mats == n;
}

/* From matrix m's product through the norm of heads and RoPE; returns the user of what comes out. */
static uint32_t follow(const rz_lowering *l, rzc_fusion *f, uint32_t m, uint32_t *value) {
    *value = op_at(l, f->mats[m])->out[0];
    uint32_t user = only_user(l, *value);
    if (user != RZ_NO_OP && op_at(l, user)->code == RZ_OP_RMS_NORM && op_at(l, user)->w[0] != 0) {
        f->head_norm[m] = user;
        *value = op_at(l, user)->out[0];
        user = only_user(l, *value);
    }
    if (user != RZ_NO_OP && op_at(l, user)->code == RZ_OP_ROPE) {
        f->rope[m] = user;
        *value = op_at(l, user)->out[0];
        user = l->value_user[*value - 1];
    }
    return user;
}

/* At most as many tables of angles as the plan has constants. */
static uint32_t n_angle_tables(const rz_lowering *l) { return l->ir->header->n_constants; }

static bool same_heads(const rz_lowering *l, const rzc_fusion *f) {
    const rz_op *q = op_at(l, f->rope[0]), *k = op_at(l, f->rope[1]);
    for (uint32_t i = 0; i < 4; i++) {
        if (q->n[i] != k->n[i]) return false;
    }
    if ((f->head_norm[0] == RZ_NO_OP) != (f->head_norm[1] == RZ_NO_OP)) return false;
    for (uint32_t m = 0; m < 2 && f->head_norm[0] != RZ_NO_OP; m++) {
        const rz_op *norm = op_at(l, f->head_norm[m]);
        const bool fits = norm->n[0] == q->n[0] && l->ir->weights[norm->w[0] - 1].cols == q->n[0] &&
                          norm->f[0] == op_at(l, f->head_norm[0])->f[0];
        if (!fits) return false;
    }
    return q->n[0] % 32 == 0 && q->n[0] <= 1024 && n_angle_tables(l) <= RZC_ANGLES;
}

/* norm, three matmuls, [norms of heads,] RoPE of queries and keys, kvWrite. */
static bool match_heads(const rz_lowering *l, uint32_t anchor, rzc_fusion *f) {
    uint32_t q = 0, k = 0, v = 0;
    if (!norm_and_matmuls(l, anchor, 3, f)) return false;
    follow(l, f, 0, &q);
    const uint32_t k_user = follow(l, f, 1, &k), v_user = follow(l, f, 2, &v);
    if (f->rope[0] == RZ_NO_OP || f->rope[1] == RZ_NO_OP || f->rope[2] != RZ_NO_OP || f->head_norm[2] != RZ_NO_OP)
        return false;
    if (k_user == RZ_NO_OP || k_user != v_user || op_at(l, k_user)->code != RZ_OP_KV_WRITE) return false;
    if (op_at(l, k_user)->in[0] != k || op_at(l, k_user)->in[1] != v || !rz_value_private(l, k)) return false;
    if (cols_of(l, k) != cols_of(l, v)) return false;
    f->kv_write = k_user;
    return same_heads(l, f);
}

static bool match_glu(const rz_lowering *l, uint32_t anchor, rzc_fusion *f) {
    if (!norm_and_matmuls(l, anchor, 2, f)) return false;
    const uint32_t a = op_at(l, f->mats[0])->out[0], b = op_at(l, f->mats[1])->out[0];
    f->glu = only_user(l, a);
    if (f->glu == RZ_NO_OP || f->glu != only_user(l, b)) return false;
    const rz_op *glu = op_at(l, f->glu);
    if (glu->code != RZ_OP_GLU || glu->n[0] != 0 || cols_of(l, a) != cols_of(l, b)) return false;
    if (glu->in[0] == b) { /* matrix 0 is the gate */
        const uint32_t first = f->mats[0];
        f->mats[0] = f->mats[1], f->mats[1] = first;
    }
    return true;
}

static bool match_logits(const rz_lowering *l, uint32_t anchor, rzc_fusion *f) {
    memset(f, 0xff, sizeof *f);
    if (!is_row_norm(l, anchor)) return false;
    f->norm = anchor, f->n_mats = 1, f->mats[0] = only_user(l, op_at(l, anchor)->out[0]);
    return f->mats[0] != RZ_NO_OP && op_at(l, f->mats[0])->code == RZ_OP_LOGITS && family(l, f->mats[0]) != 0;
}

static bool match_residual(const rz_lowering *l, uint32_t anchor, rzc_fusion *f) {
    memset(f, 0xff, sizeof *f);
    if (op_at(l, anchor)->code != RZ_OP_MATMUL || family(l, anchor) == 0) return false;
    const uint32_t user = only_user(l, op_at(l, anchor)->out[0]);
    if (user == RZ_NO_OP || op_at(l, user)->code != RZ_OP_ADD || op_at(l, user)->in[1] == 0) return false;
    f->n_mats = 1, f->mats[0] = anchor, f->add = user;
    return true;
}

static rzc_format format(const rz_lowering *l, uint32_t matmul) {
    return rzc_format_of(&l->ir->weights[op_at(l, matmul)->w[0] - 1]);
}

/* Matmuls of one input with weights that one kernel of prefill_wgmma.cu knows: up to three, `anchor` the first. */
static bool match_matmuls(const rz_lowering *l, uint32_t anchor, rzc_fusion *f) {
    memset(f, 0xff, sizeof *f);
    const rz_op *first = op_at(l, anchor);
    if (first->code != RZ_OP_MATMUL || family(l, anchor) == 0) return false;
    const uint32_t n_ops = l->ir->header->n_ops;
    const uint32_t end = anchor + RZ_LAUNCH_SPAN < n_ops ? anchor + RZ_LAUNCH_SPAN : n_ops;
    f->n_mats = 0;
    for (uint32_t i = anchor; i < end && f->n_mats < 3; i++) {
        const rz_op *op = op_at(l, i);
        if (op->code != RZ_OP_MATMUL || op->in[0] != first->in[0]) continue;
        const bool same = format(l, i) == format(l, anchor) || (family(l, i) == 1 && family(l, anchor) == 1);
        if (same) f->mats[f->n_mats++] = i;
    }
    return f->n_mats > 1;
}

/* Rows of gate and up share a tile: one format. */
static bool match_many_glu(const rz_lowering *l, uint32_t anchor, rzc_fusion *f) {
    if (!match_matmuls(l, anchor, f) || f->n_mats != 2 || format(l, f->mats[0]) != format(l, f->mats[1])) return false;
    const uint32_t a = op_at(l, f->mats[0])->out[0], b = op_at(l, f->mats[1])->out[0];
    f->glu = only_user(l, a);
    if (f->glu == RZ_NO_OP || f->glu != only_user(l, b)) return false;
    const rz_op *glu = op_at(l, f->glu);
    if (glu->code != RZ_OP_GLU || glu->n[0] > 1 || cols_of(l, a) != cols_of(l, b)) return false;
    if (glu->in[0] == b) {
        const uint32_t first = f->mats[0];
        f->mats[0] = f->mats[1], f->mats[1] = first;
    }
    return true;
}

/* The norm of heads and the RoPE that make a value; false when something else does or others use it. */
static bool made_by_rope(const rz_lowering *l, uint32_t value, rzc_fusion *f, uint32_t m) {
    f->rope[m] = l->value_def[value - 1];
    const rz_op *rope = op_at(l, f->rope[m]);
    if (rope->code != RZ_OP_ROPE || rope->n[0] != rope->n[1] || !rz_value_private(l, value)) return false;
    const uint32_t norm = l->value_def[rope->in[0] - 1];
    if (op_at(l, norm)->code == RZ_OP_RMS_NORM && op_at(l, norm)->w[0] != 0 && op_at(l, norm)->n[0] == rope->n[0] &&
        rz_value_private(l, rope->in[0]))
        f->head_norm[m] = norm;
    return true;
}

/* [norms of heads,] RoPE of queries and keys, kvWrite, attention. The queries are placed where they lie. */
static bool match_place(const rz_lowering *l, uint32_t anchor, rzc_fusion *f) {
    memset(f, 0xff, sizeof *f);
    const uint32_t code = op_at(l, anchor)->code, n_ops = l->ir->header->n_ops;
    if (code != RZ_OP_ROPE && code != RZ_OP_RMS_NORM) return false;
    const uint32_t end = anchor + 8 < n_ops ? anchor + 8 : n_ops;
    f->n_mats = 0;
    for (uint32_t i = anchor; i < end && f->attention == RZ_NO_OP; i++) {
        if (op_at(l, i)->code == RZ_OP_KV_WRITE) f->kv_write = i;
        if (op_at(l, i)->code == RZ_OP_ATTENTION) f->attention = i;
    }
    if (f->attention == RZ_NO_OP || f->kv_write == RZ_NO_OP) return false;
    const rz_op *attention = op_at(l, f->attention), *kv = op_at(l, f->kv_write);
    if (attention->n[6] != 0 || kv->n[0] != attention->n[0] || kv->n[1] != attention->n[1]) return false;
    if (attention->n[4] != attention->n[5] || (attention->n[4] != 64 && attention->n[4] != 128)) return false;
    if (!made_by_rope(l, attention->in[0], f, 0) || !made_by_rope(l, kv->in[0], f, 1)) return false;
    const rz_op *first = op_at(l, f->head_norm[0] != RZ_NO_OP ? f->head_norm[0] : f->rope[0]);
    return op_at(l, f->rope[0])->n[0] == attention->n[4] && rz_value_private(l, first->in[0]) && same_heads(l, f);
}

bool rzc_match(const rz_lowering *l, rzc_pattern pattern, uint32_t anchor, rzc_fusion *f) {
    switch (pattern) {
    case RZC_HEADS: return match_heads(l, anchor, f);
    case RZC_GLU: return match_glu(l, anchor, f);
    case RZC_RESIDUAL: return match_residual(l, anchor, f);
    case RZC_MANY_GLU: return match_many_glu(l, anchor, f);
    case RZC_MANY_MATMULS: return match_matmuls(l, anchor, f);
    case RZC_PLACE: return match_place(l, anchor, f);
    case RZC_LOGITS: return match_logits(l, anchor, f);
    case RZC_EXPERTS:
    case RZC_MANY_EXPERTS: return false; /* rzc_match_experts */
    }
    return false;
}

uint32_t rzc_in_order(const uint32_t *all, uint32_t n_all, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < n_all; i++) {
        if (all[i] == RZ_NO_OP) continue;
        uint32_t k = n++;
        for (; k > 0 && ops[k - 1] > all[i]; k--) ops[k] = ops[k - 1];
        ops[k] = all[i];
    }
    return ops[0] == anchor && ops[n - 1] - anchor <= RZ_LAUNCH_SPAN ? n : 0;
}

/* The ops of a fusion, ascending. */
static uint32_t show(const rz_lowering *l, rzc_pattern pattern, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    rzc_fusion f;
    if (!rzc_match(l, pattern, anchor, &f)) return 0;
    const uint32_t all[] = {f.norm, f.mats[0], f.mats[1], f.mats[2], f.head_norm[0], f.head_norm[1],
                            f.rope[0], f.rope[1], f.kv_write, f.glu, f.add, f.attention};
    return rzc_in_order(all, sizeof all / sizeof all[0], anchor, ops);
}

static uint32_t show_heads(const rz_lowering *l, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    return show(l, RZC_HEADS, anchor, ops);
}
static uint32_t show_glu(const rz_lowering *l, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    return show(l, RZC_GLU, anchor, ops);
}
static uint32_t show_residual(const rz_lowering *l, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    return show(l, RZC_RESIDUAL, anchor, ops);
}
static uint32_t show_many_glu(const rz_lowering *l, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    return show(l, RZC_MANY_GLU, anchor, ops);
}
static uint32_t show_matmuls(const rz_lowering *l, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    return show(l, RZC_MANY_MATMULS, anchor, ops);
}

static uint32_t show_place(const rz_lowering *l, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    return show(l, RZC_PLACE, anchor, ops);
}

static uint32_t show_logits(const rz_lowering *l, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    return show(l, RZC_LOGITS, anchor, ops);
}

/* Class 0 is that of few rows, class 1 of more. */
const rz_pattern rzc_patterns[] = {
    {.name = "heads", .class_mask = 1, .match = show_heads},
    {.name = "glu", .class_mask = 1, .match = show_glu},
    {.name = "matmul add", .class_mask = 3, .match = show_residual},
    {.name = "glu, many", .class_mask = 2, .match = show_many_glu},
    {.name = "matmuls, many", .class_mask = 2, .match = show_matmuls},
    {.name = "place and attend", .class_mask = 2, .match = show_place},
    {.name = "norm and logits", .class_mask = 1, .match = show_logits},
    {.name = "experts", .class_mask = 1, .match = rzc_show_experts},
    {.name = "experts, many", .class_mask = 2, .match = rzc_show_experts},
};
const uint32_t rzc_n_patterns = sizeof rzc_patterns / sizeof rzc_patterns[0];
