// weights.cu - weights come in and are read back: file rows to records, and any weight to F32.
#include "dequant.cuh"

// The fields of one weight in file format: code q (unsigned but of Q8_0), sub-block scale and minimum, bits of the fp16
// (or 16-bit weight) d and m. All 0 (a scale of 0) beyond the last column.
struct Raw {
    int q, sc, mn;
    u32 d, m;
};
template <int F> __device__ Raw raw(const u8 *row, int k, int cols) {
    Raw r = {};
    if (k >= cols) return r;
    if constexpr (F == RZC_BF16 || F == RZC_F16) {
        r.d = u16_at(row + 2 * (size_t)k);
        return r;
    }
    const u8 *b = row + (size_t)(k / block_size(F)) * block_bytes(F);
    const int i = k % block_size(F), l = i % 32, g = i / 32;
    if constexpr (F == RZC_Q4_0 || F == RZC_Q4_1 || F == RZC_Q5_0 || F == RZC_Q5_1 || F == RZC_IQ4_NL) {
        constexpr bool has_min = F == RZC_Q4_1 || F == RZC_Q5_1, five = F == RZC_Q5_0 || F == RZC_Q5_1;
        const u8 *high = b + (has_min ? 4 : 2), *q = high + (five ? 4 : 0);
        r.d = u16_at(b), r.m = has_min ? u16_at(b + 2) : 0;
        r.q = l < 16 ? q[l] & 15 : q[l - 16] >> 4;
        if (five) r.q |= (high[l / 8] >> (l % 8) & 1) << 4;
    } else if constexpr (F == RZC_Q4_K || F == RZC_Q5_K) {
        r.d = u16_at(b), r.m = u16_at(b + 2);
        scale_min(b + 4, g, r.sc, r.mn);
        r.q = b[(F == RZC_Q5_K ? 48 : 16) + g / 2 * 32 + l] >> (4 * (g & 1)) & 15;
        if (F == RZC_Q5_K) r.q |= (b[16 + l] >> g & 1) << 4;
    } else if constexpr (F == RZC_Q6_K) {
        const int half = i / 128, run = g % 4;
        r.d = u16_at(b + 208), r.sc = (signed char)b[192 + i / 16] + 128;
        r.q = (b[half * 64 + (run & 1) * 32 + l] >> (run >= 2 ? 4 : 0) & 15) | (b[128 + half * 32 + l] >> (2 * run) & 3)
                                                                                   << 4;
    } else if constexpr (F == RZC_Q3_K) {
        const int sub = i / 16;
        const u8 *s = b + 96;
        r.d = u16_at(b + 108);
        r.sc = (s[sub % 8] >> (sub / 8 * 4) & 15 | (s[8 + sub % 4] >> (sub / 4 * 2) & 3) << 4) + 96; // - 32, + 128
        r.q = (b[32 + g / 4 * 32 + l] >> (g % 4 * 2) & 3) | (b[l] >> g & 1) << 2;
    } else if constexpr (F == RZC_Q2_K) {
        r.d = u16_at(b + 80), r.m = u16_at(b + 82), r.sc = b[i / 16];
        r.q = b[16 + g / 4 * 32 + l] >> (g % 4 * 2) & 3;
    } else if constexpr (F == RZC_IQ4_XS) {
        const u8 *q = b + 8 + g * 16;
        r.d = u16_at(b);
        r.sc = (b[4 + g / 2] >> (g % 2 * 4) & 15 | (u16_at(b + 2) >> (2 * g) & 3) << 4) + 96;
        r.q = l < 16 ? q[l] & 15 : q[l - 16] >> 4;
    } else { // Q8_0
        r.d = u16_at(b), r.q = (signed char)b[2 + l];
    }
    return r;
}

// One lane's part of the record of 16 rows at `rows`, columns 256 s ...
template <int R> __device__ void repack_lane(const rzc_repack &p, const u8 *rows, int s, int lane, u8 *tile) {
    constexpr Parts P = parts_of(R);
    constexpr int F = file_format(R), flip = P.is_signed && P.bits < 8 && !P.has_table ? 1 << (P.bits - 1) : 0;
    const int n = lane / 4, t = lane % 4, k0 = s * 256, cols = (int)p.cols;
    // field of the first row (a % 2 = 0) or the one eight below; code of (group, register, byte)
    auto group = [&](int hi, int k) { return raw<F>(rows + (n + hi * 8) * p.row_bytes, k0 + k, cols); };
    auto at = [&](int g, int a, int e) { return group(a & 1, g * 32 + (a >> 1) * 16 + t * 4 + e); };
    auto code = [&](int g, int a, int e) { return (u32)(at(g, a, e).q ^ flip) & 255u; };
    u32 *w = (u32 *)tile + lane * 4;
    auto bits = [&](int g, int a, int from, int n) { // of the four bytes, n bits from `from` on, at the bottom of bytes
        u32 v = 0;
        for (int e = 0; e < 4; e++) v |= (code(g, a, e) >> from & ((1u << n) - 1)) << (8 * e);
        return v;
    };
    for (int a = 0; a < 4; a++) {
        if constexpr (P.bits == 16) {
            auto pair = [&](int g, int h) {
                const int r = 2 * h + (a & 1), e = (a >> 1) * 2;
                return at(g, r, e).d | at(g, r, e + 1).d << 16;
            };
            for (int i = 0; i < 16; i++) w[i * 128 + a] = pair(i / 2, i % 2);
        } else if constexpr (P.bits == 8) {
            for (int g = 0; g < 8; g++) w[g * 128 + a] = bits(g, a, 0, 8);
        } else if constexpr (P.bits >= 4) {
            for (int j = 0; j < 4; j++) {
                u32 x = bits(2 * j, a, P.bits - 4, 4), y = bits(2 * j + 1, a, P.bits - 4, 4);
                if (P.has_table) {
                    x = (x | x >> 4) & 0x00ff00ffu, x = (x | x >> 8) & 0xffffu;
                    y = (y | y >> 4) & 0x00ff00ffu, y = (y | y >> 8) & 0xffffu;
                }
                w[j * 128 + a] = x | y << (P.has_table ? 16 : 4);
            }
        }
        if constexpr (P.bits == 6 || P.bits < 4) {
            for (int q = 0; q < 2; q++) {
                u32 v = 0;
                for (int i = 0; i < 4; i++) v |= bits(4 * q + i, a, P.bits == 3, 2) << (2 * i);
                w[twos_at(R) * 4 + q * 128 + a] = v;
            }
        }
        if constexpr (P.bits & 1) {
            u32 v = 0;
            for (int g = 0; g < 8; g++) v |= bits(g, a, 0, 1) << g;
            w[ones_at(R) * 4 + a] = v;
        }
    }
    u8 *to = tile + scales_at(R);
    if constexpr (P.scales == PER32 || P.scales == PER32_MIN) {
        for (int hi = 0; hi < 2; hi++) {
            const Raw a = group(hi, t * 32), b = group(hi, (4 + t) * 32);
            *(u32 *)(to + lane * 8 + hi * 4) = a.d | b.d << 16;
            if (P.scales == PER32_MIN) *(u32 *)(to + 256 + lane * 8 + hi * 4) = a.m | b.m << 16;
        }
    } else if constexpr (P.scales == K32) {
        u64 v = 0;
        for (int f = 0; f < 2; f++) {
            const Raw a = group(0, (4 * f + t) * 32), b = group(1, (4 * f + t) * 32);
            v |= (u64)(a.sc | a.mn << 6 | b.sc << 12 | b.mn << 18) << (24 * f);
        }
        *(u32 *)(to + 64 + lane * 4) = (u32)v;
        *(unsigned short *)(to + 192 + lane * 2) = (unsigned short)(v >> 32);
        if (t < 2) *(u32 *)(to + n * 8 + t * 4) = group(t, 0).d | group(t, 0).m << 16;
    } else if constexpr (P.scales == S32) {
        u32 v = 0;
        for (int i = 0; i < 4; i++) v |= (u32)(group(i / 2, (4 * (i % 2) + t) * 32).sc & 255) << (8 * i);
        *(u32 *)(to + lane * 4) = v;
        if (t == 0) *(u32 *)(to + 128 + n * 4) = group(0, 0).d | group(1, 0).d << 16;
    } else if constexpr (P.scales != NO_SCALES) {
        for (int hi = 0; hi < 2; hi++) {
            u32 v = 0;
            for (int i = 0; i < 4; i++)
                v |= (u32)(group(hi, (4 * (i / 2) + t) * 32 + (i & 1) * 16).sc & 255) << (8 * i);
            *(u32 *)(to + lane * 8 + hi * 4) = v;
        }
        if (P.scales == K16 && t == 0) *(u32 *)(to + 256 + n * 4) = group(0, 0).d | group(1, 0).d << 16;
        if (P.scales == K16_MIN && t < 2) *(u32 *)(to + 256 + n * 8 + t * 4) = group(t, 0).d | group(t, 0).m << 16;
    }
}

template <int R> __device__ void repack(const rzc_repack &p) {
    const u64 n = (u64)p.n_row_tiles * p.n_tiles_k * 32;
    for (u64 i = (u64)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += (u64)gridDim.x * blockDim.x) {
        const u64 tile = i / 32;
        const u8 *rows = p.from + tile / p.n_tiles_k * 16 * p.row_bytes;
        repack_lane<R>(p, rows, (int)(tile % p.n_tiles_k), (int)(i % 32), p.to + tile * record_bytes(R));
    }
}
// grid: any; block: 128
#define REPACK(f) \
    extern "C" __global__ void rzc_repack_##f(const rzc_repack p) { repack<RZC_##f>(p); }
REPACK(R_Q4_K) REPACK(R_Q6_K) REPACK(R_Q8_0) REPACK(R_BF16) REPACK(R_F16)
REPACK(R_Q4_0) REPACK(R_Q4_1) REPACK(R_Q5_0) REPACK(R_Q5_1) REPACK(R_Q5_K)
REPACK(R_Q3_K) REPACK(R_Q2_K) REPACK(R_IQ4_NL) REPACK(R_IQ4_XS)

// Columns of rows to F32. first_col is a multiple of 256. grid: (n_cols / 1024, rows); block: 128
extern "C" __global__ void rzc_read_row(const rzc_read p) {
    const u32 i = (blockIdx.x * blockDim.x + threadIdx.x) * 8;
    if (i >= p.n_cols) return;
    const int n = p.n_cols - i < 8 ? (int)(p.n_cols - i) : 8;
    float v[8];
    any_weights(p.w, p.row + blockIdx.y, p.first_col + i, n, v);
    for (int j = 0; j < n; j++) p.out[(u64)blockIdx.y * p.n_cols + i + j] = v[j];
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
