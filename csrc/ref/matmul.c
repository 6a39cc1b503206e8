/* matmul.c - products with weight matrices: matmul, headMatmul, logits, moeMatmul. */
#include "dtype.h"
#include "ref/ref.h"
#include <math.h>

/* Up to REF_TILE_ROWS rows of activations, from anywhere, and where their results go. */
typedef struct tile {
    uint32_t n;
    const float *x[REF_TILE_ROWS];
    float *out[REF_TILE_ROWS];
} tile;

/* out[i][r] = bias[r] + sum over j of W[first + r][j] * x[i][j], for n_rows rows of W: each is dequantized once. */
static bool multiply(const ref_call *c, const rz_tensor *w, size_t first, uint32_t n_rows, const float *bias,
                     const tile *t) {
    const rz_dtype_row *dtype = rz_dtype_find(w->spec.dtype);
    const uint32_t cols = w->spec.cols;
    const size_t row_bytes = (size_t)cols / dtype->block_size * dtype->block_bytes;
    double *x = c->program->scratch, *row = x + (size_t)REF_TILE_ROWS * cols;
    float *row_f32 = (float *)(void *)(row + cols);
    for (uint32_t i = 0; i < t->n; i++) {
        for (uint32_t j = 0; j < cols; j++) x[(size_t)i * cols + j] = (double)t->x[i][j];
    }
    for (uint32_t r = 0; r < n_rows; r++) {
        if (ref_cancelled(c)) return false;
        dtype->dequantize(w->data + (first + r) * row_bytes, cols, row_f32);
        for (uint32_t j = 0; j < cols; j++) row[j] = (double)row_f32[j];
        for (uint32_t i = 0; i < t->n; i++) {
            t->out[i][r] = (float)(ref_dot(row, x + (size_t)i * cols, cols) + (bias ? (double)bias[r] : 0.0));
        }
    }
    return true;
}

/* Head h (0 for a whole matrix) takes columns h * x_cols of each row of in0 through n_rows rows of W. */
static bool multiply_rows(const ref_call *c, uint32_t h, uint32_t n_rows, const float *bias) {
    const rz_tensor *w = c->w[0];
    for (uint32_t first = 0; first < c->rows; first += REF_TILE_ROWS) {
        tile t = {0};
        for (; t.n < REF_TILE_ROWS && first + t.n < c->rows; t.n++) {
            t.x[t.n] = c->in[0] + (size_t)(first + t.n) * c->in_cols[0] + (size_t)h * w->spec.cols;
            t.out[t.n] = c->out[0] + (size_t)(first + t.n) * c->out_cols[0] + (size_t)h * n_rows;
        }
        if (!multiply(c, w, (size_t)h * n_rows, n_rows, bias, &t)) return false;
    }
    return true;
}

bool ref_matmul(const ref_call *c) {
    return multiply_rows(c, 0, c->w[0]->spec.rows, c->w[1] ? ref_vector(c->w[1]) : NULL);
}

bool ref_head_matmul(const ref_call *c) {
    const uint32_t n_heads = c->op->n[0];
    for (uint32_t h = 0; h < n_heads; h++) {
        if (!multiply_rows(c, h, c->w[0]->spec.rows / n_heads, NULL)) return false;
    }
    return true;
}

bool ref_logits(const ref_call *c) {
    if (!ref_matmul(c)) return false;
    const double cap = (double)c->op->f[0], factor = (double)c->op->f[1];
    for (size_t i = 0; i < (size_t)c->rows * c->out_cols[0]; i++) {
        if (i % c->out_cols[0] == 0 && ref_cancelled(c)) return false;
        const double y = (double)c->out[0][i] * factor;
        c->out[0][i] = (float)(cap != 0 ? cap * tanh(y / cap) : y);
    }
    return true;
}

/* Expert by expert: the rows routed to it, in tiles. */
bool ref_moe_matmul(const ref_call *c) {
    const rz_tensor *w = c->w[0];
    const uint32_t k = c->op->n[0], n_rows = c->step->batch->header->n_tokens * k;
    const uint32_t rows_per_x = c->rows == n_rows ? 1 : k; /* in0 is [Tk] or [T] */
    const int32_t *ids = (const int32_t *)(const void *)c->in[1];
    for (uint32_t e = 0; e < w->spec.n_experts; e++) {
        tile t = {0};
        for (uint32_t i = 0; i < n_rows; i++) {
            if (ids[i] == (int32_t)e) {
                t.x[t.n] = c->in[0] + (size_t)(i / rows_per_x) * c->in_cols[0];
                t.out[t.n++] = c->out[0] + (size_t)i * c->out_cols[0];
            }
            if (t.n == 0 || (t.n < REF_TILE_ROWS && i + 1 < n_rows)) continue;
            if (!multiply(c, w, (size_t)e * w->spec.rows, w->spec.rows, NULL, &t)) return false;
            t.n = 0;
        }
    }
    return true;
}
