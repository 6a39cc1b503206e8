// decode_records.cuh - records of integers to the A fragments of m64nNk16 products in half precision: any format, by
// its parts (records.cuh). Values are multiplied by WEIGHT_SCALE. Scales are rounded to half precision, then products.
#pragma once
#include "prefill.cuh"

__device__ __forceinline__ u32 both_low(u32 x) { return __byte_perm(x, x, 0x1010); }
__device__ __forceinline__ u32 both_high(u32 x) { return __byte_perm(x, x, 0x3232); }
// 2^e as two halves, -14 <= e <= 15
__host__ __device__ constexpr u32 half2_power(int e) { return (u32)((15 + e) << 10) * 0x10001u; }
__host__ __device__ constexpr int log2_of(int x) { return x <= 1 ? 0 : 1 + log2_of(x / 2); }

// Where the 16 rows of a fragment come from: a record; or (GLU) the same half of one of gate, rows n, and of one of up,
// rows n + 8. at(hi), half(hi): the record and which of its two rows the rows n + 8 hi are; words: a lane's four of the
// 512 bytes from `byte` on.
struct WholeRecord {
    const u8 *tile;
    __device__ __forceinline__ const u8 *at(int) const { return tile; }
    __device__ __forceinline__ int half(int hi) const { return hi; }
    __device__ __forceinline__ uint4 words(int byte, int lane) const {
        return *(const uint4 *)(tile + byte + lane * 16);
    }
};
struct HalfRecords {
    const u8 *gate, *up;
    int which;
    __device__ __forceinline__ const u8 *at(int hi) const { return hi ? up : gate; }
    __device__ __forceinline__ int half(int) const { return which; }
    __device__ __forceinline__ uint4 words(int byte, int lane) const {
        const uint4 a = *(const uint4 *)(gate + byte + lane * 16), b = *(const uint4 *)(up + byte + lane * 16);
        return which ? make_uint4(a.y, b.y, a.w, b.w) : make_uint4(a.x, b.x, a.z, b.z);
    }
};

// What a lane keeps of a record's scales: [2 f + hi]: group 4f + t, row n + 8 hi. K16 and K16_MIN: of both halves of
// the group; else the low half is the scale, the high half what is added (K32, PER32_MIN).
template <int F> struct LaneScales {
    static constexpr Scales S = parts_of(F).scales;
    u32 scale[4], add[S == K16_MIN ? 4 : 1];

    template <class Rows> __device__ __forceinline__ void load(const Rows &rows, int lane) {
        constexpr u32 SCALE = half2_power(6);
        static_assert(WEIGHT_SCALE == 64.f);
        const int n = lane >> 2;
#pragma unroll
        for (int hi = 0; hi < 2; hi++) {
            const u8 *at = rows.at(hi) + scales_at(F);
            const int half = rows.half(hi);
            if constexpr (S == PER32 || S == PER32_MIN) {
                const u32 d = *(const u32 *)(at + lane * 8 + half * 4);
                const u32 m = S == PER32_MIN ? *(const u32 *)(at + 256 + lane * 8 + half * 4) : 0;
                scale[hi] = half2_mul(__byte_perm(d, m, 0x5410), SCALE);
                scale[2 + hi] = half2_mul(__byte_perm(d, m, 0x7632), SCALE);
            } else if constexpr (S == K32) {
                const u32 d = half2_mul(*(const u32 *)(at + n * 8 + half * 4) ^ 0x80000000u, SCALE);
                const u32 q0 = *(const u32 *)(at + 64 + lane * 4), q1 = *(const unsigned short *)(at + 192 + lane * 2);
                const u32 v[2] = {q0 >> (12 * half), half ? q1 >> 4 : __funnelshift_r(q0, q1, 24)};
#pragma unroll
                for (int f = 0; f < 2; f++) {
                    const u32 s = (v[f] & 0x3fu) | (v[f] << 10 & 0x003f0000u) | 0x64006400u;
                    scale[2 * f + hi] = half2_mul(half2_add(s, 0xE400E400u), d);
                }
            } else if constexpr (S == K16) {
                const u32 q = *(const u32 *)(at + lane * 8 + half * 4);
                const u32 d = half2_mul(both_low(*(const unsigned short *)(at + 256 + n * 4 + half * 2)), SCALE);
                scale[hi] = half2_mul(half2_add(__byte_perm(q, 0x64646464u, 0x4140), 0xE480E480u), d);
                scale[2 + hi] = half2_mul(half2_add(__byte_perm(q, 0x64646464u, 0x4342), 0xE480E480u), d);
            } else if constexpr (S == K16_MIN) {
                const u32 q = *(const u32 *)(at + lane * 8 + half * 4);
                const u32 dm = *(const u32 *)(at + 256 + n * 8 + half * 4);
                const u32 d = half2_mul(both_low(dm), SCALE), m = half2_mul(both_high(dm), SCALE ^ 0x80008000u);
                const u32 s4 = q & 0x0f0f0f0fu, m4 = q >> 4 & 0x0f0f0f0fu;
#pragma unroll
                for (int f = 0; f < 2; f++) {
                    const u32 pick = f ? 0x4342 : 0x4140;
                    scale[2 * f + hi] = half2_mul(half2_add(__byte_perm(s4, 0x64646464u, pick), 0xE400E400u), d);
                    add[2 * f + hi] = half2_mul(half2_add(__byte_perm(m4, 0x64646464u, pick), 0xE400E400u), m);
                }
            } else { // S32
                const u32 q = *(const u32 *)(at + lane * 4) >> (16 * half);
                const u32 d = half2_mul(both_low(*(const unsigned short *)(at + 128 + n * 4 + half * 2)), SCALE);
                const u32 s = half2_mul(half2_add(__byte_perm(q, 0x64646464u, 0x4140), 0xE480E480u), d);
                scale[hi] = both_low(s), scale[2 + hi] = both_high(s);
            }
        }
    }
};

// 64 columns of a record, groups 2c and 2c + 1: a[4 j + i] = A register i of step j of 16 columns. c: known when
// compiled.
template <int F, class Rows>
__device__ __forceinline__ void decode_record(u32 (&a)[16], const Rows &rows, const LaneScales<F> &scales, int lane,
                                              int c) {
    constexpr Parts P = parts_of(F);
    constexpr Scales S = P.scales;
    // a byte is read as 1024 + byte: minus that, and 128 of a signed one, by the unit; exact
    constexpr int LOG = log2_of(unit_of(F));
    constexpr u32 INVERSE = half2_power(-LOG);
    constexpr u32 OFFSET = (P.is_signed ? 0xE480E480u : 0xE400E400u) - (u32)(LOG << 10) * 0x10001u;
    const uint4 zero = make_uint4(0, 0, 0, 0);
    const uint4 two = P.bits == 6 || P.bits < 4 ? rows.words(twos_at(F) * 16 + c / 2 * 512, lane) : zero;
    const uint4 one = P.bits & 1 ? rows.words(ones_at(F) * 16, lane) : zero;
    const u32 twos[4] = {two.x, two.y, two.z, two.w}, ones[4] = {one.x, one.y, one.z, one.w};
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int g = 2 * c + i, from = (lane & 28) | (g & 3);
        const uint4 w = P.bits >= 4 ? rows.words((P.bits == 8 ? g : c) * 512, lane) : zero;
        const u32 wide[4] = {w.x, w.y, w.z, w.w};
        u32 scale[2], low[2];
#pragma unroll
        for (int hi = 0; hi < 2; hi++) {
            scale[hi] = __shfl_sync(~0u, scales.scale[(g / 4) * 2 + hi], from);
            low[hi] = S == K16_MIN ? __shfl_sync(~0u, scales.add[S == K16_MIN ? (g / 4) * 2 + hi : 0], from) : 0;
        }
#pragma unroll
        for (int j = 0; j < 4; j++) { // word 2h + hi: registers hi and hi + 2 of step 2i + h
            const int h = j >> 1, hi = j & 1;
            u32 b = codes<F>(wide[j], twos[j], ones[j], g);
            if (P.is_signed) b ^= 0x80808080u;
            const u32 sc = (S == K16 || S == K16_MIN) && h ? both_high(scale[hi]) : both_low(scale[hi]);
            const u32 ad = S == K16_MIN ? (h ? both_high(low[hi]) : both_low(low[hi])) : both_high(scale[hi]);
#pragma unroll
            for (int x = 0; x < 2; x++) {
                u32 p = __byte_perm(b, 0x64646464u, x ? 0x4342 : 0x4140);
                p = LOG == 0 ? half2_add(p, OFFSET) : half2_fma(p, INVERSE, OFFSET);
                a[4 * (2 * i + h) + hi + 2 * x] =
                    S == K32 || S == K16_MIN || S == PER32_MIN ? half2_fma(p, sc, ad) : half2_mul(p, sc);
            }
        }
    }
}
