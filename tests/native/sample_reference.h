/* sample_reference.h - the filters of csrc/sample.h written the long way: doubles, libm, a sort for every filter. */
#ifndef RZ_SAMPLE_REFERENCE_H
#define RZ_SAMPLE_REFERENCE_H
#include "sample_fixture.h"

typedef struct item {
    double key;
    uint32_t id;
} item;

static inline int by_key(const void *a, const void *b) {
    const item *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static inline void softmax(const double *x, uint32_t n, double t, double *p) {
    double max = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n; i++) max = fmax(max, x[i]);
    for (uint32_t i = 0; i < n; i++) sum += p[i] = exp((x[i] - max) / t);
    for (uint32_t i = 0; i < n; i++) p[i] /= sum;
}

/* Forbids all but the shortest beginning of the sorted items whose probabilities reach target. Returns how near the
 * decision was. */
static inline double keep_mass(double *x, const double *p, item *items, uint32_t n, double target) {
    qsort(items, n, sizeof *items, by_key);
    double sum = 0, margin = 1;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t id = items[i].id;
        if (i > 0) margin = fmin(margin, fabs(sum - target));
        if (i > 0 && sum >= target) x[id] = -INFINITY;
        sum += p[id];
    }
    return margin;
}

/* x becomes the filtered logits, p the probabilities to draw with. Returns how near the nearest decision was. */
static inline double reference(double *x, uint32_t n, const rz_batch_out *o, double *p) {
    static item items[VOCAB_MAX];
    double margin = 1;
    if (o->top_k > 0 && o->top_k < n) {
        for (uint32_t i = 0; i < n; i++) items[i] = (item){-x[i], i};
        qsort(items, n, sizeof *items, by_key);
        for (uint32_t i = o->top_k; i < n; i++) x[items[i].id] = -INFINITY;
    }
    if (o->typical_p < 1) {
        softmax(x, n, 1, p);
        double entropy = 0;
        for (uint32_t i = 0; i < n; i++) entropy -= p[i] > 0 ? p[i] * log(p[i]) : 0;
        for (uint32_t i = 0; i < n; i++) items[i] = (item){fabs(-log(p[i]) - entropy), i};
        margin = fmin(margin, keep_mass(x, p, items, n, o->typical_p));
    }
    if (o->top_p < 1) {
        softmax(x, n, 1, p);
        for (uint32_t i = 0; i < n; i++) items[i] = (item){-x[i], i};
        margin = fmin(margin, keep_mass(x, p, items, n, o->top_p));
    }
    if (o->min_p > 0) {
        softmax(x, n, 1, p);
        double best = 0;
        for (uint32_t i = 0; i < n; i++) best = fmax(best, p[i]);
        for (uint32_t i = 0; i < n; i++) {
            if (x[i] == -INFINITY || p[i] == best) continue;
            margin = fmin(margin, fabs(p[i] / best - o->min_p));
            if (p[i] < o->min_p * best) x[i] = -INFINITY;
        }
    }
    softmax(x, n, o->temperature, p);
    return margin;
}

static inline uint32_t invert(const double *p, uint32_t n, double u, double *margin) {
    double sum = 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (p[i] == 0) continue;
        *margin = fmin(*margin, fabs(sum - u) + (sum == 0)); /* 0 is no boundary that rounding can move */
        sum += p[i];
        last = i;
        if (sum > u) break;
    }
    *margin = fmin(*margin, fabs(sum - u));
    return last;
}

#endif
