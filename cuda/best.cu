// best.cu - the RZC_BEST largest logits of a row, best first (lowest id among equals): what a filter by top-k needs.
//
// Keys of 64 bits order logits and ids at once: the logit's order in the upper half, the complement of the id in the
// lower. A block sorts lists of RZC_BEST keys, then halves their number by merging: of two sorted lists, the larger of
// a[i] and b[RZC_BEST - 1 - i] are the best of both, and a bitonic sequence that log2(RZC_BEST) exchanges sort.
// Part by part of a row; the last block of a row to arrive merges its lists. With them goes what rzc_argmax_k tells.
#include "dequant.cuh"
#include "ptx.cuh"

#define LIST RZC_BEST

__device__ __forceinline__ u64 key_of(float x, u32 id) {
    const u32 bits = __float_as_uint(x + 0.f); // -0 is 0
    return (u64)(bits & 0x80000000u ? ~bits : bits | 0x80000000u) << 32 | (u32)~id;
}

__device__ __forceinline__ float logit_of(u64 key) {
    const u32 order = (u32)(key >> 32);
    return __uint_as_float(order & 0x80000000u ? order & 0x7fffffffu : ~order);
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

// Dynamic shared memory: the larger of RZC_BEST_PART and n_parts * RZC_BEST keys. grid: (n_parts, rows); block: 512
extern "C" __global__ void __launch_bounds__(512) rzc_best_k(const rzc_best p) {
    extern __shared__ u64 keys[];
    __shared__ float sums[16];
    __shared__ u32 is_last;
    constexpr int N = RZC_BEST_PART / 512;
    const float *x = p.logits + (u64)blockIdx.y * p.vocab;
    const u32 first = blockIdx.x * RZC_BEST_PART + threadIdx.x, row = blockIdx.y * p.n_parts;
    float v[N], sum = 0;
    u32 odd = 0;
    predecessors();
#pragma unroll
    for (int k = 0; k < N; k++) v[k] = first + k * 512 < p.vocab ? __ldcg(x + first + k * 512) : -INFINITY;
#pragma unroll
    for (int k = 0; k < N; k++) {
        const bool in = first + k * 512 < p.vocab;
        odd |= in && !isfinite(v[k]);
        keys[threadIdx.x + k * 512] = in ? key_of(v[k], first + k * 512) : 0;
    }
    for (u32 run = 2; run < LIST; run *= 2) {
        for (u32 stride = run / 2; stride > 0; stride /= 2) exchange(keys, RZC_BEST_PART, stride, run);
    }
    for (u32 stride = LIST / 2; stride > 0; stride /= 2) exchange(keys, RZC_BEST_PART, stride, 0);
    merge(keys, RZC_BEST_PART / LIST);
    u64 *list = (u64 *)p.parts + (u64)(row + blockIdx.x) * LIST;
    if (threadIdx.x < LIST) __stcg(list + threadIdx.x, keys[threadIdx.x]);
    const float top = logit_of(keys[0]);
#pragma unroll
    for (int k = 0; k < N; k++) sum += expf(v[k] - top);
    for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(~0u, sum, o);
    if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
    odd = __syncthreads_or(odd);
    if (threadIdx.x == 0) {
        sum = 0;
        for (int w = 0; w < 16; w++) sum += sums[w];
        float *figures = p.figure_parts + (u64)(row + blockIdx.x) * 4;
        __stcg((float4 *)figures, make_float4(0, top, sum, odd ? 1.f : 0.f));
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) is_last = atomicInc(p.arrivals + blockIdx.y, p.n_parts - 1) == p.n_parts - 1;
    __syncthreads();
    if (!is_last) return;
    __threadfence();
    const u64 *lists = (const u64 *)p.parts + (u64)row * LIST;
    for (u32 i = threadIdx.x; i < p.n_parts * LIST; i += 512) keys[i] = __ldcg(lists + i);
    __syncthreads();
    merge(keys, p.n_parts);
    if (threadIdx.x < LIST) p.out[blockIdx.y * LIST + threadIdx.x] = keys[threadIdx.x];
    if (threadIdx.x >= 32) return;
    const float best = logit_of(keys[0]);
    sum = 0, odd = 0;
    for (u32 i = threadIdx.x; i < p.n_parts; i += 32) {
        const float4 part = __ldcg((const float4 *)p.figure_parts + row + i);
        odd |= part.w != 0;
        sum += part.z * expf(part.y - best);
    }
    for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(~0u, sum, o), odd |= __shfl_xor_sync(~0u, odd, o);
    if (threadIdx.x == 0) {
        ((float4 *)p.figures)[blockIdx.y] =
            make_float4(__uint_as_float(~(u32)keys[0]), best, logf(sum), odd ? 1.f : 0.f);
    }
}
