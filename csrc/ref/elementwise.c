/* elementwise.c - glu, unary, add, mul, scale, softcap, allReduce. */
#include "ref/ref.h"
#include <math.h>
#include <string.h>

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
static double silu(double x) { return x * sigmoid(x); }
static double gelu_erf(double x) { return 0.5 * x * (1.0 + erf(x * 0.70710678118654752440)); }

static double gelu_tanh(double x) {
    const double root_2_over_pi = 0.79788456080286535588;
    return 0.5 * x * (1.0 + tanh(root_2_over_pi * (x + 0.044715 * x * x * x)));
}

static double activation(uint32_t which, double x) {
    switch (which) {
    case 0: return silu(x);
    case 1: return gelu_tanh(x);
    case 2: return gelu_erf(x);
    case 3: return x > 0 || isnan(x) ? x : 0;
    case 4: return x > 0 || isnan(x) ? x * x : 0;
    case 5: return sigmoid(x);
    default: return tanh(x);
    }
}

static size_t count(const ref_call *c) { return (size_t)c->rows * c->in_cols[0]; }

bool ref_glu(const ref_call *c) {
    const bool clamped = c->op->n[0] == 3;
    const double alpha = (double)c->op->f[0], limit = (double)c->op->f[1];
    for (size_t i = 0; i < count(c); i++) {
        double gate = (double)c->in[0][i], up = (double)c->in[1][i];
        if (clamped) {
            gate = gate > limit ? limit : gate;
            up = up > limit ? limit : up < -limit ? -limit : up;
            c->out[0][i] = (float)(gate * sigmoid(alpha * gate) * (up + 1.0));
        } else {
            c->out[0][i] = (float)(activation(c->op->n[0], gate) * up);
        }
    }
    return true;
}

bool ref_unary(const ref_call *c) {
    for (size_t i = 0; i < count(c); i++) c->out[0][i] = (float)activation(c->op->n[0], (double)c->in[0][i]);
    return true;
}

/* The second operand of add and mul: in1, or w0 for every row. */
static float second(const ref_call *c, size_t i) {
    return c->in[1] ? c->in[1][i] : ref_vector(c->w[0])[i % c->in_cols[0]];
}

bool ref_add(const ref_call *c) {
    for (size_t i = 0; i < count(c); i++) c->out[0][i] = c->in[0][i] + second(c, i);
    return true;
}

bool ref_mul(const ref_call *c) {
    for (size_t i = 0; i < count(c); i++) c->out[0][i] = c->in[0][i] * second(c, i);
    return true;
}

bool ref_scale(const ref_call *c) {
    for (size_t i = 0; i < count(c); i++) c->out[0][i] = c->in[0][i] * c->op->f[0];
    return true;
}

bool ref_softcap(const ref_call *c) {
    const double cap = (double)c->op->f[0];
    for (size_t i = 0; i < count(c); i++) c->out[0][i] = (float)(cap * tanh((double)c->in[0][i] / cap));
    return true;
}

bool ref_all_reduce(const ref_call *c) { /* one device */
    memcpy(c->out[0], c->in[0], count(c) * sizeof(float));
    return true;
}
