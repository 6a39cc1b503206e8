// place.cuh - a head by a warp: its norm, and RoPE.
#pragma once
#include "kv.cuh"

// D columns of a head, D / 32 a lane: column(j) of the lane. Pairs that turn together are in one lane.
template <int D> __device__ __forceinline__ u32 column(u32 j, u32 lane, bool adjacent) {
    return adjacent ? j / 2 * 64 + 2 * lane + j % 2 : j * 32 + lane;
}
template <int D, class P>
__device__ __forceinline__ void place(const P &p, float (&x)[D / 32], const float *norm, u32 t) {
    constexpr int C = D / 32;
    const u32 lane = threadIdx.x % 32;
    float y[C];
    float2 r[C / 2];
#pragma unroll
    for (int i = 0; i < C / 2; i++) r[i] = __ldcg((const float2 *)p.angles + (u64)t * (D / 2) + i * 32 + lane);
    if (norm) {
        float s = 0;
#pragma unroll
        for (int j = 0; j < C; j++) s += x[j] * x[j];
#pragma unroll
        for (u32 o = 16; o; o /= 2) s += __shfl_xor_sync(~0u, s, o);
        s = rsqrtf(s / D + p.eps);
#pragma unroll
        for (int j = 0; j < C; j++) x[j] *= s * __ldg(norm + column<D>(j, lane, p.adjacent));
    }
#pragma unroll
    for (int i = 0; i < C / 2; i++) {
        const float u = p.adjacent ? x[2 * i] : x[i], v = p.adjacent ? x[2 * i + 1] : x[i + C / 2];
        y[2 * i] = u * r[i].x - v * r[i].y, y[2 * i + 1] = u * r[i].y + v * r[i].x;
    }
#pragma unroll
    for (int j = 0; j < C; j++) x[j] = p.adjacent ? y[j] : y[j % (C / 2) * 2 + j / (C / 2)];
}
