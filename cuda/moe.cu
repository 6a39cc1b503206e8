// moe.cu - mixture of experts, few rows: the decode step. Three launches a layer: the router (norm, product, choice),
// gate and up of all chosen experts with their gate function, down of all of them with the weighted sum and the
// residual. Nothing of it comes back to the host: expert ids are read on the device.
#include "gemv_formats.cuh"
#include "moe.cuh"

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
// A block has one expert; the last block of a row chooses.
__device__ __forceinline__ void router(const rzc_moe_router &p) {
    __shared__ float room[16];
    __shared__ u32 last;
    const u32 e = blockIdx.x, t = blockIdx.y, tid = threadIdx.x, warp = tid / 32, lane = tid % 32;
    constexpr int AHEAD = 4; // four columns each, read before the predecessor has ended
    const float *w = p.w + (u64)e * p.cols, *x = p.x + (u64)t * p.cols;
    float4 wn[AHEAD];
    dependents();
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
        const u32 k = (tid + i * 256) * 4;
        if (k >= p.cols) continue;
        const float4 a = __ldg((const float4 *)(w + k)), b = __ldg((const float4 *)(p.norm + k));
        wn[i] = make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
    }
    predecessors();
    float sum = 0, squares = 0;
    auto more = [&](u32 k, float4 c) {
        const float4 v = __ldcg((const float4 *)(x + k));
        sum += v.x * c.x + v.y * c.y + v.z * c.z + v.w * c.w;
        squares += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
    };
#pragma unroll
    for (int i = 0; i < AHEAD; i++) {
        const u32 k = (tid + i * 256) * 4;
        if (k < p.cols) more(k, wn[i]);
    }
    for (u32 k = (tid + AHEAD * 256) * 4; k < p.cols; k += 1024) {
        const float4 a = __ldg((const float4 *)(w + k)), b = __ldg((const float4 *)(p.norm + k));
        more(k, make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w));
    }
    sum = warp_sum(sum), squares = warp_sum(squares);
    if (lane == 0) room[warp] = sum, room[8 + warp] = squares;
    __syncthreads();
    if (tid == 0) {
        sum = squares = 0;
        for (int i = 0; i < 8; i++) sum += room[i], squares += room[8 + i];
        const float y = sum / sqrtf(squares / (float)p.cols + p.eps) + (p.bias ? p.bias[e] : 0.f);
        __stcg(p.logits + (u64)t * p.choice.n_experts + e, y);
        __threadfence();
        last = atomicAdd(p.arrivals + t, 1) == p.choice.n_experts - 1;
        if (last) p.arrivals[t] = 0;
        __threadfence();
    }
    __syncthreads();
    if (!last || warp != 0) return;
    float score[PER_LANE];
#pragma unroll
    for (u32 i = 0; i < PER_LANE; i++) {
        const u32 expert = i * 32 + lane, n = p.choice.n_experts;
        score[i] = expert < n ? __ldcg(p.logits + (u64)t * n + expert) : 0.f;
    }
    choose(p.choice, t, (int)lane, score);
}

// up: a block is 16 rows of gate and up of one expert; down: 16 rows of the result, summed over all experts. Warp w of
// W takes records w, w + W, ...: of gate and up in turn, or those of all experts one after another.
template <bool DOWN, int W> __device__ __forceinline__ void few(const rzc_moe_few &a) {
    extern __shared__ __align__(128) u8 sm[];
    dependents();
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, S = a.k_tiles, t = blockIdx.y;
    const int n_chunks = DOWN ? S * (int)a.k : S, pair = !DOWN && a.w[1] != nullptr;
    const int n_tiles = a.n_out / 16, slot0 = DOWN ? 0 : blockIdx.x / n_tiles;
    const int rt = DOWN ? blockIdx.x : blockIdx.x % n_tiles;
    u8 *ring = sm + warp * a.slots * a.slot_bytes;
    uint4 *xs = (uint4 *)(sm + W * a.slots * a.slot_bytes);
    float2 *xm = (float2 *)(xs + n_chunks * 32);
    float *xinv = (float *)(xm + n_chunks * 32), *part = xinv + n_chunks, *ssq = part + W * 16;
    const u32 bar = shared_at(ssq + W + (n_chunks & 1)) + warp * a.slots * 8;
    const int n_records = n_chunks << pair, mine = n_records > warp ? (n_records - warp - 1) / W + 1 : 0;
    const int m = pair ? warp & 1 : 0;
    const u32 format = m ? a.format[1] : a.format[0], bytes = m ? a.tile_bytes[1] : a.tile_bytes[0];
    const u8 *const weights = m ? a.w[1] : a.w[0];
    const u64 expert_bytes = m ? a.expert_bytes[1] : a.expert_bytes[0];
    if (lane < (int)a.slots) barrier_init(bar + lane * 8, 1);
    barriers_made();
    __syncwarp();
    predecessors();
    const int id = lane < (int)a.k ? __ldcg(a.ids + (u64)t * a.k + lane) : 0;
    int next = 0;
    auto issue = [&](int s) { // record `next` of this warp into slot s
        const int r = (warp + next * W) >> pair, slot = DOWN ? r / S : slot0, kt = DOWN ? r % S : r;
        const u64 expert = (u64)__shfl_sync(~0u, id, slot);
        const u8 *src = weights + expert * expert_bytes + ((u64)rt * S + kt) * bytes;
        u64 pol;
        asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(pol));
        if (lane == 0) bulk_load(shared_at(ring) + s * a.slot_bytes, src, bytes, bar + s * 8, pol);
        next++;
    };
#pragma unroll 1
    for (int s = 0; s < (int)a.slots && next < mine; s++) issue(s);
    float ss = 0;
    constexpr int U = 3; // chunks whose loads are in flight together
    auto k_of = [&](int c) { // the columns of this lane: four, and four 16 further on
        const int n = lane >> 2;
        return (DOWN ? c % S : c) * 256 + ((n & 1) * 4 + n / 2) * 32 + (lane & 3) * 4;
    };
#pragma unroll 1
    for (int c0 = warp; c0 < n_chunks; c0 += U * W) {
        float f[U][8] = {}, weight[U];
        float4 g[U][2];
#pragma unroll
        for (int u = 0; u < U; u++) {
            const int c = c0 + u * W, slot = DOWN ? c / S : 0, k = k_of(c);
            if (c >= n_chunks || k >= (int)a.cols) continue;
            const float *x = a.x + (DOWN ? (u64)t * a.k + slot : (u64)t) * a.cols + k;
            *(float4 *)&f[u][0] = __ldcg((const float4 *)x), *(float4 *)&f[u][4] = __ldcg((const float4 *)(x + 16));
            if (DOWN) weight[u] = __ldcg(a.weights + (u64)t * a.k + slot);
            else if (a.norm)
                g[u][0] = __ldg((const float4 *)(a.norm + k)), g[u][1] = __ldg((const float4 *)(a.norm + k + 16));
        }
#pragma unroll
        for (int u = 0; u < U; u++) {
            const int c = c0 + u * W;
            if (c >= n_chunks) continue;
            if (k_of(c) < (int)a.cols && (DOWN || a.norm)) {
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    ss += f[u][i] * f[u][i];
                    f[u][i] *= DOWN ? weight[u] : ((const float *)g[u])[i];
                }
            }
            put_x<ANY, 1>(f[u], c, lane, xs, xm, xinv);
        }
    }
    if (!DOWN && a.norm) {
        ss = warp_sum(ss);
        if (lane == 0) ssq[warp] = ss;
    }
    const float add = DOWN && a.add && threadIdx.x < 16 ? __ldcg(a.add + (u64)t * a.n_out + rt * 16 + threadIdx.x) : 0;
    __syncthreads();
    u32 msk[4];
#pragma unroll
    for (int i = 0; i < 4; i++) msk[i] = lane >> 3 == i ? ~0u : 0u;
    float acc[4] = {0, 0, 0, 0};
    u32 parity = 0;
    int s = 0;
#pragma unroll 1
    for (int i = 0; i < mine; i++) {
        const int c = (warp + i * W) >> pair;
        barrier_wait(bar + s * 8, parity);
        any_mac<1>(format, ring + s * a.slot_bytes, xs + c * 32, xm + c * 32, xinv + c, lane, msk, acc, [&] {
            __syncwarp();
            if (next < mine) issue(s);
        });
        if (++s == (int)a.slots) s = 0, parity ^= 1;
    }
    float r0 = acc[0] + acc[1], r1 = acc[2] + acc[3];
#pragma unroll
    for (int o = 1; o < 4; o <<= 1) r0 += __shfl_xor_sync(~0u, r0, o), r1 += __shfl_xor_sync(~0u, r1, o);
    if ((lane & 3) == 0) part[warp * 16 + lane / 4] = r0, part[warp * 16 + 8 + lane / 4] = r1;
    __syncthreads();
    if (threadIdx.x >= 16) return;
    float y[2] = {0, 0}, rs = 1.f;
    for (int w = 0; w < W; w++) y[w & pair] += part[w * 16 + threadIdx.x];
    if (!DOWN && a.norm) {
        float q = 0;
        for (int w = 0; w < W; w++) q += ssq[w];
        rs = rsqrtf(q / (float)a.cols + a.eps);
    }
    float v = y[0] * rs;
    if (pair) v = __fdividef(v, 1.f + __expf(-v)) * (y[1] * rs);
    const u64 row = DOWN ? t : (u64)t * a.k + slot0;
    a.out[row * a.n_out + rt * 16 + threadIdx.x] = v + add;
}
#define RUN(call) call
#else // the host takes other kernels there
#define RUN(call)
#endif
// grid: (n_experts, n_rows); block: 256
extern "C" __global__ void __launch_bounds__(256) rzc_moe_router_k(const __grid_constant__ rzc_moe_router p) {
    RUN(router(p));
}
// grid: (k * n_out / 16, n_rows); block: 128
extern "C" __global__ void __launch_bounds__(128, 4) rzc_moe_up_k(const __grid_constant__ rzc_moe_few a) {
    RUN((few<false, 4>(a)));
}
// grid: (n_out / 16, n_rows); block: 256
extern "C" __global__ void __launch_bounds__(256, 2) rzc_moe_down_k(const __grid_constant__ rzc_moe_few a) {
    RUN((few<true, 8>(a)));
}
