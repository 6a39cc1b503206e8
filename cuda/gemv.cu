// gemv.cu - products of record weights with 1 to 8 rows of x: the decode step. Tensor-core integer products (m16n8k32
// u8/s8 x s8; Q6_K m16n8k16), one warp a record. x is 16-bit fixed point, one scale per 256 values, split in two int8:
// x = s (256 hi + lo), so sums are exact integers; the eight B columns carry {hi, lo} of four groups of 32, so that a
// lane ends with the sums of two rows x one group and decodes each scale once. BF16: bf16 products, x = hi + lo.
// RMSNorm's weights are in x, its factor is applied to the sums.
// Layout of the records: dequant.cuh. Shared memory: a ring of records for each warp, filled ahead (before the wait for
// the predecessor, since weights depend on nobody); x as B fragments; partial sums by (row tile, k warp); one barrier;
// epilogue. Every block makes the fragments of one row by itself. Those of more rows are made once, by rzc_stage, and
// copied: their conversion takes longer than the launch.
#include "gemv_formats.cuh"

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
struct Smem {
    int xs, xm, xinv, part, ssq, bars, total;
};
// Offsets of the parts of shared memory behind the ring.
template <int FAM, int NB> __host__ __device__ inline Smem smem_of(const rzc_gemv &a) {
    const int W = a.k_warps << a.row_warps_log2, nch = a.k_tiles * NB;
    Smem s;
    s.xs = W * a.slots * a.slot_bytes;
    s.xm = s.xs + nch * 512 * (is_16bit(FAM) ? 2 : 1);
    s.xinv = s.xm + (has_sums(FAM) ? nch * 256 : 0);
    s.part = s.xinv + ((nch * 4 + 15) & ~15);
    s.ssq = s.part + a.n_buffers * a.tiles_at_once * a.k_warps * 64 * NB;
    s.bars = s.ssq + (((NB > 1 ? nch : W) * NB * 4 + 15) & ~15);
    s.total = s.bars + W * a.slots * 8 + 8;
    return s;
}

// CPASYNC: records come by cp.async, 16 bytes a lane, or one bulk copy each.
template <int FAM, int NB, bool CPASYNC> __device__ __forceinline__ void gemv(const rzc_gemv &a) {
    extern __shared__ __align__(128) u8 sm[];
    constexpr int XV = is_16bit(FAM) ? 2 : 1;
    constexpr bool STAGED = NB > 1;
    dependents();
    int lane;
    asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
    const int warp = threadIdx.x >> 5, n = lane >> 2, t = lane & 3, Wk = a.k_warps, W = Wk << a.row_warps_log2;
    const int wr = warp & ((1 << a.row_warps_log2) - 1), wk = warp >> a.row_warps_log2, b = blockIdx.x, G = gridDim.x;
    const int ush = a.paired, S = a.k_tiles;
    const Smem L = smem_of<FAM, NB>(a);
    uint4 *xs = (uint4 *)(sm + L.xs);
    float2 *xm = (float2 *)(sm + L.xm);
    float *xinv = (float *)(sm + L.xinv), *part = (float *)(sm + L.part), *ssq = (float *)(sm + L.ssq);
    const u32 ring = warp * a.slots * a.slot_bytes, ringa = shared_at(sm) + ring,
              bar = shared_at(sm + L.bars) + warp * a.slots * 8;
    // k tiles of this warp: wk, wk + Wk, ...; its row tiles: i = wr, wr + Wr, ... of the block's nrt
    const int nsb = wk < S ? (S - wk - 1) / Wk + 1 : 0, nrt = (a.units + (b < (int)a.units_rest)) << ush;
    auto row_tile = [&](int i) { return ((b + (i >> ush) * G) << ush) + (i & ush); };
    auto matrix_of = [&](int rt) { return ush ? rt & 1 : (rt >= (int)a.first_tile[1]) + (rt >= (int)a.first_tile[2]); };
    auto tile_in = [&](int rt, int m) { return ush ? rt >> 1 : rt - (int)a.first_tile[m]; };
    int pi = wr, ps = 0, left = nrt > wr ? (((nrt - wr - 1) >> a.row_warps_log2) + 1) * nsb : 0, sbytes = 0;
    const u8 *src = nullptr;
    u64 pol;
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(pol));
    const bool leader = lane == 0;
    auto issue = [&](u32 off, u32 b8) {
        if (ps == 0) { // first record of the warp in its row tile pi
            const int rt = row_tile(pi), m = matrix_of(rt);
            sbytes = m == 0 ? a.tile_bytes[0] : m == 1 ? a.tile_bytes[1] : a.tile_bytes[2];
            src = (m == 0 ? a.w[0] : m == 1 ? a.w[1] : a.w[2]) + ((size_t)tile_in(rt, m) * S + wk) * sbytes;
            ps = nsb, pi += 1 << a.row_warps_log2;
        }
        if (CPASYNC) {
#pragma unroll 4
            for (int o = lane * 16; o < sbytes; o += 512) {
                asm volatile(
                    "cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0], [%1], 16, %2;" ::"r"(ringa + off + o),
                    "l"(src + o), "l"(pol)
                    : "memory");
            }
            asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(b8) : "memory");
        } else if (leader) {
            bulk_load(ringa + off, src, sbytes, b8, pol);
        }
        src += sbytes * Wk, ps--, left--;
    };
    // what does not depend on the predecessor
    if (lane < (int)a.slots) barrier_init(bar + lane * 8, CPASYNC ? 32 : 1);
    barriers_made();
    __syncwarp();
#pragma unroll 1
    for (int s = 0; s < (int)a.slots && left > 0; s++) issue(s * a.slot_bytes, bar + s * 8);
    const u32 xbar = bar + (W - warp) * a.slots * 8; // behind the barriers of all rings
    if (STAGED) {
        if (threadIdx.x == 0) barrier_init(xbar, 1);
        barriers_made();
        __syncthreads();
    }
    const int nch = S * NB, cols = a.cols;
    constexpr int U = 2;
    float4 nw[2 * U] = {};
    auto k_of = [&](int c) { return k_of_chunk<NB>(c, n, t); };
    if (!STAGED && a.norm) {
#pragma unroll
        for (int u = 0; u < U; u++)
            if (warp + u * W < nch && k_of(warp + u * W) < cols) {
                nw[2 * u] = __ldg((const float4 *)(a.norm + k_of(warp + u * W)));
                nw[2 * u + 1] = __ldg((const float4 *)(a.norm + k_of(warp + u * W) + 16));
            }
    }
    // element e0 of this thread in the first reduction: its residual and bias are fetched ahead
    const int e0 = threadIdx.x;
    auto add_of = [&](int e) {
        return a.add + (size_t)min(e % NB, (int)a.n_cols - 1) * a.ldo[0] + row_tile(e / (16 * NB)) * 16 + e / NB % 16;
    };
    float ss = 0, hres = 0, hbias = 0;
    if (!ush && e0 < nrt * 16 * NB) {
        const int rt = row_tile(e0 / (16 * NB)), m = matrix_of(rt);
        const float *bias = m == 0 ? a.bias[0] : m == 1 ? a.bias[1] : a.bias[2];
        if (bias) hbias = __ldg(bias + tile_in(rt, m) * 16 + e0 / NB % 16);
    }
    const float *const xbase = a.x;
    const float *const norm = a.norm, *const add = a.add;
    const float *const hp = add && e0 < nrt * 16 * NB ? add_of(e0) : nullptr;
    asm volatile("" ::"l"(xbase), "l"(norm), "l"(hp), "l"(a.out[0]), "r"(a.ldo[0]), "f"(a.eps), "r"(a.is_head));
    predecessors();
    // x to B fragments, once for all warps
    if (hp) hres = __ldcg(hp);
    if (STAGED && threadIdx.x == 0) {
        const XBytes<FAM, NB> bytes(nch);
        const u8 *from = (const u8 *)xbase;
        barrier_expect(xbar, bytes.fragments + bytes.sums + bytes.scales + (norm ? bytes.squares : 0));
        auto copy = [&](const void *to, u32 n_bytes) {
            bulk_copy(shared_at(to), from, n_bytes, xbar);
            from += n_bytes;
        };
        copy(xs, bytes.fragments);
        if (has_sums(FAM)) copy(xm, bytes.sums);
        copy(xinv, bytes.scales);
        if (norm) copy(ssq, bytes.squares);
    }
#pragma unroll 1
    for (int c0 = STAGED ? nch : warp; c0 < nch; c0 += U * W) {
        float f[U][8];
#pragma unroll
        for (int u = 0; u < U; u++)
            if (c0 + u * W < nch) {
                const int k = k_of(c0 + u * W);
                const float4 zero = make_float4(0, 0, 0, 0); // the last tile may have fewer columns than 256
                *(float4 *)&f[u][0] = k < cols ? __ldcg((const float4 *)(xbase + k)) : zero;
                *(float4 *)&f[u][4] = k < cols ? __ldcg((const float4 *)(xbase + k + 16)) : zero;
            }
#pragma unroll
        for (int u = 0; u < U; u++)
            if (c0 + u * W < nch) {
                const int c = c0 + u * W;
                if (norm) {
                    float4 g0 = nw[2 * u], g1 = nw[2 * u + 1];
                    if (c0 != warp && k_of(c) < cols) {
                        g0 = __ldg((const float4 *)(norm + k_of(c))), g1 = __ldg((const float4 *)(norm + k_of(c) + 16));
                    }
#pragma unroll
                    for (int i = 0; i < 8; i++) {
                        ss += f[u][i] * f[u][i];
                        f[u][i] *= ((const float *)(i < 4 ? &g0 : &g1))[i & 3];
                    }
                }
                put_x<FAM, NB>(f[u], c, lane, xs, xm, xinv);
            }
    }
    if (STAGED) barrier_wait(xbar, 0);
    else __syncthreads();
    u32 msk[4];
#pragma unroll
    for (int i = 0; i < 4; i++) msk[i] = NB < 8 && n / (2 * NB) == i ? ~0u : 0u;
    int buf = 0;
    u32 par = 0, off = 0, b8 = bar;
    const u32 offend = a.slots * a.slot_bytes;
    float rs = 1.f;
#pragma unroll 1
    for (int c0 = 0; c0 < nrt; c0 += a.tiles_at_once) {
        const int c1 = min(c0 + (int)a.tiles_at_once, nrt);
        float *pb = part + buf * a.tiles_at_once * Wk * 16 * NB;
#pragma unroll 1
        for (int i = c0 + wr; i < c1; i += 1 << a.row_warps_log2) {
            float acc[4] = {0, 0, 0, 0};
            const int m = matrix_of(row_tile(i));
            const u32 format = m == 0 ? a.format[0] : m == 1 ? a.format[1] : a.format[2];
            int c = wk * NB;
#pragma unroll 1
            for (int s = 0; s < nsb; s++) {
                barrier_wait(b8, par);
                const u8 *tile = sm + ring + off;
                auto release = [&] {
                    __syncwarp();
                    if (left > 0) issue(off, b8);
                };
                if constexpr (FAM == ANY)
                    any_mac<NB>(format, tile, xs + c * 32, xm + c * 32, xinv + c, lane, msk, acc, release);
                else if constexpr (FAM == H16)
                    f16_mac<NB>(tile, xs + c * 64, xinv + c, lane, msk, acc, release);
                else if (FAM == Q4K && format == Q6K)
                    tile_mac<FAM == Q4K ? Q6K : FAM, NB>(tile, xs + c * 32, xm + c * 32, xinv + c, lane, msk, acc,
                                                         release);
                else tile_mac<FAM, NB>(tile, xs + c * 32 * XV, xm + c * 32, xinv + c, lane, msk, acc, release);
                off += a.slot_bytes, b8 += 8, c += Wk * NB;
                if (off == offend) off = 0, b8 = bar, par ^= 1;
            }
            float *o = pb + ((i - c0) * Wk + wk) * 16 * NB;
            if (NB < 8) {
                float r0 = acc[0] + acc[1], r1 = acc[2] + acc[3];
#pragma unroll
                for (int q = NB; q < 4; q <<= 1) r0 += __shfl_xor_sync(~0u, r0, q), r1 += __shfl_xor_sync(~0u, r1, q);
                if (t < NB) o[n * NB + t] = r0, o[(n + 8) * NB + t] = r1;
            } else {
                o[n * NB + 2 * t] = acc[0], o[n * NB + 2 * t + 1] = acc[1];
                o[(n + 8) * NB + 2 * t] = acc[2], o[(n + 8) * NB + 2 * t + 1] = acc[3];
            }
        }
        if (!STAGED && norm && c0 == 0) {
            ss = column_sum<NB>(ss);
            if (writes_sum<NB>(n, t)) ssq[warp * NB + column_of<NB>(n)] = ss;
        }
        __syncthreads();
        if (norm && c0 == 0) {
            float q = 0;
            if (STAGED) {
                for (int c = lane / NB; c < nch; c += 32 / NB) q += ssq[c * NB + lane % NB];
#pragma unroll
                for (int o = NB; o < 32; o <<= 1) q += __shfl_xor_sync(~0u, q, o);
            } else {
                for (int k = 0; k < W; k++) q += ssq[k];
            }
            rs = rsqrtf(q / (float)cols + a.eps);
        }
        const int ne = (c1 - c0) * 16 * NB >> ush;
#pragma unroll 1
        for (int e = threadIdx.x; e < ne; e += W * 32) {
            const int col = e % NB, r = e / NB % 16, u = e / (16 * NB) << ush;
            const float *q = pb + u * Wk * 16 * NB + r * NB + col;
            float y = 0, y2 = 0;
#pragma unroll 4
            for (int k = 0; k < Wk; k++) {
                y += q[k * 16 * NB];
                if (ush) y2 += q[(k + Wk) * 16 * NB];
            }
            if (col >= (int)a.n_cols) continue;
            y *= rs;
            if (ush) {
                const int row = (b + ((c0 >> 1) + e / (16 * NB)) * G) * 16 + r;
                if (a.bias[0]) y += a.bias[0][row];
                y2 *= rs;
                if (a.bias[1]) y2 += a.bias[1][row];
                y = __fdividef(y, 1.f + __expf(-y)) * y2;
                a.out[0][(size_t)col * a.ldo[0] + row] = y;
                continue;
            }
            const int rt = row_tile(c0 + e / (16 * NB)), m = matrix_of(rt), row = tile_in(rt, m) * 16 + r;
            const float *bias = m == 0 ? a.bias[0] : m == 1 ? a.bias[1] : a.bias[2];
            float *out = m == 0 ? a.out[0] : m == 1 ? a.out[1] : a.out[2];
            const u32 ldo = m == 0 ? a.ldo[0] : m == 1 ? a.ldo[1] : a.ldo[2];
            if (bias) y += c0 == 0 && e == e0 ? hbias : bias[row];
            if (add) y += c0 == 0 && e == e0 ? hres : __ldcg(add + (size_t)col * ldo + row);
            if (a.is_head) {
                y *= a.factor;
                if (a.cap != 0) y = a.cap * tanhf(y / a.cap);
            }
            out[(size_t)col * ldo + row] = y;
        }
        buf = a.n_buffers == 2 ? buf ^ 1 : 0;
    }
}
#endif

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
// x of the product behind it, a chunk a warp.
template <int FAM, int NB> __device__ __forceinline__ void stage(const rzc_stage &p) {
    dependents();
    const int lane = threadIdx.x & 31, n = lane >> 2, t = lane & 3, col = column_of<NB>(n);
    const int nch = p.k_tiles * NB, c = blockIdx.x * (blockDim.x / 32) + (threadIdx.x >> 5);
    if (c >= nch) return;
    const XBytes<FAM, NB> bytes(nch);
    float2 *const xm = (float2 *)(p.out + bytes.fragments);
    float *const xinv = (float *)((u8 *)xm + bytes.sums), *const ssq = (float *)((u8 *)xinv + bytes.scales);
    const int k = k_of_chunk<NB>(c, n, t);
    float g[8] = {}, f[8] = {};
    const bool inside = k < (int)p.cols;
    if (p.norm && inside) {
        *(float4 *)&g[0] = __ldg((const float4 *)(p.norm + k));
        *(float4 *)&g[4] = __ldg((const float4 *)(p.norm + k + 16));
    }
    const float *const x = p.x + (size_t)min(col, (int)p.n_cols - 1) * p.ldx + k;
    predecessors();
    if (inside) *(float4 *)&f[0] = __ldcg((const float4 *)x), *(float4 *)&f[4] = __ldcg((const float4 *)(x + 16));
    if (p.norm) {
        float ss = 0;
#pragma unroll
        for (int i = 0; i < 8; i++) ss += f[i] * f[i], f[i] *= g[i];
        ss = column_sum<NB>(ss);
        if (writes_sum<NB>(n, t)) ssq[c * NB + col] = ss;
    }
    put_x<FAM, NB>(f, c, lane, (uint4 *)p.out, xm, xinv);
}
#endif

// block: 32 * warps; grid: see gemv.c
#define KERNEL(name, fam, nb, cp)                                                                                      \
    extern "C" __global__ void __launch_bounds__(512, 1) rzc_gemv_##name##_##nb(const __grid_constant__ rzc_gemv a) {  \
        RUN(fam, nb, cp)                                                                                               \
    }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900 // the host takes other kernels there
#define RUN(fam, nb, cp)
#define RUN_STAGE(fam, nb)
#else
#define RUN(fam, nb, cp) gemv<fam, nb, cp>(a);
#define RUN_STAGE(fam, nb) stage<fam, nb>(p);
#endif
// block: 128; grid: four chunks each
#define STAGE(name, fam, nb)                                                                                           \
    extern "C" __global__ void __launch_bounds__(128) rzc_stage_##name##_##nb(const __grid_constant__ rzc_stage p) {   \
        RUN_STAGE(fam, nb)                                                                                             \
    }
#define FAMILY(name, fam, cp)                                                                                          \
    KERNEL(name, fam, 1, cp) KERNEL(name, fam, 2, cp) KERNEL(name, fam, 4, cp) KERNEL(name, fam, 8, cp)               \
    STAGE(name, fam, 2) STAGE(name, fam, 4) STAGE(name, fam, 8)
FAMILY(q4k, Q4K, true) FAMILY(q80, Q80, true) FAMILY(bf16, BF, false) FAMILY(any, ANY, true) FAMILY(f16, H16, false)
