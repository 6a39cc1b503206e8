// prefill.cuh - what the kernels for many token rows share: where an activation lies, and what is done with a sum.
//
// Activations are 16-bit tiles: [k chunk of 64][8 rows][1024 bytes], written by rzc_prefill_x, zeros up to a multiple
// of 256 columns. In 1024 bytes: 8 rows of
// 128 bytes, whose 16-byte units lie at unit ^ row (the 128-byte swizzle of wgmma, free of conflicts for ldmatrix). The
// k of every 16 are permuted, 4t + 2u + i at 8u + 2t + i: so a lane's four bytes of a weight record (4t ... 4t + 3) are
// what it holds of an A fragment. Rows up to rows_pad exist, those from n_rows on with any content: a row of the
// activations is a column of the product and touches no other.
#pragma once
#include "dequant.cuh"
#include "ptx.cuh"

constexpr float WEIGHT_SCALE = 64.f; // half-precision weights are scaled up: full precision down to 1e-6, up to 1023

__host__ __device__ constexpr bool is_bf16(int f) { return f == RZC_BF16 || f == RZC_R_BF16; }

// silu: x / (1 + exp(-x)); gelu (tanh form): x / (1 + exp(-z)), z = x (c1 + c3 x^2).
constexpr float GELU_1 = 1.5957691216057308f, GELU_3 = 0.07135481627260025f;
__device__ __forceinline__ float gate(float x, float c1, float c3) {
    return __fdividef(x, 1.f + __expf(-x * (c1 + c3 * x * x)));
}
// cap * tanh(y / cap)
__device__ __forceinline__ float soft_cap(float y, float cap) {
    return cap - __fdividef(2.f * cap, 1.f + __expf(2.f * __fdividef(y, cap)));
}
// The result of a sum for (token row t, output n).
__device__ __forceinline__ void put(const rzc_prefill &p, const rzc_prefill_matrix &m, u32 t, u32 n, float sum) {
    float y = (sum + (m.bias ? m.bias[n] : 0.f)) * p.factor;
    if (p.cap != 0) y = soft_cap(y, p.cap);
    const u64 at = (u64)t * m.ldy + n;
    m.y[at] = m.add ? m.add[at] + y : y;
}
// Which matrix an output tile belongs to.
__device__ __forceinline__ u32 matrix_of(const rzc_prefill &p, u32 tile) {
    u32 i = 0;
    if (!p.glu) {
        while (i + 1 < p.n_mats && tile >= p.mats[i + 1].first_tile) i++;
    }
    return i;
}
