/* weights.c - weights on the device: formats, and the way in and out. */
#include "cuda.h"
#include "dtype.h"
#include <string.h>

static const struct {
    uint8_t format, records; /* records 0 = none */
} formats[] = {
    [RZ_F32] = {RZC_F32, 0},       [RZ_F16] = {RZC_F16, 0},           [RZ_BF16] = {RZC_BF16, RZC_R_BF16},
    [RZ_Q4_0] = {RZC_Q4_0, 0},     [RZ_Q4_1] = {RZC_Q4_1, 0},         [RZ_Q5_0] = {RZC_Q5_0, 0},
    [RZ_Q5_1] = {RZC_Q5_1, 0},     [RZ_Q8_0] = {RZC_Q8_0, RZC_R_Q8_0}, [RZ_Q2_K] = {RZC_Q2_K, 0},
    [RZ_Q3_K] = {RZC_Q3_K, 0},     [RZ_Q4_K] = {RZC_Q4_K, RZC_R_Q4_K}, [RZ_Q5_K] = {RZC_Q5_K, 0},
    [RZ_Q6_K] = {RZC_Q6_K, RZC_R_Q6_K}, [RZ_IQ4_NL] = {RZC_IQ4_NL, 0}, [RZ_IQ4_XS] = {RZC_IQ4_XS, 0},
};

static uint64_t file_row_bytes(const rz_weight *spec) {
    const rz_dtype_row *dtype = rz_dtype_find(spec->dtype);
    return (uint64_t)(spec->cols / dtype->block_size) * dtype->block_bytes;
}

rzc_format rzc_format_of(const rz_weight *spec) {
    if (spec->use == RZ_USE_VECTOR) return RZC_F32;
    const uint8_t records = formats[spec->dtype].records;
    const bool fits = spec->rows % 16 == 0 && spec->cols % 256 == 0 && file_row_bytes(spec) * 16 <= RZC_LANE_BYTES;
    const bool product = (spec->use & (RZ_USE_MATMUL | RZ_USE_MOE)) != 0;
    return (rzc_format)(records != 0 && fits && product ? records : formats[spec->dtype].format);
}

rzc_matrix rzc_matrix_of(const rz_tensor *t) {
    return (rzc_matrix){
        .data = (uintptr_t)t->data,
        .row_bytes = t->spec.use == RZ_USE_VECTOR ? t->spec.cols * 4ull : file_row_bytes(&t->spec),
        .format = (uint32_t)rzc_format_of(&t->spec),
        .rows = t->spec.rows,
        .cols = t->spec.cols,
    };
}

int32_t rzc_weight_bytes(void *engine, const rz_weight *spec, uint64_t *bytes) {
    (void)engine;
    const uint64_t row = spec->use == RZ_USE_VECTOR ? spec->cols * 4ull : file_row_bytes(spec);
    *bytes = (row * spec->rows * spec->n_experts + 255) / 256 * 256;
    return RZ_OK;
}

uint32_t rzc_weight_row_unit(void *engine, const rz_weight *spec) {
    (void)engine;
    return rzc_format_of(spec) >= RZC_R_Q4_K ? 16 : 1;
}

/* ---- lanes ----------------------------------------------------------------------------------------------------- */

static rzc_lane *take_lane(rzc_engine *e) {
    rzc_lane *lane = NULL;
    rz_mutex_lock(&e->lock);
    while (lane == NULL) {
        for (uint32_t i = 0; i < RZC_LANES && lane == NULL; i++) {
            if (!e->lanes[i].taken) lane = &e->lanes[i];
        }
        if (lane == NULL) rz_cond_wait(&e->lane_free, &e->lock);
    }
    lane->taken = true;
    rz_mutex_unlock(&e->lock);
    return lane;
}

static void give_lane(rzc_engine *e, rzc_lane *lane) {
    rz_mutex_lock(&e->lock);
    lane->taken = false;
    rz_cond_signal(&e->lane_free);
    rz_mutex_unlock(&e->lock);
}

/* ---- in -------------------------------------------------------------------------------------------------------- */

/* One piece of at most RZC_LANE_BYTES: through pinned memory; records are made on the device. */
static rz_status store_piece(rzc_engine *e, rzc_lane *lane, const rz_tensor *t, uint64_t row, uint32_t n_rows,
                             const uint8_t *src, uint64_t bytes) {
    const rzc_format format = rzc_format_of(&t->spec);
    const uint64_t row_bytes = bytes / n_rows;
    const rz_cu_ptr to = (uintptr_t)t->data + row * row_bytes;
    memcpy(lane->pinned, src, bytes);
    if (format < RZC_R_Q4_K) {
        return rzc_check(e, e->cu->to_device_async(to, lane->pinned, bytes, lane->stream), "copy of weights");
    }
    rz_status status =
        rzc_check(e, e->cu->to_device_async(lane->device, lane->pinned, bytes, lane->stream), "copy of weights");
    rzc_repack repack = {.from = lane->device,
                         .to = to,
                         .row_bytes = row_bytes,
                         .n_tiles_k = t->spec.cols / 256,
                         .n_row_tiles = n_rows / 16};
    const uint32_t n_threads = repack.n_tiles_k * repack.n_row_tiles * 32;
    const uint32_t kernel = format == RZC_R_Q4_K   ? RZC_K_repack_q4_k
                            : format == RZC_R_Q6_K ? RZC_K_repack_q6_k
                            : format == RZC_R_Q8_0 ? RZC_K_repack_q8_0
                                                   : RZC_K_repack_bf16;
    const rzc_shape shape = {.x = (n_threads + 127) / 128, .threads = 128};
    if (status == RZ_OK) status = rzc_launch(e, lane->stream, kernel, shape, &repack);
    return status;
}

int32_t rzc_weight_store(void *engine, const rz_tensor *t, uint32_t row, uint32_t n_rows, const uint8_t *src) {
    rzc_engine *e = engine;
    float *vector = NULL;
    uint64_t row_bytes = file_row_bytes(&t->spec);
    rz_status status = rzc_enter(e);
    if (status != RZ_OK) return status;
    rzc_lane *lane = take_lane(e);
    if (t->spec.use == RZ_USE_VECTOR && t->spec.dtype != RZ_F32) {
        row_bytes = t->spec.cols * 4ull;
        vector = rz_alloc(e->account, RZ_MEMORY_WEIGHTS, row_bytes, "vector");
        if (vector == NULL) status = RZ_E_OOM_HOST;
        else rz_dtype_find(t->spec.dtype)->dequantize(src, t->spec.cols, vector);
        src = (const uint8_t *)vector;
    }
    const uint32_t unit = rzc_weight_row_unit(e, &t->spec);
    uint64_t fits = RZC_LANE_BYTES / (row_bytes * unit) * unit;
    for (uint64_t at = 0; at < n_rows && status == RZ_OK;) {
        if (fits == 0) { /* a row larger than a lane: plain rows only */
            const rz_cu_ptr to = (uintptr_t)t->data + (row + at) * row_bytes;
            status = rzc_check(e, e->cu->to_device(to, src + at * row_bytes, row_bytes), "copy of weights");
            at++;
            continue;
        }
        const uint32_t n = n_rows - at < fits ? (uint32_t)(n_rows - at) : (uint32_t)fits;
        status = store_piece(e, lane, t, row + at, n, src + at * row_bytes, n * row_bytes);
        if (status == RZ_OK) status = rzc_check(e, e->cu->stream_wait(lane->stream), "copy of weights");
        at += n;
    }
    rz_free(vector);
    give_lane(e, lane);
    rzc_leave(e);
    return status;
}

/* ---- out ------------------------------------------------------------------------------------------------------- */

#define READ_COLS 65536u

int32_t rzc_weight_read(void *engine, const rz_tensor *t, uint32_t row, uint32_t n_rows, float *out) {
    rzc_engine *e = engine;
    rz_status status = rzc_enter(e);
    if (status != RZ_OK) return status;
    rzc_lane *lane = take_lane(e);
    for (uint32_t r = 0; r < n_rows && status == RZ_OK; r++) {
        for (uint32_t at = 0; at < t->spec.cols && status == RZ_OK; at += READ_COLS) {
            const uint32_t left = t->spec.cols - at, n = left < READ_COLS ? left : READ_COLS;
            rzc_read read = {
                .w = rzc_matrix_of(t), .out = lane->device, .row = (uint64_t)row + r, .first_col = at, .n_cols = n};
            const rzc_shape shape = {.x = (n + 1023) / 1024, .threads = 128};
            status = rzc_launch(e, lane->stream, RZC_K_read_row, shape, &read);
            if (status == RZ_OK) {
                status =
                    rzc_check(e, e->cu->to_host_async(lane->pinned, lane->device, n * 4ull, lane->stream), "reading");
            }
            if (status == RZ_OK) status = rzc_check(e, e->cu->stream_wait(lane->stream), "reading weights");
            if (status == RZ_OK) memcpy(out + (size_t)r * t->spec.cols + at, lane->pinned, n * 4ull);
        }
    }
    give_lane(e, lane);
    rzc_leave(e);
    return status;
}
