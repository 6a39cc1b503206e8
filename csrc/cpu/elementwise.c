/* elementwise.c - ops whose rows are independent and cheap: norms, activations, sums, RoPE. */
#include "cpu.h"
#include <string.h>

/* A pool job pays from about this many numbers on. */
#define WORTH_A_JOB 16384u

typedef struct job {
    rz_cpu_program *p;
    rz_cpu_rows_fn *fn;
    uint32_t n_rows, rows_an_item;
} job;

static void run_items(void *arg, uint32_t thread) {
    const job *j = arg;
    uint32_t item = 0;
    while (rz_pool_next(thread, &item)) {
        const uint32_t first = item * j->rows_an_item;
        if (rz_cpu_cancelled(j->p)) continue;
        j->fn(j->p, thread, first, rz_cpu_least(first + j->rows_an_item, j->n_rows));
    }
}

void rz_cpu_each_row(rz_cpu_program *p, uint32_t n_rows, uint64_t cols, rz_cpu_rows_fn *fn) {
    if (n_rows * cols < WORTH_A_JOB || n_rows < 2 || p->engine->n_threads == 1) {
        fn(p, 0, 0, n_rows);
        return;
    }
    job j = {.p = p, .fn = fn, .n_rows = n_rows};
    const uint32_t worth = (uint32_t)(WORTH_A_JOB / (cols + 1));
    j.rows_an_item = rz_cpu_most(1, rz_cpu_least(n_rows / (4 * p->engine->n_threads), worth));
    rz_pool_run(p->engine->n_threads, (n_rows + j.rows_an_item - 1) / j.rows_an_item, run_items, &j);
}

/* ---- norms ------------------------------------------------------------------------------------------------------ */

static void rms_norm_rows(rz_cpu_program *p, uint32_t thread, uint32_t first, uint32_t end) {
    (void)thread;
    const rz_op *op = p->launch->op;
    const uint32_t cols = rz_cpu_cols(p, op->in[0]), group = op->n[0] ? op->n[0] : cols;
    const float *x = rz_cpu_value(p, op->in[0]), *w = rz_cpu_vector(p, op->w[0]);
    const bool every_column = w && p->ir->weights[op->w[0] - 1].cols == cols;
    float *y = rz_cpu_value(p, op->out[0]);
    for (size_t r = first; r < end; r++) {
        for (uint32_t g = 0; g < cols; g += group) {
            p->engine->kernels->rows->rms_norm(x + r * cols + g, every_column ? w + g : w, group, op->f[0],
                                               y + r * cols + g);
        }
    }
}

void rz_cpu_rms_norm(rz_cpu_program *p, const rz_cpu_launch *l) {
    rz_cpu_each_row(p, rz_cpu_rows_of(p, l->op->in[0]), rz_cpu_cols(p, l->op->in[0]), rms_norm_rows);
}

static void layer_norm_rows(rz_cpu_program *p, uint32_t thread, uint32_t first, uint32_t end) {
    (void)thread;
    const rz_op *op = p->launch->op;
    const uint32_t cols = rz_cpu_cols(p, op->in[0]);
    const float *x = rz_cpu_value(p, op->in[0]);
    float *y = rz_cpu_value(p, op->out[0]);
    for (size_t r = first; r < end; r++) {
        p->engine->kernels->rows->layer_norm(x + r * cols, rz_cpu_vector(p, op->w[0]), rz_cpu_vector(p, op->w[1]),
                                             cols, op->f[0], y + r * cols);
    }
}

void rz_cpu_layer_norm(rz_cpu_program *p, const rz_cpu_launch *l) {
    rz_cpu_each_row(p, rz_cpu_rows_of(p, l->op->in[0]), rz_cpu_cols(p, l->op->in[0]), layer_norm_rows);
}

/* ---- one number at a time --------------------------------------------------------------------------------------- */

static void map_rows(rz_cpu_program *p, uint32_t thread, uint32_t first, uint32_t end) {
    (void)thread;
    const rz_op *op = p->launch->op;
    const rz_cpu_rows *k = p->engine->kernels->rows;
    const uint32_t cols = rz_cpu_cols(p, op->in[0]);
    const float *a = rz_cpu_value(p, op->in[0]), *b = op->in[1] ? rz_cpu_value(p, op->in[1]) : NULL;
    const float *w = rz_cpu_vector(p, op->w[0]);
    float *y = rz_cpu_value(p, op->out[0]);
    for (size_t r = first; r < end; r++) {
        const float *x = a + r * cols, *other = b ? b + r * cols : w;
        float *out = y + r * cols;
        switch (op->code) {
        case RZ_OP_GLU: k->glu(op->n[0], op->f[0], op->f[1], x, other, cols, out); break;
        case RZ_OP_UNARY: k->unary(op->n[0], x, cols, out); break;
        case RZ_OP_ADD: k->add(x, other, cols, out); break;
        case RZ_OP_MUL: k->mul(x, other, cols, out); break;
        case RZ_OP_SCALE: k->scale(x, op->f[0], cols, out); break;
        case RZ_OP_SOFTCAP: k->softcap(x, op->f[0], cols, out); break;
        default: memcpy(out, x, cols * sizeof(float)); break;
        }
    }
}

static void map(rz_cpu_program *p, const rz_cpu_launch *l) {
    rz_cpu_each_row(p, rz_cpu_rows_of(p, l->op->in[0]), rz_cpu_cols(p, l->op->in[0]), map_rows);
}

void rz_cpu_glu(rz_cpu_program *p, const rz_cpu_launch *l) { map(p, l); }
void rz_cpu_unary(rz_cpu_program *p, const rz_cpu_launch *l) { map(p, l); }
void rz_cpu_add(rz_cpu_program *p, const rz_cpu_launch *l) { map(p, l); }
void rz_cpu_mul(rz_cpu_program *p, const rz_cpu_launch *l) { map(p, l); }
void rz_cpu_scale(rz_cpu_program *p, const rz_cpu_launch *l) { map(p, l); }
void rz_cpu_softcap(rz_cpu_program *p, const rz_cpu_launch *l) { map(p, l); }
void rz_cpu_all_reduce(rz_cpu_program *p, const rz_cpu_launch *l) { map(p, l); }

/* ---- RoPE ------------------------------------------------------------------------------------------------------- */

static void rope_rows(rz_cpu_program *p, uint32_t thread, uint32_t first, uint32_t end) {
    (void)thread;
    const rz_op *op = p->launch->op;
    const rz_cpu_angles *angles = rz_cpu_angles_of(p, op);
    const uint32_t cols = rz_cpu_cols(p, op->in[0]), half = op->n[1] / 2;
    const float *x = rz_cpu_value(p, op->in[0]);
    float *y = rz_cpu_value(p, op->out[0]);
    for (size_t r = first; r < end; r++) {
        for (uint32_t h = 0; h < cols; h += op->n[0]) {
            p->engine->kernels->rows->rope(x + r * cols + h, angles->cos + r * half, angles->sin + r * half, op->n[0],
                                           op->n[1], op->n[2], y + r * cols + h);
        }
    }
}

void rz_cpu_rope(rz_cpu_program *p, const rz_cpu_launch *l) {
    rz_cpu_each_row(p, p->n_rows[RZ_ROWS_T], rz_cpu_cols(p, l->op->in[0]), rope_rows);
}
