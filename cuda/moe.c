/* moe.c - mixture of experts: which ops become which launches of moe.cu (few rows) and moe_many.cu. */
#include "moe.h"
#include "op_rules.h"
#include <string.h>

#define K_MAX 32u       /* experts of a token: a lane each */
#define EXPERTS_MAX 512u
#define UP_WARPS 4u
#define DOWN_WARPS 8u
#define SLOTS 2u /* records in flight of a warp: with more, blocks of the next launch don't fit beside these */

static const rz_op *op_at(const rz_lowering *l, uint32_t i) { return &l->ir->ops[i]; }
static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Shared memory of a block, as `few` in moe.cu. */
static uint32_t shared_bytes(uint32_t warps, uint32_t slots, uint32_t slot_bytes, uint32_t chunks) {
    const uint32_t floats = chunks + warps * 17 + 1;
    return warps * slots * slot_bytes + chunks * 768 + (floats + 1) / 2 * 8 + warps * slots * 8;
}

/* ---- what is fused --------------------------------------------------------------------------------------------- */

/* A value without memory: n uses, all of them in the fusion. */
static bool is_inner(const rz_lowering *l, uint32_t value, uint32_t n_uses) {
    return l->value_uses[value - 1] == n_uses && !l->value_pinned[value - 1];
}

/* The ops that use the norm's value: a router and two products of experts. */
static bool find_users(const rz_lowering *l, uint32_t norm, rzc_experts *f) {
    const uint32_t value = op_at(l, norm)->out[0], n_ops = l->ir->header->n_ops;
    if (!is_inner(l, value, 3)) return false;
    uint32_t n_products = 0;
    for (uint32_t i = norm + 1; i < least(n_ops, norm + RZ_LAUNCH_SPAN); i++) {
        const rz_op *op = op_at(l, i);
        if (op->in[0] != value) continue;
        if (op->code == RZ_OP_MATMUL) f->router = i;
        if (op->code == RZ_OP_MOE_MATMUL && n_products++ == 0) f->gate = i;
        else if (op->code == RZ_OP_MOE_MATMUL) f->up = i;
    }
    return f->router != RZ_NO_OP && n_products == 2;
}

/* From the products of experts to the weighted sum, and to the residual. */
static bool follow(const rz_lowering *l, rzc_experts *f) {
    const uint32_t a = op_at(l, f->gate)->out[0], b = op_at(l, f->up)->out[0], *user = l->value_user;
    f->glu = user[a - 1];
    if (!is_inner(l, a, 1) || !is_inner(l, b, 1) || f->glu == RZ_NO_OP || f->glu != user[b - 1]) return false;
    const rz_op *glu = op_at(l, f->glu);
    if (glu->code != RZ_OP_GLU || glu->n[0] != 0 || !is_inner(l, glu->out[0], 1)) return false;
    if (glu->in[0] == b) {
        const uint32_t first = f->gate;
        f->gate = f->up, f->up = first;
    }
    f->down = user[glu->out[0] - 1];
    const rz_op *down = op_at(l, f->down);
    if (down->code != RZ_OP_MOE_MATMUL || !is_inner(l, down->out[0], 1)) return false;
    f->combine = user[down->out[0] - 1];
    const rz_op *combine = op_at(l, f->combine);
    if (combine->code != RZ_OP_MOE_COMBINE || combine->in[0] != down->out[0]) return false;
    const uint32_t sum = combine->out[0], add = user[sum - 1];
    if (is_inner(l, sum, 1) && add != RZ_NO_OP && op_at(l, add)->code == RZ_OP_ADD && op_at(l, add)->in[1] != 0)
        f->add = add;
    return true;
}

/* Whether all of them go by one choice of experts. */
static bool one_route(const rz_lowering *l, rzc_experts *f) {
    const rz_op *router = op_at(l, f->router);
    f->route = l->value_user[router->out[0] - 1];
    if (f->route == RZ_NO_OP || !is_inner(l, router->out[0], 1)) return false;
    const rz_op *route = op_at(l, f->route);
    if (route->code != RZ_OP_MOE_ROUTE || route->n[1] > 1 || route->w[0] != 0 || route->n[0] > K_MAX) return false;
    if (!is_inner(l, route->out[0], 1) || !is_inner(l, route->out[1], 3)) return false;
    const uint32_t ids = route->out[1];
    return op_at(l, f->gate)->in[1] == ids && op_at(l, f->up)->in[1] == ids && op_at(l, f->down)->in[1] == ids &&
           op_at(l, f->combine)->in[1] == route->out[0];
}

static const rz_weight *weight_of(const rz_lowering *l, uint32_t op) { return &l->ir->weights[op_at(l, op)->w[0] - 1]; }

/* Records of integers, and a block's shared memory. */
static bool has_kernels(const rz_lowering *l, const rzc_experts *f) {
    const uint32_t products[] = {f->gate, f->up, f->down};
    for (uint32_t i = 0; i < 3; i++) {
        const uint32_t family = rzc_family_of(rzc_format_of(weight_of(l, products[i])));
        if (family == 0 || family == 3 || family == 5) return false;
    }
    const rz_weight *router = weight_of(l, f->router), *down = weight_of(l, f->down);
    const uint32_t k = op_at(l, f->route)->n[0], chunks = (down->cols + 255) / 256 * k;
    if (rzc_format_of(weight_of(l, f->gate)) != rzc_format_of(weight_of(l, f->up)) && l->row_class != 0) return false;
    return router->dtype == 0 && router->rows <= EXPERTS_MAX && router->cols % 4 == 0 &&
           weight_of(l, f->gate)->rows == weight_of(l, f->up)->rows &&
           shared_bytes(DOWN_WARPS, 1, 4352, chunks) <= 200u << 10;
}

bool rzc_match_experts(const rz_lowering *l, uint32_t anchor, rzc_experts *f) {
    memset(f, 0xff, sizeof *f);
    const rz_op *norm = op_at(l, anchor);
    if (norm->code != RZ_OP_RMS_NORM || norm->w[0] == 0) return false;
    if (norm->n[0] != 0 && norm->n[0] != l->ir->values[norm->in[0] - 1].cols) return false;
    f->norm = anchor;
    return find_users(l, anchor, f) && follow(l, f) && one_route(l, f) && has_kernels(l, f);
}

uint32_t rzc_show_experts(const rz_lowering *l, uint32_t anchor, uint32_t ops[RZ_LAUNCH_OPS]) {
    rzc_experts f;
    if (!rzc_match_experts(l, anchor, &f)) return 0;
    const uint32_t all[] = {f.norm, f.router, f.route, f.gate, f.up, f.glu, f.down, f.combine, f.add};
    return rzc_in_order(all, sizeof all / sizeof all[0], anchor, ops);
}

/* ---- memory ---------------------------------------------------------------------------------------------------- */

/* The largest of all layers with experts. */
typedef struct sizes {
    uint64_t n_experts, k, hidden_cols, cols;
} sizes;

static uint64_t most(uint64_t a, uint64_t b) { return a > b ? a : b; }

/* Makes *s as large as the layers of a row class; returns whether there are such. */
static bool add_sizes(const rz_lowering *l, sizes *s) {
    bool found = false;
    for (uint32_t i = 0; i < l->n_launches; i++) {
        rzc_experts f;
        if (l->launches[i].pattern <= RZC_EXPERTS || !rzc_match_experts(l, l->launches[i].ops[0], &f)) continue;
        s->n_experts = most(s->n_experts, weight_of(l, f.router)->rows);
        s->k = most(s->k, op_at(l, f.route)->n[0]);
        s->hidden_cols = most(s->hidden_cols, weight_of(l, f.down)->cols);
        s->cols = most(s->cols, most(weight_of(l, f.gate)->cols, weight_of(l, f.down)->rows));
        found = true;
    }
    return found;
}

/* Positions that so many pairs take: each expert's begin at a multiple of 8, and a tile may reach beyond the last. */
static uint32_t positions_of(uint64_t n_pairs, uint64_t n_experts) {
    const uint64_t n = n_pairs + 7 * (n_pairs < n_experts ? n_pairs : n_experts) + RZC_MOE_ROWS;
    return (uint32_t)((n + 7) / 8 * 8);
}

#define PART(name, bytes) r->name = at, at += ((bytes) + 255) / 256 * 256

/* Many rows. 16-bit tiles have whole records of columns. */
static uint64_t place_many(const sizes *s, uint64_t rows, rzc_moe_room *r, uint64_t at) {
    const uint64_t n_pairs = rows * s->k, n = positions_of(n_pairs, s->n_experts);
    PART(normed, rows * s->cols * 4);
    PART(position, n_pairs * 4);
    PART(pair, n * 4);
    PART(tiles, (n_pairs / RZC_MOE_ROWS + s->n_experts) * sizeof(rzc_moe_tile));
    PART(n_tiles, 4);
    PART(x_scale, n * 4);
    PART(h_scale, n * 4);
    PART(h, n * ((s->hidden_cols + 255) / 256 * 512));
    r->y = at;
    PART(x, most(n * ((s->cols + 255) / 256 * 512), n_pairs * s->cols * 4));
    return at;
}

uint64_t rzc_moe_place(rzc_program *p, uint64_t at) {
    sizes s = {0};
    rzc_moe_room *r = &p->moe;
    *r = (rzc_moe_room){0};
    const bool few = add_sizes(&p->lowering[0], &s), many = add_sizes(&p->lowering[RZC_CLASSES - 1], &s);
    const uint64_t rows = many ? most(p->options.max_tokens, RZC_FEW_ROWS) : RZC_FEW_ROWS;
    if (!few && !many) return at;
    PART(logits, rows * s.n_experts * 4 * (many ? RZC_MOE_SPLITS : 1));
    PART(weights, rows * s.k * 4);
    PART(ids, rows * s.k * 4);
    PART(arrivals, RZC_FEW_ROWS * 4);
    PART(hidden, rows * s.k * s.hidden_cols * 4);
    return many ? place_many(&s, rows, r, at) : at;
}
#undef PART

/* ---- launches -------------------------------------------------------------------------------------------------- */

static rz_cu_ptr vector(const rzc_program *p, uint32_t w) { return w ? (uintptr_t)p->tensors[w - 1].data : 0; }

static void put_matrix(rzc_moe_few *a, uint32_t m, const rz_tensor *t) {
    const rzc_matrix w = rzc_matrix_of(t);
    a->w[m] = w.data;
    a->format[m] = w.format;
    a->tile_bytes[m] = rzc_record_bytes((rzc_format)w.format);
    a->expert_bytes[m] = (uint64_t)(w.rows / 16) * ((w.cols + 255) / 256) * a->tile_bytes[m];
    if (a->tile_bytes[m] > a->slot_bytes) a->slot_bytes = a->tile_bytes[m];
    a->cols = w.cols;
    a->k_tiles = (w.cols + 255) / 256;
    a->n_out = w.rows;
}

static rz_status launch_few(rzc_program *p, rzc_moe_few *a, uint32_t n_rows) {
    const uint32_t warps = a->is_down ? DOWN_WARPS : UP_WARPS, chunks = a->k_tiles * (a->is_down ? a->k : 1);
    const uint32_t records = a->w[1] != 0 ? 2 * chunks : chunks, path = (records + warps - 1) / warps;
    a->slots = least(path, SLOTS);
    while (a->slots > 1 && shared_bytes(warps, a->slots, a->slot_bytes, chunks) > 220u << 10) a->slots--;
    const rzc_shape shape = {.x = a->n_out / 16 * (a->is_down ? 1 : a->k), .y = n_rows, .threads = 32 * warps,
                             .shared_bytes = shared_bytes(warps, a->slots, a->slot_bytes, chunks), .chained = true};
    return rzc_launch(p->engine, p->engine->stream, a->is_down ? RZC_K_moe_down_k : RZC_K_moe_up_k, shape, a);
}

static rzc_moe_choice choice_of(const rz_op *route, uint32_t n_experts, const rzc_moe_room *r) {
    return (rzc_moe_choice){.weights = r->weights, .ids = r->ids, .n_experts = n_experts, .k = route->n[0],
                            .gating = route->n[1], .normalize = route->n[2], .factor = route->f[0]};
}

static rz_status run_few(rzc_program *p, const rzc_experts *f, uint32_t n_rows) {
    const rz_op *ops = p->ir->ops, *norm = &ops[f->norm], *router = &ops[f->router], *route = &ops[f->route];
    const uint32_t k = route->n[0];
    const rzc_matrix scores = rzc_matrix_of(&p->tensors[router->w[0] - 1]);
    const rzc_moe_room r = p->moe;
    rzc_moe_router choice = {.x = rzc_value(p, norm->in[0]), .norm = vector(p, norm->w[0]), .w = scores.data,
                             .bias = vector(p, router->w[1]), .logits = r.logits, .arrivals = r.arrivals,
                             .cols = scores.cols, .eps = norm->f[0], .choice = choice_of(route, scores.rows, &r)};
    const rzc_shape shape = {.x = scores.rows, .y = n_rows, .threads = 256, .chained = true};
    rz_status status = rzc_launch(p->engine, p->engine->stream, RZC_K_moe_router_k, shape, &choice);
    if (status != RZ_OK) return status;
    rzc_moe_few up = {.x = choice.x, .norm = choice.norm, .ids = r.ids, .out = r.hidden, .k = k, .eps = choice.eps};
    put_matrix(&up, 0, &p->tensors[ops[f->gate].w[0] - 1]);
    put_matrix(&up, 1, &p->tensors[ops[f->up].w[0] - 1]);
    status = launch_few(p, &up, n_rows);
    if (status != RZ_OK) return status;
    const rz_op *add = f->add == RZ_NO_OP ? NULL : &ops[f->add];
    const uint32_t sum = ops[f->combine].out[0];
    rzc_moe_few down = {.x = r.hidden, .ids = r.ids, .weights = r.weights, .k = k, .is_down = 1,
                        .out = rzc_value(p, add != NULL ? add->out[0] : sum)};
    if (add != NULL) down.add = rzc_value(p, add->in[0] == sum ? add->in[1] : add->in[0]);
    put_matrix(&down, 0, &p->tensors[ops[f->down].w[0] - 1]);
    return launch_few(p, &down, n_rows);
}

static rz_status launch(rzc_program *p, uint32_t kernel, rzc_shape shape, void *params) {
    shape.chained = true;
    return rzc_launch(p->engine, p->engine->stream, kernel, shape, params);
}

/* Norm, logits and choice of many rows. */
static rz_status route_many(rzc_program *p, const rzc_experts *f, uint32_t n_rows) {
    const rz_op *ops = p->ir->ops, *norm = &ops[f->norm], *router = &ops[f->router], *route = &ops[f->route];
    const rzc_moe_room *r = &p->moe;
    const rzc_matrix w = rzc_matrix_of(&p->tensors[router->w[0] - 1]);
    rzc_norm normed = {.x = rzc_value(p, norm->in[0]), .y = r->normed, .weight = vector(p, norm->w[0]),
                       .n_rows = n_rows, .cols = w.cols, .group = w.cols, .weight_cols = w.cols, .eps = norm->f[0]};
    rz_status status = launch(p, RZC_K_norm_k, (rzc_shape){.x = 1, .y = n_rows, .threads = w.cols > 1024 ? 512 : 128},
                              &normed);
    const uint32_t tiles = ((n_rows + 63) / 64) * ((w.rows + 63) / 64), sms = (uint32_t)p->engine->n_sms;
    const uint32_t wanted = least(RZC_MOE_SPLITS, tiles < sms ? sms / tiles : 1);
    rzc_moe_scores scores = {.x = r->normed, .w = w.data, .y = r->logits, .n_rows = n_rows, .cols = w.cols,
                             .n_experts = w.rows, .split_cols = ((w.cols + wanted - 1) / wanted + 15) / 16 * 16};
    rzc_moe_choose choose = {.choice = choice_of(route, w.rows, r), .logits = r->logits, .n_rows = n_rows,
                             .bias = vector(p, router->w[1]),
                             .n_splits = (w.cols + scores.split_cols - 1) / scores.split_cols};
    const rzc_shape parts = {.x = (n_rows + 63) / 64, .y = (w.rows + 63) / 64, .z = choose.n_splits, .threads = 256};
    if (status == RZ_OK) status = launch(p, RZC_K_moe_scores_k, parts, &scores);
    const rzc_shape rows = {.x = (n_rows + 3) / 4, .threads = 128};
    return status == RZ_OK ? launch(p, RZC_K_moe_choose_k, rows, &choose) : status;
}

static uint32_t grouped_kernel(uint32_t format) {
    switch (format) {
    case RZC_R_Q4_K: return RZC_K_moe_R_Q4_K;
    case RZC_R_Q6_K: return RZC_K_moe_R_Q6_K;
    case RZC_R_Q8_0: return RZC_K_moe_R_Q8_0;
    default: return RZC_K_moe_R_Q4_0 + format - RZC_R_Q4_0;
    }
}

/* Rows of F32 to tiles, then their products with each one's expert. up: NULL = no gate function. */
static rz_status multiply_many(rzc_program *p, const rz_tensor *w, const rz_tensor *up, rzc_moe_x *x, uint32_t n_rows,
                               rz_cu_ptr y) {
    const rzc_moe_room *r = &p->moe;
    const rzc_matrix m = rzc_matrix_of(w);
    const uint64_t expert_bytes = (uint64_t)(m.rows / 16) * ((m.cols + 255) / 256) * rzc_record_bytes(m.format);
    rzc_moe_many a = {.w = {m.data, up != NULL ? rzc_matrix_of(up).data : 0},
                      .expert_bytes = {expert_bytes, expert_bytes}, .x = x->tiles, .row_scale = x->row_scale,
                      .tiles = r->tiles, .n_tiles = r->n_tiles, .pair = r->pair, .y = y, .cols = m.cols,
                      .n_out = m.rows, .positions = x->positions};
    const uint32_t record = rzc_record_bytes(m.format), stages = record > 4000 ? 3 : 4;
    const rzc_shape rows = {.x = n_rows, .threads = 256};
    const rzc_shape tiles = {.x = 2 * (uint32_t)p->engine->n_sms, .threads = 384, /* Layout in moe_many.cu */
                             .shared_bytes = 1280 + stages * RZC_MOE_ROWS * 128 + 16 * record + RZC_MOE_ROWS * 256};
    x->cols = m.cols;
    const rz_status status = launch(p, RZC_K_moe_x_k, rows, x);
    return status == RZ_OK ? launch(p, grouped_kernel(m.format), tiles, &a) : status;
}

static rz_status run_many(rzc_program *p, const rzc_experts *f, uint32_t n_rows) {
    const rz_op *ops = p->ir->ops;
    const rzc_moe_room *r = &p->moe;
    const rz_tensor *gate = &p->tensors[ops[f->gate].w[0] - 1], *up = &p->tensors[ops[f->up].w[0] - 1];
    const rz_tensor *down = &p->tensors[ops[f->down].w[0] - 1];
    const uint32_t k = ops[f->route].n[0], n_experts = p->tensors[ops[f->router].w[0] - 1].spec.rows;
    rz_status status = route_many(p, f, n_rows);
    if (status != RZ_OK) return status;
    rzc_moe_order order = {.ids = r->ids, .position = r->position, .pair = r->pair, .tiles = r->tiles,
                           .n_tiles = r->n_tiles, .n_pairs = n_rows * k, .n_experts = n_experts};
    status = launch(p, RZC_K_moe_order_k, (rzc_shape){.x = 1, .threads = 1024}, &order);
    if (status != RZ_OK) return status;
    const uint32_t positions = positions_of(order.n_pairs, n_experts);
    rzc_moe_x x = {.x = r->normed, .position = r->position, .tiles = r->x, .row_scale = r->x_scale, .k = k,
                   .positions = positions};
    status = multiply_many(p, gate, up, &x, n_rows, r->hidden);
    if (status != RZ_OK) return status;
    rzc_moe_x h = {.x = r->hidden, .position = r->position, .tiles = r->h, .row_scale = r->h_scale, .k = 1,
                   .positions = positions};
    status = multiply_many(p, down, NULL, &h, order.n_pairs, r->y);
    if (status != RZ_OK) return status;
    const rz_op *add = f->add == RZ_NO_OP ? NULL : &ops[f->add];
    const uint32_t sum = ops[f->combine].out[0];
    rzc_moe_sum all = {.x = r->y, .weights = r->weights, .y = rzc_value(p, add != NULL ? add->out[0] : sum),
                       .n_rows = n_rows, .cols = down->spec.rows, .k = k};
    if (add != NULL) all.add = rzc_value(p, add->in[0] == sum ? add->in[1] : add->in[0]);
    return launch(p, RZC_K_moe_sum_k, (rzc_shape){.x = n_rows, .y = (all.cols + 1023) / 1024, .threads = 256}, &all);
}

rz_status rzc_run_experts(rzc_program *p, const rz_launch *launch) {
    rzc_experts f;
    if (!rzc_match_experts(&p->lowering[p->row_class], launch->ops[0], &f)) {
        return rz_fail(RZ_E_INTERNAL, "cuda: a fusion at op %u is not there any more", launch->ops[0]);
    }
    const uint32_t n_rows = p->n_rows[p->ir->values[p->ir->ops[f.norm].in[0] - 1].rows];
    if (n_rows == 0) return RZ_OK;
    return p->row_class == 0 ? run_few(p, &f, n_rows) : run_many(p, &f, n_rows);
}
