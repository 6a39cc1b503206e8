// moe_many.cu - mixture of experts, many rows: the tokens of an expert are brought together on the device, and
// multiplied with its weights in tiles of 64 rows. Nothing of it comes back to the host.
#include "decode_records.cuh"
#include "moe.cuh"
#include "wgmma.cuh"

// Logits of the router in F32: a choice of experts hangs on them. A block has 64 rows x 64 experts of one part of the
// columns, a thread 4 x 4. grid: (n_rows / 64, n_experts / 64, splits); block: 256; cols: a multiple of 4
extern "C" __global__ void __launch_bounds__(256) rzc_moe_scores_k(const __grid_constant__ rzc_moe_scores p) {
    constexpr u32 K = 16, PAD = 68;
    __shared__ float xs[2][K * PAD], ws[2][K * PAD];
    dependents();
    const u32 tid = threadIdx.x, t0 = blockIdx.x * 64, e0 = blockIdx.y * 64, r = tid / 16 * 4, e = tid % 16 * 4;
    const u32 row = tid / 4, k4 = tid % 4 * 4; // what this thread brings: four columns of a row of each
    const u32 begin = blockIdx.z * p.split_cols, end = min(begin + p.split_cols, p.cols);
    auto fetch = [&](const float *from, u32 at, u32 n, u32 k) {
        return at < n && k < end ? *(const float4 *)(from + (u64)at * p.cols + k) : make_float4(0, 0, 0, 0);
    };
    auto store = [&](float *to, const float4 &v) {
        to[k4 * PAD + row] = v.x, to[(k4 + 1) * PAD + row] = v.y;
        to[(k4 + 2) * PAD + row] = v.z, to[(k4 + 3) * PAD + row] = v.w;
    };
    float acc[4][4] = {};
    float4 w = fetch(p.w, e0 + row, p.n_experts, begin + k4);
    predecessors();
    float4 x = fetch(p.x, t0 + row, p.n_rows, begin + k4);
    store(xs[0], x), store(ws[0], w);
    for (u32 k0 = begin, b = 0; k0 < end; k0 += K, b ^= 1) {
        __syncthreads();
        x = fetch(p.x, t0 + row, p.n_rows, k0 + K + k4), w = fetch(p.w, e0 + row, p.n_experts, k0 + K + k4);
#pragma unroll
        for (u32 k = 0; k < K; k++) {
            const float4 a = *(const float4 *)(xs[b] + k * PAD + r), c = *(const float4 *)(ws[b] + k * PAD + e);
            const float av[4] = {a.x, a.y, a.z, a.w}, cv[4] = {c.x, c.y, c.z, c.w};
#pragma unroll
            for (int i = 0; i < 4; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++) acc[i][j] += av[i] * cv[j];
            }
        }
        store(xs[b ^ 1], x), store(ws[b ^ 1], w);
    }
    float *y = p.y + (u64)blockIdx.z * p.n_rows * p.n_experts;
    for (u32 i = 0; i < 4; i++) {
        for (u32 j = 0; j < 4; j++) {
            const u32 t = t0 + r + i, expert = e0 + e + j;
            if (t < p.n_rows && expert < p.n_experts) y[(u64)t * p.n_experts + expert] = acc[i][j];
        }
    }
}

// A warp a row. grid: n_rows / 4; block: 128
extern "C" __global__ void __launch_bounds__(128) rzc_moe_choose_k(const __grid_constant__ rzc_moe_choose p) {
    dependents();
    predecessors();
    const u32 t = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32, n = p.choice.n_experts;
    if (t >= p.n_rows) return;
    float score[PER_LANE] = {};
#pragma unroll
    for (u32 i = 0; i < PER_LANE; i++) {
        const u32 e = i * 32 + lane;
        if (e >= n) continue;
        for (u32 s = 0; s < p.n_splits; s++) score[i] += __ldcg(p.logits + ((u64)s * p.n_rows + t) * n + e);
        if (p.bias) score[i] += p.bias[e];
    }
    choose(p.choice, t, (int)lane, score);
}

// Counts, positions, tiles: one block. The order of an expert's pairs is chance; a pair's result does not depend on it.
// block: 1024
extern "C" __global__ void __launch_bounds__(1024) rzc_moe_order_k(const __grid_constant__ rzc_moe_order p) {
    __shared__ u32 count[512], first[512], tile[512];
    dependents();
    predecessors();
    const u32 tid = threadIdx.x;
    for (u32 e = tid; e < p.n_experts; e += 1024) count[e] = 0;
    __syncthreads();
    for (u32 i = tid; i < p.n_pairs; i += 1024) atomicAdd(&count[p.ids[i]], 1);
    __syncthreads();
    if (tid < 32) { // positions and tiles before each expert
        u32 at = 0, n_tiles = 0;
        for (u32 e0 = 0; e0 < p.n_experts; e0 += 32) {
            const u32 e = e0 + tid, n = e < p.n_experts ? count[e] : 0, own = (n + 7) / 8 * 8;
            const u32 tiles = (n + RZC_MOE_ROWS - 1) / RZC_MOE_ROWS;
            u32 before = own, before_tiles = tiles;
            for (int o = 1; o < 32; o <<= 1) {
                const u32 a = __shfl_up_sync(~0u, before, o), b = __shfl_up_sync(~0u, before_tiles, o);
                if ((int)tid >= o) before += a, before_tiles += b;
            }
            if (e < p.n_experts) first[e] = at + before - own, tile[e] = n_tiles + before_tiles - tiles;
            at += __shfl_sync(~0u, before, 31), n_tiles += __shfl_sync(~0u, before_tiles, 31);
        }
        if (tid == 0) *p.n_tiles = n_tiles;
    }
    __syncthreads();
    for (u32 e = tid; e < p.n_experts; e += 1024) {
        const u32 n = count[e];
        for (u32 i = 0; i * RZC_MOE_ROWS < n; i++)
            p.tiles[tile[e] + i] = {e, first[e] + i * RZC_MOE_ROWS, min(n - i * RZC_MOE_ROWS, RZC_MOE_ROWS), 0};
        for (u32 i = n; i < (n + 7) / 8 * 8; i++) p.pair[first[e] + i] = ~0u;
    }
    __syncthreads();
    for (u32 i = tid; i < p.n_pairs; i += 1024) {
        const u32 at = atomicAdd(&first[p.ids[i]], 1);
        p.position[i] = at, p.pair[at] = i;
    }
}

// A row as half precision, scaled by a power of two so that the largest is in [2^14, 2^15): as to_tiles in
// prefill_product.cu, but written once for each of its pairs. Columns beyond the
// last are 0, up to whole records. grid: n_rows; block: 256; cols: a multiple of 4
extern "C" __global__ void __launch_bounds__(256) rzc_moe_x_k(const __grid_constant__ rzc_moe_x p) {
    __shared__ float largest[8];
    dependents();
    predecessors();
    const u32 t = blockIdx.x, tid = threadIdx.x, units = (p.cols + 255) / 256 * 64; // of four columns
    const float *x = p.x + (u64)t * p.cols;
    auto at = [&](u32 i) { return i * 4 < p.cols ? __ldcg((const float4 *)(x + i * 4)) : make_float4(0, 0, 0, 0); };
    float m = 0;
    for (u32 i = tid; i < units; i += 256) {
        const float4 v = at(i);
        m = fmaxf(m, fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w))));
    }
    for (int o = 16; o; o >>= 1) m = fmaxf(m, __shfl_xor_sync(~0u, m, o));
    if (tid % 32 == 0) largest[tid / 32] = m;
    __syncthreads();
    for (int i = 0; i < 8; i++) m = fmaxf(m, largest[i]);
    const int e = min(max((int)(__float_as_uint(m) >> 23) - 127, -100), 127), by = min(14 - e, 120);
    const float scale = __uint_as_float((u32)(127 + by) << 23);
    if (tid < p.k) p.row_scale[p.position[t * p.k + tid]] = __uint_as_float((u32)(127 - by) << 23) / WEIGHT_SCALE;
    for (u32 i = tid; i < units; i += 256) {
        // columns 4q ... 4q + 3 of 16: 4t + 2u + {0, 1} at halves 8u + 2t + {0, 1}
        const float4 v = at(i);
        const u32 a = pack16<false>(v.x * scale, v.y * scale), b = pack16<false>(v.z * scale, v.w * scale);
        const u32 chunk = i / 16, unit = i / 4 % 4 * 2, q = i % 4;
        for (u32 j = 0; j < p.k; j++) {
            const u32 row = __ldcg(p.position + t * p.k + j);
            u8 *to = p.tiles + ((u64)chunk * p.positions + row) * 128 + q * 4;
            *(u32 *)(to + ((unit ^ (row & 7)) << 4)) = a;
            *(u32 *)(to + (((unit + 1) ^ (row & 7)) << 4)) = b;
        }
    }
}

// grid: (n_rows, cols / 1024); block: 256; cols: a multiple of 4
extern "C" __global__ void __launch_bounds__(256) rzc_moe_sum_k(const __grid_constant__ rzc_moe_sum p) {
    dependents();
    predecessors();
    const u32 t = blockIdx.x, i = (blockIdx.y * 256 + threadIdx.x) * 4;
    if (i >= p.cols) return;
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll 4
    for (u32 j = 0; j < p.k; j++) {
        const float w = __ldcg(p.weights + t * p.k + j);
        const float4 v = __ldcs((const float4 *)(p.x + ((u64)t * p.k + j) * p.cols + i));
        sum.x += w * v.x, sum.y += w * v.y, sum.z += w * v.z, sum.w += w * v.w;
    }
    const u64 at = (u64)t * p.cols + i;
    if (p.add) {
        const float4 v = *(const float4 *)(p.add + at);
        sum.x += v.x, sum.y += v.y, sum.z += v.z, sum.w += v.w;
    }
    *(float4 *)(p.y + at) = sum;
}

// ---- the products: a tile is 64 positions of one expert x 128 outputs, or 64 of gate and the same 64 of up. Warp 8
// copies weights, eight records (256 columns) a slot; warp 9 copies activations, 64 columns a stage. Two warpgroups of
// 64 outputs decode a chunk while the tensor cores work on the one before.
template <int F> struct Layout {
    static constexpr int BN = RZC_MOE_ROWS, X = BN * 128, RECORD = record_bytes(F), SLOT = 8 * RECORD;
    static constexpr int SLOTS = 2, STAGES = RECORD > 4000 ? 3 : 4, EXCHANGE = BN * 64 * 4;
    static constexpr int BYTES = 1024 + STAGES * X + SLOTS * SLOT + EXCHANGE + 256; // two blocks an SM
    static_assert(BYTES <= 113 * 1024);
};
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
template <int F> __device__ __forceinline__ void grouped(const rzc_moe_many &p) {
    using L = Layout<F>;
    constexpr int BN = L::BN;
    extern __shared__ u8 raw[];
    dependents();
    u8 *stages = raw + ((1024 - (shared_at(raw) & 1023)) & 1023), *slots = stages + L::STAGES * L::X;
    float *exchange = (float *)(slots + L::SLOTS * L::SLOT);
    const u32 x_full = shared_at(exchange) + L::EXCHANGE, x_empty = x_full + 8 * L::STAGES;
    const u32 w_full = x_empty + 8 * L::STAGES, w_empty = w_full + 8 * L::SLOTS;
    if (threadIdx.x == 0) {
        for (int s = 0; s < L::STAGES; s++) barrier_init(x_full + 8 * s, 1), barrier_init(x_empty + 8 * s, 2);
        for (int s = 0; s < L::SLOTS; s++) barrier_init(w_full + 8 * s, 1), barrier_init(w_empty + 8 * s, 2);
        barriers_made();
    }
    __syncthreads();
    predecessors();
    const bool pair = p.w[1] != nullptr;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, KB = (p.cols + 255) / 256, chunks = KB * 4;
    const u32 row_tiles = p.n_out / 16, per = pair ? 4 : 8, NT = (row_tiles + per - 1) / per;
    const u32 work = __ldcg(p.n_tiles) * NT;
    if (warp >= 8) {
        // 32 x 128 + 104 x 256 are the 80 x 384 registers that a block has at its start; a larger sum never gets them
        asm volatile("setmaxnreg.dec.sync.aligned.u32 32;");
        if (warp == 8) {
            u32 slot = 0, phase = 1;
            for (u32 w = blockIdx.x; w < work; w += gridDim.x) {
                const u32 expert = __ldcg(&p.tiles[w / NT].expert), i = lane % 8, m = pair ? i / 4 : 0;
                const u32 rt = min(w % NT * per + (pair ? i % 4 : i), row_tiles - 1); // past the end: never stored
                const u8 *from = (m ? p.w[1] : p.w[0]) + expert * (m ? p.expert_bytes[1] : p.expert_bytes[0]) +
                                 (u64)rt * KB * L::RECORD;
                for (u32 kb = 0; kb < KB; kb++, from += L::RECORD) {
                    barrier_wait(w_empty + 8 * slot, phase);
                    if (lane == 0) barrier_expect(w_full + 8 * slot, L::SLOT);
                    __syncwarp();
                    const u32 to = shared_at(slots) + slot * L::SLOT + lane * L::RECORD;
                    if (lane < 8) bulk_copy(to, from, L::RECORD, w_full + 8 * slot);
                    if (++slot == L::SLOTS) slot = 0, phase ^= 1;
                }
            }
        } else if (threadIdx.x == 288) {
            u32 stage = 0, phase = 1;
            for (u32 w = blockIdx.x; w < work; w += gridDim.x) {
                const u8 *from = p.x + (u64)__ldcg(&p.tiles[w / NT].first) * 128;
                for (u32 c = 0; c < chunks; c++, from += (u64)p.positions * 128) {
                    barrier_wait(x_empty + 8 * stage, phase);
                    barrier_expect(x_full + 8 * stage, L::X);
                    bulk_copy(shared_at(stages) + stage * L::X, from, L::X, x_full + 8 * stage);
                    if (++stage == L::STAGES) stage = 0, phase ^= 1;
                }
            }
        }
        return;
    }
    asm volatile("setmaxnreg.inc.sync.aligned.u32 104;");
    const bool first = threadIdx.x % 128 == 0;
    const u32 group = warp / 4;
    float acc[BN / 2];
    u32 a[2][16], stage = 0, slot = 0, x_phase = 0, w_phase = 0;
    LaneScales<F> scales;
    for (u32 w = blockIdx.x; w < work; w += gridDim.x) {
        u32 last = ~0u, last_slot = ~0u;
        for (u32 kb = 0; kb < KB; kb++) {
            barrier_wait(w_full + 8 * slot, w_phase);
            const WholeRecord tile = {slots + slot * L::SLOT + warp * L::RECORD};
            scales.load(tile, lane);
#pragma unroll
            for (int c = 0; c < 4; c++) {
                decode_record<F>(a[c & 1], tile, scales, lane, c);
                const u64 b = swizzled_tile(shared_at(stages + stage * L::X));
                barrier_wait(x_full + 8 * stage, x_phase);
                wgmma_fence();
#pragma unroll
                for (int j = 0; j < 4; j++) Wgmma<BN, false>::run(acc, a[c & 1] + 4 * j, b + 2 * j, kb || c || j);
                wgmma_commit();
                wgmma_wait<1>(); // the chunk before: its registers, stage and, after its last one, slot are free
                if (first && last != ~0u) {
                    barrier_arrive(x_empty + 8 * last);
                    if (c == 0) barrier_arrive(w_empty + 8 * last_slot);
                }
                last = stage, last_slot = slot;
                if (++stage == L::STAGES) stage = 0, x_phase ^= 1;
            }
            if (++slot == L::SLOTS) slot = 0, w_phase ^= 1;
        }
        wgmma_wait<0>();
        if (first) barrier_arrive(x_empty + 8 * last), barrier_arrive(w_empty + 8 * last_slot);
        // acc[4 j + {0, 1}]: output n, positions 8 j + 2 q, + 1; + {2, 3}: output n + 8
        const rzc_moe_tile tile = p.tiles[w / NT];
        const u32 g = lane / 4, q = lane % 4, tid = threadIdx.x % 128;
        if (pair) { // the second group has up, the first gate
            if (group == 1) {
#pragma unroll
                for (int i = 0; i < BN / 2; i++) exchange[i * 128 + tid] = acc[i];
            }
            threads_wait(1, 256);
            if (group == 0) {
#pragma unroll
                for (int j = 0; j < BN / 2; j++) {
                    const float s = __ldcg(p.row_scale + tile.first + j / 4 * 8 + q * 2 + j % 2), v = acc[j] * s;
                    acc[j] = __fdividef(v, 1.f + __expf(-v)) * (exchange[j * 128 + tid] * s);
                }
            }
            threads_wait(1, 256);
            if (group == 1) continue;
        }
        const u32 n = (w % NT) * (pair ? 64 : 128) + (pair ? warp % 4 : warp) * 16 + g;
        if (n >= p.n_out) continue;
#pragma unroll
        for (int j = 0; j < BN / 8; j++) {
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const u32 t = j * 8 + q * 2 + e;
                if (t >= tile.n) continue;
                const float s = pair ? 1.f : __ldcg(p.row_scale + tile.first + t);
                float *y = p.y + (u64)__ldcg(p.pair + tile.first + t) * p.n_out + n;
                y[0] = acc[4 * j + e] * s, y[8] = acc[4 * j + 2 + e] * s;
            }
        }
    }
}
#define RUN(f) grouped<f>(p)
#else
#define RUN(f)
#endif
// grid: two for each SM; block: 384; shared: Layout::BYTES
#define KERNEL(f)                                                                                                      \
    extern "C" __global__ void __launch_bounds__(384, 2) rzc_moe_##f(const __grid_constant__ rzc_moe_many p) {         \
        RUN(RZC_##f);                                                                                                  \
    }
KERNEL(R_Q4_K) KERNEL(R_Q6_K) KERNEL(R_Q8_0)
KERNEL(R_Q4_0) KERNEL(R_Q4_1) KERNEL(R_Q5_0) KERNEL(R_Q5_1) KERNEL(R_Q5_K)
KERNEL(R_Q3_K) KERNEL(R_Q2_K) KERNEL(R_IQ4_NL) KERNEL(R_IQ4_XS)
