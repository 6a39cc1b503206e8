/* elementwise.c - glu, unary, add, mul, scale, softcap, allReduce. */
#include "ref/ref.h"
#include <math.h>

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

/* One element of the result. */
typedef float element(const ref_call *c, size_t i);

static inline bool each(const ref_call *c, element *f) {
    const size_t cols = c->in_cols[0];
    for (size_t t = 0; t < c->rows; t++) {
        if (ref_cancelled(c)) return false;
        for (size_t i = t * cols; i < (t + 1) * cols; i++) c->out[0][i] = f(c, i);
    }
    return true;
}

static float glu(const ref_call *c, size_t i) {
    return (float)(activation(c->op->n[0], (double)c->in[0][i]) * (double)c->in[1][i]);
}

static float clamped_glu(const ref_call *c, size_t i) {
    const double alpha = (double)c->op->f[0], limit = (double)c->op->f[1], up = (double)c->in[1][i];
    const double gate = (double)c->in[0][i] > limit ? limit : (double)c->in[0][i];
    const double clamped = up > limit ? limit : up < -limit ? -limit : up;
    return (float)(gate * sigmoid(alpha * gate) * (clamped + 1.0));
}

static float unary(const ref_call *c, size_t i) { return (float)activation(c->op->n[0], (double)c->in[0][i]); }

/* The second operand of add and mul: in1, or w0 for every row. */
static float second(const ref_call *c, size_t i) {
    return c->in[1] ? c->in[1][i] : ref_vector(c->w[0])[i % c->in_cols[0]];
}

static float add(const ref_call *c, size_t i) { return c->in[0][i] + second(c, i); }
static float mul(const ref_call *c, size_t i) { return c->in[0][i] * second(c, i); }
static float scale(const ref_call *c, size_t i) { return c->in[0][i] * c->op->f[0]; }

static float softcap(const ref_call *c, size_t i) {
    const double cap = (double)c->op->f[0];
    return (float)(cap * tanh((double)c->in[0][i] / cap));
}

static float same(const ref_call *c, size_t i) { return c->in[0][i]; }

bool ref_glu(const ref_call *c) { return each(c, c->op->n[0] == 3 ? clamped_glu : glu); }
bool ref_unary(const ref_call *c) { return each(c, unary); }
bool ref_add(const ref_call *c) { return each(c, add); }
bool ref_mul(const ref_call *c) { return each(c, mul); }
bool ref_scale(const ref_call *c) { return each(c, scale); }
bool ref_softcap(const ref_call *c) { return each(c, softcap); }
bool ref_all_reduce(const ref_call *c) { return each(c, same); } /* one device */
