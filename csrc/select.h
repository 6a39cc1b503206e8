/* select.h - internal: finding the largest of many values, and the best of weighted ones, without sorting them. */
#ifndef RZ_SELECT_H
#define RZ_SELECT_H
#include <stdbool.h>
#include <stdint.h>

#define RZ_SCAN_BLOCK 64u /* values that share a maximum in rz_scan's block_max */
#define RZ_CUT_DIGITS 2048u

typedef struct rz_scan_result {
    float max;       /* -inf when n = 0 or nothing is larger */
    uint32_t argmax; /* lowest index among equals; 0 when max is -inf */
    bool finite;     /* no NaN, no Inf */
} rz_scan_result;

/* One pass over x[n]: its maximum and where, whether all are finite, and the maximum of each block of RZ_SCAN_BLOCK
 * (block_max[ceil(n / RZ_SCAN_BLOCK)], written). NaN counts as smaller than anything. */
rz_scan_result rz_scan(const float *x, uint32_t n, float *block_max);

typedef struct rz_ranked {
    float x;
    uint32_t id;
} rz_ranked;

/* The k <= n best of x[n] (largest; lowest id among equals) into heap[k]; heap[0] is the worst of them. block_max is
 * rz_scan's. About one comparison a block when x is in no particular order; n log k at worst. */
void rz_top(const float *x, uint32_t n, const float *block_max, uint32_t k, rz_ranked *heap);

/* Sorts what rz_top found, best first. */
void rz_top_sort(rz_ranked *heap, uint32_t k);

/* Order the items i < n by key, equal keys by index; an item stays when the weights of those before it sum to less
 * than target (so the first one stays when target > 0). Found in three counting passes, without sorting.
 *   weights  [n] >= 0, or NULL: each counts 1
 *   mass     [RZ_CUT_DIGITS] scratch
 * An item stays when key < cut.key, or key = cut.key and the weights of the equal ones before it sum to less than
 * cut.rest. */
typedef struct rz_cut_result {
    uint32_t key;
    double rest;
} rz_cut_result;
rz_cut_result rz_cut(const uint32_t *keys, const float *weights, uint32_t n, double target, double *mass);

/* A key that orders floats from the smallest to the largest; -0 and 0 are equal. */
uint32_t rz_order_key(float x);

#endif
