/* norm.c - rmsNorm, layerNorm. */
#include "ref/ref.h"
#include <math.h>

bool ref_rms_norm(const ref_call *c) {
    const uint32_t cols = c->in_cols[0], group = c->op->n[0] ? c->op->n[0] : cols;
    const float *weight = c->w[0] ? ref_vector(c->w[0]) : NULL;
    const uint32_t weight_cols = c->w[0] ? c->w[0]->spec.cols : 1;
    for (size_t t = 0; t < c->rows; t++) {
        if (ref_cancelled(c)) return false;
        for (uint32_t first = 0; first < cols; first += group) {
            const float *x = c->in[0] + t * cols + first;
            float *out = c->out[0] + t * cols + first;
            double squares = 0;
            for (uint32_t i = 0; i < group; i++) squares += (double)x[i] * (double)x[i];
            const double factor = 1.0 / sqrt(squares / group + (double)c->op->f[0]);
            for (uint32_t i = 0; i < group; i++) {
                const double w = weight ? (double)weight[(first + i) % weight_cols] : 1.0;
                out[i] = (float)((double)x[i] * factor * w);
            }
        }
    }
    return true;
}

bool ref_layer_norm(const ref_call *c) {
    const uint32_t cols = c->in_cols[0];
    const float *weight = ref_vector(c->w[0]), *bias = c->w[1] ? ref_vector(c->w[1]) : NULL;
    for (size_t t = 0; t < c->rows; t++) {
        if (ref_cancelled(c)) return false;
        const float *x = c->in[0] + t * cols;
        float *out = c->out[0] + t * cols;
        double sum = 0, squares = 0;
        for (uint32_t i = 0; i < cols; i++) sum += (double)x[i];
        const double mean = sum / cols;
        for (uint32_t i = 0; i < cols; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
        const double factor = 1.0 / sqrt(squares / cols + (double)c->op->f[0]);
        for (uint32_t i = 0; i < cols; i++) {
            out[i] = (float)(((double)x[i] - mean) * factor * (double)weight[i] + (bias ? (double)bias[i] : 0.0));
        }
    }
    return true;
}
