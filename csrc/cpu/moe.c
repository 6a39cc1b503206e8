/* moe.c - products whose matrix changes from row to row or head to head: experts, and per-head matrices. */
#include "cpu.h"
#include <math.h>
#include <string.h>

/* ---- choosing experts ------------------------------------------------------------------------------------------- */

static void softmax(float *x, uint32_t n) {
    float top = x[0], sum = 0;
    for (uint32_t i = 1; i < n; i++) top = x[i] > top ? x[i] : top;
    for (uint32_t i = 0; i < n; i++) sum += x[i] = expf(x[i] - top);
    for (uint32_t i = 0; i < n; i++) x[i] /= sum;
}

/* The best of the experts not chosen before; lowest id among equals. */
static int32_t best_of(const float *score, const float *bias, uint32_t n, const int32_t *chosen, uint32_t n_chosen) {
    int32_t best = -1;
    float best_score = 0;
    for (uint32_t e = 0; e < n; e++) {
        const float s = score[e] + (bias ? bias[e] : 0.0f);
        if (best >= 0 && !(s > best_score)) continue;
        bool taken = false;
        for (uint32_t i = 0; i < n_chosen && !taken; i++) taken = chosen[i] == (int32_t)e;
        if (taken) continue;
        best = (int32_t)e;
        best_score = s;
    }
    return best;
}

static void route_rows(rz_cpu_program *p, uint32_t thread, uint32_t first, uint32_t end) {
    const rz_op *op = p->launch->op;
    const uint32_t n = rz_cpu_cols(p, op->in[0]), k = op->n[0];
    const float *x = rz_cpu_value(p, op->in[0]), *bias = rz_cpu_vector(p, op->w[0]);
    float *score = p->scratch[thread].row;
    for (size_t r = first; r < end; r++) {
        float *weights = rz_cpu_value(p, op->out[0]) + r * k, sum = 0;
        int32_t *ids = (int32_t *)(void *)rz_cpu_value(p, op->out[1]) + r * k;
        memcpy(score, x + r * n, n * sizeof(float));
        if (op->n[1] == 0) softmax(score, n);
        for (uint32_t e = 0; e < n && op->n[1] == 2; e++) score[e] = 1.0f / (1.0f + expf(-score[e]));
        for (uint32_t i = 0; i < k; i++) {
            ids[i] = best_of(score, bias, n, ids, i);
            weights[i] = score[ids[i]];
        }
        if (op->n[1] == 1) softmax(weights, k);
        for (uint32_t i = 0; i < k; i++) sum += weights[i];
        const float factor = op->n[2] ? op->f[0] / sum : op->f[0];
        for (uint32_t i = 0; i < k; i++) weights[i] *= factor;
    }
}

void rz_cpu_moe_route(rz_cpu_program *p, const rz_cpu_launch *l) {
    rz_cpu_each_row(p, p->n_rows[RZ_ROWS_T], rz_cpu_cols(p, l->op->in[0]) * 16ull, route_rows);
}

static void combine_rows(rz_cpu_program *p, uint32_t thread, uint32_t first, uint32_t end) {
    const rz_op *op = p->launch->op;
    const rz_cpu_rows *kernels = p->engine->kernels->rows;
    const uint32_t cols = rz_cpu_cols(p, op->in[0]), k = op->n[0];
    const float *x = rz_cpu_value(p, op->in[0]), *w = rz_cpu_value(p, op->in[1]);
    float *one = p->scratch[thread].row;
    for (size_t r = first; r < end; r++) {
        float *y = rz_cpu_value(p, op->out[0]) + r * cols;
        kernels->scale(x + r * k * cols, w[r * k], cols, y);
        for (size_t i = 1; i < k; i++) {
            kernels->scale(x + (r * k + i) * cols, w[r * k + i], cols, one);
            kernels->add(y, one, cols, y);
        }
    }
}

void rz_cpu_moe_combine(rz_cpu_program *p, const rz_cpu_launch *l) {
    rz_cpu_each_row(p, p->n_rows[RZ_ROWS_T], (uint64_t)rz_cpu_cols(p, l->op->in[0]) * l->op->n[0], combine_rows);
}

/* ---- products --------------------------------------------------------------------------------------------------- */

#define UNIT_STRIPES 4u

/* A product whose activations are n_inputs rows (heads) and whose results are n_results rows. */
typedef struct job {
    rz_cpu_program *p;
    const rz_op *op;
    rz_cpu_matrix m;
    rz_cpu_input x;
    uint32_t n_inputs, n_results, n_units;
    uint32_t rows; /* of the matrix of one expert or head */
} job;

/* Rows in int8 that are prepared `n` at a time: those of head h (0 = the only one). */
static rz_cpu_int8_rows head_rows(const rz_cpu_program *p, size_t h, uint32_t cols, uint32_t n) {
    return (rz_cpu_int8_rows){.blocks = p->int8.blocks + h * (cols / 32) * n,
                              .high = p->int8.high + h * n * rz_x_highs(cols),
                              .n_high = p->int8.n_high + h * n,
                              .n_high_in = p->int8.n_high_in + h * n * rz_n_parts(cols / 32),
                              .n_rows = n};
}

/* Result rows sorted by expert, and cut into runs of one expert that are multiplied at once: run i is
 * order[runs[i]] .. order[runs[i + 1] - 1]. Returns how many there are. */
static uint32_t order_rows(rz_cpu_program *p, const rz_op *op, uint32_t n_results) {
    const int32_t *ids = (const int32_t *)(const void *)rz_cpu_value(p, op->in[1]);
    const uint32_t n_experts = p->ir->weights[op->w[0] - 1].n_experts;
    uint32_t *order = p->row_order, *runs = order + n_results, *count = runs + n_results + 1, n = 0;
    memset(count, 0, (n_experts + 1) * sizeof(uint32_t));
    for (uint32_t r = 0; r < n_results; r++) count[ids[r] + 1]++;
    for (uint32_t e = 0; e < n_experts; e++) count[e + 1] += count[e];
    for (uint32_t r = 0; r < n_results; r++) order[count[ids[r]]++] = r;
    for (uint32_t r = 0; r < n_results; r++) {
        if (n == 0 || ids[order[r]] != ids[order[r - 1]] || r - runs[n - 1] == RZ_BLOCK_ROWS) runs[n++] = r;
    }
    runs[n] = n_results;
    return n;
}

/* Activations of the result rows, in their order, as the products take them. */
static void gather_rows(rz_cpu_program *p, uint32_t thread, uint32_t first, uint32_t end) {
    (void)thread;
    const rz_op *op = p->launch->op;
    const uint32_t layout = rz_cpu_layout_of(&p->ir->weights[op->w[0] - 1]);
    const uint32_t cols = rz_cpu_cols(p, op->in[0]), n_results = rz_cpu_rows_of(p, op->out[0]);
    const uint32_t a_token = n_results / rz_cpu_rows_of(p, op->in[0]); /* results of one input row: k, or 1 */
    const rz_cpu_int8_rows to = head_rows(p, 0, cols, n_results);
    for (uint32_t r = first; r < end; r++) {
        const float *x = rz_cpu_value(p, op->in[0]) + (size_t)(p->row_order[r] / a_token) * cols;
        if (layout < RZ_N_INT8)
            rz_cpu_to_int8(p, x, cols, r, &to);
        else if (layout == RZ_LAYOUT_BF16 && p->engine->kernels->bf16)
            p->engine->kernels->bf16->round(x, cols, p->halves + r * rz_x_halves(cols));
        else
            memcpy(p->xf + (size_t)r * cols, x, cols * sizeof(float));
    }
}

static void moe_items(void *arg, uint32_t thread) {
    const job *j = arg;
    const rz_cpu_scratch *s = &j->p->scratch[thread];
    const int32_t *ids = (const int32_t *)(const void *)rz_cpu_value(j->p, j->op->in[1]);
    const uint32_t *order = j->p->row_order, *runs = order + j->n_results;
    float *out = rz_cpu_value(j->p, j->op->out[0]);
    uint32_t item = 0;
    while (rz_pool_next(thread, &item)) {
        if (rz_cpu_cancelled(j->p)) continue;
        const uint32_t run = item / j->n_units, first = item % j->n_units * UNIT_STRIPES;
        const uint32_t row = runs[run], n_rows = runs[run + 1] - row, at = first * RZ_STRIPE_ROWS;
        const uint32_t n = rz_cpu_least(UNIT_STRIPES, j->m.stripes - first);
        const uint32_t cols = rz_cpu_least(n * RZ_STRIPE_ROWS, j->rows - at);
        const size_t expert = (size_t)ids[order[row]];
        rz_cpu_matrix m = j->m;
        if (m.layout == RZ_LAYOUT_ROWS)
            m.data += expert * m.rows * (m.stripe_bytes / RZ_STRIPE_ROWS);
        else
            m.data += expert * m.stripes * m.stripe_bytes;
        rz_cpu_multiply(j->p, s, &m, first, n, &j->x, row, n_rows, s->tiles);
        for (uint32_t r = 0; r < n_rows; r++) {
            float *to = out + (size_t)order[row + r] * j->rows + at;
            const float *from = s->tiles + 32 * (size_t)r;
            for (uint32_t c = 0; c < cols; c += 32, from += 32 * (size_t)n_rows)
                memcpy(to + c, from, rz_cpu_least(32, cols - c) * sizeof(float));
        }
    }
}

void rz_cpu_moe_matmul(rz_cpu_program *p, const rz_cpu_launch *l) {
    job j = {.p = p, .op = l->op, .m = rz_cpu_matrix_of(p, l->op->w[0], 0)};
    j.n_results = rz_cpu_rows_of(p, l->op->out[0]);
    j.rows = j.m.rows;
    if (j.n_results == 0) return;
    const rz_cpu_int8_rows rows = head_rows(p, 0, j.m.cols, j.n_results);
    j.x = (rz_cpu_input){.x8 = rz_cpu_x8_of(&rows, j.m.cols), .rows = p->xf};
    if (p->engine->kernels->bf16) j.x.halves = p->halves;
    j.n_units = (j.m.stripes + UNIT_STRIPES - 1) / UNIT_STRIPES;
    const uint32_t n_runs = order_rows(p, l->op, j.n_results);
    rz_cpu_each_row(p, j.n_results, j.m.cols, gather_rows);
    rz_pool_run(p->engine->n_threads, n_runs * j.n_units, moe_items, &j);
}

/* ---- heads ------------------------------------------------------------------------------------------------------ */

static void quantize_rows(rz_cpu_program *p, uint32_t thread, uint32_t first, uint32_t end) {
    (void)thread;
    const rz_op *op = p->launch->op;
    const uint32_t cols = p->ir->weights[op->w[0] - 1].cols, heads = rz_cpu_cols(p, op->in[0]) / cols;
    const uint32_t n = rz_cpu_rows_of(p, op->in[0]);
    const float *x = rz_cpu_value(p, op->in[0]);
    for (uint32_t h = 0; h < heads; h++) {
        const rz_cpu_int8_rows to = head_rows(p, h, cols, n);
        for (size_t r = first; r < end; r++) rz_cpu_to_int8(p, x + (r * heads + h) * cols, cols, (uint32_t)r, &to);
    }
}

/* The job of a product of heads; its activations are in int8. */
static job job_of(rz_cpu_program *p, const rz_cpu_launch *l) {
    job j = {.p = p, .op = l->op, .m = rz_cpu_matrix_of(p, l->op->w[0], 0)};
    j.n_inputs = rz_cpu_rows_of(p, l->op->in[0]);
    j.n_results = rz_cpu_rows_of(p, l->op->out[0]);
    j.rows = j.m.rows;
    const rz_cpu_int8_rows rows = head_rows(p, 0, j.m.cols, j.n_inputs);
    j.x = (rz_cpu_input){.x8 = rz_cpu_x8_of(&rows, j.m.cols), .rows = rz_cpu_value(p, l->op->in[0])};
    if (j.m.layout < RZ_N_INT8) rz_cpu_each_row(p, j.n_inputs, rz_cpu_cols(p, l->op->in[0]), quantize_rows);
    return j;
}

static void head_items(void *arg, uint32_t thread) {
    const job *j = arg;
    const rz_cpu_scratch *s = &j->p->scratch[thread];
    const uint32_t heads = j->op->n[0], a_head = j->rows / heads;
    uint32_t item = 0;
    while (rz_pool_next(thread, &item)) {
        if (rz_cpu_cancelled(j->p)) continue;
        const uint32_t h = item / j->n_units, unit = item % j->n_units;
        /* the stripes that hold rows a_head * h .. of this unit; heads need not begin a stripe */
        const uint32_t begin = a_head * h + unit * UNIT_STRIPES * RZ_STRIPE_ROWS;
        const uint32_t end = rz_cpu_least(begin + UNIT_STRIPES * RZ_STRIPE_ROWS, a_head * (h + 1));
        const uint32_t first = begin / RZ_STRIPE_ROWS, n = (end - 1) / RZ_STRIPE_ROWS + 1 - first;
        for (uint32_t r = 0; r < j->n_results; r++) {
            rz_cpu_input x = j->x;
            const rz_cpu_int8_rows rows = head_rows(j->p, h, j->m.cols, j->n_inputs);
            x.x8 = rz_cpu_x8_of(&rows, j->m.cols);
            x.rows += (size_t)h * j->m.cols + (size_t)r * (heads - 1) * j->m.cols; /* row r is heads * r + h */
            rz_cpu_multiply(j->p, s, &j->m, first, n, &x, r, 1, s->tiles);
            memcpy(rz_cpu_value(j->p, j->op->out[0]) + (size_t)r * j->rows + begin,
                   s->tiles + (begin - first * RZ_STRIPE_ROWS), (end - begin) * sizeof(float));
        }
    }
}

void rz_cpu_head_matmul(rz_cpu_program *p, const rz_cpu_launch *l) {
    job j = job_of(p, l);
    const uint32_t a_head = j.rows / l->op->n[0];
    j.n_units = (a_head + UNIT_STRIPES * RZ_STRIPE_ROWS - 1) / (UNIT_STRIPES * RZ_STRIPE_ROWS);
    rz_pool_run(p->engine->n_threads, l->op->n[0] * j.n_units, head_items, &j);
}
