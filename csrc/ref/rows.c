/* rows.c - ops that choose rows: embed, selectRows, pool. */
#include "dtype.h"
#include "ref/ref.h"
#include <string.h>

bool ref_embed(const ref_call *c) {
    const rz_tensor *w = c->w[0];
    const rz_dtype_row *dtype = rz_dtype_find(w->spec.dtype);
    const uint32_t hidden = c->out_cols[0];
    const size_t row_bytes = (size_t)hidden / dtype->block_size * dtype->block_bytes;
    for (uint32_t t = 0; t < c->rows; t++) {
        if (ref_cancelled(c)) return false;
        float *out = c->out[0] + (size_t)t * hidden;
        dtype->dequantize(w->data + (size_t)c->step->batch->tokens[t] * row_bytes, hidden, out);
        for (uint32_t i = 0; i < hidden; i++) out[i] *= c->op->f[0];
    }
    return true;
}

bool ref_select_rows(const ref_call *c) {
    const size_t cols = c->in_cols[0];
    for (uint32_t r = 0; r < c->step->batch->n_rows; r++) {
        memcpy(c->out[0] + r * cols, c->in[0] + c->step->batch->rows[r] * cols, cols * sizeof(float));
    }
    return true;
}

bool ref_pool(const ref_call *c) {
    const size_t cols = c->in_cols[0];
    const rz_batch *batch = c->step->batch;
    for (uint32_t s = 0; s < batch->header->n_seqs; s++) {
        if (ref_cancelled(c)) return false;
        const uint32_t first = batch->seq_first_row[s], end = batch->seq_first_row[s + 1];
        float *out = c->out[0] + s * cols;
        if (c->op->n[0] != 0) {
            memcpy(out, c->in[0] + (c->op->n[0] == 1 ? first : end - 1) * cols, cols * sizeof(float));
            continue;
        }
        for (size_t i = 0; i < cols; i++) {
            double sum = 0;
            for (uint32_t t = first; t < end; t++) sum += (double)c->in[0][t * cols + i];
            out[i] = (float)(sum / (end - first));
        }
    }
    return true;
}
