// dequant.cuh - what the bytes of a weight mean, on the device: the same values as csrc/dtype.c, in its order of
// rounding. A matrix is rows of GGUF blocks, or records of 16 rows x 256 columns (as many bytes), [row tile][k tile].
//
// With lane = 4n + t, the element (row r, column k) of a record, g = k/32, h = k/16 % 2, t = k/4 % 4, e = k%4, belongs
// to lane 4 (r%8) + t and to A register a = 2h + r/8, byte e, of group g of an m16n8k32 product:
//   Q4_K    0  [4 j][32 lanes][4 a] words: byte e: low nibble group 2j, high nibble group 2j + 1            (2048
//   bytes)
//        2048  [8 n] {d, dmin} of row n, {d, dmin} of row n + 8                                             (64)
//        2112  [32 lanes] u32, 2240 [32 lanes] u16: 48 bits: for f = 0, 1 (g = 4f + t): scale(n) min(n)
//              scale(n + 8) min(n + 8), 6 bits each                                                         (192)
//   Q6_K    0  [4 j][32][4 a] (q ^ 32) >> 2, nibbles as in Q4_K                                             (2048)
//        2048  [2 p][32][4 a] byte e: q & 3 of group 4p + i at bits 2i, 2i + 1                              (1024)
//        3072  [32 lanes][8 bytes] scale + 128, row n then row n + 8: 16-groups 2t, 2t + 1, 8 + 2t, 8 + 2t + 1 (256)
//        3328  [8 n] d(n), d(n + 8)                                                                         (32)
//   Q8_0    0  [8 g][32][4 a] the quants                                                                    (4096)
//        4096  [32 lanes] 4 fp16: d(n, t) d(n, 4 + t) d(n + 8, t) d(n + 8, 4 + t)                           (256)
//   BF16    0  [8 g][2 h][32][4 words] m16n8k16 fragment: word 2 (k/8 % 2) + r/8 ... see bf16_at            (8192)
#pragma once
#include "params.h"
#include <cuda_bf16.h>
#include <cuda_fp16.h>

using u8 = uint8_t;
using u32 = uint32_t;
using u64 = unsigned long long;

__host__ __device__ constexpr int record_bytes(int f) {
    return f == RZC_R_Q4_K ? 2304 : f == RZC_R_Q6_K ? 3360 : f == RZC_R_Q8_0 ? 4352 : f == RZC_R_BF16 ? 8192 : 0;
}
__host__ __device__ constexpr int file_format(int f) {
    return f == RZC_R_Q4_K ? RZC_Q4_K : f == RZC_R_Q6_K ? RZC_Q6_K : f == RZC_R_Q8_0 ? RZC_Q8_0
           : f == RZC_R_BF16 ? RZC_BF16 : f;
}
__host__ __device__ constexpr int block_size(int f) {
    return f <= RZC_BF16 ? 1 : (f >= RZC_Q2_K && f <= RZC_Q6_K) || f == RZC_IQ4_XS ? 256 : 32;
}
__host__ __device__ constexpr int block_bytes(int f) {
    constexpr int bytes[] = {4, 2, 2, 18, 20, 22, 24, 34, 84, 110, 144, 176, 210, 18, 136};
    return bytes[f];
}

__device__ __forceinline__ u32 u16_at(const u8 *p) { return p[0] | (u32)p[1] << 8; }
__device__ __forceinline__ float f16_bits(u32 v) { return __half2float(__ushort_as_half((unsigned short)v)); }
__device__ __forceinline__ float f16_at(const u8 *p) { return f16_bits(u16_at(p)); }
__device__ __forceinline__ float bf16_bits(u32 v) { return __uint_as_float(v << 16); }

__device__ const signed char iq4_levels[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};

// Six-bit scale and min of sub-block s of Q4_K and Q5_K.
__device__ __forceinline__ void scale_min(const u8 *p, int s, int &scale, int &min) {
    if (s < 4) {
        scale = p[s] & 63, min = p[4 + s] & 63;
    } else {
        scale = (p[4 + s] & 15) | p[s - 4] >> 6 << 4, min = p[4 + s] >> 4 | p[s] >> 6 << 4;
    }
}

// Weights k ... k + n - 1 of a row in file format; n <= 8, k a multiple of 8 but for F32, F16 and BF16.
template <int F> __device__ __forceinline__ void file_weights(const u8 *row, u32 k, int n, float (&v)[8]) {
    if constexpr (F == RZC_F32) {
        for (int i = 0; i < n; i++) v[i] = ((const float *)row)[k + i];
    } else if constexpr (F == RZC_F16) {
        for (int i = 0; i < n; i++) v[i] = __half2float(((const __half *)row)[k + i]);
    } else if constexpr (F == RZC_BF16) {
        for (int i = 0; i < n; i++) v[i] = bf16_bits(((const unsigned short *)row)[k + i]);
    } else {
        constexpr int B = block_size(F);
        const u8 *b = row + (size_t)(k / B) * block_bytes(F);
        const int at = k % B;
        if constexpr (F == RZC_Q4_0 || F == RZC_IQ4_NL || F == RZC_Q4_1 || F == RZC_Q5_0 || F == RZC_Q5_1) {
            constexpr bool has_min = F == RZC_Q4_1 || F == RZC_Q5_1, five = F == RZC_Q5_0 || F == RZC_Q5_1;
            const float d = f16_at(b), m = has_min ? f16_at(b + 2) : 0.f;
            const u8 *h = b + (has_min ? 4 : 2), *q = h + (five ? 4 : 0);
            const u32 high = five ? u16_at(h) | u16_at(h + 2) << 16 : 0;
            for (int i = 0; i < 8; i++) {
                const int e = at + i;
                int x = e < 16 ? q[e] & 15 : q[e - 16] >> 4;
                if constexpr (five) x |= (high >> e & 1) << 4;
                if constexpr (F == RZC_IQ4_NL) x = iq4_levels[x];
                if constexpr (F == RZC_Q4_0) x -= 8;
                if constexpr (F == RZC_Q5_0) x -= 16;
                v[i] = __fmul_rn(d, (float)x);
                if constexpr (has_min) v[i] = __fadd_rn(v[i], m);
            }
        } else if constexpr (F == RZC_Q8_0) {
            const float d = f16_at(b);
            for (int i = 0; i < 8; i++) v[i] = __fmul_rn((float)(signed char)b[2 + at + i], d);
        } else if constexpr (F == RZC_Q2_K) {
            const int sub = at / 16, run = at / 32;
            const float scale = __fmul_rn(f16_at(b + 80), (float)(b[sub] & 15));
            const float min = __fmul_rn(f16_at(b + 82), (float)(b[sub] >> 4));
            const u8 *q = b + 16 + run / 4 * 32 + at % 32;
            for (int i = 0; i < 8; i++) v[i] = __fsub_rn(__fmul_rn(scale, (float)(q[i] >> (run % 4 * 2) & 3)), min);
        } else if constexpr (F == RZC_Q3_K) {
            const int sub = at / 16, run = at / 32;
            const u8 *s = b + 96;
            const int low = s[sub % 8] >> (sub / 8 * 4) & 15, high = s[8 + sub % 4] >> (sub / 4 * 2) & 3;
            const float scale = __fmul_rn(f16_at(b + 108), (float)((low | high << 4) - 32));
            const u8 *q = b + 32 + run / 4 * 32 + at % 32, *hb = b + at % 32;
            for (int i = 0; i < 8; i++) {
                v[i] = __fmul_rn(scale, (float)((q[i] >> (run % 4 * 2) & 3) - (hb[i] >> run & 1 ? 0 : 4)));
            }
        } else if constexpr (F == RZC_Q4_K || F == RZC_Q5_K) {
            int s, m;
            const int sub = at / 32, shift = sub % 2 * 4;
            scale_min(b + 4, sub, s, m);
            const float scale = __fmul_rn((float)s, f16_at(b)), min = __fmul_rn((float)m, f16_at(b + 2));
            const u8 *q = b + (F == RZC_Q4_K ? 16 : 48) + sub / 2 * 32 + at % 32, *high = b + 16 + at % 32;
            for (int i = 0; i < 8; i++) {
                int x = q[i] >> shift & 15;
                if constexpr (F == RZC_Q5_K) x |= (high[i] >> sub & 1) << 4;
                v[i] = __fsub_rn(__fmul_rn(scale, (float)x), min);
            }
        } else if constexpr (F == RZC_Q6_K) {
            const int sub = at / 16, half = at / 128, run = at / 32 % 4;
            const float scale = __fmul_rn(f16_at(b + 208), (float)(signed char)b[192 + sub]);
            const u8 *low = b + half * 64 + run % 2 * 32 + at % 32, *high = b + 128 + half * 32 + at % 32;
            for (int i = 0; i < 8; i++) {
                const int q = (low[i] >> (run / 2 * 4) & 15) | (high[i] >> (run * 2) & 3) << 4;
                v[i] = __fmul_rn(scale, (float)(q - 32));
            }
        } else { // IQ4_XS
            const int sub = at / 32;
            const int s = (b[4 + sub / 2] >> (sub % 2 * 4) & 15) | (int)(u16_at(b + 2) >> (2 * sub) & 3) << 4;
            const float d = __fmul_rn(f16_at(b), (float)(s - 32));
            const u8 *q = b + 8 + sub * 16;
            for (int i = 0; i < 8; i++) {
                const int e = at % 32 + i;
                v[i] = __fmul_rn(d, (float)iq4_levels[e < 16 ? q[e] & 15 : q[e - 16] >> 4]);
            }
        }
    }
}

// The same of row r (0-15) of a record, k (0-255) a multiple of 8.
template <int F> __device__ __forceinline__ void record_weights(const u8 *tile, int r, int k, float (&v)[8]) {
    const int n = r % 8, rh = r / 8, g = k / 32, h = k / 16 % 2, t0 = k / 4 % 4;
    const u32 *w = (const u32 *)tile;
    const int f = g / 4, ts = g % 4, ls = 4 * n + ts; // lane that has this group's scale
    if constexpr (F == RZC_R_BF16) {
        const unsigned short *p = (const unsigned short *)tile; // words 2 (k/2 % 2) + r/8 of lane 4n + k/4 % 4
        for (int i = 0; i < 8; i++) {
            const int kk = k + i, lane = 4 * n + kk / 4 % 4, word = 2 * (kk / 2 % 2) + rh;
            v[i] = bf16_bits(p[(((g * 2 + h) * 32 + lane) * 4 + word) * 2 + kk % 2]);
        }
        return;
    }
    float d = 0, m = 0;
    if constexpr (F == RZC_R_Q4_K) {
        const u64 bits =
            (u64)(*(const u32 *)(tile + 2112 + ls * 4)) | (u64)(*(const unsigned short *)(tile + 2240 + ls * 2)) << 32;
        const u32 s = (u32)(bits >> (24 * f + 12 * rh)), dd = *(const u32 *)(tile + 2048 + n * 8 + rh * 4);
        d = __fmul_rn((float)(s & 63), f16_bits(dd & 0xffff)), m = __fmul_rn((float)(s >> 6 & 63), f16_bits(dd >> 16));
    } else if constexpr (F == RZC_R_Q6_K) {
        const int g16 = k / 16, tl = g16 % 8 / 2, i = g16 % 2 + 2 * (g16 / 8);
        const int s = (int)tile[3072 + (4 * n + tl) * 8 + rh * 4 + i] - 128;
        d = __fmul_rn(f16_bits(*(const unsigned short *)(tile + 3328 + n * 4 + rh * 2)), (float)s);
    } else {
        d = f16_bits(*(const unsigned short *)(tile + 4096 + ls * 8 + rh * 4 + f * 2));
    }
    for (int i = 0; i < 8; i++) {
        const int lane = 4 * n + (t0 + i / 4), a = 2 * h + rh, e = i % 4;
        if constexpr (F == RZC_R_Q8_0) {
            v[i] = __fmul_rn((float)(signed char)(w[(g * 32 + lane) * 4 + a] >> (8 * e)), d);
        } else {
            const int q = w[(g / 2 * 32 + lane) * 4 + a] >> (8 * e + 4 * (g % 2)) & 15;
            if constexpr (F == RZC_R_Q4_K) {
                v[i] = __fsub_rn(__fmul_rn(d, (float)q), m);
            } else {
                const int low = w[512 + (g / 4 * 32 + lane) * 4 + a] >> (8 * e + 2 * (g % 4)) & 3;
                v[i] = __fmul_rn(d, (float)(((q << 2 | low) ^ 32) - 32));
            }
        }
    }
}

// Weights k ... k + n - 1 of row `row` of a matrix.
template <int F> __device__ __forceinline__ void weights_at(const rzc_matrix &w, u64 row, u32 k, int n, float (&v)[8]) {
    if constexpr (F >= RZC_R_Q4_K) {
        const u8 *tile = w.data + (row / 16 * (w.cols / 256) + k / 256) * record_bytes(F);
        record_weights<F>(tile, (int)(row % 16), (int)(k % 256), v);
    } else {
        file_weights<F>(w.data + row * w.row_bytes, k, n, v);
    }
}

// The same with the format looked up when it runs.
__device__ inline void any_weights(const rzc_matrix &w, u64 row, u32 k, int n, float (&v)[8]) {
    switch (w.format) {
#define CASE(f)                                                                                                       \
    case RZC_##f: weights_at<RZC_##f>(w, row, k, n, v); break;
        RZC_FORMATS(CASE)
#undef CASE
    }
}
