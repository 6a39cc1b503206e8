// dequant.cuh - what the bytes of a weight mean, on the device: the same values as csrc/dtype.c, in its order of
// rounding. A matrix is rows of GGUF blocks, or records of 16 rows x 256 columns (records.cuh), [row tile][k tile].
#pragma once
#include "records.cuh"
#include <cuda_bf16.h>
#include <cuda_fp16.h>

__host__ __device__ constexpr int file_format(int f) {
    constexpr int of[] = {RZC_Q4_K, RZC_Q6_K, RZC_Q8_0, RZC_BF16, RZC_F16,  RZC_Q4_0,   RZC_Q4_1,
                          RZC_Q5_0, RZC_Q5_1, RZC_Q5_K, RZC_Q3_K, RZC_Q2_K, RZC_IQ4_NL, RZC_IQ4_XS};
    static_assert(sizeof of / sizeof of[0] == RZC_N_FORMATS - RZC_R_Q4_K);
    return f < RZC_R_Q4_K ? f : of[f - RZC_R_Q4_K];
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

// Scale and minimum (as it is in the file: to subtract in K32 and K16_MIN, to add in PER32_MIN) of 16 columns of row r
// of a record.
template <int F> __device__ __forceinline__ float2 record_scale(const u8 *tile, int r, int k) {
    constexpr Scales S = parts_of(F).scales;
    const int n = r % 8, rh = r / 8, g = k / 32, f = g / 4, lane = 4 * n + g % 4;
    const u8 *at = tile + scales_at(F);
    if constexpr (S == PER32 || S == PER32_MIN) {
        const u8 *p = at + lane * 8 + rh * 4 + f * 2;
        return make_float2(f16_at(p), S == PER32_MIN ? f16_at(p + 256) : 0.f);
    } else if constexpr (S == K32) {
        const u64 bits = (u64)(*(const u32 *)(at + 64 + lane * 4)) | (u64)u16_at(at + 192 + lane * 2) << 32;
        const u32 s = (u32)(bits >> (24 * f + 12 * rh)), d = *(const u32 *)(at + n * 8 + rh * 4);
        return make_float2(__fmul_rn((float)(s & 63), f16_bits(d & 0xffff)),
                           __fmul_rn((float)(s >> 6 & 63), f16_bits(d >> 16)));
    } else if constexpr (S == S32) {
        return make_float2(__fmul_rn(f16_at(at + 128 + n * 4 + rh * 2), (float)(at[lane * 4 + rh * 2 + f] - 128)), 0.f);
    } else {
        const int g16 = k / 16;
        const int s = at[(4 * n + g16 % 8 / 2) * 8 + rh * 4 + g16 % 2 + 2 * (g16 / 8)];
        if constexpr (S == K16) return make_float2(__fmul_rn(f16_at(at + 256 + n * 4 + rh * 2), (float)(s - 128)), 0.f);
        const u8 *d = at + 256 + n * 8 + rh * 4;
        return make_float2(__fmul_rn(f16_at(d), (float)(s & 15)), __fmul_rn(f16_at(d + 2), (float)(s >> 4)));
    }
}
// Weights of row r (0-15) of a record, k (0-255) a multiple of 8.
template <int F> __device__ __forceinline__ void record_weights(const u8 *tile, int r, int k, float (&v)[8]) {
    constexpr Parts P = parts_of(F);
    const int n = r % 8, g = k / 32, h = k / 16 % 2, a = 2 * h + r / 8;
    if constexpr (P.bits == 16) {
        for (int i = 0; i < 8; i++) {
            const int kk = k + i, lane = 4 * n + kk / 4 % 4, word = 2 * (kk / 2 % 2) + r / 8;
            const u32 x = ((const unsigned short *)tile)[(((g * 2 + h) * 32 + lane) * 4 + word) * 2 + kk % 2];
            v[i] = F == RZC_R_F16 ? f16_bits(x) : bf16_bits(x);
        }
    } else {
        const float2 d = record_scale<F>(tile, r, k);
        for (int j = 0; j < 2; j++) {
            const u32 *w = (const u32 *)tile + (4 * n + k / 4 % 4 + j) * 4 + a;
            const u32 wide = P.bits == 8 ? w[g * 128] : P.bits >= 4 ? w[g / 2 * 128] : 0;
            const u32 two = P.bits == 6 || P.bits < 4 ? w[twos_at(F) * 4 + g / 4 * 128] : 0;
            const u32 c = codes<F>(wide, two, P.bits & 1 ? w[ones_at(F) * 4] : 0, g);
            for (int e = 0; e < 4; e++) {
                const int q = P.is_signed ? (int)(signed char)(c >> (8 * e)) : (int)(c >> (8 * e) & 255);
                float x = __fmul_rn(d.x, (float)(q / unit_of(F)));
                if constexpr (P.scales == PER32_MIN) x = __fadd_rn(x, d.y);
                if constexpr (P.scales == K32 || P.scales == K16_MIN) x = __fsub_rn(x, d.y);
                v[4 * j + e] = x;
            }
        }
    }
}

// Weights k ... k + n - 1 of row `row` of a matrix.
template <int F> __device__ __forceinline__ void weights_at(const rzc_matrix &w, u64 row, u32 k, int n, float (&v)[8]) {
    if constexpr (is_record(F)) {
        const u8 *tile = w.data + (row / 16 * ((w.cols + 255) / 256) + k / 256) * record_bytes(F);
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
