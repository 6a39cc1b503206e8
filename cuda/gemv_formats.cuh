// gemv_formats.cuh - one record of any integer format times the x of its 256 columns, by its parts (records.cuh). The
// formats that decode most often have a tile_mac of their own in gemv.cuh, with the same arguments.
#pragma once
#include "gemv.cuh"

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
// A record's planes in registers: a lane's words.
template <int F> struct PlaneWords {
    static constexpr int BITS = parts_of(F).bits;
    static constexpr bool HAS_TWOS = BITS == 6 || BITS < 4, HAS_ONE = BITS & 1;
    uint4 wide[BITS == 8 ? 8 : 4], two[2], one;
    __device__ __forceinline__ void load(const u8 *tile, int lane) {
        const uint4 *at = (const uint4 *)tile + lane;
        if (BITS >= 4) {
#pragma unroll
            for (int i = 0; i < (BITS == 8 ? 8 : 4); i++) wide[i] = at[i * 32];
        }
        if (HAS_TWOS) two[0] = at[twos_at(F)], two[1] = at[twos_at(F) + 32];
        if (HAS_ONE) one = at[ones_at(F)];
    }
    // The A fragment of group g, in units of unit_of.
    __device__ __forceinline__ uint4 group(int g) const {
        const uint4 w = BITS >= 4 ? wide[BITS == 8 ? g : g / 2] : make_uint4(0, 0, 0, 0);
        const uint4 z = HAS_TWOS ? two[g / 4] : make_uint4(0, 0, 0, 0), y = HAS_ONE ? one : make_uint4(0, 0, 0, 0);
        return make_uint4(codes<F>(w.x, z.x, y.x, g), codes<F>(w.y, z.y, y.y, g), codes<F>(w.z, z.z, y.z, g),
                          codes<F>(w.w, z.w, y.w, g));
    }
};

// The arguments are tile_mac's.
template <int F, int NB, class Release>
__device__ __forceinline__ void record_mac(const u8 *tile, const uint4 *xs, const float2 *xsum, const float *xinv,
                                           int lane, const u32 (&msk)[4], float (&acc)[4], Release release) {
    constexpr Parts P = parts_of(F);
    constexpr Scales S = P.scales;
    constexpr bool BY16 = S == K16 || S == K16_MIN, OWN_SUMS = S == K16_MIN, HAS_MIN = S == K32 || S == PER32_MIN;
    constexpr int GP = NB == 8 ? 1 : 4 / NB, H = BY16 ? 2 : 1; // groups per phase; sums per phase
    constexpr int PC = NB == 8 ? 1 : 2, NC = 8 / (GP * PC);    // phases per chunk of 256 values; chunks
    constexpr int ST = NB == 8 ? 1 : 2;                        // NB <= 4 uses elements 0 and 2 of acc
    const int n = lane >> 2, t = lane & 3;
    const u8 *at = tile + scales_at(F);
    PlaneWords<F> words;
    words.load(tile, lane);
    uint2 q[NC * PC], m[NC * PC], dd = make_uint2(0, 0);
#pragma unroll
    for (int p = 0; p < NC * PC; p++) { // scales of this lane's group in phase p
        const int li = NB == 1 ? lane : n * 4 + (NB == 8 ? p : p * GP + t / NB) % 4;
        if (S == K32) q[p] = make_uint2(*(const u32 *)(at + 64 + li * 4), *(const uint16_t *)(at + 192 + li * 2));
        else if (S == S32) q[p].x = *(const u32 *)(at + li * 4);
        else q[p] = *(const uint2 *)(at + li * 8);
        if (S == PER32_MIN) m[p] = *(const uint2 *)(at + 256 + li * 8);
    }
    if (S == K32) dd = *(const uint2 *)(at + n * 8);
    if (S == K16_MIN) dd = *(const uint2 *)(at + 256 + n * 8);
    if (S == K16) dd.x = *(const u32 *)(at + 256 + n * 4);
    if (S == S32) dd.x = *(const u32 *)(at + 128 + n * 4);
    release();
    uint4 x[NC];
    float2 xm[NC];
    float inv[NC];
#pragma unroll
    for (int i = 0; i < NC; i++) {
        x[i] = xs[i * 32 + lane];
        inv[i] = xinv[i];
        if (HAS_MIN) xm[i] = xsum[i * 32 + lane];
    }
#pragma unroll
    for (int ch = 0; ch < NC; ch++) {
        int c[PC][H][4] = {}, lo[PC][H][4] = {}, xc[PC][H][4] = {}, xlo[PC][H][4] = {};
#pragma unroll
        for (int gi = 0; gi < GP; gi++)
#pragma unroll
            for (int pc = 0; pc < PC; pc++) { // independent chains alternate
                const uint4 a = words.group((ch * PC + pc) * GP + gi);
                u32 B[4] = {x[ch].x, x[ch].y, x[ch].z, x[ch].w};
                if (NB < 8) {
                    const u32 mask = NB == 4 ? ~0u : msk[gi];
                    B[0] = (pc ? B[2] : B[0]) & mask;
                    B[1] = (pc ? B[3] : B[1]) & mask;
                }
                if (BY16) {
                    imma_halves<NB>(c[pc], lo[pc], a, B);
                } else {
                    imma32<P.is_signed>(c[pc][0], a.x, a.y, a.z, a.w, B[0], B[1]);
                    if (NB == 8) imma32<P.is_signed>(lo[pc][0], a.x, a.y, a.z, a.w, B[2], B[3]);
                }
                if (OWN_SUMS) { // of x, by 16 columns
                    constexpr u32 one = 0x01010101u;
                    imma_halves<NB>(xc[pc], xlo[pc], make_uint4(one, one, one, one), B);
                }
            }
        float tot[4] = {}, low[4] = {}; // sums of products and of minimums; for PER32* whole, else in units of d
        const float iv = inv[ch] * (1.f / unit_of(F));
#pragma unroll
        for (int pc = 0; pc < PC; pc++) {
            const int p = ch * PC + pc, f = NB == 8 ? p / 4 : p * GP / 4; // which half of the lane's scales
            auto sum = [](const int(&hi)[4], const int(&l)[4], int i) {
                if (NB == 8) return (float)(256 * hi[i] + l[i]);
                return (float)(256 * hi[i] + hi[i + 1]);
            };
#pragma unroll
            for (int i = 0; i < 4; i += ST) {
                const u32 own = i < 2 ? q[p].x : q[p].y;
                const float v = sum(c[pc][0], lo[pc][0], i);
                const float xv = HAS_MIN ? NB == 8 ? (i & 1 ? xm[ch].y : xm[ch].x) : (pc ? xm[ch].y : xm[ch].x) : 0.f;
                if (S == PER32 || S == PER32_MIN) {
                    const float2 d = h2f(own);
                    tot[i] += (f ? d.y : d.x) * v;
                    if (S == PER32_MIN) {
                        const float2 e = h2f(i < 2 ? m[p].x : m[p].y);
                        low[i] += (f ? e.y : e.x) * xv;
                    }
                } else if (S == K32) {
                    const u32 s = (f ? __funnelshift_r(q[p].x, q[p].y, 24) : q[p].x) >> (i < 2 ? 0 : 12);
                    tot[i] += (float)(s & 63) * v;
                    low[i] += (float)(s >> 6 & 63) * xv;
                } else if (S == S32) {
                    tot[i] += u8f(q[p].x, (i < 2 ? 0 : 2) + f) * v;
                } else {
                    const float w = sum(c[pc][H - 1], lo[pc][H - 1], i);
                    if (S == K16) {
                        tot[i] += u8f(own, 2 * f) * v + u8f(own, 2 * f + 1) * w;
                    } else {
                        const u32 s = own >> (16 * f);
                        tot[i] += (float)(s & 15) * v + (float)(s >> 8 & 15) * w;
                        low[i] += (float)(s >> 4 & 15) * sum(xc[pc][0], xlo[pc][0], i) +
                                  (float)(s >> 12 & 15) * sum(xc[pc][H - 1], xlo[pc][H - 1], i);
                    }
                }
            }
        }
#pragma unroll
        for (int i = 0; i < 4; i += ST) {
            if (S == PER32) acc[i] += iv * tot[i];
            else if (S == PER32_MIN) acc[i] += iv * tot[i] + low[i];
            else if (S == K32 || S == K16_MIN) {
                const float2 d = h2f(i < 2 ? dd.x : dd.y);
                acc[i] += d.x * iv * tot[i] - d.y * (S == K16_MIN ? inv[ch] : 1.f) * low[i];
            } else {
                const float2 d = h2f(dd.x);
                acc[i] += (i < 2 ? d.x : d.y) * iv * tot[i];
            }
        }
    }
}

// F16 weights: fp16 products with x = hi + lo, both fp16 in units of xinv; a chunk's fragments are hi, then lo.
template <int NB, class Release>
__device__ __forceinline__ void f16_mac(const u8 *tile, const uint4 *xs, const float *xinv, int lane,
                                        const u32 (&msk)[4], float (&acc)[4], Release release) {
    constexpr int GP = NB == 8 ? 1 : 4 / NB;
    const uint4 *tw = (const uint4 *)tile + lane;
    constexpr int GC = NB == 8 ? 1 : 2 * GP; // groups of a chunk, which have one scale
#pragma unroll
    for (int ch = 0; ch < 8 / GC; ch++) {
        float c0[4] = {}, c1[4] = {};
        uint4 x = make_uint4(0, 0, 0, 0);
#pragma unroll
        for (int i = 0; i < GC; i++) {
            const int g = ch * GC + i;
            const uint4 w0 = tw[g * 64], w1 = tw[g * 64 + 32];
            if (i % GP == 0) x = xs[(NB == 8 ? 2 * g : g / GP) * 32 + lane];
            const u32 m = NB >= 4 ? ~0u : msk[i % GP];
            mma16<false>(c0, w0, x.x & m, x.y & m);
            mma16<false>(c1, w1, x.z & m, x.w & m);
            if (NB == 8) {
                x = xs[(2 * g + 1) * 32 + lane];
                mma16<false>(c0, w0, x.x, x.y);
                mma16<false>(c1, w1, x.z, x.w);
            }
        }
        const float iv = xinv[ch];
#pragma unroll
        for (int i = 0; i < 4; i++) acc[i] += iv * (c0[i] + c1[i]);
    }
    release();
}

// Any integer record, its format looked up when it runs: the same in a whole warp.
template <int NB, class Release>
__device__ __forceinline__ void any_mac(u32 format, const u8 *tile, const uint4 *xs, const float2 *xsum,
                                        const float *xinv, int lane, const u32 (&msk)[4], float (&acc)[4],
                                        Release release) {
    switch (format) {
#define CASE(f)                                                                                                        \
    case RZC_##f: record_mac<RZC_##f, NB>(tile, xs, xsum, xinv, lane, msk, acc, release); break;
        CASE(R_Q4_0) CASE(R_Q4_1) CASE(R_Q5_0) CASE(R_Q5_1) CASE(R_Q8_0) CASE(R_IQ4_NL)
        CASE(R_Q2_K) CASE(R_Q3_K) CASE(R_Q4_K) CASE(R_Q5_K) CASE(R_Q6_K) CASE(R_IQ4_XS)
#undef CASE
    }
}
#endif
