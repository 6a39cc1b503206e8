/* attention.c - kvWrite, attention, and the pages of the cache. */
#include "dtype.h"
#include "error.h"
#include "ref/ref.h"
#include <math.h>

/* ---- pages ------------------------------------------------------------------------------------------------------ */

static size_t row_bytes(uint32_t dtype, uint32_t cols) {
    const rz_dtype_row *row = rz_dtype_find(dtype);
    return (size_t)cols / row->block_size * row->block_bytes;
}

static int32_t check_row(uint32_t dtype, uint32_t cols, const char *what) {
    const bool known = dtype == RZ_F32 || dtype == RZ_F16 || dtype == RZ_Q8_0;
    if (!known) return rz_fail(RZ_E_UNSUPPORTED, "cache: %s dtype %u, expected F32, F16 or Q8_0", what, dtype);
    const uint32_t block = rz_dtype_find(dtype)->block_size;
    if (cols % block == 0) return RZ_OK;
    return rz_fail(RZ_E_UNSUPPORTED, "cache: %s of %u columns in blocks of %u", what, cols, block);
}

int32_t ref_page_bytes(void *engine, const rz_cache_group *group, uint64_t *bytes) {
    (void)engine;
    int32_t status = check_row(group->k_dtype, group->k_cols, "key");
    if (!status) status = check_row(group->v_dtype, group->v_cols, "value");
    if (status) return status;
    const uint64_t token_bytes = row_bytes(group->k_dtype, group->k_cols) + row_bytes(group->v_dtype, group->v_cols);
    *bytes = token_bytes * group->page_tokens * group->n_layers;
    return RZ_OK;
}

/* The key (or value) of one token in one layer. */
static uint8_t *token_row(const rz_step *s, uint32_t group, uint32_t layer, uint32_t seq, uint32_t position,
                          bool is_v) {
    const rz_cache_mem *mem = &s->cache->groups[group];
    const size_t k_bytes = row_bytes(mem->spec.k_dtype, mem->spec.k_cols);
    const size_t v_bytes = row_bytes(mem->spec.v_dtype, mem->spec.v_cols);
    const size_t tokens = mem->spec.page_tokens, at = position % tokens;
    uint8_t *page = mem->data + rz_page_at(s, seq, group, position) * mem->page_bytes;
    uint8_t *keys = page + layer * tokens * (k_bytes + v_bytes);
    return is_v ? keys + tokens * k_bytes + at * v_bytes : keys + at * k_bytes;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static void store_q8_0(const float *x, uint32_t n, uint8_t *out) {
    for (; n; n -= 32, x += 32, out += 34) {
        float max = 0;
        for (int i = 0; i < 32; i++) max = fmaxf(max, fabsf(x[i]));
        const float d = max / 127, inverse = d > 0 ? 1 / d : 0;
        const uint16_t half = rz_f32_to_f16(d);
        out[0] = (uint8_t)half;
        out[1] = (uint8_t)(half >> 8);
        for (int i = 0; i < 32; i++) out[2 + i] = (uint8_t)(int8_t)roundf(fminf(fmaxf(x[i] * inverse, -127), 127));
    }
}

static void store(uint32_t dtype, const float *x, uint32_t n, uint8_t *out) {
    if (dtype == RZ_Q8_0) {
        store_q8_0(x, n, out);
    } else if (dtype == RZ_F16) {
        for (uint32_t i = 0; i < n; i++) {
            const uint16_t half = rz_f32_to_f16(x[i]);
            out[2 * i] = (uint8_t)half;
            out[2 * i + 1] = (uint8_t)(half >> 8);
        }
    } else {
        for (uint32_t i = 0; i < n; i++) ((float *)(void *)out)[i] = x[i];
    }
}

bool ref_kv_write(const ref_call *c) {
    const uint32_t group = c->op->n[0], layer = c->op->n[1], k_cols = c->in_cols[0], v_cols = c->in_cols[1];
    const rz_cache_group *spec = &c->step->cache->groups[group].spec;
    const rz_batch *batch = c->step->batch;
    for (uint32_t t = 0; t < c->rows; t++) {
        if (ref_cancelled(c)) return false;
        const uint32_t seq = batch->row_seq[t], position = batch->row_position[t];
        store(spec->k_dtype, c->in[0] + (size_t)t * k_cols, k_cols,
              token_row(c->step, group, layer, seq, position, false));
        store(spec->v_dtype, c->in[1] + (size_t)t * v_cols, v_cols,
              token_row(c->step, group, layer, seq, position, true));
    }
    return true;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

/* Widens columns first .. first + n of a stored row; whole blocks are read, `room` holds them as F32. */
static void load(uint32_t dtype, const uint8_t *row, uint32_t first, uint32_t n, float *room, double *out) {
    const rz_dtype_row *type = rz_dtype_find(dtype);
    const uint32_t block = type->block_size, begin = first / block, end = (first + n + block - 1) / block;
    type->dequantize(row + (size_t)begin * type->block_bytes, (end - begin) * block, room);
    for (uint32_t i = 0; i < n; i++) out[i] = (double)room[first - begin * block + i];
}

/* Where the keys and values of one row's attention come from. */
typedef struct source {
    const ref_call *c;
    uint32_t seq;
    bool cached;
    float *room;
} source;

/* Key (or value) head `head` of the token at `position`. */
static void fetch(const source *s, uint32_t position, uint32_t head, bool is_v, double *out) {
    const ref_call *c = s->c;
    const uint32_t cols = c->op->n[is_v ? 5 : 4], group = c->op->n[0];
    if (s->cached) {
        const rz_cache_group *spec = &c->step->cache->groups[group].spec;
        const uint8_t *row = token_row(c->step, group, c->op->n[1], s->seq, position, is_v);
        load(is_v ? spec->v_dtype : spec->k_dtype, row, head * cols, cols, s->room, out);
        return;
    }
    const rz_batch *batch = c->step->batch;
    const size_t t = batch->seq_first_row[s->seq] + (position - batch->seqs[s->seq].n_past);
    const float *x = c->in[is_v ? 2 : 1] + t * c->in_cols[is_v ? 2 : 1] + (size_t)head * cols;
    for (uint32_t i = 0; i < cols; i++) out[i] = (double)x[i];
}

/* One query head over the keys at first .. last. The softmax is kept relative to the largest score so far. */
static void attend(const source *s, uint32_t h, const float *query, uint32_t first, uint32_t last, float *out) {
    const rz_op *op = s->c->op;
    const uint32_t k_cols = op->n[4], v_cols = op->n[5], head = h / (op->n[2] / op->n[3]);
    const double scale = (double)op->f[0], cap = (double)op->f[1];
    double *q = s->c->program->scratch, *row = q + k_cols, *sum = row + (k_cols > v_cols ? k_cols : v_cols);
    double max = -INFINITY, total = 0;
    if (s->c->w[0]) { /* the sink: a score without a value */
        max = (double)ref_vector(s->c->w[0])[h];
        total = 1;
    }
    for (uint32_t i = 0; i < k_cols; i++) q[i] = (double)query[i];
    for (uint32_t i = 0; i < v_cols; i++) sum[i] = 0;
    for (uint32_t position = first; position <= last; position++) {
        fetch(s, position, head, false, row);
        double score = ref_dot(q, row, k_cols) * scale;
        if (cap != 0) score = cap * tanh(score / cap);
        if (score > max) {
            const double factor = exp(max - score);
            total *= factor;
            for (uint32_t i = 0; i < v_cols; i++) sum[i] *= factor;
            max = score;
        }
        const double p = exp(score - max);
        total += p;
        fetch(s, position, head, true, row);
        for (uint32_t i = 0; i < v_cols; i++) sum[i] += p * row[i];
    }
    for (uint32_t i = 0; i < v_cols; i++) out[i] = (float)(sum[i] / total);
}

bool ref_attention(const ref_call *c) {
    const rz_batch *batch = c->step->batch;
    const uint32_t n_heads = c->op->n[2], k_cols = c->op->n[4], v_cols = c->op->n[5], window = c->op->n[7];
    const uint32_t widest = k_cols > v_cols ? k_cols : v_cols;
    float *room = (float *)(void *)(c->program->scratch + k_cols + widest + v_cols);
    for (uint32_t t = 0; t < c->rows; t++) {
        const rz_batch_seq *seq = &batch->seqs[batch->row_seq[t]];
        const uint32_t position = batch->row_position[t];
        const source s = {.c = c, .seq = batch->row_seq[t], .cached = c->op->n[6] == 0, .room = room};
        const uint32_t oldest = window && window <= position ? position - window + 1 : 0;
        const uint32_t first = s.cached ? oldest : seq->n_past;
        const uint32_t last = s.cached ? position : seq->n_past + seq->n_new - 1;
        for (uint32_t h = 0; h < n_heads; h++) {
            if (ref_cancelled(c)) return false;
            attend(&s, h, c->in[0] + (size_t)t * c->in_cols[0] + (size_t)h * k_cols, first, last,
                   c->out[0] + (size_t)t * c->out_cols[0] + (size_t)h * v_cols);
        }
    }
    return true;
}
