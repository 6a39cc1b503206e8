// matmul.cu - products of any weight with F32 rows, F32 sums: matmul, headMatmul, logits, moeMatmul. The way that is
// always there; gemv.cu and prefill_wgmma.cu are faster where they can be used.
//
// A warp takes one row of the weight and up to R rows of x: lane l has columns 8 (l + 32 i) ... + 7.
// grid: (n_out / 4, n_rows / R); block: 128. A row's sum does not depend on the other rows.
#include "dequant.cuh"
#include "ptx.cuh"

template <int F, int R> __device__ __forceinline__ void product(const rzc_product &p) {
    dependents();
    predecessors();
    const u32 n = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32, first = blockIdx.y * R;
    if (n >= p.n_out) return;
    const u32 cols = p.w.cols, count = min((u32)R, p.n_rows - first);
    const u64 row = n + (p.ids ? (u64)p.ids[first] * p.n_out : 0);
    const u32 shift = p.head_rows ? n / p.head_rows * cols : 0;
    const float *x[R];
#pragma unroll
    for (int r = 0; r < R; r++) {
        const u32 t = first + min((u32)r, count - 1);
        x[r] = p.x + (u64)(p.x_div > 1 ? t / p.x_div : t) * p.ldx + shift;
    }
    float sum[R] = {};
    for (u32 k = lane * 8; k < cols; k += 256) {
        const int m = cols - k < 8 ? (int)(cols - k) : 8;
        float v[8];
        weights_at<F>(p.w, row, k, m, v);
#pragma unroll
        for (int r = 0; r < R; r++) {
            if (m == 8 && (cols & 3) == 0) {
                const float4 a = *(const float4 *)(x[r] + k), b = *(const float4 *)(x[r] + k + 4);
                sum[r] += v[0] * a.x + v[1] * a.y + v[2] * a.z + v[3] * a.w + v[4] * b.x + v[5] * b.y + v[6] * b.z +
                          v[7] * b.w;
            } else {
                for (int i = 0; i < m; i++) sum[r] += v[i] * x[r][k + i];
            }
        }
    }
#pragma unroll
    for (int r = 0; r < R; r++) {
        for (int o = 16; o; o >>= 1) sum[r] += __shfl_xor_sync(~0u, sum[r], o);
        if (lane == 0 && r < count) {
            float y = sum[r] + (p.bias ? p.bias[n] : 0.f);
            y *= p.factor;
            if (p.cap != 0) y = p.cap * tanhf(y / p.cap);
            const u64 at = (u64)(first + r) * p.ldy + n;
            p.y[at] = p.add ? p.add[at] + y : y;
        }
    }
}
#define KERNEL(f)                                                                                                      \
    extern "C" __global__ void __launch_bounds__(128) rzc_product1_##f(const rzc_product p) {                          \
        product<RZC_##f, 1>(p);                                                                                        \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) rzc_product8_##f(const rzc_product p) {                          \
        product<RZC_##f, 8>(p);                                                                                        \
    }
RZC_FORMATS(KERNEL)
