// gemv.cu - products of record weights with 1 to 8 rows of x: the decode step. Tensor-core integer products (m16n8k32
// u8/s8 x s8; Q6_K m16n8k16), one warp a record. x is 16-bit fixed point, one scale per 256 values, split in two int8:
// x = s (256 hi + lo), so sums are exact integers; the eight B columns carry {hi, lo} of four groups of 32, so that a
// lane ends with the sums of two rows x one group and decodes each scale once. BF16: bf16 products, x = hi + lo.
// RMSNorm's weights are in x, its factor is applied to the sums.
// Layout of the records: dequant.cuh. Shared memory: a ring of records for each warp, filled ahead (before the wait for
// the predecessor, since weights depend on nobody); x as B fragments, made once by the block; partial sums by (row
// tile, k warp); one barrier; epilogue.
#include "gemv.cuh"

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
struct Smem {
    int xs, xm, xinv, part, ssq, bars, total;
};
// Offsets of the parts of shared memory behind the ring.
template <int FAM, int NB> __host__ __device__ inline Smem smem_of(const rzc_gemv &a) {
    const int W = a.k_warps << a.row_warps_log2, nch = a.k_tiles * NB;
    Smem s;
    s.xs = W * a.slots * a.slot_bytes;
    s.xm = s.xs + nch * 512 * (FAM == BF ? 2 : 1);
    s.xinv = s.xm + (FAM == Q4K ? nch * 256 : 0);
    s.part = s.xinv + nch * 4;
    s.ssq = s.part + a.n_buffers * a.tiles_at_once * a.k_warps * 64 * NB;
    s.bars = (s.ssq + W * NB * 4 + 7) & ~7;
    s.total = s.bars + W * a.slots * 8;
    return s;
}

// FAM: Q4K (Q4_K and Q6_K records), Q80, BF. CPASYNC: records come by cp.async, 16 bytes a lane, or one bulk copy each.
template <int FAM, int NB, bool CPASYNC> __device__ __forceinline__ void gemv(const rzc_gemv &a) {
    extern __shared__ __align__(128) u8 sm[];
    constexpr int GP = NB == 8 ? 1 : 4 / NB, XV = FAM == BF ? 2 : 1;
    pdl_trigger();
    int lane;
    asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
    const int warp = threadIdx.x >> 5, n = lane >> 2, t = lane & 3, Wk = a.k_warps, W = Wk << a.row_warps_log2;
    const int wr = warp & ((1 << a.row_warps_log2) - 1), wk = warp >> a.row_warps_log2, b = blockIdx.x, G = gridDim.x;
    const int ush = a.paired, S = a.k_tiles;
    const Smem L = smem_of<FAM, NB>(a);
    uint4 *xs = (uint4 *)(sm + L.xs);
    float2 *xm = (float2 *)(sm + L.xm);
    float *xinv = (float *)(sm + L.xinv), *part = (float *)(sm + L.part), *ssq = (float *)(sm + L.ssq);
    const u32 ring = warp * a.slots * a.slot_bytes, ringa = smem_addr(sm) + ring,
              bar = smem_addr(sm + L.bars) + warp * a.slots * 8;
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
    if (lane < (int)a.slots) mbar_init(bar + lane * 8, CPASYNC ? 32 : 1);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    __syncwarp();
#pragma unroll 1
    for (int s = 0; s < (int)a.slots && left > 0; s++) issue(s * a.slot_bytes, bar + s * 8);
    // chunk c of 256 values: this lane stages 2 x 4 of column xcol (NB <= 4: of phase 2 (c % NB) + n % 2)
    const int xcol = NB == 8 ? n : n / 2 % NB;
    auto k_of = [&](int c) {
        return c / NB * 256 + (NB == 8 ? c % NB : (2 * (c % NB) + (n & 1)) * GP + n / (2 * NB)) * 32 + t * 4;
    };
    const int nch = S * NB;
    constexpr int U = 2;
    float4 nw[2 * U];
    if (a.norm) {
#pragma unroll
        for (int u = 0; u < U; u++)
            if (warp + u * W < nch) {
                nw[2 * u] = __ldg((const float4 *)(a.norm + k_of(warp + u * W)));
                nw[2 * u + 1] = __ldg((const float4 *)(a.norm + k_of(warp + u * W) + 16));
            }
    }
    // element e of this thread in the first reduction, for the residual
    const int e0 = threadIdx.x;
    auto add_of = [&](int e) {
        return a.add + (size_t)min(e % NB, (int)a.n_cols - 1) * a.ldo[0] + row_tile(e / (16 * NB)) * 16 + e / NB % 16;
    };
    float ss = 0, hres = 0;
    const float *const xbase = a.x + (size_t)min(xcol, (int)a.n_cols - 1) * a.ldx;
    const float *const norm = a.norm, *const add = a.add;
    const float *const hp = add && e0 < nrt * 16 * NB ? add_of(e0) : nullptr;
    asm volatile("" ::"l"(xbase), "l"(norm), "l"(hp), "l"(a.out[0]), "r"(a.ldo[0]), "f"(a.eps), "r"(a.is_head));
    pdl_wait();
    // x to B fragments, once for all warps
    if (hp) hres = __ldcg(hp);
#pragma unroll 1
    for (int c0 = warp; c0 < nch; c0 += U * W) {
        float f[U][8];
#pragma unroll
        for (int u = 0; u < U; u++)
            if (c0 + u * W < nch) {
                const float *p = xbase + k_of(c0 + u * W);
                *(float4 *)&f[u][0] = __ldcg((const float4 *)p), *(float4 *)&f[u][4] = __ldcg((const float4 *)(p + 16));
            }
#pragma unroll
        for (int u = 0; u < U; u++)
            if (c0 + u * W < nch) {
                const int c = c0 + u * W;
                if (norm) {
                    float4 g0 = nw[2 * u], g1 = nw[2 * u + 1];
                    if (c0 != warp) {
                        g0 = __ldg((const float4 *)(norm + k_of(c))), g1 = __ldg((const float4 *)(norm + k_of(c) + 16));
                    }
#pragma unroll
                    for (int i = 0; i < 8; i++) {
                        ss += f[u][i] * f[u][i];
                        f[u][i] *= ((const float *)(i < 4 ? &g0 : &g1))[i & 3];
                    }
                }
                constexpr int R = FAM == BF ? 4 : 2;
                u32 hi[R], lo[R];
                float xscale = 0;
                if (FAM == BF) {
#pragma unroll
                    for (int i = 0; i < R; i++) {
                        __nv_bfloat162 v = __floats2bfloat162_rn(f[u][2 * i], f[u][2 * i + 1]);
                        __nv_bfloat162 r =
                            __floats2bfloat162_rn(f[u][2 * i] - __low2float(v), f[u][2 * i + 1] - __high2float(v));
                        hi[i] = *(u32 *)&v, lo[i] = *(u32 *)&r;
                    }
                } else { // round(x s) as the low bits of x s + 1.5 * 2^23; hi takes the carry of the signed low byte
                    float m = 1e-30f;
#pragma unroll
                    for (int i = 0; i < 8; i++) m = fmaxf(m, fabsf(f[u][i]));
                    const float mx = __uint_as_float(__reduce_max_sync(~0u, __float_as_uint(m)));
                    const float sc = __fdividef(32512.f, mx);
                    xscale = mx * (1.f / 32512.f);
                    if (leader) xinv[c] = xscale;
#pragma unroll
                    for (int i = 0; i < R; i++) {
                        u32 q[4], r[4];
#pragma unroll
                        for (int j = 0; j < 4; j++)
                            q[j] = __float_as_uint(fmaf(f[u][4 * i + j], sc, 12582912.f)), r[j] = q[j] + 128;
                        lo[i] = __byte_perm(__byte_perm(q[0], q[1], 0x0040), __byte_perm(q[2], q[3], 0x0040), 0x5410);
                        hi[i] = __byte_perm(__byte_perm(r[0], r[1], 0x0051), __byte_perm(r[2], r[3], 0x0051), 0x5410);
                    }
                }
                if (NB < 8) { // even n: hi columns, odd n: lo columns; lane n has phase n % 2 of both, its neighbour
                              // the other
                    const bool odd = n & 1;
#pragma unroll
                    for (int i = 0; i < R; i++) {
                        const u32 o = __shfl_xor_sync(~0u, odd ? hi[i] : lo[i], 4), h0 = hi[i];
                        hi[i] = odd ? o : h0, lo[i] = odd ? lo[i] : o;
                    }
                }
                if (FAM == BF) {
                    xs[(2 * c) * 32 + lane] = make_uint4(hi[0], hi[1], hi[R - 2], hi[R - 1]);
                    xs[(2 * c + 1) * 32 + lane] = make_uint4(lo[0], lo[1], lo[R - 2], lo[R - 1]);
                } else {
                    xs[c * 32 + lane] = make_uint4(hi[0], hi[1], lo[0], lo[1]);
                }
                if (FAM == Q4K) {
                    const u32 one = 0x01010101u;
                    int s1[4] = {0, 0, 0, 0}, s2[4] = {0, 0, 0, 0};
                    imma32<true>(s1, one, one, one, one, hi[0], hi[1]);
                    imma32<true>(s2, one, one, one, one, lo[0], lo[1]);
                    xm[c * 32 + lane] =
                        NB == 8
                            ? make_float2((float)(256 * s1[0] + s2[0]) * xscale, (float)(256 * s1[1] + s2[1]) * xscale)
                            : make_float2((float)(256 * s1[0] + s1[1]) * xscale, (float)(256 * s2[0] + s2[1]) * xscale);
                }
            }
    }
    __syncthreads();
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
            const bool q6 = FAM == Q4K && (m == 0   ? a.tile_bytes[0]
                                           : m == 1 ? a.tile_bytes[1]
                                                    : a.tile_bytes[2]) == record_bytes(Q6K);
            int c = wk * NB;
#pragma unroll 1
            for (int s = 0; s < nsb; s++) {
                mbar_wait(b8, par);
                const u8 *tile = sm + ring + off;
                auto release = [&] {
                    __syncwarp();
                    if (left > 0) issue(off, b8);
                };
                if (FAM == Q4K && q6)
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
        if (norm && c0 == 0) {
#pragma unroll
            for (int o = 1; o < 32; o <<= 1)
                if (o < 4 || (o == 4 && NB <= 4) || (o == 8 && NB == 1) || (o == 16 && NB <= 2))
                    ss += __shfl_xor_sync(~0u, ss, o);
            if (t == 0 && (NB == 8 || ((n & 1) == 0 && n / 2 < NB))) ssq[warp * NB + xcol] = ss;
        }
        __syncthreads();
        if (norm && c0 == 0) {
            float q = 0;
            for (int k = 0; k < W; k++) q += ssq[k * NB + threadIdx.x % NB];
            rs = rsqrtf(q * (1.f / 256.f) / (float)S + a.eps);
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
            if (bias) y += bias[row];
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

// block: 32 * warps; grid: see gemv.c
#define KERNEL(name, fam, nb, cp)                                                                                      \
    extern "C" __global__ void __launch_bounds__(256, 2) rzc_gemv_##name##_##nb(const __grid_constant__ rzc_gemv a) {  \
        RUN(fam, nb, cp)                                                                                               \
    }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900 // the host takes other kernels there
#define RUN(fam, nb, cp)
#else
#define RUN(fam, nb, cp) gemv<fam, nb, cp>(a);
#endif
#define FAMILY(name, fam, cp)                                                                                          \
    KERNEL(name, fam, 1, cp) KERNEL(name, fam, 2, cp) KERNEL(name, fam, 4, cp) KERNEL(name, fam, 8, cp)
FAMILY(q4k, Q4K, true) FAMILY(q80, Q80, true) FAMILY(bf16, BF, false)
