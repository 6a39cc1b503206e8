/* prefill.c - queues products of many token rows: activations become 16-bit tiles once for all that read them, then
 * every matrix, or up to three at once, is multiplied by prefill_wgmma.cu or prefill_product.cu. */
#include "prefill.h"
#include "op_rules.h"

#define PLAIN_ROWS 64u   /* up to these the plain kernels are ahead of prefill_product.cu */
#define STREAM_ROWS 128u /* token rows of a tile up to which blocks share output tiles */
#define SHARED_TILES 4096u /* output tiles up to which they do */

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint32_t most(uint32_t a, uint32_t b) { return a > b ? a : b; }

/* Rows of activations are padded to whole tiles: 8, 16, 32, 64, then multiples of 256. */
static uint32_t padded(uint32_t n_rows) {
    if (n_rows > 64) return (n_rows + 255) / 256 * 256;
    uint32_t rows = 8;
    while (rows < n_rows) rows *= 2;
    return rows;
}
static uint64_t scale_bytes(uint32_t rows_pad) { return (rows_pad * 4ull + 1023) / 1024 * 1024; }

static bool is_product(const rz_op *op) { return op->code == RZ_OP_MATMUL || op->code == RZ_OP_LOGITS; }
static bool wants_bf16(uint32_t format) { return format == RZC_BF16 || format == RZC_R_BF16; }

uint64_t rzc_prefill_bytes(const rzc_program *p) {
    uint64_t most_cols = 0;
    if (rzc_is_fixed(p)) return 0;
    for (uint32_t i = 0; i < p->ir->header->n_ops; i++) {
        if (!is_product(&p->ir->ops[i])) continue;
        const uint64_t cols = p->ir->values[p->ir->ops[i].in[0] - 1].cols;
        if (cols > most_cols) most_cols = cols;
    }
    const uint32_t rows = padded((uint32_t)rz_lowering_rows(&p->lowering[RZC_CLASSES - 1], RZ_ROWS_T));
    const uint64_t read_beyond = 128 * 128; /* prefill_product.cu reads tiles of 128 rows, stored or not */
    return scale_bytes(rows) + (most_cols + 255) / 256 * 512 * rows + read_beyond;
}

void rzc_prefill_shared(const rzc_program *p, uint64_t *floats, uint64_t *words) {
    const uint32_t rows = padded((uint32_t)rz_lowering_rows(&p->lowering[RZC_CLASSES - 1], RZ_ROWS_T));
    const bool any = !rzc_is_fixed(p) && p->engine->cc_major == 9;
    *floats = any ? 2ull * (uint32_t)p->engine->n_sms * 128 * least(rows, STREAM_ROWS) : 0;
    *words = any ? SHARED_TILES : 0;
}

/* ---- activations ----------------------------------------------------------------------------------------------- */

/* Activations as tiles, unless the last product read the same. id: of the value, 0 = unknown. */
static rz_status convert(rzc_program *p, rzc_prefill_x *c, uint32_t id, bool bf16) {
    if (id != 0 && p->tiles_value == id && p->tiles_bf16 == bf16) return RZ_OK;
    if (id != 0 && p->tiles_only == id && c->norm == 0) {
        return rz_fail(RZ_E_INTERNAL, "cuda: value %u was kept as tiles only, and they are gone", id);
    }
    p->tiles_value = id;
    p->tiles_bf16 = bf16;
    c->rows_pad = padded(c->n_rows);
    c->row_scale = p->tiles;
    c->tiles = p->tiles + scale_bytes(c->rows_pad);
    const uint32_t groups = (c->cols + 255) / 256 * 16; /* of 16 columns, a thread each */
    const rzc_shape shape = {.x = c->n_rows, .threads = least((groups + 31) / 32 * 32, 1024), .chained = true};
    return rzc_launch(p->engine, p->engine->stream, bf16 ? RZC_K_prefill_x_bf16 : RZC_K_prefill_x_f16, shape, c);
}

/* Whether op i reads `value` as tiles, of type *bf16. */
static bool takes_tiles(const rzc_program *p, uint32_t i, uint32_t value, bool *bf16) {
    const rz_op *op = &p->ir->ops[i];
    if (!is_product(op) || op->in[0] != value) return false;
    const rz_tensor *w = &p->tensors[op->w[0] - 1];
    const rzc_product q = {.w = rzc_matrix_of(w), .n_rows = p->n_rows[p->ir->values[value - 1].rows]};
    *bf16 = wants_bf16(q.w.format);
    return !rzc_can_gemv(p, w, q.n_rows) && rzc_can_prefill(p, &q);
}

/* Who reads the value of a norm that launch `at` makes. False: its first reader takes no tiles; *bf16: which it takes;
 * *alone: nobody needs F32, because all take the same tiles, before others are made. */
static bool find_readers(const rzc_program *p, const rz_launch *at, uint32_t value, bool *bf16, bool *alone) {
    const rz_lowering *l = &p->lowering[p->row_class];
    uint32_t n = 0;
    bool others = false;
    *alone = !l->value_pinned[value - 1];
    for (const rz_launch *next = at + 1; next < l->launches + l->n_launches && n < l->value_uses[value - 1]; next++) {
        bool other = false;
        for (uint32_t i = 0; i < next->n_ops; i++) {
            const rz_op *op = &p->ir->ops[next->ops[i]];
            uint32_t uses = 0;
            bool type = false;
            for (uint32_t k = 0; k < 4; k++) uses += op->in[k] == value;
            const bool takes = takes_tiles(p, next->ops[i], value, &type);
            if (uses > 0 && n == 0) {
                if (!takes) return false;
                *bf16 = type;
            }
            if (uses > 0 && (!takes || type != *bf16 || others)) *alone = false;
            if (uses == 0 && is_product(op)) other = true;
            n += uses;
        }
        others |= other;
    }
    return n > 0;
}

static bool is_row_norm(const rzc_program *p, const rz_op *op) {
    const uint32_t cols = p->ir->values[op->in[0] - 1].cols;
    return op->code == RZ_OP_RMS_NORM && op->w[0] != 0 && (op->n[0] == 0 || op->n[0] == cols) &&
           p->ir->weights[op->w[0] - 1].cols == cols;
}

rz_status rzc_norm_to_tiles(rzc_program *p, const rz_launch *launch, bool *done) {
    const rz_op *op = &p->ir->ops[launch->ops[0]];
    bool bf16 = false, alone = false;
    *done = false;
    if (p->row_class == 0 || rzc_is_fixed(p) || (p->options.flags & RZ_PLAN_NO_FUSION) != 0) return RZ_OK;
    if (launch->n_ops != 1 || op->code != RZ_OP_RMS_NORM || !is_row_norm(p, op)) return RZ_OK;
    const rz_value *value = &p->ir->values[op->in[0] - 1];
    if (p->n_rows[value->rows] == 0 || !find_readers(p, launch, op->out[0], &bf16, &alone)) return RZ_OK;
    rzc_prefill_x c = {.x = rzc_value(p, op->in[0]),
                       .norm = (uintptr_t)p->tensors[op->w[0] - 1].data,
                       .y = alone ? 0 : rzc_value(p, op->out[0]),
                       .n_rows = p->n_rows[value->rows],
                       .ldx = value->cols,
                       .cols = value->cols,
                       .eps = op->f[0]};
    *done = true;
    p->tiles_value = 0;
    p->tiles_only = alone ? op->out[0] : 0;
    return convert(p, &c, op->out[0], bf16);
}

/* ---- products -------------------------------------------------------------------------------------------------- */

static bool has_wgmma(const rzc_program *p, uint32_t format) {
    return p->engine->cc_major == 9 && format >= RZC_R_Q4_K;
}

bool rzc_can_prefill(const rzc_program *p, const rzc_product *q) {
    if (rzc_is_fixed(p) || q->ids != 0 || q->head_rows > 0 || q->w.format == RZC_F32) return false;
    if (q->n_rows > p->options.max_tokens || p->engine->cc_major < 8) return false;
    return has_wgmma(p, q->w.format) || q->n_rows > PLAIN_ROWS;
}

/* Formats whose kernels are there for every size; the others have 16, 64 and 256 token rows. */
static bool has_all_sizes(uint32_t format) { return format <= RZC_R_BF16; }

/* Token rows of a tile: the fewest waves of tiles, times what a tile takes (measured, relative). */
static uint32_t rows_of_tile(uint32_t n_sms, uint32_t n_rows, uint32_t n_tiles, bool all_sizes) {
    static const struct {
        uint32_t rows, cost;
    } sizes[] = {{256, 66}, {128, 39}, {64, 31}};
    uint32_t best = 0, cost = ~0u;
    if (n_rows <= 64) return all_sizes || padded(n_rows) == 16 ? padded(n_rows) : 64; /* up to 32 it must be padded() */
    for (uint32_t i = 0; i < 3; i++) {
        const uint32_t tiles = (n_rows + sizes[i].rows - 1) / sizes[i].rows * n_tiles;
        const uint32_t c = (tiles + n_sms - 1) / n_sms * sizes[i].cost;
        if (c < cost && (all_sizes || sizes[i].rows != 128)) cost = c, best = i;
    }
    return sizes[best].rows;
}

/* Deals the units of columns to blocks: whole tiles where they come out even, else runs of units; how many blocks. */
static uint32_t deal(rzc_prefill *q, uint32_t n_sms, uint32_t rows) {
    const uint32_t format = q->mats[0].w.format, units = (q->cols + 255) / 256 * (4 / RZC_SLOT_CHUNKS(format));
    const uint32_t tiles = (q->n_rows + rows - 1) / rows * q->n_tiles, waves = (tiles + n_sms - 1) / n_sms;
    q->each = q->rest = 0;
    if (rows > STREAM_ROWS || tiles > SHARED_TILES || tiles * 20 >= waves * n_sms * 19) return least(n_sms, tiles);
    const uint32_t teams = RZC_TEAMS(rows), blocks = least(n_sms, (tiles * units + teams - 1) / teams);
    q->each = tiles * units / blocks;
    q->rest = tiles * units % blocks;
    return blocks;
}

/* Shares out the shared memory of a block, as prefill_wgmma.cu uses it; returns its bytes. */
static uint32_t fill(rzc_prefill *q, uint32_t rows, uint32_t shared_bytes) {
    const uint32_t format = q->mats[0].w.format, stage = RZC_STAGE_CHUNKS(format, rows) * rows * 128;
    const uint32_t fixed = 1024 + 64 + (RZC_TEAMS(rows) - 1) * rows * 512, room = shared_bytes - fixed;
    uint32_t record = 0;
    for (uint32_t i = 0; i < q->n_mats; i++) {
        const uint32_t chunks = RZC_SLOT_CHUNKS(q->mats[i].w.format);
        record = most(record, rzc_record_bytes((rzc_format)q->mats[i].w.format) * chunks / 4);
    }
    q->slot_bytes = 8 * record;
    if (rows <= 32) {
        q->slots = q->stages = room / (q->slot_bytes + stage + 32);
    } else {
        q->slots = rows == 256 ? (record > 3072 && record != 4096 ? 2 : 3) : rows == 64 && record > 4096 ? 3 : 4;
        q->stages = least((room - q->slots * (q->slot_bytes + 16)) / (stage + 16), 20);
    }
    return fixed + q->slots * (q->slot_bytes + 16) + q->stages * (stage + 16);
}

/* The kernel of a format for tiles of 8 to 256 token rows. */
static uint32_t kernel_of(uint32_t format, uint32_t rows) {
    const uint32_t size = (uint32_t)__builtin_ctz(rows / 8);
    const uint32_t family = format == RZC_R_BF16 ? 2 : format == RZC_R_Q8_0 ? 1 : 0;
    return has_all_sizes(format) ? RZC_K_wgmma_K_8 + 6 * family + size
                                 : RZC_K_wgmma_R_F16_16 + 3 * (format - RZC_R_F16) + (size - 1) / 2;
}

static rz_status multiply_wgmma(rzc_program *p, rzc_prefill *q) {
    const rzc_engine *e = p->engine;
    const uint32_t format = q->mats[0].w.format;
    const uint32_t rows = rows_of_tile((uint32_t)e->n_sms, q->n_rows, q->n_tiles, has_all_sizes(format));
    rzc_shape shape = {.x = deal(q, (uint32_t)e->n_sms, rows),
                       .threads = 256 * RZC_TEAMS(rows) + (rows < 64 ? 64 : 128),
                       .shared_bytes = fill(q, rows, (uint32_t)e->shared_max - 1024),
                       .chained = true};
    q->parts = p->tile_parts;
    q->arrivals = p->tile_arrivals;
    return rzc_launch(p->engine, p->engine->stream, kernel_of(format, rows), shape, q);
}

static void count_tiles(rzc_prefill *q) {
    const uint32_t per_tile = q->glu ? 64 : 128, n = q->glu ? 1 : q->n_mats;
    q->n_tiles = 0;
    for (uint32_t i = 0; i < n; i++) {
        q->mats[i].first_tile = q->n_tiles;
        q->n_tiles += (q->mats[i].n_out + per_tile - 1) / per_tile;
    }
}

/* Matrices of one family; one format where there is no wgmma. */
static rz_status multiply(rzc_program *p, rzc_prefill *q) {
    const uint32_t format = q->mats[0].w.format;
    count_tiles(q);
    q->rows_pad = padded(q->n_rows);
    q->row_scale = p->tiles;
    q->tiles = p->tiles + scale_bytes(q->rows_pad);
    if (has_wgmma(p, format)) return multiply_wgmma(p, q);
    const rzc_shape shape = {
        .x = (q->n_rows + 127) / 128, .y = q->n_tiles, .threads = 256, .shared_bytes = 65536, .chained = true};
    return rzc_launch(p->engine, p->engine->stream, RZC_K_prefill_F16 + format - RZC_F16, shape, q);
}

/* Matrices of one family: apart where their formats differ and the kernel knows only one. */
static rz_status multiply_all(rzc_program *p, rzc_prefill *q) {
    bool same = true;
    for (uint32_t i = 1; i < q->n_mats; i++) same &= q->mats[i].w.format == q->mats[0].w.format;
    if (same || has_wgmma(p, q->mats[0].w.format)) return multiply(p, q);
    rz_status status = RZ_OK;
    for (uint32_t i = 0; i < q->n_mats && status == RZ_OK; i++) {
        rzc_prefill one = *q;
        one.n_mats = 1;
        one.mats[0] = q->mats[i];
        status = multiply(p, &one);
    }
    return status;
}

rz_status rzc_prefill_product(rzc_program *p, const rzc_product *product, uint32_t x) {
    rzc_prefill_x c = {.x = product->x, .n_rows = product->n_rows, .ldx = product->ldx, .cols = product->w.cols};
    const rz_status status = convert(p, &c, x, wants_bf16(product->w.format));
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

/* ---- fusions --------------------------------------------------------------------------------------------------- */

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
        const uint32_t out = f.glu != RZ_NO_OP ? ir->ops[f.glu].out[0] : op->out[0];
        q.mats[i] = (rzc_prefill_matrix){
            .w = rzc_matrix_of(w), .y = rzc_value(p, out), .n_out = w->spec.rows, .ldy = ir->values[out - 1].cols};
        if (op->w[1] != 0) q.mats[i].bias = (uintptr_t)p->tensors[op->w[1] - 1].data;
    }
    if (f.glu != RZ_NO_OP) q.glu = ir->ops[f.glu].n[0] == 0 ? RZC_PREFILL_SILU : RZC_PREFILL_GELU;
    rzc_prefill_x c = {.x = rzc_value(p, x), .n_rows = q.n_rows, .ldx = q.cols, .cols = q.cols};
    const rz_status status = convert(p, &c, x, wants_bf16(q.mats[0].w.format));
    return status == RZ_OK ? multiply_all(p, &q) : status;
}
