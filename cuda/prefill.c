/* prefill.c - queues products of many token rows. */
#include "prefill.h"
#include "op_rules.h"

#define FEW_ROWS 64u /* below, gemm.cu (records) and the plain kernel are ahead */
#define TILE_ROWS 256u /* rows of activations are padded to whole tiles */

static uint32_t padded(uint32_t n_rows) { return (n_rows + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS; }
static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

static bool is_product(const rz_op *op) { return op->code == RZ_OP_MATMUL || op->code == RZ_OP_LOGITS; }

uint64_t rzc_prefill_bytes(const rzc_program *p) {
    uint64_t most = 0;
    if (rzc_is_fixed(p)) return 0;
    for (uint32_t i = 0; i < p->ir->header->n_ops; i++) {
        if (!is_product(&p->ir->ops[i])) continue;
        const uint64_t cols = p->ir->values[p->ir->ops[i].in[0] - 1].cols;
        if (cols > most) most = cols;
    }
    const uint64_t rows = padded((uint32_t)rz_lowering_rows(&p->lowering[RZC_CLASSES - 1], RZ_ROWS_T));
    return rows * 4 + (most + 255) / 256 * 512 * rows;
}

/* ---- products -------------------------------------------------------------------------------------------------- */

static bool has_wgmma(const rzc_program *p, uint32_t format) {
    return p->engine->cc_major == 9 && format >= RZC_R_Q4_K;
}

bool rzc_can_prefill(const rzc_program *p, const rzc_product *q) {
    if (rzc_is_fixed(p) || q->ids != 0 || q->head_rows > 0 || q->w.format == RZC_F32) return false;
    if (q->n_rows > p->options.max_tokens || p->engine->cc_major < 8) return false;
    const bool has_other = rzc_can_gemm(p, q) || !has_wgmma(p, q->w.format);
    return q->n_rows > (has_other ? FEW_ROWS : RZC_FEW_ROWS);
}

/* Activations as tiles, unless the last product read the same. id: of the value, 0 = unknown. */
static rz_status convert(rzc_program *p, rz_cu_ptr x, uint32_t id, uint32_t n_rows, uint32_t ldx, uint32_t cols,
                         bool bf16) {
    if (id != 0 && p->tiles_value == id && p->tiles_bf16 == bf16) return RZ_OK;
    p->tiles_value = id;
    p->tiles_bf16 = bf16;
    const uint32_t rows_pad = padded(n_rows);
    rzc_prefill_x c = {.x = x,
                       .tiles = p->tiles + rows_pad * 4ull,
                       .row_scale = p->tiles,
                       .n_rows = n_rows,
                       .rows_pad = rows_pad,
                       .ldx = ldx,
                       .cols = cols};
    const uint32_t kernel = bf16 ? RZC_K_prefill_x_bf16 : RZC_K_prefill_x_f16;
    const rzc_shape shape = {.x = n_rows, .threads = cols > 8192 ? 512 : 256, .chained = true};
    return rzc_launch(p->engine, p->engine->stream, kernel, shape, &c);
}

/* Token rows of a tile: the fewest waves of tiles, times what a tile takes (measured, relative). */
static uint32_t tile_of(const rzc_program *p, uint32_t n_rows, uint32_t n_tiles) {
    static const struct {
        uint32_t rows, cost;
    } sizes[] = {{256, 66}, {128, 39}, {64, 31}};
    uint32_t best = 0, cost = ~0u;
    for (uint32_t i = 0; i < 3; i++) {
        const uint32_t tiles = (n_rows + sizes[i].rows - 1) / sizes[i].rows * n_tiles, sms = (uint32_t)p->engine->n_sms;
        const uint32_t c = (tiles + sms - 1) / sms * sizes[i].cost;
        if (c < cost) cost = c, best = i;
    }
    return best;
}
/* Shared memory of a block: Layout in prefill_wgmma.cu. */
static uint32_t wgmma_bytes(uint32_t format, uint32_t rows) {
    const bool is_16bit = format == RZC_R_BF16 || format == RZC_R_F16;
    const uint32_t record = is_16bit ? 4096 : rzc_record_bytes((rzc_format)format), x = rows * 128, slot = 8 * record;
    const uint32_t slots = rows < 256 ? 4 : record > 3072 && !is_16bit ? 2 : 3;
    return 1536 + slots * slot + least((231424 - 1536 - slots * slot) / x, 12) * x;
}

static rz_status multiply(rzc_program *p, rzc_prefill *q) {
    const uint32_t format = q->mats[0].w.format, per_tile = q->glu ? 64 : 128, n = q->glu ? 1 : q->n_mats;
    for (uint32_t i = 0; i < n; i++) {
        q->mats[i].first_tile = q->n_tiles;
        q->n_tiles += (q->mats[i].n_out + per_tile - 1) / per_tile;
    }
    q->rows_pad = padded(q->n_rows);
    q->row_scale = p->tiles;
    q->tiles = p->tiles + q->rows_pad * 4ull;
    rzc_shape shape = {.threads = 256, .shared_bytes = 65536, .chained = true};
    uint32_t kernel = RZC_K_prefill_F16 + format - RZC_F16;
    if (has_wgmma(p, format) && q->cap == 0) {
        const uint32_t size = tile_of(p, q->n_rows, q->n_tiles), rows = 256u >> size;
        kernel = RZC_K_wgmma_R_Q4_K_256 + 3 * (format - RZC_R_Q4_K) + size;
        shape.x = least((uint32_t)p->engine->n_sms, (q->n_rows + rows - 1) / rows * q->n_tiles);
        shape.threads = 384;
        shape.shared_bytes = wgmma_bytes(format, rows);
    } else {
        shape.x = (q->n_rows + 127) / 128;
        shape.y = q->n_tiles;
    }
    return rzc_launch(p->engine, p->engine->stream, kernel, shape, q);
}

static bool wants_bf16(uint32_t format) { return format == RZC_BF16 || format == RZC_R_BF16; }

rz_status rzc_prefill_product(rzc_program *p, const rzc_product *product, uint32_t x) {
    const rz_status status =
        convert(p, product->x, x, product->n_rows, product->ldx, product->w.cols, wants_bf16(product->w.format));
    if (status != RZ_OK) return status;
    rzc_prefill q = {.n_rows = product->n_rows,
                     .cols = product->w.cols,
                     .n_mats = 1,
                     .factor = product->factor,
                     .cap = product->cap};
    q.mats[0] = (rzc_prefill_matrix){.w = product->w,
                                     .y = product->y,
                                     .bias = product->bias,
                                     .add = product->add,
                                     .n_out = product->n_out,
                                     .ldy = product->ldy};
    return multiply(p, &q);
}

rz_status rzc_prefill_fusion(rzc_program *p, const rz_launch *launch) {
    const rz_plan_ir *ir = p->ir;
    rzc_fusion f;
    const rzc_pattern pattern = (rzc_pattern)(launch->pattern - 1);
    if (!rzc_match(&p->lowering[p->row_class], pattern, launch->ops[0], &f)) {
        return rz_fail(RZ_E_INTERNAL, "cuda: a fusion at op %u is not there any more", launch->ops[0]);
    }
    const uint32_t x = ir->ops[f.mats[0]].in[0];
    const rz_value *value = &ir->values[x - 1];
    rzc_prefill q = {.n_rows = p->n_rows[value->rows], .cols = value->cols, .n_mats = f.n_mats, .factor = 1};
    if (q.n_rows == 0) return RZ_OK;
    for (uint32_t i = 0; i < f.n_mats; i++) {
        const rz_op *op = &ir->ops[f.mats[i]];
        const rz_tensor *w = &p->tensors[op->w[0] - 1];
        const uint32_t out = f.glu != RZ_NO_OP   ? ir->ops[f.glu].out[0]
                             : f.add != RZ_NO_OP ? ir->ops[f.add].out[0]
                                                 : op->out[0];
        q.mats[i] = (rzc_prefill_matrix){
            .w = rzc_matrix_of(w), .y = rzc_value(p, out), .n_out = w->spec.rows, .ldy = ir->values[out - 1].cols};
        if (op->w[1] != 0) q.mats[i].bias = (uintptr_t)p->tensors[op->w[1] - 1].data;
    }
    if (f.glu != RZ_NO_OP) q.glu = ir->ops[f.glu].n[0] == 0 ? RZC_PREFILL_SILU : RZC_PREFILL_GELU;
    if (f.add != RZ_NO_OP) {
        const rz_op *add = &ir->ops[f.add];
        q.mats[0].add = rzc_value(p, add->in[0] == ir->ops[f.mats[0]].out[0] ? add->in[1] : add->in[0]);
    }
    const rz_status status = convert(p, rzc_value(p, x), x, q.n_rows, q.cols, q.cols, wants_bf16(q.mats[0].w.format));
    return status == RZ_OK ? multiply(p, &q) : status;
}
