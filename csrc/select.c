/* select.c - see select.h. */
#include "select.h"
#include <math.h>
#include <string.h>

#define LANES 16u /* independent maxima: the loop becomes vector code on any target */

/* Maximum of RZ_SCAN_BLOCK values; *bad becomes NaN if one of them is not finite (x - x is then NaN). */
static float block_scan(const float *x, float *bad) {
    float max[LANES], nan[LANES];
    for (uint32_t l = 0; l < LANES; l++) {
        max[l] = -INFINITY;
        nan[l] = 0.0f;
    }
    for (uint32_t i = 0; i < RZ_SCAN_BLOCK; i += LANES) {
        for (uint32_t l = 0; l < LANES; l++) {
            const float v = x[i + l];
            max[l] = v > max[l] ? v : max[l];
            nan[l] += v - v;
        }
    }
    for (uint32_t half = LANES / 2; half > 0; half /= 2) {
        for (uint32_t l = 0; l < half; l++) {
            max[l] = max[l + half] > max[l] ? max[l + half] : max[l];
            nan[l] += nan[l + half];
        }
    }
    *bad += nan[0];
    return max[0];
}

static float tail_scan(const float *x, uint32_t n, float *bad) {
    float max = -INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        max = x[i] > max ? x[i] : max;
        *bad += x[i] - x[i];
    }
    return max;
}

rz_scan_result rz_scan(const float *x, uint32_t n, float *block_max) {
    rz_scan_result r = {.max = -INFINITY};
    float bad = 0.0f;
    uint32_t best = 0;
    for (uint32_t i = 0, b = 0; i < n; i += RZ_SCAN_BLOCK, b++) {
        const float max = n - i >= RZ_SCAN_BLOCK ? block_scan(x + i, &bad) : tail_scan(x + i, n - i, &bad);
        block_max[b] = max;
        if (max > r.max) {
            r.max = max;
            best = b;
        }
    }
    r.finite = bad == 0.0f;
    if (r.max == -INFINITY) return r;
    r.argmax = best * RZ_SCAN_BLOCK;
    while (x[r.argmax] != r.max) r.argmax++;
    return r;
}

static bool worse(rz_ranked a, rz_ranked b) { return a.x < b.x || (a.x == b.x && a.id > b.id); }

/* Restores the heap below slot i: every parent is worse than its children. */
static void sift_down(rz_ranked *heap, uint32_t n, uint32_t i) {
    const rz_ranked v = heap[i];
    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= n) break;
        if (child + 1 < n && worse(heap[child + 1], heap[child])) child++;
        if (!worse(heap[child], v)) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = v;
}

void rz_top(const float *x, uint32_t n, const float *block_max, uint32_t k, rz_ranked *heap) {
    if (k == 0) return;
    for (uint32_t i = 0; i < k; i++) heap[i] = (rz_ranked){x[i], i};
    for (uint32_t i = k / 2; i-- > 0;) sift_down(heap, k, i);
    for (uint32_t i = k; i < n;) {
        const uint32_t b = i / RZ_SCAN_BLOCK;
        uint32_t end = (b + 1) * RZ_SCAN_BLOCK;
        if (end > n) end = n;
        if (block_max[b] > heap[0].x) {
            for (; i < end; i++) {
                /* ids ascend, so an equal value that comes later is worse */
                if (x[i] > heap[0].x) {
                    heap[0] = (rz_ranked){x[i], i};
                    sift_down(heap, k, 0);
                }
            }
        }
        i = end;
    }
}

void rz_top_sort(rz_ranked *heap, uint32_t k) {
    while (k > 1) {
        k--;
        const rz_ranked worst = heap[0];
        heap[0] = heap[k];
        heap[k] = worst;
        sift_down(heap, k, 0);
    }
}

uint32_t rz_order_key(float x) {
    const float positive_zero = x + 0.0f;
    uint32_t bits;
    memcpy(&bits, &positive_zero, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

/* Adds up the weights of the items whose key starts with prefix (all, when above = 32), by the next digit. */
static void digit_mass(const uint32_t *keys, const float *weights, uint32_t n, uint32_t prefix, uint32_t above,
                       uint32_t shift, double *mass) {
    const uint32_t digits = 1u << (above - shift);
    memset(mass, 0, digits * sizeof *mass);
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t key = keys[i];
        if (key >> above == prefix) mass[key >> shift & (digits - 1)] += weights ? (double)weights[i] : 1.0;
    }
}

rz_cut_result rz_cut(const uint32_t *keys, const float *weights, uint32_t n, double target, double *mass) {
    static const uint32_t shifts[] = {21, 10, 0}; /* digits of 11, 11 and 10 bits */
    uint32_t prefix = 0, above = 32;
    double rest = target;
    for (uint32_t d = 0; d < sizeof shifts / sizeof *shifts; d++) {
        const uint32_t digits = 1u << (above - shifts[d]);
        digit_mass(keys, weights, n, prefix, above, shifts[d], mass);
        /* The digit in which target is reached; when rounding leaves the sum short of it, the last one: all stay. */
        uint32_t digit = 0;
        while (digit + 1 < digits && mass[digit] < rest) rest -= mass[digit++];
        prefix = prefix << (above - shifts[d]) | digit;
        above = shifts[d];
    }
    return (rz_cut_result){prefix, rest};
}
