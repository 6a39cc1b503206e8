// weights.cu - weights come in and are read back: file rows to records, and any weight to F32.
#include "dequant.cuh"

// Raw fields of one weight in file format.
struct Raw {
    int q, sc, mn;
    u32 d, m; // bits of d and dmin
};
template <int F> __device__ Raw raw(const u8 *row, int k) {
    Raw r = {};
    if constexpr (F == RZC_Q4_K) {
        const u8 *b = row + (size_t)(k / 256) * 144;
        const int g = k % 256 / 32;
        r.d = u16_at(b), r.m = u16_at(b + 2);
        scale_min(b + 4, g, r.sc, r.mn);
        r.q = b[16 + g / 2 * 32 + k % 32] >> (4 * (g & 1)) & 15;
    } else if constexpr (F == RZC_Q6_K) {
        const u8 *b = row + (size_t)(k / 256) * 210;
        const int i = k % 256, half = i / 128, l = i % 32, run = i % 128 / 32;
        r.d = u16_at(b + 208), r.sc = (signed char)b[192 + i / 16];
        r.q = (b[half * 64 + (run & 1) * 32 + l] >> (run >= 2 ? 4 : 0) & 15) | (b[128 + half * 32 + l] >> (2 * run) & 3)
                                                                                   << 4;
    } else if constexpr (F == RZC_Q8_0) {
        const u8 *b = row + (size_t)(k / 32) * 34;
        r.d = u16_at(b), r.q = (signed char)b[2 + k % 32];
    } else {
        r.d = u16_at(row + 2 * (size_t)k);
    }
    return r;
}

// One lane's part of the record of 16 rows at `rows`, columns 256 s ...
template <int F> __device__ void repack_lane(const u8 *rows, u64 row_bytes, int s, int lane, u8 *tile) {
    const int n = lane / 4, t = lane % 4, k0 = s * 256;
    auto at = [&](int g, int a, int e) {
        return raw<F>(rows + (n + (a & 1) * 8) * row_bytes, k0 + g * 32 + (a >> 1) * 16 + t * 4 + e);
    };
    auto group = [&](int hi, int g, int h) { return raw<F>(rows + (n + hi * 8) * row_bytes, k0 + g * 32 + h * 16); };
    u32 *w = (u32 *)tile;
    if constexpr (F == RZC_Q4_K || F == RZC_Q6_K) {
        for (int j = 0; j < 4; j++)
            for (int a = 0; a < 4; a++) {
                u32 v = 0;
                for (int e = 0; e < 4; e++)
                    for (int o = 0; o < 2; o++) {
                        const int q = at(2 * j + o, a, e).q;
                        v |= (u32)(F == RZC_Q4_K ? q : (q ^ 32) >> 2) << (8 * e + 4 * o);
                    }
                w[(j * 32 + lane) * 4 + a] = v;
            }
    }
    if constexpr (F == RZC_Q4_K) {
        u64 v = 0;
        for (int f = 0; f < 2; f++) {
            const Raw a = group(0, 4 * f + t, 0), b = group(1, 4 * f + t, 0);
            v |= (u64)(a.sc | a.mn << 6 | b.sc << 12 | b.mn << 18) << (24 * f);
        }
        *(u32 *)(tile + 2112 + lane * 4) = (u32)v;
        *(unsigned short *)(tile + 2240 + lane * 2) = (unsigned short)(v >> 32);
        if (t < 2) {
            const Raw a = group(t, 0, 0);
            *(u32 *)(tile + 2048 + n * 8 + t * 4) = a.d | a.m << 16;
        }
    } else if constexpr (F == RZC_Q6_K) {
        for (int p = 0; p < 2; p++)
            for (int a = 0; a < 4; a++) {
                u32 v = 0;
                for (int e = 0; e < 4; e++)
                    for (int i = 0; i < 4; i++) v |= (u32)(at(4 * p + i, a, e).q & 3) << (8 * e + 2 * i);
                w[512 + (p * 32 + lane) * 4 + a] = v;
            }
        for (int hi = 0; hi < 2; hi++) {
            u32 v = 0;
            for (int i = 0; i < 4; i++) v |= (u32)(group(hi, 4 * (i / 2) + t, i & 1).sc + 128) << (8 * i);
            *(u32 *)(tile + 3072 + lane * 8 + hi * 4) = v;
        }
        if (t == 0) *(u32 *)(tile + 3328 + n * 4) = group(0, 0, 0).d | group(1, 0, 0).d << 16;
    } else if constexpr (F == RZC_Q8_0) {
        for (int g = 0; g < 8; g++)
            for (int a = 0; a < 4; a++) {
                u32 v = 0;
                for (int e = 0; e < 4; e++) v |= (u32)(u8)at(g, a, e).q << (8 * e);
                w[(g * 32 + lane) * 4 + a] = v;
            }
        for (int hi = 0; hi < 2; hi++) {
            *(u32 *)(tile + 4096 + lane * 8 + hi * 4) = group(hi, t, 0).d | group(hi, 4 + t, 0).d << 16;
        }
    } else {
        for (int g = 0; g < 8; g++)
            for (int h = 0; h < 2; h++)
                for (int a = 0; a < 4; a++) {
                    w[((g * 2 + h) * 32 + lane) * 4 + a] =
                        at(g, 2 * h + (a & 1), (a >> 1) * 2).d | at(g, 2 * h + (a & 1), (a >> 1) * 2 + 1).d << 16;
                }
    }
}

template <int F, int R> __device__ void repack(const rzc_repack &p) {
    const u64 n = (u64)p.n_row_tiles * p.n_tiles_k * 32;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (u64)gridDim.x * blockDim.x) {
        const u64 tile = i / 32;
        const u8 *rows = p.from + tile / p.n_tiles_k * 16 * p.row_bytes;
        repack_lane<F>(rows, p.row_bytes, (int)(tile % p.n_tiles_k), (int)(i % 32), p.to + tile * record_bytes(R));
    }
}
// grid: any; block: 128
extern "C" __global__ void rzc_repack_q4_k(const rzc_repack p) { repack<RZC_Q4_K, RZC_R_Q4_K>(p); }
extern "C" __global__ void rzc_repack_q6_k(const rzc_repack p) { repack<RZC_Q6_K, RZC_R_Q6_K>(p); }
extern "C" __global__ void rzc_repack_q8_0(const rzc_repack p) { repack<RZC_Q8_0, RZC_R_Q8_0>(p); }
extern "C" __global__ void rzc_repack_bf16(const rzc_repack p) { repack<RZC_BF16, RZC_R_BF16>(p); }

// Columns of one row to F32. first_col is a multiple of 256. grid: n_cols / 1024; block: 128
extern "C" __global__ void rzc_read_row(const rzc_read p) {
    const u32 i = (blockIdx.x * blockDim.x + threadIdx.x) * 8;
    if (i >= p.n_cols) return;
    const int n = p.n_cols - i < 8 ? (int)(p.n_cols - i) : 8;
    float v[8];
    any_weights(p.w, p.row, p.first_col + i, n, v);
    for (int j = 0; j < n; j++) p.out[i + j] = v[j];
}

// Reads plainly, for measuring. grid: SMs * 8; block: 256
extern "C" __global__ void rzc_read_all(const uint4 *from, u64 n, u32 *sink) {
    u32 sum = 0;
    const u64 step = (u64)gridDim.x * blockDim.x;
    u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    for (; i + 7 * step < n; i += 8 * step) {
        uint4 v[8];
#pragma unroll
        for (int j = 0; j < 8; j++) v[j] = __ldcs(from + i + j * step);
#pragma unroll
        for (int j = 0; j < 8; j++) sum ^= v[j].x ^ v[j].y ^ v[j].z ^ v[j].w;
    }
    for (; i < n; i += step) {
        const uint4 v = __ldcs(from + i);
        sum ^= v.x ^ v.y ^ v.z ^ v.w;
    }
    if (sum == 0x12345678u) *sink = sum;
}
