// attention.cu - attention of any shape over any cache, or of the batch alone, in F32 arithmetic; sums in one order.
#include "kv.cuh"
#include "ptx.cuh"

constexpr u32 TILE = 128;
// Shared: q[k_cols], sum[v_cols], score[TILE] floats. grid: (n_heads, n_rows); block: TILE
extern "C" __global__ void rzc_attention_k(const rzc_attention p) {
    extern __shared__ float room[];
    __shared__ float red[8];
    float *q = room, *sum = q + p.k_cols, *score = sum + p.v_cols;
    dependents();
    predecessors();
    const u32 h = blockIdx.x, t = blockIdx.y, seq = p.step.row_seq[t], position = p.step.row_position[t];
    const u32 head = h / (p.n_heads / p.n_kv_heads), tid = threadIdx.x, warp = tid / 32, lane = tid % 32;
    const u32 n_past = p.step.seq_n_past[seq], row0 = p.step.seq_first_row[seq];
    u32 first, last;
    Kv keys = {}, values = {};
    if (p.cached) {
        first = p.window && p.window <= position ? position - p.window + 1 : 0, last = position;
        keys = kv_of(p.step, p.group, p.layer, seq, false), values = kv_of(p.step, p.group, p.layer, seq, true);
    } else {
        first = n_past, last = n_past + p.step.seq_first_row[seq + 1] - row0 - 1;
    }
    const bool turns = p.cached && keys.dtype == KV_Q8_0; // heads have a multiple of 32 columns then
    for (u32 i = tid; i < p.k_cols; i += TILE) {
        const float x = p.q[((u64)t * p.n_heads + h) * p.k_cols + i];
        q[i] = turns ? turned(x) : x;
    }
    for (u32 i = tid; i < p.v_cols; i += TILE) sum[i] = 0;
    float max = p.sinks ? p.sinks[h] : -INFINITY, total = p.sinks ? 1.f : 0.f;
    __syncthreads();
    for (u32 begin = first; begin <= last; begin += TILE) {
        const u32 n = min(TILE, last - begin + 1);
        for (u32 j = warp; j < n; j += TILE / 32) {
            const u32 at = begin + j;
            float s = 0;
            if (p.cached) {
                for (u32 i = lane; i < p.k_cols; i += 32) s += q[i] * keys.at(at, head * p.k_cols + i);
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
                const float v = p.cached ? values.at(at, head * p.v_cols + i)
                                         : p.v[((u64)(row0 + at - n_past) * p.n_kv_heads + head) * p.v_cols + i];
                x += score[j] * v;
            }
            sum[i] = x;
        }
        __syncthreads();
    }
    for (u32 i = tid; i < p.v_cols; i += TILE) p.out[((u64)t * p.n_heads + h) * p.v_cols + i] = sum[i] / total;
}
