// records.cuh - how a record of 16 rows x 256 columns is made up: planes of the columns' codes, then scales.
//
// With lane = 4n + t, the element (row r, column k) of a record, g = k/32, h = k/16 % 2, t = k/4 % 4, e = k%4, belongs
// to lane 4 (r%8) + t and to A register a = 2h + r/8, byte e, of group g of an m16n8k32 product. Planes, in this order:
//   8 bits  [8 g][32 lanes][4 a] words: byte e                                                             (4096 bytes)
//   4 bits  [4 j][32][4 a] words: byte e: low nibble group 2j, high nibble group 2j + 1; of a format with a table
//           nibble e + 4 (g % 2)                                                                            (2048)
//   2 bits  [2 p][32][4 a] byte e: group 4p + i at bits 2i, 2i + 1                                          (1024)
//   1 bit   [32][4 a] byte e: group g at bit g                                                              (512)
// A code is cut from its highest bits on: 5 bits are a nibble and one bit, 6 a nibble and two, 3 two bits and one. Of
// a signed format it is q ^ 2^(bits - 1), so that the code at the top of a byte is (q - 2^(bits - 1)) * 2^(8 - bits).
// Scales of
//   PER32     [32 lanes] 4 fp16: d(n, t) d(n, 4 + t) d(n + 8, t) d(n + 8, 4 + t), groups of 32 columns      (256)
//   PER32_MIN the same, then the minimums, in the same way                                                  (512)
//   K32       [8 n] {d, dmin} of row n, {d, dmin} of row n + 8; [32 lanes] u32, [32 lanes] u16: 48 bits: for f = 0, 1
//             (g = 4f + t): scale(n) min(n) scale(n + 8) min(n + 8), 6 bits each                            (256)
//   K16       [32 lanes][8 bytes] scale + 128, row n then row n + 8: 16-groups 2t, 2t + 1, 8 + 2t, 8 + 2t + 1;
//             [8 n] d(n), d(n + 8)                                                                          (288)
//   K16_MIN   as K16, bytes are scale | min << 4; [8 n] {d, dmin} of row n, {d, dmin} of row n + 8          (320)
//   S32       [32 lanes] scale + 128 of (n, t), (n, 4 + t), (n + 8, t), (n + 8, 4 + t); [8 n] d(n), d(n + 8) (160)
// 16 bits (BF16, F16): [8 g][2 h][32][4 words]: the fragment of an m16n8k16 product, k = 4t + {0, 1} and 4t + {2, 3}
// where it has 2t + {0, 1} and 2t + {8, 9}: word 2 (k/2 % 2) + r/8, half k % 2                               (8192)
// Columns beyond the matrix's have scale 0.
#pragma once
#include "params.h"

using u8 = uint8_t;
using u32 = uint32_t;
using u64 = unsigned long long;

enum Scales { PER32, PER32_MIN, K32, K16, K16_MIN, S32, NO_SCALES };
struct Parts {
    int bits;
    bool is_signed, has_table;
    Scales scales;
};
__host__ __device__ constexpr Parts parts_of(int f) {
    switch (f) {
    case RZC_R_Q4_0: return {4, true, false, PER32};
    case RZC_R_Q4_1: return {4, false, false, PER32_MIN};
    case RZC_R_Q5_0: return {5, true, false, PER32};
    case RZC_R_Q5_1: return {5, false, false, PER32_MIN};
    case RZC_R_Q8_0: return {8, true, false, PER32};
    case RZC_R_Q2_K: return {2, false, false, K16_MIN};
    case RZC_R_Q3_K: return {3, true, false, K16};
    case RZC_R_Q4_K: return {4, false, false, K32};
    case RZC_R_Q5_K: return {5, false, false, K32};
    case RZC_R_Q6_K: return {6, true, false, K16};
    case RZC_R_IQ4_NL: return {4, true, true, PER32};
    case RZC_R_IQ4_XS: return {4, true, true, S32};
    case RZC_R_BF16:
    case RZC_R_F16: return {16, true, false, NO_SCALES};
    default: return {0, false, false, NO_SCALES};
    }
}
__host__ __device__ constexpr bool is_record(int f) { return parts_of(f).bits > 0; }
__host__ __device__ constexpr int scale_bytes(Scales s) {
    constexpr int bytes[] = {256, 512, 256, 288, 320, 160, 0};
    return bytes[s];
}
__host__ __device__ constexpr int scales_at(int f) { return parts_of(f).bits * 512; } // bytes of the planes
__host__ __device__ constexpr int record_bytes(int f) { return scales_at(f) + scale_bytes(parts_of(f).scales); }
// Where the planes begin, as words of a lane: uint4 [.][32 lanes].
__host__ __device__ constexpr int twos_at(int f) { return parts_of(f).bits == 6 ? 128 : 0; }
__host__ __device__ constexpr int ones_at(int f) { return parts_of(f).bits == 5 ? 128 : 64; }
// What a code byte counts in: codes<F> gives q, or q - offset, times this. Two bits stay low: they have no sign.
__host__ __device__ constexpr int unit_of(int f) {
    const Parts p = parts_of(f);
    return p.has_table || p.bits == 2 ? 1 : 1 << (8 - p.bits);
}

// Four of iq4_levels (dequant.cuh), for the nibbles of the low half of w.
__device__ __forceinline__ u32 look_up(u32 w) {
    const u32 s = w & 0x7777u;
    return __byte_perm(__byte_perm(0xbfad9881u, 0xf6eaddcfu, s), __byte_perm(0x26190d01u, 0x71594535u, s),
                       (w >> 1 & 0x4444u) | 0x3210u);
}
__device__ __forceinline__ u32 shifted(u32 v, int left) { return left >= 0 ? v << left : v >> -left; }
// Code bytes (times unit_of) of group g, for one A register of a lane: its words of the plane of eight or four bits, of
// two, and of one, as far as the format has them. g: known when compiled.
template <int F> __device__ __forceinline__ u32 codes(u32 wide, u32 two, u32 one, int g) {
    constexpr Parts P = parts_of(F);
    const int i = g % 4;
    if constexpr (P.bits == 8) return wide;
    if constexpr (P.has_table) return look_up(g & 1 ? wide >> 16 : wide);
    const u32 nibble = (g & 1 ? wide : wide << 4) & 0xf0f0f0f0u;
    if constexpr (P.bits == 4) return nibble;
    if constexpr (P.bits == 5) return nibble | (shifted(one, 3 - g) & 0x08080808u);
    if constexpr (P.bits == 6) return nibble | (shifted(two, 2 - 2 * i) & 0x0c0c0c0cu);
    if constexpr (P.bits == 3) return (two << (6 - 2 * i) & 0xc0c0c0c0u) | (shifted(one, 5 - g) & 0x20202020u);
    return two >> (2 * i) & 0x03030303u;
}
