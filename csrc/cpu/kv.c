/* kv.c - the cache: a page holds, for each layer, keys and then values of its tokens, in groups of 16 tokens.
 *
 * Keys of a group: [k_cols][16], so that a vector holds one column of 16 keys and scores need no horizontal sums; in
 * Q8_0 [k_cols / 4][16][4] bytes with 128 added, as dot products of bytes take them. Values of a group: [16][v_cols].
 * In Q8_0 the scales of a group, F16 [cols / 32][16], stand behind its bytes. Each part starts at a multiple of 64
 * bytes. */
#include "cpu.h"
#include "dtype.h"
#include "error.h"

/* 16 tokens of cols columns. */
static size_t group_bytes(rz_cpu_kv_format format, uint32_t cols) {
    static const uint8_t column_bytes[RZ_N_KV_FORMATS] = {64, 32, 17};
    return (size_t)cols * column_bytes[format];
}

static size_t part_bytes(uint32_t page_tokens, uint32_t cols, rz_cpu_kv_format format) {
    return (page_tokens / RZ_GROUP_KEYS * group_bytes(format, cols) + 63) & ~(size_t)63;
}

static bool format_of(uint32_t dtype, rz_cpu_kv_format *format) {
    *format = dtype == RZ_F32 ? RZ_KV_F32 : dtype == RZ_F16 ? RZ_KV_F16 : RZ_KV_Q8_0;
    return dtype == RZ_F32 || dtype == RZ_F16 || dtype == RZ_Q8_0;
}

int32_t rz_cpu_page_bytes(void *engine, const rz_cache_group *group, uint64_t *bytes) {
    (void)engine;
    rz_cpu_kv_format format;
    if (!format_of(group->k_dtype, &format) || group->k_dtype != group->v_dtype) {
        return (int32_t)rz_fail(RZ_E_UNSUPPORTED, "cpu: cache dtypes %u and %u, expected both F32, F16 or Q8_0",
                                group->k_dtype, group->v_dtype);
    }
    if (format == RZ_KV_Q8_0 && (group->k_cols % 32 != 0 || group->v_cols % 32 != 0)) {
        return (int32_t)rz_fail(RZ_E_UNSUPPORTED, "cpu: a Q8_0 cache of %u and %u columns, expected multiples of 32",
                                group->k_cols, group->v_cols);
    }
    *bytes = (uint64_t)group->n_layers * (part_bytes(group->page_tokens, group->k_cols, format) +
                                          part_bytes(group->page_tokens, group->v_cols, format));
    return RZ_OK;
}

int32_t rz_cpu_kv_check(const rz_cpu_program *p) {
    for (uint32_t i = 0; p->step->cache && i < p->ir->header->n_ops; i++) {
        const rz_op *op = &p->ir->ops[i];
        if (op->code != RZ_OP_ATTENTION || op->n[6] != 0) continue;
        if (p->step->cache->groups[op->n[0]].spec.k_dtype != RZ_Q8_0) continue;
        if (op->n[4] % 32 == 0 && op->n[5] % 32 == 0) continue;
        return (int32_t)rz_fail(RZ_E_UNSUPPORTED,
                                "cpu: op %u (attention): heads of %u and %u columns over a Q8_0 cache, expected "
                                "multiples of 32", i, op->n[4], op->n[5]);
    }
    return RZ_OK;
}

rz_cpu_kv rz_cpu_kv_of(const rz_cpu_program *p, uint32_t group, uint32_t layer) {
    const rz_cache_mem *mem = &p->step->cache->groups[group];
    rz_cpu_kv kv = {.pages = mem->data,
                    .page_bytes = mem->page_bytes,
                    .page_tokens = mem->spec.page_tokens,
                    .k_cols = mem->spec.k_cols,
                    .v_cols = mem->spec.v_cols};
    format_of(mem->spec.k_dtype, &kv.format);
    kv.k_group_bytes = group_bytes(kv.format, kv.k_cols);
    kv.v_group_bytes = group_bytes(kv.format, kv.v_cols);
    const size_t k_bytes = part_bytes(kv.page_tokens, kv.k_cols, kv.format);
    kv.k_offset = layer * (k_bytes + part_bytes(kv.page_tokens, kv.v_cols, kv.format));
    kv.v_offset = kv.k_offset + k_bytes;
    return kv;
}

const void *rz_cpu_keys_at(const rz_cpu_kv *kv, uint32_t page, uint32_t position) {
    const size_t group = position % kv->page_tokens / RZ_GROUP_KEYS;
    return kv->pages + page * kv->page_bytes + kv->k_offset + group * kv->k_group_bytes;
}

const void *rz_cpu_values_at(const rz_cpu_kv *kv, uint32_t page, uint32_t position) {
    const size_t group = position % kv->page_tokens / RZ_GROUP_KEYS;
    return kv->pages + page * kv->page_bytes + kv->v_offset + group * kv->v_group_bytes;
}

static uint32_t page_of(const rz_cpu_program *p, uint32_t group, uint32_t row) {
    return rz_page_at(p->step, p->step->batch->row_seq[row], group, p->step->batch->row_position[row]);
}

void rz_cpu_put_keys(const rz_cpu_program *p, const rz_cpu_kv *kv, uint32_t group, uint32_t row, uint32_t first,
                     uint32_t n, const float *x) {
    const uint32_t position = p->step->batch->row_position[row];
    void *to = (void *)(uintptr_t)rz_cpu_keys_at(kv, page_of(p, group, row), position);
    p->engine->kernels->attention->put_keys[kv->format](x, n, first, kv->k_cols, position % RZ_GROUP_KEYS, to);
}

void rz_cpu_put_values(const rz_cpu_program *p, const rz_cpu_kv *kv, uint32_t group, uint32_t row, uint32_t first,
                       uint32_t n, const float *x) {
    const uint32_t position = p->step->batch->row_position[row];
    void *to = (void *)(uintptr_t)rz_cpu_values_at(kv, page_of(p, group, row), position);
    p->engine->kernels->attention->put_values[kv->format](x, n, first, kv->v_cols, position % RZ_GROUP_KEYS, to);
}

static void write_rows(rz_cpu_program *p, uint32_t thread, uint32_t first, uint32_t end) {
    (void)thread;
    const rz_op *op = p->launch->op;
    const rz_cpu_kv kv = rz_cpu_kv_of(p, op->n[0], op->n[1]);
    const float *k = rz_cpu_value(p, op->in[0]), *v = rz_cpu_value(p, op->in[1]);
    const uint32_t k_cols = rz_cpu_cols(p, op->in[0]), v_cols = rz_cpu_cols(p, op->in[1]);
    for (uint32_t r = first; r < end; r++) {
        rz_cpu_put_keys(p, &kv, op->n[0], r, 0, k_cols, k + (size_t)r * k_cols);
        rz_cpu_put_values(p, &kv, op->n[0], r, 0, v_cols, v + (size_t)r * v_cols);
    }
}

void rz_cpu_kv_write(rz_cpu_program *p, const rz_cpu_launch *l) {
    rz_cpu_each_row(p, p->n_rows[RZ_ROWS_T], rz_cpu_cols(p, l->op->in[0]) * 2ull, write_rows);
}
