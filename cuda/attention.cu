// attention.cu - attention, F32 arithmetic. rzc_attention_k: any shape, any cache type, cached or of the batch alone.
// rzc_attention_<d>_<g>: F16 cache, heads of d columns, g query heads a block, split over the keys: for few rows.
#include "dequant.cuh"

__device__ __forceinline__ void pdl() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Keys (or values) of one sequence in one layer.
struct Rows {
    const u8 *data;
    const u32 *pages;
    u64 page_bytes, layer_at;
    u32 shift, row_bytes, dtype;
    __device__ const u8 *at(u32 position) const {
        const u32 page = pages[position >> shift];
        return data + page * page_bytes + layer_at + (u64)(position & ((1u << shift) - 1)) * row_bytes;
    }
};
__device__ __forceinline__ Rows rows_of(const rzc_attention &p, u32 seq, bool is_v) {
    const rzc_group &g = p.step.head->groups[p.group];
    const u64 tokens = 1u << g.page_shift;
    Rows r;
    r.data = g.data, r.page_bytes = g.page_bytes, r.shift = g.page_shift;
    r.pages = p.step.head->pages + p.step.seq_pages[seq * RZC_GROUPS + p.group];
    r.layer_at = p.layer * tokens * (g.k_bytes + g.v_bytes) + (is_v ? tokens * g.k_bytes : 0);
    r.row_bytes = is_v ? g.v_bytes : g.k_bytes, r.dtype = is_v ? g.v_dtype : g.k_dtype;
    return r;
}
__device__ __forceinline__ float element(const u8 *row, u32 dtype, u32 i) {
    if (dtype == 0) return ((const float *)row)[i];
    if (dtype == 1) return __half2float(((const __half *)row)[i]);
    const u8 *b = row + i / 32 * 34;
    return (float)(signed char)b[2 + i % 32] * f16_at(b);
}

constexpr u32 TILE = 128;
// Shared: q[k_cols], sum[v_cols], score[TILE] floats. grid: (n_heads, n_rows); block: TILE
extern "C" __global__ void rzc_attention_k(const rzc_attention p) {
    extern __shared__ float room[];
    __shared__ float red[8];
    float *q = room, *sum = q + p.k_cols, *score = sum + p.v_cols;
    pdl();
    const u32 h = blockIdx.x, t = blockIdx.y, seq = p.step.row_seq[t], position = p.step.row_position[t];
    const u32 head = h / (p.n_heads / p.n_kv_heads), tid = threadIdx.x, warp = tid / 32, lane = tid % 32;
    const u32 n_past = p.step.seq_n_past[seq], row0 = p.step.seq_first_row[seq];
    u32 first, last;
    Rows keys = {}, values = {};
    if (p.cached) {
        first = p.window && p.window <= position ? position - p.window + 1 : 0, last = position;
        keys = rows_of(p, seq, false), values = rows_of(p, seq, true);
    } else {
        first = n_past, last = n_past + p.step.seq_first_row[seq + 1] - row0 - 1;
    }
    for (u32 i = tid; i < p.k_cols; i += TILE) q[i] = p.q[((u64)t * p.n_heads + h) * p.k_cols + i];
    for (u32 i = tid; i < p.v_cols; i += TILE) sum[i] = 0;
    float max = p.sinks ? p.sinks[h] : -INFINITY, total = p.sinks ? 1.f : 0.f;
    __syncthreads();
    for (u32 begin = first; begin <= last; begin += TILE) {
        const u32 n = min(TILE, last - begin + 1);
        for (u32 j = warp; j < n; j += TILE / 32) {
            const u32 at = begin + j;
            float s = 0;
            if (p.cached) {
                const u8 *k = keys.at(at);
                for (u32 i = lane; i < p.k_cols; i += 32) s += q[i] * element(k, keys.dtype, head * p.k_cols + i);
            } else {
                const float *k = p.k + ((u64)(row0 + at - n_past) * p.n_kv_heads + head) * p.k_cols;
                for (u32 i = lane; i < p.k_cols; i += 32) s += q[i] * k[i];
            }
            for (int o = 16; o; o >>= 1) s += __shfl_xor_sync(~0u, s, o);
            s *= p.scale;
            if (p.cap != 0) s = p.cap * tanhf(s / p.cap);
            if (lane == 0) score[j] = s;
        }
        __syncthreads();
        float m = tid < n ? score[tid] : -INFINITY;
        for (int o = 16; o; o >>= 1) m = fmaxf(m, __shfl_xor_sync(~0u, m, o));
        if (lane == 0) red[warp] = m;
        __syncthreads();
        m = fmaxf(fmaxf(fmaxf(red[0], red[1]), fmaxf(red[2], red[3])), max);
        const float factor = expf(max - m), e = tid < n ? expf(score[tid] - m) : 0.f;
        float s = e;
        for (int o = 16; o; o >>= 1) s += __shfl_xor_sync(~0u, s, o);
        if (lane == 0) red[4 + warp] = s;
        score[tid] = e;
        __syncthreads();
        total = total * factor + (red[4] + red[5]) + (red[6] + red[7]);
        max = m;
        for (u32 i = tid; i < p.v_cols; i += TILE) {
            float x = sum[i] * factor;
            for (u32 j = 0; j < n; j++) {
                const u32 at = begin + j;
                const float v = p.cached ? element(values.at(at), values.dtype, head * p.v_cols + i)
                                         : p.v[((u64)(row0 + at - n_past) * p.n_kv_heads + head) * p.v_cols + i];
                x += score[j] * v;
            }
            sum[i] = x;
        }
        __syncthreads();
    }
    for (u32 i = tid; i < p.v_cols; i += TILE) p.out[((u64)t * p.n_heads + h) * p.v_cols + i] = sum[i] / total;
}

// ---- few rows: the keys of a row are split over n_splits blocks; the last of them to arrive adds their parts in order
// --

// Eight lanes share a key: lane 8 k + c has columns c * D/8 ... of it, so a warp holds four keys at a time, and U
// rounds of them are in flight. Every quarter keeps its own maximum; they meet at the end. PLACED: q, k and v are as
// the products gave them; norm of heads, RoPE and kvWrite of the newest key (the only row of its sequence) happen here.
// All other keys were written by earlier steps: they are fetched before the predecessor has ended.
template <int D, int H, bool PLACED> __device__ __forceinline__ void split_attention(const rzc_attention &p) {
    constexpr int C = D / 8, W = 8, U = 4, STRIDE = W * 4; // columns a lane, warps, rounds, keys of a round
    __shared__ float part_sum[W][H][D], part_max[W][H], part_total[W][H];
    __shared__ u32 is_last;
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
    if (!PLACED) asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
    const u32 per_kv = p.n_heads / p.n_kv_heads / H, hb = blockIdx.x, split = blockIdx.y, t = blockIdx.z;
    const u32 kv = hb / per_kv, h0 = kv * (p.n_heads / p.n_kv_heads) + hb % per_kv * H;
    const u32 tid = threadIdx.x, warp = tid / 32, lane = tid % 32, quarter = lane / 8, c = lane % 8;
    const u32 seq = p.step.row_seq[t], position = p.step.row_position[t];
    const u32 first = p.window && p.window <= position ? position - p.window + 1 : 0, len = position - first + 1;
    // short rows stay whole: joining parts takes longer than reading a few more keys
    const u32 chunk = max(256u, ((len + p.n_splits - 1) / p.n_splits + 31) / 32 * 32),
              n_used = (len + chunk - 1) / chunk;
    const Rows keys = rows_of(p, seq, false), values = rows_of(p, seq, true);
    const bool has_newest = PLACED && split == n_used - 1;
    const u32 begin = first + split * chunk,
              end = split < n_used ? min(begin + chunk, PLACED ? position : position + 1) : begin;
    const float log2e = 1.4426950408889634f;
    uint4 kk[U][C / 8], vv[U][C / 8];
    auto fetch = [&](uint4(&to)[U][C / 8], const Rows &from, u32 b) {
#pragma unroll
        for (int u = 0; u < U; u++) {
            const uint4 *x = (const uint4 *)(from.at(min(b + u * STRIDE, end - 1)) + (kv * D + c * C) * 2);
#pragma unroll
            for (int i = 0; i < C / 8; i++) to[u][i] = __ldcg(x + i);
        }
    };
    const u32 mine = begin + warp * 4 + quarter;
    if (begin < end) fetch(kk, keys, mine), fetch(vv, values, mine);
    const float *qp = p.q + ((u64)t * p.n_heads + h0) * D + c * C;
    const bool makes_newest = has_newest && warp == 0;
    const u64 newest_at = ((u64)t * p.n_kv_heads + kv) * D + c * C;
    const float2 *angles = (const float2 *)p.angles + (u64)t * (D / 2) + (p.adjacent ? c * C / 2 : c % 4 * C);
    float qn[PLACED ? C : 1];
    if constexpr (PLACED) {
#pragma unroll
        for (int i = 0; i < C; i++) qn[i] = p.q_norm ? __ldg(p.q_norm + c * C + i) : 1.f;
    }
#if __CUDA_ARCH__ >= 900
    if (PLACED) asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
    if (split >= n_used) return;
    float q[H][C], sum[H][C], max[H], total[H];
    // norm of a head and RoPE; the other half of a pair is in the lane itself, or in lane c ^ 4
    auto place = [&](float (&x)[C], const float (&norm)[C], const float2(&r)[C]) {
        if (p.q_norm) {
            float s = 0;
#pragma unroll
            for (int i = 0; i < C; i++) s += x[i] * x[i];
            for (int o = 4; o; o >>= 1) s += __shfl_xor_sync(~0u, s, o);
            s = rsqrtf(s / D + p.eps);
#pragma unroll
            for (int i = 0; i < C; i++) x[i] *= s * norm[i];
        }
        if (p.adjacent) {
#pragma unroll
            for (int i = 0; i < C; i += 2) {
                const float a = x[i], b = x[i + 1];
                x[i] = a * r[i / 2].x - b * r[i / 2].y, x[i + 1] = a * r[i / 2].y + b * r[i / 2].x;
            }
        } else {
#pragma unroll
            for (int i = 0; i < C; i++) {
                const float other = __shfl_xor_sync(~0u, x[i], 4);
                x[i] = c < 4 ? x[i] * r[i].x - other * r[i].y : other * r[i].y + x[i] * r[i].x;
            }
        }
    };
    float2 r[PLACED ? C : 1];
    if constexpr (PLACED) {
#pragma unroll
        for (int i = 0; i < C / 2; i++) { // the second half is not read where pairs are adjacent
            const float4 x = __ldcg((const float4 *)angles + (p.adjacent ? min(i, C / 4 - 1) : i));
            r[2 * i] = make_float2(x.x, x.y), r[2 * i + 1] = make_float2(x.z, x.w);
        }
    }
#pragma unroll
    for (int h = 0; h < H; h++) {
#pragma unroll
        for (int i = 0; i < C / 4; i++) {
            const float4 x = __ldcg((const float4 *)(qp + h * D) + i);
            q[h][4 * i] = x.x, q[h][4 * i + 1] = x.y, q[h][4 * i + 2] = x.z, q[h][4 * i + 3] = x.w;
        }
        max[h] = -INFINITY, total[h] = 0;
#pragma unroll
        for (int i = 0; i < C; i++) sum[h][i] = 0;
    }
    if constexpr (PLACED) {
#pragma unroll
        for (int h = 0; h < H; h++) place(q[h], qn, r);
    }
    if constexpr (PLACED) {
        if (makes_newest) { // all quarters make it, the first one counts it
            float k[C], v[C], kn[C];
#pragma unroll
            for (int i = 0; i < C / 4; i++) {
                const float4 x = __ldcg((const float4 *)(p.k + newest_at) + i),
                             y = __ldcg((const float4 *)(p.v + newest_at) + i);
                k[4 * i] = x.x, k[4 * i + 1] = x.y, k[4 * i + 2] = x.z, k[4 * i + 3] = x.w;
                v[4 * i] = y.x, v[4 * i + 1] = y.y, v[4 * i + 2] = y.z, v[4 * i + 3] = y.w;
            }
#pragma unroll
            for (int i = 0; i < C; i++) kn[i] = p.k_norm ? __ldg(p.k_norm + c * C + i) : 1.f;
            place(k, kn, r);
            const bool writes = quarter == 0 && hb % per_kv == 0;
            u32 *ko = (u32 *)(keys.at(position) + (kv * D + c * C) * 2),
                *vo = (u32 *)(values.at(position) + (kv * D + c * C) * 2);
#pragma unroll
            for (int i = 0; i < C / 2; i++) { // as the cache will have them
                const __half2 a = __floats2half2_rn(k[2 * i], k[2 * i + 1]),
                              b = __floats2half2_rn(v[2 * i], v[2 * i + 1]);
                if (writes) ko[i] = *(const u32 *)&a, vo[i] = *(const u32 *)&b;
                const float2 ka = __half22float2(a), va = __half22float2(b);
                k[2 * i] = ka.x, k[2 * i + 1] = ka.y, v[2 * i] = va.x, v[2 * i + 1] = va.y;
            }
#pragma unroll
            for (int h = 0; h < H; h++) {
                float s = 0;
#pragma unroll
                for (int i = 0; i < C; i++) s += q[h][i] * k[i];
                for (int o = 4; o; o >>= 1) s += __shfl_xor_sync(~0u, s, o);
                s *= p.scale;
                if (p.cap != 0) s = p.cap * tanhf(s / p.cap);
                if (quarter != 0) continue;
                max[h] = s * log2e, total[h] = 1;
#pragma unroll
                for (int i = 0; i < C; i++) sum[h][i] = v[i];
            }
        }
    }
    for (u32 b = mine; b - quarter < end; b += STRIDE * U) {
        const bool goes_on =
            b - quarter + STRIDE * U < end; // keys of the next round come while values of this one are added
        float s[U][H];
#pragma unroll
        for (int u = 0; u < U; u++) {
#pragma unroll
            for (int h = 0; h < H; h++) s[u][h] = 0;
#pragma unroll
            for (int i = 0; i < C / 2; i++) {
                const u32 word = ((const u32 *)&kk[u][0])[i];
                const float2 k = __half22float2(*(const __half2 *)&word);
#pragma unroll
                for (int h = 0; h < H; h++) s[u][h] += q[h][2 * i] * k.x + q[h][2 * i + 1] * k.y;
            }
#pragma unroll
            for (int h = 0; h < H; h++) {
                for (int o = 4; o; o >>= 1) s[u][h] += __shfl_xor_sync(~0u, s[u][h], o);
                s[u][h] *= p.scale;
                if (p.cap != 0) s[u][h] = p.cap * tanhf(s[u][h] / p.cap);
                s[u][h] = b + u * STRIDE < end ? s[u][h] * log2e : -INFINITY;
            }
        }
        if (goes_on) fetch(kk, keys, b + STRIDE * U);
#pragma unroll
        for (int h = 0; h < H; h++) {
            float m = max[h];
#pragma unroll
            for (int u = 0; u < U; u++) m = fmaxf(m, s[u][h]);
            if (m > max[h]) {
                const float f = exp2f(max[h] - m);
                total[h] *= f, max[h] = m;
#pragma unroll
                for (int i = 0; i < C; i++) sum[h][i] *= f;
            }
#pragma unroll
            for (int u = 0; u < U; u++) {
                s[u][h] = m == -INFINITY ? 0.f : exp2f(s[u][h] - m);
                total[h] += s[u][h];
            }
        }
#pragma unroll
        for (int u = 0; u < U; u++) {
            const bool in = b + u * STRIDE < end;
#pragma unroll
            for (int i = 0; i < C / 2; i++) {
                const u32 word = in ? ((const u32 *)&vv[u][0])[i] : 0u;
                const float2 v = __half22float2(*(const __half2 *)&word);
#pragma unroll
                for (int h = 0; h < H; h++) sum[h][2 * i] += s[u][h] * v.x, sum[h][2 * i + 1] += s[u][h] * v.y;
            }
        }
        if (goes_on) fetch(vv, values, b + STRIDE * U);
    }
    // the four quarters of a warp, then the warps
#pragma unroll
    for (int h = 0; h < H; h++) {
        float m = max[h];
        m = fmaxf(m, __shfl_xor_sync(~0u, m, 8)), m = fmaxf(m, __shfl_xor_sync(~0u, m, 16));
        const float f = max[h] == -INFINITY ? 0.f : exp2f(max[h] - m);
        float n = total[h] * f;
        n += __shfl_xor_sync(~0u, n, 8), n += __shfl_xor_sync(~0u, n, 16);
#pragma unroll
        for (int i = 0; i < C; i++) {
            float x = sum[h][i] * f;
            x += __shfl_xor_sync(~0u, x, 8), x += __shfl_xor_sync(~0u, x, 16);
            if (quarter == 0) part_sum[warp][h][c * C + i] = x;
        }
        if (lane == 0) part_max[warp][h] = m, part_total[warp][h] = n;
    }
    __syncthreads();
    const u64 row = (u64)t * p.n_heads + h0;
    const bool with_sink = p.sinks != nullptr;
    for (u32 i = tid; i < H * D; i += W * 32) {
        const u32 h = i / D, d = i % D;
        float m = -INFINITY, n = 0, x = 0;
#pragma unroll
        for (int w = 0; w < W; w++) m = fmaxf(m, part_max[w][h]);
#pragma unroll
        for (int w = 0; w < W; w++) {
            const float f = part_max[w][h] == -INFINITY ? 0.f : exp2f(part_max[w][h] - m);
            n += part_total[w][h] * f, x += part_sum[w][h][d] * f;
        }
        if (n_used == 1) {
            if (with_sink) {
                const float sink = p.sinks[h0 + h] * log2e, top = fmaxf(m, sink), f = exp2f(m - top);
                n = n * f + exp2f(sink - top), x *= f;
            }
            p.out[(row + h) * D + d] = x / n;
        } else {
            float *to = p.parts + ((row + h) * p.n_splits + split) * (D + 2);
            __stcg(to + 2 + d, x);
            if (d == 0) __stcg(to, m), __stcg(to + 1, n);
        }
    }
    if (n_used == 1) return;
    __threadfence();
    __syncthreads();
    if (tid == 0) is_last = atomicInc(p.arrivals + (u64)t * gridDim.x + hb, n_used - 1) == n_used - 1;
    __syncthreads();
    if (!is_last) return;
    __threadfence();
    for (u32 i = tid; i < H * D; i += W * 32) {
        const u32 h = i / D, d = i % D;
        const float *from = p.parts + (row + h) * p.n_splits * (D + 2);
        float m = with_sink ? p.sinks[h0 + h] * log2e : -INFINITY, n = with_sink ? 1.f : 0.f, x = 0;
#pragma unroll 8
        for (u32 s = 0; s < n_used; s++) {
            const float *part = from + s * (D + 2);
            const float pm = __ldcg(part), pn = __ldcg(part + 1), px = __ldcg(part + 2 + d), top = fmaxf(m, pm);
            const float f = m == -INFINITY ? 0.f : exp2f(m - top), g = pm == -INFINITY ? 0.f : exp2f(pm - top);
            n = n * f + pn * g, x = x * f + px * g, m = top;
        }
        p.out[(row + h) * D + d] = x / n;
    }
}
// grid: (n_heads / H, n_splits, n_rows); block: 256
#define KERNEL(d, h)                                                                                                   \
    extern "C" __global__ void __launch_bounds__(256) rzc_attention_##d##_##h(const rzc_attention p) {                 \
        split_attention<d, h, false>(p);                                                                               \
    }                                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) rzc_placed_##d##_##h(const rzc_attention p) {                    \
        split_attention<d, h, true>(p);                                                                                \
    }
KERNEL(64, 1) KERNEL(64, 2) KERNEL(64, 3) KERNEL(64, 4) KERNEL(128, 1) KERNEL(128, 2) KERNEL(128, 3) KERNEL(128, 4)
