/* rope.c - rope. */
#include "ref/ref.h"
#include <math.h>
#include <string.h>

bool ref_rope(const ref_call *c) {
    const uint32_t cols = c->in_cols[0], head_cols = c->op->n[0], n_pairs = c->op->n[1] / 2;
    const bool adjacent = c->op->n[2] == 1;
    const double *frequency = c->program->ir->numbers + c->program->ir->constants[c->op->n[3] - 1].first;
    const double magnitude = frequency[n_pairs];
    memcpy(c->out[0], c->in[0], (size_t)c->rows * cols * sizeof(float)); /* columns that don't turn */
    for (size_t t = 0; t < c->rows; t++) {
        if (ref_cancelled(c)) return false;
        for (uint32_t i = 0; i < n_pairs; i++) {
            const double angle = (double)c->step->batch->row_position[t] * frequency[i];
            const float cosine = (float)(cos(angle) * magnitude), sine = (float)(sin(angle) * magnitude);
            const uint32_t a_at = adjacent ? 2 * i : i, b_at = adjacent ? 2 * i + 1 : i + n_pairs;
            for (uint32_t head = 0; head < cols; head += head_cols) {
                const double a = (double)c->in[0][t * cols + head + a_at], b = (double)c->in[0][t * cols + head + b_at];
                c->out[0][t * cols + head + a_at] = (float)(a * (double)cosine - b * (double)sine);
                c->out[0][t * cols + head + b_at] = (float)(a * (double)sine + b * (double)cosine);
            }
        }
    }
    return true;
}
