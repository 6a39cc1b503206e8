/* kv.c - the cache: a page holds, for each layer, keys and then values of its tokens.
 *
 * Keys lie in groups of 16 tokens, [page_tokens / 16][k_cols][16]: a vector holds one column of 16 keys, so that
 * scores need no horizontal sums. Values lie row by row, [page_tokens][v_cols]. F16 or F32. Each part starts at a
 * multiple of 64 bytes. */
#include "cpu.h"
#include "dtype.h"
#include "error.h"

static size_t part_bytes(uint32_t page_tokens, uint32_t cols, uint32_t half) {
    return ((size_t)page_tokens * cols * (half ? 2 : 4) + 63) & ~(size_t)63;
}

int32_t rz_cpu_page_bytes(void *engine, const rz_cache_group *group, uint64_t *bytes) {
    (void)engine;
    if (group->k_dtype != group->v_dtype || (group->k_dtype != RZ_F32 && group->k_dtype != RZ_F16)) {
        return (int32_t)rz_fail(RZ_E_UNSUPPORTED, "cpu: cache dtypes %u and %u, expected both F32 or both F16",
                                group->k_dtype, group->v_dtype);
    }
    const uint32_t half = group->k_dtype == RZ_F16;
    *bytes = (uint64_t)group->n_layers * (part_bytes(group->page_tokens, group->k_cols, half) +
                                          part_bytes(group->page_tokens, group->v_cols, half));
    return RZ_OK;
}

rz_cpu_kv rz_cpu_kv_of(const rz_cpu_program *p, uint32_t group, uint32_t layer) {
    const rz_cache_mem *mem = &p->step->cache->groups[group];
    const uint32_t half = mem->spec.k_dtype == RZ_F16;
    const size_t k_bytes = part_bytes(mem->spec.page_tokens, mem->spec.k_cols, half);
    const size_t v_bytes = part_bytes(mem->spec.page_tokens, mem->spec.v_cols, half);
    return (rz_cpu_kv){.pages = mem->data,
                       .page_bytes = mem->page_bytes,
                       .k_offset = layer * (k_bytes + v_bytes),
                       .v_offset = layer * (k_bytes + v_bytes) + k_bytes,
                       .page_tokens = mem->spec.page_tokens,
                       .k_cols = mem->spec.k_cols,
                       .v_cols = mem->spec.v_cols,
                       .half = half};
}

const void *rz_cpu_keys_at(const rz_cpu_kv *kv, uint32_t page, uint32_t position, uint32_t k_first) {
    const size_t group = position % kv->page_tokens / RZ_GROUP_KEYS;
    const size_t element = (group * kv->k_cols + k_first) * RZ_GROUP_KEYS;
    return kv->pages + page * kv->page_bytes + kv->k_offset + element * (kv->half ? 2 : 4);
}

const void *rz_cpu_values_at(const rz_cpu_kv *kv, uint32_t page, uint32_t position, uint32_t v_first) {
    const size_t element = (size_t)(position % kv->page_tokens) * kv->v_cols + v_first;
    return kv->pages + page * kv->page_bytes + kv->v_offset + element * (kv->half ? 2 : 4);
}

static uint32_t page_of(const rz_cpu_program *p, uint32_t group, uint32_t row) {
    return rz_page_at(p->step, p->step->batch->row_seq[row], group, p->step->batch->row_position[row]);
}

void rz_cpu_put_keys(const rz_cpu_program *p, const rz_cpu_kv *kv, uint32_t group, uint32_t row, uint32_t first,
                     uint32_t n, const float *x) {
    const uint32_t position = p->step->batch->row_position[row];
    void *to = (void *)(uintptr_t)rz_cpu_keys_at(kv, page_of(p, group, row), position, first);
    p->engine->kernels->attention->put_keys[kv->half](x, n, position % RZ_GROUP_KEYS, to);
}

void rz_cpu_put_values(const rz_cpu_program *p, const rz_cpu_kv *kv, uint32_t group, uint32_t row, uint32_t first,
                       uint32_t n, const float *x) {
    const uint32_t position = p->step->batch->row_position[row];
    void *to = (void *)(uintptr_t)rz_cpu_values_at(kv, page_of(p, group, row), position, first);
    p->engine->kernels->attention->put_values[kv->half](x, n, to);
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
