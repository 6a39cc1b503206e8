// prefill_product.cu - products of many token rows with any weight but F32, on the tensor cores of any card from sm_80:
// activations to 16-bit tiles, and the product by mma.sync with weights dequantized into shared memory.
// prefill_wgmma.cu is faster where it can be used.
#include "prefill.cuh"

// A row of activations as 16 bit, after RMSNorm where there is one. Half precision: scaled by a power of two so that
// the largest is in [2^14, 2^15). row_scale undoes that and WEIGHT_SCALE. A thread has groups of 16 columns, the first
// in registers. grid: n_rows; block: a thread a group, whole warps, up to 1024
__device__ __forceinline__ void load_group(const float *x, u32 i, u32 cols, bool whole, float (&v)[16]) {
    if (whole && i * 16 < cols) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float4 q = ((const float4 *)(x + i * 16))[j];
            v[4 * j] = q.x, v[4 * j + 1] = q.y, v[4 * j + 2] = q.z, v[4 * j + 3] = q.w;
        }
    } else {
#pragma unroll
        for (int j = 0; j < 16; j++) v[j] = i * 16 + j < cols ? x[i * 16 + j] : 0.f;
    }
}
template <bool BF>
__device__ __forceinline__ void store_group(const rzc_prefill_x &p, u32 t, u32 i, const float (&v)[16], float factor,
                                            float scale) {
    u8 *row = p.tiles + ((u64)(i / 4) * p.rows_pad + t) * 128;
#pragma unroll
    for (u32 u = 0; u < 2; u++) {
        u32 w[4];
#pragma unroll
        for (int q = 0; q < 4; q++)
            w[q] = pack16<BF>(v[4 * q + 2 * u] * factor * scale, v[4 * q + 2 * u + 1] * factor * scale);
        *(uint4 *)(row + ((((i % 4) * 2 + u) ^ (t & 7)) << 4)) = make_uint4(w[0], w[1], w[2], w[3]);
    }
    if (!p.y) return;
    float *y = p.y + (u64)t * p.cols + i * 16;
#pragma unroll
    for (int j = 0; j < 16; j++) {
        if (i * 16 + j < p.cols) y[j] = v[j] * factor;
    }
}
// v *= w; the largest of it, and the sum of squares of v.
__device__ __forceinline__ void weigh(float (&v)[16], const float (&w)[16], float &largest, float &squares) {
#pragma unroll
    for (int j = 0; j < 16; j++) squares += v[j] * v[j], v[j] *= w[j], largest = fmaxf(largest, fabsf(v[j]));
}
template <bool BF> __device__ __forceinline__ void to_tiles(const rzc_prefill_x &p) {
    __shared__ float room[32], sums[32];
    const u32 t = blockIdx.x, tid = threadIdx.x, n = blockDim.x, groups = (p.cols + 255) / 256 * 16; // whole records
    const bool whole = (p.cols & 15) == 0 && (p.ldx & 3) == 0;
    const float *x = p.x + (u64)t * p.ldx;
    float v[16] = {}, w[16], factor = 1.f, scale = 1.f, undo = 1.f, largest = 0, squares = 0;
    dependents();
#pragma unroll
    for (int j = 0; j < 16; j++) w[j] = 1.f;
    if (p.norm && tid < groups) load_group(p.norm, tid, p.cols, whole, w);
    predecessors();
    if (tid < groups) load_group(x, tid, p.cols, whole, v);
    weigh(v, w, largest, squares);
    for (u32 i = tid + n; i < groups; i += n) {
        float more[16];
        if (p.norm) load_group(p.norm, i, p.cols, whole, w);
        load_group(x, i, p.cols, whole, more);
        weigh(more, w, largest, squares);
    }
    for (int o = 16; o; o >>= 1) {
        largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, o));
        squares += __shfl_xor_sync(~0u, squares, o);
    }
    if (tid % 32 == 0) room[tid / 32] = largest, sums[tid / 32] = squares;
    __syncthreads();
    squares = 0;
    for (u32 i = 0; i < n / 32; i++) largest = fmaxf(largest, room[i]), squares += sums[i];
    if (p.norm) factor = 1.f / sqrtf(squares / p.cols + p.eps);
    if constexpr (!BF) { // infinity stays: so does NaN
        const int e = min(max((int)(__float_as_uint(largest * factor) >> 23) - 127, -100), 127);
        scale = __uint_as_float((u32)(127 + min(14 - e, 120)) << 23);
        undo = __uint_as_float((u32)(127 - min(14 - e, 120)) << 23) / WEIGHT_SCALE;
    }
    if (tid == 0) p.row_scale[t] = undo;
    if (tid < groups) store_group<BF>(p, t, tid, v, factor, scale);
    for (u32 i = tid + n; i < groups; i += n) {
        float more[16];
        if (p.norm) load_group(p.norm, i, p.cols, whole, w);
        load_group(x, i, p.cols, whole, more);
        weigh(more, w, largest, squares);
        store_group<BF>(p, t, i, more, factor, scale);
    }
}
extern "C" __global__ void __launch_bounds__(1024) rzc_prefill_x_f16(const rzc_prefill_x p) { to_tiles<false>(p); }
extern "C" __global__ void __launch_bounds__(1024) rzc_prefill_x_bf16(const rzc_prefill_x p) { to_tiles<true>(p); }

// A tile of 128 outputs x 128 token rows, 64 columns a stage: two stages of activations (cp.async), two of weights.
// Eight warps, 4 along the outputs (32 each) x 2 along the rows (64 each). With a GLU a tile is 64 outputs: every 16
// rows of weights are 8 of gate and 8 of up, so that one lane has both sums.
constexpr int TILE_BYTES = 128 * 128;
template <int F>
__device__ __forceinline__ void load_weights(const rzc_prefill &p, const rzc_prefill_matrix &m, u32 n0, u32 k0,
                                             u8 *to) {
    constexpr bool BF = is_bf16(F);
#pragma unroll 2
    for (u32 i = threadIdx.x; i < 1024; i += 256) {
        // neighbours in a warp: the 8 segments of a row
        const u32 r = i / 8, seg = i % 8, k = k0 + seg * 8;
        const rzc_prefill_matrix &from = p.glu && r / 8 % 2 ? p.mats[1] : m;
        const u32 n = p.glu ? n0 + r / 16 * 8 + r % 8 : n0 + r;
        float v[8] = {};
        if (n < from.n_out && k < p.cols) weights_at<F>(from.w, n, k, min(8u, p.cols - k), v);
        u32 w[4];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            w[j] = BF ? pack16<true>(v[2 * j], v[2 * j + 1])
                      : pack16<false>(v[2 * j] * WEIGHT_SCALE, v[2 * j + 1] * WEIGHT_SCALE);
        }
        u8 *row = to + r * 128 + (seg & 1) * 8;
        *(uint2 *)(row + (((seg & ~1u) ^ (r & 7)) << 4)) = make_uint2(w[0], w[2]);
        *(uint2 *)(row + (((seg | 1u) ^ (r & 7)) << 4)) = make_uint2(w[1], w[3]);
    }
}
__device__ __forceinline__ void load_rows(const rzc_prefill &p, u32 t0, u32 chunk, u32 to) {
    const u8 *from = p.tiles + ((u64)chunk * p.rows_pad + t0) * 128;
    for (u32 i = threadIdx.x; i < TILE_BYTES / 16; i += 256) copy16(to + i * 16, from + i * 16, true);
    copy_commit();
}
template <int F> __device__ __forceinline__ void product(const rzc_prefill &p) {
    constexpr bool BF = is_bf16(F);
    extern __shared__ __align__(1024) u8 room[];
    u8 *xs = room, *ws = room + 2 * TILE_BYTES;
    dependents();
    predecessors();
    const rzc_prefill_matrix &m = p.mats[matrix_of(p, blockIdx.y)];
    const u32 n0 = (blockIdx.y - m.first_tile) * (p.glu ? 64 : 128), t0 = blockIdx.x * 128;
    const u32 warp = threadIdx.x / 32, lane = threadIdx.x % 32, wn = warp % 4 * 32, wt = warp / 4 * 64;
    const u32 chunks = (p.cols + 63) / 64, sw = lane & 7;
    float acc[2][8][4] = {};
    load_rows(p, t0, 0, shared_at(xs));
    load_weights<F>(p, m, n0, 0, ws);
    for (u32 c = 0; c < chunks; c++) {
        copy_wait<0>();
        __syncthreads(); // this chunk is there; all are done with the one before
        const u32 x = shared_at(xs) + (c & 1) * TILE_BYTES, w = shared_at(ws) + (c & 1) * TILE_BYTES;
        if (c + 1 < chunks) {
            load_rows(p, t0, c + 1, shared_at(xs) + (~c & 1) * TILE_BYTES);
            load_weights<F>(p, m, n0, (c + 1) * 64, ws + (~c & 1) * TILE_BYTES);
        }
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            u32 a[2][4], b[4][4];
#pragma unroll
            for (u32 i = 0; i < 2; i++)
                ldmatrix4(a[i], w + (wn + i * 16 + lane % 16) * 128 + (((2 * j + lane / 16) ^ sw) << 4));
#pragma unroll
            for (u32 i = 0; i < 4; i++) { // two groups of 8 rows, both halves of the 16 columns
                ldmatrix4(b[i], x + (wt + i * 16 + (lane & 7) + (lane & 16) / 2) * 128 +
                                    (((2 * j + (lane >> 3 & 1)) ^ sw) << 4));
            }
#pragma unroll
            for (u32 i = 0; i < 2; i++) {
#pragma unroll
                for (u32 g = 0; g < 8; g++) mma16<BF>(acc[i][g], a[i], b[g / 2][g % 2 * 2], b[g / 2][g % 2 * 2 + 1]);
            }
        }
    }
    const u32 g = lane / 4, q = lane % 4;
#pragma unroll
    for (u32 j = 0; j < 8; j++) {
#pragma unroll
        for (u32 e = 0; e < 2; e++) {
            const u32 t = t0 + wt + j * 8 + q * 2 + e;
            if (t >= p.n_rows) continue;
            const float s = p.row_scale[t];
#pragma unroll
            for (u32 i = 0; i < 2; i++) {
                if (p.glu) {
                    const u32 n = n0 + (wn + i * 16) / 2 + g;
                    if (n < m.n_out) {
                        const float a = acc[i][j][e] * s + (m.bias ? m.bias[n] : 0.f);
                        const float b = acc[i][j][2 + e] * s + (p.mats[1].bias ? p.mats[1].bias[n] : 0.f);
                        m.y[(u64)t * m.ldy + n] = gate(a, p.glu == RZC_PREFILL_GELU ? GELU_1 : 1.f,
                                                       p.glu == RZC_PREFILL_GELU ? GELU_3 : 0.f) *
                                                  b;
                    }
                } else {
                    const u32 n = n0 + wn + i * 16 + g;
                    if (n < m.n_out) put(p, m, t, n, acc[i][j][e] * s);
                    if (n + 8 < m.n_out) put(p, m, t, n + 8, acc[i][j][2 + e] * s);
                }
            }
        }
    }
}
// grid: (n_rows / 128, n_tiles); block: 256; shared: 65536
#define KERNEL(f)                                                                                                 \
    extern "C" __global__ void __launch_bounds__(256, 2) rzc_prefill_##f(const __grid_constant__ rzc_prefill p) { \
        product<RZC_##f>(p);                                                                                      \
    }
KERNEL(F16)
KERNEL(BF16)
KERNEL(Q4_0)
KERNEL(Q4_1)
KERNEL(Q5_0)
KERNEL(Q5_1)
KERNEL(Q8_0)
KERNEL(Q2_K)
KERNEL(Q3_K)
KERNEL(Q4_K)
KERNEL(Q5_K)
KERNEL(Q6_K)
KERNEL(IQ4_NL)
KERNEL(IQ4_XS)
KERNEL(R_Q4_K)
KERNEL(R_Q6_K)
KERNEL(R_Q8_0)
KERNEL(R_BF16)
KERNEL(R_F16)
KERNEL(R_Q4_0)
KERNEL(R_Q4_1)
KERNEL(R_Q5_0)
KERNEL(R_Q5_1)
KERNEL(R_Q5_K)
KERNEL(R_Q3_K)
KERNEL(R_Q2_K)
KERNEL(R_IQ4_NL)
KERNEL(R_IQ4_XS)
