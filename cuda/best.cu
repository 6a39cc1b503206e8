// best.cu - the RZC_BEST largest logits of a row, best first (lowest id among equals): what a filter by top-k needs.
//
// Keys of 64 bits order logits and ids at once: the logit's order in the upper half, the complement of the id in the
// lower. A block sorts lists of RZC_BEST keys, then halves their number by merging: of two sorted lists, the larger of
// a[i] and b[RZC_BEST - 1 - i] are the best of both, and a bitonic sequence that log2(RZC_BEST) exchanges sort.
// Both launches: part by part of a row, then its parts.
#include "dequant.cuh"

#define LIST RZC_BEST

__device__ __forceinline__ u64 key_of(float x, u32 id) {
    const u32 bits = __float_as_uint(x + 0.f); // -0 is 0
    return (u64)(bits & 0x80000000u ? ~bits : bits | 0x80000000u) << 32 | (u32)~id;
}

// Exchanges keys i and i + stride where they are out of order; every thread of the block calls it.
__device__ __forceinline__ void exchange(u64 *keys, u32 n, u32 stride, u32 run) {
    __syncthreads();
    for (u32 t = threadIdx.x; t < n / 2; t += blockDim.x) {
        const u32 i = t / stride * 2 * stride + t % stride;
        const bool descends = (i & run) == 0;
        const u64 a = keys[i], b = keys[i + stride];
        if ((a < b) == descends) keys[i] = b, keys[i + stride] = a;
    }
}

// Leaves the best list of n_lists sorted ones at the front.
__device__ void merge(u64 *keys, u32 n_lists) {
    while (n_lists > 1) {
        const u32 half = (n_lists + 1) / 2, n = n_lists / 2 * LIST;
        __syncthreads();
        for (u32 t = threadIdx.x; t < n; t += blockDim.x) {
            const u64 other = keys[half * LIST + t - t % LIST + (LIST - 1 - t % LIST)];
            if (other > keys[t]) keys[t] = other;
        }
        for (u32 stride = LIST / 2; stride > 0; stride /= 2) exchange(keys, n, stride, 0);
        n_lists = half;
    }
    __syncthreads();
}

// grid: (parts of RZC_BEST_PART logits, rows); block: 512
extern "C" __global__ void __launch_bounds__(512) rzc_best_part_k(const rzc_best p) {
    __shared__ u64 keys[RZC_BEST_PART];
    const float *x = p.logits + (u64)blockIdx.y * p.vocab;
    const u32 first = blockIdx.x * RZC_BEST_PART;
    for (u32 i = threadIdx.x; i < RZC_BEST_PART; i += blockDim.x) {
        keys[i] = first + i < p.vocab ? key_of(__ldcg(x + first + i), first + i) : 0;
    }
    for (u32 run = 2; run < LIST; run *= 2) {
        for (u32 stride = run / 2; stride > 0; stride /= 2) exchange(keys, RZC_BEST_PART, stride, run);
    }
    for (u32 stride = LIST / 2; stride > 0; stride /= 2) exchange(keys, RZC_BEST_PART, stride, 0);
    merge(keys, RZC_BEST_PART / LIST);
    u64 *out = (u64 *)p.parts + ((u64)blockIdx.y * p.n_parts + blockIdx.x) * LIST;
    if (threadIdx.x < LIST) out[threadIdx.x] = keys[threadIdx.x];
}

// grid: rows; block: 1024; shared: [n_parts][RZC_BEST] keys
extern "C" __global__ void __launch_bounds__(1024) rzc_best_join_k(const rzc_best p) {
    extern __shared__ u64 lists[];
    const u64 *from = (const u64 *)p.parts + (u64)blockIdx.x * p.n_parts * LIST;
    for (u32 i = threadIdx.x; i < p.n_parts * LIST; i += blockDim.x) lists[i] = __ldcg(from + i);
    merge(lists, p.n_parts);
    if (threadIdx.x < LIST) ((u64 *)p.out)[blockIdx.x * LIST + threadIdx.x] = lists[threadIdx.x];
}
