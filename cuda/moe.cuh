// moe.cuh - the choice of experts, for few rows (moe.cu) and for many (moe_many.cu).
#pragma once
#include "records.cuh"

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int o = 16; o; o >>= 1) x += __shfl_xor_sync(~0u, x, o);
    return x;
}
// Larger floats are larger numbers.
__device__ __forceinline__ u32 ordered(float x) {
    const u32 b = __float_as_uint(x);
    return b >> 31 ? ~b : b | 0x80000000u;
}
__device__ __forceinline__ float from_ordered(u32 b) { return __uint_as_float(b >> 31 ? b ^ 0x80000000u : ~b); }

// The k best of a row's logits, lowest id among equals, and their weights; one warp. score[i]: of expert 32 i + lane.
constexpr int PER_LANE = 16;
__device__ __forceinline__ void choose(const rzc_moe_choice &p, u32 t, int lane, float (&score)[PER_LANE]) {
    float max = -INFINITY;
#pragma unroll
    for (int i = 0; i < PER_LANE; i++) {
        if (i * 32 + lane >= p.n_experts) score[i] = -INFINITY;
        max = fmaxf(max, score[i]);
    }
    max = from_ordered(__reduce_max_sync(~0u, ordered(max)));
    float all = 0, mine = 0, chosen = 0;
    if (p.gating == 0) {
#pragma unroll
        for (int i = 0; i < PER_LANE; i++) all += expf(score[i] - max);
        all = warp_sum(all);
    }
    int id = 0;
    u32 taken = 0; // bit i: expert 32 i + lane
    for (u32 j = 0; j < p.k; j++) {
        float best = -INFINITY;
        u32 at = p.n_experts; // nothing: not a number
#pragma unroll
        for (int i = PER_LANE - 1; i >= 0; i--) {
            const u32 e = i * 32 + lane;
            if (e < p.n_experts && !(taken >> i & 1) && (score[i] >= best)) best = score[i], at = e;
        }
        const u32 top = __reduce_max_sync(~0u, at < p.n_experts ? ordered(best) : 0u);
        const u32 e = __reduce_min_sync(~0u, at < p.n_experts && ordered(best) == top ? at : ~0u);
        const u32 found = e < p.n_experts ? e : p.n_experts - 1;
        if ((int)(found % 32) == lane) taken |= 1u << (found / 32);
        const float v = expf(from_ordered(top) - max);
        chosen += v;
        if ((int)j == lane) mine = v, id = (int)found;
    }
    // gating 0: softmax over all; 1: over the chosen
    const float whole = p.normalize || p.gating == 1 ? chosen : all;
    if (lane < (int)p.k) {
        p.weights[(u64)t * p.k + lane] = mine / whole * p.factor;
        p.ids[(u64)t * p.k + lane] = id;
    }
}
