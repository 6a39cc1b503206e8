// kv.cuh - keys and values in a page of the cache: where they lie, how they are written and read.
//
// A page has for each layer its keys, then its values: `tokens` rows of `cols` columns, in one of three ways:
//   F16, cols a multiple of 64     [64 columns][token][128 bytes], 16-byte units of a row at unit ^ token % 8
//   Q8_0, cols a multiple of 64    [64 columns][32 tokens (16 in pages of 16)]: [token][64 bytes], units at
//                                  unit ^ token / 2 % 4; then [32 columns][token] scales in F16
//   all others                     [token][cols], in Q8_0 blocks of 34 bytes
// So a run of 8 tokens of a head (32 in Q8_0) is one piece for a bulk copy, read by ldmatrix without conflicts, and in
// F16 what wgmma takes for a tile with the 128-byte swizzle. Bytes in all are those of rows. Every 32 columns of a key
// in Q8_0 are multiplied by a Hadamard matrix first, and so is the query (docs/decisions/0027).
#pragma once
#include "dequant.cuh"

enum { KV_F32 = 0, KV_F16 = 1, KV_Q8_0 = 8 };

// Q8_0 in 64 columns: where the bytes of token t begin, and where its scale of half b is.
__device__ __forceinline__ u32 q8_row(u32 shift, u32 t) {
    const u32 g = min(shift, 5u);
    return (t >> g) * (68u << g) + (t & ((1u << g) - 1)) * 64;
}
__device__ __forceinline__ u32 q8_scale(u32 shift, u32 t, u32 b) {
    const u32 g = min(shift, 5u);
    return (t >> g) * (68u << g) + (64u << g) + ((b << g) + (t & ((1u << g) - 1))) * 2;
}

// Keys (or values) of one sequence in one layer.
struct Kv {
    u8 *data; // of page 0
    const u32 *pages;
    u64 page_bytes;
    u32 shift, dtype, cols;
    bool chunked;

    __device__ u32 tokens() const { return 1u << shift; }
    __device__ u32 in_page(u32 position) const { return position & (tokens() - 1); }
    __device__ u8 *page_of(u32 position) const { return data + __ldg(pages + (position >> shift)) * page_bytes; }
    // The 16-bit unit, byte or block of column i: `page` + this.
    __device__ u32 f16_at(u32 t, u32 i) const {
        return chunked ? ((i / 64) << shift) * 128 + t * 128 + ((i / 8 % 8 ^ t & 7) << 4) + i % 8 * 2
                       : (t * cols + i) * 2;
    }
    __device__ u32 q8_at(u32 t, u32 i) const {
        return chunked ? ((i / 64) << shift) * 68 + q8_row(shift, t) + ((i / 16 % 4 ^ t >> 1 & 3) << 4) + i % 16
                       : (t * (cols / 32) + i / 32) * 34 + 2 + i % 32;
    }
    __device__ u32 scale_at(u32 t, u32 i) const {
        return chunked ? ((i / 64) << shift) * 68 + q8_scale(shift, t, i / 32 % 2)
                       : (t * (cols / 32) + i / 32) * 34;
    }
    __device__ float at(u32 position, u32 i) const {
        const u8 *page = page_of(position);
        const u32 t = in_page(position);
        if (dtype == KV_F32) return ((const float *)page)[t * cols + i];
        if (dtype == KV_F16) return __half2float(*(const __half *)(page + f16_at(t, i)));
        return (float)(signed char)page[q8_at(t, i)] * __half2float(*(const __half *)(page + scale_at(t, i)));
    }
};

__device__ __forceinline__ Kv kv_of(const rzc_step &s, u32 group, u32 layer, u32 seq, bool is_v) {
    const rzc_group &g = s.head->groups[group];
    Kv kv;
    kv.pages = s.head->pages + s.seq_pages[seq * RZC_GROUPS + group];
    kv.data = g.data + ((u64)layer * (g.k_bytes + g.v_bytes) + (is_v ? g.k_bytes : 0) << g.page_shift);
    kv.page_bytes = g.page_bytes, kv.shift = g.page_shift, kv.dtype = is_v ? g.v_dtype : g.k_dtype;
    const u32 bytes = is_v ? g.v_bytes : g.k_bytes;
    kv.cols = kv.dtype == KV_F32 ? bytes / 4 : kv.dtype == KV_F16 ? bytes / 2 : bytes / 34 * 32;
    kv.chunked = kv.dtype != KV_F32 && kv.cols % 64 == 0;
    return kv;
}

constexpr float TURN = 0.17677669529663687f; // 1 / sqrt(32)
// 32 columns, one a lane, times the Hadamard matrix.
__device__ __forceinline__ float turned(float x) {
#pragma unroll
    for (u32 o = 1; o < 32; o *= 2) {
        const float y = __shfl_xor_sync(~0u, x, o);
        x = threadIdx.x & o ? y - x : x + y;
    }
    return x * TURN;
}

// 32 columns, one a lane, as a block of Q8_0: the lane's byte, and the scale.
__device__ __forceinline__ signed char quantized(float x, __half &scale) {
    float max = fabsf(x);
#pragma unroll
    for (u32 o = 16; o; o /= 2) max = fmaxf(max, __shfl_xor_sync(~0u, max, o));
    const float d = max / 127, inverse = d > 0 ? 1 / d : 0;
    scale = __float2half_rn(d);
    return (signed char)roundf(fminf(fmaxf(x * inverse, -127.f), 127.f));
}

// n columns from `first` on of a row, by a block of whole warps; first and n are multiples of 32 in Q8_0.
__device__ __forceinline__ void kv_store(const Kv &to, u32 position, u32 first, const float *x, u32 n, bool is_v) {
    u8 *page = to.page_of(position);
    const u32 t = to.in_page(position), lane = threadIdx.x % 32;
    if (to.dtype == KV_Q8_0) {
        for (u32 b = threadIdx.x / 32; b < n / 32; b += blockDim.x / 32) {
            const float v = x[b * 32 + lane];
            const u32 i = first + b * 32;
            __half scale;
            page[to.q8_at(t, i + lane)] = (u8)quantized(is_v ? v : turned(v), scale);
            if (lane == 0) *(__half *)(page + to.scale_at(t, i)) = scale;
        }
        return;
    }
    for (u32 i = threadIdx.x; i < n; i += blockDim.x) {
        if (to.dtype == KV_F32) ((float *)page)[t * to.cols + first + i] = x[i];
        else *(__half *)(page + to.f16_at(t, first + i)) = __float2half_rn(x[i]);
    }
}
