// gemv.cuh - the parts of gemv.cu's kernels: PTX, one record times the x of its 256 columns, x as B fragments.
#pragma once
#include "dequant.cuh"
#include "ptx.cuh"

// Families of products: Q4K (Q4_K and Q6_K records), Q80, BF, H16 (F16), ANY (a mix of any but those of 16 bits).
enum { ANY = 0, Q4K = RZC_R_Q4_K, Q6K = RZC_R_Q6_K, Q80 = RZC_R_Q8_0, BF = RZC_R_BF16, H16 = RZC_R_F16 };
__host__ __device__ constexpr bool is_16bit(int family) { return family == BF || family == H16; }
__host__ __device__ constexpr bool has_sums(int family) { return family == Q4K || family == ANY; }
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
__device__ __forceinline__ void bulk_load(u32 dst, const void *src, u32 bytes, u32 bar, u64 pol) {
    barrier_expect(bar, bytes);
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, "
                 "[%3], %4;" ::"r"(dst),
                 "l"(src), "r"(bytes), "r"(bar), "l"(pol)
                 : "memory");
}
template <bool S8>
__device__ __forceinline__ void imma32(int (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0,
                                       u32 b1) { // 16 x 32 (u8 | s8) times 32 x 8 s8
    if (S8)
        asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
            : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
    else
        asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
            : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
__device__ __forceinline__ void imma16(int (&c)[4], u32 a0, u32 a1, u32 b0) { // 16 x 16 s8 times 16 x 8 s8
    asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
        : "r"(a0), "r"(a1), "r"(b0));
}
// 32 columns, their halves of 16 summed apart; 8 columns of x: those of lo, too.
template <int NB, int H>
__device__ __forceinline__ void imma_halves(int (&c)[H][4], int (&lo)[H][4], uint4 a, const u32 (&b)[4]) {
    imma16(c[0], a.x, a.y, b[0]);
    imma16(c[H - 1], a.z, a.w, b[1]);
    if (NB == 8) {
        imma16(lo[0], a.x, a.y, b[2]);
        imma16(lo[H - 1], a.z, a.w, b[3]);
    }
}
__device__ __forceinline__ float2 h2f(u32 v) { return __half22float2(*(__half2 *)&v); }
// byte i - 128
__device__ __forceinline__ float u8f(u32 w, int i) {
    return __uint_as_float(__byte_perm(w, 0x4B000000u, 0x7440 + i)) - 8388736.f;
}

// ---- one record times the x of its 256 columns
// NB <= 4: acc[0] (+ acc[1]): row n, acc[2] (+ acc[3]): row n+8, column t % NB, partial over the lanes with equal t %
// NB. NB == 8: acc[0..3]: rows n, n, n+8, n+8 of columns 2t, 2t+1. msk[i]: all ones where this lane's B column belongs
// to group i of a phase. x: B fragments; xsum: sums of x by column (Q4_K's minimums), float2 a lane and chunk; xinv:
// scale of a chunk. release() is called once the tile is in registers, so that its slot can be refilled while the
// arithmetic runs.
template <int T, int NB, class F>
__device__ __forceinline__ void tile_mac(const u8 *tile, const uint4 *xs, const float2 *xsum, const float *xinv,
                                         int lane, const u32 (&msk)[4], float (&acc)[4], F release) {
    constexpr int GP = NB == 8 ? 1 : 4 / NB,
                  H = T == Q6K ? 2 : 1; // groups per phase; accumulators per phase (Q6_K: one per 16-group)
    constexpr int PC = NB == 8 ? 1 : 2, NC = 8 / (GP * PC); // phases per chunk of 256 values; chunks
    constexpr int st = NB == 8 ? 1 : 2;                     // NB <= 4 uses elements 0 and 2 of acc
    const int n = lane >> 2, t = lane & 3;
    const uint4 *tw = (const uint4 *)tile + lane;
    const uint4 *xl = xs + lane;
    if (T == BF) { // B: 4 registers hi, 4 registers lo; no scales: accumulate in f32 over everything, on two chains
        float ac2[4] = {0, 0, 0, 0};
        uint4 x;
#pragma unroll
        for (int g = 0; g < 8; g++) {
            const uint4 w0 = tw[g * 64], w1 = tw[g * 64 + 32];
            const int p = g / GP;
            if (g % GP == 0 || NB == 8) x = xl[(NB == 8 ? 2 * g : p) * 32];
            const u32 m = NB >= 4 ? ~0u : msk[g % GP];
            mma16<true>(acc, w0, x.x & m, x.y & m);
            mma16<true>(ac2, w1, x.z & m, x.w & m);
            if (NB == 8) {
                x = xl[(2 * g + 1) * 32];
                mma16<true>(acc, w0, x.x, x.y);
                mma16<true>(ac2, w1, x.z, x.w);
            }
        }
        release();
#pragma unroll
        for (int i = 0; i < 4; i++) acc[i] += ac2[i];
        return;
    }
    constexpr int NW = T == Q80 ? 8 : 4;
    uint4 w[NW], V[2];
    u32 q0[NC * PC], q1[NC * PC];
    uint2 dd;
    float2 xm[NC];
    uint4 x[NC];
    float inv[NC];
#pragma unroll
    for (int i = 0; i < NW; i++) w[i] = tw[i * 32];
    if (T == Q6K) V[0] = tw[128], V[1] = tw[160];
#pragma unroll
    for (int p = 0; p < NC * PC; p++) { // scales of this lane's group in phase p
        const int gl = NB == 8 ? p : p * GP + t / NB, li = NB == 1 ? lane : n * 4 + gl % 4;
        if (T == Q4K) q0[p] = *(const u32 *)(tile + 2112 + li * 4), q1[p] = *(const uint16_t *)(tile + 2240 + li * 2);
        else {
            const uint2 q = *(const uint2 *)(tile + (T == Q6K ? 3072 : 4096) + li * 8);
            q0[p] = q.x;
            q1[p] = q.y;
        }
    }
    if (T == Q4K) dd = *(const uint2 *)(tile + 2048 + n * 8);
    else if (T == Q6K) dd.x = *(const u32 *)(tile + 3328 + n * 4);
    release();
#pragma unroll
    for (int i = 0; i < NC; i++) {
        x[i] = xl[i * 32];
        inv[i] = xinv[i];
        if (T == Q4K) xm[i] = xsum[i * 32 + lane];
    }
#pragma unroll
    for (int ch = 0; ch < NC; ch++) {
        int c[PC][H][4] = {}, lo[PC][H][4] = {};
#pragma unroll
        for (int gi = 0; gi < GP; gi++)
#pragma unroll
            for (int pc = 0; pc < PC; pc++) { // independent chains alternate
                const int g = (ch * PC + pc) * GP + gi;
                u32 B[4] = {x[ch].x, x[ch].y, x[ch].z, x[ch].w};
                if (NB < 8) {
                    const u32 m = NB == 4 ? ~0u : msk[gi];
                    B[0] = (pc ? B[2] : B[0]) & m;
                    B[1] = (pc ? B[3] : B[1]) & m;
                }
                uint4 a;
                if (T == Q80) a = w[g % NW];
                else if (T == Q4K) {
                    const u32 m = g & 1 ? 0xf0f0f0f0u : 0x0f0f0f0fu;
                    const uint4 v = w[g / 2 % NW];
                    a = make_uint4(v.x & m, v.y & m, v.z & m, v.w & m);
                } else { // byte = 4 (q - 32): top nibble from w, two bits from V
                    auto byte4 = [&](u32 wi, u32 vi) {
                        u32 v = g % 4 == 0 ? vi << 2 : g % 4 == 1 ? vi : g % 4 == 2 ? vi >> 2 : vi >> 4;
                        return ((g & 1 ? wi : wi << 4) & 0xf0f0f0f0u) | (v & 0x0c0c0c0cu);
                    };
                    const uint4 v = w[g / 2 % NW], z = V[g / 4];
                    a = make_uint4(byte4(v.x, z.x), byte4(v.y, z.y), byte4(v.z, z.z), byte4(v.w, z.w));
                }
                if (T == Q6K) {
                    imma_halves<NB>(c[pc], lo[pc], a, B);
                } else {
                    imma32<T == Q80>(c[pc][0], a.x, a.y, a.z, a.w, B[0], B[1]);
                    if (NB == 8) imma32<T == Q80>(lo[pc][0], a.x, a.y, a.z, a.w, B[2], B[3]);
                }
            }
        float tot[4] = {0, 0, 0, 0}, mn[4] = {0, 0, 0, 0};
        int gl = 0;
#pragma unroll
        for (int pc = 0; pc < PC; pc++) { // v[h][.] = sums for this lane's group gl and 2 rows (NB == 8: 2 rows x 2
                                          // columns), in units of inv
            const int p = ch * PC + pc;
            gl = NB == 8 ? p : p * GP + t / NB;
            const int f = gl / 4; // f is p for NB == 1
            float v[H][4];
#pragma unroll
            for (int h = 0; h < H; h++) {
                if (NB == 8)
                    for (int i = 0; i < 4; i++) v[h][i] = (float)(256 * c[pc][h][i] + lo[pc][h][i]);
                else
                    v[h][0] = v[h][1] = (float)(256 * c[pc][h][0] + c[pc][h][1]),
                    v[h][2] = v[h][3] = (float)(256 * c[pc][h][2] + c[pc][h][3]);
            }
            if (T == Q4K) {
                const u32 q = f ? __funnelshift_r(q0[p], q1[p], 24) : q0[p];
                const float fo = NB == 4 && (p & 1) ? 0.0625f : 1.f;
                const float s0 = fo * (float)(q & 63), m0 = (float)(q >> 6 & 63), s1 = fo * (float)(q >> 12 & 63),
                            m1 = (float)(q >> 18 & 63);
#pragma unroll
                for (int i = 0; i < 4; i += st) {
                    tot[i] += (i < 2 ? s0 : s1) * v[0][i];
                    mn[i] += (i < 2 ? m0 : m1) * (NB == 8 ? (i & 1 ? xm[ch].y : xm[ch].x) : (pc ? xm[ch].y : xm[ch].x));
                }
            } else if (T == Q6K) {
                const u32 sa = NB == 1 ? q0[p] : q0[p] >> (16 * f), sb = NB == 1 ? q1[p] : q1[p] >> (16 * f);
                const int o = NB == 1 ? 2 * p : 0;
#pragma unroll
                for (int i = 0; i < 4; i += st)
                    tot[i] += u8f(i < 2 ? sa : sb, o) * v[0][i] + u8f(i < 2 ? sa : sb, o + 1) * v[H - 1][i];
            } else {
                const float2 d0 = h2f(q0[p]), d1 = h2f(q1[p]);
                const float s0 = f ? d0.y : d0.x, s1 = f ? d1.y : d1.x;
#pragma unroll
                for (int i = 0; i < 4; i += st) tot[i] += (i < 2 ? s0 : s1) * v[0][i];
            }
        }
        if (T == Q4K) {
            const float2 d0 = h2f(dd.x), d1 = h2f(dd.y);
            const float iv = NB != 4 && (gl & 1) ? inv[ch] * 0.0625f : inv[ch];
#pragma unroll
            for (int i = 0; i < 4; i += st)
                acc[i] += (i < 2 ? d0.x : d1.x) * iv * tot[i] - (i < 2 ? d0.y : d1.y) * mn[i];
        } else {
            const float2 d = T == Q6K ? h2f(dd.x) : make_float2(1.f, 1.f);
            const float iv = T == Q6K ? 0.25f * inv[ch] : inv[ch];
#pragma unroll
            for (int i = 0; i < 4; i += st) acc[i] += (i < 2 ? d.x : d.y) * iv * tot[i];
        }
    }
}

// ---- x of a product: chunks of 256 values, 8 a lane, as B fragments
// The first of the 2 x 4 values (the other four are 16 behind) that lane 4n + t has of chunk c.
template <int NB> __device__ __forceinline__ int k_of_chunk(int c, int n, int t) {
    constexpr int GP = NB == 8 ? 1 : 4 / NB; // NB <= 4: of phase 2 (c % NB) + n % 2
    return c / NB * 256 + (NB == 8 ? c % NB : (2 * (c % NB) + (n & 1)) * GP + n / (2 * NB)) * 32 + t * 4;
}
// The column of x that these values are of.
template <int NB> __device__ __forceinline__ int column_of(int n) { return NB == 8 ? n : n / 2 % NB; }
// Sum over the lanes with the same column.
template <int NB> __device__ __forceinline__ float column_sum(float x) {
#pragma unroll
    for (int o = 1; o < 32; o <<= 1)
        if (o < 4 || (o == 4 && NB <= 4) || (o == 8 && NB == 1) || (o == 16 && NB <= 2))
            x += __shfl_xor_sync(~0u, x, o);
    return x;
}
// Whether lane 4n + t writes the sum of its column.
template <int NB> __device__ __forceinline__ bool writes_sum(int n, int t) {
    return t == 0 && (NB == 8 || ((n & 1) == 0 && n / 2 < NB));
}
// Bytes of n chunks: fragments, sums by column (of formats with minimums), scales, sums of squares; each a multiple of
// 16. As in gemv.c.
template <int FAM, int NB> struct XBytes {
    u32 fragments, sums, scales, squares;
    __host__ __device__ explicit XBytes(u32 n)
        : fragments(n * 512 * (is_16bit(FAM) ? 2 : 1)), sums(has_sums(FAM) ? n * 256 : 0), scales((n * 4 + 15) & ~15u),
          squares((n * NB * 4 + 15) & ~15u) {}
};
template <int FAM, int NB>
__device__ __forceinline__ void put_x(const float (&f)[8], int c, int lane, uint4 *xs, float2 *xm, float *xinv) {
    const int n = lane >> 2;
    constexpr int R = is_16bit(FAM) ? 4 : 2;
    u32 hi[R], lo[R];
    float xscale = 0;
    if (FAM == BF) {
#pragma unroll
        for (int i = 0; i < R; i++) {
            __nv_bfloat162 v = __floats2bfloat162_rn(f[2 * i], f[2 * i + 1]);
            __nv_bfloat162 r =
                __floats2bfloat162_rn(f[2 * i] - __low2float(v), f[2 * i + 1] - __high2float(v));
            hi[i] = *(u32 *)&v, lo[i] = *(u32 *)&r;
        }
    } else if (FAM == H16) { // scaled by a power of two: the largest is in [2^14, 2^15)
        float m = 1e-30f;
#pragma unroll
        for (int i = 0; i < 8; i++) m = fmaxf(m, fabsf(f[i]));
        const u32 e = min(__reduce_max_sync(~0u, __float_as_uint(m)) >> 23, 254u);
        const float sc = __uint_as_float((268 - e) << 23);
        if (lane == 0) xinv[c] = __uint_as_float((e - 14) << 23);
#pragma unroll
        for (int i = 0; i < R; i++) {
            const float x0 = f[2 * i] * sc, x1 = f[2 * i + 1] * sc;
            const __half2 v = __floats2half2_rn(x0, x1);
            const __half2 r = __floats2half2_rn(x0 - __low2float(v), x1 - __high2float(v));
            hi[i] = *(const u32 *)&v, lo[i] = *(const u32 *)&r;
        }
    } else { // round(x s) as the low bits of x s + 1.5 * 2^23; hi takes the carry of the signed low byte
        float m = 1e-30f;
#pragma unroll
        for (int i = 0; i < 8; i++) m = fmaxf(m, fabsf(f[i]));
        const float mx = __uint_as_float(__reduce_max_sync(~0u, __float_as_uint(m)));
        const float sc = __fdividef(32512.f, mx);
        xscale = mx * (1.f / 32512.f);
        if (lane == 0) xinv[c] = xscale;
#pragma unroll
        for (int i = 0; i < R; i++) {
            u32 q[4], r[4];
#pragma unroll
            for (int j = 0; j < 4; j++)
                q[j] = __float_as_uint(fmaf(f[4 * i + j], sc, 12582912.f)), r[j] = q[j] + 128;
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
    if (is_16bit(FAM)) {
        xs[(2 * c) * 32 + lane] = make_uint4(hi[0], hi[1], hi[R - 2], hi[R - 1]);
        xs[(2 * c + 1) * 32 + lane] = make_uint4(lo[0], lo[1], lo[R - 2], lo[R - 1]);
    } else {
        xs[c * 32 + lane] = make_uint4(hi[0], hi[1], lo[0], lo[1]);
    }
    if (has_sums(FAM)) {
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
#endif
