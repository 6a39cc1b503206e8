// prefill_decode.cuh - the commonest records to A fragments in half precision, 32 columns at a time, in fewer
// instructions than decode_records.cuh takes for any format. Two values a register; bytes {b, 0x64} are 1024 + b.
#pragma once
#include "decode_records.cuh"

__device__ __forceinline__ u32 and_or(u32 x, u32 m, u32 o) {
    u32 r;
    asm("lop3.b32 %0, %1, %2, %3, 0xEA;" : "=r"(r) : "r"(x), "r"(m), "r"(o));
    return r;
}
__device__ __forceinline__ u32 low2(u32 x) { // as an operand of the above it costs nothing
    u32 r;
    asm("{\n.reg .b16 l, h;\nmov.b32 {l, h}, %1;\nmov.b32 %0, {l, l};\n}" : "=r"(r) : "r"(x));
    return r;
}
__device__ __forceinline__ u32 high2(u32 x) {
    u32 r;
    asm("{\n.reg .b16 l, h;\nmov.b32 {l, h}, %1;\nmov.b32 %0, {h, h};\n}" : "=r"(r) : "r"(x));
    return r;
}
[[maybe_unused]] constexpr u32 SCALE2 = 0x54005400u; // WEIGHT_SCALE, twice

// The 16 rows a warp works on: a record, or (GLU) half of one of gate and half of one of up.
struct Record {
    const u8 *low, *high;  // rows n, rows n + 8: the same unless GLU
    int low_row, high_row; // word (0 or 1) of a pair: which half of its record
};

// Scales of a record: out[2 f + hi] of lane t belongs to row n + 8 hi, group 4 f + t. Q4_K: (d * scale, - dmin * min);
// Q6_K: d * scale of the group's two halves. Q8_0: out[hi] = the pair f = 0, 1. All times WEIGHT_SCALE.
template <int F> __device__ __forceinline__ void scales(u32 (&out)[4], const Record &r, int lane) {
#pragma unroll
    for (int hi = 0; hi < 2; hi++) {
        const u8 *at = hi ? r.high : r.low;
        const int half = hi ? r.high_row : r.low_row;
        if constexpr (F == RZC_R_Q4_K) {
            const u32 d = half2_mul(*(const u32 *)(at + (lane >> 2) * 8 + half * 4) ^ 0x80000000u, SCALE2);
            const u32 q0 = *(const u32 *)(at + 64 + lane * 4), q1 = *(const unsigned short *)(at + 192 + lane * 2);
            const u32 v[2] = {q0 >> (12 * half), half ? q1 >> 4 : __funnelshift_r(q0, q1, 24)};
#pragma unroll
            for (int f = 0; f < 2; f++) {
                const u32 s = and_or(v[f] << 10, 0x003f0000u, and_or(v[f], 0x3fu, 0x64006400u));
                out[2 * f + hi] = half2_mul(half2_add(s, 0xE400E400u), d);
            }
        } else if constexpr (F == RZC_R_Q6_K) {
            const u32 q = *(const u32 *)(at + lane * 8 + half * 4);
            const u32 d = half2_mul(low2(*(const unsigned short *)(at + 256 + (lane >> 2) * 4 + half * 2)), SCALE2);
            out[hi] = half2_mul(half2_add(__byte_perm(q, 0x64646464u, 0x4140), 0xE480E480u), d);
            out[2 + hi] = half2_mul(half2_add(__byte_perm(q, 0x64646464u, 0x4342), 0xE480E480u), d);
        } else if constexpr (F == RZC_R_Q8_0) {
            out[hi] = half2_mul(*(const u32 *)(at + lane * 8 + half * 4), SCALE2);
        }
    }
}
// Lane's four words of a record's part of 512 bytes, of both halves.
__device__ __forceinline__ uint4 words(const Record &r, u32 part, int lane) {
    const uint4 a = *(const uint4 *)(r.low + part + lane * 16);
    if (r.low == r.high) return a;
    const uint4 b = *(const uint4 *)(r.high + part + lane * 16);
    return r.low_row ? make_uint4(a.y, b.y, a.w, b.w) : make_uint4(a.x, b.x, a.z, b.z);
}
// Group 2c + i, 32 columns: a[4 h + ...] = A registers of step 2i + h. w: quants; v: Q6_K's low bits; magic: 0x64646464
// in a register.
template <int F>
__device__ __forceinline__ void decode(u32 *a, const uint4 &w, const uint4 &v, const u32 (&sv)[4], u32 magic,
                                       int lane, int c, int i) {
    u32 s[2]; // row n, n + 8
#pragma unroll
    for (int hi = 0; hi < 2; hi++) {
        s[hi] = __shfl_sync(~0u, sv[(F == RZC_R_Q8_0 ? 0 : c & 2) + hi], (lane & 28) | ((2 * c + i) & 3));
        if (F == RZC_R_Q8_0) s[hi] = c & 2 ? high2(s[hi]) : low2(s[hi]);
    }
    const u32 ww[4] = {w.x, w.y, w.z, w.w}, vv[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int j = 0; j < 4; j++) { // word 2h + hi: registers hi and hi + 2; value = (1024 + byte) * mul + sub
        const int h = j >> 1, hi = j & 1;
        u32 b, sub = 0xE400E400u, mul = 0x3C003C00u;
        if constexpr (F == RZC_R_Q4_K) {
            b = ww[j] & (i ? 0xf0f0f0f0u : 0x0f0f0f0fu);
            if (i) mul = 0x2C002C00u, sub = 0xD400D400u; // byte = 16 q
        } else if constexpr (F == RZC_R_Q6_K) {          // byte = q, or 4 q where that saves a shift
            const int sh = 2 * ((2 * c + i) & 3);
            if (!i)
                b = and_or(vv[j] >> sh, 0x03030303u, ((ww[j] << 2) & 0x3c3c3c3cu) ^ 0x20202020u), sub = 0xE420E420u;
            else
                b = and_or(sh > 2 ? vv[j] >> (sh - 2) : vv[j], 0x0c0c0c0cu, (ww[j] & 0xf0f0f0f0u) ^ 0x80808080u),
                mul = 0x34003400u, sub = 0xDC80DC80u;
        } else {
            b = ww[j] ^ 0x80808080u, sub = 0xE480E480u;
        }
#pragma unroll
        for (int x = 0; x < 2; x++) {
            u32 p = __byte_perm(b, magic, x ? 0x4342 : 0x4140);
            p = mul == 0x3C003C00u ? half2_add(p, sub) : half2_fma(p, mul, sub); // exact
            const u32 sc = s[hi];
            a[4 * h + hi + 2 * x] = F == RZC_R_Q4_K   ? half2_fma(p, low2(sc), high2(sc))
                                    : F == RZC_R_Q8_0 ? half2_mul(p, sc)
                                                      : half2_mul(p, h ? high2(sc) : low2(sc));
        }
    }
}
// Formats that have a decode of their own here; the others go by their parts.
__host__ __device__ constexpr bool is_own(int f) { return f == RZC_R_Q4_K || f == RZC_R_Q6_K || f == RZC_R_Q8_0; }
__host__ __device__ constexpr bool is_16bit(int f) { return parts_of(f).bits == 16; }
