/* moe.c - moeRoute, moeCombine. moeMatmul is in matmul.c. */
#include "ref/ref.h"
#include <math.h>
#include <string.h>

/* x[n] becomes its softmax. */
static void softmax(double *x, uint32_t n) {
    double max = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
    for (uint32_t i = 0; i < n; i++) sum += x[i] = exp(x[i] - max);
    for (uint32_t i = 0; i < n; i++) x[i] /= sum;
}

/* The k largest of score + bias, best first, lowest index among equals. */
static void choose(const double *score, const float *bias, uint32_t n, uint32_t k, uint8_t *taken, int32_t *ids) {
    memset(taken, 0, n);
    for (uint32_t j = 0; j < k; j++) {
        uint32_t best = n;
        double best_score = 0;
        for (uint32_t e = 0; e < n; e++) {
            const double s = score[e] + (bias ? (double)bias[e] : 0.0);
            if (taken[e] || (best < n && !(s > best_score))) continue;
            best = e;
            best_score = s;
        }
        taken[best] = 1;
        ids[j] = (int32_t)best;
    }
}

bool ref_moe_route(const ref_call *c) {
    const uint32_t n = c->in_cols[0], k = c->op->n[0], gating = c->op->n[1];
    const float *bias = c->w[0] ? ref_vector(c->w[0]) : NULL;
    double *score = c->program->scratch, *chosen = score + n;
    uint8_t *taken = (uint8_t *)(chosen + k);
    for (size_t t = 0; t < c->rows; t++) {
        if (ref_cancelled(c)) return false;
        float *weights = c->out[0] + t * k;
        int32_t *ids = (int32_t *)(void *)c->out[1] + t * k;
        for (uint32_t e = 0; e < n; e++) score[e] = (double)c->in[0][t * n + e];
        if (gating == 0) softmax(score, n);
        for (uint32_t e = 0; e < n && gating == 2; e++) score[e] = 1.0 / (1.0 + exp(-score[e]));
        choose(score, bias, n, k, taken, ids);
        double sum = 0;
        for (uint32_t j = 0; j < k; j++) chosen[j] = score[ids[j]];
        if (gating == 1) softmax(chosen, k);
        for (uint32_t j = 0; j < k; j++) sum += chosen[j];
        const double factor = (double)c->op->f[0] / (c->op->n[2] ? sum : 1.0);
        for (uint32_t j = 0; j < k; j++) weights[j] = (float)(chosen[j] * factor);
    }
    return true;
}

bool ref_moe_combine(const ref_call *c) {
    const size_t cols = c->in_cols[0], k = c->op->n[0];
    for (size_t t = 0; t < c->step->batch->header->n_tokens; t++) {
        if (ref_cancelled(c)) return false;
        for (size_t i = 0; i < cols; i++) {
            double sum = 0;
            for (size_t j = t * k; j < (t + 1) * k; j++) sum += (double)c->in[0][j * cols + i] * (double)c->in[1][j];
            c->out[0][t * cols + i] = (float)sum;
        }
    }
    return true;
}
