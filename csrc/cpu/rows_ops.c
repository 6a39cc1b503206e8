/* rows_ops.c - ops that choose rows (embed, selectRows, pool), and the angles of RoPE, once a step. */
#include "cpu.h"
#include <math.h>
#include <string.h>

static void embed_rows(rz_cpu_program *p, uint32_t thread, uint32_t first, uint32_t end) {
    (void)thread;
    const rz_op *op = p->launch->op;
    const uint32_t cols = rz_cpu_cols(p, op->out[0]);
    float *y = rz_cpu_value(p, op->out[0]);
    for (uint32_t r = first; r < end; r++) {
        float *out = y + (size_t)r * cols;
        rz_cpu_weight_read(p->engine, &p->tensors[op->w[0] - 1], (uint32_t)p->step->batch->tokens[r], 1, out);
        if (op->f[0] != 1.0f) p->engine->kernels->rows->scale(out, op->f[0], cols, out);
    }
}

void rz_cpu_embed(rz_cpu_program *p, const rz_cpu_launch *l) {
    rz_cpu_each_row(p, p->n_rows[RZ_ROWS_T], rz_cpu_cols(p, l->op->out[0]) * 4ull, embed_rows);
}

void rz_cpu_select_rows(rz_cpu_program *p, const rz_cpu_launch *l) {
    const size_t cols = rz_cpu_cols(p, l->op->in[0]);
    const float *x = rz_cpu_value(p, l->op->in[0]);
    float *y = rz_cpu_value(p, l->op->out[0]);
    for (uint32_t r = 0; r < p->step->batch->n_rows; r++) {
        memcpy(y + r * cols, x + p->step->batch->rows[r] * cols, cols * sizeof(float));
    }
}

void rz_cpu_pool_rows(rz_cpu_program *p, const rz_cpu_launch *l) {
    const size_t cols = rz_cpu_cols(p, l->op->in[0]);
    const float *x = rz_cpu_value(p, l->op->in[0]);
    for (uint32_t s = 0; s < p->step->batch->header->n_seqs; s++) {
        const uint32_t first = p->step->batch->seq_first_row[s], end = p->step->batch->seq_first_row[s + 1];
        float *y = rz_cpu_value(p, l->op->out[0]) + s * cols;
        memcpy(y, x + (l->op->n[0] == 2 ? end - 1 : first) * cols, cols * sizeof(float));
        if (l->op->n[0] != 0) continue;
        for (size_t r = first + 1; r < end; r++) p->engine->kernels->rows->add(y, x + r * cols, (uint32_t)cols, y);
        p->engine->kernels->rows->scale(y, 1.0f / (float)(end - first), (uint32_t)cols, y);
    }
}

/* ---- angles ----------------------------------------------------------------------------------------------------- */

const rz_cpu_angles *rz_cpu_angles_of(const rz_cpu_program *p, const rz_op *rope) {
    uint32_t i = 0;
    while (i + 1 < p->n_angles && (p->angles[i].constant != rope->n[3] || p->angles[i].n_rot != rope->n[1])) i++;
    return &p->angles[i];
}

static void angle_rows(rz_cpu_program *p, uint32_t thread, uint32_t first, uint32_t end) {
    (void)thread;
    for (uint32_t i = 0; i < p->n_angles; i++) {
        const rz_cpu_angles *a = &p->angles[i];
        const double *numbers = p->ir->numbers + p->ir->constants[a->constant - 1].first;
        const uint32_t half = a->n_rot / 2;
        for (uint32_t r = first; r < end; r++) {
            for (uint32_t j = 0; j < half; j++) {
                const double angle = p->step->batch->row_position[r] * numbers[j];
                a->cos[(size_t)r * half + j] = (float)(cos(angle) * numbers[half]);
                a->sin[(size_t)r * half + j] = (float)(sin(angle) * numbers[half]);
            }
        }
    }
}

void rz_cpu_fill_angles(rz_cpu_program *p) {
    if (p->n_angles == 0) return;
    rz_cpu_each_row(p, p->n_rows[RZ_ROWS_T], p->angles[0].n_rot * p->n_angles * 8ull, angle_rows);
}
