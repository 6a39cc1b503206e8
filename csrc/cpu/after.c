/* after.c - what follows a product, on results that are still in the nearest cache: bias, residual, activation, heads
 * with norm and RoPE into values or the cache. Each does what the unfused ops do, number by number. */
#include "cpu.h"
#include <string.h>

/* Columns of the result that a unit has: the last stripe of a matrix may be part empty. */
static uint32_t unit_cols(const rz_cpu_matrix *m, uint32_t first, uint32_t n) {
    return rz_cpu_least(n * RZ_STRIPE_ROWS, m->rows - first * RZ_STRIPE_ROWS);
}

/* Adds the bias to the part of a row that lies in tile t. */
static void add_bias(const rz_cpu_program *p, const rz_cpu_matrix *m, uint32_t col, uint32_t n, float *x) {
    if (m->bias) p->engine->kernels->rows->add(x, m->bias + col, n, x);
}

static void store(const rz_cpu_program *p, const rz_cpu_product *d, uint32_t first, uint32_t n, uint32_t row,
                  uint32_t n_rows, float *tiles) {
    const rz_cpu_rows *k = p->engine->kernels->rows;
    const rz_cpu_matrix *m = &d->mats[0];
    const uint32_t cols = unit_cols(m, first, n), at = first * RZ_STRIPE_ROWS;
    float *y = rz_cpu_value(p, d->out) + (size_t)row * m->rows + at;
    const float *residual = d->residual ? rz_cpu_value(p, d->residual) + (size_t)row * m->rows + at : NULL;
    for (uint32_t c = 0; c < cols; c += 32, tiles += 32 * (size_t)n_rows) {
        const uint32_t w = rz_cpu_least(32, cols - c);
        for (uint32_t r = 0; r < n_rows; r++) {
            float *x = tiles + 32 * (size_t)r, *out = y + (size_t)r * m->rows + c;
            add_bias(p, m, at + c, w, x);
            if (d->factor != 1.0f) k->scale(x, d->factor, w, x);
            if (residual)
                k->add(residual + (size_t)r * m->rows + c, x, w, out);
            else if (d->cap != 0.0f)
                k->softcap(x, d->cap, w, out);
            else
                memcpy(out, x, w * sizeof(float));
        }
    }
}

static void glu(const rz_cpu_program *p, const rz_cpu_product *d, uint32_t first, uint32_t n, uint32_t row,
                uint32_t n_rows, float *gate, float *up) {
    const rz_cpu_rows *k = p->engine->kernels->rows;
    const rz_cpu_matrix *m = &d->mats[0];
    const uint32_t cols = unit_cols(m, first, n), at = first * RZ_STRIPE_ROWS;
    for (uint32_t c = 0; c < cols; c += 32, gate += 32 * (size_t)n_rows, up += 32 * (size_t)n_rows) {
        const uint32_t w = rz_cpu_least(32, cols - c);
        for (uint32_t r = 0; r < n_rows; r++) {
            float *g = gate + 32 * (size_t)r, *u = up + 32 * (size_t)r;
            add_bias(p, m, at + c, w, g);
            add_bias(p, &d->mats[1], at + c, w, u);
            k->glu(d->glu->n[0], d->glu->f[0], d->glu->f[1], g, u, w, g);
            memcpy(rz_cpu_value(p, d->out) + (size_t)(row + r) * m->rows + at + c, g, w * sizeof(float));
        }
    }
}

/* One head of one row, x[cols]: norm, RoPE, and where it goes. */
static void finish_head(const rz_cpu_program *p, const rz_cpu_heads *h, const rz_cpu_kv *kv, uint32_t m_rows,
                        uint32_t at, uint32_t row, float *x) {
    const rz_cpu_rows *k = p->engine->kernels->rows;
    if (h->norm) {
        const float *w = rz_cpu_vector(p, h->norm->w[0]);
        const bool every_column = w && p->ir->weights[h->norm->w[0] - 1].cols == m_rows;
        k->rms_norm(x, every_column ? w + at : w, h->cols, h->norm->f[0], x);
    }
    if (h->rope) {
        const rz_cpu_angles *a = rz_cpu_angles_of(p, h->rope);
        const size_t half = a->n_rot / 2;
        k->rope(x, a->cos + row * half, a->sin + row * half, h->cols, a->n_rot, h->rope->n[2], x);
    }
    if (h->out) {
        memcpy(rz_cpu_value(p, h->out) + (size_t)row * m_rows + at, x, h->cols * sizeof(float));
    } else if (h->is_keys) {
        rz_cpu_put_keys(p, kv, h->kv_write->n[0], row, at, h->cols, x);
    } else {
        rz_cpu_put_values(p, kv, h->kv_write->n[0], row, at, h->cols, x);
    }
}

static void heads(const rz_cpu_program *p, const rz_cpu_scratch *s, const rz_cpu_product *d, uint32_t m,
                  uint32_t first, uint32_t row, uint32_t n_rows, const float *tiles) {
    const rz_cpu_heads *h = &d->heads[m];
    const uint32_t at = first * RZ_STRIPE_ROWS;
    const rz_cpu_kv kv = h->kv_write ? rz_cpu_kv_of(p, h->kv_write->n[0], h->kv_write->n[1]) : (rz_cpu_kv){0};
    for (uint32_t r = 0; r < n_rows; r++) {
        for (uint32_t c = 0; c < h->cols; c += 32) {
            const uint32_t w = rz_cpu_least(32, h->cols - c);
            memcpy(s->row + c, tiles + c * (size_t)n_rows + 32 * (size_t)r, w * sizeof(float));
        }
        add_bias(p, &d->mats[m], at, h->cols, s->row);
        finish_head(p, h, &kv, d->mats[m].rows, at, row + r, s->row);
    }
}

void rz_cpu_after_product(const rz_cpu_program *p, const rz_cpu_scratch *s, const rz_cpu_product *d, uint32_t m,
                          uint32_t first, uint32_t n, uint32_t row, uint32_t n_rows, float *tiles) {
    switch (d->after) {
    case RZ_AFTER_STORE:
    case RZ_AFTER_ADD: store(p, d, first, n, row, n_rows, tiles); break;
    case RZ_AFTER_GLU: {
        /* The other matrix's tiles stand behind the gate's. */
        float *up = tiles + (size_t)(n + 1) / 2 * 32 * n_rows;
        glu(p, d, first, n, row, n_rows, tiles, up);
        break;
    }
    case RZ_AFTER_HEADS: heads(p, s, d, m, first, row, n_rows, tiles); break;
    }
}
