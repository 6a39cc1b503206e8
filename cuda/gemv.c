/* gemv.c - how a record product of few rows is cut into blocks and warps, and the fusions made of it. */
#include "fusion.h"
#include <string.h>

#define WARPS 16u
#define RING_BYTES (112u << 10) /* of a block */
#define RING_LEAST (24u << 10)
#define SM_SHARED (226u << 10) /* of an SM, without what the system keeps of a block */
#define SLOTS_MAX 32u

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t most(uint32_t a, uint32_t b) { return a > b ? a : b; }

static bool is_16bit(uint32_t family) { return family == 3 || family == 5; }
static bool has_sums(uint32_t family) { return family == 1 || family == 4; }

/* As XBytes in gemv.cuh: fragments, sums, scales of n chunks of x; and sums of squares behind them. */
static uint32_t x_bytes(uint32_t n, uint32_t family) {
    return n * 512 * (is_16bit(family) ? 2 : 1) + (has_sums(family) ? n * 256 : 0) + ((n * 4 + 15) & ~15u);
}
static uint32_t squares_bytes(uint32_t n, uint32_t nb) { return (n * nb * 4 + 15) & ~15u; }

/* As smem_of in gemv.cu. */
static uint32_t shared_bytes(const rzc_gemv *a, uint32_t family, uint32_t nb) {
    const uint32_t warps = a->k_warps << a->row_warps_log2, chunks = a->k_tiles * nb;
    return warps * a->slots * a->slot_bytes + x_bytes(chunks, family) +
           a->n_buffers * a->tiles_at_once * a->k_warps * 64 * nb + squares_bytes(nb > 1 ? chunks : warps, nb) +
           warps * a->slots * 8 + 8;
}

/* Warps along K and along rows: the fewest records on a warp's path; a reduction counts a little, so does a warp. */
static void cut_warps(rzc_gemv *a, uint32_t row_tiles, uint32_t most_warps, uint32_t *path) {
    double best = 1e30;
    for (uint32_t wk = 1; wk <= least(most_warps, a->k_tiles); wk++) {
        for (uint32_t sh = 0; wk << sh <= most_warps && 1u << sh <= row_tiles; sh++) {
            const uint32_t k = (a->k_tiles + wk - 1) / wk, r = (row_tiles + (1u << sh) - 1) >> sh;
            const double cost = r * (k + 0.15) * (1 + 0.06 * sh) + 0.001 * wk + 0.002 * (wk << sh);
            if (cost >= best) continue;
            best = cost;
            a->k_warps = wk;
            a->row_warps_log2 = sh;
            *path = r * k;
        }
    }
}

/* Cuts the work for a grid of `grid` blocks and gives the ring what is left; the shared memory used. */
static uint32_t cut(rzc_gemv *a, uint32_t units, uint32_t grid, uint32_t family, uint32_t nb, uint32_t most_warps) {
    const uint32_t room = SM_SHARED - 2048;
    const uint32_t row_tiles = ((units + grid - 1) / grid) << a->paired;
    uint32_t path = 1;
    a->units = units / grid;
    a->units_rest = units % grid;
    cut_warps(a, row_tiles, most_warps, &path);
    const uint32_t fits = most(2, 8192 / (a->k_warps * 64 * nb));
    a->tiles_at_once = row_tiles;
    a->n_buffers = 1;
    if (row_tiles > 2 * fits) {
        const uint32_t step = most(2, 1u << a->row_warps_log2);
        a->tiles_at_once = (fits + step - 1) / step * step;
        a->n_buffers = 2;
    }
    a->slots = 0;
    const uint32_t warps = a->k_warps << a->row_warps_log2;
    const uint32_t fixed = shared_bytes(a, family, nb) + warps * SLOTS_MAX * 8;
    const uint32_t ring = fixed < room ? least(RING_BYTES, room - fixed) : 0;
    a->slots = most(1, least(least(SLOTS_MAX, path), ring / (warps * a->slot_bytes)));
    return shared_bytes(a, family, nb);
}

/* A block an SM, of fewer warps where the partial sums of 16 leave no room. */
static uint32_t cut_best(const rzc_engine *e, rzc_gemv *a, uint32_t units, uint32_t family, uint32_t nb,
                         uint32_t *grid) {
    const uint32_t room = SM_SHARED - 1024;
    uint32_t bytes = 0;
    *grid = least((uint32_t)e->n_sms, units);
    for (uint32_t warps = WARPS; warps == WARPS || (bytes > room && warps > 1); warps /= 2) {
        bytes = cut(a, units, *grid, family, nb, warps);
    }
    return bytes;
}

static uint32_t width_of(uint32_t n_rows) { return n_rows > 4 ? 8 : n_rows > 2 ? 4 : n_rows; }

/* The widest product whose x fits beside a ring; 0 = none. */
static uint32_t widest(const rzc_engine *e, uint32_t k_tiles, uint32_t family, uint32_t n_rows) {
    const uint32_t room = (uint32_t)e->shared_max - 1024;
    for (uint32_t nb = width_of(n_rows); nb > 0; nb /= 2) {
        if (x_bytes(k_tiles * nb, family) + RING_LEAST + (28u << 10) <= room) return nb;
    }
    return 0;
}

uint64_t rzc_staged_bytes(const rzc_program *p) {
    uint32_t tiles = 0;
    for (uint32_t i = 0; i < p->ir->header->n_ops; i++) {
        const rz_op *op = &p->ir->ops[i];
        if (op->code != RZ_OP_MATMUL && op->code != RZ_OP_LOGITS) continue;
        const rz_weight *w = &p->ir->weights[op->w[0] - 1];
        if (rzc_family_of(rzc_format_of(w)) != 0) tiles = most(tiles, (w->cols + 255) / 256);
    }
    const uint32_t chunks = tiles * RZC_FEW_ROWS;
    return most(x_bytes(chunks, 1), x_bytes(chunks, 3)) + squares_bytes(chunks, RZC_FEW_ROWS);
}

/* Makes x of several rows. */
static rz_status stage_x(rzc_program *p, rzc_gemv *a, uint32_t family, uint32_t nb) {
    rzc_stage stage = {
        .x = a->x, .norm = a->norm, .out = p->staged, .ldx = a->ldx, .n_cols = a->n_cols, .k_tiles = a->k_tiles,
        .cols = a->cols};
    const uint32_t kernel = RZC_K_stage_q4k_2 + (family - 1) * 3 + (nb == 8 ? 2 : nb / 4);
    const rzc_shape shape = {.x = (a->k_tiles * nb + 3) / 4, .threads = 128, .chained = true};
    a->x = p->staged;
    return rzc_launch(p->engine, p->engine->stream, kernel, shape, &stage);
}

/* Queues the product, in passes over the weights of at most 8 columns. */
static rz_status launch_gemv(rzc_program *p, rzc_gemv *a, uint32_t units, uint32_t family, uint32_t n_rows) {
    rzc_engine *e = p->engine;
    const uint32_t nb = widest(e, a->k_tiles, family, n_rows);
    for (uint32_t first = 0; first < n_rows; first += nb) {
        rzc_gemv pass = *a;
        uint32_t grid = 0;
        pass.n_cols = least(nb, n_rows - first);
        pass.x += (uint64_t)first * a->ldx * 4;
        if (pass.add != 0) pass.add += (uint64_t)first * a->ldo[0] * 4;
        for (uint32_t m = 0; m < 3; m++) pass.out[m] += (uint64_t)first * a->ldo[m] * 4;
        rz_status status = nb > 1 ? stage_x(p, &pass, family, nb) : RZ_OK;
        if (status != RZ_OK) return status;
        const uint32_t bytes = cut_best(e, &pass, units, family, nb, &grid);
        const uint32_t log2_nb = nb == 8 ? 3 : nb / 2;
        const uint32_t kernel = RZC_K_gemv_q4k_1 + (family - 1) * 4 + log2_nb;
        const rzc_shape shape = {
            .x = grid, .threads = 32 * (pass.k_warps << pass.row_warps_log2), .shared_bytes = bytes, .chained = true};
        status = rzc_launch(e, e->stream, kernel, shape, &pass);
        if (status != RZ_OK) return status;
    }
    return RZ_OK;
}

bool rzc_can_gemv(const rzc_program *p, const rz_tensor *w, uint32_t n_rows) {
    const uint32_t family = rzc_family_of(rzc_format_of(&w->spec));
    return family != 0 && p->engine->cc_major >= 9 && n_rows <= RZC_FEW_ROWS &&
           widest(p->engine, (w->spec.cols + 255) / 256, family, n_rows) > 0;
}

/* Matrix m of a product, behind those before it (or, paired, in turn with the other). */
static void put_matrix(rzc_gemv *a, uint32_t m, const rzc_matrix *w, rz_cu_ptr out, uint32_t ldo, rz_cu_ptr bias) {
    a->w[m] = w->data;
    a->tile_bytes[m] = rzc_record_bytes((rzc_format)w->format);
    a->format[m] = w->format;
    a->slot_bytes = most(a->slot_bytes, a->tile_bytes[m]);
    a->out[m] = out;
    a->ldo[m] = ldo;
    a->bias[m] = bias;
    for (uint32_t later = m + 1; later < 3; later++) a->first_tile[later] = a->first_tile[m] + w->rows / 16;
}

rz_status rzc_product_few(rzc_program *p, const rzc_product *product) {
    rzc_gemv a = {.x = product->x, .ldx = product->ldx, .add = product->add,
                  .k_tiles = (product->w.cols + 255) / 256, .cols = product->w.cols,
                  .is_head = product->factor != 1.0f || product->cap != 0, .factor = product->factor,
                  .cap = product->cap};
    put_matrix(&a, 0, &product->w, product->y, product->ldy, product->bias);
    const uint32_t family = rzc_family_of((rzc_format)product->w.format);
    return launch_gemv(p, &a, product->w.rows / 16, family, product->n_rows);
}

/* ---- fusions --------------------------------------------------------------------------------------------------- */

static const rz_op *op_at(const rzc_program *p, uint32_t i) { return &p->ir->ops[i]; }
static uint32_t cols_of(const rzc_program *p, uint32_t value) { return p->ir->values[value - 1].cols; }
static rz_cu_ptr vector(const rzc_program *p, uint32_t w) { return w ? (uintptr_t)p->tensors[w - 1].data : 0; }
static rzc_matrix matrix(const rzc_program *p, uint32_t op) {
    return rzc_matrix_of(&p->tensors[op_at(p, op)->w[0] - 1]);
}

static void put_norm(const rzc_program *p, rzc_gemv *a, uint32_t norm) {
    const rz_op *op = op_at(p, norm);
    a->x = rzc_value(p, op->in[0]);
    a->ldx = cols_of(p, op->in[0]);
    a->norm = vector(p, op->w[0]);
    a->eps = op->f[0];
    a->cols = a->ldx;
    a->k_tiles = (a->cols + 255) / 256;
}

static rz_status run_heads(rzc_program *p, const rzc_fusion *f, uint32_t n_rows) {
    rzc_gemv a = {0};
    uint32_t units = 0, family = 0;
    rz_cu_ptr room = p->heads;
    put_norm(p, &a, f->norm);
    for (uint32_t m = 0; m < 3; m++) {
        const rzc_matrix w = matrix(p, f->mats[m]);
        put_matrix(&a, m, &w, room, w.rows, vector(p, op_at(p, f->mats[m])->w[1]));
        room += (uint64_t)RZC_FEW_ROWS * w.rows * 4;
        units += w.rows / 16;
        const uint32_t own = rzc_family_of((rzc_format)w.format);
        family = m == 0 ? own : rzc_family_join(family, own);
    }
    const rz_status status = launch_gemv(p, &a, units, family, n_rows);
    if (status != RZ_OK) return status;
    const rz_op *rope = op_at(p, f->rope[0]), *kv = op_at(p, f->kv_write);
    if (rzc_places_later(p, rope, kv)) {
        p->placing = (rzc_placing){.rope = rope, .q = a.out[0], .k = a.out[1], .v = a.out[2]};
        if (f->head_norm[0] != RZ_NO_OP) {
            p->placing.q_norm = vector(p, op_at(p, f->head_norm[0])->w[0]);
            p->placing.k_norm = vector(p, op_at(p, f->head_norm[1])->w[0]);
            p->placing.eps = op_at(p, f->head_norm[0])->f[0];
        }
        return RZ_OK;
    }
    const bool norms = f->head_norm[0] != RZ_NO_OP;
    rzc_place place = {.step = p->step_at, .q = a.out[0], .k = a.out[1], .v = a.out[2],
                       .q_out = rzc_value(p, rope->out[0]),
                       .q_norm = norms ? vector(p, op_at(p, f->head_norm[0])->w[0]) : 0,
                       .k_norm = norms ? vector(p, op_at(p, f->head_norm[1])->w[0]) : 0,
                       .angles = rzc_angles_of(p, rope), .n_rows = n_rows, .group = kv->n[0], .layer = kv->n[1],
                       .n_heads = a.ldo[0] / rope->n[0], .n_kv_heads = a.ldo[1] / rope->n[0],
                       .head_cols = rope->n[0], .n_pairs = rope->n[1] / 2, .adjacent = rope->n[2] == 1,
                       .eps = norms ? op_at(p, f->head_norm[0])->f[0] : 0};
    const rzc_shape shape = {
        .x = place.n_heads + 2 * place.n_kv_heads, .y = n_rows, .threads = rope->n[0], .chained = true};
    return rzc_launch(p->engine, p->engine->stream, RZC_K_place_k, shape, &place);
}

static rz_status run_glu(rzc_program *p, const rzc_fusion *f, uint32_t n_rows) {
    const uint32_t out = op_at(p, f->glu)->out[0];
    rzc_gemv a = {.paired = 1};
    put_norm(p, &a, f->norm);
    for (uint32_t m = 0; m < 2; m++) {
        const rzc_matrix w = matrix(p, f->mats[m]);
        put_matrix(&a, m, &w, rzc_value(p, out), cols_of(p, out), vector(p, op_at(p, f->mats[m])->w[1]));
    }
    const uint32_t family = rzc_family_join(rzc_family_of((rzc_format)matrix(p, f->mats[0]).format),
                                            rzc_family_of((rzc_format)matrix(p, f->mats[1]).format));
    return launch_gemv(p, &a, cols_of(p, out) / 16, family, n_rows);
}

static rz_status run_residual(rzc_program *p, const rzc_fusion *f, uint32_t n_rows) {
    const rz_op *matmul = op_at(p, f->mats[0]), *add = op_at(p, f->add);
    const uint32_t other = add->in[0] == matmul->out[0] ? add->in[1] : add->in[0];
    const rzc_matrix w = matrix(p, f->mats[0]);
    const rzc_product product = {.w = w,
                                 .x = rzc_value(p, matmul->in[0]),
                                 .y = rzc_value(p, add->out[0]),
                                 .bias = vector(p, matmul->w[1]),
                                 .add = rzc_value(p, other),
                                 .n_rows = n_rows,
                                 .ldx = cols_of(p, matmul->in[0]),
                                 .ldy = w.rows,
                                 .n_out = w.rows,
                                 .x_div = 1,
                                 .factor = 1};
    return rzc_product_any(p, &p->tensors[matmul->w[0] - 1], &product, matmul->in[0]);
}

static rz_status run_logits(rzc_program *p, const rzc_fusion *f, uint32_t n_rows) {
    const rz_op *op = op_at(p, f->mats[0]);
    const rzc_matrix w = matrix(p, f->mats[0]);
    rzc_gemv a = {.is_head = op->f[1] != 1.0f || op->f[0] != 0, .factor = op->f[1], .cap = op->f[0]};
    put_norm(p, &a, f->norm);
    put_matrix(&a, 0, &w, rzc_value(p, op->out[0]), w.rows, vector(p, op->w[1]));
    return launch_gemv(p, &a, w.rows / 16, rzc_family_of((rzc_format)w.format), n_rows);
}

rz_status rzc_run_fusion(rzc_program *p, const rz_launch *launch) {
    const rz_lowering *l = &p->lowering[p->row_class];
    rzc_fusion f;
    if (!rzc_match(l, (rzc_pattern)(launch->pattern - 1), launch->ops[0], &f)) {
        return rz_fail(RZ_E_INTERNAL, "cuda: a fusion at op %u is not there any more", launch->ops[0]);
    }
    const uint32_t n_rows = p->n_rows[p->ir->values[op_at(p, launch->ops[0])->in[0] - 1].rows];
    if (n_rows == 0) return RZ_OK;
    switch ((rzc_pattern)(launch->pattern - 1)) {
    case RZC_HEADS: return run_heads(p, &f, n_rows);
    case RZC_GLU: return run_glu(p, &f, n_rows);
    case RZC_RESIDUAL: return run_residual(p, &f, n_rows);
    case RZC_LOGITS: return run_logits(p, &f, n_rows);
    default: break; /* many rows: prefill.c */
    }
    return RZ_E_INTERNAL;
}
