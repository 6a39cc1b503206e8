/* launch.c - one launcher an op: operands become the parameters of a kernel. */
#include "attention.h"
#include "moe.h"
#include "prefill.h"

/* An op about to be queued. */
typedef struct call {
    rzc_program *p;
    const rz_op *op;
    uint32_t rows; /* of in0, of out0 for ops without inputs */
} call;

static rz_cu_ptr in(const call *c, uint32_t k) { return c->op->in[k] ? rzc_value(c->p, c->op->in[k]) : 0; }
static rz_cu_ptr out(const call *c, uint32_t k) { return rzc_value(c->p, c->op->out[k]); }
static uint32_t cols_of(const call *c, uint32_t value) { return c->p->ir->values[value - 1].cols; }
static const rz_tensor *weight(const call *c, uint32_t k) { return &c->p->tensors[c->op->w[k] - 1]; }
static rz_cu_ptr vector(const call *c, uint32_t k) { return c->op->w[k] ? (uintptr_t)weight(c, k)->data : 0; }

static rz_status launch(const call *c, uint32_t kernel, rzc_shape shape, void *params) {
    shape.chained = true;
    return rzc_launch(c->p->engine, c->p->engine->stream, kernel, shape, params);
}

static rz_status embed(const call *c) {
    rzc_embed p = {.step = c->p->step_at, .w = rzc_matrix_of(weight(c, 0)), .out = out(c, 0), .n_rows = c->rows,
                   .factor = c->op->f[0]};
    return launch(c, RZC_K_embed_k, (rzc_shape){.x = c->rows, .threads = 128}, &p);
}

static rz_status norm(const call *c) {
    const uint32_t cols = cols_of(c, c->op->in[0]);
    const bool is_layer = c->op->code == RZ_OP_LAYER_NORM;
    const uint32_t group = is_layer || c->op->n[0] == 0 ? cols : c->op->n[0];
    rzc_norm p = {.x = in(c, 0), .y = out(c, 0), .weight = vector(c, 0), .bias = is_layer ? vector(c, 1) : 0,
                  .n_rows = c->rows, .cols = cols, .group = group,
                  .weight_cols = c->op->w[0] ? weight(c, 0)->spec.cols : 1, .eps = c->op->f[0],
                  .is_layer_norm = is_layer};
    const uint32_t threads = group > 1024 ? 512 : group > 128 ? 128 : 32;
    return launch(c, RZC_K_norm_k, (rzc_shape){.x = cols / group, .y = c->rows, .threads = threads}, &p);
}

static rz_status product(const call *c) {
    const rz_op *op = c->op;
    const bool is_moe = op->code == RZ_OP_MOE_MATMUL, is_logits = op->code == RZ_OP_LOGITS;
    const rzc_matrix w = rzc_matrix_of(weight(c, 0));
    const uint32_t rows = is_moe ? c->p->n_rows[RZ_ROWS_TK] : c->rows;
    rzc_product p = {.w = w, .x = in(c, 0), .y = out(c, 0), .bias = is_moe ? 0 : vector(c, 1),
                     .ids = is_moe ? in(c, 1) : 0, .n_rows = rows, .ldx = cols_of(c, op->in[0]),
                     .ldy = cols_of(c, op->out[0]), .n_out = w.rows,
                     .head_rows = op->code == RZ_OP_HEAD_MATMUL ? w.rows / op->n[0] : 0,
                     .x_div = is_moe && c->rows != rows ? op->n[0] : 1, .factor = is_logits ? op->f[1] : 1.0f,
                     .cap = is_logits ? op->f[0] : 0};
    return rzc_product_any(c->p, weight(c, 0), &p, op->in[0]);
}

static rz_status rope(const call *c) {
    const rz_constant *constant = &c->p->ir->constants[c->op->n[3] - 1];
    rzc_rope p = {.step = c->p->step_at, .x = in(c, 0), .y = out(c, 0),
                  .frequency = c->p->numbers + constant->first * 8ull, .n_rows = c->rows,
                  .cols = cols_of(c, c->op->in[0]), .head_cols = c->op->n[0], .n_pairs = c->op->n[1] / 2,
                  .adjacent = c->op->n[2] == 1};
    return launch(c, RZC_K_rope_k, (rzc_shape){.x = c->rows, .threads = 256}, &p);
}

static rz_status kv_write(const call *c) {
    rzc_kv_write p = {.step = c->p->step_at, .k = in(c, 0), .v = in(c, 1), .n_rows = c->rows, .group = c->op->n[0],
                      .layer = c->op->n[1], .k_cols = cols_of(c, c->op->in[0]), .v_cols = cols_of(c, c->op->in[1])};
    return launch(c, RZC_K_kv_write_k, (rzc_shape){.x = c->rows, .y = 2, .threads = 128}, &p);
}

static rz_status attention(const call *c) { return rzc_attend(c->p, c->op); }

static rz_status elementwise(const call *c) {
    const rz_op *op = c->op;
    const uint32_t cols = cols_of(c, op->in[0]);
    uint32_t what = RZC_EW_COPY;
    if (op->code == RZ_OP_ADD) what = RZC_EW_ADD;
    if (op->code == RZ_OP_MUL) what = RZC_EW_MUL;
    if (op->code == RZ_OP_SCALE) what = RZC_EW_SCALE;
    if (op->code == RZ_OP_SOFTCAP) what = RZC_EW_SOFTCAP;
    if (op->code == RZ_OP_GLU) what = RZC_EW_GLU + op->n[0];
    if (op->code == RZ_OP_UNARY) what = RZC_EW_UNARY + op->n[0];
    rzc_elementwise p = {.a = in(c, 0), .b = in(c, 1), .w = vector(c, 0), .y = out(c, 0),
                         .n = (uint64_t)c->rows * cols, .cols = cols, .what = what, .f0 = op->f[0], .f1 = op->f[1]};
    const uint64_t blocks = (p.n + 255) / 256, most = (uint64_t)c->p->engine->n_sms * 16;
    return launch(c, RZC_K_elementwise_k, (rzc_shape){.x = (uint32_t)(blocks < most ? blocks : most), .threads = 256},
                  &p);
}

static rz_status rows_op(const call *c) {
    const bool is_pool = c->op->code == RZ_OP_POOL;
    const uint32_t cols = cols_of(c, c->op->in[0]), n = c->p->n_rows[is_pool ? RZ_ROWS_S : RZ_ROWS_R];
    rzc_rows_op p = {.step = c->p->step_at, .x = in(c, 0), .y = out(c, 0), .n_rows = n, .cols = cols,
                     .what = is_pool ? 1 + c->op->n[0] : 0};
    if (n == 0) return RZ_OK;
    return launch(c, RZC_K_rows_k, (rzc_shape){.x = n, .y = (cols + 255) / 256, .threads = 256}, &p);
}

static rz_status moe_route(const call *c) {
    const rz_op *op = c->op;
    const uint32_t n = cols_of(c, op->in[0]);
    rzc_moe_route p = {.logits = in(c, 0), .bias = vector(c, 0), .weights = out(c, 0), .ids = out(c, 1),
                       .n_rows = c->rows, .n_experts = n, .k = op->n[0], .gating = op->n[1], .normalize = op->n[2],
                       .factor = op->f[0]};
    const uint32_t shared_bytes = (n + op->n[0]) * 8 + n;
    return launch(c, RZC_K_moe_route_k, (rzc_shape){.x = c->rows, .threads = 32, .shared_bytes = shared_bytes}, &p);
}

static rz_status moe_combine(const call *c) {
    const uint32_t cols = cols_of(c, c->op->in[0]), n = c->p->n_rows[RZ_ROWS_T];
    rzc_moe_combine p = {.x = in(c, 0), .weights = in(c, 1), .y = out(c, 0), .n_rows = n, .cols = cols,
                         .k = c->op->n[0]};
    return launch(c, RZC_K_moe_combine_k, (rzc_shape){.x = n, .y = (cols + 255) / 256, .threads = 256}, &p);
}

static rz_status (*const launchers[])(const call *c) = {
    [RZ_OP_EMBED] = embed,           [RZ_OP_RMS_NORM] = norm,          [RZ_OP_LAYER_NORM] = norm,
    [RZ_OP_MATMUL] = product,        [RZ_OP_HEAD_MATMUL] = product,    [RZ_OP_ROPE] = rope,
    [RZ_OP_KV_WRITE] = kv_write,     [RZ_OP_ATTENTION] = attention,    [RZ_OP_GLU] = elementwise,
    [RZ_OP_UNARY] = elementwise,     [RZ_OP_ADD] = elementwise,        [RZ_OP_MUL] = elementwise,
    [RZ_OP_SCALE] = elementwise,     [RZ_OP_SOFTCAP] = elementwise,    [RZ_OP_MOE_ROUTE] = moe_route,
    [RZ_OP_MOE_MATMUL] = product,    [RZ_OP_MOE_COMBINE] = moe_combine, [RZ_OP_SELECT_ROWS] = rows_op,
    [RZ_OP_POOL] = rows_op,          [RZ_OP_LOGITS] = product,         [RZ_OP_ALL_REDUCE] = elementwise,
};
#define COUNT(name, code, text) +1
static_assert(sizeof launchers / sizeof launchers[0] == 1 RZ_OPS(COUNT), "an op without its launcher");
#undef COUNT

rz_status rzc_run(rzc_program *p, const rz_launch *l) {
    if (l->pattern == RZC_PLACE + 1) return rzc_run_place(p, l);
    if (l->pattern == RZC_LOGITS + 1) return rzc_run_fusion(p, l);
    if (l->pattern > RZC_EXPERTS) return rzc_run_experts(p, l);
    if (l->pattern > RZC_RESIDUAL + 1) return rzc_prefill_fusion(p, l);
    if (l->pattern != 0) return rzc_run_fusion(p, l);
    bool done = false;
    const rz_status status = rzc_norm_to_tiles(p, l, &done);
    if (done) return status;
    const rz_op *op = &p->ir->ops[l->ops[0]];
    const call c = {.p = p, .op = op, .rows = p->n_rows[p->ir->values[(op->in[0] ? op->in[0] : op->out[0]) - 1].rows]};
    if (c.rows == 0) return RZ_OK;
    return launchers[op->code](&c);
}
