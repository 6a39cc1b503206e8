/* gemm.c - record products of many rows: x becomes fp16 once per value, then tiles of 128 rows of W by 32-256 rows of
 * x. */
#include "prefill.h"

#define TILE_ROWS 128u /* of W */
#define MAP_FLOAT16 6
#define MAP_FLOAT64 8
#define MAP_SWIZZLE_128 3
#define MAP_PROMOTE_256 3

/* Kinds of weights, in the order of the kernels. */
typedef struct kind {
    uint32_t record_bytes, quant_bytes; /* quants of 64 columns of a record */
    uint32_t low_bytes;                 /* Q6_K: low bits of 128 columns */
    uint32_t scale_bytes;
} kind;
static const kind kinds[] = {{2304, 512, 0, 256}, {3360, 512, 512, 288}, {4352, 1024, 0, 256}, {8192, 2048, 0, 0}};

static uint32_t kind_of(uint32_t format) { return format - RZC_R_Q4_K; }

/* As Cfg in gemm.cu. */
static uint32_t shared_bytes(const kind *k, uint32_t bn) {
    const uint32_t tiles = TILE_ROWS / 16, stage = bn * 128 + tiles * (k->quant_bytes + k->low_bytes);
    const uint32_t slot = (tiles * k->scale_bytes + 127) / 128 * 128, slots = bn <= 64 ? 5 : 3;
    const uint32_t room = 232448 - 1024 - 512 - slots * slot, fits = room / stage, most = 4 * slots - 3;
    return 1024 + 512 + slots * slot + (fits < most ? fits : most) * stage;
}

static rz_status map_records(rzc_engine *e, uint64_t *map, const rzc_matrix *w, uint32_t record_bytes, uint32_t bytes) {
    const uint64_t dims[3] = {record_bytes / 8, w->cols / 256, w->rows / 16};
    const uint64_t strides[2] = {record_bytes, (uint64_t)record_bytes * (w->cols / 256)};
    const uint32_t box[3] = {bytes / 8, 1, TILE_ROWS / 16}, steps[3] = {1, 1, 1};
    return rzc_check(e,
                     e->cu->tensor_map_tiled(map, MAP_FLOAT64, 3, (void *)(uintptr_t)w->data, dims, strides, box, steps,
                                             0, 0, MAP_PROMOTE_256, 0),
                     "tensor map of weights");
}

static rz_status map_rows(rzc_engine *e, uint64_t *map, rz_cu_ptr x, uint32_t cols, uint32_t rows, uint32_t bn) {
    const uint64_t dims[2] = {cols, rows}, strides[1] = {cols * 2ull};
    const uint32_t box[2] = {64, bn}, steps[2] = {1, 1};
    return rzc_check(e, e->cu->tensor_map_tiled(map, MAP_FLOAT16, 2, (void *)(uintptr_t)x, dims, strides, box, steps, 0,
                                                MAP_SWIZZLE_128, MAP_PROMOTE_256, 0), "tensor map of rows");
}

/* The width that takes the fewest rounds of the SMs, weighed by what a tile of it takes. */
static uint32_t width_of(const rzc_engine *e, uint32_t n, uint32_t m) {
    uint32_t best = 32;
    double least = 1e30;
    for (uint32_t bn = 32; bn <= 256; bn *= 2) {
        const uint32_t tiles = (n + TILE_ROWS - 1) / TILE_ROWS * ((m + bn - 1) / bn), sms = (uint32_t)e->n_sms;
        const double cost = (double)((tiles + sms - 1) / sms) * (bn + 40);
        if (cost < least) least = cost, best = bn;
    }
    return best;
}

bool rzc_can_gemm(const rzc_program *p, const rzc_product *product) {
    return product->w.format >= RZC_R_Q4_K && product->w.format <= RZC_R_BF16 && product->w.cols % 256 == 0 &&
           p->engine->cc_major == 9 && product->n_rows > RZC_FEW_ROWS &&
           product->factor == 1.0f && product->cap == 0 && p->half != 0;
}

/* x as fp16 or bf16, unless it is there from the product before. */
static rz_status make_half(rzc_program *p, const rzc_product *product, uint32_t value) {
    const bool is_bf16 = product->w.format == RZC_R_BF16;
    const uint64_t key = (uint64_t)value << 1 | is_bf16;
    if (value != 0 && p->half_key == key) return RZ_OK;
    p->half_key = key;
    rzc_half half = {.x = product->x, .y = p->half, .x_scale = p->half_scale, .n_rows = product->n_rows,
                     .cols = product->w.cols, .is_bf16 = is_bf16};
    const rzc_shape shape = {.x = half.n_rows, .threads = 256, .chained = true};
    return rzc_launch(p->engine, p->engine->stream, RZC_K_half_k, shape, &half);
}

rz_status rzc_product_many(rzc_program *p, const rzc_product *product, uint32_t value) {
    rzc_engine *e = p->engine;
    const rzc_matrix *w = &product->w;
    const uint32_t type = kind_of(w->format), bn = width_of(e, w->rows, product->n_rows);
    const kind *k = &kinds[type];
    rz_status status = make_half(p, product, value);
    if (status != RZ_OK) return status;
    rzc_gemm a = {.y = product->y, .bias = product->bias, .add = product->add, .x_scale = p->half_scale,
                  .m = product->n_rows, .n = w->rows, .k_tiles = w->cols / 256,
                  .tiles_m = (product->n_rows + bn - 1) / bn, .ldy = product->ldy};
    a.tiles = (w->rows + TILE_ROWS - 1) / TILE_ROWS * a.tiles_m;
    status = map_rows(e, a.maps[0], p->half, w->cols, product->n_rows, bn);
    if (status == RZ_OK) status = map_records(e, a.maps[1], w, k->record_bytes, k->quant_bytes);
    if (status == RZ_OK && k->low_bytes > 0) status = map_records(e, a.maps[2], w, k->record_bytes, k->low_bytes);
    if (status == RZ_OK && k->scale_bytes > 0) status = map_records(e, a.maps[3], w, k->record_bytes, k->scale_bytes);
    if (status != RZ_OK) return status;
    const uint32_t width = bn == 32 ? 0 : bn == 64 ? 1 : bn == 128 ? 2 : 3, sms = (uint32_t)e->n_sms;
    const rzc_shape shape = {.x = a.tiles < sms ? a.tiles : sms, .threads = 384, .shared_bytes = shared_bytes(k, bn),
                             .chained = true};
    return rzc_launch(e, e->stream, RZC_K_gemm_q4k_32 + type * 4 + width, shape, &a);
}

rz_status rzc_product_any(rzc_program *p, const rz_tensor *w, const rzc_product *product, uint32_t value) {
    const bool plain = product->ids != 0 || product->head_rows > 0 || rzc_is_fixed(p);
    if (!plain && rzc_can_gemv(p, w, product->n_rows)) return rzc_product_few(p, product);
    if (!plain && rzc_can_prefill(p, product)) return rzc_prefill_product(p, product, value);
    if (!plain && rzc_can_gemm(p, product)) return rzc_product_many(p, product, value);
    const bool single = product->ids != 0 || product->n_rows == 1;
    rzc_product own = *product;
    const rzc_shape shape = {.x = (own.n_out + 3) / 4, .y = single ? own.n_rows : (own.n_rows + 7) / 8, .threads = 128,
                             .chained = true};
    return rzc_launch(p->engine, p->engine->stream, (single ? RZC_K_PRODUCT1 : RZC_K_PRODUCT8) + own.w.format, shape,
                      &own);
}
