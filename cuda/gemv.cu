// gemv.cu - products of record weights with 1 to 8 rows of x: the decode step. Tensor-core integer products (m16n8k32
// u8/s8 x s8; Q6_K m16n8k16), one warp a record. x is 16-bit fixed point, one scale per 256 values, split in two int8:
// x = s (256 hi + lo), so sums are exact integers; the eight B columns carry {hi, lo} of four groups of 32, so that a
// lane ends with the sums of two rows x one group and decodes each scale once. BF16: bf16 products, x = hi + lo.
// RMSNorm's weights are in x, its factor is applied to the sums.
// Layout of the records: dequant.cuh. Shared memory: a ring of records for each warp, filled ahead (before the wait for
// the predecessor, since weights depend on nobody); x as B fragments, made once by the block; partial sums by (row tile,
// k warp); one barrier; epilogue.
#include "dequant.cuh"

enum { Q4K = RZC_R_Q4_K, Q6K = RZC_R_Q6_K, Q80 = RZC_R_Q8_0, BF = RZC_R_BF16 };
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
__device__ __forceinline__ u32 smem_addr(const void *p) { return (u32)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void pdl_trigger() { asm volatile("griddepcontrol.launch_dependents;"); }
__device__ __forceinline__ void pdl_wait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }
__device__ __forceinline__ void mbar_init(u32 b, u32 arrivals) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(b), "r"(arrivals) : "memory"); }
__device__ __forceinline__ void mbar_wait(u32 b, u32 parity) {
  asm volatile("{\n.reg .pred p;\nL_%=:\nmbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n@!p bra L_%=;\n}" ::"r"(b), "r"(parity) : "memory");
}
__device__ __forceinline__ void bulk_load(u32 dst, const void* src, u32 bytes, u32 bar, u64 pol) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;" ::"r"(dst), "l"(src), "r"(bytes), "r"(bar), "l"(pol) : "memory");
}
template <bool S8> __device__ __forceinline__ void imma32(int (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {  // 16 x 32 (u8 | s8) times 32 x 8 s8
  if (S8) asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
  else asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};" : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3]) : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void imma16(int (&c)[4], u32 a0, u32 a1, u32 b0) {  // 16 x 16 s8 times 16 x 8 s8
  asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};" : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3]) : "r"(a0), "r"(a1), "r"(b0));
}
__device__ __forceinline__ void mmabf(float (&c)[4], uint4 a, u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
}
__device__ __forceinline__ float2 h2f(u32 v) { return __half22float2(*(__half2*)&v); }
// byte i - 128
__device__ __forceinline__ float u8f(u32 w, int i) { return __uint_as_float(__byte_perm(w, 0x4B000000u, 0x7440 + i)) - 8388736.f; }

// ---- one record times the x of its 256 columns
// NB <= 4: acc[0] (+ acc[1]): row n, acc[2] (+ acc[3]): row n+8, column t % NB, partial over the lanes with equal t % NB.
// NB == 8: acc[0..3]: rows n, n, n+8, n+8 of columns 2t, 2t+1. msk[i]: all ones where this lane's B column belongs to group i of a phase.
// x: B fragments; xsum: sums of x by column (Q4_K's minimums), float2 a lane and chunk; xinv: scale of a chunk.
// release() is called once the tile is in registers, so that its slot can be refilled while the arithmetic runs.
template <int T, int NB, class F> __device__ __forceinline__ void tile_mac(const u8* tile, const uint4* xs, const float2* xsum, const float* xinv, int lane, const u32 (&msk)[4], float (&acc)[4], F release) {
  constexpr int GP = NB == 8 ? 1 : 4 / NB, H = T == Q6K ? 2 : 1;      // groups per phase; accumulators per phase (Q6_K: one per 16-group)
  constexpr int PC = NB == 8 ? 1 : 2, NC = 8 / (GP * PC);             // phases per chunk of 256 values; chunks
  constexpr int st = NB == 8 ? 1 : 2;                                 // NB <= 4 uses elements 0 and 2 of acc
  const int n = lane >> 2, t = lane & 3; const uint4* tw = (const uint4*)tile + lane; const uint4* xl = xs + lane;
  if (T == BF) {                         // B: 4 registers hi, 4 registers lo; no scales: accumulate in f32 over everything, on two chains
    float ac2[4] = {0, 0, 0, 0}; uint4 x;
#pragma unroll
    for (int g = 0; g < 8; g++) {
      const uint4 w0 = tw[g * 64], w1 = tw[g * 64 + 32]; const int p = g / GP;
      if (g % GP == 0 || NB == 8) x = xl[(NB == 8 ? 2 * g : p) * 32];
      const u32 m = NB >= 4 ? ~0u : msk[g % GP];
      mmabf(acc, w0, x.x & m, x.y & m); mmabf(ac2, w1, x.z & m, x.w & m);
      if (NB == 8) { x = xl[(2 * g + 1) * 32]; mmabf(acc, w0, x.x, x.y); mmabf(ac2, w1, x.z, x.w); }
    }
    release();
#pragma unroll
    for (int i = 0; i < 4; i++) acc[i] += ac2[i];
    return;
  }
  constexpr int NW = T == Q80 ? 8 : 4; uint4 w[NW], V[2]; u32 q0[NC * PC], q1[NC * PC]; uint2 dd; float2 xm[NC]; uint4 x[NC]; float inv[NC];
#pragma unroll
  for (int i = 0; i < NW; i++) w[i] = tw[i * 32];
  if (T == Q6K) V[0] = tw[128], V[1] = tw[160];
#pragma unroll
  for (int p = 0; p < NC * PC; p++) {    // scales of this lane's group in phase p
    const int gl = NB == 8 ? p : p * GP + t / NB, li = NB == 1 ? lane : n * 4 + gl % 4;
    if (T == Q4K) q0[p] = *(const u32*)(tile + 2112 + li * 4), q1[p] = *(const uint16_t*)(tile + 2240 + li * 2);
    else { const uint2 q = *(const uint2*)(tile + (T == Q6K ? 3072 : 4096) + li * 8); q0[p] = q.x; q1[p] = q.y; }
  }
  if (T == Q4K) dd = *(const uint2*)(tile + 2048 + n * 8); else if (T == Q6K) dd.x = *(const u32*)(tile + 3328 + n * 4);
  release();
#pragma unroll
  for (int i = 0; i < NC; i++) { x[i] = xl[i * 32]; inv[i] = xinv[i]; if (T == Q4K) xm[i] = xsum[i * 32 + lane]; }
#pragma unroll
  for (int ch = 0; ch < NC; ch++) {
    int c[PC][H][4] = {}, lo[PC][H][4] = {};
#pragma unroll
    for (int gi = 0; gi < GP; gi++)
#pragma unroll
      for (int pc = 0; pc < PC; pc++) {  // independent chains alternate
        const int g = (ch * PC + pc) * GP + gi; u32 B[4] = {x[ch].x, x[ch].y, x[ch].z, x[ch].w};
        if (NB < 8) { const u32 m = NB == 4 ? ~0u : msk[gi]; B[0] = (pc ? B[2] : B[0]) & m; B[1] = (pc ? B[3] : B[1]) & m; }
        uint4 a;
        if (T == Q80) a = w[g % NW];
        else if (T == Q4K) { const u32 m = g & 1 ? 0xf0f0f0f0u : 0x0f0f0f0fu; const uint4 v = w[g / 2 % NW]; a = make_uint4(v.x & m, v.y & m, v.z & m, v.w & m); }
        else {                           // byte = 4 (q - 32): top nibble from w, two bits from V
          auto byte4 = [&](u32 wi, u32 vi) { u32 v = g % 4 == 0 ? vi << 2 : g % 4 == 1 ? vi : g % 4 == 2 ? vi >> 2 : vi >> 4; return ((g & 1 ? wi : wi << 4) & 0xf0f0f0f0u) | (v & 0x0c0c0c0cu); };
          const uint4 v = w[g / 2 % NW], z = V[g / 4]; a = make_uint4(byte4(v.x, z.x), byte4(v.y, z.y), byte4(v.z, z.z), byte4(v.w, z.w));
        }
        if (T == Q6K) { imma16(c[pc][0], a.x, a.y, B[0]); imma16(c[pc][H - 1], a.z, a.w, B[1]); if (NB == 8) { imma16(lo[pc][0], a.x, a.y, B[2]); imma16(lo[pc][H - 1], a.z, a.w, B[3]); } }
        else { imma32<T == Q80>(c[pc][0], a.x, a.y, a.z, a.w, B[0], B[1]); if (NB == 8) imma32<T == Q80>(lo[pc][0], a.x, a.y, a.z, a.w, B[2], B[3]); }
      }
    float tot[4] = {0, 0, 0, 0}, mn[4] = {0, 0, 0, 0}; int gl = 0;
#pragma unroll
    for (int pc = 0; pc < PC; pc++) {    // v[h][.] = sums for this lane's group gl and 2 rows (NB == 8: 2 rows x 2 columns), in units of inv
      const int p = ch * PC + pc; gl = NB == 8 ? p : p * GP + t / NB; const int f = gl / 4;  // f is p for NB == 1
      float v[H][4];
#pragma unroll
      for (int h = 0; h < H; h++) {
        if (NB == 8) for (int i = 0; i < 4; i++) v[h][i] = (float)(256 * c[pc][h][i] + lo[pc][h][i]);
        else v[h][0] = v[h][1] = (float)(256 * c[pc][h][0] + c[pc][h][1]), v[h][2] = v[h][3] = (float)(256 * c[pc][h][2] + c[pc][h][3]);
      }
      if (T == Q4K) {
        const u32 q = f ? __funnelshift_r(q0[p], q1[p], 24) : q0[p]; const float fo = NB == 4 && (p & 1) ? 0.0625f : 1.f;
        const float s0 = fo * (float)(q & 63), m0 = (float)(q >> 6 & 63), s1 = fo * (float)(q >> 12 & 63), m1 = (float)(q >> 18 & 63);
#pragma unroll
        for (int i = 0; i < 4; i += st) { tot[i] += (i < 2 ? s0 : s1) * v[0][i]; mn[i] += (i < 2 ? m0 : m1) * (NB == 8 ? (i & 1 ? xm[ch].y : xm[ch].x) : (pc ? xm[ch].y : xm[ch].x)); }
      } else if (T == Q6K) {
        const u32 sa = NB == 1 ? q0[p] : q0[p] >> (16 * f), sb = NB == 1 ? q1[p] : q1[p] >> (16 * f); const int o = NB == 1 ? 2 * p : 0;
#pragma unroll
        for (int i = 0; i < 4; i += st) tot[i] += u8f(i < 2 ? sa : sb, o) * v[0][i] + u8f(i < 2 ? sa : sb, o + 1) * v[H - 1][i];
      } else {
        const float2 d0 = h2f(q0[p]), d1 = h2f(q1[p]); const float s0 = f ? d0.y : d0.x, s1 = f ? d1.y : d1.x;
#pragma unroll
        for (int i = 0; i < 4; i += st) tot[i] += (i < 2 ? s0 : s1) * v[0][i];
      }
    }
    if (T == Q4K) {
      const float2 d0 = h2f(dd.x), d1 = h2f(dd.y); const float iv = NB != 4 && (gl & 1) ? inv[ch] * 0.0625f : inv[ch];
#pragma unroll
      for (int i = 0; i < 4; i += st) acc[i] += (i < 2 ? d0.x : d1.x) * iv * tot[i] - (i < 2 ? d0.y : d1.y) * mn[i];
    } else {
      const float2 d = T == Q6K ? h2f(dd.x) : make_float2(1.f, 1.f); const float iv = T == Q6K ? 0.25f * inv[ch] : inv[ch];
#pragma unroll
      for (int i = 0; i < 4; i += st) acc[i] += (i < 2 ? d.x : d.y) * iv * tot[i];
    }
  }
}


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
    const u32 ring = warp * a.slots * a.slot_bytes, ringa = smem_addr(sm) + ring, bar = smem_addr(sm + L.bars) + warp * a.slots * 8;
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
                asm volatile("cp.async.cg.shared.global.L2::cache_hint.L2::128B [%0], [%1], 16, %2;" ::"r"(ringa + off + o), "l"(src + o), "l"(pol) : "memory");
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
                        __nv_bfloat162 r = __floats2bfloat162_rn(f[u][2 * i] - __low2float(v), f[u][2 * i + 1] - __high2float(v));
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
                        for (int j = 0; j < 4; j++) q[j] = __float_as_uint(fmaf(f[u][4 * i + j], sc, 12582912.f)), r[j] = q[j] + 128;
                        lo[i] = __byte_perm(__byte_perm(q[0], q[1], 0x0040), __byte_perm(q[2], q[3], 0x0040), 0x5410);
                        hi[i] = __byte_perm(__byte_perm(r[0], r[1], 0x0051), __byte_perm(r[2], r[3], 0x0051), 0x5410);
                    }
                }
                if (NB < 8) { // even n: hi columns, odd n: lo columns; lane n has phase n % 2 of both, its neighbour the other
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
                    xm[c * 32 + lane] = NB == 8 ? make_float2((float)(256 * s1[0] + s2[0]) * xscale, (float)(256 * s1[1] + s2[1]) * xscale)
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
            const bool q6 = FAM == Q4K && (m == 0 ? a.tile_bytes[0] : m == 1 ? a.tile_bytes[1] : a.tile_bytes[2]) == record_bytes(Q6K);
            int c = wk * NB;
#pragma unroll 1
            for (int s = 0; s < nsb; s++) {
                mbar_wait(b8, par);
                const u8 *tile = sm + ring + off;
                auto release = [&] {
                    __syncwarp();
                    if (left > 0) issue(off, b8);
                };
                if (FAM == Q4K && q6) tile_mac<FAM == Q4K ? Q6K : FAM, NB>(tile, xs + c * 32, xm + c * 32, xinv + c, lane, msk, acc, release);
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
                if (o < 4 || (o == 4 && NB <= 4) || (o == 8 && NB == 1) || (o == 16 && NB <= 2)) ss += __shfl_xor_sync(~0u, ss, o);
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
#define KERNEL(name, fam, nb, cp)                                                                                     \
    extern "C" __global__ void __launch_bounds__(256, 2) rzc_gemv_##name##_##nb(const __grid_constant__ rzc_gemv a) { \
        RUN(fam, nb, cp)                                                                                              \
    }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900 // the host takes other kernels there
#define RUN(fam, nb, cp)
#else
#define RUN(fam, nb, cp) gemv<fam, nb, cp>(a);
#endif
#define FAMILY(name, fam, cp) KERNEL(name, fam, 1, cp) KERNEL(name, fam, 2, cp) KERNEL(name, fam, 4, cp) KERNEL(name, fam, 8, cp)
FAMILY(q4k, Q4K, true) FAMILY(q80, Q80, true) FAMILY(bf16, BF, false)
