/* softmax.h - internal to csrc/cpu/isa: what attention does with a chunk of 64 scores, whatever computed them. */
#ifndef RZ_CPU_SOFTMAX_H
#define RZ_CPU_SOFTMAX_H
#include "../kernels.h"
#include "simd.h"
#include <math.h>

#define CHUNK 64u

/* The range of a query within a chunk; high <= low: it sees nothing there. */
AI void range_of(const rz_cpu_queries *qs, uint32_t i, uint32_t first, uint32_t *low, uint32_t *high) {
    *low = qs->low[i] > first ? qs->low[i] - first : 0;
    *high = qs->high[i] <= first ? 0 : qs->high[i] - first < CHUNK ? qs->high[i] - first : CHUNK;
}

/* Scales the scores of query i and hides the keys that it doesn't see; positions of the chunk: first .. first + 63.
 * Returns the largest score so far, which exponentials are taken against. */
AI float visible_scores(const rz_cpu_run *r, const rz_cpu_queries *qs, uint32_t i, uint32_t first, float s[CHUNK]) {
    const i32v lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    uint32_t low, high;
    range_of(qs, i, first, &low, &high);
    const bool all = low == 0 && high == CHUNK;
    f32v v[4], top = splat(-INFINITY);
    UNROLL for (int g = 0; g < 4; g++) {
        v[g] = load_f(s + 16 * g) * r->scale;
        if (r->cap != 0) v[g] = tanh_f(v[g] * (1.0f / r->cap)) * r->cap;
    }
    if (!all)
        UNROLL for (int g = 0; g < 4; g++) {
            const i32v at_key = lane + 16 * g;
            v[g] = at_key < (int32_t)low ? splat(-INFINITY) : v[g];
            v[g] = at_key >= (int32_t)high ? splat(-INFINITY) : v[g];
        }
    UNROLL for (int g = 0; g < 4; g++) {
        top = max_f(v[g], top);
        store_f(s + 16 * g, v[g]);
    }
    const float largest = largest_f(top), old = qs->top[i];
    return largest > old ? largest : old;
}

/* Turns them into exponentials. shrink: by how much what was seen before shrinks, e^(old - now). */
AI void exponentials(rz_cpu_queries *qs, uint32_t i, float now, float shrink, float s[CHUNK]) {
    f32v total = splat(0);
    UNROLL for (int g = 0; g < 4; g++) {
        const f32v e = exp_f(load_f(s + 16 * g) - now);
        total += e;
        store_f(s + 16 * g, e);
    }
    store_f(qs->total[i], fma_f(load_f(qs->total[i]), splat(shrink), total));
    qs->top[i] = now;
}

/* Both for one query. Returns shrink. */
AI float softmax(const rz_cpu_run *r, rz_cpu_queries *qs, uint32_t i, uint32_t first, float s[CHUNK]) {
    const float now = visible_scores(r, qs, i, first, s), shrink = exp_f(splat(qs->top[i] - now))[0];
    exponentials(qs, i, now, shrink, s);
    return shrink;
}

#endif
