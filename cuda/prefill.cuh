// prefill.cuh - what the kernels for many token rows share: where an activation lies, tensor core and copy
// instructions, and what is done with a sum.
//
// Activations are 16-bit tiles: [k chunk of 64][8 rows][1024 bytes], written by rzc_prefill_x, zeros up to a multiple
// of 256 columns. In 1024 bytes: 8 rows of
// 128 bytes, whose 16-byte units lie at unit ^ row (the 128-byte swizzle of wgmma, free of conflicts for ldmatrix). The
// k of every 16 are permuted, 4t + 2u + i at 8u + 2t + i: so a lane's four bytes of a weight record (4t ... 4t + 3) are
// what it holds of an A fragment. Rows up to rows_pad exist, those from n_rows on with any content: a row of the
// activations is a column of the product and touches no other.
#pragma once
#include "dequant.cuh"

constexpr float WEIGHT_SCALE = 64.f; // half-precision weights are scaled up: full precision down to 1e-6, up to 1023

__device__ __forceinline__ void dependents() { // programmatic launch: the next kernel may begin to load its weights
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}
__device__ __forceinline__ void predecessors() { // from here on their results are there
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ __forceinline__ u32 shared_at(const void *p) { return (u32)__cvta_generic_to_shared(p); }
__device__ __forceinline__ void ldmatrix4(u32 (&r)[4], u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}
__device__ __forceinline__ void ldmatrix4_trans(u32 (&r)[4], u32 at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}
// c += a (16 x 16) * b (16 x 8)
template <bool BF> __device__ __forceinline__ void mma16(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    if constexpr (BF) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    } else {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    }
}
__device__ __forceinline__ void copy16(u32 to, const void *from, bool fill) { // not fill: zeros
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(fill ? 16 : 0) : "memory");
}
__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> __device__ __forceinline__ void copy_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// Two values as 16 bits each, the first in the low half.
template <bool BF> __device__ __forceinline__ u32 pack16(float a, float b) {
    u32 r;
    if constexpr (BF)
        asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(b), "f"(a));
    else
        asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(b), "f"(a));
    return r;
}
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
