/* weights.c - weights on the device: formats, and the way in and out. */
#include "cuda.h"
#include "dtype.h"
#include <string.h>

static const struct {
    uint8_t format, records; /* records 0 = none */
} formats[] = {
    [RZ_F32] = {RZC_F32, 0},
    [RZ_F16] = {RZC_F16, RZC_R_F16},
    [RZ_BF16] = {RZC_BF16, RZC_R_BF16},
    [RZ_Q4_0] = {RZC_Q4_0, RZC_R_Q4_0},
    [RZ_Q4_1] = {RZC_Q4_1, RZC_R_Q4_1},
    [RZ_Q5_0] = {RZC_Q5_0, RZC_R_Q5_0},
    [RZ_Q5_1] = {RZC_Q5_1, RZC_R_Q5_1},
    [RZ_Q8_0] = {RZC_Q8_0, RZC_R_Q8_0},
    [RZ_Q2_K] = {RZC_Q2_K, RZC_R_Q2_K},
    [RZ_Q3_K] = {RZC_Q3_K, RZC_R_Q3_K},
    [RZ_Q4_K] = {RZC_Q4_K, RZC_R_Q4_K},
    [RZ_Q5_K] = {RZC_Q5_K, RZC_R_Q5_K},
    [RZ_Q6_K] = {RZC_Q6_K, RZC_R_Q6_K},
    [RZ_IQ4_NL] = {RZC_IQ4_NL, RZC_R_IQ4_NL},
    [RZ_IQ4_XS] = {RZC_IQ4_XS, RZC_R_IQ4_XS},
};

/* As record_bytes of records.cuh. */
static const uint32_t record_bytes[] = {
    [RZC_R_Q4_K] = 2304,   [RZC_R_Q6_K] = 3360, [RZC_R_Q8_0] = 4352, [RZC_R_BF16] = 8192, [RZC_R_F16] = 8192,
    [RZC_R_Q4_0] = 2304,   [RZC_R_Q4_1] = 2560, [RZC_R_Q5_0] = 2816, [RZC_R_Q5_1] = 3072, [RZC_R_Q5_K] = 2816,
    [RZC_R_Q3_K] = 1824,   [RZC_R_Q2_K] = 1344, [RZC_R_IQ4_NL] = 2304, [RZC_R_IQ4_XS] = 2208,
};

uint32_t rzc_record_bytes(rzc_format format) { return format < RZC_R_Q4_K ? 0 : record_bytes[format]; }

static uint32_t k_tiles(const rz_weight *spec) { return (spec->cols + 255) / 256; }

static uint64_t file_row_bytes(const rz_weight *spec) {
    const rz_dtype_row *dtype = rz_dtype_find(spec->dtype);
    return (uint64_t)(spec->cols / dtype->block_size) * dtype->block_bytes;
}

rzc_format rzc_format_of(const rz_weight *spec) {
    if (spec->use == RZ_USE_VECTOR) return RZC_F32;
    const uint8_t records = formats[spec->dtype].records;
    const bool fits = spec->rows % 16 == 0 && spec->cols % 32 == 0 && file_row_bytes(spec) * 16 <= RZC_LANE_BYTES;
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
    const uint64_t rows = (uint64_t)spec->rows * spec->n_experts, record = rzc_record_bytes(rzc_format_of(spec));
    *bytes = ((record > 0 ? rows / 16 * k_tiles(spec) * record : rows * row) + 255) / 256 * 256;
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
    const uint64_t record = rzc_record_bytes(format);
    const rz_cu_ptr to = (uintptr_t)t->data + (record > 0 ? row / 16 * k_tiles(&t->spec) * record : row * row_bytes);
    memcpy(lane->pinned, src, bytes);
    if (format < RZC_R_Q4_K) {
        return rzc_check(e, e->cu->to_device_async(to, lane->pinned, bytes, lane->stream), "copy of weights");
    }
    rz_status status =
        rzc_check(e, e->cu->to_device_async(lane->device, lane->pinned, bytes, lane->stream), "copy of weights");
    rzc_repack repack = {.from = lane->device,
                         .to = to,
                         .row_bytes = row_bytes,
                         .n_tiles_k = k_tiles(&t->spec),
                         .n_row_tiles = n_rows / 16,
                         .cols = t->spec.cols};
    const uint32_t n_threads = repack.n_tiles_k * repack.n_row_tiles * 32;
    const uint32_t kernel = RZC_K_repack_R_Q4_K + format - RZC_R_Q4_K;
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
#define READ_ROWS 65535u /* of a grid */

/* Columns of rows, at most a lane's worth, to the lane's pinned memory. */
static rz_status read_piece(rzc_engine *e, rzc_lane *lane, const rz_tensor *t, uint64_t row, uint32_t n_rows,
                            uint32_t first_col, uint32_t n_cols) {
    rzc_read read = {
        .w = rzc_matrix_of(t), .out = lane->device, .row = row, .first_col = first_col, .n_cols = n_cols};
    const rzc_shape shape = {.x = (n_cols + 1023) / 1024, .y = n_rows, .threads = 128};
    rz_status status = rzc_launch(e, lane->stream, RZC_K_read_row, shape, &read);
    const uint64_t bytes = (uint64_t)n_rows * n_cols * 4;
    if (status == RZ_OK)
        status = rzc_check(e, e->cu->to_host_async(lane->pinned, lane->device, bytes, lane->stream), "reading weights");
    if (status == RZ_OK) status = rzc_check(e, e->cu->stream_wait(lane->stream), "reading weights");
    return status;
}

int32_t rzc_weight_read(void *engine, const rz_tensor *t, uint32_t row, uint32_t n_rows, float *out) {
    rzc_engine *e = engine;
    rz_status status = rzc_enter(e);
    if (status != RZ_OK) return status;
    rzc_lane *lane = take_lane(e);
    const uint32_t cols = t->spec.cols, width = cols < READ_COLS ? cols : READ_COLS;
    const uint64_t fit = RZC_LANE_BYTES / (width * 4ull);
    const uint32_t at_once = width < cols ? 1 : fit < READ_ROWS ? (uint32_t)fit : READ_ROWS;
    for (uint32_t r = 0; r < n_rows && status == RZ_OK; r += at_once) {
        const uint32_t rows = n_rows - r < at_once ? n_rows - r : at_once;
        for (uint32_t at = 0; at < cols && status == RZ_OK; at += width) {
            const uint32_t n = cols - at < width ? cols - at : width;
            status = read_piece(e, lane, t, (uint64_t)row + r, rows, at, n);
            if (status == RZ_OK) memcpy(out + (size_t)r * cols + at, lane->pinned, (size_t)rows * n * 4);
        }
    }
    give_lane(e, lane);
    rzc_leave(e);
    return status;
}
