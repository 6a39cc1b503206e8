/* op_rules.c - the operands each op may have. The table says what op.h says; what a row cannot say is in its check. */
#include "op_rules.h"
#include "dtype.h"
#include "error.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

/* ---- the words of the table -------------------------------------------------------------------------------------- */

/* Rows of a value: one symbol, X = the same symbol wherever the op says X, or either of two. */
enum { T = RZ_ROWS_T, R = RZ_ROWS_R, S = RZ_ROWS_S, TK = RZ_ROWS_TK, X, T_OR_TK };

/* A size: a constant of the plan, one of the op's n, or a letter that means the same number in all of its operands. */
enum { ONE, HIDDEN, VOCAB, ANY, A, B, N0, N1, N2, N3, N4, N5 };

enum { ABSENT, REQUIRED, OPTIONAL };
enum { UNUSED, FINITE, NONZERO, POSITIVE, NOT_NEGATIVE };

typedef struct value_rule {
    uint8_t need, rows, cols, times; /* columns are cols * times */
    uint8_t dtype;
} value_rule;

typedef struct weight_rule {
    uint8_t need, use, rows, cols;
} weight_rule;

typedef struct range {
    uint32_t min, max; /* 0, 0 = not used */
} range;

/* The op being checked. Letters and X are 0 and -1 until the first operand that has them. */
typedef struct view {
    rz_op_checker *c;
    const rz_op *op;
    uint32_t index;
    int64_t rows_x;
    uint64_t letters[2]; /* A, B */
} view;

typedef struct op_rule {
    value_rule out[2], in[4];
    weight_rule w[4];
    range n[8];
    uint8_t f[6];
    rz_status (*check)(const view *v);
} op_rule;

#define VALUE(rows, cols) {REQUIRED, rows, cols, ONE, RZ_F32}
#define VALUE_OF_HEADS(rows, heads, cols) {REQUIRED, rows, cols, heads, RZ_F32}
#define VALUE_OR_NONE(rows, cols, times) {OPTIONAL, rows, cols, times, RZ_F32}
#define EXPERT_IDS {REQUIRED, TK, ONE, ONE, RZ_I32}
#define MATRIX(rows, cols) {REQUIRED, RZ_USE_MATMUL, rows, cols}
#define VECTOR(cols) {REQUIRED, RZ_USE_VECTOR, ONE, cols}
#define VECTOR_OR_NONE(cols) {OPTIONAL, RZ_USE_VECTOR, ONE, cols}

static rz_status fail(const view *v, rz_status status, const char *format, ...) {
    char text[200];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *name = rz_op_name(v->op->code);
    char layer[24] = "";
    if (v->op->layer != RZ_LAYER_NONE) snprintf(layer, sizeof layer, ", layer %u", v->op->layer);
    return rz_fail(status, "plan: op %u (%s%s): %s", v->index, name ? name : "?", layer, text);
}

/* ---- what a row of the table cannot say -------------------------------------------------------------------------- */

static const rz_value *value_of(const view *v, uint32_t id) { return &v->c->ir->values[id - 1]; }

static const rz_weight *weight_of(const view *v, uint32_t id) { return &v->c->ir->weights[id - 1]; }

static rz_status check_rms_norm(const view *v) {
    const uint32_t cols = value_of(v, v->op->in[0])->cols, group = v->op->n[0];
    if (group && cols % group)
        return fail(v, RZ_E_SHAPE, "n0 (group of columns) is %u, expected a divisor of %u", group, cols);
    if (!v->op->w[0]) return RZ_OK;
    const uint32_t got = weight_of(v, v->op->w[0])->cols;
    if (got == cols || (group && got == group)) return RZ_OK;
    return fail(v, RZ_E_SHAPE, "w0 (weight %u) has %u columns, expected %u%s", v->op->w[0], got, group ? group : cols,
                group ? " or all columns of in0" : "");
}

static rz_status check_head_matmul(const view *v) {
    const uint32_t rows = weight_of(v, v->op->w[0])->rows, heads = v->op->n[0];
    if (rows % heads == 0) return RZ_OK;
    return fail(v, RZ_E_SHAPE, "w0 (weight %u) has %u rows, expected a multiple of n0 = %u", v->op->w[0], rows, heads);
}

static rz_status check_rope(const view *v) {
    const uint32_t *n = v->op->n, cols = value_of(v, v->op->in[0])->cols;
    if (cols % n[0]) return fail(v, RZ_E_SHAPE, "n0 (head size) is %u, expected a divisor of %u columns", n[0], cols);
    if (n[1] % 2 || n[1] > n[0])
        return fail(v, RZ_E_ARG, "n1 (columns that turn) is %u, expected even and <= %u", n[1], n[0]);
    if (n[3] > v->c->ir->header->n_constants) {
        return fail(v, RZ_E_ARG, "n3 (constant) is %u, expected 1..%u", n[3], v->c->ir->header->n_constants);
    }
    const uint32_t got = v->c->ir->constants[n[3] - 1].n;
    if (got == n[1] / 2 + 1) return RZ_OK;
    return fail(v, RZ_E_SHAPE, "n3 (constant %u) has %u numbers, expected %u (n1 / 2 + 1)", n[3], got, n[1] / 2 + 1);
}

static rz_status check_kv_write(const view *v) {
    const uint32_t group = v->op->n[0], layer = v->op->n[1], bit = 1u << layer % 32;
    const uint32_t k_cols = value_of(v, v->op->in[0])->cols, v_cols = value_of(v, v->op->in[1])->cols;
    rz_plan_ir *ir = v->c->ir;
    if (v->c->written[group][layer / 32] & bit) {
        return fail(v, RZ_E_DUPLICATE, "layer %u of group %u has its kvWrite already", layer, group);
    }
    v->c->written[group][layer / 32] |= bit;
    if (ir->groups[group].n_layers == 0) {
        ir->groups[group].k_cols = k_cols;
        ir->groups[group].v_cols = v_cols;
    } else if (k_cols != ir->groups[group].k_cols || v_cols != ir->groups[group].v_cols) {
        return fail(v, RZ_E_SHAPE, "in0, in1 have %u, %u columns, expected %u, %u as in group %u so far", k_cols,
                    v_cols, ir->groups[group].k_cols, ir->groups[group].v_cols, group);
    }
    if (layer >= ir->groups[group].n_layers) ir->groups[group].n_layers = layer + 1;
    if (group >= ir->n_groups) ir->n_groups = group + 1;
    return RZ_OK;
}

static rz_status check_attention(const view *v) {
    const rz_op *op = v->op;
    const uint32_t *n = op->n;
    if (n[2] % n[3])
        return fail(v, RZ_E_SHAPE, "n2 (heads) is %u, expected a multiple of n3 = %u (key heads)", n[2], n[3]);
    if (n[6] == 1) { /* keys of this batch */
        for (int i = 1; i <= 2; i++) {
            if (!op->in[i]) return fail(v, RZ_E_KEY_MISSING, "in%d is 0, expected a value (n6 = 1)", i);
        }
        if (n[0] || n[1] || n[7])
            return fail(v, RZ_E_ARG, "n0, n1, n7 are %u, %u, %u, expected 0 (n6 = 1)", n[0], n[1], n[7]);
        return RZ_OK;
    }
    if (op->in[1] || op->in[2])
        return fail(v, RZ_E_ARG, "in1, in2 are %u, %u, expected 0 (n6 = 0)", op->in[1], op->in[2]);
    if (!(v->c->written[n[0]][n[1] / 32] >> n[1] % 32 & 1u)) {
        return fail(v, RZ_E_KEY_MISSING, "layer %u of group %u has no kvWrite before this op", n[1], n[0]);
    }
    rz_plan_ir *ir = v->c->ir;
    if (n[3] * n[4] != ir->groups[n[0]].k_cols || n[3] * n[5] != ir->groups[n[0]].v_cols) {
        return fail(v, RZ_E_SHAPE, "n3 * n4, n3 * n5 are %u, %u, expected %u, %u as in group %u", n[3] * n[4],
                    n[3] * n[5], ir->groups[n[0]].k_cols, ir->groups[n[0]].v_cols, n[0]);
    }
    if (n[7] == 0) v->c->sees_all[n[0]] = true;
    if (n[7] > ir->groups[n[0]].window_max) ir->groups[n[0]].window_max = n[7];
    return RZ_OK;
}

static rz_status check_glu(const view *v) {
    const float *f = v->op->f;
    if (v->op->n[0] != 3) {
        if (f[0] == 0 && f[1] == 0) return RZ_OK;
        return fail(v, RZ_E_ARG, "f0, f1 are %g, %g, expected 0 (n0 is not 3)", (double)f[0], (double)f[1]);
    }
    if (f[0] != 0 && f[1] > 0) return RZ_OK;
    return fail(v, RZ_E_ARG, "f0, f1 are %g, %g, expected f0 not 0 and f1 > 0", (double)f[0], (double)f[1]);
}

static rz_status check_two_inputs(const view *v) {
    if (!v->op->in[1] != !v->op->w[0]) return RZ_OK;
    return fail(v, v->op->w[0] ? RZ_E_ARG : RZ_E_KEY_MISSING, "in1, w0 are %u, %u, expected exactly one of them",
                v->op->in[1], v->op->w[0]);
}

/* Tk is one size: every MoE op of a plan has the same k. */
static rz_status check_experts_per_token(const view *v) {
    const uint32_t k = v->op->n[0];
    if (v->c->experts_per_token == 0) v->c->experts_per_token = k;
    if (k == v->c->experts_per_token) return RZ_OK;
    return fail(v, RZ_E_SHAPE, "n0 (experts a token) is %u, expected %u as before", k, v->c->experts_per_token);
}

static rz_status check_moe_route(const view *v) {
    const uint32_t n_experts = value_of(v, v->op->in[0])->cols;
    if (n_experts > RZ_MAX_EXPERTS)
        return fail(v, RZ_E_LIMIT, "in0 has %u columns, expected <= %u", n_experts, RZ_MAX_EXPERTS);
    if (v->op->n[0] > n_experts)
        return fail(v, RZ_E_ARG, "n0 (experts a token) is %u, expected <= %u", v->op->n[0], n_experts);
    return check_experts_per_token(v);
}

static rz_status check_moe_matmul(const view *v) {
    /* Only moeRoute makes I32 values: the ids in in1 are below the columns of its input. */
    const rz_op *route = &v->c->ir->ops[v->c->defined_by[v->op->in[1] - 1] - 1];
    const uint32_t expected = value_of(v, route->in[0])->cols, got = weight_of(v, v->op->w[0])->n_experts;
    if (got != expected) {
        return fail(v, RZ_E_SHAPE, "w0 (weight %u) has %u experts, expected %u as in1's router", v->op->w[0], got,
                    expected);
    }
    return check_experts_per_token(v);
}

static rz_status check_logits(const view *v) {
    const uint32_t out = v->op->out[0];
    if (v->c->ir->logits_value) return fail(v, RZ_E_DUPLICATE, "a plan has at most one logits op");
    if (!(value_of(v, out)->flags & RZ_VALUE_OUTPUT))
        return fail(v, RZ_E_ARG, "out0 (value %u) is not flagged OUTPUT", out);
    v->c->ir->logits_value = out;
    return RZ_OK;
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

#define HEADS {1, RZ_MAX_HEADS}
#define HEAD_COLS {1, RZ_MAX_HEAD_COLS}
#define GROUP {0, RZ_MAX_GROUPS - 1}
#define LAYER {0, RZ_MAX_LAYERS - 1}
#define EXPERTS {1, RZ_MAX_EXPERTS_PER_TOKEN}
#define UP_TO(max) {0, max}

static const op_rule rules[] = {
    [RZ_OP_EMBED] = {.out = {VALUE(T, HIDDEN)}, .w = {{REQUIRED, RZ_USE_ROWS, VOCAB, HIDDEN}}, .f = {NONZERO}},
    [RZ_OP_RMS_NORM] = {.out = {VALUE(X, A)},
                        .in = {VALUE(X, A)},
                        .w = {VECTOR_OR_NONE(ANY)},
                        .n = {UP_TO(RZ_MAX_COLS)},
                        .f = {POSITIVE},
                        .check = check_rms_norm},
    [RZ_OP_LAYER_NORM] = {.out = {VALUE(X, A)},
                          .in = {VALUE(X, A)},
                          .w = {VECTOR(A), VECTOR_OR_NONE(A)},
                          .f = {POSITIVE}},
    [RZ_OP_MATMUL] = {.out = {VALUE(X, A)}, .in = {VALUE(X, B)}, .w = {MATRIX(A, B), VECTOR_OR_NONE(A)}},
    [RZ_OP_HEAD_MATMUL] = {.out = {VALUE(X, A)},
                           .in = {VALUE_OF_HEADS(X, N0, B)},
                           .w = {MATRIX(A, B)},
                           .n = {HEADS},
                           .check = check_head_matmul},
    [RZ_OP_ROPE] = {.out = {VALUE(T, A)},
                    .in = {VALUE(T, A)},
                    .n = {HEAD_COLS, {2, RZ_MAX_HEAD_COLS}, UP_TO(1), {1, RZ_MAX_PLAN_CONSTANTS}},
                    .check = check_rope},
    [RZ_OP_KV_WRITE] = {.in = {VALUE(T, A), VALUE(T, B)}, .n = {GROUP, LAYER}, .check = check_kv_write},
    [RZ_OP_ATTENTION] = {.out = {VALUE_OF_HEADS(T, N2, N5)},
                         .in = {VALUE_OF_HEADS(T, N2, N4), VALUE_OR_NONE(T, N4, N3), VALUE_OR_NONE(T, N5, N3)},
                         .w = {VECTOR_OR_NONE(N2)},
                         .n = {GROUP, LAYER, HEADS, HEADS, HEAD_COLS, HEAD_COLS, UP_TO(1), UP_TO(UINT32_MAX)},
                         .f = {POSITIVE, NOT_NEGATIVE},
                         .check = check_attention},
    [RZ_OP_GLU] = {.out = {VALUE(X, A)},
                   .in = {VALUE(X, A), VALUE(X, A)},
                   .n = {UP_TO(3)},
                   .f = {FINITE, FINITE},
                   .check = check_glu},
    [RZ_OP_UNARY] = {.out = {VALUE(X, A)}, .in = {VALUE(X, A)}, .n = {UP_TO(6)}},
    [RZ_OP_ADD] = {.out = {VALUE(X, A)},
                   .in = {VALUE(X, A), VALUE_OR_NONE(X, A, ONE)},
                   .w = {VECTOR_OR_NONE(A)},
                   .check = check_two_inputs},
    [RZ_OP_MUL] = {.out = {VALUE(X, A)},
                   .in = {VALUE(X, A), VALUE_OR_NONE(X, A, ONE)},
                   .w = {VECTOR_OR_NONE(A)},
                   .check = check_two_inputs},
    [RZ_OP_SCALE] = {.out = {VALUE(X, A)}, .in = {VALUE(X, A)}, .f = {FINITE}},
    [RZ_OP_SOFTCAP] = {.out = {VALUE(X, A)}, .in = {VALUE(X, A)}, .f = {POSITIVE}},
    [RZ_OP_MOE_ROUTE] = {.out = {VALUE(TK, ONE), EXPERT_IDS},
                         .in = {VALUE(T, A)},
                         .w = {VECTOR_OR_NONE(A)},
                         .n = {EXPERTS, UP_TO(2), UP_TO(1)},
                         .f = {NONZERO},
                         .check = check_moe_route},
    [RZ_OP_MOE_MATMUL] = {.out = {VALUE(TK, A)},
                          .in = {VALUE(T_OR_TK, B), EXPERT_IDS},
                          .w = {{REQUIRED, RZ_USE_MOE, A, B}},
                          .n = {EXPERTS},
                          .check = check_moe_matmul},
    [RZ_OP_MOE_COMBINE] = {.out = {VALUE(T, A)},
                           .in = {VALUE(TK, A), VALUE(TK, ONE)},
                           .n = {EXPERTS},
                           .check = check_experts_per_token},
    [RZ_OP_SELECT_ROWS] = {.out = {VALUE(R, A)}, .in = {VALUE(T, A)}},
    [RZ_OP_POOL] = {.out = {VALUE(S, A)}, .in = {VALUE(T, A)}, .n = {UP_TO(2)}},
    [RZ_OP_LOGITS] = {.out = {VALUE(R, VOCAB)},
                      .in = {VALUE(R, HIDDEN)},
                      .w = {MATRIX(VOCAB, HIDDEN), VECTOR_OR_NONE(VOCAB)},
                      .f = {NOT_NEGATIVE, NONZERO},
                      .check = check_logits},
    [RZ_OP_ALL_REDUCE] = {.out = {VALUE(X, A)}, .in = {VALUE(X, A)}},
};
#define N_RULES (sizeof rules / sizeof rules[0])

const char *rz_op_name(uint32_t code) {
    static const char *const names[N_RULES] = {
#define NAMED(name, code, text) [code] = text,
        RZ_OPS(NAMED)
#undef NAMED
    };
    return code < N_RULES ? names[code] : NULL;
}

const char *rz_rows_name(uint32_t rows) {
    static const char *const names[] = {[T] = "T", [R] = "R", [S] = "S", [TK] = "Tk", [X] = "X", [T_OR_TK] = "T or Tk"};
    return rows < sizeof names / sizeof names[0] ? names[rows] : "?";
}

/* ---- the check --------------------------------------------------------------------------------------------------- */

/* The number a size stands for; 0 for a letter not met yet. */
static uint64_t size_of(const view *v, uint8_t size) {
    switch (size) {
    case ONE: return 1;
    case HIDDEN: return v->c->ir->header->hidden_size;
    case VOCAB: return v->c->ir->header->vocab_size;
    case A:
    case B: return v->letters[size - A];
    default: return v->op->n[size - N0];
    }
}

/* What `got` should be; a letter met for the first time takes the value that makes it so, if there is one. */
static uint64_t expected_size(view *v, uint8_t size, uint8_t times, uint64_t got) {
    if (size == ANY) return got;
    const uint64_t factor = size_of(v, times);
    if ((size == A || size == B) && v->letters[size - A] == 0) v->letters[size - A] = got < factor ? 1 : got / factor;
    return size_of(v, size) * factor;
}

static rz_status check_value_shape(view *v, const char *operand, uint32_t id, const value_rule *rule) {
    const rz_value *value = value_of(v, id);
    if (rule->rows == X && v->rows_x < 0) v->rows_x = value->rows;
    const uint32_t rows = rule->rows == X ? (uint32_t)v->rows_x : rule->rows;
    const bool rows_fit = rows == T_OR_TK ? value->rows == T || value->rows == TK : value->rows == rows;
    const uint64_t cols = expected_size(v, rule->cols, rule->times, value->cols);
    if (rows_fit && value->cols == cols && value->dtype == rule->dtype) return RZ_OK;
    return fail(v, value->dtype == rule->dtype ? RZ_E_SHAPE : RZ_E_TYPE,
                "%s (value %u) is %s [%s, %u], expected %s [%s, %llu]", operand, id, value->dtype ? "I32" : "F32",
                rz_rows_name(value->rows), value->cols, rule->dtype ? "I32" : "F32", rz_rows_name(rows),
                (unsigned long long)cols);
}

/* The id of an operand: absent exactly when it must be, in range. *there = it has to be looked at. */
static rz_status check_id(const view *v, const char *operand, uint32_t id, uint8_t need, uint32_t n, bool *there) {
    *there = id != 0;
    if (id == 0 && need == REQUIRED) return fail(v, RZ_E_KEY_MISSING, "%s is 0, expected an id", operand);
    if (id != 0 && need == ABSENT) return fail(v, RZ_E_ARG, "%s is %u, expected 0 (not used)", operand, id);
    if (id > n) return fail(v, RZ_E_ARG, "%s is %u, expected an id up to %u", operand, id, n);
    return RZ_OK;
}

static rz_status check_values(view *v, const op_rule *rule) {
    const uint32_t n_values = v->c->ir->header->n_values;
    char operand[8];
    bool there;
    rz_status status;
    for (int i = 0; i < 4; i++) {
        const uint32_t id = v->op->in[i];
        snprintf(operand, sizeof operand, "in%d", i);
        if ((status = check_id(v, operand, id, rule->in[i].need, n_values, &there))) return status;
        if (!there) continue;
        if (!v->c->defined_by[id - 1])
            return fail(v, RZ_E_KEY_MISSING, "%s (value %u) is not defined yet", operand, id);
        if ((status = check_value_shape(v, operand, id, &rule->in[i]))) return status;
    }
    return RZ_OK;
}

static rz_status check_outs(view *v, const op_rule *rule) {
    const uint32_t n_values = v->c->ir->header->n_values;
    char operand[8];
    bool there;
    rz_status status;
    for (int i = 0; i < 2; i++) {
        const uint32_t id = v->op->out[i];
        snprintf(operand, sizeof operand, "out%d", i);
        if ((status = check_id(v, operand, id, rule->out[i].need, n_values, &there))) return status;
        if (!there) continue;
        const uint32_t before = v->c->defined_by[id - 1];
        if (before) return fail(v, RZ_E_DUPLICATE, "%s (value %u) was defined by op %u", operand, id, before - 1);
        if ((status = check_value_shape(v, operand, id, &rule->out[i]))) return status;
        v->c->defined_by[id - 1] = v->index + 1;
    }
    return RZ_OK;
}

static rz_status check_weights(view *v, const op_rule *rule) {
    char operand[8];
    bool there;
    rz_status status;
    for (int i = 0; i < 4; i++) {
        const uint32_t id = v->op->w[i];
        const weight_rule *want = &rule->w[i];
        snprintf(operand, sizeof operand, "w%d", i);
        if ((status = check_id(v, operand, id, want->need, v->c->ir->header->n_weights, &there))) return status;
        if (!there) continue;
        const rz_weight *w = weight_of(v, id);
        if (!(w->use & want->use)) {
            return fail(v, RZ_E_TYPE, "%s (weight %u) has use bits %u, expected bit %u", operand, id, w->use,
                        want->use);
        }
        const uint64_t rows = expected_size(v, want->rows, ONE, w->rows),
                       cols = expected_size(v, want->cols, ONE, w->cols);
        if (w->rows == rows && w->cols == cols) continue;
        return fail(v, RZ_E_SHAPE, "%s (weight %u) is %u x %u, expected %llu x %llu", operand, id, w->rows, w->cols,
                    (unsigned long long)rows, (unsigned long long)cols);
    }
    return RZ_OK;
}

static rz_status check_numbers(const view *v, const op_rule *rule) {
    for (int i = 0; i < 8; i++) {
        const range r = rule->n[i];
        if (v->op->n[i] >= r.min && v->op->n[i] <= r.max) continue;
        if (r.max == 0) return fail(v, RZ_E_ARG, "n%d is %u, expected 0 (not used)", i, v->op->n[i]);
        return fail(v, RZ_E_ARG, "n%d is %u, expected %u..%u", i, v->op->n[i], r.min, r.max);
    }
    static const char *const want[] = {"0 (not used)", "a finite number", "finite and not 0", "finite and > 0",
                                       "finite and >= 0"};
    for (int i = 0; i < 6; i++) {
        const float f = v->op->f[i];
        const bool good[] = {f == 0, true, f != 0, f > 0, f >= 0};
        if (!isfinite(f) || !good[rule->f[i]]) {
            return fail(v, RZ_E_ARG, "f%d is %g, expected %s", i, (double)f, want[rule->f[i]]);
        }
    }
    return RZ_OK;
}

rz_status rz_op_check(rz_op_checker *c, uint32_t index) {
    view v = {.c = c, .op = &c->ir->ops[index], .index = index, .rows_x = -1};
    if (!rz_op_name(v.op->code)) return fail(&v, RZ_E_UNSUPPORTED, "unknown op code %u", v.op->code);
    if (v.op->flags) return fail(&v, RZ_E_ARG, "flags are %u, expected 0", v.op->flags);
    if (v.op->layer >= RZ_MAX_LAYERS && v.op->layer != RZ_LAYER_NONE) {
        return fail(&v, RZ_E_LIMIT, "layer is %u, expected < %u or none", v.op->layer, RZ_MAX_LAYERS);
    }
    for (int i = 0; i < 6; i++) {
        if (v.op->reserved[i]) return fail(&v, RZ_E_ARG, "reserved[%d] is %u, expected 0", i, v.op->reserved[i]);
    }
    const op_rule *rule = &rules[v.op->code];
    rz_status status = check_numbers(&v, rule);
    if (!status) status = check_values(&v, rule);
    if (!status) status = check_weights(&v, rule);
    if (!status) status = check_outs(&v, rule);
    if (!status && rule->check) status = rule->check(&v);
    return status;
}
