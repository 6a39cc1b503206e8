/* plan_builder.h - plans for native tests, made field by field, and two that together use every op. */
#ifndef RZ_TEST_PLAN_BUILDER_H
#define RZ_TEST_PLAN_BUILDER_H
#include "dtype.h"
#include "op.h"
#include "realizar.h"
#include <stdlib.h>
#include <string.h>

typedef struct builder {
    rz_plan_header header;
    rz_weight weights[64];
    rz_constant constants[4];
    double numbers[64];
    rz_value values[160];
    rz_op ops[160];
    uint32_t layer; /* of the ops that come */
} builder;

static inline uint32_t add_weight(builder *b, uint32_t use, uint32_t rows, uint32_t cols, uint32_t n_experts,
                                  uint32_t dtype) {
    const rz_dtype_row *row = rz_dtype_find(dtype);
    b->weights[b->header.n_weights++] = (rz_weight){
        .dtype = dtype,
        .use = use,
        .rows = rows,
        .cols = cols,
        .n_experts = n_experts,
        .file = RZ_FILE_NONE,
        .bytes = (uint64_t)rows * n_experts * (cols / row->block_size) * row->block_bytes,
        .shard_n = 1,
    };
    return b->header.n_weights;
}

static inline uint32_t add_vector(builder *b, uint32_t cols) {
    return add_weight(b, RZ_USE_VECTOR, 1, cols, 1, RZ_F32);
}

static inline uint32_t add_matrix(builder *b, uint32_t rows, uint32_t cols, uint32_t dtype) {
    return add_weight(b, RZ_USE_MATMUL, rows, cols, 1, dtype);
}

static inline uint32_t add_constant(builder *b, const char *name, const double *numbers, uint32_t n) {
    rz_constant *c = &b->constants[b->header.n_constants++];
    memcpy(c->name, name, strlen(name));
    c->first = b->header.n_numbers;
    c->n = n;
    memcpy(b->numbers + c->first, numbers, n * sizeof *numbers);
    b->header.n_numbers += n;
    return b->header.n_constants;
}

static inline rz_op *add_op(builder *b, uint32_t code) {
    rz_op *op = &b->ops[b->header.n_ops++];
    op->code = (uint16_t)code;
    op->layer = b->layer;
    return op;
}

/* Defines a value as the next result of an op. */
static inline uint32_t add_out(builder *b, rz_op *op, uint32_t rows, uint32_t cols, uint32_t dtype) {
    b->values[b->header.n_values++] = (rz_value){.rows = (uint16_t)rows, .dtype = (uint16_t)dtype, .cols = cols};
    op->out[op->out[0] != 0] = b->header.n_values;
    return b->header.n_values;
}

static inline uint32_t cols_of(const builder *b, uint32_t value) { return b->values[value - 1].cols; }

/* An op of one result like its first input. */
static inline rz_op *add_like(builder *b, uint32_t code, uint32_t x, uint32_t y, uint32_t w, uint32_t n0, float f0) {
    rz_op *op = add_op(b, code);
    op->in[0] = x;
    op->in[1] = y;
    op->w[0] = w;
    op->n[0] = n0;
    op->f[0] = f0;
    add_out(b, op, b->values[x - 1].rows, cols_of(b, x), RZ_F32);
    return op;
}

static inline uint32_t add_matmul(builder *b, uint32_t x, uint32_t w, uint32_t bias) {
    rz_op *op = add_op(b, RZ_OP_MATMUL);
    op->in[0] = x;
    op->w[0] = w;
    op->w[1] = bias;
    return add_out(b, op, b->values[x - 1].rows, b->weights[w - 1].rows, RZ_F32);
}

static inline uint32_t add_norm(builder *b, uint32_t x) {
    return add_like(b, RZ_OP_RMS_NORM, x, 0, add_vector(b, cols_of(b, x)), 0, 1e-5f)->out[0];
}

static inline uint32_t add_rope(builder *b, uint32_t x, uint32_t head_cols, uint32_t constant, uint32_t n_rot) {
    rz_op *op = add_like(b, RZ_OP_ROPE, x, 0, 0, head_cols, 0);
    op->n[1] = n_rot;
    op->n[3] = constant;
    return op->out[0];
}

static inline rz_op *add_attention(builder *b, uint32_t q, uint32_t heads, uint32_t key_heads, uint32_t head_cols) {
    rz_op *op = add_op(b, RZ_OP_ATTENTION);
    op->in[0] = q;
    op->n[2] = heads;
    op->n[3] = key_heads;
    op->n[4] = op->n[5] = head_cols;
    op->f[0] = 0.25f;
    add_out(b, op, RZ_ROWS_T, heads * head_cols, RZ_F32);
    return op;
}

static inline uint32_t add_embed(builder *b, uint32_t dtype) {
    rz_op *op = add_op(b, RZ_OP_EMBED);
    op->w[0] = add_weight(b, RZ_USE_ROWS | RZ_USE_MATMUL, b->header.vocab_size, b->header.hidden_size, 1, dtype);
    op->f[0] = 1;
    return add_out(b, op, RZ_ROWS_T, b->header.hidden_size, RZ_F32);
}

static inline uint32_t add_logits(builder *b, uint32_t x, uint32_t w) {
    rz_op *select = add_op(b, RZ_OP_SELECT_ROWS);
    select->in[0] = x;
    const uint32_t rows = add_norm(b, add_out(b, select, RZ_ROWS_R, cols_of(b, x), RZ_F32));
    rz_op *op = add_op(b, RZ_OP_LOGITS);
    op->in[0] = rows;
    op->w[0] = w;
    op->f[1] = 1;
    const uint32_t logits = add_out(b, op, RZ_ROWS_R, b->header.vocab_size, RZ_F32);
    b->values[logits - 1].flags = RZ_VALUE_OUTPUT;
    return logits;
}

static inline void begin_plan(builder *b, uint32_t vocab, uint32_t hidden) {
    memset(b, 0, sizeof *b);
    b->header.magic = 0x31505A52u;
    b->header.vocab_size = vocab;
    b->header.hidden_size = hidden;
    b->layer = RZ_LAYER_NONE;
}

/* A Llama of 2 layers: hidden 64, 4 heads of 16 over 2 key heads, feed-forward 96, vocabulary 80. */
static inline void build_llama(builder *b, uint32_t dtype) {
    begin_plan(b, 80, 64);
    const double table[] = {1,     0.31622776601683794,    0.1, 0.031622776601683791, 0.01, 0.0031622776601683794,
                            0.001, 0.00031622776601683794, 1};
    const uint32_t rope = add_constant(b, "rope", table, 9);
    uint32_t x = add_embed(b, dtype);
    const uint32_t embedding = b->ops[0].w[0];
    for (uint32_t layer = 0; layer < 2; layer++) {
        b->layer = layer;
        const uint32_t n = add_norm(b, x);
        const uint32_t q = add_rope(b, add_matmul(b, n, add_matrix(b, 64, 64, dtype), 0), 16, rope, 16);
        const uint32_t k = add_rope(b, add_matmul(b, n, add_matrix(b, 32, 64, dtype), 0), 16, rope, 16);
        const uint32_t v = add_matmul(b, n, add_matrix(b, 32, 64, dtype), add_vector(b, 32));
        rz_op *write = add_op(b, RZ_OP_KV_WRITE);
        write->in[0] = k;
        write->in[1] = v;
        write->n[1] = layer;
        rz_op *attention = add_attention(b, q, 4, 2, 16);
        attention->n[1] = layer;
        const uint32_t o = add_matmul(b, attention->out[0], add_matrix(b, 64, 64, dtype), 0);
        x = add_like(b, RZ_OP_ADD, x, o, 0, 0, 0)->out[0];
        const uint32_t m = add_norm(b, x);
        const uint32_t gate = add_matmul(b, m, add_matrix(b, 96, 64, dtype), 0);
        const uint32_t up = add_matmul(b, m, add_matrix(b, 96, 64, dtype), 0);
        const uint32_t act = add_like(b, RZ_OP_GLU, gate, up, 0, 0, 0)->out[0];
        x = add_like(b, RZ_OP_ADD, x, add_matmul(b, act, add_matrix(b, 64, 96, dtype), 0), 0, 0, 0)->out[0];
    }
    b->layer = RZ_LAYER_NONE;
    add_logits(b, x, embedding);
}

/* Every op that the Llama has not, no cache: hidden 64, 4 experts of which 2 a token. */
static inline void build_zoo(builder *b) {
    begin_plan(b, 80, 64);
    uint32_t x = add_embed(b, RZ_F32);
    b->layer = 0;
    rz_op *norm = add_like(b, RZ_OP_LAYER_NORM, x, 0, add_vector(b, 64), 0, 1e-5f);
    norm->w[1] = add_vector(b, 64);
    rz_op *heads = add_op(b, RZ_OP_HEAD_MATMUL);
    heads->in[0] = norm->out[0];
    heads->w[0] = add_matrix(b, 32, 16, RZ_F32);
    heads->n[0] = 4;
    const uint32_t k = add_out(b, heads, RZ_ROWS_T, 32, RZ_F32);
    rz_op *attention = add_attention(b, norm->out[0], 4, 2, 16);
    attention->in[1] = attention->in[2] = k;
    attention->n[6] = 1;
    attention->w[0] = add_vector(b, 4);
    attention->f[1] = 30;
    x = add_like(b, RZ_OP_ALL_REDUCE, attention->out[0], 0, 0, 0, 0)->out[0];
    x = add_like(b, RZ_OP_UNARY, x, 0, 0, 1, 0)->out[0];
    x = add_like(b, RZ_OP_ADD, x, 0, add_vector(b, 64), 0, 0)->out[0];
    x = add_like(b, RZ_OP_MUL, x, 0, add_vector(b, 64), 0, 0)->out[0];
    x = add_like(b, RZ_OP_SCALE, x, 0, 0, 0, 0.5f)->out[0];
    x = add_like(b, RZ_OP_SOFTCAP, x, 0, 0, 0, 20)->out[0];
    x = add_like(b, RZ_OP_RMS_NORM, x, 0, add_vector(b, 16), 16, 1e-6f)->out[0];
    b->layer = 1;
    const uint32_t router = add_matmul(b, x, add_matrix(b, 4, 64, RZ_F32), 0);
    rz_op *route = add_op(b, RZ_OP_MOE_ROUTE);
    route->in[0] = router;
    route->w[0] = add_vector(b, 4);
    route->n[0] = 2;
    route->n[2] = 1;
    route->f[0] = 1;
    const uint32_t weights = add_out(b, route, RZ_ROWS_TK, 1, RZ_F32);
    const uint32_t ids = add_out(b, route, RZ_ROWS_TK, 1, RZ_I32);
    uint32_t y[3];
    for (int i = 0; i < 3; i++) {
        rz_op *op = add_op(b, RZ_OP_MOE_MATMUL);
        op->in[1] = ids;
        op->w[0] = i < 2 ? add_weight(b, RZ_USE_MOE, 96, 64, 4, RZ_F32) : add_weight(b, RZ_USE_MOE, 64, 96, 4, RZ_F32);
        op->n[0] = 2;
        op->in[0] = i < 2 ? x : y[1];
        y[i] = add_out(b, op, RZ_ROWS_TK, i < 2 ? 96 : 64, RZ_F32);
        if (i == 1) {
            rz_op *glu = add_like(b, RZ_OP_GLU, y[0], y[1], 0, 3, 1.702f);
            glu->f[1] = 7;
            y[1] = glu->out[0];
        }
    }
    rz_op *combine = add_op(b, RZ_OP_MOE_COMBINE);
    combine->in[0] = y[2];
    combine->in[1] = weights;
    combine->n[0] = 2;
    x = add_like(b, RZ_OP_ADD, x, add_out(b, combine, RZ_ROWS_T, 64, RZ_F32), 0, 0, 0)->out[0];
    b->layer = RZ_LAYER_NONE;
    rz_op *pool = add_op(b, RZ_OP_POOL);
    pool->in[0] = x;
    b->values[add_out(b, pool, RZ_ROWS_S, 64, RZ_F32) - 1].flags = RZ_VALUE_OUTPUT;
}

/* The plan as bytes, from malloc. */
static inline uint8_t *plan_bytes(builder *b, uint32_t *n) {
    const struct {
        const void *data;
        size_t bytes;
    } sections[] = {
        {&b->header, sizeof b->header},
        {b->weights, b->header.n_weights * sizeof *b->weights},
        {b->constants, b->header.n_constants * sizeof *b->constants},
        {b->numbers, b->header.n_numbers * sizeof *b->numbers},
        {b->values, b->header.n_values * sizeof *b->values},
        {b->ops, b->header.n_ops * sizeof *b->ops},
    };
    size_t total = 0, at = 0;
    for (int i = 0; i < 6; i++) total += sections[i].bytes;
    b->header.n_bytes = *n = (uint32_t)total;
    uint8_t *bytes = malloc(total);
    for (int i = 0; i < 6 && bytes; at += sections[i++].bytes) memcpy(bytes + at, sections[i].data, sections[i].bytes);
    return bytes;
}

#endif
