/* patterns.c - the CPU executor's fusions. A matcher looks at meaning only; whether a fusion is legal where it stands
 * is the lowering's business (lower.h). */
#include "fusion.h"
#include <string.h>

static const rz_op *op_at(const rz_lowering *l, uint32_t i) { return &l->ir->ops[i]; }

static uint32_t cols_of(const rz_lowering *l, uint32_t value) { return l->ir->values[value - 1].cols; }

static bool is_int8(const rz_lowering *l, uint32_t matmul) {
    return rz_cpu_layout_of(&l->ir->weights[op_at(l, matmul)->w[0] - 1]) < RZ_N_INT8;
}

/* A norm of whole rows. */
static bool is_row_norm(const rz_lowering *l, uint32_t i) {
    const rz_op *op = op_at(l, i);
    if (op->code == RZ_OP_LAYER_NORM) return true;
    return op->code == RZ_OP_RMS_NORM && (op->n[0] == 0 || op->n[0] == cols_of(l, op->in[0]));
}

/* The matmuls that use a value, in order, from op `from` on. Returns how many, 0 when there are more than fit, or other
 * kinds of operands. `all`: there must be no other user. */
static uint32_t matmuls_of(const rz_lowering *l, uint32_t value, uint32_t from, bool all,
                           uint32_t out[RZ_PRODUCT_MATS]) {
    uint32_t n = 0, n_users = 0;
    const uint32_t end = rz_cpu_least(l->ir->header->n_ops, from + RZ_LAUNCH_SPAN);
    for (uint32_t i = from; i < end && n_users < l->value_uses[value - 1]; i++) {
        const rz_op *op = op_at(l, i);
        for (int k = 0; k < 4; k++) n_users += op->in[k] == value;
        if (op->code != RZ_OP_MATMUL || op->in[0] != value) continue;
        if (n == RZ_PRODUCT_MATS || (n > 0 && is_int8(l, i) != is_int8(l, out[0]))) return 0;
        out[n++] = i;
    }
    return all && n != l->value_uses[value - 1] ? 0 : n;
}

/* Begins a fusion at a norm (whose users are all matmuls) or at a matmul (with the others of the same input). */
static bool begin(const rz_lowering *l, uint32_t anchor, rz_cpu_fusion *f) {
    memset(f, 0xff, sizeof *f);
    const rz_op *op = op_at(l, anchor);
    if (is_row_norm(l, anchor)) {
        f->norm = anchor;
        f->n_mats = l->value_pinned[op->out[0] - 1] ? 0 : matmuls_of(l, op->out[0], anchor + 1, true, f->mats);
    } else if (op->code == RZ_OP_MATMUL) {
        f->n_mats = matmuls_of(l, op->in[0], anchor, false, f->mats);
    } else {
        f->n_mats = 0;
    }
    return f->n_mats > 0;
}

/* The op that alone uses a value, RZ_NO_OP when there is none or more. */
static uint32_t only_user(const rz_lowering *l, uint32_t value) {
    return rz_value_private(l, value) ? l->value_user[value - 1] : RZ_NO_OP;
}

/* Follows matrix m from its matmul through norm, RoPE and kvWrite. */
static void follow(const rz_lowering *l, rz_cpu_fusion *f, uint32_t m) {
    const uint32_t rows = cols_of(l, op_at(l, f->mats[m])->out[0]);
    uint32_t value = op_at(l, f->mats[m])->out[0], cols = 0;
    for (uint32_t user = only_user(l, value); user != RZ_NO_OP; user = only_user(l, value)) {
        const rz_op *op = op_at(l, user);
        const bool fits = op->n[0] > 0 && op->n[0] % RZ_STRIPE_ROWS == 0 && (cols == 0 || cols == op->n[0]);
        if (op->code == RZ_OP_RMS_NORM && f->head_norm[m] == RZ_NO_OP && f->rope[m] == RZ_NO_OP && fits) {
            f->head_norm[m] = user;
        } else if (op->code == RZ_OP_ROPE && f->rope[m] == RZ_NO_OP && fits) {
            f->rope[m] = user;
        } else {
            if (op->code == RZ_OP_KV_WRITE && (f->kv_write == RZ_NO_OP || f->kv_write == user)) {
                f->kv_write = user;
                if (op->in[0] == value) f->keys_of = m;
                if (op->in[1] == value) f->values_of = m;
            }
            break;
        }
        cols = op->n[0];
        value = op->out[0];
    }
    /* without a head of its own any cut will do */
    f->head_cols[m] = cols ? cols : rows % 64 == 0 ? 64 : rows % 32 == 0 ? 32 : rows % 16 == 0 ? 16 : 0;
}

static bool match_heads(const rz_lowering *l, uint32_t anchor, rz_cpu_fusion *f) {
    if (!begin(l, anchor, f) || f->n_mats < 2) return false;
    bool any = f->norm != RZ_NO_OP;
    for (uint32_t m = 0; m < f->n_mats; m++) {
        follow(l, f, m);
        if (f->head_cols[m] == 0) return false;
        any |= f->rope[m] != RZ_NO_OP;
    }
    if (f->keys_of >= f->n_mats || f->values_of >= f->n_mats) f->kv_write = f->keys_of = f->values_of = RZ_NO_OP;
    return any || f->kv_write != RZ_NO_OP;
}

static bool match_glu(const rz_lowering *l, uint32_t anchor, rz_cpu_fusion *f) {
    if (!begin(l, anchor, f) || f->n_mats != 2) return false;
    const uint32_t a = op_at(l, f->mats[0])->out[0], b = op_at(l, f->mats[1])->out[0];
    f->glu = only_user(l, a);
    if (f->glu == RZ_NO_OP || f->glu != only_user(l, b) || op_at(l, f->glu)->code != RZ_OP_GLU) return false;
    if (op_at(l, f->glu)->in[0] == b) { /* mat 0 is the gate */
        const uint32_t first = f->mats[0];
        f->mats[0] = f->mats[1];
        f->mats[1] = first;
    }
    return true;
}

static bool match_norm(const rz_lowering *l, uint32_t anchor, rz_cpu_fusion *f) {
    memset(f, 0xff, sizeof *f);
    if (!is_row_norm(l, anchor)) return false;
    const uint32_t user = only_user(l, op_at(l, anchor)->out[0]);
    if (user == RZ_NO_OP) return false;
    if (op_at(l, user)->code != RZ_OP_MATMUL && op_at(l, user)->code != RZ_OP_LOGITS) return false;
    f->norm = anchor;
    f->n_mats = 1;
    f->mats[0] = user;
    return true;
}

static bool match_residual(const rz_lowering *l, uint32_t anchor, rz_cpu_fusion *f) {
    memset(f, 0xff, sizeof *f);
    if (op_at(l, anchor)->code != RZ_OP_MATMUL) return false;
    const uint32_t user = only_user(l, op_at(l, anchor)->out[0]);
    if (user == RZ_NO_OP || op_at(l, user)->code != RZ_OP_ADD || op_at(l, user)->in[1] == 0) return false;
    f->n_mats = 1;
    f->mats[0] = anchor;
    f->add = user;
    return true;
}

bool rz_cpu_match(const rz_lowering *l, rz_cpu_pattern pattern, uint32_t anchor, rz_cpu_fusion *f) {
    switch (pattern) {
    case RZ_CPU_GLU: return match_glu(l, anchor, f);
    case RZ_CPU_HEADS: return match_heads(l, anchor, f);
    case RZ_CPU_NORM: return match_norm(l, anchor, f);
    case RZ_CPU_RESIDUAL: return match_residual(l, anchor, f);
    }
    return false;
}

/* The ops of a fusion, ascending. */
static uint32_t ops_of(const rz_cpu_fusion *f, uint32_t ops[RZ_LAUNCH_OPS]) {
    uint32_t n = 0;
    const uint32_t single[] = {f->norm, f->kv_write, f->glu, f->add};
    for (uint32_t i = 0; i < sizeof single / sizeof single[0]; i++) {
        if (single[i] != RZ_NO_OP) ops[n++] = single[i];
    }
    for (uint32_t m = 0; m < f->n_mats; m++) {
        const uint32_t chain[] = {f->mats[m], f->head_norm[m], f->rope[m]};
        for (uint32_t i = 0; i < 3; i++) {
            if (chain[i] != RZ_NO_OP && n < RZ_LAUNCH_OPS) ops[n++] = chain[i];
        }
    }
    for (uint32_t i = 1; i < n; i++) {
        for (uint32_t k = i; k > 0 && ops[k] < ops[k - 1]; k--) {
            const uint32_t op = ops[k];
            ops[k] = ops[k - 1];
            ops[k - 1] = op;
        }
    }
    return n;
}

static uint32_t show(const rz_lowering *l, rz_cpu_pattern pattern, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    rz_cpu_fusion f;
    if (!rz_cpu_match(l, pattern, anchor, &f)) return 0;
    const uint32_t n = ops_of(&f, ops);
    return ops[0] == anchor && ops[n - 1] - anchor <= RZ_LAUNCH_SPAN ? n : 0;
}

static uint32_t show_heads(const rz_lowering *l, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    return show(l, RZ_CPU_HEADS, anchor, ops);
}
static uint32_t show_glu(const rz_lowering *l, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    return show(l, RZ_CPU_GLU, anchor, ops);
}
static uint32_t show_norm(const rz_lowering *l, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    return show(l, RZ_CPU_NORM, anchor, ops);
}
static uint32_t show_residual(const rz_lowering *l, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    return show(l, RZ_CPU_RESIDUAL, anchor, ops);
}

const rz_pattern rz_cpu_patterns[] = {
    {.name = "glu", .class_mask = UINT32_MAX, .match = show_glu},
    {.name = "heads", .class_mask = UINT32_MAX, .match = show_heads},
    {.name = "norm matmul", .class_mask = UINT32_MAX, .match = show_norm},
    {.name = "matmul add", .class_mask = UINT32_MAX, .match = show_residual},
};
const uint32_t rz_cpu_n_patterns = sizeof rz_cpu_patterns / sizeof rz_cpu_patterns[0];
